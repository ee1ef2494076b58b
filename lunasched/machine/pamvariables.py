"""The environment variables that cron's PAM session gives each command: pam_env(8).

Cron itself reads none of these files. Its services in /etc/pam.d do, on Debian and Fedora, so that
a proxy in /etc/environment reaches the commands of all crontabs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lunasched.formats.pattern import pattern

PAM_FILES = ("/etc/environment", "/etc/default/locale")
"""In their order: a variable of the second replaces one of the first."""

_SIZE_MAX = 1 << 16
_SPACE = " \t"
_NAME = pattern(r"[A-Za-z0-9_]+")
_QUOTES = ("'", '"')


def pam_variables(root: Path = Path("/")) -> dict[str, str]:
    """The variables of the machine whose files are below ``root``; none of what cannot be read."""
    found: dict[str, str] = {}
    for path in PAM_FILES:
        with suppress(OSError, UnicodeDecodeError), (root / path.lstrip("/")).open("rb") as file:
            read_variables(file.read(_SIZE_MAX).decode(), found)
    return found


def read_variables(text: str, known: dict[str, str]) -> None:
    """Set and delete variables as pam_env does for a file with this text.

    A name alone deletes it. A quotation mark at the beginning of a value, and then one at its end,
    are left out; all other characters up to a ``#`` are the value.
    """
    for line in _lines(text):
        name, is_set, value = line.lstrip(_SPACE).removeprefix("export ").partition("=")
        if not _NAME.fullmatch(name):
            continue
        if not is_set:
            known.pop(name, None)
            continue
        if value.startswith(_QUOTES):
            value = value[1:-1] if value[1:].endswith(_QUOTES) else value[1:]
        known[name] = value


def _lines(text: str) -> Iterator[str]:
    """The lines without their comments; one that ends with a backslash goes on in the next."""
    begun = ""
    for line in text.split("\n"):
        content, has_comment, _ = line.partition("#")
        if not content.strip(_SPACE):
            continue
        ended = content.rstrip(_SPACE)
        if not has_comment and ended.endswith("\\"):
            begun += ended[:-1]
            continue
        yield begun + content
        begun = ""
