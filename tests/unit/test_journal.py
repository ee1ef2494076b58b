"""What only the text of a record tells, as the versions of systemd write it."""

from __future__ import annotations

from typing import Any

import pytest

from lunasched.paths import Mode
from lunasched.systemd.journal import (
    EventKind,
    Journal,
    RunWindow,
    _is_of_gate,
    _tells_of_condition,
    journalctl,
)

NAME = "lunasched-job@a.service - a (lunasched job)"


@pytest.mark.parametrize(
    ("message", "unmet"),
    [
        # systemd 252
        (f"{NAME} was skipped because of an unmet condition check (ConditionPathExists=/x).", True),
        (f"{NAME} was skipped because no trigger condition checks were met.", True),
        (f"Condition check resulted in {NAME} being skipped.", False),
        (f"Started {NAME}.", False),
        (f"Finished {NAME}.", False),
        # systemd 257
        (f"{NAME} skipped, unmet condition check ConditionPathExists=/x", True),
        (f"{NAME} skipped, no trigger condition checks were met.", True),
        # The name of a job is in the text, too.
        ("Started a was skipped because of a condition check (lunasched job).", False),
        ("Finished x skipped, condition check (lunasched job).", False),
    ],
)
def test_a_start_that_was_none(message: str, unmet: bool) -> None:
    assert _tells_of_condition({"MESSAGE": message.encode()}) is unmet


@pytest.mark.parametrize("before", ["was skipped because of an unmet", "skipped, unmet"])
@pytest.mark.parametrize(
    ("condition", "gate"),
    [
        ("ConditionPathExists=!/run/lunasched-exclusive", True),
        ("ConditionPathExists=/run/lunasched/supervisor/passes/a", True),
        ("ConditionPathExists=!/run/user/1000/lunasched-exclusive", True),
        ("ConditionPathExists=/run/a", False),
        ("ConditionPathExists=/srv/my lunasched/supervisor/x", False),
        ("ConditionACPower=true", False),
        ("ConditionHost=lunasched-exclusive", False),
    ],
)
def test_a_condition_is_of_the_gate_or_of_the_job(before: str, condition: str, gate: bool) -> None:
    text = f"{NAME} {before} condition check {condition}"
    assert _is_of_gate({"MESSAGE": text.encode()}) is gate


def test_conditions_of_which_one_has_to_hold_are_of_the_gate() -> None:
    for text in ("was skipped because no trigger", "skipped, no trigger"):
        assert _is_of_gate({"MESSAGE": f"{NAME} {text} condition checks were met."})


UNIT = "lunasched-job@a.service"
RUN = "a" * 32
WINDOW = RunWindow(RUN, UNIT, 1_000_000, None)
SPAWN = {
    "MESSAGE_ID": EventKind.SPAWN_FAILED.value,
    "MESSAGE": b"a: Failed at step EXEC spawning /x: No such file or directory",
    "UNIT": UNIT,
    "INVOCATION_ID": RUN,
    "SYSLOG_IDENTIFIER": "(x)",
    "_TRANSPORT": "journal",
    "_BOOT_ID": "b" * 32,
    "__REALTIME_TIMESTAMP": 2_000_000,
    "__MONOTONIC_TIMESTAMP": 1_000_000,
}


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("run", [None, WINDOW])
def test_each_alternative_that_is_shown_has_a_field_that_nobody_can_write(
    mode: Mode, run: RunWindow | None
) -> None:
    command = journalctl(mode, 1000, [UNIT, "lunasched-job@a:1.service"], run, "--all")
    words = [word for word in command[1:] if not word.startswith("--")]
    for alternative in " ".join(words).split(" + "):
        trusted = {word.partition("=")[0] for word in alternative.split() if word.startswith("_")}
        assert trusted & {"_PID", "_UID", "_SYSTEMD_UNIT"}, alternative


@pytest.mark.parametrize(
    ("writer", "claimed_by"),
    [
        ({"_UID": 0}, None),
        ({"_UID": 0, "_SYSTEMD_UNIT": "init.scope"}, None),
        ({"_UID": 1000, "_SYSTEMD_UNIT": UNIT, "_SYSTEMD_INVOCATION_ID": RUN}, None),
        ({"_UID": 1000, "_SYSTEMD_UNIT": UNIT}, None),
        ({"_UID": 1000}, 1000),
    ],
)
def test_who_said_that_a_program_could_not_be_executed(
    writer: dict[str, Any], claimed_by: int | None
) -> None:
    event = Journal(Mode.SYSTEM, 0)._event({**SPAWN, **writer})
    assert event is not None
    assert (event.kind, event.execution_id, event.exit_code) == (EventKind.SPAWN_FAILED, RUN, 203)
    assert event.claimed_by == claimed_by
    is_output = Journal(Mode.SYSTEM, 0).belongs({**SPAWN, **writer}, WINDOW)
    assert is_output is (claimed_by is None)


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("exited", "3", 3),
        ("exited", "300", None),
        ("exited", "x", None),
        ("exited", ["3", "4"], None),
        ("killed", "9", None),
    ],
)
def test_what_a_job_says_of_its_own_end(code: str, status: object, expected: int | None) -> None:
    record = {**SPAWN, "MESSAGE_ID": EventKind.EXIT_NOTED.value, "SYSLOG_IDENTIFIER": "lunasched"}
    record |= {"EXIT_CODE": code, "EXIT_STATUS": status, "_UID": 1000}
    event = Journal(Mode.SYSTEM, 0)._event(record)
    assert event is not None
    assert (event.kind, event.claimed_by) == (EventKind.EXIT_NOTED, 1000)
    assert (event.exit_code, event.signal) == (expected, None)
    assert not Journal(Mode.SYSTEM, 0).belongs({**record, "_SYSTEMD_UNIT": UNIT}, WINDOW)
    assert Journal(Mode.SYSTEM, 0)._event({**record, "_SYSTEMD_UNIT": "cron.service"}) is None


