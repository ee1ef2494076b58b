"""A plot of durations over time: the positions of the points and of the axes' labels."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

from lunasched.dataclass import dataclass
from lunasched.formats import measures
from lunasched.formats.quantities import duration, local_time
from lunasched.history.overview import MarkKind
from lunasched.history.phrases import run_ended
from lunasched.history.run import Result, Run

WIDTH, HEIGHT = 720, 260
"""Of the whole picture, in its own units."""
LEFT, RIGHT, TOP, BOTTOM = 84, 16, 14, 40
"""The margins, which hold the labels."""

# Of the labels, at the size that they have on a phone.
_HALF_LETTER = 6.5

_SECOND = 1_000_000
_MINUTE, _HOUR, _DAY = (
    int(unit.seconds) * _SECOND for unit in (measures.MINUTE, measures.HOUR, measures.DAY)
)
_SPAN_STEPS = tuple(
    [base * factor for factor in (1000, 10_000, 100_000) for base in (1, 2, 5)]
    + [n * _SECOND for n in (1, 2, 5, 10, 15, 30)]
    + [n * _MINUTE for n in (1, 2, 5, 10, 15, 30)]
    + [n * _HOUR for n in (1, 2, 3, 6, 12)]
    + [n * _DAY for n in (1, 2, 5, 10, 30, 100, 365)]
)
_TIME_STEPS = tuple(
    [n * _MINUTE for n in (1, 2, 5, 10, 15, 30)]
    + [n * _HOUR for n in (1, 2, 3, 6, 12)]
    + [n * _DAY for n in (1, 2, 5, 10, 30, 100, 365, 3650)]
)
_Y_TICKS, _X_TICKS = 5, 4


@dataclass(frozen=True, slots=True)
class Point:
    """One run; ``failed`` ones have another shape."""

    x: float
    y: float
    failed: bool
    run: Run
    title: str


@dataclass(frozen=True, slots=True)
class Label:
    """A line across the plot at a position, and what it stands for, where there is room for it."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Plot:
    """Everything that is drawn."""

    points: tuple[Point, ...]
    rows: tuple[Label, ...]
    """Of the durations."""
    columns: tuple[Label, ...]
    """Of the times."""


def plot(runs: Sequence[Run]) -> Plot | None:
    """The durations of the runs that ended and were not refused; ``None`` if there is none."""
    timed = [
        (run, max(0, run.ended_at - run.started_at))
        for run in runs
        if run.ended_at is not None and run.result is not Result.SKIPPED
    ]
    if not timed:
        return None
    longest = max(1000, max(took for _, took in timed))
    step = _step(longest, _SPAN_STEPS, _Y_TICKS)
    top = -(-longest // step) * step
    first = min(run.started_at for run, _ in timed)
    last = max(first + _MINUTE, max(run.started_at for run, _ in timed))

    def across(at: int) -> float:
        return round(LEFT + (at - first) / (last - first) * (WIDTH - LEFT - RIGHT), 1)

    def up(took: int) -> float:
        return round(HEIGHT - BOTTOM - took / top * (HEIGHT - TOP - BOTTOM), 1)

    points = tuple(
        Point(
            across(run.started_at),
            up(took),
            MarkKind.of(run.result) is MarkKind.FAILURE,
            run,
            f"{local_time(run.started_at)}: {run_ended(run)}, took {duration(took)}",
        )
        for run, took in timed
    )
    rows = tuple(Label(up(took), _short(took)) for took in range(0, top + 1, step))
    columns = tuple(
        Label(place, text if place + len(text) * _HALF_LETTER <= WIDTH else "")
        for place, text in ((across(at), text) for at, text in _times(first, last))
    )
    # What failed is drawn last, on top.
    return Plot(tuple(sorted(points, key=lambda point: point.failed)), rows, columns)


def _step(span: int, steps: Sequence[int], most: int) -> int:
    return next((step for step in steps if span / step <= most), steps[-1])


def _times(first: int, last: int) -> list[tuple[int, str]]:
    """The moments that are round on the host's clock, and what to call them."""
    step = _step(last - first, _TIME_STEPS, _X_TICKS)
    offset = _local(first).utcoffset()
    shift = 0 if offset is None else int(offset.total_seconds()) * _SECOND
    begin = -(-(first + shift) // step) * step - shift
    form = "%d %b" if step >= _DAY else "%H:%M"
    if step < _DAY <= last - first:
        form = "%d %b %H:%M"
    return [(at, _local(at).strftime(form)) for at in range(begin, last + 1, step)]


def _short(took: int) -> str:
    """A round span of time."""
    for unit in measures.DAYS_TO_SECONDS:
        size = int(unit.seconds) * _SECOND
        if took >= size and took % size == 0:
            return f"{took // size} {unit.symbol}"
    if took >= _MINUTE:
        return duration(took)
    return f"{took // 1000} ms" if took else "0"


def _local(usec: int) -> datetime:
    return datetime.fromtimestamp(usec // 1_000_000, tz=timezone.utc).astimezone()
