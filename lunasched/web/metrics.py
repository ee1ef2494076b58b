"""Metrics in Prometheus's text format, version 0.0.4: those of Lunasched 1.x, and what else tells
how jobs are doing.

Counters come from the store: they outlive restarts and what is pruned of the history. The metrics
of jobs, some 27,000 lines for 1,000 jobs, are written here: through prometheus_client, as the
others are, a scrape took twice as long and the supervisor 4 MB more memory.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from io import BytesIO
from itertools import chain
from math import ceil
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from lunasched import __version__
from lunasched.dataclass import dataclass
from lunasched.errors import InvalidInput, LunaschedError, PermissionDenied
from lunasched.formats.printable import printable
from lunasched.history import overrun, slot
from lunasched.history.run import Result
from lunasched.history.snapshot import DURATION_DIGITS, JobSnapshot, Snapshot, SnapshotSource
from lunasched.history.timerstate import Timers
from lunasched.jobs.model import ChannelType

if TYPE_CHECKING:
    from prometheus_client.core import Metric as Family

FATES = ("sent", "failed", "digested", "superseded")
"""The final states of notifications."""

QUANTILES = (0.5, 0.95, 0.99)

_SECOND = 1_000_000
_SIGNALLED = 128

Value = float | bool | None
"""``None`` is no sample."""
_Sample = tuple[str, str, Value]
"""A sample: the addition to the name of its metric, its labels, its value."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as it is declared; ``suffixes`` are those of its samples' names."""

    name: str
    type: str
    help: str
    suffixes: tuple[str, ...] = ("",)


@dataclass(frozen=True, slots=True)
class _OfJob:
    metric: Metric
    value: Callable[[JobSnapshot], Value]


def _seconds(usec: int | None) -> float | None:
    return None if usec is None else usec / _SECOND


def _exit_code(job: JobSnapshot) -> int | None:
    if job.last_signal is not None:
        return _SIGNALLED + job.last_signal
    return job.last_exit_code


def _counter(name: str, help_: str, value: Callable[[JobSnapshot], Value]) -> _OfJob:
    return _OfJob(Metric(f"lunasched_job_{name}", "counter", help_), value)


def _gauge(name: str, help_: str, value: Callable[[JobSnapshot], Value]) -> _OfJob:
    return _OfJob(Metric(f"lunasched_job_{name}", "gauge", help_), value)


OF_JOBS = (
    _counter("executions_total", "Runs, each attempt one, skipped ones left out.",
             lambda job: job.executions),
    _counter("successes_total", "Runs that succeeded.", lambda job: job.successes),
    _counter("failures_total", "Runs that failed, each attempt one.", lambda job: job.failures),
    _counter("skipped_total", "Runs that were refused before they began.",
             lambda job: job.skipped),
    _counter("retries_total", "Runs that were attempts after the first.",
             lambda job: job.retries),
    _counter("missed_slots_total", "Slots that passed without a run, and with none in progress.",
             lambda job: job.missed),
    _counter("overrun_slots_total", "Slots that passed during runs that are over.",
             lambda job: job.overrun),
    _counter("cpu_seconds_total", "CPU time that runs took.", lambda job: _seconds(job.cpu_usec)),
    _gauge("enabled", "Whether the job's timer is on.", lambda job: job.enabled),
    _gauge("running", "Runs in progress.", lambda job: job.running),
    _gauge("retry_pending", "Whether a retry waits for its time or is in progress.",
           lambda job: job.retrying),
    _gauge("last_run_timestamp_seconds", "When the latest run began.",
           lambda job: _seconds(job.last_start)),
    _gauge("last_success_timestamp_seconds", "When the latest success ended.",
           lambda job: _seconds(job.last_success)),
    _gauge("last_run_success",
           "Whether the latest run that ended, and was not stopped, succeeded.",
           lambda job: None if job.last_result is None else job.last_result is Result.SUCCESS),
    _gauge("last_exit_code", "Exit code of that run, or 128 and the number of the signal.",
           _exit_code),
    _gauge("last_memory_peak_bytes", "Most memory that this run had at a time.",
           lambda job: job.last_memory_peak),
    _gauge("last_lateness_seconds", "How long after its slot the latest run began that had one.",
           lambda job: _seconds(job.lateness)),
)  # fmt: skip
"""The metrics that each job has one sample of, at most."""

