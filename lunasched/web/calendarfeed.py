"""An agenda as iCalendar (RFC 5545), for calendars of people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from hashlib import sha256

from lunasched.history.agenda import Agenda
from lunasched.history.slot import to_datetime
from lunasched.jobs.model import Job

CALENDAR_TYPE = "text/calendar; charset=utf-8"
SPAN_USEC = 28 * 86_400_000_000
"""The time that the feed of the status page reaches ahead."""
_LINE_MAX = 75
"""Bytes of a line; a longer one is folded (RFC 5545, 3.1)."""


def calendar_text(planned: Agenda, jobs: Mapping[str, Job], *, host: str, now: int) -> bytes:
    """The agenda as a file: an event without length for each start of a job.

    Jobs that start often have none. An event keeps its identity from one feed to the next.
    """
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//lunasched//lunasched//EN",
             f"X-WR-CALNAME:{_text(f'lunasched on {host}')}"]  # fmt: skip
    for slot in planned.slots:
        for name in slot.jobs:
            lines += _event(name, slot.at, jobs.get(name), host, now)
    lines.append("END:VCALENDAR")
    return "".join(f"{folded}\r\n" for line in lines for folded in _folded(line)).encode()


def _event(name: str, at: int, job: Job | None, host: str, now: int) -> Iterator[str]:
    identity = sha256(f"{host}\0{name}\0{at}".encode()).hexdigest()[:32]
    yield from (
        "BEGIN:VEVENT",
        f"UID:{identity}@lunasched",
        f"DTSTAMP:{_time(to_datetime(now))}",
        f"DTSTART:{_time(to_datetime(at))}",
        f"SUMMARY:{_text(name)}",
    )
    if job is not None:
        yield f"DESCRIPTION:{_text(job.schedule)}"
        if job.tags:
            yield f"CATEGORIES:{','.join(map(_text, job.tags))}"
    yield from ("TRANSP:TRANSPARENT", "END:VEVENT")


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(timezone.utc):%Y%m%dT%H%M%SZ}"


def _text(value: str) -> str:
    """A value of type TEXT (RFC 5545, 3.3.11), without characters that it cannot have."""
    escaped = value.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,")
    escaped = escaped.replace("\n", "\\n")
    return "".join(one if one >= " " and one != "\x7f" else "\ufffd" for one in escaped)


def _folded(line: str) -> Iterator[str]:
    """The line in parts of so many bytes, no character of it cut; the later ones begin with a
    space."""
    part, size = "", 0
    for character in line:
        width = len(character.encode())
        if size + width > _LINE_MAX:
            yield part
            part, size = " ", 1
        part, size = part + character, size + width
    yield part
