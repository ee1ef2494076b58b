"""The guard of jobs with ``overlap: skip``: what it refuses was the timer's, and nothing else."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lunasched.jobs.dependencies import REFUSED
from lunasched.state.slotfile import _uptime

GUARD = Path(__file__).parent.parent.parent / "unit-templates" / "overlap-guard"
BY_TIMER = 'a(ss) 3 "trigger_unit" "x.timer" "trigger_timer_realtime_usec" "5"'
BY_HAND = "a(ss) 0"
# An interval of 5 µs: the last run, from 10 to 20, was in progress at its end, at 15.
FIRED, ENDED, BEGAN = 21, 20, 10

Refuses = Callable[..., bool]


@pytest.fixture
def refuses(tmp_path: Path) -> Refuses:
    def run(
        details: str = BY_TIMER, *, trigger: str = "x.timer", fired: int = FIRED, boot: int = 0
    ) -> bool:
        timers = f'a(stt) 2 "OnUnitActiveUSec" 5 9 "OnBootUSec" {boot} {boot}'
        busctl = tmp_path / "busctl"
        busctl.write_text(
            "#!/bin/bash\ncase $* in\n"
            f"*LastTriggerUSecMonotonic*) echo t {fired}; echo '{timers}' ;;\n"
            f"*InactiveEnterTimestampMonotonic*) printf 't %s\\n' {ENDED} {ENDED} {BEGAN} ;;\n"
            "*'/service '*Job) echo '(uo) 12 \"/job/12\"' ;;\n"
            f"*'/job/12 '*ActivationDetails) echo '{details}' ;;\n"
            "*) exit 1 ;;\nesac\n"
        )
        busctl.chmod(0o755)
        script = tmp_path / "guard"
        script.write_text(GUARD.read_text().replace("/usr/bin/busctl", str(busctl)))
        arguments: list[str | Path] = [
            "/service",
            "/timer",
            "/none",
            "5",
            "2000ms",
            tmp_path / "by-hand",
        ]
        known = {"TRIGGER_UNIT": trigger} if trigger else {}
        done = subprocess.run(
            ["/bin/bash", "-p", "-c", '. "$0"', script, *arguments, tmp_path / "ours"],
            env={"PATH": "/nowhere", "by": "timer", **known},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert done.stderr == ""
        said = "the last run was still in progress at its time\n" if done.returncode else ""
        assert done.stdout == said
        assert done.returncode in (0, REFUSED)
        return done.returncode == REFUSED

    return run


def test_what_elapsed_during_the_last_run_is_refused(refuses: Refuses) -> None:
    assert refuses()
    # Before the end of the last run: this start is another.
    assert not refuses(fired=ENDED - 1)


def test_what_is_due_after_a_boot_passes(refuses: Refuses) -> None:
    assert not refuses(boot=FIRED)
    assert not refuses(boot=ENDED)
    # It elapsed for that before the last run, and now for its interval.
    assert refuses(boot=ENDED - 1)
    assert refuses(boot=FIRED + 1)


@pytest.mark.parametrize("details", [BY_HAND, 'a(ss) 1 "trigger_unit" "x.path"', ""])
def test_what_the_timer_did_not_start_passes(refuses: Refuses, details: str) -> None:
    """Whatever the times say; and so does what systemd does not know the cause of."""
    assert not refuses(details)


def test_before_the_first_start_by_the_timer_all_pass(refuses: Refuses) -> None:
    assert not refuses(trigger="")


@pytest.mark.parametrize("which", ["by-hand", "ours"])
def test_marked_starts_pass(refuses: Refuses, tmp_path: Path, which: str) -> None:
    mark = tmp_path / which
    mark.write_text(f"{_uptime() + 60_000_000}\n")
    assert not refuses()
    mark.write_text("1000\n")
    assert refuses()


def test_what_the_supervisor_starts_in_place_of_the_timer_is_refused(
    refuses: Refuses, tmp_path: Path
) -> None:
    (tmp_path / "ours").write_text(f"{_uptime() + 60_000_000} timer\n")
    assert refuses(BY_HAND, trigger="")
