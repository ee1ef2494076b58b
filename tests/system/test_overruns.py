"""A run that goes on while slots of its job pass: shown, told, on record."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from installed import Lunasched

pytestmark = pytest.mark.machine

MARK = "/tmp/{name}.hung"


def add(luna: Lunasched, schedule: str, **keys: Any) -> None:
    """A job that hangs the first time, and tells of it after some seconds.

    Those are more than its other runs take on a busy machine.
    """
    mark = MARK.format(name=luna.name)
    told = {
        "on_failure": {"type": "exec", "command": f"cat >>/tmp/{luna.name}.told"},
        "overrun_after": 3 + 3 * round(luna.pace()),
    }
    job = {
        "name": luna.name,
        "schedule": schedule,
        "command": f"[ -e {mark} ] || {{ touch {mark}; exec sleep 900; }}",
        "notification_config": told,
        **keys,
    }
    luna.machine.write_file(f"/tmp/{luna.name}.yaml", json.dumps({"jobs": [job]}))
    luna.machine.exec(f"chmod 644 /tmp/{luna.name}.yaml; rm -f {mark} /tmp/{luna.name}.told")
    luna("import-config", f"/tmp/{luna.name}.yaml")


def messages(luna: Lunasched) -> list[dict[str, Any]]:
    return luna.json("notifications", luna.name, "--all")[::-1]  # type: ignore[no-any-return]


def wait_for_messages(luna: Lunasched, number: int) -> None:
    try:
        luna.machine.wait_for(
            lambda: [one["state"] for one in messages(luna)] == ["sent"] * number,
            40,
            what=f"{number} messages and no more",
            interval=0.3,
        )
    except TimeoutError as error:
        raise AssertionError(f"{messages(luna)}\n{luna.history(luna.name)[-4:]}") from error
    assert {one["event"] for one in messages(luna)} == {"on_overrun"}


def running(luna: Lunasched) -> dict[str, Any]:
    (job,) = [job for job in luna.json("list") if job["name"] == luna.name]
    return job["last_run"]  # type: ignore[no-any-return]


def check_one_that_hangs(luna: Lunasched, schedule: str) -> None:
    add(luna, schedule)
    wait_for_messages(luna, 1)
    run = running(luna)
    assert run["result"] is None
    assert run["overrun"]["count"] >= 2
    assert "slots passed" in luna("list").stdout
    assert "slots passed" in luna("get", luna.name).stdout
    doctor = json.loads(luna("doctor", "--json", check=False).stdout)
    said = [one["what"] for one in doctor["findings"] if one["check"] == "runs"]
    assert any(luna.name in what and "has been running for" in what for what in said), said
    gauge = f'lunasched_job_overrun_slots{{job_id="{luna.name}"}}'
    text = luna("metrics").stdout
    assert any(line.startswith(gauge) and not line.endswith(" 0") for line in text.splitlines())
    # Another supervisor knows what was told.
    user = "--user " if luna.user else ""
    luna.machine.run(f"systemctl {user}restart lunasched", user=luna.user)
    luna("stop", luna.name)
    wait_for_messages(luna, 2)
    luna("disable", luna.name)
    (ended,) = [run for run in luna.history(luna.name) if run["result"] == "stopped"]
    overrun = ended["overrun"]
    assert overrun["count"] >= run["overrun"]["count"]
    assert ended["started_at"] < overrun["first_at"] <= overrun["last_at"] <= ended["ended_at"]
    # systemd starts what was due meanwhile, once and right away: of a calendar, for the last of it.
    after = [run for run in luna.history(luna.name) if run["started_at"] > ended["started_at"]]
    if schedule.startswith("calendar"):
        slot = after[-1]["scheduled_at"]
        # One may come between the end and the start.
        assert slot == overrun["last_at"] or slot > ended["ended_at"]
    text = luna.machine.run(["cat", f"/tmp/{luna.name}.told"], user=luna.user).stdout
    assert f"{luna.name} has been running for" in text
    assert f"stop {luna.name}" in text
    assert f"{luna.name} is over on" in text
    assert "stopped by hand" in text


@pytest.mark.parametrize("schedule", ["calendar:*:*:0/2", "every 2s"])
def test_a_run_that_hangs_is_told_of_when_it_does_and_when_it_is_over(
    luna: Lunasched, schedule: str
) -> None:
    check_one_that_hangs(luna, schedule)


def test_so_is_one_of_a_user(own: Lunasched) -> None:
    check_one_that_hangs(own, "calendar:*:*:0/2")


def test_a_start_that_waits_behind_one_that_hangs_is_told_of(luna: Lunasched) -> None:
    other = f"{luna.name}-exclusive"
    luna(
        *("add", "--name", other, "--schedule", "every 1d", "--command", "sleep 900"),
        *("--execution-mode", "Exclusive"),
    )
    luna("start", other)
    # It shall not hang itself.
    add(luna, "calendar:*:*:0/2", command="true")
    wait_for_messages(luna, 1)
    doctor = json.loads(luna("doctor", "--json", check=False).stdout)
    said = [one["what"] for one in doctor["findings"] if one["check"] == "runs"]
    assert any(luna.name in what and "waiting for its turn" in what for what in said), said
    luna("stop", other)
    wait_for_messages(luna, 2)
    luna("disable", luna.name)
    text = luna.machine.run(["cat", f"/tmp/{luna.name}.told"]).stdout
    assert f"{luna.name} has been waiting for its turn for" in text
    assert f"{luna.name} is over on" in text
    first = luna.history(luna.name)[-1]
    assert (first["result"], first["overrun"]["count"] >= 2) == ("success", True)


@pytest.mark.parametrize(
    "keys",
    [{"overlap": "replace"}, {"execution_mode": "Parallel"}, {"schedule": "every 1h"}],
    ids=str,
)
def test_where_no_slot_passes_nothing_is_told(luna: Lunasched, keys: dict[str, str]) -> None:
    add(luna, **{"schedule": "calendar:*:*:0/2", **keys})
    if "schedule" in keys:
        luna("start", luna.name)
    # The first run hangs; those after it are over at once, where there are any.
    luna.machine.wait_for(
        lambda: len(luna.history(luna.name)) >= (1 if "schedule" in keys else 6),
        40,
        what="runs",
        interval=0.3,
    )
    first = luna.history(luna.name)[-1]
    assert first["overrun"] is None
    assert messages(luna) == []
    luna("disable", luna.name)
    luna.machine.run(f"systemctl stop 'lunasched-job@{luna.name}*'")
