"""Jobs of root's that become another user by ``su`` and the like, and so leave their unit."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from installed import Lunasched
    from machine import Machine

pytestmark = pytest.mark.machine

YEARLY = ("--schedule", "@yearly")

# Opens a stream of the job's identifier, as systemd does it for a unit.
FORGE = """
import socket, sys
identifier, unit = sys.argv[1:]
with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as out:
    out.connect("/run/systemd/journal/stdout")
    out.sendall(f"{identifier}\\n{unit}\\n6\\n1\\n0\\n0\\n0\\nFORGED\\n".encode())
"""


def add(luna: Lunasched, command: str, *options: str, name: str | None = None) -> str:
    return str(
        luna("add", "--name", name or luna.name, *YEARLY, "--command", command, *options).stderr
    )


def shown(luna: Lunasched) -> list[str]:
    """The output of the newest run, in each of the ways in which it can be looked at."""
    luna.machine.run("journalctl --sync")
    run = luna.wait_for_runs(luna.name, 1)[0]
    ways = [("logs", luna.name), ("logs", luna.name, "--execution", run["execution_id"])]
    return [run["output"], *(str(luna(*way).stdout) for way in ways)]


@pytest.mark.parametrize(
    "command",
    [
        # Nothing but the session prints; what it ends with is the run's.
        "su - luna -c 'echo first; sleep 0.2; echo THE REASON >&2; exit 3'",
        "su luna -c 'echo first; sleep 0.2; echo THE REASON >&2; exit 3'",
        "runuser -l luna -c 'echo first; sleep 0.2; echo THE REASON >&2; exit 3'",
        # The command does not name the user.
        "W=luna; su - $W -c 'echo first; sleep 0.2; echo THE REASON >&2'; exit 3",
        # The unit prints by the same stream.
        "W=luna; runuser -l $W -c 'echo first; sleep 0.2; echo THE REASON >&2'; echo x; exit 3",
    ],
    ids=["su-login", "su", "runuser-login", "su-variable", "runuser-variable"],
)
def test_what_a_session_prints_is_the_output_of_the_run(luna: Lunasched, command: str) -> None:
    add(luna, command)
    waited = luna("start", luna.name, "--wait", check=False)
    assert waited.returncode == 3
    ways = ("start --wait", "history", "logs", "logs --execution")
    for way, text in zip(ways, (waited.stdout, *shown(luna)), strict=True):
        lines = [line.rpartition("]: ")[2] for line in text.splitlines()]
        said = [line for line in lines if line in ("first", "THE REASON")]
        assert (way, said) == (way, ["first", "THE REASON"]), text


def test_what_moves_itself_into_a_scope_prints_for_the_run(luna: Lunasched) -> None:
    add(luna, "echo unit; systemd-run -q --scope sh -c 'echo scope; sleep 0.2; exit 3'")
    waited = luna("start", luna.name, "--wait", check=False)
    output, _, of_run = shown(luna)
    assert (waited.stdout, output) == ("unit\nscope\n", "unit\nscope\n")
    assert "]: scope\n" in of_run


def test_what_the_unit_prints_at_its_end_shows_what_came_before_from_elsewhere(
    luna: Lunasched,
) -> None:
    """journald is late for the only line that is the unit's: its writer has ended."""
    machine, journald = luna.machine, "systemd-journald.service"
    scope = "systemd-run -q --scope sh -c 'echo scope; sleep 0.2'"
    add(luna, f"{scope}; systemctl kill -s STOP {journald}; echo unit; exit 3")
    luna("start", luna.name)
    unit = f"lunasched-job@{luna.name}.service"
    machine.wait_for(f"systemctl is-failed {unit}")
    machine.exec(f"systemctl kill -s CONT {journald}")
    for text in shown(luna):
        lines = [line.rpartition("]: ")[2] for line in text.splitlines()]
        assert [line for line in lines if line in ("scope", "unit")] == ["scope", "unit"], text


def test_a_user_whom_the_run_has_not_entered_writes_nothing_into_it(luna: Lunasched) -> None:
    """Nor does the one whom it has entered, outside of the sessions that were opened meanwhile."""
    machine, gate = luna.machine, f"/run/{luna.name}.gate"
    machine.run(f"id other || useradd -m other; mkfifo -m 666 {gate}")
    machine.write_file("/tmp/forge-stream.py", FORGE)
    add(luna, f"su - luna -c 'echo real; cat {gate}; exit 3'")
    luna("start", luna.name)
    machine.wait_for(
        lambda: (
            machine.run("journalctl -q -n 1 -g ^real$ -t " + luna.name, check=False).stdout != ""
        ),
        what="the output of the session",
    )
    words = shlex.join(
        ["python3", "/tmp/forge-stream.py", luna.name, f"lunasched-job@{luna.name}.service"]
    )
    # In a session of their own, from a service, and from their own manager's.
    machine.run(f"su - other -c {shlex.quote(words)}; runuser -u luna -- {words}")
    machine.run(words, user="luna")
    machine.run(f"journalctl --sync; echo gate >{gate}")
    for text in shown(luna):
        assert "real" in text
        assert "gate" in text
        assert "FORGED" not in text
    assert machine.run(f"journalctl -q -g FORGED -t {luna.name} -o cat").stdout.count("FORGED") == 3