OVERRUN_SLOTS = Metric(
    "lunasched_job_overrun_slots", "gauge", "Slots that have passed during the run in progress."
)
NEXT_ELAPSE = Metric(
    "lunasched_job_next_elapse_timestamp_seconds", "gauge", "When the job's timer elapses next."
)
TIMER_RUNNING = Metric(
    "lunasched_job_timer_running",
    "gauge",
    "Whether the timer of a job with times to come runs and will elapse.",
)
SUCCESS_DUE = Metric(
    "lunasched_job_success_due_timestamp_seconds",
    "gauge",
    "The second slot after the latest success or change of the job: it should have succeeded by "
    "then.",
)
DURATION_MS = Metric(
    "lunasched_job_duration_ms", "gauge", "How long the latest 100 runs took (as Lunasched 1.x)."
)
DURATION = Metric(
    "lunasched_job_duration_seconds",
    "summary",
    "How long runs took; the quantiles are of the latest 100.",
    ("", "_sum", "_count"),
)
TICKS = Metric(
    "lunasched_scheduler_ticks_total",
    "counter",
    "Elapses of timers on record; there is no tick of a scheduler any more.",
)
QUEUE_DEPTH = Metric(
    "lunasched_queue_depth", "gauge", "Starts that are due and wait for their turn."
)
OUTBOX_DEPTH = Metric(
    "lunasched_outbox_depth",
    "gauge",
    "Notifications to be sent (waiting), or to be summed up in a digest (held).",
)
OLDEST_NOTIFICATION = Metric(
    "lunasched_outbox_oldest_timestamp_seconds",
    "gauge",
    "Since when the notification waits that has waited longest.",
)
NOTIFICATIONS = Metric(
    "lunasched_notifications_total",
    "counter",
    "Notifications by type of channel and by what became of them.",
)
DATABASE_SIZE = Metric(
    "lunasched_database_size_bytes", "gauge", "The database and its write-ahead log."
)
BUILD = Metric("lunasched_build_info", "gauge", "The version of lunasched and of Python.")
RUNNING = Metric("lunasched_supervisor_running", "gauge", "Whether the supervisor records runs.")
STARTED = Metric(
    "lunasched_supervisor_start_time_seconds", "gauge", "When the supervisor was started."
)
LAG = Metric(
    "lunasched_recording_lag_seconds",
    "gauge",
    "For how long what has happened to jobs has not been on record.",
)

METRICS = (
    *(of_job.metric for of_job in OF_JOBS),
    OVERRUN_SLOTS,
    NEXT_ELAPSE,
    TIMER_RUNNING,
    SUCCESS_DUE,
    DURATION_MS,
    DURATION,
    TICKS,
    QUEUE_DEPTH,
    OUTBOX_DEPTH,
    OLDEST_NOTIFICATION,
    NOTIFICATIONS,
    DATABASE_SIZE,
    BUILD,
    RUNNING,
    STARTED,
    LAG,
)
"""All of them, in the order of the text."""


@dataclass(frozen=True, slots=True)
class Supervision:
    """Facts that the store does not have: about the supervisor itself."""

    running: bool
    started_at: int | None = None
    lag_usec: int | None = None


@dataclass(frozen=True, slots=True)
class _Instants:
    """Points in time of a schedule, as they were computed at ``at`` (µs)."""

    key: tuple[object, ...]
    at: int
    next_elapse: int | None
    success_due: int | None

    def hold(self, key: tuple[object, ...], now: int) -> bool:
        # A clock that was set back makes other slots the next ones.
        return (
            key == self.key
            and self.at <= now
            and (self.next_elapse is None or now < self.next_elapse)
        )


