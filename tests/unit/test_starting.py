"""Starts and hooks that systemd is asked for: their rows, however it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from handloop import HandLoop

from lunasched.errors import LunaschedError, SystemdError, SystemdUnreachable
from lunasched.history.run import Result, Run, Trigger
from lunasched.jobs.model import ExecutionMode, HookEvent, Hooks, Job, RetryPolicy
from lunasched.paths import Mode
from lunasched.state.runtimedir import RuntimeDirectory
from lunasched.store import Store
from lunasched.supervisor.consequences import Consequences
from lunasched.supervisor.hookstarter import HookStarter
from lunasched.supervisor.notificationqueue import Origin
from lunasched.supervisor.starter import Starter
from lunasched.systemd.manager import Invocation

SECOND = 1_000_000
NOW = 1_700_000_000 * SECOND
ID, HOOK_ID = f"{1:032x}", f"{2:032x}"
UNIT = "lunasched-job@backup.service"
HOOK_UNIT = "lunasched-hook@backup:on_failure.service"
JOB = Job(name="backup", schedule="@daily", command="true", hooks=Hooks(on_failure="x"))
GONE = Invocation("", "inactive", "success", None, None, None, None)


class Manager:
    """systemd, as it answers in a test."""

    def __init__(self) -> None:
        self.answer: LunaschedError | None = None
        self.asked: list[str] = []
        self.running: set[str] = set()
        self.held = GONE

    def start_later(self, unit: str, answered: Callable[[LunaschedError | None], None]) -> None:
        self.asked.append(unit)
        answered(self.answer)

    def is_busy(self, unit: str) -> bool:
        return unit in self.running

    def busy(self, pattern: str) -> set[str]:
        return set(self.running)

    def invocation(self, unit: str) -> Invocation:
        return self.held


class Host:
    """A history with a failed run, and who starts what follows from it."""

    def __init__(self, path: Path, store: Store, mode: Mode = Mode.SYSTEM) -> None:
        self.store = store
        self.loop = HandLoop(NOW)
        self.manager = Manager()
        manager = cast(Any, self.manager)
        runtime = RuntimeDirectory(path / "run")
        consequences = Consequences(store, Origin("box", "UTC", mode), self.loop.now)
        self.starter = Starter(
            self.loop, store, manager, runtime, consequences, limit=0, on_asked=lambda: None
        )
        self.hooks = HookStarter(self.loop, mode, store, manager, runtime, on_asked=lambda: None)
        store.jobs.put(JOB, NOW)
        self.failed = Run(
            execution_id=ID,
            job="backup",
            unit=UNIT,
            trigger=Trigger.TIMER,
            scheduled_at=None,
            started_at=NOW,
        )
        store.runs.begin(self.failed, "b" * 32)
        store.runs.end(ID, Result.EXIT_CODE, NOW + SECOND)

    def put_retry(self, due_at: int = NOW) -> None:
        job = JOB.evolve(retry=RetryPolicy())
        self.store.starts.put_retry(job, self.failed, unit=UNIT, attempt=2, due_at=due_at, now=NOW)

    def put_hook(self) -> None:
        self.store.hooks.put(ID, HookEvent.ON_FAILURE, "backup", HOOK_UNIT, {"A": "b"}, NOW)

    def hook(self) -> Result | None:
        (hook,) = self.store.hooks.of([ID])[ID]
        return hook.result

    def judge(self, claims: Any) -> bool:
        """Let time pass, and the journal be silent."""
        self.loop.advance(3 * SECOND)
        claims.doubt()
        return bool(claims.reconcile())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "lunasched.db", durable=False) as opened:
        yield opened


@pytest.fixture
def host(tmp_path: Path, store: Store) -> Host:
    return Host(tmp_path, store)


def test_a_retry_starts_when_it_is_due_and_not_before(host: Host) -> None:
    host.put_retry(NOW + 60 * SECOND)
    host.starter.start_due()
    host.loop.advance(59 * SECOND)
    assert not host.manager.asked
    host.loop.advance(2 * SECOND)
    assert host.manager.asked == [UNIT]
    host.starter.start_due()
    host.loop.advance(60 * SECOND)
    assert host.manager.asked == [UNIT], "it was claimed"


def test_a_start_that_nobody_heard_is_asked_for_again(host: Host) -> None:
    host.put_retry()
    host.manager.answer = SystemdUnreachable("no bus")
    host.starter.start_due()
    (start,) = host.store.starts.all()
    assert start.claimed_at is None
    host.manager.answer = None
    host.starter.start_due()
    assert host.manager.asked == [UNIT, UNIT]


def test_a_start_that_is_refused_was_the_last_attempt(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    host.put_retry()
    host.manager.answer = SystemdError("masked")
    host.starter.start_due()
    assert host.store.starts.all() == []
    assert f"<4>{UNIT} could not be started: masked" in capsys.readouterr().err
    assert [hook.event for hook in host.store.hooks.of([ID])[ID]] == [HookEvent.ON_FAILURE]


def test_a_copy_of_a_unit_that_is_gone_is_made_again(host: Host) -> None:
    unit = "lunasched-job@backup:0123456789abt.service"
    host.store.starts.put(JOB, unit=unit, trigger=Trigger.TIMER, slot=NOW, due_at=NOW, now=NOW)
    host.manager.answer = SystemdError("no such unit")
    host.starter.start_due()
    (start,) = host.store.starts.all()
    assert (start.unit, start.claimed_at) == ("lunasched-launch@backup.service", None)


def test_a_start_that_does_not_begin_is_given_up_after_some_tries(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    host.put_retry()
    for _ in range(5):
        host.starter.start_due()
        assert not host.judge(host.starter.claims)
    assert host.manager.asked == [UNIT] * 5
    assert host.store.starts.all() == []
    assert "systemd does not begin it" in capsys.readouterr().err


def test_a_start_that_is_on_its_way_is_waited_for(host: Host) -> None:
    host.put_retry()
    host.starter.start_due()
    host.manager.running = {UNIT}
    assert not host.judge(host.starter.claims)
    assert len(host.store.starts.all()) == 1


@pytest.mark.parametrize(
    ("answer", "result", "is_open"),
    [
        (None, None, True),
        (SystemdUnreachable("no bus"), None, False),
        (SystemdError("masked"), Result.EXEC_ERROR, False),
    ],
    ids=str,
)
def test_what_becomes_of_a_hook_by_the_answer(
    host: Host, answer: LunaschedError | None, result: Result | None, is_open: bool
) -> None:
    host.put_hook()
    host.manager.answer = answer
    host.hooks.start_due()
    assert host.manager.asked == [HOOK_UNIT]
    assert host.hook() is result
    assert bool(host.store.hooks.open()) is is_open


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize(
    ("held", "in_system", "in_user"),
    [
        ((HOOK_ID, "success"), Result.SUCCESS, Result.SUCCESS),
        ((HOOK_ID, "exit-code"), Result.EXIT_CODE, Result.EXIT_CODE),
        (("", "success"), Result.LOST, Result.SUCCESS),
    ],
    ids=str,
)
def test_a_hook_that_has_begun_is_closed_by_what_its_unit_holds(
    tmp_path: Path,
    store: Store,
    mode: Mode,
    held: tuple[str, str],
    in_system: Result,
    in_user: Result,
) -> None:
    host = Host(tmp_path, store, mode)
    host.put_hook()
    host.hooks.start_due()
    host.store.hooks.started(HOOK_UNIT, HOOK_ID)
    host.manager.held = Invocation(held[0], "inactive", held[1], 1, None, NOW, NOW + SECOND)
    assert not host.judge(host.hooks.claims)
    assert host.hook() is (in_system if mode is Mode.SYSTEM else in_user)
    assert host.manager.asked == [HOOK_UNIT], "it is not run twice"


def test_a_hook_that_does_not_begin_is_asked_for_again_and_then_given_up(host: Host) -> None:
    host.put_hook()
    for _ in range(5):
        host.hooks.start_due()
        assert host.hook() is None
        assert not host.judge(host.hooks.claims)
    assert host.hook() is Result.EXEC_ERROR
    assert host.manager.asked == [HOOK_UNIT] * 5


def test_nothing_starts_beside_an_exclusive_run_that_begins(host: Host, tmp_path: Path) -> None:
    """The gate holds others until the unit has the directory that they look at."""
    gate = RuntimeDirectory(tmp_path / "run")
    alone = Job(name="alone", schedule="@daily", command="true", mode=ExecutionMode.EXCLUSIVE)
    unit = "lunasched-job@alone.service"
    for job, of_job in ((alone, unit), (JOB, UNIT)):
        host.store.jobs.put(job, NOW)
        now = host.loop.now()
        host.store.starts.put(
            job, unit=of_job, trigger=Trigger.TIMER, slot=NOW, due_at=NOW, now=now
        )
        host.loop.advance(SECOND)

    def look(expected: list[str], *, shut: bool) -> None:
        host.starter.start_due()
        assert (host.manager.asked, gate.gate_is_shut()) == (expected, shut)

    host.manager.running = {"lunasched-job@other.service"}
    look([], shut=True)
    host.manager.running = set()
    look([unit], shut=True)
    look([unit], shut=True)
    # systemd has begun with it, which its first process does not know yet.
    began = replace(host.failed, execution_id=f"{9:032x}", job="alone", unit=unit, started_at=NOW)
    host.store.runs.begin(began, "b" * 32)
    assert host.store.starts.take_claimed(unit, began=NOW + 9 * SECOND, by_timer=False, now=NOW)
    host.manager.running = {unit}
    look([unit], shut=True)
    (tmp_path / "lunasched-exclusive").mkdir()
    host.store.runs.running(began.execution_id)
    look([unit], shut=False)
    (tmp_path / "lunasched-exclusive").rmdir()
    host.store.runs.end(began.execution_id, Result.SUCCESS, NOW + 2 * SECOND)
    host.manager.running = set()
    look([unit, UNIT], shut=False)
