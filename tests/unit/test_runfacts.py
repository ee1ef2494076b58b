"""Every fact of a run: its row in the table, and all places that have it."""

from __future__ import annotations

import dataclasses
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import lunasched
from lunasched.cli import views
from lunasched.history.jsonview import run_json
from lunasched.history.report import Report, ReportKind
from lunasched.history.run import Overrun, Result, Run, Trigger
from lunasched.history.runvalues import fact_shown, value_of_report, value_of_run
from lunasched.jobs.model import Channel, ChannelType, HookEvent, Job
from lunasched.jobs.runfacts import BY_NAME, RUN_FACTS, TEMPLATE_VARIABLES, Medium, RunFact, given
from lunasched.notify import webhook
from lunasched.notify.message import compose
from lunasched.paths import Mode, history_path
from lunasched.store import Outgoing, Store
from lunasched.supervisor import variables
from lunasched.supervisor.notificationqueue import NotificationQueue, Origin
from lunasched.web.httpserver import Request
from lunasched.web.pages import Pages
from lunasched.web.site import Identity

TREE = Path(lunasched.__file__).resolve().parent.parent
KEPT = [fact for fact in RUN_FACTS if fact.is_kept]
JOB = Job(name="x", schedule="every 1d", command="true")
# Each fact has a value, and no two the same.
RUN = Run(
    execution_id="a" * 32,
    job="x",
    unit="lunasched-job@x.service",
    trigger=Trigger.RETRY,
    scheduled_at=1_000_000,
    started_at=2_000_000,
    ended_at=7_500_000,
    result=Result.SIGNAL,
    exit_code=3,
    signal=9,
    attempt=4,
    first_attempt_id="b" * 32,
    cpu_usec=1_250_000,
    memory_peak=5 << 20,
    output="the output",
    overrun=Overrun(8, 3_000_000, 6_000_000),
)
NOTHING = Run(
    execution_id="a" * 32,
    job="x",
    unit="lunasched-job@x.service",
    trigger=Trigger.MANUAL,
    scheduled_at=None,
    started_at=2_000_000,
)
REPORT = Report.of(
    RUN,
    kind=ReportKind.FAILURE,
    host="box",
    at=9_000_000,
    timezone="UTC",
    max_attempts=5,
    overrun=8,
    overrun_first_at=3_000_000,
    overrun_last_at=6_000_000,
)

WRITTEN: dict[str, tuple[object, object, str, str]] = {
    # As JSON, in a template, in an environment, on a page of a host whose clock is UTC.
    "execution_id": (ID := "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa", ID, ID, ID),
    "job": ("x", "x", "x", "x"),
    "unit": (RUN.unit, RUN.unit, RUN.unit, RUN.unit),
    "trigger": ("retry", "retry", "retry", "retry"),
    "scheduled_at": (
        "1970-01-01T00:00:01.000000Z", "Thu 1970-01-01 00:00:01 +0000",
        "1970-01-01T00:00:01.000000Z", "1970-01-01 00:00:01 +0000",
    ),
    "started_at": (
        "1970-01-01T00:00:02.000000Z", "Thu 1970-01-01 00:00:02 +0000",
        "1970-01-01T00:00:02.000000Z", "1970-01-01 00:00:02 +0000",
    ),
    "ended_at": (
        "1970-01-01T00:00:07.500000Z", "Thu 1970-01-01 00:00:07 +0000",
        "1970-01-01T00:00:07.500000Z", "1970-01-01 00:00:07 +0000",
    ),
    "duration": (5500, 5.5, "", "5.5s"),
    "result": ("signal", "signal", "signal", "signal"),
    "exit_code": (3, 3, "3", "3"),
    "signal": (9, "SIGKILL", "9", "9"),
    "attempt": (4, 4, "4", "4"),
    "max_attempts": (5, 5, "5", "5"),
    "first_attempt_id": (FIRST := "bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb", FIRST, FIRST, FIRST),
    "cpu_usec": (1_250_000, 1.25, "1250000", "1.2s"),
    "memory_peak": (5 << 20, 5 << 20, str(5 << 20), "5.0 MiB"),
    "overrun": (8, 8, "8", "8"),
    "overrun_first_at": (
        "1970-01-01T00:00:03.000000Z", "", "1970-01-01T00:00:03.000000Z",
        "1970-01-01 00:00:03 +0000",
    ),
    "overrun_last_at": (
        "1970-01-01T00:00:06.000000Z", "", "1970-01-01T00:00:06.000000Z",
        "1970-01-01 00:00:06 +0000",
    ),
    "output": ("the output", "the output", "the output", "the output"),
}  # fmt: skip


