"""The time by which recording is behind the jobs."""

from __future__ import annotations

import time


class RecordingDelay:
    """Counts from the first change of a unit that nothing on record may account for yet.

    Told from the main loop, asked from any thread.
    """

    def __init__(self) -> None:
        self._since: int | None = None

    def noticed(self) -> None:
        """Note a change that D-Bus signalled."""
        if self._since is None:
            self._since = time.monotonic_ns()

    def recorded(self) -> None:
        """Something was read from the journal, or there is nothing to be read."""
        self._since = None

    @property
    def usec(self) -> int:
        """Microseconds; 0 where everything is on record."""
        since = self._since
        return 0 if since is None else (time.monotonic_ns() - since) // 1000
