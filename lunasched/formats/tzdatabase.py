"""The machine's database of time zones (tzfile(5)), as systemd reads it.

systemd takes a zone if there is a file for it in one directory. Python's own ``ZoneInfo`` also
looks in other directories and in a package of PyPI, and so takes zones that no timer can have. Old
names (``US/Eastern``) are a package of their own on some distributions, ``tzdata-legacy``;
``tzdata.zi`` knows them everywhere, with the zones that have their rules now.
"""

from __future__ import annotations

from datetime import timezone
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from lunasched.formats.pattern import pattern

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import tzinfo

DIRECTORY = Path("/usr/share/zoneinfo")
TEXT = "tzdata.zi"
"""The database as one text, in the directory (zic(8))."""
# systemd knows these without a file.
_UTC = frozenset({"UTC", "Etc/UTC"})
# Files of the directory that are no zones, which systemd takes until 254.
NOT_ZONES = frozenset({"localtime", "posixrules", "Factory"})
_NAME = pattern(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")
NAME_MAX = 64


@lru_cache(maxsize=64)
def own_rules(name: str) -> tzinfo | None:
    """The rules of a zone that the machine has under this name."""
    if name in _UTC:
        return timezone.utc
    if not _is_name(name):
        return None
    # It reads how this Python was built: a twentieth of the time of `list`.
    from zoneinfo import ZoneInfo

    try:
        with (DIRECTORY / name).open("rb") as file:
            return ZoneInfo.from_file(file, key=name)
    except (OSError, ValueError):
        return None


def rules_of(name: str) -> tzinfo | None:
    """The rules of a zone, also where the machine has them under another name only."""
    found = own_rules(name)
    if found is not None:
        return found
    other = successor(name)
    return None if other is None else own_rules(other)


def successor(name: str) -> str | None:
    """The zone that the machine has, of which ``name`` is an old name that it does not have."""
    if own_rules(name) is not None or not _is_name(name):
        return None
    other = _links().get(name)
    return other if other is not None and own_rules(other) is not None else None


def forget_rules() -> None:
    """Drop what was read, after the database was changed."""
    own_rules.cache_clear()
    _links.cache_clear()


def _is_name(name: str) -> bool:
    plausible = len(name) <= NAME_MAX and _NAME.fullmatch(name) is not None
    return plausible and name not in NOT_ZONES and not name.startswith(("posix/", "right/"))


@lru_cache(maxsize=1)
def _links() -> Mapping[str, str]:
    """Old names with what they stand for: the lines ``L TARGET NAME``."""
    try:
        text = (DIRECTORY / TEXT).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    lines = (line.split() for line in text.splitlines() if line.startswith("L "))
    found = {words[2]: words[1] for words in lines if len(words) == 3}
    return {name: found.get(target, target) for name, target in found.items()}
