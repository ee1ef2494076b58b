"""A job without lunasched: byte for byte, as systemd reads it, and read back as the same job.

`LUNASCHED_UPDATE_GOLDEN=1` rewrites the files in `golden/ejected/`; read the difference.
"""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from compiling import EVERYTHING, SYSTEM, USER
from hypothesis import example, given, settings
from hypothesis import strategies as st
from samples import job

from lunasched.errors import InvalidInput
from lunasched.formats.unitfile import UnitFile
from lunasched.jobs.model import ExecutionMode, Hooks, Job, Notifications, Overlap, RetryPolicy
from lunasched.jobs.reading import job_from_mapping
from lunasched.paths import Mode
from lunasched.transfer import adoption, ejection
from lunasched.transfer.adoption import Source
from lunasched.transfer.ejection import Ejection
from lunasched.units import compiler
from lunasched.units.compiler import Context

GOLDEN = Path(__file__).parent.parent / "golden/ejected"

LOST: dict[str, dict[str, Any]] = {
    "not retried": {"max_retries": 2},
    "hooks": {"on_failure": "true"},
    "notified": {"notification_config": {"on_failure": [{"type": "email", "to": "a@b.example"}]}},
    "%n": {"systemd": {"StateDirectory": "%n"}},
    "wait for": {"dependencies": ["other"]},
    "wait for other jobs": {"after": ["other"]},
    "overlap": {"execution_mode": "Parallel"},
    "beside it": {"execution_mode": "Exclusive"},
    "skipped": {"overlap": "skip"},
    "replace it": {"overlap": "replace"},
}
"""What is lost, by a word of how that is said."""

BARE = {"name": "hello", "schedule": "every 15m", "command": "echo hello"}


def hello(**keys: Any) -> Job:
    return job(**{**BARE, **keys})


def kept(found: Job) -> Job:
    """What of a job has a place in plain units, said as ``adopt`` says it."""
    command = found.command
    if not isinstance(command, str) and len(command) == 3 and command[:2] == ("/bin/sh", "-c"):
        command = command[2] if command[2].strip() else command
    directory = found.working_directory
    if directory and directory[-1] in " \\":
        # As a unit has to say it: the same directory.
        directory += "/"
    weight = compiler.priority_values(found.priority, Mode.SYSTEM)[0].get("IOWeight")
    limits = found.limits
    if weight is not None and limits.io_weight == int(weight):
        # As the priority sets it: the same line.
        limits = dataclasses.replace(limits, io_weight=None)
    return found.evolve(
        limits=limits,
        command=command,
        working_directory=directory,
        user=None if found.user in ("root", "0") else found.user,
        tags=(),
        retry=RetryPolicy(),
        hooks=Hooks(),
        notifications=Notifications(),
        dependencies=(),
        mode=ExecutionMode.SEQUENTIAL,
        overlap=Overlap.QUEUE,
        max_concurrent=0,
        catch_up=found.catch_up and not found.schedule.startswith(("every", "@reboot")),
        environment=tuple(dict(found.environment).items()),
    )


def adopted(found: Ejection, context: Context, name: str) -> Job:
    assert found.timer is not None
    timer, service = (
        Source(unit.name, (UnitFile(unit.name, unit.text),))
        for unit in (found.timer, found.service)
    )
    return adoption.adopted_job(
        timer, service, name=name, enabled=found.job.enabled, context=context
    ).job


def everything() -> Job:
    directives = {key: value for key, value in EVERYTHING["systemd"].items() if value != "%n"}
    return job_from_mapping({**EVERYTHING, "systemd": directives})


CASES = {
    "minimal": (hello(), SYSTEM),
    "user": (hello(schedule="@daily", catch_up=True), USER),
    "everything": (everything(), SYSTEM),
    "at-boot": (hello(schedule="@reboot"), SYSTEM),
}


@pytest.mark.parametrize("name", CASES)
def test_the_units_are_these(name: str) -> None:
    found = ejection.ejected_units(*CASES[name], "plain")
    for unit in found.units:
        kind = unit.name.rpartition(".")[2]
        path = GOLDEN / f"{name}.{kind}"
        if os.environ.get("LUNASCHED_UPDATE_GOLDEN"):
            path.write_text(unit.text)
        assert unit.text == path.read_text()


@pytest.mark.parametrize("name", CASES)
def test_systemd_understands_them(name: str, tmp_path: Any) -> None:
    the_job, context = CASES[name]
    found = ejection.ejected_units(the_job, context, "lunasched-test-plain")
    for unit in found.units:
        (tmp_path / unit.name).write_text(unit.text)
    said = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / u.name) for u in found.units)],
        capture_output=True,
        text=True,
        env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"},
    ).stderr
    assert not [line for line in said.splitlines() if "lunasched-test-plain" in line], said


@pytest.mark.parametrize("name", CASES)
def test_nothing_of_ours_is_left(name: str) -> None:
    found = ejection.ejected_units(*CASES[name], "plain")
    for unit in found.units:
        directives = [line for line in unit.text.splitlines() if not line.startswith("#")]
        # The description is the name of the job.
        assert "lunasched" not in "\n".join(directives)
        assert not unit.text.startswith("# Generated by lunasched")
        assert "ExecCondition" not in unit.text


@pytest.mark.parametrize("word", LOST)
def test_what_is_lost_is_said(word: str) -> None:
    (loss,) = ejection.ejected_units(hello(**LOST[word]), SYSTEM).losses
    assert word in loss


