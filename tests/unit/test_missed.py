"""Slots that passed without a run are found, and each is counted once."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest
from handloop import HandLoop
from samples import own_history

from lunasched.history import missed
from lunasched.history.missed import Checked, Cover
from lunasched.history.run import MissedSlots, Result, Run, Trigger
from lunasched.jobs.model import Channel, ChannelType, Job, Notifications
from lunasched.paths import Mode
from lunasched.state.deploylock import DeployLock
from lunasched.store import Pruning, Store
from lunasched.supervisor.consequences import Consequences
from lunasched.supervisor.notificationqueue import Origin
from lunasched.supervisor.slotchecker import SlotChecker

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
START = int(datetime(2026, 2, 10, 12, tzinfo=timezone.utc).timestamp()) * SECOND
HOURLY = Job(name="hourly", schedule="0 * * * *", command="true", timezone="UTC")


def found(covers: list[Cover], hours: float, job: Job = HOURLY) -> MissedSlots | None:
    return missed.find(job, "UTC", covers, after=START, until=START + int(hours * HOUR))


def run_of(slot: float | None, start: float, end: float, trigger: Trigger = Trigger.TIMER) -> Cover:
    """A run, in hours after the start."""
    at = None if slot is None else START + int(slot * HOUR)
    return Cover.of(trigger, at, START + int(start * HOUR), START + int(end * HOUR))


def test_without_a_run_every_slot_is_missed() -> None:
    assert found([], 5) == MissedSlots("hourly", 5, START + HOUR, START + 5 * HOUR)
    assert found([], 0.9) is None


@pytest.mark.parametrize(
    ("cover", "count"),
    [
        (run_of(2, 2, 2.1), 4),
        (run_of(2, 2.9, 2.95), 4),  # late, by its jitter
        (run_of(2, 2, 4.5), 2),  # in progress at 3 and 4
        (run_of(2, 4.2, 4.3), 2),  # waited for its turn until then
        (run_of(None, 2.5, 2.9), 5),  # by hand, in between
        (run_of(None, 2.5, 3.5), 4),
        (run_of(4, 4.2, 4.3, Trigger.CATCH_UP), 1),  # stands for 1 to 4
        (run_of(4, 4.2, 4.3, Trigger.MANUAL), 4),
        (run_of(0, 0, 9), 0),
    ],
    ids=str,
)
def test_what_belongs_to_a_run_is_not_missed(cover: Cover, count: int) -> None:
    result = found([cover], 5)
    assert (result.count if result else 0) == count


def test_the_order_of_runs_does_not_matter() -> None:
    covers = [run_of(3, 3, 3.2), run_of(1, 1, 1.2), run_of(None, 1.1, 2.5)]
    assert found(covers, 5) == MissedSlots("hourly", 2, START + 4 * HOUR, START + 5 * HOUR)


def test_a_catch_up_stands_for_what_passed_since_the_run_before() -> None:
    covers = [run_of(2, 2, 2.1), run_of(8, 8.5, 8.6, Trigger.CATCH_UP)]
    assert found(covers, 9) == MissedSlots("hourly", 2, START + HOUR, START + 9 * HOUR)


def test_no_more_are_counted_than_a_thousand_at_a_time() -> None:
    job = HOURLY.evolve(schedule="calendar:*:*:*")
    assert found([], 168, job) == MissedSlots("hourly", 1000, START + SECOND, START + 1000 * SECOND)


def test_nights_when_the_clock_changes_have_their_own_slots() -> None:
    """In Berlin 02:30 is at 03:00 in the spring, and once in the autumn."""
    for month, day, nightly, hourly in ((3, 29, 1, 23), (10, 25, 1, 25)):
        midnight = datetime(2026, month, day, tzinfo=timezone.utc).timestamp()
        offset = 1 if month == 3 else 2
        begin = int(midnight - offset * 3600) * SECOND - 1
        for text, count in (("30 2 * * *", nightly), ("0 * * * *", hourly)):
            job = Job(name="x", schedule=text, command="true", timezone="Europe/Berlin")
            end = begin + hourly * HOUR
            result = missed.find(job, "UTC", [], after=begin, until=end)
            assert result is not None and result.count == count, (text, month)


@pytest.mark.parametrize("text", ["every 15m", "@reboot", "on demand"])
def test_what_has_no_slots_misses_none(text: str) -> None:
    assert not missed.has_slots(HOURLY.evolve(schedule=text))
    assert not missed.has_slots(HOURLY.evolve(enabled=False))
    assert missed.has_slots(HOURLY)


# The clock


def test_a_clock_set_back_a_little_changes_nothing() -> None:
    checked = Checked(START, START)
    assert checked.at(START - HOUR) == checked
    assert checked.at(START - HOUR).up_to(START - HOUR) == checked


def test_after_a_correction_the_new_time_counts() -> None:
    wrong = Checked(START + 5000 * DAY, START + 5000 * DAY)
    right = wrong.at(START)
    assert right == Checked(START, START + 5000 * DAY)
    later = right.up_to(START + HOUR)
    assert later.at(START + 2 * HOUR).until == START + HOUR


def test_a_clock_that_starts_in_the_past_counts_nothing_again() -> None:
    """As on a machine whose clock has no battery, until the time has come from the network."""
    known = Checked(START, START)
    at_boot = known.at(START - 1000 * DAY).up_to(START - 1000 * DAY + MINUTE)
    assert at_boot.at(START + DAY).until == START


# What the supervisor does


class Time:
    """The clock."""

    def __init__(self) -> None:
        self.now = START


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def check(store: Store, time: Time) -> Callable[..., int]:
    """Look at a job as a supervisor does that was just started; all that was ever missed."""

    def check(name: str = "hourly", awake: int = 0) -> int:
        loop = HandLoop(time.now)
        consequences = Consequences(store, Origin("box", "UTC", Mode.SYSTEM), loop.now)
        checker = SlotChecker(loop, store, consequences, "UTC")
        loop.awake = awake
        with store.transaction():
            checker.check(name)
        return store.slots.missed(name).count

    return check


_COUNT = iter(range(1, 1_000_000))


def add_run(
    store: Store,
    slot: int | None,
    start: int,
    end: int | None,
    *,
    job: str = "hourly",
    trigger: Trigger = Trigger.TIMER,
    result: Result = Result.SUCCESS,
) -> str:
    execution_id = f"{next(_COUNT):032x}"
    store.runs.begin(
        Run(
            execution_id=execution_id,
            job=job,
            unit=f"lunasched-job@{job}.service",
            trigger=trigger,
            scheduled_at=slot,
            started_at=start,
        ),
        "b" * 32,
    )
    if end is not None:
        end_run(store, execution_id, end, result)
    return execution_id


def end_run(store: Store, run: str, end: int, result: Result = Result.SUCCESS) -> None:
    store.runs.end(run, result, end)
    store.runs.set_settled(run)
    store.runs.set_output(run, "")


def test_a_later_run_shows_what_was_missed(
    store: Store, time: Time, check: Callable[..., int]
) -> None:
    store.jobs.put(HOURLY, START)
    time.now = START + 5 * HOUR + 10 * SECOND
    assert check() == 0  # just awake: what is due may still begin
    add_run(store, START + 5 * HOUR, START + 5 * HOUR + SECOND, START + 5 * HOUR + 2 * SECOND)
    assert [check(), check()] == [4, 4]
    latest = store.slots.missed("hourly").latest
    assert latest == MissedSlots("hourly", 4, START + HOUR, START + 4 * HOUR)


def test_without_a_later_run_it_takes_a_while(
    store: Store, time: Time, check: Callable[..., int]
) -> None:
    store.jobs.put(HOURLY, START)
    time.now = START + 5 * HOUR + MINUTE
    assert check(awake=4 * MINUTE) == 0
    assert check(awake=6 * MINUTE) == 4  # that of 5 o'clock may still come
    time.now += 10 * MINUTE
    assert check(awake=16 * MINUTE) == 5


def test_nothing_is_counted_while_jobs_are_changed(
    store: Store, time: Time, tmp_path: Path
) -> None:
    """A run may be on record before it is known when the timer of its new job had started."""
    loop, lock = HandLoop(time.now), DeployLock(tmp_path / "lock")
    consequences = Consequences(store, Origin("box", "UTC", Mode.SYSTEM), loop.now)
    checker = SlotChecker(loop, store, consequences, "UTC", is_changing=lambda: lock.is_in_use)
    with lock.hold(), lock.changing(leaves_no_job=False):
        store.jobs.put(HOURLY, START)
        slot = START + 2 * HOUR
        add_run(store, slot, slot + SECOND, slot + 2 * SECOND)
        loop.advance(slot + MINUTE - START)
        checker.recorded()
        loop.advance(10 * SECOND)
        assert (checker.is_busy, store.slots.checked("hourly")) == (True, None)
        store.jobs.put(HOURLY, START + HOUR)
    loop.advance(2 * SECOND)
    assert (checker.is_busy, store.slots.missed("hourly").count) == (False, 0)
    # A change that was killed says nothing more.
    lock.word_path.write_bytes(b"+")
    assert lock.is_unfinished
    assert not lock.is_in_use


def test_a_jitter_is_waited_for(store: Store, time: Time, check: Callable[..., int]) -> None:
    store.jobs.put(HOURLY.evolve(jitter=1800), START)
    time.now = START + HOUR + 30 * MINUTE
    assert check(awake=DAY) == 0
    add_run(store, None, time.now, time.now + SECOND, trigger=Trigger.MANUAL)
    assert check(awake=DAY) == 0
    time.now += 6 * MINUTE
    assert check(awake=DAY) == 1


def test_what_waits_for_other_jobs_is_waited_for(
    store: Store, time: Time, check: Callable[..., int]
) -> None:
    store.jobs.put(HOURLY.evolve(schedule="0 13 * * *", dependencies=("other",)), START)
    time.now = START + 10 * HOUR
    assert check(awake=2 * DAY) == 0
    time.now = START + 26 * HOUR
    assert check(awake=2 * DAY) == 1


def test_a_start_that_waits_for_its_turn_is_not_missed(
    store: Store, time: Time, check: Callable[..., int]
) -> None:
    store.jobs.put(HOURLY, START)
    at = START + 2 * HOUR
    store.starts.put(HOURLY, unit="u", trigger=Trigger.TIMER, slot=at, due_at=at, now=at)
    time.now = START + 5 * HOUR + 10 * MINUTE
    assert check(awake=DAY) == 1


def test_a_slot_that_was_skipped_is_not_missed(
    store: Store, time: Time, check: Callable[..., int]
) -> None:
    store.jobs.put(HOURLY, START)
    at = START + HOUR
    add_run(store, at, at, at, result=Result.SKIPPED)
    time.now = at + 10 * MINUTE
    assert check(awake=DAY) == 0


@pytest.mark.parametrize("changes", [{}, {"enabled": False}])
def test_times_before_a_job_was_there_or_on_do_not_count(
    changes: dict[str, bool], store: Store, time: Time, check: Callable[..., int]
) -> None:
    store.jobs.put(HOURLY, START)
    add_run(store, START, START, START + SECOND)
    store.jobs.put(HOURLY.evolve(**changes), START + 7 * HOUR)
    time.now = START + 8 * HOUR + 10 * MINUTE
    assert check(awake=DAY) == (1 if not changes else 0)
    store.jobs.put(HOURLY, START + 9 * HOUR + MINUTE)
    time.now = START + 10 * HOUR + 10 * MINUTE
    assert check(awake=DAY) == (2 if not changes else 1)


def test_a_run_in_progress_is_remembered_until_it_is_over(
    store: Store, time: Time, check: Callable[..., int]
) -> None:
    store.jobs.put(HOURLY, START)
    time.now = START + HOUR + 30 * MINUTE
    long = add_run(store, START + HOUR, START + HOUR, None)
    by_hand = START + 90 * MINUTE
    add_run(store, None, by_hand, by_hand + HOUR, trigger=Trigger.MANUAL)
    assert check(awake=DAY) == 0
    end_run(store, long, START + 3 * HOUR + MINUTE)
    time.now = START + 5 * HOUR + 10 * MINUTE
    assert check(awake=DAY) == 2


def test_a_clock_that_was_set_back_counts_nothing_again(
    store: Store, time: Time, check: Callable[..., int]
) -> None:
    store.jobs.put(HOURLY, START - 100 * DAY)
    store.slots.set_checked("hourly", Checked(START, START))
    time.now = START + 3 * HOUR + 10 * MINUTE
    assert check(awake=DAY) == 3
    for back in (HOUR, 2 * HOUR, 50 * DAY):
        time.now -= back
        assert check(awake=DAY) == 3
    time.now = START + 4 * HOUR + 10 * MINUTE
    assert check(awake=DAY) == 4


def test_who_wants_to_be_told_is_told_once(
    store: Store, time: Time, check: Callable[..., int]
) -> None:
    channel = Channel(ChannelType.NTFY, "https://ntfy.example/backups")
    store.jobs.put(HOURLY.evolve(notifications=Notifications(on_missed=(channel,))), START)
    time.now = START + 3 * HOUR + 10 * MINUTE
    assert [check(awake=DAY), check(awake=DAY)] == [3, 3]
    (message,) = own_history(store).run("SELECT event, job, report FROM outbox")
    assert (message["event"], message["job"]) == ("on_missed", "hourly")
    report = json.loads(message["report"])
    assert (report["missed"], report["missed_first_at"], report["missed_last_at"]) == (
        3, START + HOUR, START + 3 * HOUR,
    )  # fmt: skip


def test_what_is_killed_before_the_end_counts_nothing(
    store: Store, time: Time, check: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.jobs.put(HOURLY, START)
    time.now = START + 3 * HOUR + 10 * MINUTE
    own_history(store).run(
        "CREATE TRIGGER killed AFTER UPDATE OF missed ON checked_slots "
        "BEGIN SELECT raise(ABORT, 'killed'); END"
    )
    with pytest.raises(Exception, match="killed"):
        check(awake=DAY)
    own_history(store).run("DROP TRIGGER killed")
    assert check(awake=DAY) == 3


def test_however_often_it_is_looked_the_count_is_the_same(
    store: Store, time: Time, check: Callable[..., int], rng: random.Random
) -> None:
    """Two jobs with the same runs, one looked at now and then, one at the end; and by a model."""
    often, once = (HOURLY.evolve(name=name, schedule="*/10 * * * *") for name in ("often", "once"))
    for job in (often, once):
        store.jobs.put(job, START)
    slots = [START + n * 10 * MINUTE for n in range(1, 400)]
    covered: set[int] = set()
    busy_until, in_progress = 0, list[str]()
    for slot in slots:
        if slot > busy_until:
            for run in in_progress:
                end_run(store, run, busy_until)
            in_progress = []
            if rng.random() < 0.5:
                busy_until = slot + SECOND + int(rng.expovariate(1 / 12) * MINUTE)
                covered |= {one for one in slots if slot <= one <= busy_until}
                in_progress = [
                    add_run(store, slot, slot + SECOND, None, job=job.name) for job in (often, once)
                ]
        if rng.random() < 0.3:
            time.now = slot + 2 * SECOND + rng.randrange(9) * MINUTE
            check("often", awake=rng.choice([0, DAY]))
    for run in in_progress:
        end_run(store, run, busy_until)
    time.now = max(slots[-1] + 6 * MINUTE, busy_until)
    wanted = len([slot for slot in slots if slot not in covered])
    assert wanted > 50
    assert [check(name, awake=DAY) for name in ("often", "once")] == [wanted, wanted]


def test_counting_reads_no_more_runs_than_it_has_to(
    store: Store, time: Time, check: Callable[..., int]
) -> None:
    """Runs that were looked at may be pruned: nothing is missed for that."""
    store.jobs.put(HOURLY, START)
    for hour in range(1, 50):
        at = START + hour * HOUR
        add_run(store, at, at, at + MINUTE)
        time.now = at + 2 * MINUTE
        assert check() == 0
    assert len(store.slots.covers("hourly")) == 1
    pruning = Pruning(store, history_days=0, max_history_per_job=1, now=time.now)
    while pruning.step() is not None:
        pass
    assert len(store.runs.history("hourly", None)) == 1
    time.now += 2 * HOUR
    assert check(awake=DAY) == 1
