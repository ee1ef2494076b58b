"""Time travel: what lunasched ran, and recorded, on nights on which the clock changes.

Each test lives through a stretch of time on one booted machine. Its expectation is the reference
evaluator of ``tests/schedule``, or the instants spelled out; that each run was just one is what
the jobs say themselves, the history, and PID 1's records, all three compared.
"""

from __future__ import annotations

import json
import random
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
import reference
from reference import utc
from vm_jobs import Installed, instant, of_systemd, skips, successes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm import VirtualMachine

pytestmark = [pytest.mark.vm, pytest.mark.slow]

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
BERLIN = "Europe/Berlin"
PROMPT = 20 * SECOND
"""The latest that a run starts after its slot: a second of accuracy, and the emulated processor."""


@pytest.fixture
def jobs(lunasched_vm: VirtualMachine, request: pytest.FixtureRequest) -> Iterator[Installed]:
    """The jobs of a test; they are removed after it."""
    name = request.node.name.removeprefix("test_").split("_")[0].partition("[")[0]
    installed = Installed(lunasched_vm, name)
    yield installed
    installed.remove()


# The job's arguments and, for the reference, cron's way to say the same. Without a zone of its
# own, a job follows the host's.
NIGHT = {
    "quarter": ("*/15 * * * *", BERLIN, "*/15 * * * *"),
    "quarter-host": ("*/15 * * * *", None, "*/15 * * * *"),
    "fixed": ("30 2 * * *", BERLIN, "30 2 * * *"),
    "at-host": ("at 02:30", None, "30 2 * * *"),
    "hourly": ("0 * * * *", BERLIN, "0 * * * *"),
    "pair-host": ("15 2,3 * * *", None, "15 2,3 * * *"),
    "two-host": ("10,40 2 * * *", None, "10,40 2 * * *"),
}


def add_night(jobs: Installed) -> None:
    jobs.add(
        {
            name: {"schedule": schedule, **({"timezone": zone} if zone else {})}
            for name, (schedule, zone, _) in NIGHT.items()
        }
    )


def expected_night(after: datetime, until: datetime) -> dict[str, list[datetime]]:
    return {
        name: reference.runs(line, BERLIN, after, until) for name, (_, _, line) in NIGHT.items()
    }


def check_night(jobs: Installed, expected: dict[str, list[datetime]]) -> dict[str, int]:
    """Every slot ran once, on time and with success, and nothing else; how many were refused."""
    jobs.arrive({name: len(slots) for name, slots in expected.items()})
    rows = jobs.recorded()
    assert {name: successes(each) for name, each in rows.items()} == {
        name: [("timer", slot) for slot in slots] for name, slots in expected.items()
    }
    for name, slots in expected.items():
        assert set(skips(rows[name])) <= set(slots), name
        for row in rows[name]:
            assert row.result == "skipped" or timedelta(0) <= row.late < PROMPT, row
    assert sum(map(len, expected.values())) == sum(map(len, jobs.proofs().values()))
    return {name: len(skips(each)) for name, each in rows.items()}


def test_autumn_night(jobs: Installed, rng: random.Random) -> None:
    vm = jobs.vm
    after, again, until = utc(2027, 10, 30, 23, 46), utc(2027, 10, 31, 1), utc(2027, 10, 31, 2, 17)
    vm.set_clock(after)
    vm.set_timezone(BERLIN)
    add_night(jobs)
    expected = expected_night(after, until)
    due = sorted({slot for slots in expected.values() for slot in slots})
    quiet = rng.sample([again + n * MINUTE + 31 * SECOND for n in range(1, 60)], 2)
    # The second 02:30 is a slot of the wildcard jobs alone, and the second 02:10 of none.
    moments = sorted({*due, *quiet, again + 10 * MINUTE})
    print("moments:", *moments, sep="\n  ")
    middle = again + 30 * MINUTE
    jobs.travel([each for each in moments if each <= middle])
    timers = " ".join(jobs.timer(name) for name in NIGHT)
    vm.exec(f"systemctl restart {timers}")
    jobs.settle()
    vm.exec("systemctl daemon-reload")
    jobs.settle()
    # On a slow machine the next of them may have come by themselves.
    jobs.travel([each for each in moments if each > vm.now() + 5 * SECOND])
    refused = check_night(jobs, expected)
    print("expected:", {name: len(slots) for name, slots in expected.items()})
    print("refused:", refused)
    # systemd does fire again when a timer is restarted; without the guard this is a second run.
    assert sum(refused.values()) >= 1