class Metrics:
    """Renders metrics; keeps what is costly to compute from one time to the next.

    May be called by several threads, each with a store of its own.
    """

    def __init__(
        self,
        host_timezone: str,
        supervision: Callable[[], Supervision],
        *,
        duration_ms: bool = True,
        timers: Callable[[], Timers] = Timers,
    ) -> None:
        """``supervision`` and ``timers`` are asked at each rendering.

        ``duration_ms`` is whether to have the one metric of 1.x whose name and type are not as
        Prometheus wants them.
        """
        self._host_timezone = host_timezone
        self._duration_ms = duration_ms
        self._supervision = supervision
        self._timers = timers
        self._lock = Lock()
        self._instants: dict[str, _Instants] = {}
        self._quantiles: dict[str, tuple[int, tuple[int, ...]]] = {}

    def render(self, store: SnapshotSource, now: int) -> bytes:
        """The text, in UTF-8, at ``now`` (µs, UTC)."""
        # Loaded on the first scrape, because the supervisor also runs without it; and before
        # anything else is in memory.
        from prometheus_client.exposition import generate_latest

        snapshot = store.snapshot(now)
        with self._lock:
            self._forget({job.name for job in snapshot.jobs})
            text = BytesIO()
            for part in self._of_jobs(snapshot, now):
                text.write(part.encode())
            everything = _Collector([*_of_everything(snapshot, self._supervision())])
            text.write(generate_latest(everything))
        return text.getvalue()

    def _of_jobs(self, snapshot: Snapshot, now: int) -> Iterator[str]:
        """The text of one metric of the jobs after the other."""
        jobs = [(job, f'job_id="{_escaped(job.name)}"') for job in snapshot.jobs]
        for of_job in OF_JOBS:
            value = of_job.value
            yield _text(of_job.metric, (("", labels, value(job)) for job, labels in jobs))
        overruns = (("", labels, self._overrun_of(job, now)) for job, labels in jobs)
        yield _text(OVERRUN_SLOTS, overruns)
        instants = [(labels, self._instants_of(job, now)) for job, labels in jobs]
        timers = self._timers()
        upcoming = [
            (labels, timers.upcoming(job.name, one.next_elapse))
            for (job, labels), (_, one) in zip(jobs, instants, strict=True)
        ]
        yield _text(NEXT_ELAPSE, [("", labels, _seconds(one.at)) for labels, one in upcoming])
        if timers.loaded is not None:
            running = [
                ("", labels, one.obstacle is None)
                for labels, one in upcoming
                if one.at is not None or one.obstacle is not None
            ]
            yield _text(TIMER_RUNNING, running)
        yield _text(SUCCESS_DUE, [("", at, _seconds(one.success_due)) for at, one in instants])
        quantiles = [(labels, self._quantiles_of(job)) for job, labels in jobs]
        if self._duration_ms:
            yield _text(DURATION_MS, _quantile_samples(quantiles, 1_000))
        sums = (
            sample
            for job, labels in jobs
            for sample in (
                ("_sum", labels, _seconds(job.took_usec)),
                ("_count", labels, job.executions),
            )
        )
        yield _text(DURATION, chain(_quantile_samples(quantiles, _SECOND), sums))

    def _instants_of(self, job: JobSnapshot, now: int) -> _Instants:
        key = (job.schedule, job.timezone, job.enabled, job.deployed_at, job.last_start,
               job.last_success)  # fmt: skip
        known = self._instants.get(job.name)
        if known is None or not known.hold(key, now):
            known = _Instants(key, now, *self._compute(job, now))
            self._instants[job.name] = known
        return known

    def _overrun_of(self, job: JobSnapshot, now: int) -> int:
        if job.running_since is None:
            return 0
        rule = overrun.Rule(
            job.schedule,
            job.timezone or self._host_timezone,
            job.enabled,
            job.deployed_at,
            job.overlaps,
            job.leeway_usec,
        )
        found = overrun.passed(rule, job.running_slot, job.running_since, now)
        return found.count if found else 0

    def _compute(self, job: JobSnapshot, now: int) -> tuple[int | None, int | None]:
        if not job.enabled:
            return None, None
        zone = job.timezone or self._host_timezone
        started = max(job.deployed_at, job.last_start or 0)
        succeeded = max(job.deployed_at, job.last_success or 0)
        try:
            return slot.next_and_second(job.schedule, zone, now, started, succeeded)
        except InvalidInput:
            # An earlier version accepted the schedule.
            return None, None

    def _quantiles_of(self, job: JobSnapshot) -> tuple[int, ...]:
        known = self._quantiles.get(job.name)
        # The durations change only with a new run.
        if known is None or known[0] != job.executions:
            known = job.executions, _nearest_ranks(job.durations)
            self._quantiles[job.name] = known
        return known[1]

    def _forget(self, but: set[str]) -> None:
        for name in self._instants.keys() - but:
            del self._instants[name]
        for name in self._quantiles.keys() - but:
            del self._quantiles[name]


