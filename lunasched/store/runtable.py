"""The table of runs: one row an invocation, whatever is read twice or in pieces."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from lunasched.dataclass import dataclass
from lunasched.formats import unittext
from lunasched.history.overview import Mark, MarkKind
from lunasched.history.run import Instant, Overrun, Result, Run, Trigger
from lunasched.jobs.runfacts import RUN_FACTS
from lunasched.store.connection import Execute, Row


@dataclass(frozen=True, slots=True)
class RunState:
    """The records of a run before its end."""

    spawn_failed: bool
    """True if its program could not be executed, so far as is known."""
    spawn_exit_code: int | None
    stop_requested: bool


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run whose end has not been recorded."""

    execution_id: str
    job: str
    unit: str
    boot_id: str
    is_starting: bool


@dataclass(frozen=True, slots=True)
class EndedRun:
    """A run that ended a moment ago; ``next_start`` is when its unit was started after it."""

    execution_id: str
    unit: str
    result: Result
    started_at: int
    ended_at: int | None
    next_start: int | None


@dataclass(frozen=True, slots=True)
class UnsettledRun:
    """A run that is over, with consequences that are still to be drawn."""

    execution_id: str
    job: str
    unit: str
    result: Result


_END = 2**63 - 1
_KEPT = [fact for fact in RUN_FACTS if fact.is_kept]
_FIELDS = [fact.name for fact in _KEPT if not fact.path]
_OVERRUN = [fact.name for fact in _KEPT if fact.attributes[0] == "overrun"]
# Runs that are read at a time, with 8 KiB of output each at most.
_PART = 500


