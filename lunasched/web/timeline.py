"""The last 24 hours of a job as the shapes of a picture that can be stretched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone

from lunasched.dataclass import dataclass
from lunasched.history.overview import Mark, MarkKind

SPAN = 86_400_000_000
"""The time that a timeline shows, in microseconds."""
STEP = SPAN // 144
"""Runs of a job that begin within so long of each other may be drawn as one."""
WIDTH = 1440
HEIGHT = 24

# A run without length stays visible, on a narrow screen, too.
_LEAST = 5
# Top and height: marks differ in more than colour.
_SHAPES = {
    MarkKind.NEUTRAL: (18, 6),
    MarkKind.SUCCESS: (9, 15),
    MarkKind.RUNNING: (5, 19),
    MarkKind.FAILURE: (0, 24),
}
_TICK_HOURS = 6


@dataclass(frozen=True, slots=True)
class Shape:
    """All marks of a kind: the path of an SVG of ``WIDTH`` by ``HEIGHT``."""

    kind: MarkKind
    path: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A full hour: where it is, in per cent, and what it is called."""

    at: float
    label: str


def shapes(marks: Iterable[Mark], now: int) -> list[Shape]:
    """Return the shapes to draw, in order: failures are on top."""
    spans: dict[MarkKind, list[tuple[int, int]]] = {}
    for mark in marks:
        begin = max(0, _x(mark.started_at, now))
        end = WIDTH if mark.kind is MarkKind.RUNNING else _x(mark.ended_at or mark.started_at, now)
        end = min(WIDTH, max(end, begin + _LEAST))
        known = spans.setdefault(mark.kind, [])
        if known and begin <= known[-1][1]:
            known[-1] = (known[-1][0], max(end, known[-1][1]))
        else:
            known.append((min(begin, WIDTH - _LEAST), end))
    return [Shape(kind, _path(kind, spans[kind])) for kind in _SHAPES if kind in spans]


def legend_mark(kind: MarkKind) -> str:
    """Return the appearance of a run of a kind, for a picture of 40 by ``HEIGHT``."""
    return _path(kind, [(4, 36)])


def said(marks: Sequence[Mark]) -> str:
    """The same in words."""
    total = sum(mark.count for mark in marks)
    if not total:
        return "no runs"
    failed = sum(mark.count for mark in marks if mark.kind is MarkKind.FAILURE)
    runs = "1 run" if total == 1 else f"{total} runs"
    return f"{runs}, {failed} failed" if failed else runs


def ticks(now: int) -> list[Tick]:
    """Every sixth hour of the host's clock within the time that is shown."""
    last = _local(now).replace(minute=0, second=0, microsecond=0)
    found = []
    for hours in range(24):
        moment = (last - timedelta(hours=hours)).astimezone()
        if moment.hour % _TICK_HOURS == 0:
            share = 100 - (now - moment.timestamp() * 1e6) / SPAN * 100
            found.append(Tick(round(share, 2), moment.strftime("%H:%M")))
    return found[::-1]


def _x(at: int, now: int) -> int:
    return WIDTH - (now - at) * WIDTH // SPAN


def _path(kind: MarkKind, spans: Iterable[tuple[int, int]]) -> str:
    top, height = _SHAPES[kind]
    return "".join(
        f"M{left} {top}h{right - left}v{height}h{left - right}z" for left, right in spans
    )


def _local(usec: int) -> datetime:
    return datetime.fromtimestamp(usec // 1_000_000, tz=timezone.utc).astimezone()
