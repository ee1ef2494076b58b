"""ntfy, as JSON (docs.ntfy.sh/publish/#publish-as-json): headers cannot carry every text."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

from lunasched.history.report import ReportKind
from lunasched.jobs.channels import NTFY_PRIORITIES
from lunasched.jobs.model import Channel
from lunasched.notify.httpclient import Post
from lunasched.notify.message import Message
from lunasched.notify.secrets import of_channel
from lunasched.notify.text import beginning, compact, utf8

MESSAGE_MAX, BODY_MAX = 4096, 8192
"""Bytes of a message, beyond which it becomes a file, and of a request."""
_TITLE_MAX = 250

_HOW = {
    ReportKind.START: ("low", "arrow_forward"),
    ReportKind.SUCCESS: ("low", "white_check_mark"),
    ReportKind.FAILURE: ("high", "rotating_light"),
    ReportKind.REMINDER: ("default", "rotating_light"),
    ReportKind.RECOVERY: ("default", "white_check_mark"),
    ReportKind.SKIPPED: ("default", "warning"),
    ReportKind.MISSED: ("high", "warning"),
    ReportKind.OVERRUN: ("high", "hourglass"),
    ReportKind.OUTPUT: ("default", "page_facing_up"),
    ReportKind.DIGEST: ("default", "inbox_tray"),
    ReportKind.TEST: ("default", "wave"),
}
"""The priority and the emoji of each kind."""


def request(channel: Channel, message: Message, now: int) -> Post:
    """Return the request that is posted to the server of the topic."""
    parts = urlsplit(channel.where)
    path, _, topic = parts.path.rpartition("/")
    priority, tag = _HOW[message.report.kind]
    content = {
        "topic": topic,
        "title": beginning(message.subject, _TITLE_MAX, utf8),
        "message": compact(message, MESSAGE_MAX, _length) or message.subject,
        "priority": NTFY_PRIORITIES.index(channel.priority or priority) + 1,
        "tags": [tag],
    }
    headers = {"Content-Type": "application/json"}
    if channel.token is not None:
        headers["Authorization"] = f"Bearer {channel.token}"
    body = json.dumps(content, ensure_ascii=False).encode()
    return Post(parts._replace(path=f"{path}/").geturl(), body, headers, of_channel(channel))


def _length(text: str) -> int:
    """Bytes that count: those of the text, or of half its JSON where that is longer."""
    written = utf8(json.dumps(text, ensure_ascii=False))
    return max(utf8(text), written * MESSAGE_MAX // (BODY_MAX - 1024))
