"""The fields of a calendar event expression: values, ranges and steps (systemd.time(7))."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lunasched.dataclass import dataclass
from lunasched.schedule.days import ALL_DAYS
from lunasched.schedule.rule import WEEKDAY_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable

SECOND = 1_000_000


@dataclass(frozen=True, slots=True, order=True)
class Component:
    """``start``, ``start/repeat`` or ``start..stop/repeat``; ``stop`` is -1 where there is none."""

    start: int
    stop: int
    repeat: int

    def values(self, high: int) -> range:
        if not self.repeat:
            return range(self.start, self.start + 1)
        return range(self.start, (high if self.stop < 0 else self.stop) + 1, self.repeat)


Chain = tuple[Component, ...]
"""A list of components; empty means any value."""
ZERO = Component(0, -1, 0)


def only(value: int) -> Chain:
    """A chain of one value."""
    return (Component(value, -1, 0),)


def full_year(part: Component) -> Component:
    """Years of two digits in full: 12 is 2012, 89 is 1989."""

    def full(year: int) -> int:
        return year + 2000 if 0 <= year < 70 else year + 1900 if 70 <= year < 100 else year

    return Component(full(part.start), full(part.stop), part.repeat)


def aligned(part: Component) -> Component:
    """The range with its end on the last value of its step; a step beyond the end is none."""
    if part.stop > part.start and part.repeat > 0:
        if part.start + part.repeat > part.stop:
            return Component(part.start, -1, 0)
        stop = part.stop - (part.stop - part.start) % part.repeat
        return Component(part.start, stop, part.repeat)
    return part


def expand(chain: Chain, high: int) -> tuple[int, ...]:
    """All values of a chain, ascending, up to ``high``."""
    return tuple(sorted({value for part in chain for value in part.values(high)}))


def closed(chain: Chain, high: int) -> Chain:
    """The chain with the end of each step, in systemd's normal form: the same values up to
    ``high``."""
    return _normal(
        Component(part.start, part.values(high)[-1], part.repeat) if _is_open(part) else part
        for part in chain
    )


def closed_days(chain: Chain, high: int, from_end: bool) -> Chain:
    """The same for days, which with ``from_end`` step towards the end of the month."""
    if not from_end:
        return closed(chain, high)
    return _normal(
        Component((part.start - 1) % part.repeat + 1, part.start, part.repeat)
        if _is_open(part)
        else part
        for part in chain
    )


def loses_values(chain: Chain, high: int) -> bool:
    """Tell whether a step without an end, counted from 0 to ``high``, runs into the next unit
    beyond a value there."""
    beyond = [part.values(high)[-1] + part.repeat - (high + 1) for part in chain if _is_open(part)]
    return bool(beyond) and min(beyond) > min(part.start for part in chain)


def _is_open(part: Component) -> bool:
    return part.stop < 0 and part.repeat > 0


def _normal(parts: Iterable[Component]) -> Chain:
    return tuple(sorted(set(parts)))


def day_numbers(chain: Chain, from_end: bool) -> frozenset[int]:
    """The days of a chain, counted from the end of the month with ``from_end``."""
    if not chain:
        return ALL_DAYS
    if not from_end:
        return frozenset(expand(chain, 31))
    # "~07/1" steps towards the end of the month, which is number 1.
    return frozenset(
        number
        for part in chain
        for number in (
            part.values(31)
            if part.stop >= 0 or not part.repeat
            else range(part.start, 0, -part.repeat)
        )
    )


def format_weekdays(weekdays: frozenset[int]) -> str:
    """``Mon..Fri`` or ``Mon,Wed``, as systemd prints weekdays."""
    runs: list[list[int]] = []
    for number in sorted(weekdays):
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(
        (".." if len(run) > 2 else ",").join(
            WEEKDAY_NAMES[number] for number in dict.fromkeys((run[0], run[-1]))
        )
        for run in runs
    )


def format_chain(chain: Chain, width: int) -> str:
    """A chain as systemd prints it, each number with leading zeros."""
    return ",".join(_format_component(part, width) for part in chain) or "*"


def _format_component(part: Component, width: int) -> str:
    text = f"{part.start:0{width}}"
    if part.stop > 0:
        text += f"..{part.stop:0{width}}"
    if part.repeat > 0 and not (part.stop > 0 and part.repeat == 1):
        text += f"/{part.repeat}"
    return text


def format_seconds(chain: Chain) -> str:
    """A chain of µs as systemd prints seconds."""
    if chain == (Component(0, -1, SECOND),):
        return "*"
    return ",".join(_format_second(part) for part in chain)


def _format_second(part: Component) -> str:
    text = _decimal(part.start, 2)
    if part.stop > 0:
        text += f"..{_decimal(part.stop, 2)}"
    if part.repeat > 0 and not (part.stop > 0 and part.repeat == SECOND):
        text += f"/{_decimal(part.repeat, 1)}"
    return text


def _decimal(value: int, width: int) -> str:
    whole, fraction = divmod(value, SECOND)
    return f"{whole:0{width}}" + (f".{fraction:06}" if fraction else "")
