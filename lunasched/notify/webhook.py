"""Webhooks: JSON whose keys stay, see lunasched.yaml(5)."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from lunasched.history.jsonview import facts_json, iso
from lunasched.history.runvalues import value_of_report
from lunasched.jobs.model import Channel
from lunasched.jobs.runfacts import RUN_FACTS, Medium, given
from lunasched.notify.httpclient import Post
from lunasched.notify.message import Message
from lunasched.notify.secrets import of_channel

VERSION = 1
"""Raised when a key changes its meaning or goes away; not when one is added."""


def request(channel: Channel, message: Message, now: int) -> Post:
    """Return the request that is posted at ``now``, in seconds since the epoch."""
    body = (message.text if message.custom else json.dumps(payload(message))).encode()
    headers = {"Content-Type": "application/json"}
    names = {name.lower() for name, _ in channel.headers}
    if "content-type" in names:
        del headers["Content-Type"]
    headers |= dict(channel.headers)
    if channel.secret is not None:
        headers["X-Lunasched-Timestamp"] = str(now)
        headers["X-Lunasched-Signature"] = f"sha256={signature(channel.secret, now, body)}"
    return Post(channel.where, body, headers, of_channel(channel))


def signature(secret: str, now: int, body: bytes) -> str:
    """HMAC-SHA256 of the time and the body, so that nobody can send an old request again."""
    signed = str(now).encode() + b"." + body
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def payload(message: Message) -> dict[str, Any]:
    """Return the notification for programs."""
    report = message.report
    return {
        "version": VERSION,
        "event": report.kind.event.value if report.kind.event else None,
        "kind": report.kind.value,
        "job": report.job or None,
        "host": report.host,
        "at": iso(report.at),
        "timezone": report.timezone,
        "subject": message.subject,
        "text": message.text,
        "run": _run(message) if report.execution_id else None,
        "reason": report.reason or None,
        "failures": report.failures,
        "failing_since": iso(report.failing_since),
        "missed": {
            "count": report.missed,
            "first_at": iso(report.missed_first_at),
            "last_at": iso(report.missed_last_at),
        },
        "overrun": {
            "count": report.overrun,
            "first_at": iso(report.overrun_first_at),
            "last_at": iso(report.overrun_last_at),
        },
        "held": [
            {
                "kind": one.kind.value,
                "job": one.job or None,
                "count": one.count,
                "last_at": iso(one.last_at),
                "what": one.what,
            }
            for one in report.held
        ],
    }


def _run(message: Message) -> dict[str, Any]:
    """The run with the keys of ``lunasched history --json``."""
    report = message.report
    facts = facts_json(given(RUN_FACTS, Medium.WEBHOOK), lambda fact: value_of_report(report, fact))
    return {**facts, "output": message.output}
