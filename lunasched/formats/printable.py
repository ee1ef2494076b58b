"""Text from outside that is shown: nothing in it steers a terminal or breaks a table."""

from __future__ import annotations

import re

from lunasched.formats.pattern import pattern

UNPRINTABLE = pattern(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufff9-\uffff]"
)
"""Control characters but for newline and tab, what turns the direction of text round or breaks a
line unseen (UAX #9, UAX #14), halves of pairs, and what is no character."""


def command_text(command: str | tuple[str, ...]) -> str:
    """A command as a shell would be given it."""
    if isinstance(command, str):
        return command
    import shlex

    return shlex.join(command)


def printable(text: str) -> str:
    """Text that cannot steer a terminal: what would is there as an escape. Lines and tabs stay."""
    return UNPRINTABLE.sub(_shown, text)


def json_text(text: str) -> str:
    """JSON of which each character can be printed, and that still says the same."""
    return UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _shown(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def one_line(text: str, width: int = 60) -> str:
    """Text for a cell of a table."""
    flat = "".join(char if char.isprintable() else " " for char in text)
    return flat if len(flat) <= width else flat[: width - 1] + "…"
