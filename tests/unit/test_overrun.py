"""Slots that pass during a run: counted with it, shown, told while it goes on, and once after."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from handloop import HandLoop
from samples import own_history

from lunasched.doctor import overruncheck
from lunasched.doctor.databasecheck import DatabaseFacts
from lunasched.doctor.facts import FileFacts, Unseen
from lunasched.history import missed, overrun, phrases
from lunasched.history.missed import Checked, Cover
from lunasched.history.overrun import Rule
from lunasched.history.run import OVERRUN_MAX, Overrun, Result, Run, Trigger
from lunasched.jobs.model import Channel, ChannelType, ExecutionMode, Job, Notifications, Overlap
from lunasched.paths import Mode
from lunasched.store import Store
from lunasched.supervisor.consequences import Consequences
from lunasched.supervisor.notificationqueue import Origin
from lunasched.supervisor.overrunwatch import OverrunWatch
from lunasched.web.metrics import Metrics, Supervision

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
MOMENT = 2_000
"""A loop waits for whole milliseconds."""
START = int(datetime(2026, 2, 10, 12, tzinfo=timezone.utc).timestamp()) * SECOND
NTFY = Channel(ChannelType.NTFY, "https://ntfy.example/nights")
PING = Channel(ChannelType.HEARTBEAT, "https://hc.example/uuid")
TOLD = Notifications(on_failure=(NTFY, PING))
OFTEN = Job(name="often", schedule="*/2 * * * *", command="x", timezone="UTC", notifications=TOLD)
RUN = Run(
    execution_id="0" * 32,
    job="often",
    unit="lunasched-job@often.service",
    trigger=Trigger.TIMER,
    scheduled_at=START,
    started_at=START + SECOND,
)


def rule(deployed_at: int = START - DAY, **changes: Any) -> Rule:
    return Rule.of(OFTEN.evolve(**changes), deployed_at, "UTC")


def count(until: int, run: Run = RUN, **changes: Any) -> int:
    found = overrun.overrun_of_run(rule(**changes), run, until)
    return found.count if found else 0


def test_all_slots_count_that_pass_during_a_run_but_its_own() -> None:
    assert [count(START + minutes * MINUTE) for minutes in (0, 1, 2, 3, 4, 120)] == [
        0, 0, 1, 1, 2, 60,
    ]  # fmt: skip
    assert overrun.overrun_of_run(rule(), RUN, START + 7 * MINUTE) == Overrun(
        3, START + 2 * MINUTE, START + 6 * MINUTE
    )


@pytest.mark.parametrize(
    ("changes", "slots"),
    [
        ({}, 60),
        ({"overlap": Overlap.SKIP}, 60),
        ({"overlap": Overlap.REPLACE}, 0),
        ({"mode": ExecutionMode.EXCLUSIVE}, 60),
        ({"mode": ExecutionMode.PARALLEL}, 0),
        ({"schedule": "0 2 * * *"}, 0),
        ({"schedule": "0 14 * * *"}, 1),
        ({"schedule": "every 2m"}, 59),
        ({"schedule": "every 3h"}, 0),
        ({"schedule": "@reboot"}, 0),
        ({"schedule": "on demand"}, 0),
        ({"schedule": "calendar:*:0/30"}, 4),
        ({"schedule": "no schedule"}, 0),
        ({"timezone": "Asia/Kathmandu", "schedule": "0 * * * *"}, 2),
        ({"jitter": 60}, 59),
    ],
    ids=str,
)
def test_by_schedule_and_policy(changes: dict[str, Any], slots: int) -> None:
    assert count(START + 2 * HOUR, **changes) == slots


def test_a_run_that_waited_has_those_that_passed_meanwhile() -> None:
    """Whatever is due while a start waits, it is one start."""
    late = replace(RUN, started_at=START + 9 * MINUTE)
    for changes in ({"mode": ExecutionMode.PARALLEL}, {"overlap": Overlap.REPLACE}):
        assert count(START + DAY, late, **changes) == 4
    assert count(START + 11 * MINUTE, late) == 5


def test_of_a_run_by_hand_those_after_its_start_count() -> None:
    by_hand = replace(RUN, trigger=Trigger.MANUAL, scheduled_at=None, started_at=START + MINUTE)
    assert count(START + 5 * MINUTE, by_hand) == 2


def test_only_slots_of_the_job_as_it_is_count() -> None:
    changed = START + 10 * MINUTE
    assert count(START + 13 * MINUTE, deployed_at=changed) == 1
    # Disabled then: it has had slots before.
    assert count(START + 13 * MINUTE, deployed_at=changed, enabled=False) == 5
    assert overrun.first(rule(enabled=False), START, START) is None


def test_what_a_clock_that_was_set_back_shows_does_not_count() -> None:
    assert count(START - HOUR) == 0


def test_a_job_that_should_run_each_second_is_counted_so_far() -> None:
    assert count(START + 7 * DAY, schedule="calendar:*:*:*") == OVERRUN_MAX
    assert phrases.slots_passed(OVERRUN_MAX) == "at least 10000 slots passed"
    # Intervals are not counted one by one.
    assert count(START + 7 * DAY, schedule="every 1s") == 7 * 86400 - 1


@pytest.mark.parametrize("schedule", ["*/2 * * * *", "every 3m", "0 4 * * *", "calendar:*:*:0/7"])
def test_the_first_slot_is_the_first_that_counts(schedule: str) -> None:
    first = overrun.first(rule(schedule=schedule), START, START + SECOND)
    assert first is not None
    assert count(first - 1, schedule=schedule) == 0
    assert count(first, schedule=schedule) == 1


def test_every_slot_is_a_runs_own_or_passed_or_was_missed(rng: random.Random) -> None:
    """Of a job with queue: the last that passed is what the run right after is for."""
    for _ in range(20):
        slots = [START + number * 2 * MINUTE for number in range(1, 200)]
        runs, passed_of_runs, at = list[Cover](), 0, START
        while at < slots[-1]:
            slot = next(one for one in slots if one > at)
            if rng.random() < 0.2:
                at = slot  # no run was started
                continue
            while True:
                took = int(rng.expovariate(1 / (3 * MINUTE)))
                begun = max(slot, at)
                run = replace(RUN, scheduled_at=slot, started_at=begun)
                at = begun + took
                runs.append(Cover.of(Trigger.TIMER, slot, begun, at))
                found = overrun.overrun_of_run(rule(), run, min(at, slots[-1]))
                if found is None:
                    break
                passed_of_runs += found.count - 1
                slot = found.last_at
        own = {cover.slot for cover in runs}
        gone = missed.find(OFTEN, "UTC", runs, after=START, until=slots[-1])
        assert len(own) + passed_of_runs + (gone.count if gone else 0) == len(slots)


# What is recorded and told


class Teller:
    """A supervisor's part in it, with a clock of its own."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.loop = HandLoop(START)
        self.goes_on = True
        self.alive: Consequences
        self.restart()

    def restart(self) -> None:
        """As after a kill."""
        self.loop = HandLoop(self.now)
        origin = Origin("box", "UTC", Mode.SYSTEM)
        self.alive = Consequences(self.store, origin, self.loop.now)
        self.watch = OverrunWatch(
            self.loop,
            self.store,
            self.alive,
            "UTC",
            goes_on=lambda run: self.goes_on,
            on_notifications=lambda: None,
        )
        self.watch.watch_all()

    @property
    def now(self) -> int:
        return self.loop.time

    @now.setter
    def now(self, now: int) -> None:
        self.loop.time = now

    def begin(self, run: Run = RUN) -> None:
        self.store.runs.begin(run, "b" * 32)
        self.watch.watch_job(run.job)

    def end(self, at: int | None, result: Result = Result.SUCCESS, run: Run = RUN) -> Run:
        self.now = max(self.now, at or 0)
        self.store.runs.end(run.execution_id, result, at)
        self.alive.settled(run.execution_id)
        self.store.runs.set_settled(run.execution_id)
        self.watch.ended(run.execution_id)
        ended = self.store.runs.get(run.execution_id)
        assert ended is not None
        return ended

    def wake(self, at: int) -> None:
        """Let the time pass until a moment after this one."""
        self.loop.advance(max(0, at - self.now) + MOMENT)

    def told(self) -> list[dict[str, Any]]:
        rows = own_history(self.store).run("SELECT report, type FROM outbox ORDER BY id")
        reports = [json.loads(row["report"]) for row in rows if row["type"] != "heartbeat"]
        return [report for report in reports if report["kind"] == "overrun"]