def test_nothing_is_lost_of_an_ordinary_job() -> None:
    keys = {"schedule": "at 02:30", "timeout": "5m", "sandbox": {"private_tmp": True}}
    found = ejection.ejected_units(hello(**keys, tags=["a"]), SYSTEM)
    assert found.losses == ()
    assert any("2036" in note and "Europe/Berlin" in note for note in found.notes)
    assert any("its tags are gone: a" in note for note in found.notes)


@pytest.mark.parametrize("name", ["a b", "ü", "x@y", "", ".x", "a/b", "a" * 201, "a\n"])
def test_a_name_that_no_unit_can_have_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="--as"):
        ejection.ejected_units(hello(), SYSTEM, name)


@pytest.mark.parametrize("name", ["minimal", "user", "everything", "at-boot"])
def test_an_ejected_job_is_adopted_as_it_was(name: str) -> None:
    the_job, context = CASES[name]
    assert adopted(
        ejection.ejected_units(the_job, context, "plain"), context, the_job.name
    ) == kept(the_job)


SCHEDULES = st.sampled_from(
    [
        "every 15m", "every 900s", "every 1d2h", "at 02:30", "at 02:30:15 on Mon,Fri",
        "30 2 1 * Mon", "*/7 * * * *", "0 0 L * *", "@daily", "@reboot", "on 1st Mon at 09:00",
        "calendar:Mon..Fri 09:00", "calendar:*-*-* 02:30:00 America/New_York", "*/15 * * * *",
    ]
)  # fmt: skip
TEXTS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=40)
COMMANDS = TEXTS | st.lists(TEXTS, max_size=4).map(lambda rest: ["/bin/echo", *rest])
WORDS = st.sampled_from(["$$", "${HOME}", "$HOME", "%h", "%%", "a;b", ";", "'", '"', "\\", "\n"])
KEYS = st.fixed_dictionaries(
    {"schedule": SCHEDULES, "command": COMMANDS | st.lists(WORDS).map("".join)},
    optional={
        "timezone": st.sampled_from(["Europe/Berlin", "Asia/Tokyo", "Australia/Lord_Howe"]),
        "timeout": st.sampled_from([1, 90, 0.25]),
        "kill_after": st.sampled_from([1, 90, 0.25]),
        "max_memory": st.integers(1 << 20, 1 << 40),
        "cpu_quota": st.integers(1, 800).map(lambda share: f"{share}%"),
        "tasks_max": st.integers(1, 1 << 22),
        "io_weight": st.integers(1, 10000),
        "jitter": st.sampled_from([0, 1, 0.25, 90]),
        "env": st.dictionaries(st.sampled_from(["A", "B", "HOME"]), TEXTS),
        "working_directory": st.just("/") | TEXTS.map(lambda text: f"/srv/{text}"),
        "priority": st.sampled_from(["Low", "Normal", "High", "Critical"]),
        "enabled": st.booleans(),
        "catch_up": st.booleans(),
        "any_exit_code": st.booleans(),
        "sandbox": st.dictionaries(
            st.sampled_from(["private_tmp", "protect_home", "no_new_privileges"]), st.booleans()
        )
        # Which the others need in user mode, and then get anyway.
        .map(lambda chosen: {**chosen, "private_users": True}),
        "systemd": st.dictionaries(
            st.sampled_from(["Group", "KillMode"]), st.sampled_from(["a", "b"])
        ),
    },
)


@settings(max_examples=300, deadline=None, print_blob=True)
@given(KEYS, st.sampled_from([SYSTEM, USER]))
@example({"schedule": "@daily", "command": "true", "working_directory": "/srv/\\"}, SYSTEM)
@example({"schedule": "@daily", "command": "true", "working_directory": "/srv/ "}, SYSTEM)
@example({"schedule": "@daily", "command": "0", "io_weight": 30, "priority": "Low"}, SYSTEM)
def test_any_job_is_adopted_as_it_was(keys: dict[str, Any], context: Context) -> None:
    try:
        the_job = hello(**keys)
        found = ejection.ejected_units(the_job, context, "plain")
    except InvalidInput:
        return
    assert adopted(found, context, the_job.name) == kept(the_job)


def test_a_sandbox_is_adopted_as_it_was() -> None:
    keys = {
        "read_write_paths": ["/var/a b", "-/srv/50%"],
        "system_call_filter": ["@system-service", "~@mount", "~chown:EPERM"],
        "capability_bounding_set": ["none"],
        "restrict_address_families": ["none"],
        "restrict_namespaces": ["~user", "~net"],
        "protect_system": "strict",
        "umask": "027",
    }
    the_job = hello(sandbox=keys)
    assert adopted(ejection.ejected_units(the_job, SYSTEM), SYSTEM, "hello") == the_job


def test_an_edited_timer_is_not_taken_for_what_its_comment_says() -> None:
    found = ejection.ejected_units(hello(schedule="at 12:00"), SYSTEM)
    assert found.timer is not None
    edited = re.sub("12:00:00", "13:00:00", found.timer.text)
    timer = Source("hello.timer", (UnitFile("hello.timer", edited),))
    service = Source("hello.service", (UnitFile("hello.service", found.service.text),))
    again = adoption.adopted_job(timer, service, name="hello", enabled=True, context=SYSTEM).job
    assert again.schedule == "calendar:*-*-* 13:00:00"


def test_dates_that_nobody_renews_are_told() -> None:
    found = ejection.ejected_units(hello(schedule="at 09:00 except 12-24..12-26"), SYSTEM)
    assert any(" has dates until 20" in note for note in found.notes)
    assert not any("nights" in note for note in found.notes)