@pytest.mark.long  # `test_a_short_soak_finds_nothing` lives through that night, too
def test_spring_night(jobs: Installed, rng: random.Random) -> None:
    vm = jobs.vm
    after, until = utc(2028, 3, 26, 0, 31), utc(2028, 3, 26, 1, 32)
    vm.set_clock(after)
    vm.set_timezone(BERLIN)
    add_night(jobs)
    expected = expected_night(after, until)
    due = sorted({slot for slots in expected.values() for slot in slots})
    gap = utc(2028, 3, 26, 1)
    for name in ("fixed", "at-host", "two-host"):
        assert expected[name] == [gap]  # 02:30, and 02:10 with 02:40, do not exist
    moments = sorted({*due, *(gap + n * MINUTE for n in (10, rng.randint(16, 29)))})
    print("moments:", *moments, sep="\n  ")
    jobs.travel(moments)
    print("expected:", {name: len(slots) for name, slots in expected.items()})
    print("refused:", check_night(jobs, expected))


def test_steps_of_the_clock(jobs: Installed) -> None:
    vm = jobs.vm
    day = utc(2028, 5, 10)

    def at(hour: int, minute: int = 0) -> datetime:
        return day + hour * HOUR + minute * MINUTE

    vm.set_clock(at(7, 40))
    vm.set_timezone("Etc/UTC")
    schedules = {
        "noon": "at 12:00",
        "hourly": "0 * * * *",
        "list": "0 8-20 * * *",
        "tens": "*/10 * * * *",
        "past": "15 * * * *",
        "jumped": "at 12:20",
        "early": "at 08:45",
    }
    jobs.add({name: {"schedule": schedule} for name, schedule in schedules.items()})
    vm.set_clock(at(11, 54))
    ran: dict[str, list[tuple[str, datetime | None]]] = {
        # Once for all of the slots that were jumped over, and the latest of them is on record.
        "tens": [("timer", at(11, 50))],
        "hourly": [("timer", at(11))],
        "list": [("timer", at(11))],
        "past": [("timer", at(11, 15))],
        "early": [("timer", at(8, 45))],
        "noon": [],
        "jumped": [],
        "fresh": [],
    }
    refused: dict[str, list[datetime]] = {name: [] for name in ran}

    def add(slots: dict[str, list[datetime]]) -> None:
        for name, each in slots.items():
            ran[name] += [("timer", slot) for slot in each]

    def arrive() -> None:
        jobs.arrive(
            {name: len(each) for name, each in ran.items()}, sum(map(len, refused.values()))
        )

    def check() -> None:
        arrive()
        rows = jobs.recorded()
        for name, each in rows.items():
            assert successes(each) == ran[name], name
        found = {name: skips(each) for name, each in rows.items()}
        assert found == {name: refused[name] for name in rows}

    arrive()
    vm.travel([at(12)])
    at_noon = {name: [at(12)] for name in ("noon", "hourly", "list", "tens")}
    add(at_noon)
    arrive()
    vm.set_clock(at(11, 58))
    vm.travel([at(12)])
    refused |= at_noon
    arrive()
    vm.exec(f"lunasched start {jobs.prefix}-noon && systemctl start {jobs.service('hourly')}")
    ran["noon"].append(("manual", None))
    ran["hourly"].append(("manual", None))
    check()

    assert vm.now() < at(12, 10), "this took too long for the test"
    vm.set_clock(at(12, 41))  # 40 minutes over 12:10, 12:15, 12:20, …
    add({"tens": [at(12, 40)], "past": [at(12, 15)], "jumped": [at(12, 20)]})
    vm.wait_for(lambda: len(jobs.proofs().get("jumped", [])) == 1, timeout=20)
    check()

    # Its timer is started at a time that is soon to come again, and has never elapsed.
    jobs.add({"fresh": {"schedule": "at 09:00"}})
    vm.set_clock(at(8, 41))
    # A correction (cron(8)): the new time counts, for jobs that were added by the old one, too.
    for moment, names in (
        (at(8, 45), ["early"]),
        (at(8, 50), ["tens"]),
        (at(9), ["tens", "hourly", "list", "fresh"]),
    ):
        jobs.travel([moment])
        add({name: [moment] for name in names})
        arrive()
    check()