@pytest.fixture
def teller(tmp_path: Path) -> Iterator[Teller]:
    with Store.open(tmp_path / "lunasched.db", durable=False) as store:
        store.jobs.put(OFTEN, START - DAY)
        yield Teller(store)


DUE = START + 7 * MINUTE
"""When a job that runs every two minutes is told of."""


def test_a_run_is_told_of_once_while_it_goes_on_and_once_after(teller: Teller) -> None:
    teller.begin()
    assert teller.watch.next_at == DUE
    teller.wake(DUE)
    teller.wake(DUE + HOUR)
    (report,) = teller.told()
    assert (report["overrun"], report["overrun_first_at"]) == (3, START + 2 * MINUTE)
    assert "result" not in report and "ended_at" not in report
    assert teller.watch.next_at is None  # nothing wakes up for it any more
    ended = teller.end(START + 2 * HOUR)
    assert ended.overrun == Overrun(60, START + 2 * MINUTE, START + 2 * HOUR)
    _, report = teller.told()
    assert (report["overrun"], report["result"]) == (60, "success")


def test_a_supervisor_that_is_killed_tells_nothing_twice(teller: Teller) -> None:
    teller.begin()
    for at in (DUE - 1, DUE, DUE + MINUTE, DUE + HOUR):
        teller.now = at
        teller.restart()
        teller.wake(at)
    assert len(teller.told()) == 1
    teller.now = START + 2 * HOUR
    teller.restart()
    teller.end(START + 2 * HOUR)
    teller.alive.settled(RUN.execution_id)
    assert len(teller.told()) == 2


