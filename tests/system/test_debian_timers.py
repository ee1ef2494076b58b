"""The timers that Debian's packages ship, adopted: the same times, and the same directives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import debian_crontabs
import debian_timers
import pytest
from compiling import SYSTEM
from debian_timers import Pair

from lunasched.errors import InvalidJob
from lunasched.formats import unitfile, unittext
from lunasched.transfer import adoption
from lunasched.transfer.adoption import Adoption
from lunasched.units import compiler
from lunasched.units.compiler import CompiledJob

if TYPE_CHECKING:
    from installed import Lunasched
    from machine import Machine

pytestmark = pytest.mark.machine

UNITS = "/etc/systemd/system"
# Of 104 timers of 70 packages.
LEAST, SHARE = 92, 0.85
FAMOUS = (
    "logrotate", "fstrim", "borgmatic", "exim4-base", "lynis", "dpkg-db-backup", "e2scrub_all",
    "certbot", "apt-daily", "plocate-updatedb", "chkrootkit", "systemd-tmpfiles-clean",
    "etckeeper", "pmie_check", "prometheus-node-exporter-smartmon", "fwupd-refresh", "anacron",
)  # fmt: skip
# What a job has of its own, and what its state and its name are.
OTHERS = re.compile(
    "Id$|Names$|.*Timestamp|Fragment|SourcePath|Description|Documentation|Slice|ControlGroup|"
    "SyslogIdentifier|InvocationID|IgnoreSIGPIPE|CollectMode|StartLimit|ExecCondition|Type$|"
    "CPUAccounting|MemoryAccounting|TimeoutStart|RuntimeMax|LogRateLimit|TriggeredBy|Timeout|"
    "NeedDaemonReload|CanStart|UnitFile|.*Result|User$|UnsetEnvironment|Requires$|Exec.*|Restart|"
    "After$|Before$|Wants$|WorkingDirectory|DropInPaths|RequiresMountsFor|ReadWritePaths|JobTimeout|"
    "WantsMountsFor"
)


SLICE_OF_INSTANCE = re.compile(r"system-[^ ']*\.slice")
# Of these a job has more.
MORE = (
    "After", "Before", "Wants", "Requires", "BindsTo", "PartOf", "RequiresMountsFor",
    "ReadWritePaths",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Adopted:
    """A pair of a package, and the job that it is."""

    pair: Pair
    adoption: Adoption
    compiled: CompiledJob


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    try:
        debs = debian_crontabs.debs(debian_timers.PACKAGES)
    except debian_crontabs.NoPackages as error:
        pytest.fail(f"Debian's packages are needed here, from a cache or by apt: {error}")
    return [
        pair
        for name, deb in debs.items()
        for pair in debian_timers.pairs(name, debian_timers.unit_files(deb))
    ]


@pytest.fixture(scope="module")
def found(pairs: list[Pair]) -> list[Adopted]:
    return list(adopted(pairs))


def adopted(pairs: list[Pair]) -> Iterator[Adopted]:
    for pair in pairs:
        name = pair.timer.name.removesuffix(".timer")
        try:
            found = adoption.adopted_job(
                pair.timer, pair.service, name=name, enabled=True, context=SYSTEM
            )
        except InvalidJob as error:
            # Each says where.
            assert all(re.match(r"[^ ]+:\d+: |command: ", text) for text in error.problems)
            continue
        yield Adopted(pair, found, compiler.compile(found.job, SYSTEM))


def test_most_are_adopted(pairs: list[Pair], found: list[Adopted]) -> None:
    names = [one.pair.timer.name for one in found]
    assert len(names) >= LEAST
    assert len(names) >= SHARE * len(pairs)
    assert {f"{name}.timer" for name in FAMOUS} <= {*names}


def shown(machine: Machine, units: list[str]) -> list[dict[str, str]]:
    text = machine.run(["systemctl", "show", "--all", "--", *units], timeout=60).stdout
    parts = text.rstrip("\n").split("\n\n")
    assert len(parts) == len(units)
    # Without a watchdog it is "infinity" until the unit is started for the first time, and then 0:
    # the machine runs some of these units itself, a quarter of an hour after its boot.
    text_of = [part.replace("WatchdogUSec=infinity", "WatchdogUSec=0") for part in parts]
    return [
        dict(line.partition("=")[::2] for line in part.splitlines() if "=" in line)
        for part in text_of
    ]


def test_systemd_reads_the_same_out_of_the_job_as_of_the_units(
    booted: Machine, found: list[Adopted]
) -> None:
    """Each property of the service, and the instants at which the timer elapses."""
    names: list[str] = []
    for one in found:
        for unit in (*one.pair.timer.files, *one.pair.service.files):
            booted.write_file(f"/run/systemd/system/{unit.path}", unit.text)
        for compiled in one.compiled.units:
            booted.write_file(f"/run/systemd/system/{compiled.name}", compiled.text)
        names += [one.pair.service.name, one.compiled.service.name]
    booted.run("systemctl daemon-reload")
    try:
        services = shown(booted, names)
        differing: dict[tuple[str, str], tuple[str, str | None]] = {}
        for number, one in enumerate(found):
            before, after = services[2 * number : 2 * number + 2]
            differing |= {
                (one.pair.service.name, key): (value, after.get(key))
                for key, value in before.items()
                if not OTHERS.match(key)
                and sorted(after.get(key, "").split()) != sorted(value.split())
            }
            assert commands(before) == commands(after)
            for key in MORE:
                missing = {*before.get(key, "").split()} - {*after.get(key, "").split()}
                own = {
                    one.pair.timer.name,
                    "system.slice",
                    *SLICE_OF_INSTANCE.findall(str(missing)),
                }
                assert missing <= own, (one.pair.service.name, key)
        assert not differing
        assert_same_times(booted, found)
        assert_same_spans(booted, found)
    finally:
        booted.run("rm -r /run/systemd/system/*.timer /run/systemd/system/*.service")
        booted.run("systemctl daemon-reload")


def commands(properties: dict[str, str]) -> list[list[str]]:
    """The program, the arguments and whether a failure counts, of each command."""
    line = re.compile(r"path=.*? ; argv\[\]=.*? ; ignore_errors=\w+")
    names = ("ExecStartPre", "ExecStart", "ExecStartPost")
    # Guards and the like are of bash.
    return [line.findall(properties.get(name, "")) for name in names]


def assert_same_times(machine: Machine, found: list[Adopted]) -> None:
    """Ask systemd itself when the lines of timers elapse."""
    pairs = []
    for one in found:
        assert one.compiled.timer is not None
        ours = re.findall("^OnCalendar=(.*)$", one.compiled.timer.text, re.MULTILINE)
        own, _ = unitfile.assignments(one.pair.timer.files)
        theirs = [each.value for each in own if each.directive == "OnCalendar"]
        if theirs:
            pairs.append((theirs, ours))
    assert len(pairs) > len(found) // 2
    lines = sorted({line for pair in pairs for lines in pair for line in lines})
    base = ["--base-time=2026-03-01 00:00:01", "--iterations=3"]
    said = machine.run(["systemd-analyze", "calendar", *base, *lines]).stdout.split("\n\n")
    instants = {
        line: re.findall(r"(?:elapse|Iteration #\d+): (.*)", text)
        for line, text in zip(lines, said, strict=True)
    }
    for each in pairs:
        times = [sorted({at for line in lines for at in instants[line]})[:3] for lines in each]
        assert times[0] == times[1], each


def assert_same_spans(machine: Machine, found: list[Adopted]) -> None:
    """Ask systemd what it reads out of the other lines, after a boot and between runs."""
    names = [
        name
        for one in found
        for name in (one.pair.timer.name, unittext.timer_name(one.adoption.job.name))
    ]
    command = ["systemctl", "show", "--property=Id,TimersMonotonic", "--", *names]
    parts = machine.run(command, timeout=60).stdout.rstrip("\n").split("\n\n")
    spans = [re.findall(r"(On\w+)USec=(\S.*?) ;", part) for part in parts]
    assert len(spans) == len(names)
    assert sum(map(bool, spans)) >= 2 * 15
    for number, one in enumerate(found):
        # Nothing is as soon after the start of the manager as after that of the machine.
        before, after = (
            {("OnStartup", value) if value == "0" else (name, value) for name, value in each}
            for each in spans[2 * number : 2 * number + 2]
        )
        assert before == after, one.pair.timer.name


def test_a_packages_timer_is_adopted_as_it_is(luna: Lunasched, pairs: list[Pair]) -> None:
    machine = luna.machine
    for name in ("logrotate", "exim4-base", "chkrootkit", "pmie_check"):
        (pair,) = (pair for pair in pairs if pair.timer.name == f"{name}.timer")
        for unit in (*pair.timer.files, *pair.service.files):
            machine.write_file(f"{UNITS}/{unit.path}", unit.text)
        machine.run(f"systemctl daemon-reload; systemctl enable --now {name}.timer")
        show = "systemctl show -P TimersCalendar"
        before = machine.run(f"{show} {name}.timer").stdout
        machine.wait_for(f"! systemctl is-active -q {name}.service", what="the end of a run")
        luna("adopt", f"{name}.timer", "--name", luna.name)
        timer = f"lunasched-job@{luna.name}.timer"
        assert machine.run(f"{show} {timer}").stdout == before
        # It will elapse, and has not because of the boot, which is over.
        shown = machine.run(f"systemctl show {timer}").stdout
        assert "\nNextElapseUSec" in shown
        assert "\nLastTriggerUSec=" not in shown or "\nPersistent=yes" in shown
        luna("remove", luna.name)
        machine.run(f"rm -r {UNITS}/{name}.*.adopted; systemctl daemon-reload")
