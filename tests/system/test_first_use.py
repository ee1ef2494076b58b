"""An ordinary user's first job, from a login, from su, and without a manager of their own."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pytest
from installed import INSTALL, SUITE
from machine import Machine

pytestmark = pytest.mark.machine

ADD = "lunasched add --name mine --schedule 'every 1h' --command 'id -un'"


@pytest.fixture(scope="module")
def machine_with_logins() -> Iterator[Machine]:
    """A machine on which users log in, with lunasched's units for them installed."""
    with Machine.boot("logins", suite=SUITE) as machine:
        machine.run(INSTALL)
        yield machine


@pytest.fixture
def user(machine_with_logins: Machine, request: pytest.FixtureRequest) -> str:
    """A new user, who has never logged in."""
    name = f"user{abs(hash(request.node.name)) % 10**8}"
    machine_with_logins.run(["useradd", "--create-home", "--shell", "/bin/bash", name])
    return name


def logged_in(machine: Machine, user: str, script: str) -> str:
    """What a script prints that runs in a login session of logind's, through PAM."""
    session = [
        "systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--property=PAMName=login",
        f"--property=User={user}", f"--property=WorkingDirectory=/home/{user}", "--",
        "/bin/bash", "-lc", f"exec 2>&1; {script}",
    ]  # fmt: skip
    return machine.exec(session, timeout=120).stdout


RECORDED = (
    "lunasched start mine --wait; for i in $(seq 100); do "
    """lunasched history mine --json | grep -q '"output": "u' && break; sleep 0.2; done; """
    "lunasched history mine --json"
)


def test_the_first_job_of_who_is_logged_in(machine_with_logins: Machine, user: str) -> None:
    said = logged_in(
        machine_with_logins,
        user,
        f"{ADD}; systemctl --user is-enabled lunasched; systemctl --user is-active lunasched; "
        f"{RECORDED}; lunasched doctor --json",
    )
    assert "Added job 'mine'" in said
    assert "Started your supervisor, lunasched.service" in said
    assert f"to let them always run: loginctl enable-linger {user}" in said
    assert "enabled\nactive\n" in said
    assert f'"output": "{user}\\n"' in said
    assert '"errors": 0' in said


def test_who_has_stopped_their_supervisor_is_left_alone(
    machine_with_logins: Machine, user: str
) -> None:
    said = logged_in(
        machine_with_logins,
        user,
        f"{ADD}; {RECORDED} >/dev/null; systemctl --user disable --now lunasched; echo SECOND; "
        f"{ADD.replace('mine', 'other')}; systemctl --user is-enabled lunasched || true",
    )
    second = said.partition("SECOND")[2]
    assert "Started your supervisor" not in second
    assert "disabled" in second


@pytest.mark.parametrize(("answer", "lingers"), [("y", True), ("", False)])
def test_at_a_terminal_lingering_is_offered(
    machine_with_logins: Machine, user: str, answer: str, lingers: bool
) -> None:
    terminal = f"printf '{answer}\\n' | script -qec {shlex.quote(ADD)} /dev/null"
    said = logged_in(machine_with_logins, user, f"{terminal}; ls /var/lib/systemd/linger")
    assert f"Let them always run (loginctl enable-linger {user})? [y/N]" in said
    assert (user in said.splitlines()) is lingers


def test_jobs_go_on_after_the_logout_of_who_lingers(
    machine_with_logins: Machine, user: str
) -> None:
    add = "lunasched add --name tick --schedule 'every 1s' --command 'date +%s >>ticks'"
    logged_in(machine_with_logins, user, f"loginctl enable-linger {user}; {add}")
    # systemd 257 calls the manager itself a session, too.
    machine_with_logins.wait_for(
        f"! loginctl list-sessions --no-legend | grep -w {user} | grep -qv manager",
        what="the end of the session",
    )
    ticks = f"/home/{user}/ticks"
    before = machine_with_logins.run(f"wc -l <{ticks}", check=False).stdout
    machine_with_logins.wait_for(
        lambda: machine_with_logins.run(f"wc -l <{ticks}", check=False).stdout != before,
        what="a run after it",
    )


def test_from_su_with_the_environment_of_root(machine_with_logins: Machine) -> None:
    """The variables of the user that called su lead to no bus of one's own."""
    of_root = {
        "XDG_RUNTIME_DIR": "/run/user/0",
        "DBUS_SESSION_BUS_ADDRESS": "unix:path=/run/user/0/bus",
    }
    machine_with_logins.run("loginctl enable-linger root; systemctl start user@0.service")
    without_pam = "setpriv --reuid=luna --init-groups env HOME=/home/luna sh -c"
    for su in ("su luna -c", "su - luna -c", without_pam):
        command = f"{su} {shlex.quote(f'lunasched list; {ADD} --replace')}"
        done = machine_with_logins.run(command, env=of_root)
        assert "Added job 'mine'" in done.stdout
    machine_with_logins.run("loginctl disable-linger root")
    machine_with_logins.run(["lunasched", "remove", "mine"], user="luna")


def test_without_a_manager_it_is_said_what_starts_one(
    machine_with_logins: Machine, user: str
) -> None:
    """As a service or a shell of su runs, with no session: the command that is named suffices."""
    alone = (
        f"setpriv --reuid={user} --regid={user} --init-groups "
        f"env -i HOME=/home/{user} PATH=$PATH sh -c"
    )
    refused = machine_with_logins.run(f"{alone} {shlex.quote(ADD)}", check=False)
    assert refused.returncode == 5
    assert f"loginctl enable-linger {user}." in refused.stderr
    machine_with_logins.run(f"{alone} 'loginctl enable-linger {user}'")
    machine_with_logins.wait_for(
        f"test -S /run/user/$(id -u {user})/bus", what="the user's own manager"
    )
    added = machine_with_logins.run(f"{alone} {shlex.quote(ADD)}")
    assert "Started your supervisor" in added.stdout
    assert "log" not in added.stderr