class RunTable:
    """Runs by execution ID.

    Every change is idempotent and finds its row by the execution ID, so records of the journal
    may be applied again without harm. A run that was closed as ``lost`` is reopened by a record
    of its real end.
    """

    def __init__(self, execute: Execute) -> None:
        self._execute = execute

    def history(self, job: str | None, count: int | None) -> list[Run]:
        """The latest ``count`` runs (all: ``None``), of one job or of all, newest first."""
        return [run for part in self.history_in_parts(job, count) for run in part]

    def history_in_parts(self, job: str | None, count: int | None) -> Iterator[list[Run]]:
        """The same, a few hundred at a time: all of a long history is a lot of memory."""
        query, named = ("history_of_all", {}) if job is None else ("history_of_job", {"job": job})
        before, left = _END, _END if count is None else count
        while left > 0:
            wanted = min(left, _PART)
            rows = self._execute(query, before=before, count=wanted, **named)
            yield [_run(row) for row in rows]
            if len(rows) < wanted:
                return
            before, left = rows[-1]["sequence"], left - wanted

    def get(self, execution_id: str) -> Run | None:
        """One run."""
        rows = self._execute("run", execution_id=execution_id)
        return _run(rows[0]) if rows else None

    def final(self, execution_id: str) -> Run | None:
        """One run, once its result does not change any more."""
        rows = self._execute("final_run", execution_id=execution_id)
        return _run(rows[0]) if rows else None

    def latest_of(self, jobs: Iterable[str]) -> dict[str, Run]:
        """The latest run of each of these jobs, without its output."""
        rows = self._execute("latest_runs_of", jobs=json.dumps(list(jobs)))
        return {row["job"]: _run(row) for row in rows}

    def outcomes_of(self, jobs: Iterable[str]) -> dict[str, Run]:
        """The latest run of each of these jobs that is over and was not refused, without output."""
        rows = self._execute("latest_outcomes", jobs=json.dumps(list(jobs)))
        return {row["job"]: _run(row) for row in rows}

    def unstarted(self, jobs: Mapping[str, int]) -> list[str]:
        """Those of some jobs that have not run since a point in time of each (µs, UTC)."""
        rows = self._execute("jobs_without_a_run", jobs=json.dumps(list(jobs.items())))
        return [row["job"] for row in rows]

    def not_done(self, jobs: Iterable[str]) -> set[str]:
        """Those of some jobs that run, or whose runs have something to follow yet.

        That is a retry or another start, a hook, a notification.
        """
        wanted = set(jobs)
        rows = self._execute("jobs_not_done", jobs=json.dumps(sorted(wanted)))
        return wanted.intersection(row["job"] for row in rows)

    def in_progress(self) -> dict[str, int]:
        """Since when the jobs run that do (µs, UTC)."""
        return {row["job"]: row["started_at"] for row in self._execute("running_jobs")}

    def page(
        self,
        job: str | None,
        *,
        since: int,
        before: tuple[int, int] | None,
        count: int,
    ) -> list[tuple[tuple[int, int], Run]]:
        """Up to ``count`` runs of a job or of all, from ``since`` on, the newest first.

        Each comes with its place: ``before`` is that of a run, to go on after it.
        """
        at, sequence = before or (_END, _END)
        query = "page_of_all" if job is None else "page_of_job"
        named = {} if job is None else {"job": job}
        rows = self._execute(query, since=since, at=at, before=sequence, count=count, **named)
        return [((row["started_at"], row["sequence"]), _run(row)) for row in rows]

    def recent(self, job: str, count: int) -> list[Run]:
        """The runs of a job that began last, newest first, without their output."""
        return [_run(row) for row in self._execute("recent_runs", job=job, count=count)]

    def marks(self, jobs: Iterable[str], *, since: int, step: int) -> dict[str, list[Mark]]:
        """Return the marks in a timeline of jobs from ``since`` on, the earliest first (µs, UTC).

        Runs of a job that began within the same ``step`` and ended alike are one mark.
        """
        found: dict[str, list[Mark]] = {}
        rows = self._execute("marks", jobs=json.dumps(list(jobs)), since=since, step=step)
        for row in rows:
            mark = Mark(MarkKind(row["kind"]), row["started_at"], row["ended_at"], row["how_many"])
            found.setdefault(row["job"], []).append(mark)
        return found

    def next_start(self, execution_id: str) -> int | None:
        """Return the next time after a run at which its unit was started."""
        return self._value("next_start", execution_id=execution_id)

    def last_start(self, job: str) -> int | None:
        """Return the last start of the job."""
        return self._value("last_start", job=job)

    def last_slot(self, job: str, *, but: str = "") -> int | None:
        """The slot that a run of the job was last for, leaving out one execution ID."""
        return self._value("last_slot", job=job, but=but)

    def _value(self, query: str, **parameters: str) -> int | None:
        rows = self._execute(query, **parameters)
        value: int | None = rows[0][0] if rows else None
        return value

    def has_later(self, execution_id: str) -> bool:
        """Tell whether a run of the same job began after this one, and was not refused."""
        return bool(self._execute("later_run", execution_id=execution_id)[0][0])

    def latest_outcome(self, job: str) -> tuple[Result | None, int | None] | None:
        """The result of the job's latest run that was none refused, and when it ended."""
        rows = self._execute("latest_outcome", job=job)
        if not rows:
            return None
        return (Result(rows[0]["result"]) if rows[0]["result"] else None), rows[0]["ended_at"]

    def last_of_chain(self, job: str, first_attempt_id: str) -> Run | None:
        """The latest attempt of a chain."""
        rows = self._execute("last_of_chain", job=job, first=first_attempt_id)
        return self.get(rows[0]["execution_id"]) if rows else None

    def in_boot(self, job: str, boot_id: str) -> bool:
        """Tell whether the job has run in this boot."""
        return bool(self._execute("ran_in_boot", job=job, boot_id=boot_id)[0][0])

    def exist_for(self, job: str) -> bool:
        """Tell whether the job has ever run."""
        return bool(self._execute("has_runs", job=job)[0][0])

    def begin(self, run: Run, boot_id: str, since_boot: int | None = None) -> None:
        """Record that a run starts (µs since boot, if that is known)."""
        self._execute(
            "begin_run",
            execution_id=run.execution_id,
            job=run.job,
            unit=run.unit,
            boot_id=boot_id,
            trigger=run.trigger.value,
            scheduled_at=run.scheduled_at,
            started_at=run.started_at,
            since_boot=since_boot,
            attempt=run.attempt,
            first_attempt_id=run.first_attempt_id,
        )

    def running(self, execution_id: str) -> bool:
        """Record that the run's program was executed; ``False`` if that is known, or over."""
        return bool(self._execute("run_running", execution_id=execution_id))

    def stopping(self, execution_id: str) -> None:
        """Record that the run is being stopped on request."""
        self._execute("run_stopping", execution_id=execution_id)

    def process_ended(
        self, execution_id: str, *, exit_code: int | None, signal: int | None
    ) -> None:
        """Record how the run's main process ended."""
        self._execute(
            "run_process_ended", execution_id=execution_id, exit_code=exit_code, signal=signal
        )

    def end(
        self,
        execution_id: str,
        result: Result,
        ended_at: int | None,
        since_boot: int | None = None,
    ) -> None:
        """Close the run (µs, UTC, and µs since boot, if that is known)."""
        self._execute(
            "end_run",
            execution_id=execution_id,
            result=result.value,
            ended_at=ended_at,
            since_boot=since_boot,
        )

    def take_slot(self, execution_id: str, slot: int) -> None:
        """Record that a run stands for an earlier slot (µs, UTC) than its own, too."""
        self._execute("take_slot", execution_id=execution_id, slot=slot)

    def skip(self, execution_id: str, ended_at: int, slot: int | None) -> None:
        """Close a run that the slot guard refused; a timer had started it for ``slot``."""
        self._execute("skip_run", execution_id=execution_id, ended_at=ended_at, slot=slot)

    def resources(
        self, execution_id: str, *, cpu_usec: int | None, memory_peak: int | None
    ) -> None:
        """Record what the run used, and add it to the job's totals."""
        self._execute("count_cpu", execution_id=execution_id, cpu_usec=cpu_usec)
        self._execute(
            "run_resources",
            execution_id=execution_id,
            cpu_usec=cpu_usec,
            memory_peak=memory_peak,
        )

    def spawn_failed(self, execution_id: str, exit_code: int | None, at: int) -> None:
        """Record that the run's program could not be executed; the run may not be known yet."""
        self._execute("run_spawn_failed", execution_id=execution_id, exit_code=exit_code, at=at)

    def state(self, execution_id: str) -> RunState | None:
        """Return the facts that decide the result of a run when it ends."""
        rows = self._execute("run_state", execution_id=execution_id)
        if not rows:
            return None
        return RunState(
            spawn_failed=bool(rows[0]["spawn_failed"]),
            spawn_exit_code=rows[0]["spawn_exit_code"],
            stop_requested=bool(rows[0]["stop_requested"]),
        )

    def open(self) -> list[OpenRun]:
        """The runs whose end has not been recorded."""
        return [
            OpenRun(
                row["execution_id"],
                row["job"],
                row["unit"],
                row["boot_id"],
                is_starting=row["phase"] == "starting",
            )
            for row in self._execute("open_runs")
        ]

    def open_of(self, unit: str, boot_id: str, *, but: str) -> list[str]:
        """The execution IDs of runs of a unit in a boot that have no end, except one."""
        rows = self._execute("open_runs_of_unit", unit=unit, boot_id=boot_id, but=but)
        return [row["execution_id"] for row in rows]

    def begun_between(self, unit: str, since: int, until: int | None) -> bool | None:
        """Tell whether the first run of a job's unit in a span of time has ended; None without
        one."""
        rows = self._execute(
            "run_begun_between", job=unittext.job_name(unit), unit=unit, since=since, until=until
        )
        return next((row["phase"] == "ended" for row in rows), None)

    def open_of_job(self, job: str) -> list[Run]:
        """The runs of a job whose end has not been recorded, the oldest first."""
        return [_run(row) for row in self._execute("open_runs_of_job", job=job)]

    def set_overrun(self, execution_id: str, overrun: Overrun) -> None:
        """Note the slots that passed during a run; belongs before ``set_settled``."""
        self._execute(
            "set_overrun",
            execution_id=execution_id,
            count=overrun.count,
            first_at=overrun.first_at,
            last_at=overrun.last_at,
        )

    def unsettled(self) -> list[UnsettledRun]:
        """The ended runs whose consequences have not been drawn yet, the oldest first."""
        return [
            UnsettledRun(row["execution_id"], row["job"], row["unit"], Result(row["result"]))
            for row in self._execute("unsettled_runs")
        ]

    def set_settled(self, execution_id: str) -> None:
        """Note that the consequences have been drawn; belongs in the transaction with them.

        From now on the run counts in the job's totals, once, as it is on record now.
        """
        self._execute("count_settled", execution_id=execution_id)
        self._execute("set_settled", execution_id=execution_id)

    def without_output(self) -> list[EndedRun]:
        """The ended runs whose output has not been taken over yet."""
        return [
            EndedRun(
                row["execution_id"],
                row["unit"],
                Result(row["result"]),
                row["started_at"],
                row["ended_at"],
                row["next_start"],
            )
            for row in self._execute("runs_without_output")
        ]

    def correct_signal(self, execution_id: str, signal: int) -> None:
        """Record that what systemd calls a success was the end by a signal."""
        self._execute("correct_signal", execution_id=execution_id, signal=signal)

    def correct_stopped(self, execution_id: str, since: int) -> None:
        """Record that a run which failed after ``since`` did so because it was stopped."""
        self._execute("correct_stopped", execution_id=execution_id, since=since)

    def set_output(self, execution_id: str, output: str) -> None:
        """Keep the tail of the run's output."""
        self._execute("set_output", execution_id=execution_id, output=output)

    def add_to_output_before(self, execution_id: str, note: str) -> None:
        """Add a line to the output of the run that its unit had before this one."""
        self._execute("add_to_output", execution_id=execution_id, note=note)

    def request(self, execution_id: str, trigger: Trigger, now: int) -> None:
        """Say what started a run, before or after its records were read."""
        self._execute(
            "put_requested_start", execution_id=execution_id, trigger=trigger.value, now=now
        )
        self._execute("correct_trigger", execution_id=execution_id, trigger=trigger.value)

    def requested(self, execution_id: str) -> Trigger | None:
        """Return the cause of the run, if it was requested."""
        rows = self._execute("requested_start", execution_id=execution_id)
        return Trigger(rows[0]["trigger"]) if rows else None

    def note_launch(self, launch: str, by_timer: bool | None, began: Instant) -> None:
        """Keep what started a launcher, and when, until its run begins."""
        trigger = {True: Trigger.TIMER.value, False: Trigger.MANUAL.value, None: ""}[by_timer]
        self._execute(
            "note_launch",
            launch=launch,
            trigger=trigger,
            at=began.at,
            since_boot=began.since_boot,
        )

    def launch(self, launch: str) -> tuple[bool | None, Instant] | None:
        """Return what is kept of a launcher."""
        rows = self._execute("launch", launch=launch)
        if not rows:
            return None
        row = rows[0]
        by_timer = row["trigger"] == Trigger.TIMER.value if row["trigger"] else None
        return by_timer, Instant(row["requested_at"], row["since_boot"] or 0)

    def forget_launch(self, launch: str) -> None:
        """Drop what is kept of a launcher."""
        self._execute("forget_launch", launch=launch)

    def forget_launches(self, before: int) -> None:
        """Drop what is kept of launchers since before a point in time."""
        self._execute("forget_launches", before=before)

    def in_progress_at(self, unit: str, boot_id: str, since_boot: int, ahead: int) -> bool:
        """Tell if a run of a job's unit that is over was in progress at a time (µs since boot).

        ``ahead`` is what the clock is ahead of the time since boot (µs).
        """
        rows = self._execute(
            "in_progress_at",
            job=unittext.job_name(unit),
            unit=unit,
            boot_id=boot_id,
            since_boot=since_boot,
            ahead=ahead,
        )
        return bool(rows[0][0])

    def used_elapse(self, job: str, boot_id: str) -> int | None:
        """The last elapse of a job's timer in a boot that a start was found for (µs since boot)."""
        rows = self._execute("used_elapse", job=job, boot_id=boot_id)
        return rows[0]["requested_at"] if rows else None

    def forget_elapses(self, boot_id: str) -> None:
        """Drop what is kept of the timers of other boots."""
        self._execute("forget_elapses", boot_id=boot_id)

    def use_elapse(self, job: str, boot_id: str, since_boot: int) -> None:
        """Record that the start was found for an elapse of a job's timer (µs since boot)."""
        self._execute("use_elapse", job=job, boot_id=boot_id, since_boot=since_boot)

    def forget(self, before: int) -> None:
        """Drop what was kept for runs to come before a point in time."""
        self._execute("forget_requested_starts", before=before)
        self._execute("forget_spawn_failures", before=before)


def _run(row: Row) -> Run:
    fields = {name: row[name] for name in _FIELDS}
    fields["trigger"] = Trigger(fields["trigger"])
    fields["result"] = Result(fields["result"]) if fields["result"] else None
    overrun = Overrun(*(row[name] for name in _OVERRUN)) if row["overrun"] else None
    return Run(**fields, overrun=overrun)
