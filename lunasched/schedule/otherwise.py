"""The way out for what other programs take as a schedule, and lunasched does not."""

from __future__ import annotations


def way_out(text: str) -> str | None:
    """Return a sentence with what to write instead of ``text`` (in lower case), or None."""
    if text in ("reboot", "boot"):
        return f"Write @{text}."
    if text.startswith(("h ", "h/", "h(")):
        return "H is a number that job and host choose, in one of five fields: H * * * *."
    return None