def test_two_runs_of_one_job_have_each_its_own_output(luna: Lunasched) -> None:
    """What an earlier run has left behind prints on while the next one runs."""
    machine, gate = luna.machine, f"/run/{luna.name}.gate"
    machine.run(f"mkfifo -m 666 {gate}")
    begun = f"/tmp/{luna.name}.begun"
    left = f"su - luna -c 'echo one; touch {begun}; cat {gate}' & until [ -e {begun} ]; do :; done"
    add(luna, f"test -e /run/{luna.name}.second && su - luna -c 'echo two' || {{ {left}; }}")
    luna("start", luna.name, "--wait")
    machine.run(f"touch /run/{luna.name}.second")
    machine.run(f"echo late >{gate}")
    luna("start", luna.name, "--wait")
    second, first = luna.wait_for_runs(luna.name, 2)
    assert "one" in first["output"].splitlines()
    assert "two" in second["output"].splitlines()
    assert "one" not in second["output"].splitlines()
    assert "late" not in second["output"].splitlines()


def test_what_is_lost_is_said_with_what_to_write(luna: Lunasched) -> None:
    """When the job is added and imported, and by doctor ever after."""
    better = "--run-as luna (in a file, user: luna), with the command 'a b'"
    assert better in add(luna, "su - luna -c 'a b'")
    assert "warning" not in add(luna, "runuser -u luna -- id", name=f"{luna.name}-stays")
    luna.machine.write_file("/tmp/crontab", "5 4 * * 0 runuser -l luna -c 'a b'\n")
    imported = luna("import-crontab", "/tmp/crontab", "--user-format", "--dry-run")
    assert better in imported.stderr
    (found,) = [one for one in luna.json("doctor")["findings"] if one["check"] == "sessions"]
    assert (found["severity"], luna.name in found["what"]) == ("warning", True)
    assert better in found["why"]


SLEEPS = "sleep 1000071"


def sleepers(luna: Lunasched) -> list[str]:
    return str(luna.machine.run(f"pgrep -f '^{SLEEPS}$'", check=False).stdout).split()


@pytest.fixture
def no_sleepers(booted: Machine) -> Iterator[None]:
    yield
    booted.run(f"pkill -KILL -f '^{SLEEPS}$'", check=False)


@pytest.mark.usefixtures("no_sleepers")
@pytest.mark.parametrize(
    ("command", "unit"),
    [
        (f"su - luna -c '{SLEEPS}'; id", "session-"),
        (f"su - luna -c '{SLEEPS}' & wait", "session-"),
        # The parent is gone, and the output says whose it is.
        (f"sh -c 'runuser -l luna -c \"{SLEEPS}\" &'; sleep 1000072", "session-"),
        (f"systemd-run -q --scope sh -c '{SLEEPS}; id' & wait", "run-"),
    ],
    ids=["su", "su-background", "runuser-orphan", "scope"],
)
def test_stop_says_what_it_leaves_behind(luna: Lunasched, command: str, unit: str) -> None:
    add(luna, command)
    luna("start", luna.name)
    luna.machine.wait_for(lambda: bool(sleepers(luna)), what="the sleeper")
    (pid,) = sleepers(luna)
    stopped = luna("stop", luna.name, check=False)
    assert stopped.returncode == 1
    assert f"sleep ({pid})" in stopped.stderr
    assert f" in {unit}" in stopped.stderr
    assert "Stopped" not in stopped.stdout
    # What it says to do helps.
    luna.machine.run(stopped.stderr.rpartition("to end them: ")[2])
    luna.machine.wait_for(lambda: not sleepers(luna), what="the end of the sleeper")


@pytest.mark.usefixtures("no_sleepers")
def test_stop_that_leaves_nothing_behind_says_so(luna: Lunasched) -> None:
    add(luna, f"{SLEEPS} & {SLEEPS}")
    luna("start", luna.name)
    luna.machine.wait_for(lambda: len(sleepers(luna)) == 2, what="the sleepers")
    assert luna("stop", luna.name).stdout == f"Stopped job {luna.name!r}.\n"
    (run,) = luna.wait_for_runs(luna.name, 1)
    assert run["result"] == "stopped"
    assert "goes on" not in run["output"]


