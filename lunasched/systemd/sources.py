"""The sources of GLib's main loop that only Unix has, by the names that the GLib here uses.

They are ``GLib.unix_*``, which newer PyGObject calls deprecated: there they are ``GLibUnix``'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gi
from gi.repository import GLib


def _unix(name: str) -> Any:
    """A function of ``GLibUnix``, or where it has none of that name, ``GLib``'s.

    Debian 12 has no such module, and in Debian 13 it lacks some.
    """
    try:
        gi.require_version("GLibUnix", "2.0")
        from gi.repository import GLibUnix

        return getattr(GLibUnix, name)
    except (ValueError, ImportError, AttributeError):
        return getattr(GLib, f"unix_{name}")


_add_signal, _add_descriptor = _unix("signal_add"), _unix("fd_add_full")

Called = Callable[..., bool]
"""Called whenever the source is ready; ``False`` removes it."""


def add_signal(priority: int, number: int, called: Called) -> int:
    """Add a source that is ready whenever the process gets a signal; returns its number."""
    source: int = _add_signal(priority, number, called)
    return source


def add_descriptor(priority: int, descriptor: int, condition: Any, called: Called) -> int:
    """Add a source that is ready while a descriptor is in a condition; returns its number."""
    source: int = _add_descriptor(priority, descriptor, condition, called)
    return source