def test_what_ended_while_no_supervisor_ran_is_told_at_its_end(teller: Teller) -> None:
    teller.store.runs.begin(RUN, "b" * 32)
    teller.end(START + 2 * HOUR, Result.STOPPED)
    (report,) = teller.told()
    assert (report["overrun"], report["result"]) == (60, "stopped")


@pytest.mark.parametrize("took", [20 * SECOND, 3 * MINUTE, 7 * MINUTE - 2 * SECOND])
def test_what_takes_a_little_longer_is_on_record_and_not_told(teller: Teller, took: int) -> None:
    teller.begin()
    ended = teller.end(RUN.started_at + took)
    assert (ended.overrun.count if ended.overrun else 0) == (took + SECOND) // (2 * MINUTE)
    assert teller.told() == []
    assert teller.watch.next_at is None


def test_a_long_run_of_a_job_that_is_not_due_meanwhile_is_silent(teller: Teller) -> None:
    teller.store.jobs.put(OFTEN.evolve(schedule="0 12 * * *"), START - DAY)
    teller.begin()
    assert teller.watch.next_at == START + DAY + 5 * MINUTE
    assert teller.end(START + 20 * HOUR).overrun is None
    assert teller.told() == []
    assert teller.watch.next_at is None


@pytest.mark.parametrize(
    ("changes", "due"),
    [
        ({"notifications": replace(TOLD, overrun_after=60)}, START + 3 * MINUTE),
        ({"jitter": 90}, DUE + 90 * SECOND),
        ({"schedule": "every 1h"}, RUN.started_at + 65 * MINUTE),
        ({"overlap": Overlap.REPLACE}, None),
        ({"mode": ExecutionMode.PARALLEL}, None),
        ({"schedule": "@reboot"}, None),
    ],
    ids=str,
)
def test_when_a_run_is_told_of(teller: Teller, changes: dict[str, Any], due: int | None) -> None:
    teller.store.jobs.put(OFTEN.evolve(**changes), START - DAY)
    teller.begin()
    assert teller.watch.next_at == due


def test_only_the_earliest_of_many_is_waited_for(teller: Teller, rng: random.Random) -> None:
    minutes = rng.sample(range(3, 60), 20)
    for number, every in enumerate(minutes):
        name = f"job-{number}"
        teller.store.jobs.put(OFTEN.evolve(name=name, schedule=f"every {every}m"), START - DAY)
        teller.begin(replace(RUN, execution_id=f"{number:032x}", job=name, unit=name))
    assert teller.watch.next_at == RUN.started_at + (min(minutes) + 5) * MINUTE


