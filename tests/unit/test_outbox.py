"""The outbox: each message once, in its order, and found without looking through all of them."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from typing import Any

import pytest
from samples import own_history

from lunasched.history.alerting import Outage
from lunasched.history.report import Report, ReportKind
from lunasched.history.run import Result
from lunasched.jobs.model import Channel, ChannelType, NotifyEvent
from lunasched.store import HISTORY, NotificationState, OutboxEntry, Outgoing, Store

MAIL = Channel(ChannelType.EMAIL, "ops@example.org")
HOOK = Channel(ChannelType.WEBHOOK, "https://a.example/x?token=1234", headers=(("X", "secret"),))
PING = Channel(ChannelType.HEARTBEAT, "https://hc.example/abcd")
COMMAND = Channel(ChannelType.EXEC, "page ops")
SECOND = 1_000_000
RUN = "1" * 32


def report(kind: ReportKind = ReportKind.FAILURE, job: str = "backup", **fields: Any) -> Report:
    return Report(kind=kind, job=job, host="box", at=7, timezone="UTC", **fields)


class Writer:
    """Puts messages, each with a key of its own."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.count = 0

    def __call__(
        self,
        channel: Channel = HOOK,
        *,
        job: str = "backup",
        cause: str | None = None,
        key: str | None = None,
        now: int = 0,
        complete: bool = True,
        kind: ReportKind = ReportKind.FAILURE,
    ) -> str:
        self.count += 1
        key = key or f"{self.count:032x}"
        self.store.outbox.put(
            report(kind, job),
            channel,
            job=job,
            key=key,
            cause=f"{self.count:032x}" if cause is None else cause,
            now=now,
            complete=complete,
        )
        return key


@pytest.fixture
def put(store: Store) -> Writer:
    return Writer(store)


def ready(store: Store, *busy: str) -> list[str]:
    return [message.key for message in store.outbox.ready(busy)]


def claim(store: Store, now: int = 0) -> Outgoing:
    claimed = store.outbox.claim(store.outbox.ready(())[0], now)
    assert claimed is not None
    return claimed


def entry(store: Store, key: str) -> OutboxEntry:
    found = store.outbox.entry(key)
    assert found is not None
    return found


def test_a_message_is_put_once(store: Store, put: Writer) -> None:
    put(key="k")
    put(key="k", channel=MAIL)
    assert ready(store) == ["k"]
    claimed = claim(store)
    assert claimed.tries == 1
    assert claimed.channel == HOOK
    assert claimed.report == report()
    assert store.outbox.claim(claimed, 0) is None
    store.outbox.settle(claimed, NotificationState.SENT, 5)
    put(key="k")
    assert ready(store) == []
    assert entry(store, "k").state is NotificationState.SENT


def test_the_messages_of_a_job_to_a_channel_keep_their_order(store: Store, put: Writer) -> None:
    first, second, other = put(), put(), put(job="other")
    assert ready(store) == [first]
    claimed = claim(store)
    # While that one is on its way, and while it waits, others go, but none of the same job.
    assert ready(store) == [other]
    store.outbox.postpone(claimed, 60 * SECOND, 0, subject=None, answer="no")
    assert ready(store) == [other]
    store.outbox.settle(claimed, NotificationState.SENT, 0)
    store.outbox.settle(claim(store), NotificationState.SENT, 0)
    assert ready(store) == [second]


def test_a_test_waits_for_nothing_that_was_to_be_sent_before(store: Store, put: Writer) -> None:
    put()
    store.outbox.postpone(claim(store), 60 * SECOND, 0, subject=None, answer="no")
    test = put(kind=ReportKind.TEST)
    assert ready(store) == [test]


def test_of_each_server_the_first(store: Store, put: Writer) -> None:
    elsewhere = Channel(ChannelType.SLACK, "https://b.example:8443/y")
    keys = [put(job="a"), put(MAIL, job="b"), put(elsewhere, job="c"), put(job="d")]
    assert ready(store) == keys[:3]
    assert ready(store, "https://a.example", "smtp") == [keys[2]]


