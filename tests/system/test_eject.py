"""Jobs that become plain units, and units that become jobs, on a real systemd."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest
from campaign import rounds
from installed import INSTALL, slots_each
from machine import Machine

from lunasched.formats import unitfile

if TYPE_CHECKING:
    from installed import Lunasched

pytestmark = pytest.mark.machine

UNITS = "/etc/systemd/system"

# All that `make install` and a package would put there, and what it leaves behind.
REMOVE_LUNASCHED = """
systemctl disable --now lunasched.service lunasched-sync.timer
rm -rf /run/lunasched /var/lib/lunasched*
find / -xdev -name '*lunasched*' -not -path '/proc/*' -not -path '/sys/*' \
    -not -path '/opt/*' -not -path '*/journal/*' -delete 2>/dev/null
umount -l /opt/lunasched
systemctl daemon-reload
! command -v lunasched
! ls /opt/lunasched/lunasched 2>/dev/null
"""


# What changes something outside of the process: files, and what is asked of systemd.
STEPS = "rename,renameat,renameat2,unlink,unlinkat,symlink,symlinkat,fsync,sendmsg,pwrite64"


def active(machine: Machine, unit: str) -> bool:
    return machine.exec(["systemctl", "is-active", unit], check=False).stdout.strip() == "active"


def write_pair(machine: Machine, name: str, timer: str, service: str) -> None:
    """A timer and a service as people write them, started."""
    machine.exec(
        f"cat >{UNITS}/{name}.timer <<'END'\n[Timer]\n{timer}\n"
        f"[Install]\nWantedBy=timers.target\nEND\n"
        f"cat >{UNITS}/{name}.service <<'END'\n[Service]\n{service}\nEND\n"
        f"systemctl daemon-reload; systemctl enable --now {name}.timer"
    )


NOTE_ELAPSE = 'date -d "$(systemctl show -P LastTriggerUSec {}.timer)" +%s'
"""Prints when the timer of the service that it runs in has elapsed, which is as it is meanwhile."""


def assert_no_slot_twice(elapses: str, period: int) -> None:
    """The noted elapses of a timer with a slot each `period` seconds are of one slot each.

    However late systemd acts on a slot, the next one that it acts on is after that.
    """
    slots = [int(elapse) // period for elapse in elapses.split()]
    assert len(set(slots)) == len(slots), elapses


def traces(machine: Machine, name: str) -> list[str]:
    found = machine.exec(f"find {UNITS} /run/systemd/system -name '*{name}*' | sort").stdout
    return [path.removeprefix(f"{UNITS}/") for path in found.split()]


def test_an_ejected_job_runs_where_there_is_no_lunasched() -> None:
    with Machine.boot() as machine:
        machine.run(INSTALL)
        for name, schedule in (("tick", "calendar:*:*:0/2"), ("often", "every 2s")):
            machine.run(
                f"lunasched add --name {name} --schedule '{schedule}' "
                f"--command '{NOTE_ELAPSE.format(name)} >>/tmp/{name}'"
            )
            # A run may be in progress.
            eject = ["lunasched", "eject", name]
            machine.wait_for(eject, what="its ejection")
        machine.exec(REMOVE_LUNASCHED, check=False)
        assert machine.exec("command -v lunasched", check=False).returncode
        machine.exec("rm -f /tmp/tick /tmp/often; systemctl daemon-reload")
        for name in ("tick", "often"):
            machine.wait_for(
                lambda name=name: (
                    len(  # type: ignore[misc]
                        machine.exec(f"cat /tmp/{name}", check=False).stdout.split()
                    )
                    >= 4
                ),
                20,
                what=f"runs of {name}",
            )
        assert_no_slot_twice(machine.exec("cat /tmp/tick").stdout, 2)
        listed = machine.exec("systemctl list-timers --no-legend").stdout
        assert "tick.timer" in listed
        assert "often.timer" in listed
        assert machine.exec("systemctl is-enabled tick.timer").stdout == "enabled\n"
        assert "lunasched-job" not in machine.exec("systemctl list-units --all").stdout


def test_eject_leaves_plain_units_and_the_history(luna: Lunasched) -> None:
    name = luna.name
    luna("add", "--name", name, "--schedule", "at 03:00", "--catch-up", "--command", "echo once")
    luna("start", name, "--wait")
    luna.wait_for_runs(name, 1)
    printed = luna("eject", name)
    assert f"{UNITS}/{name}.timer" in printed.stdout
    assert "no longer recorded" in printed.stderr
    assert traces(luna.machine, name) == [
        f"{name}.service",
        f"{name}.timer",
        f"timers.target.wants/{name}.timer",
    ]
    assert active(luna.machine, f"{name}.timer")
    assert [job["name"] for job in luna.json("list")] == []
    (run,) = luna.history(name)
    assert run["output"] == "once\n"
    assert "as it should be" in luna("sync").stdout
    assert active(luna.machine, f"{name}.timer")
    luna.machine.exec(f"systemctl disable --now {name}.timer; rm {UNITS}/{name}.*")


def test_a_disabled_job_stays_disabled(luna: Lunasched) -> None:
    name = luna.name
    luna("add", "--name", name, "--schedule", "@hourly", "--disabled", "--command", "true")
    luna("eject", name, "--as", f"{name}-plain")
    assert traces(luna.machine, name) == [f"{name}-plain.service", f"{name}-plain.timer"]
    assert not active(luna.machine, f"{name}-plain.timer")
    luna("adopt", f"{name}-plain.timer", "--name", name)
    assert luna.json("get", name)["enabled"] is False
    assert not active(luna.machine, f"lunasched-job@{name}.timer")
    luna.machine.exec(f"rm {UNITS}/{name}-plain.*")


def test_what_cannot_be_ejected_stays_as_it_is(luna: Lunasched) -> None:
    name, machine = luna.name, luna.machine
    luna(
        *("add", "--name", name, "--schedule", "@yearly", "--max-retries", "2"),
        *("--on-failure", "true", "--command", "sleep 900"),
    )
    before = traces(machine, name)
    refused = luna("eject", name, check=False)
    assert refused.returncode == 2
    assert "not retried" in refused.stderr
    assert "hooks" in refused.stderr
    for taken in ("cron", "dbus", "systemd-tmpfiles-clean"):
        machine.exec(f"[ {taken} != cron ] || touch {UNITS}/cron.service")
        refused = luna("eject", name, "--force", "--as", taken, check=False)
        assert refused.returncode == 1, refused.stderr
        assert "--as" in refused.stderr
    machine.exec(f"rm {UNITS}/cron.service; mkdir -p {UNITS}/pre-.timer.d")
    assert luna("eject", name, "--force", "--as", "pre-fix", check=False).returncode == 1
    machine.exec(f"rmdir {UNITS}/pre-.timer.d")
    luna("start", name)
    refused = luna("eject", name, "--force", check=False)
    assert (refused.returncode, "is running" in refused.stderr) == (1, True)
    luna("stop", name)
    luna("add", "--name", f"{name}-after", "--depends-on", name, "--command", "true")
    refused = luna("eject", name, "--force", check=False)
    assert (refused.returncode, "wait for it" in refused.stderr) == (2, True)
    luna("remove", f"{name}-after")
    assert traces(machine, name) == before
    assert active(machine, f"lunasched-job@{name}.timer")
    luna("eject", name, "--force")
    machine.exec(f"systemctl disable --now {name}.timer; rm {UNITS}/{name}.*")


def test_a_hand_written_pair_becomes_a_job(luna: Lunasched) -> None:
    name, machine = luna.name, luna.machine
    write_pair(
        machine,
        name,
        "OnCalendar=*:*:0/2",
        "Type=oneshot\nExecStart=/bin/sh -c 'pwd; echo $${HOME-none} $$A'\nEnvironment='A=x y'",
    )
    machine.exec(
        f"mkdir {UNITS}/{name}.service.d; "
        f"printf '[Service]\\nEnvironment=B=1\\n' >{UNITS}/{name}.service.d/b.conf; "
        "systemctl daemon-reload"
    )
    said: list[str] = []

    def adopted() -> bool:
        # It is refused while the service runs, as it may each two seconds.
        done = luna("adopt", f"{name}.timer", check=False)
        said.append(done.stdout)
        return bool(done.returncode == 0)

    machine.wait_for(adopted, 60, what="a moment at which it does not run")
    assert f"{UNITS}/{name}.timer.adopted" in said[-1]
    assert "Kept" in said[-1]
    (run, *_) = luna.wait_for_runs(name, 1)
    # A slot may come while neither timer runs.
    assert run["trigger"] in ("timer", "catch-up")
    assert run["output"] == "/\nnone x y\n"
    kept = [path for path in traces(machine, name) if path.endswith(".adopted")]
    assert kept == [f"{name}.service.adopted", f"{name}.service.d.adopted", f"{name}.timer.adopted"]
    loaded = machine.exec(["systemctl", "show", "-P", "LoadState", f"{name}.timer"]).stdout
    assert loaded == "not-found\n"
    machine.exec(f"rm -r {UNITS}/{name}.*")


def test_what_cannot_be_adopted_stays_as_it_is(luna: Lunasched) -> None:
    name, machine = luna.name, luna.machine
    note = NOTE_ELAPSE.format(name).replace("$", "$$").replace("%", "%%")
    write_pair(
        machine,
        name,
        "OnCalendar=*:*:0/20\nAccuracySec=100ms",
        f"ExecStart=/bin/sh -c '{note} >>/tmp/ran-{name}'",
    )
    machine.wait_for(f"[ -s /tmp/ran-{name} ]", 25, what="a run of the hand-written pair")
    before = traces(machine, name)
    # Somebody's file where one of the job's would go: found when the timer is stopped already.
    machine.exec(f"touch {UNITS}/lunasched-job@{name}.service")
    assert luna("adopt", f"{name}.timer", check=False).returncode == 1
    machine.exec(f"rm {UNITS}/lunasched-job@{name}.service")
    assert traces(machine, name) == before
    assert active(machine, f"{name}.timer")
    # A timer that is started again may elapse at once.
    assert_no_slot_twice(machine.exec(f"cat /tmp/ran-{name}").stdout, 20)
    machine.exec(f"echo Nope=1 >>{UNITS}/{name}.service; systemctl daemon-reload")
    refused = luna("adopt", f"{name}.timer", check=False)
    assert refused.returncode == 2
    assert f"{UNITS}/{name}.service:3: [Service] Nope=" in refused.stderr
    assert "lunasched-job" not in " ".join(traces(machine, name))
    machine.exec(
        f"sed -i /Nope/d {UNITS}/{name}.service; "
        f"sed -i '1a Unit={name}.service # mine' {UNITS}/{name}.timer; systemctl daemon-reload"
    )
    refused = luna("adopt", f"{name}.timer", check=False)
    assert refused.returncode == 2
    assert f"{UNITS}/{name}.timer:2: [Timer] Unit=: " in refused.stderr
    assert "a comment has to be on a line of its own" in refused.stderr
    machine.exec(
        f"sed -i /mine/d {UNITS}/{name}.timer; systemctl daemon-reload; "
        f"systemctl add-wants multi-user.target {name}.service"
    )
    refused = luna("adopt", f"{name}.timer", check=False)
    assert (refused.returncode, "multi-user.target" in refused.stderr) == (2, True)
    machine.exec(f"rm {UNITS}/multi-user.target.wants/{name}.service; systemctl daemon-reload")
    assert luna("adopt", "systemd-tmpfiles-clean.timer", check=False).returncode == 2
    for unit in ("nothing.timer", "no thing.timer", "é.timer", "a@.timer", "../a.timer"):
        assert luna("adopt", unit, check=False).returncode == 2
    assert traces(machine, name) == before
    machine.exec(f"systemctl disable --now {name}.timer; rm {UNITS}/{name}.*")


def test_no_slot_is_lost_or_doubled(luna: Lunasched, rng: random.Random) -> None:
    name, machine = luna.name, luna.machine
    # Less than a period is without a timer at each change, whatever the load.
    period = luna.period(3, 6)
    luna(
        *("add", "--name", name, "--schedule", slots_each(period)),
        *("--command", "date +%s >>/tmp/slots"),
    )

    def slots() -> list[int]:
        ran = machine.exec("cat /tmp/slots", check=False).stdout.split()
        return [int(second) // period for second in ran]

    machine.wait_for(lambda: bool(slots()), 2 * period, what="a first run")
    for turn in range(10):
        # The change itself shall often be where a slot is.
        time.sleep((-time.time() - rng.uniform(0.1, 0.6)) % period)
        command = ("adopt", f"{name}.timer") if turn % 2 else ("eject", name)

        def changed(command: tuple[str, ...] = command) -> bool:
            done = luna(*command, check=False)
            assert done.returncode == 0 or "is running" in done.stderr, done.stderr
            return bool(done.returncode == 0)

        machine.wait_for(changed, what=" ".join(command))
    last = int(machine.exec("date +%s").stdout) // period
    machine.wait_for(lambda: slots()[-1] > last, 3 * period, what="a run after the last change")
    ran = slots()
    assert ran == list(range(ran[0], ran[-1] + 1))
    assert {run["trigger"] for run in luna.history(name)} <= {"timer", "catch-up"}
    machine.exec(f"rm {UNITS}/{name}.*")


def test_an_interval_goes_on(luna: Lunasched) -> None:
    name, machine = luna.name, luna.machine
    soon = f"{name}-soon"

    def due(timer: str) -> float:
        show = ["systemctl", "show", "--property=NextElapseUSecMonotonic", "--value", timer]
        return unitfile.timespan(machine.run(show).stdout.strip())

    luna("add", "--name", name, "--schedule", "every 1h", "--command", "true")
    before = due(f"lunasched-job@{name}.timer")
    # An interval that began anew would be over so much later.
    age = 3 + 10 * luna.pace()
    machine.wait_for(lambda: time.monotonic() > before - 3600 + age, 2 * age, what="a later time")
    began = time.monotonic()
    luna("eject", name)
    after = due(f"{name}.timer")
    # What is left of it counts from when the new timer is started, which the command does.
    assert before - 0.5 < after < before + time.monotonic() - began
    assert after < began + 3600
    luna("add", "--name", soon, "--schedule", "every 10s", "--command", f"echo >>/tmp/{soon}")
    luna.wait_for_runs(soon, 1)
    machine.exec(f"rm /tmp/{soon}")
    machine.wait_for(
        lambda: luna("eject", soon, check=False).returncode == 0, what="it to be ejected"
    )
    machine.wait_for(f"[ -e /tmp/{soon} ]", 40, what="a run")
    machine.exec(f"systemctl disable --now {name}.timer {soon}.timer; rm {UNITS}/{name}[.-]*")


@pytest.mark.slow
@pytest.mark.campaign
def test_it_is_one_or_the_other_whenever_it_is_killed(luna: Lunasched, rng: random.Random) -> None:
    name, machine = luna.name, luna.machine
    luna("add", "--name", name, "--schedule", "at 04:00", "--catch-up", "--command", "true")
    seen = set()
    is_job = True
    for turn in range(rounds(16, 48)):
        command = f"lunasched eject {name}" if is_job else f"lunasched adopt {name}.timer"
        step = rng.randint(1, 60)
        kill = f"timeout -s KILL {rng.uniform(0.15, 0.9):.3f}"
        if turn % 4:
            inject = f"-e trace={STEPS} -e inject={STEPS}:signal=KILL:when={step}"
            kill = f"strace -f -qq -o /dev/null {inject}"
        machine.exec(f"{kill} {command}", check=False)
        luna("sync")
        assert "as it should be" in luna("sync").stdout
        was_job, is_job = is_job, bool(luna.json("list"))
        seen.add((was_job, is_job))
        about = (turn, step, was_job, is_job)
        plain = [path for path in traces(machine, name) if ".adopted" not in path]
        prefix = "lunasched-job@" if is_job else ""
        assert plain == [
            f"{prefix}{name}.service",
            f"{prefix}{name}.timer",
            f"timers.target.wants/{prefix}{name}.timer",
        ], about
        assert active(machine, f"{prefix}{name}.timer"), about
        assert not active(machine, f"{'' if is_job else 'lunasched-job@'}{name}.timer"), about
    assert len(seen) >= rounds(2, 4), seen
    journal = f"journalctl -o cat --no-pager -u {name}.service -u lunasched-job@{name}.service"
    assert machine.exec(journal, check=False).stdout.strip() in ("", "-- No entries --")
    machine.exec(f"systemctl disable --now {name}.timer; rm -f {UNITS}/{name}.*", check=False)


def test_in_user_mode(own: Lunasched) -> None:
    name, machine = own.name, own.machine
    own("add", "--name", name, "--schedule", "every 2s", "--command", f"echo >>/tmp/own-{name}")
    # Neither is done while a run is in progress.
    machine.wait_for(lambda: own("eject", name, check=False).returncode == 0, what="its ejection")
    machine.run(f"rm -f /tmp/own-{name}", user="luna")
    machine.wait_for(
        lambda: machine.exec(f"cat /tmp/own-{name}", check=False).returncode == 0, 10, what="a run"
    )
    timer = f"{name}.timer"
    machine.wait_for(lambda: own("adopt", timer, check=False).returncode == 0, what="its adoption")
    own.wait_for_runs(name, 1)
    assert own.json("get", name)["working_directory"] is None