def test_what_is_over_for_systemd_is_not_said_to_go_on(teller: Teller) -> None:
    """The journal lags: the end is on record later."""
    teller.begin()
    teller.goes_on = False
    teller.wake(DUE)
    assert teller.told() == []
    assert teller.end(DUE - MINUTE).overrun == Overrun(3, START + 2 * MINUTE, START + 6 * MINUTE)
    assert teller.told() == []


@pytest.mark.parametrize(
    ("notifications", "channels"),
    [
        (TOLD, ["ntfy"]),
        (replace(TOLD, on_overrun=()), []),
        (Notifications(on_overrun=(Channel(ChannelType.EMAIL, "ops"), NTFY)), ["email", "ntfy"]),
        (Notifications(), []),
    ],
    ids=str,
)
def test_who_is_told(teller: Teller, notifications: Notifications, channels: list[str]) -> None:
    teller.store.jobs.put(OFTEN.evolve(notifications=notifications), START - DAY)
    teller.begin()
    teller.wake(DUE)
    rows = own_history(teller.store).run("SELECT type, event FROM outbox ORDER BY id")
    assert [row["type"] for row in rows] == channels
    assert {row["event"] for row in rows} <= {"on_overrun"}


def test_of_a_lost_run_what_was_looked_at_passed_and_the_rest_was_missed(teller: Teller) -> None:
    teller.begin()
    teller.store.slots.set_checked("often", Checked(START + 9 * MINUTE, START + 9 * MINUTE))
    ended = teller.end(None, Result.LOST)
    assert ended.overrun == Overrun(4, START + 2 * MINUTE, START + 8 * MINUTE)
    covers = teller.store.slots.covers("often")
    gone = missed.find(OFTEN, "UTC", covers, after=START + 9 * MINUTE, until=START + 20 * MINUTE)
    assert gone is not None
    assert (gone.count, gone.first_at) == (6, START + 10 * MINUTE)


def test_a_run_that_was_refused_overran_nothing(teller: Teller) -> None:
    teller.begin()
    assert teller.end(START + HOUR, Result.SKIPPED).overrun is None
    assert teller.told() == []


def test_the_job_may_be_gone_by_then(teller: Teller) -> None:
    teller.begin()
    teller.store.jobs.delete("often")
    teller.wake(DUE)
    assert teller.end(START + HOUR).overrun is None
    assert teller.told() == []


# What waits for its turn


@pytest.mark.parametrize(
    "changes",
    [{}, {"mode": ExecutionMode.PARALLEL}, {"overlap": Overlap.REPLACE}, {"schedule": "every 2m"}],
    ids=str,
)
def test_a_start_that_waits_for_too_long_is_told_of_and_its_run(
    teller: Teller, changes: dict[str, Any]
) -> None:
    """As behind an Exclusive job that hangs."""
    job = OFTEN.evolve(**changes)
    teller.store.jobs.put(job, START - DAY)
    teller.store.starts.put(
        job, unit=RUN.unit, trigger=Trigger.TIMER, slot=START, due_at=START, now=START
    )
    teller.watch.watch_starts()
    assert teller.watch.next_at == DUE
    for at in (DUE, DUE + MINUTE):
        teller.wake(at)
        teller.watch.watch_starts()
        teller.restart()
        teller.wake(at)
    (report,) = teller.told()
    assert (report["overrun"], report["waiting_since"]) == (3, START)
    assert "execution_id" not in report
    (start,) = teller.store.starts.all()
    teller.store.starts.claim(start, DUE)
    teller.store.starts.take_claimed(RUN.unit, began=DUE + 1, by_timer=False, now=DUE + 1)
    teller.watch.watch_starts()
    assert teller.watch.next_at is None
    if job.schedule == OFTEN.schedule:
        began = START + 10 * MINUTE
        teller.now = began
        teller.begin(replace(RUN, started_at=began))
        # The supervisor wakes up between its beginning and its end.
        teller.wake(began)
        ended = teller.end(began + SECOND)
        assert ended.overrun == Overrun(5, START + 2 * MINUTE, began)
        assert [report.get("result") for report in teller.told()] == [None, "success"]


