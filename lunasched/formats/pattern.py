"""Regular expressions that are compiled when something is first matched with them.

Most commands match a few of the hundred that their modules name.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

__all__ = ["pattern"]

if TYPE_CHECKING:
    from re import compile as pattern
else:

    class pattern:  # noqa: N801 - it is called as re.compile is
        """The same as ``re.compile``, to have its attributes and methods."""

        def __init__(self, text: str | bytes, flags: int = 0) -> None:
            self._words = text, flags

        def __getattr__(self, name: str) -> object:
            # Asked for once: from then on the instance has it.
            value = getattr(re.compile(*self._words), name)
            setattr(self, name, value)
            return value
