"""Messages: what is kept of what happened, and what people read of it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lunasched.history.report import Held, Report, ReportKind
from lunasched.history.run import Result, Trigger
from lunasched.jobs.model import Channel, ChannelType, NotifyEvent
from lunasched.jobs.runfacts import TEMPLATE_VARIABLES
from lunasched.notify.message import compose
from lunasched.notify.message.output import last_lines
from lunasched.notify.message.wording import span, what_happened

TIMES = st.none() | st.integers(0, 2**52)
REPORTS = st.builds(
    Report,
    kind=st.sampled_from(ReportKind),
    job=st.text(max_size=20),
    host=st.text(max_size=20),
    at=st.integers(0, 2**52),
    timezone=st.sampled_from(["UTC", "Europe/Berlin"]),
    execution_id=st.none() | st.just("0123456789abcdef" * 2),
    trigger=st.none() | st.sampled_from(Trigger),
    result=st.none() | st.sampled_from(Result),
    exit_code=st.none() | st.integers(0, 255),
    signal=st.none() | st.integers(1, 64),
    started_at=TIMES,
    ended_at=TIMES,
    failing_since=TIMES,
    output=st.text(),
    held=st.lists(
        st.builds(
            Held,
            st.sampled_from(ReportKind), st.text(max_size=5), st.integers(1, 9),
            st.integers(0, 2**52),
            st.text(max_size=5),
        ),
        max_size=3,
    ).map(tuple),
)  # fmt: skip


@given(report=REPORTS)
def test_a_report_is_read_back_from_its_json(report: Report) -> None:
    assert Report.from_mapping(json.loads(json.dumps(report.to_mapping()))) == report


def test_every_event_has_a_kind() -> None:
    assert {kind.event for kind in ReportKind} == {*NotifyEvent, None}


FAILED = Report(
    kind=ReportKind.FAILURE,
    job="night backup",
    host="web1",
    at=1_764_000_184_000_000,
    timezone="Europe/Berlin",
    execution_id="0123456789abcdef" * 2,
    trigger=Trigger.RETRY,
    result=Result.EXIT_CODE,
    exit_code=3,
    attempt=2,
    max_attempts=3,
    scheduled_at=1_764_000_000_000_000,
    started_at=1_764_000_000_000_000,
    ended_at=1_764_000_184_000_000,
    cpu_usec=12_300_000,
    memory_peak=3 << 29,
    failures=4,
    failing_since=1_763_990_000_000_000,
    output="\x1b[31mred\x1b[0m\n10%\r50%\r100%\r\nlast\n\n",
)


def test_all_of_a_message() -> None:
    message = compose(FAILED)
    assert message.subject == "night backup failed on web1: exit code 3"
    assert (
        message.text
        == """\
night backup failed on web1: exit code 3.

Job:           night backup
Host:          web1
Result:        exit code 3
Due:           Mon 2025-11-24 17:00:00 +0100
Started:       Mon 2025-11-24 17:00:00 +0100
Ended:         Mon 2025-11-24 17:03:04 +0100
Took:          3 min 4 s
Attempt:       2 of 3
Ran:           as a retry
CPU time:      12 s
Peak memory:   1.5 GiB
Failing since: Mon 2025-11-24 14:13:20 +0100, 4 failures
Execution ID:  01234567-89ab-cdef-0123-456789abcdef

The last 3 lines of its output:

    red
    100%
    last

To see more:

    lunasched logs 'night backup' --execution 01234567-89ab-cdef-0123-456789abcdef
    lunasched history 'night backup'
