"""A job of every kind on one machine, through what happens to machines."""

from __future__ import annotations

from collections.abc import Iterator

import everykind
import pytest
from installed import INSTALL, Lunasched
from machine import Machine
from packaged import SUITES

pytestmark = [pytest.mark.machine, pytest.mark.slow]

UNITS = "/etc/systemd/system"
# What an older version wrote: of each unit of ours one line is not as this version has it.
AS_OLDER = f"sed -i 's/^CollectMode=/# As it was.\\n&/' {UNITS}/lunasched-job@*.service"
OLD_LINE = f"grep -l 'As it was' {UNITS}/lunasched-job@*.service"
FILL = (
    "fallocate -l $(df --output=avail -B1 /var/lib | tail -1) /var/lib/fill; "
    "cat /dev/zero >>/var/lib/fill"
)


@pytest.fixture(scope="module", params=SUITES)
def everything(request: pytest.FixtureRequest) -> Iterator[tuple[Machine, set[str]]]:
    """A machine with all of the jobs, each of which has run."""
    with Machine.boot("everything", suite=request.param, disk="400M") as machine:
        machine.run(INSTALL)
        known = everykind.findings(machine)
        everykind.populate(machine)
        everykind.run_them(machine)
        yield machine, known


def no_job_fits_any_more(luna: Lunasched) -> bool:
    """Fill the disk, and add a job; journald may free a file of its own in between."""
    luna.machine.run(FILL, check=False)
    more = ("add", "--name", "more", "--schedule", "@yearly", "--command", "true")
    if luna(*more, check=False).returncode != 0:
        return True
    if luna("remove", "more", check=False).returncode != 0:
        # The space for that went meanwhile.
        luna.machine.run("rm /var/lib/fill")
        luna("remove", "more")
    return False


def test_all_is_well_and_stays_so(everything: tuple[Machine, set[str]]) -> None:
    full, known = everything
    names = everykind.names(full)
    assert len(names) == len(everykind.JOBS) + 3
    everykind.nothing_is_wrong(full, known, after="the first runs")

    full.run(f"{AS_OLDER}; systemctl daemon-reload; /opt/lunasched/packaging/maintain installed")
    assert full.run(OLD_LINE, check=False).stdout == ""
    everykind.nothing_is_wrong(full, known, after="an upgrade")

    main_pid = "systemctl show -P MainPID lunasched"
    killed = full.run(main_pid).stdout
    full.run("systemctl kill -s KILL lunasched")
    full.wait_for(f"[ $({main_pid}) != {killed.strip()} ]", what="the end of the supervisor")
    full.wait_for("systemctl is-active --quiet lunasched", what="the supervisor")
    everykind.nothing_is_wrong(full, known, after="a kill of the supervisor")

    luna = Lunasched(full)
    full.wait_for(
        lambda: no_job_fits_any_more(luna), 120, what="a disk that stays full", interval=0.1
    )
    ran = len(luna.history("interval"))
    full.wait_for(
        "journalctl --sync; [ $(journalctl -o cat -u lunasched-job@interval --since -7s | "
        "grep -c 'an interval') -ge 1 ]",
        30,
        what="a run while the disk is full",
    )
    full.run("rm /var/lib/fill")
    full.wait_for("systemctl is-active --quiet lunasched", what="the supervisor")
    full.wait_for(
        lambda: len(luna.history("interval")) > ran + 1, 60, what="runs on record", interval=0.5
    )
    everykind.nothing_is_wrong(full, known, after="a full disk that was freed")

    full.reboot()
    full.run("systemctl start receiver 2>/dev/null || true")
    assert everykind.names(full) == names
    full.wait_for(
        lambda: any(run["output"] == "booted\n" for run in luna.history("at boot")),
        60,
        what="the run at boot",
        interval=0.5,
    )
    everykind.nothing_is_wrong(full, known, after="a reboot", in_detail=True)
