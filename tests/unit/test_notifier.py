"""Sending from the outbox to a real server, whatever that answers and whatever the clock does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from receiver import Receiver

from lunasched.files.settings import Settings
from lunasched.history.report import Report, ReportKind
from lunasched.jobs.model import Channel, ChannelType
from lunasched.paths import Mode
from lunasched.state.runtimedir import RuntimeDirectory
from lunasched.store import NotificationState, OutboxEntry, Store
from lunasched.supervisor.hookstarter import HookStarter
from lunasched.supervisor.loop import Loop
from lunasched.supervisor.notificationqueue import Origin
from lunasched.supervisor.notifier import Notifier

SECOND = 1_000_000
HOUR = 3600 * SECOND
ORIGIN = Origin("box", "UTC", Mode.SYSTEM)
START = 1_700_000_000 * SECOND


class Sender:
    """A notifier at a database, with a clock that is set by hand."""

    def __init__(self, path: Path, receiver: Receiver, *, max_per_hour: int = 0) -> None:
        self.receiver = receiver
        self.store = Store.open(path / "lunasched.db", durable=False)
        self.now = START
        self.loop = Loop(lambda: self.now)
        self.count = 0
        # Without rows of hooks, nothing asks systemd for anything.
        hooks = HookStarter(
            self.loop,
            Mode.SYSTEM,
            self.store,
            cast(Any, None),
            RuntimeDirectory(path / "run"),
            on_asked=lambda: None,
        )
        self.notifier = Notifier(
            self.loop,
            self.store,
            hooks,
            ORIGIN,
            settings=Settings(max_notifications_per_hour=max_per_hour),
            whole_output=lambda execution_id: lambda kept: f"all of {execution_id}: {kept}",
            on_tried=lambda: None,
        )

    def put(
        self,
        path: str = "a",
        *,
        job: str = "backup",
        kind: ReportKind = ReportKind.FAILURE,
        type_: ChannelType = ChannelType.WEBHOOK,
        cause: str = "",
    ) -> str:
        self.count += 1
        key = f"{self.count:032x}"
        report = Report(kind=kind, job=job, host="box", at=self.now, timezone="UTC")
        channel = Channel(type_, self.receiver.url(path))
        self.store.outbox.put(
            report, channel, job=job, key=key, cause=cause or key, now=self.now, complete=True
        )
        return key

    def entry(self, key: str) -> OutboxEntry:
        found = self.store.outbox.entry(key)
        assert found is not None
        return found

    def states(self) -> list[str]:
        """Of all messages, the oldest first."""
        entries = self.store.outbox.entries(None, failed=False, count=None)
        return [entry.state.value for entry in reversed(entries)]

    def wait(self, condition: Callable[[], bool]) -> None:
        """Run the main loop until something is true."""
        assert self.loop.run_until(lambda: self.loop.has_failed or condition(), 60), self.states()
        self.loop.raise_failure()

    def idle(self) -> bool:
        """Whether nothing is on its way."""
        return not self.notifier._sending

    def send(self) -> None:
        """Look, and wait until all that could be sent now was tried."""
        self.notifier.send_due()
        self.wait(self.idle)

    def keys(self, path: str = "") -> list[str]:
        """The keys of what the server got, in order."""
        return [request["key"] for request in self.receiver.requests(path)]


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    (tmp_path / "replies").mkdir()
    with Receiver(0, tmp_path / "log", tmp_path / "replies") as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def sender(tmp_path: Path, receiver: Receiver) -> Iterator[Sender]:
    made = Sender(tmp_path, receiver)
    yield made
    made.notifier._timer.cancel()
    made.store.close()


@contextmanager
def limited(tmp_path: Path, receiver: Receiver, most: int) -> Iterator[Sender]:
    made = Sender(tmp_path, receiver, max_per_hour=most)
    yield made
    made.notifier._timer.cancel()
    made.store.close()


def test_a_message_is_sent_once_with_its_key_and_the_answer_is_kept(sender: Sender) -> None:
    key = sender.put()
    sender.send()
    sender.send()
    assert sender.keys() == [key]
    entry = sender.entry(key)
    assert (entry.state, entry.tries, entry.settled_at) == (NotificationState.SENT, 1, START)
    assert entry.answer is not None
    assert entry.answer.startswith("200")
    assert entry.subject
    assert "backup" in entry.subject


def test_nothing_is_left_running_when_all_was_sent(sender: Sender) -> None:
    before = threading.active_count()
    for number in range(20):
        sender.put(job=f"job-{number}")
    sender.send()
    assert sender.states() == ["sent"] * 20
    # The receiver has threads of its own.
    ours = [one for one in threading.enumerate() if "process_request" not in one.name]
    sender.wait(lambda: len([one for one in ours if one.is_alive()]) <= before)
    assert not sender.notifier._timer.is_pending


@pytest.mark.parametrize("status", [500, 502, 503])
def test_server_errors_are_tried_again_later(sender: Sender, status: int) -> None:
    sender.receiver.answer("a", str(status), str(status), "200")
    key, other = sender.put("a/1"), sender.put("b")
    for seconds, tries in ((0, 1), (29, 1), (1, 2), (59, 2), (1, 3)):
        sender.now += seconds * SECOND
        sender.send()
        assert len(sender.keys("a")) == tries
    assert sender.keys("a") == [key] * 3
    assert sender.entry(key).state is NotificationState.SENT
    assert sender.keys("b") == [other]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_refusals_are_given_up_and_kept(
    sender: Sender, status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    sender.receiver.answer("a", str(status))
    key = sender.put()
    sender.send()
    sender.now += 90 * SECOND
    sender.send()
    entry = sender.entry(key)
    assert (entry.state, entry.tries) == (NotificationState.FAILED, 1)
    assert str(status) in (entry.answer or "")
    assert [one.key for one in sender.store.outbox.entries(None, failed=True, count=9)] == [key]
    assert "<4>" in capfd.readouterr().err


def test_too_many_requests_are_followed_by_as_long_a_pause_as_is_asked_for(sender: Sender) -> None:
    sender.receiver.answer("a", "429|Retry-After: 90", "200")
    first, second = sender.put("a", job="one"), sender.put("a", job="two")
    sender.send()
    # Another job's message to the same channel waits as long.
    for seconds, keys in ((0, [first]), (89, [first]), (1, [first, first, second])):
        sender.now += seconds * SECOND
        sender.send()
        assert sender.keys() == keys
    assert sender.states() == ["sent"] * 2


def test_a_server_that_is_away_is_asked_once_for_all(sender: Sender) -> None:
    sender.receiver.shutdown()
    sender.receiver.server_close()
    keys = [sender.put(job=f"job-{number}") for number in range(50)]
    sender.send()
    assert [sender.entry(key).tries for key in keys] == [1] + [0] * 49
    due = START + 30 * SECOND
    assert [sender.entry(key).due_at for key in keys] == [due] + [due - 1] * 49
    port = sender.receiver.server_port
    with Receiver(port, sender.receiver.log, sender.receiver.replies) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sender.now += 30 * SECOND
        sender.send()
        server.shutdown()
    assert sender.keys() == [*keys[1:], keys[0]]


def test_what_one_message_fails_at_keeps_no_other_waiting(sender: Sender) -> None:
    sender.receiver.answer("bad", "drop")
    bad, good = sender.put("bad", job="one"), sender.put("good", job="two")
    sender.send()
    assert sender.keys() == [bad]
    sender.now += 30 * SECOND
    sender.send()
    assert sender.keys() == [bad, good, bad]
    assert sender.entry(good).state is NotificationState.SENT


def test_after_a_day_of_trying_all_that_waited_is_given_up(sender: Sender) -> None:
    sender.receiver.shutdown()
    sender.receiver.server_close()
    keys = [sender.put(job=f"job-{number}") for number in range(5)]
    looks = 0
    while "waiting" in sender.states():
        sender.send()
        entries = [sender.entry(key) for key in keys]
        sender.now = max(one.due_at for one in entries)
        looks += 1
        assert looks < 40
    assert sender.states() == ["failed"] * 5
    # Of those that waited with it, few were tried the last time.
    assert sum(sender.entry(key).tries for key in keys) < 35
    assert 23 * HOUR < sender.now - START <= 24 * HOUR


def test_the_failure_comes_before_the_recovery(sender: Sender) -> None:
    sender.receiver.answer("a", "500", "200")
    failure, recovery = sender.put(), sender.put(kind=ReportKind.RECOVERY)
    sender.send()
    sender.now += 30 * SECOND
    sender.send()
    assert sender.keys() == [failure, failure, recovery]


def test_a_server_that_hangs_keeps_nobody_else_waiting(sender: Sender) -> None:
    sender.receiver.answer("hang", "hang")
    stuck = sender.put("hang")
    sender.notifier.send_due()
    sender.wait(lambda: bool(sender.keys("hang")))
    with Receiver(0, sender.receiver.log, sender.receiver.replies) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        mine, sender.receiver = sender.receiver, other
        for number in range(10):
            sender.put("else", job=f"job-{number}")
        sender.receiver = mine
        sender.notifier.send_due()
        sender.wait(lambda: len(sender.keys("else")) == 10)
        other.shutdown()
    assert sender.entry(stuck).state is NotificationState.WAITING


def test_a_stop_waits_a_little_and_begins_nothing_more(sender: Sender) -> None:
    first, second = sender.put(), sender.put()
    sender.notifier.send_due()
    sender.notifier.finish(10)
    assert sender.entry(first).state is NotificationState.SENT
    assert sender.entry(second).state is NotificationState.WAITING
    assert sender.idle()


def test_what_a_killed_supervisor_had_begun_is_sent_again_under_its_key(
    sender: Sender, tmp_path: Path, receiver: Receiver
) -> None:
    receiver.answer("a", "hang", "200")
    key = sender.put()
    sender.notifier.send_due()
    sender.wait(lambda: sender.keys() == [key])
    successor = Sender(tmp_path, receiver)
    successor.notifier.begin()
    successor.wait(lambda: successor.entry(key).state is NotificationState.SENT)
    assert successor.keys() == [key, key]
    assert successor.entry(key).tries == 2
    successor.store.close()


def test_no_more_than_the_limit_and_one_digest_of_the_rest(
    tmp_path: Path, receiver: Receiver
) -> None:
    with limited(tmp_path, receiver, 3) as sender:
        keys = [
            sender.put(job=f"job-{number % 4}", kind=ReportKind.SUCCESS) for number in range(20)
        ]
        elsewhere = sender.put("b")
        sender.send()
        sent = set(sender.keys("a"))
        # The third of the hour is for what is news.
        assert len(sent) == 2
        assert sent <= set(keys)
        assert sender.keys("b") == [elsewhere]
        assert sorted(sender.states()) == ["held"] * 18 + ["sent"] * 3
        sender.now += HOUR - SECOND
        sender.send()
        assert len(sender.keys("a")) == 2
        sender.now += SECOND
        sender.send()
        assert len(sender.keys("a")) == 3
        assert sorted(sender.states()) == ["digested"] * 18 + ["sent"] * 4
        digest = receiver.requests("a")[-1]
        for number in range(4):
            assert f"job-{number}" in digest["body"]
        # The digest counts: one more in this hour.
        later = [sender.put(kind=ReportKind.SUCCESS) for _ in range(3)]
        sender.send()
        assert sender.keys("a")[3:] == later[:1]


def test_a_job_that_flaps_keeps_no_other_from_being_told_of(
    tmp_path: Path, receiver: Receiver
) -> None:
    with limited(tmp_path, receiver, 12) as sender:
        flaps = [ReportKind.FAILURE, ReportKind.RECOVERY] * 20
        flapping = [sender.put(job=f"flaps-{n % 4}", kind=kind) for n, kind in enumerate(flaps)]
        sender.send()
        assert len(sender.keys("a")) == 8
        first = [sender.put(job="backup"), sender.put(job="missed", kind=ReportKind.MISSED)]
        sender.send()
        assert sender.keys("a")[8:] == first
        # What else there is to tell of the others waits for the hour, in its order.
        assert set(sender.keys("a")[:8]) <= set(flapping)
        sender.put(job="backup", kind=ReportKind.RECOVERY)
        sender.send()
        assert len(sender.keys("a")) == 10
        sender.now += HOUR
        sender.send()
        assert len(sender.keys("a")) == 11
        assert "recovery" in receiver.requests("a")[-1]["body"]


def test_one_job_has_half_of_the_hour(tmp_path: Path, receiver: Receiver) -> None:
    with limited(tmp_path, receiver, 12) as sender:
        for _ in range(20):
            sender.put(job="chatty", kind=ReportKind.SUCCESS)
        sender.send()
        assert len(sender.keys("a")) == 6
        for _ in range(20):
            sender.put(job="other", kind=ReportKind.SUCCESS)
        sender.send()
        assert len(sender.keys("a")) == 8


def test_where_all_begins_to_fail_the_rest_is_told_in_minutes(
    tmp_path: Path, receiver: Receiver
) -> None:
    with limited(tmp_path, receiver, 6) as sender:
        for number in range(40):
            sender.put(job=f"job-{number}")
        sender.send()
        assert len(sender.keys("a")) == 6
        sender.now += 299 * SECOND
        sender.send()
        assert len(sender.keys("a")) == 6
        sender.now += SECOND
        sender.send()
        assert len(sender.keys("a")) == 7
        assert all(f"job-{number}" in receiver.requests("a")[-1]["body"] for number in range(6, 40))
        assert sender.states().count("digested") == 34


def test_pings_and_tests_are_not_limited(tmp_path: Path, receiver: Receiver) -> None:
    with limited(tmp_path, receiver, 1) as sender:
        for number in range(4):
            sender.put(job=f"{number}", type_=ChannelType.HEARTBEAT)
            sender.put("t", job=f"{number}", kind=ReportKind.TEST)
        sender.send()
        assert sender.states() == ["sent"] * 8


@pytest.mark.parametrize("step", [-400 * 24 * HOUR, -HOUR, -SECOND, SECOND, HOUR, 400 * 24 * HOUR])
def test_a_step_of_the_clock_neither_stalls_the_queue_nor_empties_it_at_once(
    tmp_path: Path, receiver: Receiver, step: int
) -> None:
    with limited(tmp_path, receiver, 5) as sender:
        receiver.answer("late", "500", "200")
        late = sender.put("late")
        for number in range(10):
            sender.put("a", job=f"job-{number}")
        sender.send()
        assert sorted(set(sender.states())) == ["held", "sent", "waiting"]
        sender.now += step
        sender.notifier.clock_stepped()
        sender.wait(sender.idle)
        if step < 0:
            # As if nothing had happened: five in this hour, and the one that is put off.
            assert len(sender.keys("a")) == 5
            assert sender.keys("late") == [late]
        sender.now += 30 * SECOND
        sender.send()
        assert sender.keys("late") == [late] * 2
        sender.now += HOUR
        sender.send()
        # Five, and a digest of the other five.
        assert len(sender.keys("a")) == 6


def test_a_ping_that_comes_late_is_superseded(sender: Sender) -> None:
    sender.receiver.answer("p", "500", "200")
    old = sender.put("p", type_=ChannelType.HEARTBEAT, cause="1" * 32)
    sender.send()
    new = sender.put("p", type_=ChannelType.HEARTBEAT, cause="2" * 32)
    sender.send()
    sender.now += 60 * SECOND
    sender.send()
    assert sender.keys() == [old, new]
    assert sender.states() == ["superseded", "sent"]


def test_a_test_is_not_tried_again(sender: Sender) -> None:
    sender.receiver.answer("a", "503")
    key = sender.put(kind=ReportKind.TEST)
    sender.send()
    entry = sender.entry(key)
    assert (entry.state, entry.tries) == (NotificationState.FAILED, 1)


def test_hundreds_of_messages_leave_the_main_loop_its_turn(
    tmp_path: Path, receiver: Receiver
) -> None:
    with limited(tmp_path, receiver, 1) as sender:
        for number in range(1000):
            sender.put(job=f"job-{number}")
        sender.notifier.send_due()
        # A part of it, and the rest when everything else had its turn.
        sender.wait(lambda: "held" in sender.states())
        assert sender.states().count("held") < 500
        sender.wait(lambda: sender.states().count("held") == 999)
