"""Fields of cron expressions for which a job and its host choose a number: ``H``, ``~``.

``H`` is Jenkins' word, and ``~`` that of cronie and OpenBSD. The number depends on the seed, the
place of the field and the item alone, so it is the same each time.
"""

from __future__ import annotations

from lunasched.errors import ScheduleError
from lunasched.formats.pattern import pattern
from lunasched.schedule.parse import SEPARATOR

_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 28), ("month", 1, 12),
           ("day of week", 0, 6), ("second", 0, 59))  # fmt: skip
"""Name, lowest and highest number; the days of a month are those that each month has."""
_ITEM = pattern(
    r"(?:h(?:\(([0-9]{1,2})-([0-9]{1,2})\))?(?:/([0-9]{1,2}))?|([0-9]{1,2})?~([0-9]{1,2})?)"
)
_PLACE = pattern(r"h(?:$|[(/])|.*~")
_FIRST = pattern(r"[0-9*~?]|h(?:$|[(/,])")
_FIELD = pattern(r"[a-z0-9*/,?#~()-]+")
_NO_FIELDS = ("except", "only", "shift", "from", "until", "count", "on", "at")
_BEFORE = pattern(r"(?:(?:cron_)?tz=[^ ]* ?)?(?:cron:)? ?")


def has_places(text: str) -> bool:
    """Tell whether there may be something to choose in the text of a schedule."""
    return any(
        _PLACE.match(item) is not None
        for part in text.lower().split(SEPARATOR)
        for field in _fields(part)[1]
        for item in field.split(",")
    )


def placed(text: str, seed: str) -> str:
    """The text of a schedule with all numbers chosen; raises ``ScheduleError``.

    ``seed`` tells apart what shall have different numbers: the name of the job, and the host.
    """
    if not has_places(text):
        return text
    return SEPARATOR.join(_placed(part, seed) for part in text.split(SEPARATOR))


def _fields(part: str) -> tuple[str, list[str], str]:
    """What is in front of the fields of a cron expression, these, and what is behind them."""
    lead = part[: len(part) - len(part.lstrip())]
    match = _BEFORE.match(part.lower(), len(lead))
    begin = match.end() if match else len(lead)
    words = part[begin:].split(" ")
    count = 0
    if _FIRST.match(words[0].lower()):
        while count < min(len(words), len(_FIELDS)) and _is_field(words[count].lower()):
            count += 1
    if count < 5:
        return part, [], ""
    rest = " ".join(words[count:])
    return part[:begin], words[:count], f" {rest}" if rest else ""


def _is_field(word: str) -> bool:
    """Tell whether a word, in lower case, may be a field: a number, a step, a weekday, ``H``."""
    return _FIELD.fullmatch(word) is not None and word not in _NO_FIELDS


def _placed(part: str, seed: str) -> str:
    before, fields, rest = _fields(part)
    chosen = [_field(number, field, seed, part) for number, field in enumerate(fields)]
    return before + " ".join(chosen) + rest


def _field(number: int, field: str, seed: str, part: str) -> str:
    return ",".join(_item(number, item, seed, part) for item in field.split(","))


def _item(number: int, item: str, seed: str, part: str) -> str:
    lower = item.lower()
    if not _PLACE.match(lower):
        return item
    name, low, high = _FIELDS[number]
    match = _ITEM.fullmatch(lower)
    if match is not None:
        begin, end = int(match[1] or match[4] or low), int(match[2] or match[5] or high)
        step = int(match[3]) if match[3] else None
        top = 31 if name == "day of month" else high
        if low <= begin <= end <= top and (step is None or 1 <= step <= end - begin + 1):
            offset = _chosen(f"{seed}\0{number}\0{lower}", step or end - begin + 1)
            if step is None:
                return str(begin + offset)
            return f"{begin + offset}-{end}/{step}"
    text = " ".join(part.split())
    raise ScheduleError(
        f"{item!r} is not a number that job and host choose in the {name} field: it is H, H/15, "
        f"H({low}-{high}), H({low}-{high})/10 or {low}~{high}.",
        text=text,
        position=max(text.find(item), 0),
    )


def _chosen(seed: str, count: int) -> int:
    from hashlib import sha256

    return int.from_bytes(sha256(seed.encode()).digest()[:8], "big") % count