@pytest.mark.parametrize("slot", [START + 10 * MINUTE, None])
def test_what_waited_is_told_of_again_where_another_start_comes_before_its_turn(
    teller: Teller, slot: int | None
) -> None:
    """By the timer, for a slot of its own, or by hand."""
    teller.store.starts.put(
        OFTEN, unit=RUN.unit, trigger=Trigger.TIMER, slot=START, due_at=START, now=START
    )
    teller.watch.watch_starts()
    teller.wake(DUE)
    began = START + 10 * MINUTE
    teller.now = began
    trigger = Trigger.MANUAL if slot is None else Trigger.TIMER
    run = replace(RUN, trigger=trigger, scheduled_at=slot, started_at=began)
    teller.begin(run)
    teller.store.runs.running(run.execution_id)
    teller.alive.went_ahead(run.execution_id)
    assert not teller.store.starts.all()
    ended = teller.end(began + SECOND, run=run)
    assert (ended.trigger, ended.scheduled_at) == (trigger, START)
    assert ended.overrun == Overrun(5, START + 2 * MINUTE, began)
    assert [report.get("result") for report in teller.told()] == [None, "success"]


def test_a_run_that_waited_is_told_of_again_if_it_hangs_itself(teller: Teller) -> None:
    began = START + 10 * MINUTE
    teller.now = began
    teller.begin(replace(RUN, started_at=began))
    assert teller.watch.next_at == began + 5 * MINUTE
    teller.wake(began + 5 * MINUTE)
    (report,) = teller.told()
    assert (report["overrun"], report["execution_id"]) == (7, RUN.execution_id)


def test_the_doctor_warns_of_it_as_late_as_the_supervisor(teller: Teller, tmp_path: Path) -> None:
    file = FileFacts(tmp_path / "lunasched.db", "root", "root", 0o600)
    known = DatabaseFacts(file.path, file, None, "", "current", checked=True)
    began = START + 10 * MINUTE
    teller.begin(replace(RUN, started_at=began))

    def found(at: int) -> int:
        seen = overruncheck.look(lambda: teller.store, known, "UTC", at)
        assert not isinstance(seen, Unseen)
        return len(seen)

    assert [found(began), found(began + 5 * MINUTE - 1), found(began + 5 * MINUTE)] == [0, 0, 1]


def test_a_start_that_has_its_turn_in_time_wakes_nobody(teller: Teller) -> None:
    teller.store.starts.put(
        OFTEN, unit=RUN.unit, trigger=Trigger.TIMER, slot=START, due_at=START, now=START
    )
    teller.watch.watch_starts()
    teller.store.starts.drop_job("often")
    teller.watch.watch_starts()
    assert teller.watch.next_at is None


# What is shown


def test_a_run_in_progress_is_shown_with_what_has_passed_by_now(teller: Teller) -> None:
    teller.begin()
    stored = teller.store.runs.history("often", None)
    shown = overrun.so_far(
        stored, teller.store.jobs.some, now=START + 2 * HOUR, host_timezone="UTC"
    )
    assert [phrases.run_ended(run) for run in shown] == ["running, 60 slots passed"]
    teller.end(START + 2 * MINUTE)
    stored = teller.store.runs.history("often", None)
    shown = overrun.so_far(stored, teller.store.jobs.some, now=START + DAY, host_timezone="UTC")
    assert [phrases.run_ended(run) for run in shown] == ["success, 1 slot passed"]


def test_metrics_have_what_has_passed_now_and_ever(teller: Teller) -> None:
    metrics = Metrics("UTC", lambda: Supervision(True))

    def samples(now: int) -> tuple[str, str]:
        lines = metrics.render(teller.store, now).decode().splitlines()
        found = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        names = ("overrun_slots", "overrun_slots_total")
        now_and_ever = [found[f'lunasched_job_{name}{{job_id="often"}}'] for name in names]
        return now_and_ever[0], now_and_ever[1]

    assert samples(START) == ("0", "0")
    teller.begin()
    assert samples(START + 2 * HOUR) == ("60", "0")
    teller.end(START + 3 * HOUR)
    assert samples(START + 4 * HOUR) == ("0", "90")