def facts(media: Medium) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("fact", given(RUN_FACTS, media), ids=lambda fact: fact.name)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "history.db", durable=False) as opened:
        opened.jobs.put(JOB, 0)
        opened.runs.begin(RUN, "c" * 32)
        opened.runs.process_ended(RUN.execution_id, exit_code=RUN.exit_code, signal=RUN.signal)
        opened.runs.end(RUN.execution_id, Result.SIGNAL, RUN.ended_at)
        opened.runs.resources(RUN.execution_id, cpu_usec=RUN.cpu_usec, memory_peak=RUN.memory_peak)
        opened.runs.set_output(RUN.execution_id, "the output")
        opened.runs.set_overrun(RUN.execution_id, Overrun(8, 3_000_000, 6_000_000))
        yield opened


@pytest.fixture
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def at(written: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        written = written[key]
    return written


# The table itself


def test_every_fact_is_tried_here() -> None:
    assert list(WRITTEN) == list(BY_NAME)


def test_every_field_of_a_run_is_a_fact_and_the_other_way_round() -> None:
    fields = {field.name for field in dataclasses.fields(Run)}
    assert {fact.attributes[0] for fact in KEPT} == fields


@facts(Medium.WEBHOOK | Medium.TEMPLATE | Medium.EXEC)
def test_what_messages_have_a_report_has(fact: RunFact) -> None:
    assert value_of_report(REPORT, fact)
    assert value_of_report(Report.from_mapping(REPORT.to_mapping()), fact) == value_of_report(
        REPORT, fact
    )


def test_two_facts_share_nothing() -> None:
    for names in (
        [fact.name for fact in RUN_FACTS],
        [fact.label for fact in RUN_FACTS],
        [fact.keys for fact in RUN_FACTS],
        [fact.variable for fact in RUN_FACTS],
    ):
        assert len({*names}) == len(RUN_FACTS)


# The history


def test_columns_of_the_history(store: Store) -> None:
    """Those that are no facts are the supervisor's own: how far it is with a run, other clocks."""
    with closing(sqlite3.connect(history_path(store.path))) as raw:
        columns = {row[1] for row in raw.execute("PRAGMA table_info(runs)")}
    assert columns - {fact.name for fact in KEPT} == {
        "sequence", "boot_id", "phase", "stop_requested", "settled", "started_since_boot",
        "ended_since_boot",
    }  # fmt: skip
    assert {fact.name for fact in KEPT} <= columns


@pytest.mark.parametrize("fact", KEPT, ids=lambda fact: fact.name)
def test_a_fact_is_read_as_it_was_recorded(fact: RunFact, store: Store) -> None:
    read = store.runs.get(RUN.execution_id)
    assert read is not None
    assert value_of_run(read, fact) == value_of_run(RUN, fact)


def test_statements_that_leave_out_the_output_have_all_else(store: Store) -> None:
    short = dataclasses.replace(RUN, output=None)
    assert store.runs.latest_of(["x"]) == {"x": short}
    assert store.runs.outcomes_of(["x"]) == {"x": short}
    assert store.runs.recent("x", 1) == [short]
    assert store.runs.history("x", None) == [RUN]


# Programs


@facts(Medium.JSON)
def test_json_has_it(fact: RunFact) -> None:
    assert at(run_json(RUN), fact.keys) == WRITTEN[fact.name][0]


def test_json_has_nothing_else() -> None:
    keys = [fact.keys[0] for fact in given(RUN_FACTS, Medium.JSON)]
    assert {*run_json(RUN)} == {*keys, "retry_at", "hooks"}
    nothing = run_json(NOTHING)
    assert {*nothing} == {*run_json(RUN)}
    assert nothing["overrun"] is None
    assert nothing["duration_ms"] is None


@facts(Medium.WEBHOOK)
def test_a_webhook_has_it(fact: RunFact) -> None:
    assert at(webhook.payload(compose(REPORT))["run"], fact.keys) == WRITTEN[fact.name][0]


@facts(Medium.TEMPLATE)
def test_a_template_has_it(fact: RunFact) -> None:
    assert fact.name in TEMPLATE_VARIABLES
    channel = Channel(ChannelType.EMAIL, "a", body=f"<{{{{ {fact.name} }}}}>")
    assert compose(REPORT, channel).text == f"<{WRITTEN[fact.name][1]}>"


@facts(Medium.HOOK)
def test_a_hook_has_it(fact: RunFact) -> None:
    job = dataclasses.replace(JOB, retry=dataclasses.replace(JOB.retry, max_attempts=5))
    assert (
        variables.hook_variables(job, RUN, HookEvent.ON_FAILURE)[fact.variable]
        == (WRITTEN[fact.name][2])
    )
    begun = variables.hook_variables(job, RUN, HookEvent.ON_START)
    assert (fact.variable in begun) is not fact.is_of_end


@facts(Medium.EXEC)
def test_a_command_that_is_a_channel_has_it(fact: RunFact, store: Store) -> None:
    assert environment(store, REPORT)[fact.variable] == WRITTEN[fact.name][2]


def environment(store: Store, report: Report) -> dict[str, str]:
    channel = Channel(ChannelType.EXEC, "true")
    store.outbox.put(report, channel, job="x", key="k", cause=RUN.execution_id, now=0)
    message: Outgoing
    (message,) = store.outbox.ready(())
    return variables.of_notification(message, compose(message.report))


def test_no_environment_has_anything_else(store: Store) -> None:
    given_to_hooks = {*variables.hook_variables(JOB, RUN, HookEvent.ON_FAILURE)}
    given_to_commands = {*environment(store, REPORT)}
    for found, medium in ((given_to_hooks, Medium.HOOK), (given_to_commands, Medium.EXEC)):
        of_runs = {fact.variable for fact in given(RUN_FACTS, medium)}
        assert of_runs <= found <= variables.NAMES
        assert not {fact.variable for fact in RUN_FACTS} & found - of_runs


@pytest.mark.parametrize("fact", KEPT, ids=lambda fact: fact.name)
def test_a_message_about_a_start_says_nothing_of_the_end(fact: RunFact, store: Store) -> None:
    told = Job(
        name="x",
        schedule="every 1d",
        command="true",
        notifications=dataclasses.replace(
            JOB.notifications, on_start=(Channel(ChannelType.WEBHOOK, "https://x"),)
        ),
    )
    NotificationQueue(store, Origin("box", "UTC", Mode.SYSTEM)).started(told, RUN, 0)
    (message,) = store.outbox.ready(())
    if hasattr(message.report, fact.name) and fact.name != "overrun":
        assert bool(value_of_report(message.report, fact)) == (
            not fact.is_of_end and "overrun" not in fact.name
        )


# People


@facts(Medium.PAGE)
def test_the_page_of_a_run_has_it(fact: RunFact, store: Store, in_utc: None) -> None:
    page = page_of(store, RUN.execution_id)
    assert f"<dt>{fact.label}</dt><dd>{WRITTEN[fact.name][3]}" in page


def page_of(store: Store, execution_id: str) -> str:
    identity = Identity(host="box", default_user="root", command="lunasched", timezone="UTC")
    pages = Pages(identity, lambda: 9_000_000)
    request = Request("/", {}, None, None, None)
    return pages.run(store, request, execution_id, trusted=True).body.decode()


@pytest.mark.parametrize("fact", views._COLUMNS, ids=lambda fact: fact.name)
def test_the_command_line_has_it(fact: RunFact, in_utc: None) -> None:
    row = dict(zip(views._COLUMNS, views._history_row(RUN, (), {}), strict=True))
    said = "signal (3), 8 slots passed" if fact.name == "result" else WRITTEN[fact.name][3]
    assert row[fact] == said


@pytest.mark.parametrize("name", ["cpu_usec", "memory_peak"])
def test_a_message_says_what_was_used(name: str) -> None:
    assert BY_NAME[name].label in dict(compose(REPORT).facts)


def test_what_is_not_known_is_a_dash() -> None:
    assert fact_shown(NOTHING, BY_NAME["ended_at"]) == "-"
    assert fact_shown(NOTHING, BY_NAME["overrun"]) == "-"


# The manual


@facts(Medium.HOOK | Medium.EXEC)
def test_the_manual_has_its_variable(fact: RunFact) -> None:
    pages = "".join(path.read_text() for path in TREE.glob("man/*.[1-9]"))
    assert re.search(rf"^\.(It )?Ev {fact.variable}\b", pages, re.MULTILINE)


@facts(Medium.JSON | Medium.WEBHOOK | Medium.TEMPLATE)
def test_the_manual_has_its_key(fact: RunFact) -> None:
    pages = "".join(path.read_text() for path in TREE.glob("man/*.[1-9]"))
    assert re.search(rf"^\.It Li {fact.keys[0]} Ta ", pages, re.MULTILINE)
