"""The clauses behind a schedule a second time, from lunasched-schedule(5) alone.

Nothing here comes from ``lunasched``: a schedule is drawn with what it means, as a question about
one wall-clock time, which :func:`reference.walk` asks of every minute.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta

from reference import Cron

Day = Callable[[date], bool]

_NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_ORDINALS = ("1st", "2nd", "3rd", "4th", "5th")


@dataclass
class Meaning:
    """A cron expression with clauses; ``matches`` and ``wildcard`` are what ``walk`` asks for."""

    cron: Cron
    text: str
    days: list[Day] = field(default_factory=list)
    """What a day must be."""
    times: list[Callable[[datetime], bool]] = field(default_factory=list)
    """What a time must be."""
    recurs: Day = lambda day: True
    """What a day must be before it is shifted."""
    shift: int = 0
    """1 for the next business day, -1 for the one before."""
    begin: datetime = datetime.min
    end: datetime = datetime.max
    count: int | None = None

    @property
    def wildcard(self) -> bool:
        return self.cron.wildcard

    @property
    def with_seconds(self) -> bool:
        return self.cron.with_seconds

    def matches(self, wall: datetime) -> bool:
        if not self.begin <= wall <= self.end or not all(good(wall) for good in self.times):
            return False
        if not self.shift:
            return self._on(wall) and self._allows(wall.date())
        if not self._allows(wall.date()):
            return False
        # The slots that end here began on days from which all days up to this one are closed.
        came = wall
        while True:
            if self._on(came):
                return True
            came -= timedelta(days=self.shift)
            if self._allows(came.date()) or abs((came - wall).days) > 27:
                return False

    def _on(self, wall: datetime) -> bool:
        return self.cron.matches(wall) and self.recurs(wall.date())

    def _allows(self, day: date) -> bool:
        if self.shift and day.isoweekday() > 5:
            return False
        return all(good(day) for good in self.days)


def draw(rng: random.Random, expression: str, near: datetime) -> Meaning:
    """A meaning whose dates are near a point in time, with the text that says it."""
    found = Meaning(Cron(expression.replace("?", "*")), expression)
    clauses: list[str] = []
    kinds = ["days", "days", "only", "span", "span", "bounds", "shift"]
    for kind in rng.sample(kinds, rng.choice((1, 1, 2, 2, 3))):
        clauses += _CLAUSES[kind](rng, found, near)
    rng.shuffle(clauses)
    found.text = " ".join([expression, *clauses])
    return found


def _set(rng: random.Random, near: datetime) -> tuple[str, Day]:
    """Some days, with the words for them."""
    kind = rng.choice(("week", "week", "range", "nth", "date", "dates", "yearly", "business"))
    first = near.date() + timedelta(days=rng.randint(-3, 3))
    last = first + timedelta(days=rng.randint(0, 9))
    if kind == "week":
        chosen = sorted(rng.sample(range(7), rng.randint(1, 3)))
        return ",".join(_NAMES[n] for n in chosen), lambda day: day.weekday() in chosen
    if kind == "range":
        low = rng.randrange(7)
        size = rng.randint(1, 4)
        within = {(low + n) % 7 for n in range(size + 1)}
        return f"{_NAMES[low]}-{_NAMES[(low + size) % 7]}", lambda day: day.weekday() in within
    if kind == "nth":
        weekday, number = rng.randrange(7), rng.randrange(5)
        if rng.random() < 0.3:
            return (
                f"last {_NAMES[weekday]}",
                lambda day: (
                    day.weekday() == weekday and (day + timedelta(days=7)).month != day.month
                ),
            )
        return (
            f"{_ORDINALS[number]} {_NAMES[weekday]}",
            lambda day: day.weekday() == weekday and (day.day - 1) // 7 == number,
        )
    if kind == "date":
        return f"{first}", lambda day: day == first
    if kind == "dates":
        return f"{first}..{last}", lambda day: first <= day <= last
    if kind == "yearly":
        low_place, high_place = (first.month, first.day), (last.month, last.day)

        def within_year(day: date) -> bool:
            place = (day.month, day.day)
            if low_place <= high_place:
                return low_place <= place <= high_place
            return place >= low_place or place <= high_place

        return f"{first:%m-%d}..{last:%m-%d}", within_year
    return "business-days", lambda day: day.isoweekday() < 6


def _except(rng: random.Random, found: Meaning, near: datetime) -> list[str]:
    sets = [_set(rng, near) for _ in range(rng.choice((1, 1, 2)))]
    found.days.append(lambda day: not any(holds(day) for _, holds in sets))
    return ["except " + ",".join(words for words, _ in sets)]


def _only(rng: random.Random, found: Meaning, near: datetime) -> list[str]:
    sets = [_set(rng, near) for _ in range(rng.choice((1, 2)))]
    found.days.append(lambda day: any(holds(day) for _, holds in sets))
    return ["only " + ",".join(words for words, _ in sets)]


def _time(rng: random.Random) -> time:
    hour = rng.choice((0, 0, 1, 1, 2, 2, 3, 3, 22, 23, rng.randrange(24)))
    return time(hour, rng.choice((0, 0, 30, 45)))


def _span(rng: random.Random, found: Meaning, near: datetime) -> list[str]:
    begin, end = _time(rng), _time(rng)
    if begin == end:
        end = time((begin.hour + 1) % 24, 30)
    words = f"at {begin:%H:%M}-{end:%H:%M}"
    said, holds = ("", None) if rng.random() < 0.5 else _set(rng, near)
    if rng.random() < 0.3 and (begin < end or holds is None):

        def kept(wall: datetime) -> bool:
            at = wall.time()
            within = begin <= at < end if begin < end else at >= begin or at < end
            return within and (holds is None or holds(wall.date()))

        found.times.append(kept)
        return [f"only {words}" + (f" on {said}" if said else "")]

    def left(wall: datetime) -> bool:
        at, day = wall.time(), wall.date()
        if begin < end:
            return not (begin <= at < end and (holds is None or holds(day)))
        if at >= begin and (holds is None or holds(day)):
            return False
        return not (at < end and (holds is None or holds(day - timedelta(days=1))))

    found.times.append(left)
    return [f"except {words}" + (f" on {said}" if said else "")]


def _bounds(rng: random.Random, found: Meaning, near: datetime) -> list[str]:
    clauses = []
    begin = datetime.combine(near.date() + timedelta(days=rng.randint(-2, 1)), time())
    if rng.random() < 0.5:
        begin = datetime.combine(begin.date(), _time(rng))
        clauses.append(f"from {begin:%Y-%m-%d %H:%M}")
    else:
        clauses.append(f"from {begin:%Y-%m-%d}")
    found.begin = begin
    what = rng.random()
    if what < 0.4:
        end = begin + timedelta(days=rng.randint(0, 3), minutes=rng.randrange(1440))
        if rng.random() < 0.5:
            end = datetime.combine(end.date(), time(23, 59, 59))
            clauses.append(f"until {end:%Y-%m-%d}")
        else:
            end = end.replace(second=0)
            clauses.append(f"until {end:%Y-%m-%d %H:%M}")
        found.end = end
    elif what < 0.6:
        found.count = rng.randint(1, 9)
        clauses.append(f"count {found.count}")
    return clauses


def _shift(rng: random.Random, found: Meaning, near: datetime) -> list[str]:
    found.shift = rng.choice((1, -1))
    return [f"shift {'next' if found.shift > 0 else 'previous'}-business-day"]


_CLAUSES: dict[str, Callable[[random.Random, Meaning, datetime], list[str]]] = {
    "days": _except,
    "only": _only,
    "span": _span,
    "bounds": _bounds,
    "shift": _shift,
}


def draw_stepped(rng: random.Random, near: datetime) -> Meaning:
    """``every 2 weeks on Mon,Fri at 02:30 from DATE``, and its kin."""
    anchor = near.date() - timedelta(days=rng.randint(0, 70))
    number = rng.randint(1, 4)
    at = _time(rng)
    kind = rng.choice(("days", "weeks", "weeks", "months"))
    on = ""
    days = "*", "*"
    if kind == "days":

        def recurs(day: date) -> bool:
            return (day - anchor).days % number == 0
    elif kind == "weeks":
        chosen = sorted({anchor.weekday(), rng.randrange(7)})
        on = " on " + ",".join(_NAMES[n] for n in chosen)
        if rng.random() < 0.3:
            chosen, on = [anchor.weekday()], ""
        days = "*", ",".join(str((n + 1) % 7) for n in chosen)
        monday = anchor - timedelta(days=anchor.weekday())

        def recurs(day: date) -> bool:
            return (day - monday).days // 7 % number == 0
    else:
        anchor = anchor.replace(day=min(anchor.day, 28))
        days = str(anchor.day), "*"
        if rng.random() < 0.6:
            day_number = rng.randint(1, 31)
            days = str(day_number), "*"
            on = f" on {rng.choice((f'day {day_number}', f'the {day_number}th'))}"
        if rng.random() < 0.2:
            days, on = ("L", "*"), " on last day"

        def recurs(day: date) -> bool:
            return (day.year * 12 + day.month - anchor.year * 12 - anchor.month) % number == 0

    found = Meaning(Cron(f"{at.minute} {at.hour} {days[0]} * {days[1]}"), "")
    found.recurs = recurs
    found.begin = datetime.combine(anchor, time())
    found.text = f"every {number} {kind}{on} at {at:%H:%M} from {anchor}"
    if rng.random() < 0.4:
        clause = _CLAUSES[rng.choice(("days", "span", "shift"))]
        found.text = " ".join([found.text, *clause(rng, found, near)])
    return found
