"""The length of random campaigns: seconds in ``make test``, and full in a target of their own."""

from __future__ import annotations

import os

IS_FULL = os.environ.get("LUNASCHED_CAMPAIGN") == "full"


def rounds(short: int, full: int) -> int:
    """Return how often to repeat something, or how many to take."""
    return full if IS_FULL else short