def test_power_cuts(jobs: Installed) -> None:
    vm = jobs.vm
    day = utc(2028, 6, 14)

    def at(minute: int) -> datetime:
        return day + 10 * HOUR + minute * MINUTE

    vm.set_clock(at(0) - 4 * MINUTE)
    vm.set_timezone("Etc/UTC")
    jobs.add(
        {
            "ten": {"schedule": "every 10m"},
            "five": {"schedule": "every 5m"},
            "fixed": {"schedule": "at 10:05"},
            "caught": {"schedule": "at 10:05", "catch_up": True},
            "several": {"schedule": "0,4,8,30 10 * * *", "catch_up": True},
            "rare": {"schedule": "every 60d"},  # more milliseconds than 32 bits hold
        },
        sync=True,
    )
    jobs.add({"running": {"schedule": "at 10:00"}}, command="sleep 3000", sync=True)
    vm.travel([at(0)])
    vm.exec(f"lunasched start {jobs.prefix}-ten & lunasched start {jobs.prefix}-five & wait")
    begun = {f"{jobs.prefix}-{name}" for name in ("ten", "five", "running", "several")}
    vm.wait_for(lambda: begun <= {run.job for run in jobs.recorded_runs()})
    vm.exec("journalctl --sync; sync")
    before = jobs.history()
    for name in ("ten", "five"):
        assert [row.trigger for row in before[name]] == ["manual"]
    (running,) = before["running"]
    assert running.result is None
    due = {
        "ten": before["ten"][0].started + 10 * MINUTE,
        "five": before["five"][0].started + 5 * MINUTE,
    }

    # Over 10:04, 10:05 and 10:08, and five minutes, and not yet ten.
    vm.write_file("/root/lost", "not synced\n")
    vm.power_cut(down_for=due["ten"] - 75 * SECOND - vm.now())
    assert vm.exec("test -s /root/lost", check=False).returncode != 0
    vm.wait_for(lambda: len(jobs.proofs().get("ten", [])) == 2, timeout=120)
    up = supervisor_began(vm)
    rows = jobs.recorded()
    (lost,) = rows["running"]
    assert (lost.execution_id, lost.result) == (running.execution_id, "lost")
    assert (lost.trigger, lost.slot) == ("timer", at(0))
    assert rows["fixed"] == rows["rare"] == []
    assert successes(rows["caught"]) == [("catch-up", at(5))]
    assert successes(rows["several"]) == [("timer", at(0)), ("catch-up", at(8))]
    for name in ("ten", "five"):
        # A machine that is slow to boot may not be up for the end of the longer interval either.
        trigger = "timer" if due[name] > up else "catch-up"
        first, second = rows[name]
        assert first == before[name][0] or first.execution_id == before[name][0].execution_id
        assert (second.trigger, second.result) == (trigger, "success")
        assert abs(second.slot - due[name]) < SECOND  # type: ignore[operator]
        begins = max(due[name], up)
        print(name, "started after the end of its interval, or boot, by", second.started - begins)
        assert -2 * SECOND < second.started - begins < PROMPT
    assert due["five"] < up

    # Right after the run of a slot that catches up: it is not made up for. It is on record, though
    # journald has written nothing of it to the disk.
    vm.exec("journalctl --sync; sync")
    vm.travel([at(30)], after=0)
    vm.wait_for(
        lambda: any(
            run.slot == f"{at(30).timestamp():.0f}000000" and run.result
            for run in jobs.recorded_runs()
        ),
        what="the run of the slot",
    )
    (third,) = (row.execution_id for row in jobs.history()["several"] if row.slot == at(30))
    vm.power_cut(down_for=MINUTE)
    vm.wait_for(
        lambda: len(jobs.proofs()["ten"]) == 3 and len(jobs.proofs()["five"]) == 3, timeout=60
    )
    jobs.settle()
    vm.exec("journalctl --sync; sleep 3")
    after = jobs.history()
    proofs = jobs.proofs()
    print("after the second cut:", *after["several"], sep="\n  ")
    assert [len(proofs.get(name, [])) for name in ("several", "caught", "fixed")] == [3, 1, 0]
    assert timedelta(0) <= proofs["several"][2] - at(30) < MINUTE
    new = after["several"][2:]
    assert [row.execution_id for row in new if row.result != "skipped"] == [third]
    assert {row.slot for row in new} == {at(30)}
    assert after["running"] == rows["running"]
    assert after["caught"] == rows["caught"]
    for name in ("ten", "five"):
        assert [row.trigger for row in after[name][2:]] == ["catch-up"]


# Jobs without a zone of their own, and cron's way to say the same.
FOLLOWERS = {
    "evening": ("at 18:00", "0 18 * * *"),
    "passed": ("at 12:00", "0 12 * * *"),
    "caught": ("at 09:00", "0 9 * * *"),
    "thirds": ("*/20 * * * *", "*/20 * * * *"),
}


