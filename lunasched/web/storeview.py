"""The part of the store that pages read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Protocol

from lunasched.history.overview import JobLine, Mark
from lunasched.history.pendingstarts import Start
from lunasched.history.run import HookRun, Run
from lunasched.jobs.model import Channel, Job
from lunasched.jobs.origin import JobOrigin

Place = tuple[int, int]
"""The position of a run among the others: its start (µs), and its number."""


class JobsView(Protocol):
    """Jobs by name."""

    def lines(self) -> list[JobLine]: ...
    def names(self) -> list[str]: ...
    def origins(self, names: Iterable[str]) -> dict[str, JobOrigin]: ...
    def some(self, names: Iterable[str]) -> dict[str, tuple[Job, int]]: ...


class RunsView(Protocol):
    """Runs by execution ID."""

    def get(self, execution_id: str) -> Run | None: ...
    def outcomes_of(self, jobs: Iterable[str]) -> dict[str, Run]: ...
    def in_progress(self) -> dict[str, int]: ...
    def latest_of(self, jobs: Iterable[str]) -> dict[str, Run]: ...
    def recent(self, job: str, count: int) -> list[Run]: ...
    def exist_for(self, job: str) -> bool: ...
    def marks(self, jobs: Iterable[str], *, since: int, step: int) -> dict[str, list[Mark]]: ...
    def page(
        self, job: str | None, *, since: int, before: Place | None, count: int
    ) -> list[tuple[Place, Run]]: ...


class StartsView(Protocol):
    """The starts that wait."""

    def all(self) -> list[Start]: ...


class HooksView(Protocol):
    """The hooks of runs."""

    def of(self, runs: Iterable[str]) -> dict[str, list[HookRun]]: ...


class NotificationView(Protocol):
    """A notification about a job, without secrets."""

    @property
    def event(self) -> str: ...
    @property
    def channel(self) -> Channel: ...
    @property
    def state(self) -> Enum: ...
    @property
    def created_at(self) -> int: ...
    @property
    def tries(self) -> int: ...
    @property
    def answer(self) -> str | None: ...


class OutboxView(Protocol):
    """Messages."""

    def entries(
        self, job: str | None, *, failed: bool, count: int | None
    ) -> Sequence[NotificationView]: ...


class StoreView(Protocol):
    """One state of all of it."""

    @property
    def jobs(self) -> JobsView: ...
    @property
    def runs(self) -> RunsView: ...
    @property
    def starts(self) -> StartsView: ...
    @property
    def hooks(self) -> HooksView: ...
    @property
    def outbox(self) -> OutboxView: ...
