"""The way out for what other programs take as a schedule, and lunasched does not."""

from __future__ import annotations

from lunasched.formats.pattern import pattern

_UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("d", "day", "days"), "d"),
    **dict.fromkeys(("w", "week", "weeks"), "w"),
}
_AMOUNT = pattern(r"([0-9]{0,9}) ?([a-z]+)(?:,? (?:and )?|(?=[0-9])|\Z)")
_NAMES = ("hourly", "daily", "midnight", "weekly", "monthly", "yearly", "annually", "reboot")
_CLOCK = pattern(r"([0-9]{1,2})(?::([0-9]{2}))? ?(am|pm)?(?= |\Z)")
_ZONE = pattern(r"(?:cron_)?tz=")


def way_out(text: str) -> str | None:
    """Return a sentence with what to write instead of ``text`` (in lower case), or None."""
    if _ZONE.match(text):
        return (
            "The time zone is not a part of the schedule; give it as --timezone, in files as "
            "timezone."
        )
    if text in _NAMES:
        return f"Write @{text}."
    if text.startswith(("h ", "h/", "h(")):
        return "H (a place chosen by hash) is not supported; write a number, and use a jitter."
    if text.startswith(("every ", "@every ")):
        interval = _interval(text.partition(" ")[2])
        return None if interval is None else f"Write every {interval}."
    if text.startswith("at "):
        time = _time(text.removeprefix("at "))
        return None if time is None else f"Write at {time}."
    return None


def _interval(text: str) -> str | None:
    found, position = "", 0
    while position < len(text):
        match = _AMOUNT.match(text, position)
        if match is None or match[2] not in _UNITS:
            return None
        found += f"{match[1] or '1'}{_UNITS[match[2]]}"
        position = match.end()
    return found or None


def _time(text: str) -> str | None:
    match = _CLOCK.match(text)
    if match is None:
        return None
    hour, minute, half = int(match[1]), int(match[2] or 0), match[3]
    if half is not None and 1 <= hour <= 12:
        hour = hour % 12 + (12 if half == "pm" else 0)
    elif half is not None:
        return None
    if hour > 23 or minute > 59:
        return None
    return f"{hour:02}:{minute:02}{text[match.end() :]}"
