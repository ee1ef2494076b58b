"""The jobs of a crontab that lunasched serves: deployed as one change, and changed there alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from installed import Lunasched

pytestmark = pytest.mark.machine

SOURCE = "/var/spool/cron/crontabs/luna"
SERVE = """
import json, sys
sys.path.insert(0, "/opt/lunasched")
from lunasched.cli.session import Session
from lunasched.deploy.servedcrontabs import serve
from lunasched.transfer.crontab import CronFormat, CrontabSource

session = Session.choose(True)
path, prefix = sys.argv[1:]
source = CrontabSource(path, CronFormat.USER, prefix=prefix, user="luna")
put = lambda entries: session.deployer.put_sources(entries, now=session.now())
done, faults = serve(put, [(sys.stdin.buffer.read(), source)])
plan = done.plan
print(json.dumps({
    "added": [job.name for job in plan.added],
    "changed": [job.name for job, _ in plan.changed],
    "removed": [job.name for job in plan.removed],
    "unchanged": [job.name for job in plan.unchanged],
    "origins": {name: one.label for name, one in session.store.jobs.origins().items()},
    "faults": [(fault.line, fault.message) for fault in faults],
}))
"""


def serve(luna: Lunasched, text: str) -> dict[str, Any]:
    done = luna.machine.exec(["python3", "-c", SERVE, SOURCE, luna.name], input=text)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(autouse=True)
def _crontab(luna: Lunasched) -> Iterator[None]:
    """There is none at the end, whatever else there is."""
    yield
    serve(luna, "")


def timers(luna: Lunasched) -> set[str]:
    listed = luna.machine.run("systemctl list-timers --no-legend --no-pager --plain").stdout
    return {
        word.removeprefix("lunasched-job@").removesuffix(".timer")
        for word in listed.split()
        if word.startswith(f"lunasched-job@{luna.name}")
    }


def test_a_crontab_becomes_timers_and_each_edit_changes_its_own(luna: Lunasched) -> None:
    base = luna.name
    text = "0 4 * * * backup a\n61 * * * * bad\n\n5 5 * * * report\n"
    found = serve(luna, text)
    assert found["added"] == [f"{base}-backup", f"{base}-report"]
    assert found["origins"] == {
        f"{base}-backup": "crontab of luna:1", f"{base}-report": "crontab of luna:4",
    }  # fmt: skip
    assert [line for line, _ in found["faults"]] == [2]
    assert timers(luna) == {f"{base}-backup", f"{base}-report"}
    # A line that moves is the same job, and its timer is not touched.
    since = ["systemctl", "show", f"lunasched-job@{base}-report.timer", "-P"]
    begun = luna.machine.run([*since, "ActiveEnterTimestampMonotonic"]).stdout
    found = serve(luna, "5 5 * * * report\n0 4 * * * backup --more a\n")
    assert (found["unchanged"], found["changed"]) == ([f"{base}-report"], [f"{base}-backup"])
    assert found["origins"][f"{base}-report"] == "crontab of luna:1"
    assert luna.machine.run([*since, "ActiveEnterTimestampMonotonic"]).stdout == begun
    found = serve(luna, "5 5 * * * report\n")
    assert found["removed"] == [f"{base}-backup"]
    assert timers(luna) == {f"{base}-report"}
    assert serve(luna, "")["origins"] == {}
    assert timers(luna) == set()


def test_nothing_else_changes_a_job_of_a_crontab(luna: Lunasched) -> None:
    name = f"{luna.name}-nightly"
    serve(luna, "0 4 * * * /bin/nightly\n")
    luna("add", "--name", luna.name, "--schedule", "@yearly", "--command", "true")
    refused = f"the job '{name}' comes from a crontab (crontab of luna:1)"
    for command in (
        ("remove", name),
        ("eject", name),
        ("add", "--replace", "--name", name, "--schedule", "@yearly", "--command", "x"),
    ):
        done = luna(*command, check=False)
        assert (done.returncode, refused in done.stderr) == (2, True), done.stderr
    # Where the crontab is, the job is there already.
    done = luna("export-config")
    assert luna.name in done.stdout and name not in done.stdout
    assert "without the jobs of crontabs, of which there are 1" in done.stderr
    assert name in luna("export-config", name).stdout
    # A file of all jobs leaves it, and a sync finds all as it should be.
    luna("apply", "--prune", "--allow-empty", "--format", "yaml", "/dev/null")
    assert timers(luna) == {name}
    assert "as it should be" in luna("sync").stdout
    luna("disable", name)
    assert timers(luna) == set()


def test_its_runs_are_those_of_cron(luna: Lunasched) -> None:
    """With an exit code that is no failure, and what it left in the background lives on."""
    proof = f"/tmp/{luna.name}"
    found = serve(luna, f"0 4 * * * sleep 600 & echo $! >{proof}; id -un; exit 3\n")
    (name,) = found["added"]
    luna("start", name, "--wait")
    (run,) = luna.wait_for_runs(name, 1)
    assert (run["result"], run["exit_code"], run["output"]) == ("success", 3, "luna\n")
    left = luna.machine.read_file(proof).strip()
    assert luna.machine.exec(["ps", "-o", "comm=", left]).stdout == "sleep\n"
    luna.machine.exec(["kill", left])