"""
    )


SUBJECTS: list[tuple[dict[str, Any], str]] = [
    ({"kind": ReportKind.START}, "x started on h"),
    ({"kind": ReportKind.SUCCESS, "result": Result.SUCCESS}, "x succeeded on h"),
    ({"kind": ReportKind.REMINDER}, "x still fails on h: exit code 3"),
    ({"kind": ReportKind.RECOVERY, "result": Result.SUCCESS, "failures": 3, "failing_since": 0,
      "at": 9_000_000_000}, "x works again on h after 2 h 30 min and 3 failures"),
    ({"kind": ReportKind.RECOVERY, "failing_since": 0, "failures": 1, "at": 5_000_000},
     "x works again on h after 5 s and 1 failure"),
    ({"kind": ReportKind.RECOVERY, "failing_since": None}, "x works again on h"),
    ({"kind": ReportKind.SKIPPED, "result": Result.SKIPPED,
      "output": "why\nthis slot ran already\n"},
     "x was skipped on h: this slot ran already"),
    ({"kind": ReportKind.SKIPPED, "result": Result.SKIPPED, "output": ""}, "x was skipped on h"),
    ({"kind": ReportKind.MISSED, "missed": 1}, "x missed 1 run on h"),
    ({"kind": ReportKind.MISSED, "missed": 7}, "x missed 7 runs on h"),
    ({"kind": ReportKind.OVERRUN, "result": None, "started_at": 0, "ended_at": None,
      "at": 7_260_000_000, "overrun": 60},
     "x has been running for 2 h 1 min on h: 60 slots passed"),
    ({"kind": ReportKind.OVERRUN, "result": None, "started_at": 0, "ended_at": None,
      "at": 90_000_000_000, "overrun": 1}, "x has been running for 1 d 1 h on h: 1 slot passed"),
    ({"kind": ReportKind.OVERRUN, "result": None, "execution_id": None, "waiting_since": 0,
      "at": 7_260_000_000, "overrun": 60},
     "x has been waiting for its turn for 2 h 1 min on h: 60 slots passed"),
    ({"kind": ReportKind.OVERRUN, "result": Result.SUCCESS, "started_at": 0,
      "ended_at": 7_260_000_000, "overrun": 10_000},
     "x is over on h after 2 h 1 min: success, at least 10000 slots passed"),
    ({"kind": ReportKind.OVERRUN, "result": Result.STOPPED, "started_at": 0, "ended_at": 60_000_000,
      "overrun": 2}, "x is over on h after 1 min: stopped by hand, 2 slots passed"),
    ({"kind": ReportKind.OUTPUT, "result": Result.SUCCESS}, "output of x on h: success"),
    ({"kind": ReportKind.OUTPUT}, "output of x on h: exit code 3"),
    ({"kind": ReportKind.DIGEST, "held": (Held(ReportKind.FAILURE, "x", 5, 0, "exit code 3"),)},
     "5 notifications of h, held back until now"),
    ({"kind": ReportKind.TEST}, "test notification of x on h"),
    ({"kind": ReportKind.TEST, "job": ""}, "test notification of lunasched on h"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "subject"), SUBJECTS)
def test_subjects(changes: dict[str, Any], subject: str) -> None:
    report = dataclasses.replace(FAILED, **{"job": "x", "host": "h", **changes})
    assert compose(report).subject == subject


def test_every_kind_has_a_subject() -> None:
    assert {ReportKind.FAILURE, *(changes["kind"] for changes, _ in SUBJECTS)} == set(ReportKind)


WORDS: list[tuple[dict[str, Any], str]] = [
    ({}, "exit code 3"),
    ({"result": Result.SIGNAL, "exit_code": None, "signal": 11}, "killed by SIGSEGV"),
    ({"result": Result.SIGNAL, "exit_code": None, "signal": 40}, "killed by signal 40"),
    ({"result": Result.CORE_DUMP, "signal": 6}, "crashed by SIGABRT, core dumped"),
    ({"result": Result.TIMEOUT, "time_limit": 1800.0}, "ran into its 30 min time limit"),
    ({"result": Result.TIMEOUT, "time_limit": 5400}, "ran into its 1 h 30 min time limit"),
    ({"result": Result.TIMEOUT}, "ran into its time limit"),
    ({"result": Result.OOM_KILL, "memory_limit": 2 << 30}, "killed at its 2 GiB memory limit"),
    ({"result": Result.OOM_KILL}, "killed as the machine ran out of memory"),
    ({"result": Result.EXEC_ERROR, "exit_code": 203},
     "could not be started: its program does not exist or cannot be executed"),
    ({"result": Result.EXEC_ERROR, "exit_code": 217},
     "could not be started: its user does not exist"),
    ({"result": Result.EXEC_ERROR, "exit_code": 250}, "could not be started"),
    ({"result": Result.STOPPED}, "stopped by hand"),
    ({"result": Result.LOST}, "the machine went down while it ran"),
    ({"result": Result.SKIPPED, "kind": ReportKind.SKIPPED, "output": ""}, "skipped"),
    ({"result": Result.SUCCESS, "kind": ReportKind.SUCCESS}, "success"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "words"), WORDS)
def test_what_happened(changes: dict[str, Any], words: str) -> None:
    assert what_happened(dataclasses.replace(FAILED, **changes)) == words


def test_every_result_has_words() -> None:
    results = {changes.get("result", Result.EXIT_CODE) for changes, _ in WORDS}
    assert results == set(Result)
    for result in Result:
        bare = Report(
            kind=ReportKind.FAILURE, job="x", host="h", at=0, timezone="UTC", result=result
        )
        assert what_happened(bare)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (0.25, "0.2 s"), (1, "1 s"), (1.5, "1.5 s"), (59.4, "59 s"), (60, "1 min"),
        (61, "1 min 1 s"), (3600, "1 h"), (3661, "1 h 1 min"), (86400, "1 d"), (90000, "1 d 1 h"),
        (86461, "1 d"),
    ],
)  # fmt: skip
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", ""),
        ("\n\n\n", ""),
        ("a\r\nb\r\n", "a\nb"),
        ("\x1b]0;title\x07a\x1b[1;31mb\x1b[0m\x1b(Bc", "abc"),
        ("a\x00\x08b", "a\ufffd\ufffdb"),
        ("a\u202eb", "a\ufffdb"),
        ("  indented\n\ttab", "  indented\n\ttab"),
        ("x" * 1000, "x" * 399 + "…"),
        ("\n".join(map(str, range(30))), "\n".join(map(str, range(10, 30)))),
    ],
)
def test_the_end_of_an_output(text: str, lines: str) -> None:
    assert last_lines(text) == lines


def test_a_zone_that_does_not_exist_any_more() -> None:
    gone = dataclasses.replace(FAILED, timezone="Europe/Atlantis")
    assert "Mon 2025-11-24 16:00:00 +0000" in compose(gone).text


def test_a_digest_lists_what_was_held_back() -> None:
    held = tuple(Held(ReportKind.FAILURE, f"job{n}", n, n, "exit code 3") for n in range(1, 121))
    report = Report(
        kind=ReportKind.DIGEST, job="", host="web1", at=0, timezone="UTC", held=held, user_mode=True
    )
    text = compose(report, Channel(ChannelType.EMAIL, "a", subject="x", body="y")).text
    assert "    120 x job120, failure: exit code 3; last Thu 1970-01-01 00:00:00 +0000\n" in text
    assert "(and of 20 more)" in text
    assert "job20," not in text


def test_templates_have_every_variable() -> None:
    body = "\n".join(f"{name}={{{{ {name} }}}}" for name in TEMPLATE_VARIABLES)
    said = compose(FAILED, Channel(ChannelType.EMAIL, "a", body=body)).text
    assert "exit_code=3\n" in said
    assert "duration=184.0\n" in said
    assert "what=exit code 3\n" in said
    assert "signal=\n" in said
    assert "event=on_failure\n" in said


def test_a_template_that_says_nothing_is_not_used() -> None:
    channel = Channel(ChannelType.EMAIL, "a", subject="{{ signal }}", body=" {{ signal }}\n")
    assert compose(FAILED, channel) == compose(FAILED)


def test_commands_of_user_mode() -> None:
    message = compose(dataclasses.replace(FAILED, user_mode=True))
    assert message.commands[-1] == "lunasched --user history 'night backup'"
