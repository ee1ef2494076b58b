"""Limits and priorities, as measured and as seen from inside a job."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from lunasched.formats import unitfile

if TYPE_CHECKING:
    from installed import Lunasched

pytestmark = pytest.mark.machine

YEARLY = ("--schedule", "@yearly")
PYTHON = ("--", "/usr/bin/python3", "-c")

DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"

# Forks until it may not, then computes for 0.3 s of a processor and tells its share of one.
MEASURE = """
import json, os, resource, time
children = []
try:
    while len(children) < 200:
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
        children.append(child)
except BlockingIOError:
    pass
for child in children:
    os.kill(child, 9)
    os.waitpid(child, 0)
begin, used = time.monotonic(), time.process_time()
while time.process_time() < used + 0.3:
    sum(range(10_000))
share = (time.process_time() - used) / (time.monotonic() - begin)
print(json.dumps({
    "children": len(children),
    "share": share,
    "nice": os.nice(0),
    "oom_score_adj": int(open("/proc/self/oom_score_adj").read()),
    "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
}))
"""


def measured(luna: Lunasched, *definition: str) -> dict[str, Any]:
    """What a job of this definition measures of itself."""
    luna("add", "--name", luna.name, *YEARLY, *definition, *PYTHON, MEASURE)
    luna("start", luna.name, "--wait")
    (run,) = luna.wait_for_runs(luna.name, 1)
    return json.loads(run["output"])  # type: ignore[no-any-return]


def test_what_ignores_sigterm_is_killed(luna: Lunasched) -> None:
    # The machine shortens the same time for all jobs on cgroup v1: not for this one.
    directory = f"/run/systemd/system/lunasched-job@{luna.name}.service.d"
    luna.machine.run(f"mkdir {directory}; ln -s /dev/null {directory}/cgroup-v1.conf")
    limits = ("--timeout", "1", "--kill-after", "1500ms")
    luna("add", "--name", luna.name, *YEARLY, *limits, *PYTHON, DEAF)
    assert luna("start", luna.name, "--wait", check=False).returncode == 128 + 9
    (run,) = luna.wait_for_runs(luna.name, 1)
    assert (run["result"], run["exit_code"], run["signal"]) == ("timeout", None, 9)
    assert run["duration_ms"] >= 2400
    stop = f"systemctl show -P TimeoutStopUSec lunasched-job@{luna.name}.service"
    assert unitfile.timespan(luna.machine.run(stop).stdout.strip()) == 1.5


def test_limits_and_a_low_priority(luna: Lunasched) -> None:
    found = measured(
        luna,
        *("--tasks-max", "12", "--cpu-quota", "10%", "--io-weight", "50", "--priority", "low"),
        *("--systemd", "LimitNOFILE=77"),
    )
    # Itself is one of the tasks.
    assert found["children"] == 11
    assert found["share"] < 0.17
    assert (found["nice"], found["oom_score_adj"], found["files"]) == (10, 500, 77)
    weights = "systemctl show -P CPUWeight -P IOWeight lunasched-job@{}.service"
    assert luna.machine.run(weights.format(luna.name)).stdout.split() == ["30", "50"]


def test_without_limits_there_are_none(luna: Lunasched) -> None:
    found = measured(luna)
    assert found["children"] == 200
    assert (found["nice"], found["oom_score_adj"]) == (0, 0)
    quota = f"systemctl show -P CPUQuotaPerSecUSec lunasched-job@{luna.name}.service"
    assert luna.machine.run(quota).stdout == "infinity\n"


def test_a_directive_that_systemd_does_not_know_is_not_deployed(luna: Lunasched) -> None:
    definition = ("--systemd", "LimitNofile=77", "--command", "true")
    done = luna("add", "--name", luna.name, *YEARLY, *definition, check=False)
    assert done.returncode == 2
    assert "systemd.LimitNofile: Unknown key" in done.stderr
    assert luna("get", luna.name, check=False).returncode == 3


def test_a_high_priority(luna: Lunasched) -> None:
    luna(
        *("add", "--name", luna.name, *YEARLY, "--priority", "critical"),
        *("--command", "nice; cat /proc/self/oom_score_adj"),
    )
    luna("start", luna.name, "--wait")
    (run,) = luna.wait_for_runs(luna.name, 1)
    nice, score = run["output"].split()
    assert nice == "-10"
    # Where the machine itself may not lower it (no CAP_SYS_RESOURCE), systemd leaves it.
    allowed = luna.machine.exec("echo -500 >/proc/self/oom_score_adj", check=False).returncode == 0
    assert score == ("-500" if allowed else "0")