def write_textfile(path: Path, text: bytes) -> None:
    """Put the text in the place of what the file has, whole; all users may read it.

    Raises ``LunaschedError``.
    """
    # Not named like what the collector reads, and beside it, to be renamed.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            with temporary.open("wb") as file:
                os.fchmod(file.fileno(), 0o644)
                file.write(text)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        kind = PermissionDenied if isinstance(error, PermissionError) else LunaschedError
        raise kind(f"{path} cannot be written: {error.strerror}") from error


def _of_everything(snapshot: Snapshot, supervision: Supervision) -> Iterator[Family]:
    """The metrics that are not of jobs."""
    yield _family(TICKS, [({}, snapshot.elapses)])
    yield _family(QUEUE_DEPTH, [({}, snapshot.queue_depth)])
    depths = {"waiting": snapshot.notifications_waiting, "held": snapshot.notifications_held}
    yield _family(OUTBOX_DEPTH, [({"state": state}, n) for state, n in depths.items()])
    yield _family(OLDEST_NOTIFICATION, [({}, _seconds(snapshot.oldest_notification))])
    # Zeros, too: increase() ignores a counter that is absent before its first failure.
    notifications = [
        ({"type": kind.value, "state": fate}, snapshot.notifications.get((kind.value, fate), 0))
        for kind in ChannelType
        for fate in FATES
    ]
    yield _family(NOTIFICATIONS, notifications)
    versions = {"version": __version__, "python": platform.python_version()}
    yield _family(DATABASE_SIZE, [({}, snapshot.database_size)])
    yield _family(BUILD, [(versions, 1)])
    yield _family(RUNNING, [({}, supervision.running)])
    yield _family(STARTED, [({}, _seconds(supervision.started_at))])
    yield _family(LAG, [({}, _seconds(supervision.lag_usec))])


def _nearest_ranks(durations: str) -> tuple[int, ...]:
    """The quantiles (µs): each the least that so large a part of the runs did not exceed."""
    # Of numbers with as many digits, the texts are in the same order.
    taken = sorted(
        durations[start : start + DURATION_DIGITS]
        for start in range(0, len(durations), DURATION_DIGITS)
    )
    if not taken:
        return ()
    return tuple(int(taken[ceil(quantile * len(taken)) - 1]) for quantile in QUANTILES)


def _quantile_samples(
    quantiles: Iterable[tuple[str, tuple[int, ...]]], unit: int
) -> Iterator[_Sample]:
    for labels, values in quantiles:
        for quantile, value in zip(QUANTILES, values, strict=False):
            yield "", f'{labels},quantile="{quantile}"', value / unit


def _text(metric: Metric, samples: Iterable[_Sample]) -> str:
    """One metric of jobs with its samples; none at all if there are none."""
    name = metric.name
    lines = [f"# HELP {name} {metric.help}", f"# TYPE {name} {metric.type}"]
    lines += [
        f"{name}{suffix}{{{labels}}} {value:d}"
        if isinstance(value, int)
        else f"{name}{suffix}{{{labels}}} {value!r}"
        for suffix, labels, value in samples
        if value is not None
    ]
    if len(lines) == 2:
        return ""
    return "\n".join(lines) + "\n"


_ESCAPES: Mapping[int, str] = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def _escaped(value: str) -> str:
    """A label's value: text that can be printed, as the format has it."""
    return printable(value).translate(_ESCAPES)


def _family(metric: Metric, samples: Iterable[tuple[Mapping[str, str], Value]]) -> Family:
    from prometheus_client.core import Metric as Family

    # The library adds a counter's suffix to what it declares, and not to its samples.
    family = Family(metric.name.removesuffix("_total"), metric.help, metric.type)
    for labels, value in samples:
        if value is not None:
            family.add_sample(metric.name, dict(labels), value)
    return family


@dataclass(frozen=True, slots=True)
class _Collector:
    """The source that ``generate_latest`` asks for metrics."""

    families: list[Family]

    def collect(self) -> list[Family]:
        """Those that have samples."""
        return [family for family in self.families if family.samples]
