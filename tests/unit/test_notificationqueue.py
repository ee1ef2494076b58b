"""Who is notified of what, in the transaction of its cause."""

from __future__ import annotations

import json
from typing import Any

import pytest
from samples import job, own_history

from lunasched.formats.unittext import service_name
from lunasched.history import alerting
from lunasched.history.alerting import Outage
from lunasched.history.report import Report, ReportKind
from lunasched.history.run import Result, Run, Trigger
from lunasched.jobs.model import ChannelType, Job, NotifyEvent
from lunasched.notify.message import compose
from lunasched.paths import Mode
from lunasched.store import NotificationState, OutboxEntry, Outgoing, Store
from lunasched.supervisor.consequences import Consequences
from lunasched.supervisor.notificationqueue import Origin

SECOND = 1_000_000
NOW = 1_000_000 * SECOND
DAY = 86_400 * SECOND
ORIGIN = Origin("box", "Europe/Berlin", Mode.SYSTEM)
MAIL = {"type": "email", "to": "ops@example.org"}
HOOK = {"type": "webhook", "url": "https://a.example/x"}
PING = "https://hc.example/abcd"


class Teller:
    """A job whose runs end as they are told to, and what was written of them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.consequences = Consequences(store, ORIGIN, lambda: NOW)
        self.count = 0

    def job(self, notifications: dict[str, Any], **keys: Any) -> Job:
        made = job(notification_config=notifications, **keys)
        self.store.jobs.put(made, 1)
        return made

    def run(
        self,
        result: Result,
        *,
        at: int = NOW,
        attempt: int = 1,
        first: str | None = None,
        output: str | None = None,
        times: int = 1,
    ) -> Run:
        self.count += 1
        run = Run(
            execution_id=f"{self.count:032x}",
            job="backup",
            unit=service_name("backup"),
            trigger=Trigger.TIMER,
            scheduled_at=None,
            started_at=at,
            attempt=attempt,
            first_attempt_id=first,
        )
        runs = self.store.runs
        runs.begin(run, "b" * 32)
        if result not in (Result.SKIPPED, Result.EXEC_ERROR):
            runs.running(run.execution_id)
        runs.end(run.execution_id, result, at)
        if output is not None:
            runs.set_output(run.execution_id, output)
        for _ in range(times):
            with self.store.transaction():
                self.consequences.settled(run.execution_id)
        return run

    def retry(self, result: Result, first: Run, attempt: int) -> Run:
        """The attempt that is pending."""
        (start,) = self.store.starts.all()
        assert self.store.starts.claim(start, NOW)
        taken = self.store.starts.take_claimed(start.unit, began=NOW, by_timer=False, now=NOW)
        assert taken is not None
        return self.run(result, attempt=attempt, first=first.execution_id)

    def told(self) -> list[tuple[str, str, str]]:
        """Event, kind and type of channel of each message, the oldest first."""
        return [(one.event, one.kind, one.channel.type.value) for one in self.entries()]

    def entries(self) -> list[OutboxEntry]:
        return self.store.outbox.entries(None, failed=False, count=None)[::-1]

    def first(self) -> Outgoing:
        return self.store.outbox.ready(())[0]


@pytest.fixture
def teller(store: Store) -> Teller:
    return Teller(store)


@pytest.mark.parametrize("result", [Result.SUCCESS, Result.EXIT_CODE, Result.TIMEOUT])
def test_each_run_that_printed_is_told_once(teller: Teller, result: Result) -> None:
    made = teller.job({"on_output": MAIL})
    for _ in range(2):
        run = teller.run(result, output="said\n")
        with teller.store.transaction():
            for _ in range(2):
                teller.consequences.printed(made, run.execution_id)
    assert teller.told() == [("on_output", "output", "email")] * 2


def test_the_reason_of_a_skip_is_no_output(teller: Teller) -> None:
    made = teller.job({"on_output": MAIL})
    run = teller.run(Result.SKIPPED, output="a dependency has not succeeded\n")
    teller.consequences.printed(made, run.execution_id)
    assert teller.told() == []


def test_a_mail_in_crons_style_knows_user_command_and_variables(teller: Teller) -> None:
    cron = {**MAIL, "style": "cron"}
    made = teller.job({"on_output": cron}, command=["echo", "a b"], user="bin", env={"A": "1"})
    plain = teller.job({"on_output": MAIL}, name="plain", command="x", env={"SECRET": "1"})
    for one in (made, plain):
        run = teller.run(Result.SUCCESS, output="said\n")
        teller.consequences.printed(one, run.execution_id)
        (told,) = teller.store.outbox.ready(())
        again = Report.from_mapping(json.loads(json.dumps(told.report.to_mapping())))
        assert again == told.report
        variables = (("A", "1"), ("HOME", "/bin"), ("LOGNAME", "bin"))
        expected = ("bin", "echo 'a b'", variables) if one is made else ("", "", ())
        assert (again.user, again.command, again.environment) == expected
        teller.store.outbox.settle(told, NotificationState.SENT, NOW)


@pytest.mark.parametrize(
    "command",
    [
        ["/bin/bash", "-c", "echo 'a b'"],
        ["/bin/bash", "-p", "-c", 'exec "$@"', "-", "/bin/zsh", "-c", "echo 'a b'"],
        "echo 'a b'",
    ],
)
def test_a_mail_in_crons_style_names_the_command_of_the_crontab(
    teller: Teller, command: str | list[str]
) -> None:
    variables = {"LUNASCHED_INPUT": "private", "HOME": "/srv", "LOGNAME": "x"}
    made = teller.job({"on_output": {**MAIL, "style": "cron"}}, command=command, env=variables)
    run = teller.run(Result.SUCCESS, output="said\n")
    teller.consequences.printed(made, run.execution_id)
    (told,) = teller.store.outbox.ready(())
    assert told.report.command == "echo 'a b'"
    assert told.report.environment == (("HOME", "/srv"), ("LOGNAME", "x"))


def test_a_job_that_tells_nobody_has_no_messages(store: Store, teller: Teller) -> None:
    teller.job({})
    teller.run(Result.EXIT_CODE)
    assert teller.told() == []
    # Who begins to listen hears of it with the next failure.
    assert store.outbox.outage("backup") == Outage(NOW, 1, None)
    teller.job({"on_failure": MAIL})
    teller.run(Result.EXIT_CODE, at=NOW + 1)
    assert teller.told() == [("on_failure", "failure", "email")]


def test_a_failure_a_reminder_and_the_recovery(store: Store, teller: Teller) -> None:
    teller.job({"on_failure": [MAIL], "remind_every": "1d"})
    failed = teller.run(Result.EXIT_CODE)
    for hours in (1, 23, 24, 47):
        teller.run(Result.TIMEOUT, at=NOW + hours * 3600 * SECOND)
    good = teller.run(Result.SUCCESS, at=NOW + 2 * DAY, output="fine")
    teller.run(Result.SUCCESS, at=NOW + 3 * DAY)
    assert store.outbox.outage("backup") is None
    assert teller.told() == [
        ("on_failure", "failure", "email"),
        ("on_failure", "reminder", "email"),
        ("on_recovery", "recovery", "email"),
    ]
    assert [one.cause for one in teller.entries()][::2] == [failed.execution_id, good.execution_id]
    assert store.outbox.outage("backup") is None


def test_a_job_that_flaps_is_told_as_such_once(store: Store, teller: Teller) -> None:
    teller.job({"on_failure": [MAIL], "on_success": [HOOK], "heartbeat": PING})
    for number in range(20):
        result = Result.SUCCESS if number % 2 else Result.EXIT_CODE
        teller.run(result, at=NOW + number * 60 * SECOND, output="")
    mails = [one for one in teller.told() if one[2] == "email"]
    assert [kind for _, kind, _ in mails] == [
        "failure", "recovery", "failure", "recovery", "failure",
    ]  # fmt: skip
    # What is told of each run is told of each.
    assert [one[2] for one in teller.told()].count("webhook") == 10
    reports = [
        json.loads(row["report"])
        for row in own_history(store).connection.execute(
            "SELECT report FROM outbox WHERE type = 'email' ORDER BY id"
        )
    ]
    assert [one.get("flapping", False) for one in reports] == [False] * 4 + [True]
    last = compose(Report.from_mapping(reports[-1]))
    assert last.subject.startswith("backup keeps failing and recovering on box: ")
    assert "Flapping:" in last.text


def test_what_the_recovery_says(store: Store, teller: Teller) -> None:
    teller.job({"on_recovery": HOOK})
    teller.run(Result.EXIT_CODE)
    teller.run(Result.EXIT_CODE, at=NOW + 60 * SECOND)
    teller.run(Result.SUCCESS, at=NOW + 90 * SECOND, output="fine")
    report = teller.first().report
    assert report.kind is ReportKind.RECOVERY
    assert (report.failures, report.failing_since, report.at) == (2, NOW, NOW + 90 * SECOND)
    assert (report.host, report.timezone, report.output) == ("box", "Europe/Berlin", "fine")


def test_nobody_is_told_of_a_recovery_who_does_not_want_to(teller: Teller) -> None:
    teller.job({"on_failure": MAIL, "on_recovery": []})
    teller.run(Result.EXIT_CODE)
    teller.run(Result.SUCCESS)
    assert teller.told() == [("on_failure", "failure", "email")]


def test_attempts_at_one_run_are_one_failure_after_the_last(store: Store, teller: Teller) -> None:
    teller.job({"on_failure": MAIL}, retry_policy={"max_attempts": 3})
    first = teller.run(Result.EXIT_CODE)
    teller.retry(Result.EXIT_CODE, first, 2)
    assert teller.told() == []
    assert store.outbox.outage("backup") is None
    last = teller.retry(Result.EXIT_CODE, first, 3)
    assert [one.cause for one in teller.entries()] == [last.execution_id]
    assert store.outbox.outage("backup") == Outage(NOW, 1, NOW)


def test_a_success_at_the_second_attempt_was_no_outage(teller: Teller) -> None:
    teller.job({"on_failure": MAIL}, retry_policy={"max_attempts": 3})
    first = teller.run(Result.EXIT_CODE)
    teller.retry(Result.SUCCESS, first, 2)
    assert teller.told() == []


def test_a_retry_that_is_dropped_makes_the_failure_final(store: Store, teller: Teller) -> None:
    teller.job({"on_failure": MAIL}, retry_policy={"max_attempts": 3})
    failed = teller.run(Result.EXIT_CODE)
    (start,) = store.starts.drop_job("backup")
    job = store.jobs.get("backup")
    assert job is not None
    teller.consequences.dropped(start, job)
    assert [one.cause for one in teller.entries()] == [failed.execution_id]


def test_pings_tell_each_run_and_nothing_else(teller: Teller) -> None:
    teller.job({"heartbeat": PING, "on_failure": MAIL}, retry_policy={"max_attempts": 1})
    teller.run(Result.EXIT_CODE)
    teller.run(Result.EXIT_CODE)
    teller.run(Result.SUCCESS)
    assert teller.told() == [
        ("on_start", "start", "heartbeat"),
        ("on_failure", "failure", "email"),
        ("on_failure", "failure", "heartbeat"),
        ("on_start", "start", "heartbeat"),
        ("on_failure", "failure", "heartbeat"),
        ("on_start", "start", "heartbeat"),
        ("on_success", "success", "heartbeat"),
        ("on_recovery", "recovery", "email"),
    ]


def test_a_heartbeat_alone_is_nobody_who_hears_an_alert(store: Store, teller: Teller) -> None:
    teller.job({"on_failure": {"type": "heartbeat", "url": PING}})
    teller.run(Result.EXIT_CODE)
    outage = store.outbox.outage("backup")
    assert outage is not None
    assert outage.alerted_at is None


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (Result.SUCCESS, ["on_start", "on_success"]),
        (Result.EXIT_CODE, ["on_start", "on_failure"]),
        (Result.OOM_KILL, ["on_start", "on_failure"]),
        (Result.LOST, ["on_start", "on_failure"]),
        (Result.EXEC_ERROR, ["on_failure"]),
        (Result.SKIPPED, ["on_skipped"]),
        (Result.STOPPED, []),
    ],
)
def test_events(teller: Teller, result: Result, expected: list[str]) -> None:
    teller.job({event.value: MAIL for event in NotifyEvent})
    teller.run(result)
    assert [event for event, _, _ in teller.told()] == expected


def test_what_is_settled_twice_is_told_once(store: Store, teller: Teller) -> None:
    teller.job({event.value: MAIL for event in NotifyEvent})
    teller.run(Result.SUCCESS, times=3)
    assert [event for event, _, _ in teller.told()] == ["on_start", "on_success"]


def test_the_start_is_told_at_once_and_the_end_with_the_output(
    store: Store, teller: Teller
) -> None:
    teller.job({"on_start": MAIL, "on_failure": HOOK})
    run = teller.run(Result.EXIT_CODE)
    assert [one.event for one in store.outbox.ready(())] == ["on_start"]
    report = teller.first().report
    assert (report.result, report.exit_code, report.ended_at, report.output) == (None,) * 3 + ("",)
    store.outbox.set_output(run.execution_id, "said\n")
    assert {one.event: one.report.output for one in store.outbox.ready(())} == {
        "on_start": "",
        "on_failure": "said\n",
    }


def test_keys_follow_from_the_run_the_event_and_the_channel(teller: Teller) -> None:
    again = {**HOOK, "headers": {"X": "y"}}
    job = teller.job({"on_failure": [HOOK, again, MAIL]})
    run = teller.run(Result.EXIT_CODE)
    channels = job.notifications.on_failure
    assert [one.key for one in teller.entries()] == [
        alerting.notification_key(run.execution_id, "on_failure", channels[0].key),
        alerting.notification_key(run.execution_id, "on_failure", channels[0].key, 1),
        alerting.notification_key(run.execution_id, "on_failure", channels[2].key),
    ]


def test_missed_slots(store: Store, teller: Teller) -> None:
    job = teller.job({"on_missed": MAIL})
    for _ in range(2):
        teller.consequences.missed(job, 3, NOW - DAY, NOW)
    assert teller.told() == [("on_missed", "missed", "email")]
    report = teller.first().report
    assert (report.missed, report.missed_first_at, report.missed_last_at) == (3, NOW - DAY, NOW)


def test_limits_are_told_as_they_were(teller: Teller) -> None:
    teller.job(
        {"on_failure": HOOK},
        resource_limits={"timeout_seconds": 1800, "max_memory": "2G"},
        timezone="Asia/Tokyo",
        retry_policy={"max_attempts": 1},
    )
    teller.run(Result.TIMEOUT, output="")
    report = teller.first().report
    assert (report.time_limit, report.memory_limit) == (1800, 2 << 30)
    assert report.timezone == "Asia/Tokyo"


def test_a_report_has_no_secrets(teller: Teller) -> None:
    teller.job(
        {"on_failure": {**HOOK, "headers": {"X": "geheim"}, "secret": "geheim"}, "heartbeat": PING},
        env={"PASSWORD": "geheim"},
    )
    teller.run(Result.EXIT_CODE, output="")
    for message in teller.store.outbox.ready(()):
        text = str(message.report.to_mapping())
        assert "geheim" not in text
        assert message.channel.type is ChannelType.HEARTBEAT or "a.example" not in text