def test_zone_of_the_host_changes(jobs: Installed) -> None:
    vm = jobs.vm
    day = utc(2028, 7, 5)

    def at(hour: int, minute: int = 0) -> datetime:
        return day + hour * HOUR + minute * MINUTE

    def follow(zone: str) -> None:
        """Change the zone; its jobs are deployed anew, the others and the runs are not touched."""
        before = jobs.proofs()
        vm.set_timezone(zone)
        lists = " ".join(f"/var/lib/lunasched/slots/{jobs.prefix}-{name}" for name in FOLLOWERS)
        vm.wait_for(
            f"! grep -L '^{zone} ' {lists} | grep . &&"
            " systemctl show -P ActiveState lunasched-sync.service | grep -x inactive",
            what=f"the jobs to be deployed for {zone}",
        )
        jobs.settle()
        vm.exec("sleep 2")
        assert (jobs.proofs(), jobs.refused()) == (before, set())
        assert vm.exec(untouched).stdout == stamps
        now = vm.now()
        listed = json.loads(vm.exec("lunasched next -n 300 --json").stdout)
        for name, (line, own) in {
            **{name: (line, zone) for name, (_, line) in FOLLOWERS.items()},
            "explicit": ("0 18 * * *", BERLIN),
        }.items():
            expected = reference.runs(line, own, now, now + 25 * HOUR)[0]
            assert next_elapse(jobs, name) == expected, name
            own_name = f"{jobs.prefix}-{name}"
            shown = [instant(each["at"]) for each in listed if each["job"] == own_name]
            assert shown[0] == expected, name

    vm.set_clock(at(10, 1))
    vm.set_timezone("Etc/UTC")
    followers: dict[str, dict[str, Any]] = {
        name: {"schedule": schedule} for name, (schedule, _) in FOLLOWERS.items()
    }
    followers["caught"]["catch_up"] = True
    jobs.add({**followers, "explicit": {"schedule": "at 18:00", "timezone": BERLIN}})
    files = [jobs.service("explicit"), jobs.timer("explicit")]
    untouched = f"cd /etc/systemd/system && stat -c '%i %.Y %.Z' {' '.join(files)}"
    stamps = vm.exec(untouched).stdout

    # 18:00 is still to come, 12:00 is over all of a sudden, and 09:00 in both zones.
    follow("Asia/Kolkata")
    assert vm.now() < at(10, 9)
    jobs.travel([at(10, 10), at(10, 20), at(12), at(12, 30)], before=5)
    ran = {
        "evening": [at(12, 30)],
        "passed": [],
        "caught": [],
        # 11:50 and 12:10 were jumped over; 10:20 and 12:00 are no slots any more.
        "thirds": [at(10, 10), at(11, 50), at(12, 10), at(12, 30)],
        "explicit": [],
    }
    follow("America/Los_Angeles")
    rows = jobs.recorded()
    assert {name: successes(each) for name, each in rows.items()} == {
        name: [("timer", slot) for slot in slots] for name, slots in ran.items()
    }
    jobs.travel([at(16), at(19)], before=5)
    rows = jobs.recorded()
    # 09:00 and 12:00 of Los Angeles, 18:00 of Berlin.
    assert successes(rows["caught"]) == [("timer", at(16))]
    assert successes(rows["passed"]) == [("timer", at(19))]
    assert successes(rows["explicit"]) == [("timer", at(16))]
    assert successes(rows["evening"]) == [("timer", at(12, 30))]


def test_memory_limit_is_an_oom_kill(jobs: Installed) -> None:
    jobs.vm.set_timezone("Etc/UTC")
    jobs.vm.set_clock(utc(2028, 8, 1, 10))
    eater = "/usr/bin/python3 -c 'x = bytearray(200 << 20)'"
    jobs.add({"eater": {"schedule": "at 23:00", "max_memory": "30M"}}, command=eater)
    done = jobs.vm.exec(f"lunasched start {jobs.prefix}-eater --wait", check=False)
    assert done.returncode != 0
    assert "oom-kill" in done.stderr
    (row,) = jobs.recorded()["eater"]
    assert (row.trigger, row.result) == ("manual", "oom-kill")


def supervisor_began(vm: VirtualMachine) -> datetime:
    """When the supervisor of this boot was ready."""
    shown = vm.exec(
        "systemctl show --timestamp=unix -P ActiveEnterTimestamp lunasched.service"
    ).stdout
    return datetime.fromtimestamp(int(shown.strip().lstrip("@")), timezone.utc)


def next_elapse(jobs: Installed, name: str) -> datetime:
    """When a job's timer elapses next, by systemd."""
    # systemd 252 heeds no --timestamp=unix for this property.
    shown = jobs.vm.exec(
        f"TZ=UTC systemctl show -P NextElapseUSecRealtime {jobs.timer(name)}"
    ).stdout
    return of_systemd(shown.strip())