LAUNCHES = {
    **SPAWN, "MESSAGE_ID": EventKind.LAUNCHES.value, "SYSLOG_IDENTIFIER": "lunasched", "_UID": 0,
    "UNIT": "lunasched-launch@backup.service",
}  # fmt: skip


@pytest.mark.parametrize(
    ("trigger", "by_timer"), [("timer", True), ("hand", False), ("unknown", None), ([1, 2], None)]
)
@pytest.mark.parametrize(
    ("elapsed", "expected"),
    [(1, 1), ("1", 1), ("", None), (-1, None), (1 << 62, None), ([1, 2], None), (b"x", None)],
)
def test_what_a_launcher_says_of_what_it_starts(
    trigger: object, by_timer: bool | None, elapsed: object, expected: int | None
) -> None:
    record = {**LAUNCHES, "LUNASCHED_TRIGGER": trigger, "LUNASCHED_ELAPSED": elapsed}
    event = Journal(Mode.SYSTEM, 0)._event(record)
    assert event is not None
    assert (event.by_timer, event.elapsed) == (by_timer, expected)
    # It is the manager's word.
    assert Journal(Mode.SYSTEM, 0)._event({**record, "_UID": 1000}) is None


@pytest.mark.parametrize(
    "forged",
    [
        {"_UID": 0, "_SYSTEMD_UNIT": "cron.service"},
        {"_UID": 1000, "_SYSTEMD_UNIT": "user@1000.service", "_SYSTEMD_INVOCATION_ID": RUN},
        {"_UID": 1000, "_SYSTEMD_UNIT": UNIT, "_SYSTEMD_INVOCATION_ID": "c" * 32},
        {"_UID": 0, "UNIT": [UNIT, UNIT]},
        {"_UID": 0, "UNIT": b"lunasched-job@\xff.service"},
        {"_UID": 0, "INVOCATION_ID": [RUN, RUN]},
        {"_UID": 0, "INVOCATION_ID": "x" * 32},
        {"_UID": 0, "MESSAGE_ID": [EventKind.SPAWN_FAILED.value, "d" * 32]},
        {"_UID": 0, "MESSAGE_ID": ""},
    ],
)
def test_what_others_say_of_a_run_is_nothing(forged: dict[str, Any]) -> None:
    """Fields that are there twice, or are no text, ended the supervisor, at each of its starts."""
    journal = Journal(Mode.SYSTEM, 0)
    assert journal._event({**SPAWN, **forged}) is None
    # As output it needs no ID: it is root's word.
    if not isinstance(forged.get("UNIT"), (list, bytes)) and "MESSAGE_ID" not in forged:
        assert not journal.belongs({**SPAWN, **forged}, WINDOW)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("message_id", [{}, {"MESSAGE_ID": EventKind.SPAWN_FAILED.value}])
@pytest.mark.parametrize(
    ("written_by", "is_output"),
    [
        ({"SYSLOG_IDENTIFIER": "(x)"}, True),
        ({"SYSLOG_IDENTIFIER": "systemd"}, False),
        ({"SYSLOG_IDENTIFIER": "(x)", "_UID": 1001}, False),
        ({"SYSLOG_IDENTIFIER": "(x)", "UNIT_OF": "another"}, False),
    ],
)
def test_all_that_a_child_says_of_why_it_failed_is_shown(
    mode: Mode, message_id: dict[str, str], written_by: dict[str, Any], is_output: bool
) -> None:
    """Also that the interpreter of a script is missing, of which systemd gives no message ID."""
    prefix = "" if mode is Mode.SYSTEM else "USER_"
    entry = {
        **message_id,
        "MESSAGE": b"a: Failed to execute /x: No such file or directory",
        f"{prefix}UNIT": UNIT,
        f"{prefix}INVOCATION_ID": "c" * 32 if "UNIT_OF" in written_by else RUN,
        "_TRANSPORT": "journal",
        "_UID": 0 if mode is Mode.SYSTEM else 1000,
        "__REALTIME_TIMESTAMP": 2_000_000,
        "__MONOTONIC_TIMESTAMP": 1_000_000,
        **written_by,
    }
    journal = Journal(mode, 0 if mode is Mode.SYSTEM else 1000)
    assert journal.belongs(entry, WINDOW) is is_output
    command = " ".join(journalctl(mode, 1000, [UNIT], WINDOW))
    assert f"+ _TRANSPORT=journal _UID={entry['_UID']}" in command or written_by.get("_UID")