@pytest.mark.usefixtures("no_sleepers")
@pytest.mark.parametrize(
    ("command", "words"),
    [
        (f"su - luna -c '{SLEEPS}'; id", ("su (", "sleep (", " in session-", "systemctl stop")),
        # Nothing but the command tells of it.
        (f"runuser -l luna -c '{SLEEPS}'; id", ("by it or by another", "sleep (", " in session-")),
        (
            f"runuser -l luna -c 'echo x; {SLEEPS}'; id",
            ("sleep (", " in session-", "systemctl stop session-"),
        ),
        (
            f"echo x; systemd-run -q --scope sh -c 'echo y; {SLEEPS}; id' & wait",
            ("sleep (", " in run-", "systemctl stop run-"),
        ),
    ],
    ids=["su", "runuser-silent", "runuser", "scope"],
)
def test_a_timeout_says_what_it_leaves_behind(
    luna: Lunasched, command: str, words: tuple[str, ...]
) -> None:
    # Time enough to open the session.
    add(luna, command, "--timeout", f"{2 + 3 * luna.pace():.1f}")
    luna("start", luna.name, "--wait", check=False)
    (run,) = luna.wait_for_runs(luna.name, 1)
    assert run["result"] == "timeout"
    said = run["output"].splitlines()[-1]
    assert said.startswith("[lunasched: the run is over, and ")
    for word in words:
        assert word in said
    (pid,) = sleepers(luna)
    assert f"sleep ({pid})" in said
    if "to end them: " in said:
        luna.machine.run(said.rpartition("to end them: ")[2].rstrip("]"))
        luna.machine.wait_for(lambda: not sleepers(luna), what="the end of the sleeper")


@pytest.mark.usefixtures("no_sleepers")
def test_what_survives_a_stop_in_the_unit_itself_is_told(luna: Lunasched) -> None:
    """As a process does that waits for a disk; here nothing kills it."""
    add(luna, f"trap '' TERM; {SLEEPS}; id")
    unit = f"lunasched-job@{luna.name}.service"
    luna.machine.write_file(
        f"/run/systemd/system/{unit}.d/survive.conf",
        "[Service]\nSendSIGKILL=no\nTimeoutStopSec=500ms\n",
    )
    luna.machine.run("systemctl daemon-reload")
    luna("start", luna.name)
    luna.machine.wait_for(lambda: bool(sleepers(luna)), what="the sleeper")
    (pid,) = sleepers(luna)
    stopped = luna("stop", luna.name, check=False)
    (run,) = luna.wait_for_runs(luna.name, 1)
    assert stopped.returncode == 1
    assert run["result"] == "stopped"
    for said in (stopped.stderr, run["output"].splitlines()[-1]):
        assert f"sleep ({pid}) in {unit}; to end them: systemctl kill --signal=KILL {unit}" in said
    luna.machine.run(stopped.stderr.rpartition("to end them: ")[2])
    luna.machine.wait_for(lambda: not sleepers(luna), what="the end of the sleeper")


@pytest.mark.usefixtures("no_sleepers")
def test_the_message_about_a_timeout_says_what_goes_on(luna: Lunasched) -> None:
    told = f"/tmp/{luna.name}.told"
    job = {
        "name": luna.name,
        "schedule": "@yearly",
        "command": f"su - luna -c '{SLEEPS}'; id",
        # Time enough to open the session.
        "resource_limits": {"timeout_seconds": 1 + 3 * round(luna.pace())},
        "notification_config": {
            "on_failure": {"type": "exec", "command": f"cat >{told}.part; mv {told}.part {told}"}
        },
    }
    # JSON is YAML.
    luna.machine.write_file(f"/tmp/{luna.name}.yaml", json.dumps({"jobs": [job]}))
    luna("import-config", f"/tmp/{luna.name}.yaml")
    luna("start", luna.name, "--wait", check=False)
    luna.machine.wait_for(f"[ -e {told} ]", 60, what="the message")
    (pid,) = sleepers(luna)
    message = luna.machine.run(["cat", told]).stdout
    assert f"sleep ({pid})" in message
    assert "systemctl stop session-" in message


@pytest.mark.usefixtures("no_sleepers")
def test_in_user_mode_a_scope_is_told_too(own: Lunasched) -> None:
    add(own, f"echo x; systemd-run --user -q --scope sh -c 'echo y; {SLEEPS}; id' & wait")
    own("start", own.name)
    own.machine.wait_for(lambda: bool(sleepers(own)), what="the sleeper")
    (pid,) = sleepers(own)
    stopped = own("stop", own.name, check=False)
    (run,) = own.wait_for_runs(own.name, 1)
    assert stopped.returncode == 1
    assert run["output"].startswith("x\ny\n")
    for said in (stopped.stderr, run["output"].splitlines()[-1]):
        assert f"sleep ({pid}) in run-" in said
        assert "systemctl --user stop run-" in said
