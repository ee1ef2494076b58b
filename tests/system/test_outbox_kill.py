"""The supervisor dies again and again, the server is away, and every alert arrives as one."""

from __future__ import annotations

import json
import random
import time
from datetime import datetime, timedelta, timezone
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pytest
from campaign import rounds
from inbox import Inbox

from lunasched.history import alerting
from lunasched.history.alerting import Outage
from lunasched.jobs.model import Job, NotifyEvent
from lunasched.jobs.reading import job_from_mapping

if TYPE_CHECKING:
    from collections.abc import Iterator

    from installed import Lunasched
    from machine import Machine

pytestmark = [pytest.mark.machine, pytest.mark.slow, pytest.mark.campaign]

JOBS = 10
RUNS = rounds(150, 300)
FAILURES = RUNS * 2 // 3

# Fails twice, succeeds, fails twice, ...
COMMAND = """\
n=$(cat /tmp/outbox-{0} 2>/dev/null || echo 0)
echo $((n + 1)) > /tmp/outbox-{0}
[ $((n % 3)) = 2 ]
"""
DRIVER = f"""
for turn in $(seq {RUNS // JOBS}); do
    for job in $(seq {JOBS}); do
        systemctl start "lunasched-job@outbox-$job.service" || true
    done
    sleep 0.1
done
"""


@pytest.fixture
def server(booted: Machine) -> Iterator[Inbox]:
    made = Inbox(booted)
    yield made
    made.stop()


def definition(number: int, server: Inbox) -> dict[str, Any]:
    """Quiet jobs, jobs with frequent reminders, and jobs that tell each failure."""
    policy = ({}, {"remind_every": 1}, {"every_failure": True})[number % 3]
    here = {"type": "webhook", "url": server.url(f"outbox-{number}")}
    return {
        "name": f"outbox-{number}",
        "schedule": "every 1d",
        "command": COMMAND.format(number),
        "notification_config": {"on_failure": here, **policy},
    }


def microseconds(stamp: str) -> int:
    at = datetime.fromisoformat(stamp.replace("Z", "+00:00"))
    return (at - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(microseconds=1)


def promised(job: Job, runs: list[dict[str, Any]]) -> list[str]:
    """The keys of the alerts that the job's policy promises for these runs, in their order."""
    outage: Outage | None = None
    keys = []
    for run in runs:
        at = microseconds(run["ended_at"])
        if run["result"] == "success":
            decision = alerting.succeeded(job.notifications, outage, at)
            event = NotifyEvent.ON_RECOVERY
        else:
            decision = alerting.failed(job.notifications, outage, at, heard=True)
            event = NotifyEvent.ON_FAILURE
        outage = decision.outage
        if decision.alert is not None:
            (channel,) = job.notifications.channels(event)
            cause = run["execution_id"].replace("-", "")
            keys.append(alerting.notification_key(cause, event.value, channel.key))
    return keys


def test_failures_through_repeated_sigkill_and_a_server_that_is_away(
    luna: Lunasched, server: Inbox, rng: random.Random
) -> None:
    machine = luna.machine
    machine.write_file(
        "/etc/lunasched/config.yaml", json.dumps({"notifications": {"max_per_hour": 0}})
    )
    jobs = [definition(number, server) for number in range(1, JOBS + 1)]
    machine.write_file("/tmp/outbox.yaml", json.dumps({"jobs": jobs}))
    luna("import-config", "/tmp/outbox.yaml")
    driver = machine.popen(DRIVER)
    kills = 0
    began = time.monotonic()
    away, back = rng.uniform(4, 8), rng.uniform(14, 18)
    while driver.poll() is None or time.monotonic() - began < back + 1 or kills < 5:
        time.sleep(rng.uniform(0.1, 1.5))
        machine.exec("systemctl kill -s KILL lunasched; systemctl start lunasched", check=False)
        kills += 1
        if away and time.monotonic() - began > away:
            server.stop()
            away = 0.0
        if back and time.monotonic() - began > back:
            server.start()
            back = 0.0
    machine.exec("systemctl start lunasched")
    history = {job["name"]: luna.wait_for_runs(job["name"], RUNS // JOBS, 60)[::-1] for job in jobs}
    results = [run["result"] for runs in history.values() for run in runs]
    assert (len(results), results.count("exit-code")) == (RUNS, FAILURES)

    def open_messages() -> list[dict[str, Any]]:
        told = luna.json("notifications", "--all")
        return [one for one in told if one["state"] != "sent" and one["job"] in history]

    machine.wait_for(lambda: not open_messages(), 240, what="all messages sent", interval=1)
    for mapping in jobs:
        job = job_from_mapping(mapping)
        expected = promised(job, history[job.name])
        received = server.requests(job.name)
        # Each of them, in this order, some perhaps more than once, and nothing else.
        assert list(dict.fromkeys(one["key"] for one in received)) == expected
        told = luna.json("notifications", job.name, "--all")
        assert sorted(one["id"] for one in told) == sorted(expected)
        # Sent again is sent again with the same words.
        by_key = sorted(received, key=lambda one: str(one["key"]))
        for _, same in groupby(by_key, key=lambda one: str(one["key"])):
            assert len({one["body"] for one in same}) == 1
    machine.exec("rm /etc/lunasched/config.yaml; systemctl restart lunasched")
