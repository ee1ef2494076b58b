"""Something that runs once, at a time or now: on record like any run, and gone afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lunasched.errors import ExitCode

if TYPE_CHECKING:
    from installed import Lunasched

pytestmark = pytest.mark.machine


def units(luna: Lunasched) -> str:
    listed = luna.machine.exec("ls /etc/systemd/system /var/lib/lunasched/slots").stdout
    return "\n".join(line for line in listed.splitlines() if luna.name in line)


def wait_until_gone(luna: Lunasched, name: str) -> None:
    luna.machine.wait_for(
        lambda: name not in luna("list", "--names").stdout.split(), what=f"{name} to be removed"
    )


def test_at_a_time_with_what_at_remembers(luna: Lunasched) -> None:
    machine, name = luna.machine, luna.name
    machine.exec("mkdir -p /srv/at")
    done = machine.run(
        f"cd /srv/at; umask 027; export A='x y'; echo 'pwd; umask; echo \"$A\"; exit 3' | "
        f"lunasched at 'now + 3s' --name {name}"
    )
    assert f"Job {name!r} runs once, at " in done.stdout
    assert "this directory, umask 027 and " in done.stderr
    assert "A=x" not in machine.exec(f"systemctl show lunasched-job@{name}.service").stdout
    (run,) = luna.wait_for_runs(name, 1)
    assert (run["trigger"], run["result"], run["exit_code"]) == ("timer", "exit-code", 3)
    assert run["scheduled_at"] is not None
    wait_until_gone(luna, name)
    assert units(luna) == ""
    output = machine.exec(f"lunasched logs {name}").stdout
    assert "/srv/at\n" in output
    assert "0027\n" in output
    assert "x y\n" in output
    assert luna.history(name)[0]["execution_id"] == run["execution_id"]


def test_now_with_its_exit_code_retry_and_hook(luna: Lunasched) -> None:
    name = luna.name
    done = luna("run", "--name", name, "--wait", "--", "sh", "-c", "echo out; exit 7", check=False)
    assert (done.returncode, done.stdout) == (7, "out\n")
    wait_until_gone(luna, name)
    assert units(luna) == ""

    retried = f"{name}-retried"
    options = ("--max-retries", "1", "--retry-delay", "2s", "--on-failure", "echo hooked")
    luna("run", "--name", retried, *options, "--", "false")
    runs = luna.wait_for_runs(retried, 2)
    assert [run["attempt"] for run in runs] in ([1, 2], [2, 1])
    wait_until_gone(luna, retried)
    last = max(luna.history(retried), key=lambda run: int(run["attempt"]))
    assert [hook["result"] for hook in last["hooks"]] == ["success"]


def test_what_is_kept_and_names_that_are_free(luna: Lunasched) -> None:
    name = luna.name
    luna("run", "--keep", "--name", name, "--", "true")
    luna.wait_for_runs(name, 1)
    luna("run", "--wait", "--", "true")
    wait_until_gone(luna, "true-1")
    assert name in luna("list", "--names").stdout.split()
    # A name of the history is not used again.
    luna("run", "--wait", "--keep", "--", "/bin/true")
    assert "true-2" in luna("list", "--names").stdout.split()
    luna("remove", "true-2")


def test_what_is_not_over_is_not_removed(luna: Lunasched) -> None:
    """Whoever asks root for it."""
    name = luna.name
    luna("add", "--name", name, "--schedule", "at 02:30", "--remove-when-over", "--command", "true")
    for job in (name, "nobody"):
        luna.machine.exec(f"systemctl start lunasched-over@{job}.service")
    assert name in luna("list", "--names").stdout.split()
    busy = f"{name}-busy"
    luna("run", "--name", busy, "--", "sleep", "1000")
    luna.machine.exec(f"systemctl start lunasched-over@{busy}.service")
    assert busy in luna("list", "--names").stdout.split()
    luna("stop", busy)
    wait_until_gone(luna, busy)


def test_what_at_refuses(luna: Lunasched) -> None:
    for when, said in (("2020-01-01 10:00", "has passed"), ("teatime", "is not a point in time")):
        done = luna("at", when, "--", "true", check=False)
        assert done.returncode == ExitCode.USAGE
        assert said in done.stderr


def test_several_at_one_instant(luna: Lunasched) -> None:
    """More than are removed at a time."""
    names = [f"{luna.name}-{number}" for number in range(7)]
    wait = int(8 + 4 * len(names) * luna.pace())
    when = luna.machine.exec(f"date -u -d '+{wait} seconds' '+%F %T UTC'").stdout.strip()
    for name in names:
        luna("at", when, "--name", name, "--", "true")
    for name in names:
        (run,) = luna.wait_for_runs(name, 1, timeout=60)
        assert run["trigger"] == "timer"
    luna.machine.wait_for(
        lambda: luna.name not in luna("list", "--names").stdout, what="all to be removed"
    )
    assert units(luna) == ""
    failed = luna.machine.exec("systemctl list-units --failed --no-legend 'lunasched-over@*'")
    assert failed.stdout == ""
