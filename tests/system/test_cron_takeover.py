"""The minute in which cron stops and lunasched starts: no entry is lost, and none runs twice."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import debian_crontabs
import pytest
from installed import INSTALL, Lunasched, boot

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from machine import Machine

pytestmark = [pytest.mark.machine, pytest.mark.slow]

RAN = "/root/ran"
CRONTAB = f"""
* * * * * root date +\\%s.\\%N >>{RAN}
0 0 1 1 * root false
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine with Debian's cron, which has never run."""
    root = tmp_path_factory.mktemp("cron")
    debian_crontabs.extracted(debian_crontabs.debs(("cron",))["cron"], root)
    with boot("takeover") as booted:
        booted.run(INSTALL)
        for path in ("usr/sbin/cron", "lib/systemd/system/cron.service"):
            found = root / path if (root / path).exists() else root / "usr" / path
            booted.copy(found, f"/{path}")
        booted.run(
            "groupadd -f crontab; mkdir -p /var/spool/cron/crontabs; rm -rf /etc/cron.d/*;"
            "rm -f /etc/crontab; systemctl daemon-reload"
        )
        booted.write_file("/etc/cron.d/each", CRONTAB)
        yield booted


def minutes(machine: Machine) -> Counter[int]:
    """How often the entry of each minute has run, by minutes since the epoch."""
    said = machine.exec(f"cat {RAN} 2>/dev/null", check=False).stdout
    return Counter(int(float(line)) // 60 for line in said.split())


def second(machine: Machine) -> float:
    """The seconds since the epoch."""
    return float(machine.exec("date +%s.%N").stdout)


def taken_over(machine: Machine) -> int:
    """Take over from a cron that is stopped; how many entries were started."""
    printed = machine.run("lunasched crontabs --take-over").stdout
    said = r"^Started (\d+) of them, which were due since cron was stopped\.$"
    found = re.search(said, printed, re.M)
    assert found, printed
    return int(found[1])


def test_the_minute_of_the_change(machine: Machine) -> None:
    luna = Lunasched(machine)
    # cron has run the entry of this minute, and says so.
    machine.run("systemctl start cron.service")
    machine.wait_for(f"test -s {RAN}", what="cron to run the entry", timeout=150)
    machine.run("systemctl stop cron.service")
    assert taken_over(machine) == 0
    (by_cron,) = minutes(machine)
    machine.run("lunasched crontabs --release")
    # cron is there, and does not act as the next minute begins.
    machine.run("systemctl start cron.service; systemctl kill --signal=STOP cron.service")
    held = int(second(machine)) // 60 + 1
    machine.wait_for(lambda: second(machine) > held * 60 + 0.5, what="the minute", timeout=90)
    machine.run("systemctl stop cron.service")
    assert taken_over(machine) == 1
    (made_up, *_) = luna.wait_for_runs("cron.d-each-date", 1)
    assert made_up["trigger"] == "catch-up"
    # Again: that it has run is on record, though cron was stopped before.
    machine.run("lunasched crontabs --release")
    assert taken_over(machine) == 0
    # From the next minute on it is the timer.
    luna.wait_for_runs("cron.d-each-date", 2, timeout=150)
    # Held for longer than any cron takes to wake: its log does not have the entry, so it did not.
    machine.run("lunasched crontabs --release")
    machine.run("systemctl start cron.service; systemctl kill --signal=STOP cron.service")
    late = int(second(machine)) // 60 + 1
    machine.wait_for(lambda: second(machine) > late * 60 + 7, what="the minute", timeout=100)
    machine.run("systemctl stop cron.service")
    assert taken_over(machine) == 1
    machine.wait_for(lambda: late in minutes(machine), what="the entry to be made up for")
    ran = minutes(machine)
    assert set(ran.values()) == {1}
    assert {by_cron, held, held + 1, late} <= set(ran)


def test_crontabs_are_served_where_the_journal_cannot_be_read(machine: Machine) -> None:
    machine.run("lunasched crontabs --release")
    machine.write_file("/root/broken/systemd.py", "raise ImportError\n")
    done = machine.run("lunasched crontabs --take-over", env={"PYTHONPATH": "/root/broken"})
    assert "warning: what was due since cron was stopped is not started: " in done.stderr
    assert "added" in done.stdout
    assert "cron.d-each-date" in machine.run("lunasched list").stdout


MANY = 100


def test_many_entries_of_one_minute_and_a_kill(machine: Machine, rng: random.Random) -> None:
    """Each that is lost runs once, whoever starts it."""
    machine.run("lunasched crontabs --release; systemctl start cron.service")
    machine.run("systemctl kill --signal=STOP cron.service")
    lines = [f"* * * * * root echo {number} >>/root/many" for number in range(MANY)]
    machine.write_file("/etc/cron.d/each", "\n".join(lines) + "\n")
    held = int(second(machine)) // 60 + 1
    machine.wait_for(lambda: second(machine) > held * 60 + 0.5, what="the minute", timeout=90)
    machine.run("systemctl stop cron.service")
    after = rng.uniform(0, 1)
    killed = (
        "lunasched crontabs --take-over & until sqlite3 -readonly "
        "/var/lib/lunasched/history/history.db 'SELECT 1 FROM starts' 2>/dev/null | grep -q 1; do "
        f":; done; sleep {after}; kill -KILL $! || true; wait; true"
    )
    machine.run(killed, timeout=300)

    def is_over() -> bool:
        left = machine.exec(
            "sqlite3 -readonly /var/lib/lunasched/history/history.db 'SELECT count(*) FROM starts'"
        )
        return left.stdout.strip() == "0"

    machine.wait_for(is_over, what="no start to be left", timeout=150)
    runs = [
        run
        for run in Lunasched(machine).history()
        if run["job"].startswith("cron.d-each-echo") and run["trigger"] == "catch-up"
    ]
    found = Counter(run["job"] for run in runs)
    assert len(found) == MANY
    assert set(found.values()) == {1}


def test_a_cron_that_was_stopped_long_ago_is_not_made_up_for(machine: Machine) -> None:
    """The last of these tests: it takes what cron logged, by which the others go."""
    machine.run("lunasched crontabs --release; journalctl --rotate; journalctl --vacuum-time=1s")
    printed = machine.run("lunasched crontabs --take-over").stdout
    assert "Started" not in printed
    refused = machine.run("lunasched crontabs --take-over --release", check=False)
    assert refused.returncode == 2
