"""Numbers in text from outside: ASCII digits, so many at most, with nothing around them.

``int()`` and ``float()`` take more than anybody means (digits of every script, underscores, white
space that ``str.strip`` does not know), raise for more than 4,300 digits, and need time that grows
with the square of their number. So what comes from outside is read here.
"""

from __future__ import annotations

from lunasched.formats.pattern import pattern

DIGITS_MAX = 18
"""The most digits of a whole number, and on each side of a point: what fits into 64 bits."""

_WHOLE = pattern(r"[0-9]{1,18}\Z")
_DECIMAL = pattern(r"[0-9]{1,18}(?:\.[0-9]{1,18})?\Z")


def whole(text: str) -> int | None:
    """A whole number, not negative; ``None`` for any other text."""
    return int(text) if _WHOLE.match(text) else None


def decimal(text: str) -> float | None:
    """A number with or without a fraction, not negative; ``None`` for any other text."""
    return float(text) if _DECIMAL.match(text) else None