def test_it_waits_for_the_output_of_its_run(store: Store, put: Writer) -> None:
    begun = put(cause=RUN)
    ended = put(cause=RUN, complete=False)
    store.outbox.settle(claim(store), NotificationState.SENT, 0)
    assert ready(store) == []
    store.outbox.set_output("2" * 32, "another's")
    assert ready(store) == []
    store.outbox.set_output(RUN, 'line 1\n"\0é')
    assert ready(store) == [ended] != [begun]
    assert claim(store).report.output == 'line 1\n"\0é'


def test_a_ping_takes_the_place_of_those_of_earlier_runs(store: Store, put: Writer) -> None:
    old = [put(PING, cause=RUN, kind=ReportKind.START), put(PING, cause=RUN)]
    other = put(PING, job="other")
    new = [put(PING, cause="2" * 32, kind=ReportKind.START), put(PING, cause="2" * 32)]
    assert [entry(store, key).state for key in old] == [NotificationState.SUPERSEDED] * 2
    assert ready(store) == [other]
    store.outbox.settle(claim(store), NotificationState.SENT, 0)
    assert ready(store) == new[:1]


def test_a_ping_on_its_way_is_superseded_when_it_comes_back(store: Store, put: Writer) -> None:
    put(PING, cause=RUN)
    claimed = claim(store)
    assert not store.outbox.is_superseded(claimed)
    new = put(PING, cause="2" * 32)
    assert store.outbox.is_superseded(claimed)
    store.outbox.settle(claimed, NotificationState.SUPERSEDED, 0)
    assert ready(store) == [new]


def test_a_ping_that_was_put_already_supersedes_nothing(store: Store, put: Writer) -> None:
    first = put(PING, cause=RUN, key="a" * 32)
    second = put(PING, cause="2" * 32)
    put(PING, cause=RUN, key=first)
    assert ready(store) == [second]


def test_what_a_dead_supervisor_was_sending_is_sent_again(store: Store, put: Writer) -> None:
    put(), put(MAIL)
    claim(store), claim(store)
    assert ready(store) == []
    store.outbox.unclaim_all()
    assert len(ready(store)) == 2
    assert claim(store).tries == 2


def test_secrets_are_forgotten_with_what_became_of_it(store: Store, put: Writer) -> None:
    for state in (NotificationState.SENT, NotificationState.FAILED, NotificationState.DIGESTED):
        put()
        store.outbox.settle(claim(store), state, 0, subject="s", answer="a")
    put(PING, cause=RUN), put(PING, cause="2" * 32)
    store.outbox.settle(claim(store), NotificationState.SENT, 0)
    with closing(sqlite3.connect(store.history.path)) as connection:
        dump = "\n".join(map(str, connection.execute("SELECT * FROM outbox")))
    for secret in ("1234", "secret", "abcd"):
        assert secret not in dump
    assert "https://a.example/..." in dump


def test_a_server_that_is_away_is_left_alone(store: Store, put: Writer) -> None:
    a, b, elsewhere = put(job="a"), put(job="b"), put(MAIL)
    claimed = claim(store)
    store.outbox.postpone(claimed, 60 * SECOND, 0, subject=None, answer="gone")
    store.outbox.postpone_server(claimed, 60 * SECOND, 0)
    due = {message.key: message.due_at for message in store.outbox.ready(())}
    assert due == {elsewhere: 0, a: 60 * SECOND}
    assert entry(store, b).due_at == 60 * SECOND
    # What has waited with it is given up with it.
    assert len(store.outbox.outwaited("https://a.example", 60 * SECOND + 1, 9)) == 0
    assert len(store.outbox.outwaited("https://a.example", 60 * SECOND, 9)) == 2


def test_a_channel_that_wants_a_pause_gets_it_from_all_jobs(store: Store, put: Writer) -> None:
    same_server = Channel(ChannelType.WEBHOOK, "https://a.example/z")
    _, b, other = put(job="a"), put(job="b"), put(same_server)
    claimed = claim(store)
    store.outbox.postpone(claimed, 9 * SECOND, 0, subject=None, answer="slow down")
    store.outbox.postpone_channel(claimed, 9 * SECOND, 0)
    assert entry(store, b).due_at == 9 * SECOND
    assert entry(store, other).due_at == 0


