"""Named sets of days, a file each: ``/etc/lunasched/calendars.d/holidays.yaml``, or ``.ics``.

They belong to the machine, like its time zones: a schedule names one, and whoever needs its days
reads them here. A YAML file is a list of days, or a mapping::

    description: Days on which our office is closed
    days: [2026-12-24..2027-01-02, 12-25, 05-01]
    include: [holidays]
    holidays: {country: DE, subdivision: BY}

``holidays`` has the library of that name compute the public holidays. Of an iCalendar file
(RFC 5545) the events that last whole days count, with their recurrences.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from lunasched.dataclass import dataclass
from lunasched.errors import CalendarError, InvalidInput
from lunasched.formats.pattern import pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAME_MAX = 64
BYTES_MAX = 8 << 20
_NAME = pattern(r"[A-Za-z][A-Za-z0-9_-]*")
_DAY = pattern(r"(?:([0-9]{4})-)?([0-9]{2})-([0-9]{2})")
_SUFFIXES = (".yaml", ".yml", ".ics")
_KEYS = ("description", "days", "include", "holidays")
_OF_HOLIDAYS = ("country", "subdivision")
_EVENT_MAX = 1_000
"""The most days of a year of one event of an iCalendar file."""
FIRST_YEAR, LAST_YEAR = 1970, 2199

_directories: list[Path] = []
"""None or one: whoever starts a program says which."""


@dataclass(frozen=True, slots=True)
class DayCalendar:
    """One calendar: its file, and its days by year."""

    name: str
    path: Path
    version: str
    """Another for other days; it changes with the file and those that it includes."""
    description: str
    last: int | None
    """The last day that it can have (``date.toordinal``), or None if there is no end to them."""
    of_year: Callable[[int], frozenset[int]]


def look_in(directory: Path) -> None:
    """Have calendars read in this directory from now on."""
    _directories[:] = [directory]
    forget_calendars()


def forget_calendars() -> None:
    """Drop what was read, after a file was changed."""
    read_calendar.cache_clear()
    calendar_days.cache_clear()


def calendar_names() -> list[str]:
    """The names of all calendars that there are files of, sorted."""
    found: list[Path] = []
    for directory in _directories:
        try:
            found += directory.iterdir()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise CalendarError(f"{directory}: {error.strerror}") from None
    return sorted({path.stem for path in found if path.suffix in _SUFFIXES and _is_name(path.stem)})


def has_calendar(name: str) -> bool:
    """Tell whether there is a file of a calendar."""
    return _is_name(name) and _path(name) is not None


def calendar_version(name: str) -> str:
    """What is another text for other days; raises ``CalendarError``, as ``read_calendar`` does."""
    return read_calendar(name).version


@lru_cache(maxsize=512)
def calendar_days(name: str, year: int) -> frozenset[int]:
    """The days of a calendar in a year (``date.toordinal``); raises as ``read_calendar`` does."""
    return read_calendar(name).of_year(year)


@lru_cache(maxsize=64)
def read_calendar(name: str) -> DayCalendar:
    """Read a calendar; raises ``CalendarError`` with what is wrong and where."""
    return _read(name, ())


def _read(name: str, above: tuple[str, ...]) -> DayCalendar:
    path = _path(name) if _is_name(name) else None
    if path is None:
        places = "".join(f"; it would be {each}/{name}.yaml or .ics" for each in _directories)
        raise CalendarError(f"there is no calendar {name}{places}")
    if name in above:
        raise CalendarError(f"{path}: the calendar includes itself")
    try:
        with path.open("rb") as file:
            content = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise CalendarError(f"{path}: {error.strerror}") from None
    if len(content) > BYTES_MAX:
        raise CalendarError(f"{path}: it is larger than {BYTES_MAX >> 20} MiB")
    if path.suffix == ".ics":
        return _of_events(name, path, content)
    return _of_document(name, path, content, (*above, name))


def _digest(*parts: bytes) -> str:
    from hashlib import sha256

    return sha256(b"\0".join(parts)).hexdigest()[:16]


def _is_name(name: str) -> bool:
    return len(name) <= NAME_MAX and _NAME.fullmatch(name) is not None


def _path(name: str) -> Path | None:
    for path in (directory / f"{name}{end}" for directory in _directories for end in _SUFFIXES):
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise CalendarError(f"{path}: {error.strerror}") from None
        return path
    return None


def _of_document(name: str, path: Path, content: bytes, above: tuple[str, ...]) -> DayCalendar:
    from lunasched.formats.document import Format, read_document

    try:
        document = read_document(content, str(path), Format.YAML)
    except InvalidInput as error:
        raise CalendarError(str(error)) from None
    value = document.value

    def wrong(reason: str, *place: str | int) -> CalendarError:
        return CalendarError(f"{path}:{document.line(place)}: {reason}")

    if isinstance(value, list):
        value = {"days": value}
    if not isinstance(value, dict):
        raise wrong("a calendar is a list of days, or has the keys " + ", ".join(_KEYS))
    for key in value:
        if key not in _KEYS:
            raise wrong(f"{key!r} is none of {', '.join(_KEYS)}", key)
    for key in ("days", "include"):
        if not isinstance(value.get(key, []), list):
            raise wrong(f"{key} is a list", key)
    spans = []
    for number, item in enumerate(value.get("days", [])):
        place = ("days", number) if isinstance(document.value, dict) else (number,)
        found = _span(item) if isinstance(item, str) else None
        if found is None:
            raise wrong(
                f"{item!r} is not a day: write YYYY-MM-DD, or MM-DD for one of each year, "
                "or two with '..' between them",
                *place,
            )
        spans.append(found)
    included = [_read(str(item), above) for item in value.get("include", [])]
    computed = _holidays(value["holidays"], wrong) if "holidays" in value else None
    parts = [content, *(other.version.encode() for other in included)]
    ends = [span[1] if isinstance(span[1], int) else None for span in spans]
    ends += [other.last for other in included] + ([None] if computed else [])

    def of_year(year: int) -> frozenset[int]:
        days = {day for span in spans for day in _days_of(span, year)}
        days |= computed(year) if computed else set()
        return frozenset(days.union(*(other.of_year(year) for other in included)))

    if computed is not None:
        # Another version of the library may know other days.
        parts.append(repr([sorted(computed(year)) for year in range(2020, 2040)]).encode())
    return DayCalendar(
        name,
        path,
        _digest(*parts),
        str(value.get("description") or ""),
        None if None in ends else max((end for end in ends if end is not None), default=0),
        of_year,
    )


_Place = int | tuple[int, int]
"""A day (``date.toordinal``), or the month and day of each year."""


def _span(text: str) -> tuple[_Place, _Place] | None:
    first_text, dots, last_text = text.strip().partition("..")
    first = _place(first_text)
    last = _place(last_text) if dots else first
    if first is None or last is None or isinstance(first, int) is not isinstance(last, int):
        return None
    if isinstance(first, int) and isinstance(last, int) and last < first:
        return None
    return first, last


def _place(text: str) -> _Place | None:
    match = _DAY.fullmatch(text.strip())
    if match is None:
        return None
    year, month, day = (int(group or 2000) for group in match.groups())
    try:
        found = date(year, month, day)
    except ValueError:
        return None
    if match[1] is None:
        return month, day
    return found.toordinal() if FIRST_YEAR <= year <= LAST_YEAR else None


def _days_of(span: tuple[_Place, _Place], year: int) -> Iterator[int]:
    begin, end = date(year, 1, 1).toordinal(), date(year, 12, 31).toordinal()
    first, last = span
    if isinstance(first, int) and isinstance(last, int):
        yield from range(max(first, begin), min(last, end) + 1)
        return
    for day in range(begin, end + 1):
        moment = date.fromordinal(day)
        place = (moment.month, moment.day)
        within = first <= place <= last if first <= last else place >= first or place <= last  # type: ignore[operator]
        if within:
            yield day


def _holidays(value: object, wrong: Callable[..., CalendarError]) -> Callable[[int], set[int]]:
    """What computes the public holidays of a year, by the library ``holidays``."""
    if not isinstance(value, dict) or "country" not in value:
        raise wrong("holidays is {country: DE} or {country: DE, subdivision: BY}", "holidays")
    for key, each in value.items():
        if key not in _OF_HOLIDAYS or not isinstance(each, str):
            raise wrong(f"{key!r} is not a country or subdivision as a text", "holidays", key)
    try:
        library: Any = import_module("holidays")
    except ImportError:
        raise wrong(
            "public holidays need the library holidays: install python3-holidays, "
            "or 'pip install holidays'",
            "holidays",
        ) from None
    country, subdivision = value["country"], value.get("subdivision")

    def of_year(year: int) -> set[int]:
        try:
            return computed(year)
        except Exception as error:
            # A library of others: what it raises for a year that it does not know is its own.
            raise wrong(
                f"the library holidays has no days of {year}: {error}", "holidays"
            ) from None

    def computed(year: int) -> set[int]:
        if hasattr(library, "country_holidays"):
            found = library.country_holidays(country, subdiv=subdivision, years=[year])
        else:
            # Until 0.12, as Debian 12 has it.
            found = library.CountryHoliday(country, prov=subdivision, years=[year])
        return {day.toordinal() for day in found if day.year == year}

    of_year(2026)
    return of_year


def _of_events(name: str, path: Path, content: bytes) -> DayCalendar:
    try:
        icalendar: Any = import_module("icalendar")
        rruleset: Any = import_module("dateutil.rrule").rruleset
    except ImportError:
        raise CalendarError(
            f"{path}: iCalendar files need the library icalendar: install python3-icalendar, "
            "or 'pip install icalendar'"
        ) from None
    try:
        calendar: Any = icalendar.Calendar.from_ical(content)
        events = [_event(event, rruleset()) for event in calendar.walk("VEVENT")]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise CalendarError(f"{path}: it is no iCalendar file (RFC 5545): {error}") from None
    whole = [event for event in events if event is not None]

    @lru_cache(maxsize=16)
    def of_year(year: int) -> frozenset[int]:
        return frozenset(
            day
            for begins, length, _ in whole
            for first in _beginnings(begins, year, length)
            for day in range(first, first + length)
            if date.fromordinal(day).year == year
        )

    ends = [last for _, _, last in whole]
    return DayCalendar(
        name,
        path,
        _digest(content),
        str(calendar.get("X-WR-CALNAME", "")),
        None if None in ends else max((end for end in ends if end is not None), default=0),
        of_year,
    )


def _event(event: Any, begins: Any) -> tuple[Any, int, int | None] | None:
    """When an event of whole days begins, its length in days, and the last of its days."""
    rrulestr: Any = import_module("dateutil.rrule").rrulestr
    start = event["DTSTART"].dt
    if isinstance(start, datetime):
        return None
    if "DTEND" in event:
        length = (event["DTEND"].dt - start).days
    else:
        length = event["DURATION"].dt.days if "DURATION" in event else 1
    length = max(1, min(length, _EVENT_MAX))
    first = datetime.combine(start, time())
    begins.rdate(first)
    endless = False
    rules = event.get("RRULE", [])
    for rule in rules if isinstance(rules, list) else [rules]:
        text = rule.to_ical().decode()
        endless = endless or not ("UNTIL" in text or "COUNT" in text)
        begins.rrule(rrulestr(text, dtstart=first, ignoretz=True))
    for key, add in (("RDATE", begins.rdate), ("EXDATE", begins.exdate)):
        lists = event.get(key, [])
        for each in lists if isinstance(lists, list) else [lists]:
            for moment in each.dts:
                add(datetime.combine(moment.dt, time()))
    if endless:
        return begins, length, None
    last = 0
    for moment in begins:
        if moment.year > LAST_YEAR:
            break
        last = moment.toordinal()
    return begins, length, last + length - 1


def _beginnings(begins: Any, year: int, length: int) -> Iterator[int]:
    """The first days of an event that lasts into a year."""
    first = datetime.combine(date(year, 1, 1), time()) - timedelta(days=length)
    for number, moment in enumerate(begins.xafter(first, inc=True)):
        if moment.year > year or number > _EVENT_MAX:
            return
        yield moment.toordinal()
