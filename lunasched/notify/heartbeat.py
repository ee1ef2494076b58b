"""Heartbeats: pings as Healthchecks takes them (healthchecks.io/docs/http_api).

The service alerts when they stay away, and so notices a machine that is off.
"""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit

from lunasched.errors import NotifyError
from lunasched.formats.unittext import uuid
from lunasched.history.report import Report, ReportKind
from lunasched.history.run import Result
from lunasched.jobs.model import Channel
from lunasched.notify.httpclient import Post
from lunasched.notify.message import Message
from lunasched.notify.secrets import of_channel
from lunasched.notify.text import text_end, utf8

BODY_MAX = 10_000
"""Bytes that every server keeps; some keep 100 kB."""

_PATHS = {ReportKind.START: "/start", ReportKind.SUCCESS: "", ReportKind.RECOVERY: ""}
_FAILURES = (ReportKind.FAILURE, ReportKind.REMINDER)


def request(channel: Channel, message: Message, now: int) -> Post:
    """The ping of what happened, with the run's ID and the end of its output."""
    report = message.report
    parts = urlsplit(channel.where)
    query = parse_qsl(parts.query, keep_blank_values=True)
    if report.execution_id:
        # By it, the service knows which end belongs to which start.
        query.append(("rid", uuid(report.execution_id)))
    path = parts.path.rstrip("/") + _path(report)
    url = parts._replace(path=path, query=urlencode(query), fragment="").geturl()
    text = f"{message.subject}\n\n{message.output}".strip()
    headers = {"Content-Type": "text/plain; charset=utf-8"}
    return Post(url, text_end(text, BODY_MAX, utf8).encode(), headers, of_channel(channel))


def check_counted(answer: str) -> None:
    """Raise ``NotifyError`` for what the service took and did not count: it answers 200 to all."""
    if "(not found)" in answer:
        raise NotifyError("the service does not know this URL", permanent=True)
    if "(rate limited)" in answer:
        raise NotifyError("the service accepts no more pings for now", retry_after=60)


def _path(report: Report) -> str:
    if report.kind in _FAILURES:
        own = report.result is Result.EXIT_CODE and report.exit_code
        return f"/{report.exit_code}" if own else "/fail"
    # Other events are logged by the service, and change no state.
    return _PATHS.get(report.kind, "/log")
