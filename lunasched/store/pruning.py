"""The removal of old history, a little at a time.

A run goes when it is older than ``history_days``, or when its job has ``max_history_per_job`` newer
ones. What is kept however old it is:

- runs that are not over, or that something is still to follow from;
- of each job the latest run, the latest that was not skipped, the latest success and the latest
  slot: they decide what comes next;
- all attempts of a chain, if one of them is kept.

Messages that were sent, or will not be, go with the days that the history is kept for, and where
there are more than ten thousand of them.

What a job's runs come to was counted when they ended (``job_totals``), and stays.

A clock that is far in the future makes every run an old one. So runs are too old only where the
clock is borne out: where there is a run that began within ``history_days``, and no less than a week
ago (or half of them, if that is less).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lunasched.store.connection import Row
    from lunasched.store.database import Store

_BATCH = 500
_DAY = 86_400_000_000
_PROOF = 7 * _DAY
_NEVER = 1 << 62
_NOTIFICATIONS_MAX = 10_000


class Pruning:
    """One pass over the history.

    Without ``trust_clock``, runs are not too old until the clock is borne out.
    """

    def __init__(
        self,
        store: Store,
        *,
        history_days: int,
        max_history_per_job: int,
        now: int,
        trust_clock: bool = False,
    ) -> None:
        self._store = store
        self._days = history_days
        self._most = max_history_per_job
        self._now = now
        self._trust_clock = trust_clock
        self._batches = self._all_batches()

    def step(self) -> int | None:
        """Remove a batch of runs in a transaction; how many, ``None`` when there is no more."""
        return next(self._batches, None)

    def _all_batches(self) -> Iterator[int]:
        yield from self._old()
        if self._most:
            yield from self._many()
        yield from self._notifications()

    def _cutoff(self) -> int | None:
        """Since when runs are not too old; ``None`` if the clock does not tell."""
        if not self._days:
            return None
        span = self._days * _DAY
        cutoff, before = self._now - span, self._now - min(_PROOF, span // 2)
        is_known = self._store.execute("clock_is_borne_out", cutoff=cutoff, before=before)
        return cutoff if self._trust_clock or is_known[0][0] else None

    def _old(self) -> Iterator[int]:
        cutoff = self._cutoff()
        if cutoff is None:
            return
        at, after = -_NEVER, 0
        while batch := self._store.execute(
            "runs_by_age", cutoff=cutoff, at=at, after=after, count=_BATCH
        ):
            at, after = batch[-1]["started_at"], batch[-1]["sequence"]
            yield self._remove(batch, cutoff=cutoff, before=_NEVER)

    def _many(self) -> Iterator[int]:
        job = ""
        while found := self._store.execute("next_job_with_runs", after=job):
            job, after = found[0]["job"], 0
            kept = self._store.execute("first_run_kept", job=job, most=self._most)
            before = kept[0]["sequence"] if kept else 0
            while batch := self._store.execute(
                "runs_by_sequence", job=job, after=after, before=before, count=_BATCH
            ):
                after = batch[-1]["sequence"]
                yield self._remove(batch, cutoff=_NEVER, before=before)
            # Counting also takes time.
            yield 0

    def _notifications(self) -> Iterator[int]:
        newer = self._store.execute("notifications_beyond", most=_NOTIFICATIONS_MAX)
        cutoff = max(self._cutoff() or -_NEVER, newer[0]["settled_at"] + 1 if newer else -_NEVER)
        while batch := self._store.execute("old_notifications", cutoff=cutoff, count=_BATCH):
            with self._store.transaction():
                self._store.execute(
                    "delete_notifications", ids=json.dumps([row["id"] for row in batch])
                )
            yield 0

    def _remove(self, batch: list[Row], *, cutoff: int, before: int) -> int:
        chains = json.dumps([*{row["chain"]: None for row in batch}])
        with self._store.transaction():
            rows = self._store.execute(
                "runs_of_chains", chains=chains, cutoff=cutoff, before=before
            )
            kept = {row["chain"] for row in rows if row["is_kept"]}
            going = [row["sequence"] for row in rows if row["chain"] not in kept]
            if going:
                sequences = json.dumps(going)
                self._store.execute("delete_hooks_of_pruned", sequences=sequences)
                self._store.execute("delete_runs", sequences=sequences)
        return len(going)