@pytest.mark.parametrize("step", [-400 * 86400, -3600, -20, 0, 20, 3600])
def test_a_clock_that_is_set_delays_nothing_and_hurries_nothing(
    store: Store, put: Writer, step: int
) -> None:
    now = 1_000_000_000 * SECOND
    key = put(now=now)
    store.outbox.postpone(claim(store, now), 60 * SECOND, now, subject=None, answer="no")
    fresh = put(MAIL, now=now)
    now += step * SECOND
    store.outbox.follow_clock(now)
    assert entry(store, fresh).due_at <= now
    if step <= 0:
        assert now < entry(store, key).due_at <= now + 60 * SECOND


def test_messages_of_the_last_hour_whatever_the_clock_does(store: Store, put: Writer) -> None:
    hour = 3600 * SECOND
    for now in (0, hour // 2, hour):
        put(now=now)
        store.outbox.settle(claim(store), NotificationState.SENT, now)
    put()
    counter = store.outbox.ready(())[0].counter
    assert store.outbox.sent_lately(counter, 0, hour) == [hour, hour // 2]
    # Set back by an hour and a bit: all of them count from then on, and not a minute longer.
    assert store.outbox.sent_lately(counter, -2 * hour, -hour) == [-hour, -hour]
    assert store.outbox.sent_lately(counter, 0, hour) == []


def test_nothing_counts_longer_because_it_is_asked_about_late(store: Store, put: Writer) -> None:
    hour = 3600 * SECOND
    put(now=hour)
    claimed = claim(store)
    store.outbox.settle(claimed, NotificationState.SENT, hour)
    store.outbox.follow_clock(-9 * hour)
    for counter in (claimed.counter, claimed.lane):
        # An hour after the step, and not before.
        assert store.outbox.sent_lately(counter, -9 * hour, -8 * hour) == []


def test_pings_are_not_counted(store: Store, put: Writer) -> None:
    put(PING)
    claimed = claim(store)
    store.outbox.settle(claimed, NotificationState.SENT, 5)
    assert store.outbox.sent_lately(claimed.counter, 0, 10) == []


def test_held_messages_are_found_by_their_channel(store: Store, put: Writer) -> None:
    keys = [put(job="a"), put(job="b"), put(MAIL)]
    for message in [*store.outbox.ready(("smtp",)), *store.outbox.ready(("https://a.example",))]:
        store.outbox.hold(message)
    (message,) = store.outbox.ready(())
    store.outbox.hold(message)
    assert ready(store) == []
    assert len(store.outbox.held_counters()) == 2
    assert store.outbox.holds(message.lane)
    assert store.outbox.held_lanes(message.counter, [ReportKind.FAILURE]) == [
        (f"{message.counter}:{name}", True) for name in ("a", "b")
    ]
    assert [some for _, some in store.outbox.held_lanes(message.counter, [ReportKind.START])] == [
        False, False,
    ]  # fmt: skip
    assert [one.key for one in store.outbox.held(message.counter, 9)] == keys[:2]
    assert store.outbox.depth() == 3
    for one in store.outbox.held(message.counter, 9):
        store.outbox.settle(one, NotificationState.DIGESTED, 0)
    assert store.outbox.depth() == 1
    assert not store.outbox.is_idle()


def test_a_command_is_a_channel_of_its_job_alone(store: Store, put: Writer) -> None:
    put(COMMAND, job="a"), put(COMMAND, job="b")
    first = store.outbox.ready(())[0]
    store.outbox.hold(first)
    assert store.outbox.ready(())[0].counter != first.counter


def test_a_command_settles_its_message_when_it_is_over(store: Store, put: Writer) -> None:
    key = put(COMMAND)
    message = claim(store)
    store.hooks.put(message.key, "exec-1", "backup", "u", {}, 0, text="body", reader="www-data")
    store.outbox.give_to_hook(message, "exec-1", "subject")
    (hook,) = store.hooks.next()
    assert (hook.text, hook.reader) == ("body", "www-data")
    # It is systemd's now: no other supervisor sends it.
    store.outbox.unclaim_all()
    assert ready(store) == []
    assert (store.outbox.open_commands(), store.outbox.ended_commands()) == (1, [])
    store.hooks.claim(hook, 0)
    store.hooks.started("u", "9" * 32)
    store.hooks.process_ended("9" * 32, exit_code=75, signal=None)
    store.hooks.ended("9" * 32, Result.EXIT_CODE, 1)
    (ended,) = store.outbox.ended_commands()
    assert (ended.notification.key, ended.exit_code) == (key, 75)
    store.outbox.forget_command(ended)
    store.outbox.postpone(ended.notification, 1, 0, subject=None, answer="75")
    assert ready(store) == [key]
    assert store.hooks.next() == []


def test_a_command_of_a_removed_job_is_over_without_a_result(store: Store, put: Writer) -> None:
    put(COMMAND)
    message = claim(store)
    store.hooks.put(message.key, "exec-1", "backup", "u", {}, 0, text="body")
    store.outbox.give_to_hook(message, "exec-1", "subject")
    store.hooks.drop_job("backup")
    assert [ended.result for ended in store.outbox.ended_commands()] == [None]


def test_entries_have_no_secrets_and_the_latest_first(store: Store, put: Writer) -> None:
    keys = [put(job="a"), put(job="b"), put(MAIL, job="a")]
    store.outbox.settle(claim(store), NotificationState.FAILED, 0, answer="404")
    assert [one.key for one in store.outbox.entries(None, failed=False, count=None)] == keys[::-1]
    assert [one.key for one in store.outbox.entries("a", failed=False, count=1)] == keys[2:]
    assert [one.key for one in store.outbox.entries(None, failed=True, count=9)] == keys[:1]
    assert [one.key for one in store.outbox.entries("b", failed=True, count=9)] == []
    entries = store.outbox.entries(None, failed=False, count=9)
    shown = json.dumps([one.channel.to_mapping() for one in entries])
    assert "1234" not in shown
    assert entry(store, keys[0]).event == NotifyEvent.ON_FAILURE.value


def test_outages(store: Store) -> None:
    assert store.outbox.outage("a") is None
    store.outbox.set_outage("a", Outage(1, 1, None))
    for outage in (Outage(1, 2, 5), Outage(1, 2, 5, 3, 9), Outage(1, 3, 5, 4)):
        store.outbox.set_outage("a", outage)
        assert store.outbox.outage("a") == outage
    store.outbox.set_outage("a", None)
    assert store.outbox.outage("a") is None


LOOKED_AT_OFTEN = (
    "any_open_notifications",
    "ready_notifications",
    "claim_notification",
    "release_lane",
    "supersede_notifications",
    "set_output_of_notifications",
    "count_commands",
    "ended_commands",
    "held_channels",
    "any_held",
    "held_notifications",
    "held_lanes",
    "sent_lately",
    "later_ping",
    "settle_notification",
    "postpone_notification",
    "postpone_lanes",
    "failed_notifications",
    "notifications_of_job",
    "old_notifications",
    "notifications_beyond",
)


@pytest.mark.parametrize("query", LOOKED_AT_OFTEN)
def test_no_look_goes_through_all_messages(store: Store, query: str) -> None:
    parameters = dict.fromkeys(_names(HISTORY.query(query)), 0)
    with closing(sqlite3.connect(store.history.path)) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {HISTORY.query(query)}", parameters)
        steps = [row[3] for row in plan]
    for step in steps:
        # A scan of a partial index of what is open is one of what is found.
        table_scan = step.startswith("SCAN outbox") and "INDEX" not in step
        assert not table_scan, steps
        assert "TEMP B-TREE" not in step or query == "ready_notifications", steps


def _names(text: str) -> set[str]:
    return set(re.findall(r":([a-z_]+)", text))


def test_ten_thousand_messages_make_a_look_no_longer(store: Store, put: Writer) -> None:
    """By the steps of SQLite's machine, which do not depend on the load."""

    def steps() -> int:
        count = 0

        def step() -> int:
            nonlocal count
            count += 1
            return 0

        own_history(store).connection.set_progress_handler(step, 1)
        store.outbox.is_idle()
        store.outbox.ready(())
        store.outbox.held_counters()
        store.outbox.ended_commands()
        own_history(store).connection.set_progress_handler(None, 0)
        return count

    with store.transaction():
        for number in range(10):
            put(job=f"few-{number}", now=9)
    few = steps()
    with store.transaction():
        for number in range(10_000):
            put(job=f"job-{number % 5000}", now=9 + number)
    assert steps() < 1.5 * few
