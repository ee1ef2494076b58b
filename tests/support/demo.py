"""What `make demo` shows: a job, its timer, its runs and its history, on a booted systemd.

Everything happens in a throw-away container (see machine.py); this host is left as it is.
"""

from __future__ import annotations

import json
import sys

from anymachine import MachineError
from installed import INSTALL
from machine import Machine

JOB = "hello"


def main() -> int:
    """Run the demo; returns the exit code."""
    print("Booting a Debian machine in a container…", flush=True)
    try:
        with Machine.boot("demo") as machine:
            _tour(machine)
    except (MachineError, TimeoutError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print("\nThe machine is gone. `make test` runs the tests; man/guide.md has the quick start.")
    return 0


def _tour(machine: Machine) -> None:
    machine.run(INSTALL)

    _say("A job that runs every three seconds:")
    greeting = "echo Hello from $(hostname), $(date +%T)"
    _show(machine, f"lunasched add --name {JOB} --schedule 'every 3s' --command '{greeting}'")
    _show(machine, f"lunasched start {JOB} --wait")

    _say("It is an ordinary systemd timer:")
    _show(machine, "systemctl list-timers --no-pager --no-legend 'lunasched-job@*'")
    _show(machine, f"systemctl cat --no-pager lunasched-job@{JOB}.timer")

    _say("A job that fails:")
    _show(machine, "lunasched add --name broken --schedule 'every 1d' -- sh -c 'echo oops; exit 3'")
    _show(machine, "lunasched start broken --wait", may_fail=True)

    print("\n(waiting until the timer has fired twice)", flush=True)
    machine.wait_for(lambda: _runs_recorded(machine, JOB) >= 3, 30, what=f"three runs of {JOB}")

    _say("systemd ran it; its output is in the journal:")
    _show(machine, f"journalctl --no-pager -o short -u lunasched-job@{JOB} -n 12")

    _say("and every run is on record:")
    _show(machine, f"lunasched history {JOB}")
    _show(machine, "lunasched history broken")
    _show(machine, "lunasched list")

    _say("Nothing is left behind:")
    _show(machine, f"lunasched remove {JOB}")
    _show(machine, "lunasched remove broken")
    _show(machine, "systemctl list-timers --no-pager 'lunasched-job@*'")


def _runs_recorded(machine: Machine, job: str) -> int:
    shown = machine.run(["lunasched", "history", job, "--json"], check=False)
    runs = json.loads(shown.stdout) if shown.returncode == 0 else []
    return sum(run["output"] is not None for run in runs)


def _say(text: str) -> None:
    print(f"\n# {text}")


def _show(machine: Machine, command: str, *, may_fail: bool = False) -> None:
    """Print a command as a user would type it, and what it prints."""
    print(f"$ {command}", flush=True)
    done = machine.run(command, check=False)
    print(done.stdout + done.stderr, end="", flush=True)
    if done.returncode != 0 and not may_fail:
        raise MachineError(f"exit code {done.returncode} from: {command}")


if __name__ == "__main__":
    sys.exit(main())
