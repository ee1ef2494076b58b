"""Metrics in a file for node_exporter, rewritten after something was recorded or sent.

Not at once, for one thing seldom comes alone, and not more often than anybody looks. A thread
writes it, with a look at the database of its own, so that nothing waits for a slow disk.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from lunasched.errors import LunaschedError
from lunasched.store import Store
from lunasched.supervisor.loop import Handle, Loop
from lunasched.web import metrics

if TYPE_CHECKING:
    from lunasched.web.metrics import Metrics

_DELAY_MS = 1_000
_INTERVAL_MS = 15_000


class TextFile:
    """The file, where the configuration names one."""

    def __init__(self, loop: Loop, path: Path | None, *, metrics: Metrics, database: Path) -> None:
        self._loop = loop
        self._path = path
        self._metrics = metrics
        self._database = database
        self._timer = Handle()
        self._writing: Thread | None = None
        self._is_outdated = False
        self._began_at: int | None = None
        self._complained = ""

    def changed(self) -> None:
        """Have it written soon."""
        if self._path is None or self._timer.is_pending:
            return
        if self._writing is not None:
            self._is_outdated = True
            return
        self._timer = self._loop.after(self._wait(), self._begin, background=True)

    def close(self) -> None:
        """Write it a last time, now that the supervisor ends."""
        self._timer.cancel()
        if self._writing is not None:
            self._writing.join()
        if self._path is not None:
            self._note(self._write(self._path))

    def _wait(self) -> int:
        if self._began_at is None:
            return _DELAY_MS
        since = (self._loop.monotonic() - self._began_at) // 1000
        return max(_DELAY_MS, _INTERVAL_MS - since)

    def _begin(self) -> None:
        self._began_at = self._loop.monotonic()
        self._writing = Thread(target=self._write_beside, name="textfile", daemon=True)
        self._writing.start()

    def _write_beside(self) -> None:
        assert self._path is not None
        problem = self._write(self._path)
        self._loop.soon(partial(self._written, problem), background=True)

    def _write(self, path: Path) -> str:
        """Write the file; return the error in words, empty if there was none."""
        try:
            with Store.open_to_read(self._database) as store:
                metrics.write_textfile(path, self._metrics.render(store, self._loop.now()))
        except LunaschedError as error:
            return str(error)
        return ""

    def _written(self, problem: str) -> None:
        self._writing = None
        self._note(problem)
        if self._is_outdated:
            self._is_outdated = False
            self.changed()

    def _note(self, problem: str) -> None:
        """Complain once of the same."""
        if problem and problem != self._complained:
            print(f"<4>the metrics are not written: {problem}", file=sys.stderr)
        elif self._complained and not problem:
            print(f"<5>the metrics are written to {self._path} again", file=sys.stderr)
        self._complained = problem
