"""What ``get`` shows of a definition: every field that says something, and no default."""

from __future__ import annotations

import dataclasses

from jobdefinitions import EVERY_FIELD

from lunasched.jobs.model import ExecutionMode, Job, Overlap
from lunasched.units.summary import rows

LEAST = Job(name="backup", schedule="every 1h", command="true")


def shown(job: Job) -> dict[str, str]:
    return {
        key: value
        for key, value in rows(job, host_timezone="UTC", default_user="root").items()
        if value
    }


def test_defaults_that_say_nothing_are_left_out() -> None:
    assert list(shown(LEAST)) == [
        "Name", "Schedule", "Time zone", "Command", "User", "Directory", "Priority", "Enabled",
    ]  # fmt: skip


def test_every_field_that_differs_is_shown() -> None:
    for field in dataclasses.fields(Job):
        if field.name == "max_concurrent":
            continue  # it is shown with its mode
        changed = LEAST.evolve(**{field.name: getattr(EVERY_FIELD, field.name)})
        assert changed == LEAST or shown(changed) != shown(LEAST), field.name
    for part in ("limits", "retry", "hooks"):
        value = getattr(EVERY_FIELD, part)
        for field in dataclasses.fields(value):
            without = dataclasses.replace(value, **{field.name: field.default})
            # test_keys.py shows each row, those of fields without a value here included.
            assert without == value or shown(EVERY_FIELD) != shown(
                EVERY_FIELD.evolve(**{part: without})
            ), field.name


def test_how_they_read() -> None:
    found = shown(EVERY_FIELD)
    assert found["Retries"] == (
        "up to 4 attempts, Linear, 30s to 300s apart, "
        "only after exit code 1, 75, not after exit code 2"
    )
    assert found["Hooks"].splitlines()[1:] == [
        "on_success=/bin/true 'a b'",
        "on_failure=logger failed",
        "on_retry=logger again",
        "(at most 120s each)",
    ]
    assert found["Mode"] == "Parallel, at most 4 at a time"
    assert found["Depends on"] == "dump\nmount"
    assert found["Sandbox"] == "read_only_paths=/etc -/srv\nprivate_tmp=true\numask=027"
    assert found["systemd"] == "BindPaths=/a /b:/c\nLimitNOFILE=1024\nPrivateMounts=yes"
    assert shown(LEAST.evolve(overlap=Overlap.SKIP))["Mode"] == "Sequential, overlap: skip"
    assert shown(LEAST.evolve(mode=ExecutionMode.EXCLUSIVE))["Mode"] == "Exclusive"
