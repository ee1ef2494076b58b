"""Webhooks: JSON whose keys stay, see lunasched.yaml(5)."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from lunasched.formats.unittext import uuid
from lunasched.history.jsonview import iso
from lunasched.history.report import Report
from lunasched.jobs.model import Channel
from lunasched.notify.http import Request
from lunasched.notify.message import Message
from lunasched.notify.secrets import of_channel

VERSION = 1
"""Raised when a key changes its meaning or goes away; not when one is added."""


def request(channel: Channel, message: Message, now: int) -> Request:
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
    return Request(channel.where, body, headers, of_channel(channel))


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
    report: Report = message.report
    execution_id = report.execution_id or ""
    span = None
    if report.started_at is not None and report.ended_at is not None:
        span = (report.ended_at - report.started_at) // 1000
    return {
        "execution_id": uuid(execution_id),
        "trigger": report.trigger.value if report.trigger else None,
        "scheduled_at": iso(report.scheduled_at),
        "started_at": iso(report.started_at),
        "ended_at": iso(report.ended_at),
        "duration_ms": span,
        "result": report.result.value if report.result else None,
        "exit_code": report.exit_code,
        "signal": report.signal,
        "attempt": report.attempt,
        "max_attempts": report.max_attempts,
        "first_attempt_id": uuid(report.first_attempt_id or execution_id),
        "cpu_usec": report.cpu_usec,
        "memory_peak": report.memory_peak,
        "output": message.output,
    }
