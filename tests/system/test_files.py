"""Jobs from files, on a real systemd: what is planned, what is done, and what is left alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from campaign import rounds

if TYPE_CHECKING:
    import random

    from installed import Lunasched

pytestmark = pytest.mark.machine

UNITS = "/etc/systemd/system"


class Files:
    """Job files on the machine, and the commands that read them."""

    def __init__(self, luna: Lunasched) -> None:
        self.luna = luna
        self.machine = luna.machine
        self.path = f"/tmp/{luna.name}.yaml"

    def write(self, text: str, path: str | None = None) -> str:
        target = path or self.path
        self.machine.write_file(target, text)
        return target

    def apply(self, text: str, *options: str, check: bool = True, timeout: float = 60) -> Any:
        return self.luna("apply", self.write(text), *options, check=check, timeout=timeout)

    def names(self) -> list[str]:
        return [job["name"] for job in self.luna.json("list")]

    def timer(self, name: str, *properties: str) -> str:
        shown = ["systemctl", "show", f"lunasched-job@{name}.timer", "-p", ",".join(properties)]
        return self.machine.exec(shown).stdout

    def traces(self) -> str:
        """All that a job leaves outside of the database: files, links, loaded timers."""
        script = f"""
            find {UNITS} -name '*lunasched-*' -printf '%p %i %T@ %l\\n' | sort
            systemctl list-units --all --no-legend --plain 'lunasched-job@*.timer' | sort
            systemctl show 'lunasched-job@*.timer' -p Id,ActiveEnterTimestampMonotonic
        """
        return str(self.machine.exec(script).stdout)

    def in_place(self) -> bool:
        """Whether the timers of the jobs are started, and systemd has them as they should be."""
        wanted = {job["name"]: job["schedule"] for job in self.luna.json("list")}
        shown = self.machine.exec(
            "systemctl show 'lunasched-job@k*.timer' -p Id,TimersCalendar,ActiveState"
        ).stdout.split("\n\n")
        have = {}
        for text in shown:
            found = re.search(r"OnCalendar=\*-\*-\* (\S+):00", text)
            name = re.search(r"Id=lunasched-job@(k\d+)\.timer", text)
            if found and name and "ActiveState=active" in text:
                have[name[1]] = f"at {found[1]}"
        return have == wanted

    def leftovers(self) -> str:
        places = f"{UNITS} /var/lib/lunasched*"
        found = self.machine.exec(f"find {places} -name '*lunasched-new*' -o -name '.*.new'")
        return str(found.stdout)


@pytest.fixture
def files(luna: Lunasched) -> Files:
    return Files(luna)


THREE = """
defaults: {timezone: UTC, tags: [night]}
jobs:
  - {name: report, dependencies: [dump], command: "true"}
  - {name: dump, schedule: at 02:30, command: "echo 'a b' %", retry_policy: {max_attempts: 3}}
  - {name: sweep, schedule: every 1d, command: [/bin/true, a b], enabled: false}
"""


def test_a_file_becomes_timers_in_one_step(files: Files) -> None:
    reloads = files.luna.reloads()
    done = files.luna("import-config", files.write(THREE))
    assert done.stdout.splitlines()[-1] == "Done: 3 added, 0 changed, 0 removed, 0 unchanged."
    assert files.names() == ["dump", "report", "sweep"]
    assert "ActiveState=active" in files.timer("dump", "ActiveState")
    assert "ActiveState=inactive" in files.timer("sweep", "ActiveState")
    assert files.luna.reloads() == reloads
    assert "as it should be" in files.luna("sync").stdout
    files.luna("start", "dump", "--wait")
    (run,) = files.luna.wait_for_runs("dump", 1)
    assert run["output"] == "a b %\n"
    files.luna.wait_for_runs("report", 1)


def test_importing_again_changes_nothing_and_a_change_has_to_be_asked_for(files: Files) -> None:
    files.luna("import-config", files.write(THREE))
    before = files.traces()
    again = files.luna("import-config", files.path)
    assert again.stdout == "Done: 0 added, 0 changed, 0 removed, 3 unchanged.\n"
    changed = THREE.replace("02:30", "02:31") + "  - {name: new, schedule: '@daily', command: x}\n"
    refused = files.luna("import-config", files.write(changed), check=False)
    assert refused.returncode == 2
    assert "'dump'" in refused.stderr and "--replace" in refused.stderr
    assert files.traces() == before
    replaced = files.luna("import-config", files.path, "--replace")
    assert "1 added, 1 changed" in replaced.stdout


def test_apply_touches_what_changed_and_nothing_else(files: Files) -> None:
    files.luna("add", "--name", "other", "--schedule", "@daily", "--command", "true")
    files.apply(THREE)
    before = files.traces()
    assert files.apply(THREE).stdout == "Done: 0 added, 0 changed, 0 removed, 3 unchanged.\n"
    assert files.traces() == before
    changed = THREE.replace("at 02:30", "at 02:45").replace("max_attempts: 3", "max_attempts: 4")
    planned = files.apply(changed, "--dry-run", "--exit-code", check=False)
    assert planned.returncode == 2
    assert planned.stdout.splitlines() == [
        "~ dump  at 02:45",
        '    schedule: "at 02:30" -> "at 02:45"',
        "    retry_policy.max_attempts: 3 -> 4",
        "Plan: 0 to add, 1 to change, 0 to remove, 2 unchanged.",
    ]
    assert files.traces() == before
    assert files.apply(changed).stdout == planned.stdout.replace(
        "Plan: 0 to add, 1 to change, 0 to remove", "Done: 0 added, 1 changed, 0 removed"
    )
    after = files.traces()
    unlike = set(before.splitlines()) ^ set(after.splitlines())
    assert unlike
    assert not [line for line in unlike if re.search("other|sweep", line)]
    assert "02:45:00 UTC" in files.timer("dump", "TimersCalendar")
    assert files.apply(changed, "--exit-code").returncode == 0


def test_prune_removes_the_others(files: Files) -> None:
    files.luna("add", "--name", "other", "--schedule", "@daily", "--command", "true")
    files.apply(THREE)
    assert files.names() == ["dump", "other", "report", "sweep"]
    only = "jobs: [{name: sweep, schedule: every 1d, command: [/bin/true, a b], timezone: UTC,"
    only += " tags: [night], enabled: false}]\n"
    planned = files.apply(only, "--prune", "--dry-run")
    assert planned.stdout.splitlines()[:3] == ["- dump  at 02:30", "- other  @daily",
                                               "- report  on demand"]  # fmt: skip
    files.apply(only, "--prune")
    assert files.names() == ["sweep"]
    assert "dump" not in files.traces()
    refused = files.apply("jobs:\n", "--prune", check=False)
    assert refused.returncode == 2 and "--allow-empty" in refused.stderr
    assert files.names() == ["sweep"]
    files.apply("jobs: []\n", "--prune", "--allow-empty")
    assert files.names() == []


def test_what_others_depend_on_is_not_pruned_alone(files: Files) -> None:
    files.apply(THREE)
    before = files.traces()
    changed = "jobs: [{name: report, dependencies: [dump], command: 'false'}]\n"
    refused = files.apply(changed, "--prune", check=False)
    assert refused.returncode == 2
    assert (
        f"{files.path}:1: jobs[0].dependencies: the job 'dump' is in none of the files"
        in refused.stderr
    )
    unchanged = "\n".join(THREE.splitlines()[:4]) + "\n"
    refused = files.apply(unchanged, "--prune", check=False)
    assert refused.returncode == 2
    assert "'dump' was not removed, because others wait for it: 'report'" in refused.stderr
    assert files.traces() == before
    # Together with what depends on it, in whatever order.
    files.apply("jobs: [{name: x, schedule: '@daily', command: 'true'}]\n", "--prune")
    assert files.names() == ["x"]


def test_all_that_is_wrong_is_told_with_its_place(files: Files) -> None:
    # After a reload, timers.target keeps timers of jobs loaded that were removed since.
    before = files.traces()
    text = (
        "jobs:\n"
        "  - {name: a, schedule: '@daily', command: x, dependencies: [c]}\n"
        "  - name: b\n"
        "    schedule: '@daily'\n"
        "    command: x\n"
        "    systemd: {LimitNOFILE: many}\n"
        "  - {name: d, schedule: 'calendar:2020-01-01 00:00', command: x}\n"
        "  - {name: e, schedule: '@daily', command: x, dependencies: [f]}\n"
        "  - {name: f, schedule: '@daily', command: x, dependencies: [e]}\n"
    )
    refused = files.apply(text, check=False)
    assert refused.returncode == 2
    said = refused.stderr.removeprefix("lunasched: ").splitlines()
    assert said[:2] == [
        f"{files.path}:2: jobs[0].dependencies: there is no job 'c'; add it first",
        f"{files.path}:7: jobs[2].schedule: This schedule never elapses again.",
    ]
    text = text.replace("dependencies: [c]", "").replace("2020", "2120")
    said = files.apply(text, check=False).stderr.removeprefix("lunasched: ").splitlines()
    assert said == [
        f"{files.path}:8: jobs[3].dependencies: they form a cycle: e -> f -> e",
        "see: lunasched.yaml(5)",
    ]
    said = files.apply(text.replace(", dependencies: [e]", ""), check=False).stderr
    assert f"{files.path}:6: jobs[1].systemd: " in said or "jobs[1].systemd.LimitNOFILE" in said
    assert files.names() == []
    assert files.traces() == before
    # With --exit-code, 2 is for a plan.
    assert files.apply("jobs: 3", "--exit-code", check=False).returncode == 1


def test_all_or_nothing_when_something_stands_in_the_way(files: Files) -> None:
    files.apply(THREE)
    before, shown = files.traces(), files.luna.json("list")
    foreign = f"{UNITS}/lunasched-job@m7.service"
    files.write("[Service]\nExecStart=/bin/true\n", foreign)
    many = "jobs:\n  - {name: dump, schedule: at 05:05, command: 'false'}\n" + "".join(
        f"  - {{name: m{number}, schedule: '@daily', command: 'true'}}\n" for number in range(12)
    )
    try:
        refused = files.apply(many, "--prune", check=False)
        assert refused.returncode == 1
        assert foreign in refused.stderr
    finally:
        files.machine.exec(["rm", foreign])
    assert files.traces() == before
    assert files.luna.json("list") == shown


def test_all_or_nothing_when_systemd_refuses(files: Files) -> None:
    """The timers of the jobs cannot be started: what was there is back, and its timers run."""
    files.apply(THREE)
    shown = files.luna.json("list")
    dropin = f"{UNITS}/lunasched-job@m3.timer.d"
    files.machine.exec(["mkdir", dropin])
    files.write("[Timer]\nUnit=nothing.mount\nOnCalendar=\nOnCalendar=", f"{dropin}/x.conf")
    many = "jobs:\n  - {name: dump, schedule: at 05:05, command: 'false'}\n" + "".join(
        f"  - {{name: m{number}, schedule: '@daily', command: 'true'}}\n" for number in range(5)
    )
    try:
        refused = files.apply(many, "--prune", check=False)
        assert refused.returncode == 1
        assert "the 8 jobs were not deployed: " in refused.stderr
        assert "Nothing was changed." in refused.stderr.splitlines()
    finally:
        files.machine.exec(["rm", "-r", dropin])
    assert [job["name"] for job in files.luna.json("list")] == ["dump", "report", "sweep"]
    assert [job["schedule"] for job in files.luna.json("list")] == [
        job["schedule"] for job in shown
    ]
    assert "02:30:00 UTC" in files.timer("dump", "TimersCalendar")
    assert "ActiveState=active" in files.timer("dump", "ActiveState")
    assert "m1" not in files.traces()
    assert "as it should be" in files.luna("sync").stdout


def test_timers_go_on_where_the_disk_is_full_of_what_the_guard_knows(files: Files) -> None:
    """The last of a change that needs space: what was there before runs on without it."""

    def listed(hour: int, letter: str, first: int) -> str:
        return "".join(
            f"  - {{name: {letter}{number}, schedule: 'at {hour:02}:{number + 10}', command: a}}\n"
            for number in range(first, 30)
        )

    files.apply("jobs:\n" + listed(1, "s", 0))
    changed = files.write("jobs:\n" + listed(2, "s", 10) + listed(2, "t", 0))
    slots = "/var/lib/lunasched/slots"
    # In a mount namespace of the command alone, with space for some of them.
    script = f"""
        cp -a {slots} /tmp/slots.$$
        mount -t tmpfs -o size=64m none {slots}
        cp -a /tmp/slots.$$/. {slots}
        used=$(df -k --output=used {slots} | tail -1)
        mount -o remount,size=$((used + 8))k {slots}
        head -c 4k /dev/zero > {slots}/full
        lunasched apply --prune {changed}
    """
    refused = files.machine.exec(["unshare", "--mount", "sh", "-c", script], check=False)
    assert refused.returncode == 1
    assert "space" in refused.stderr, refused.stderr
    for name in ("s0", "s15", "s29"):
        assert "ActiveState=active" in files.timer(name, "ActiveState"), refused.stderr
        assert "01:" in files.timer(name, "TimersCalendar")
    assert len(files.names()) == 30
    files.luna("sync")
    assert "as it should be" in files.luna("sync").stdout


def test_nothing_fires_because_of_an_apply(files: Files) -> None:
    def text(command: str) -> str:
        schedules = ["* * * * *", "@daily", "@hourly", "every 1d", "at 00:00", "@reboot"]
        return "jobs:\n" + "".join(
            f"  - {{name: q{number}, schedule: '{schedule}', command: '{command}',"
            f" catch_up: {str(number % 2 == 0 and 'every' not in schedule).lower()}}}\n"
            for number, schedule in enumerate(schedules)
        )

    # Not at the turn of a minute, when one of them is due.
    files.machine.wait_for(
        lambda: int(files.machine.exec("date +%S").stdout) in range(2, 40), 30, what="a quiet time"
    )
    files.apply(text("echo a"))
    files.apply(text("echo b"))
    files.apply("jobs: [{name: q0, schedule: '* * * * *', command: 'echo c'}]\n", "--prune")
    files.apply(text("echo d"))
    assert [run for run in files.luna.history() if run["job"].startswith("q")] == []


def test_jobs_d_is_read_without_a_file(files: Files) -> None:
    directory = "/etc/lunasched/jobs.d"
    missing = files.luna("apply", check=False)
    assert missing.returncode == 2 and directory in missing.stderr
    files.machine.exec(["mkdir", "-p", directory])
    try:
        files.write("jobs: [{name: one, schedule: '@daily', command: 'true'}]\n",
                    f"{directory}/10-one.yaml")  # fmt: skip
        files.write('[[jobs]]\nname = "two"\nschedule = "@daily"\ncommand = "true"\n',
                    f"{directory}/20-two.toml")  # fmt: skip
        files.write("not a job file", f"{directory}/30-three.yaml.bak")
        files.luna("apply", "--prune")
        assert files.names() == ["one", "two"]
        two = f"{directory}/20-two.toml"
        for change in (f"chmod o+w {two}", f"chmod g+w {two}; chgrp luna {two}",
                       f"chown luna {two}", f"chmod o+w {directory}"):  # fmt: skip
            files.machine.exec(change)
            refused = files.luna("apply", check=False)
            assert refused.returncode == 2
            assert "is writable for users other than root" in refused.stderr
            files.machine.exec(f"chown root:root {directory} {two}; chmod go-w {directory} {two}")
        files.luna("apply")
        files.write("jobs: [{name: one, schedule: '@weekly', command: 'true'}]\n",
                    f"{directory}/40-again.yaml")  # fmt: skip
        double = files.luna("apply", check=False)
        assert double.returncode == 2
        assert f"{directory}/10-one.yaml:1: jobs[0].name" in double.stderr
    finally:
        files.machine.exec(["rm", "-r", directory])


def test_standard_input(files: Files) -> None:
    done = files.machine.run(
        ["lunasched", "apply", "-", "--format", "TOML"],
        input='[[jobs]]\nname = "piped"\nschedule = "every 1h"\ncommand = "true"\n',
    )
    assert "1 added" in done.stdout
    unknown = files.machine.run(["lunasched", "apply", "-"], input="", check=False)
    assert unknown.returncode == 2 and "--format" in unknown.stderr


def test_a_dry_run_without_a_database_makes_none(own: Lunasched) -> None:
    machine, home = own.machine, "/home/luna/.local/state/dry"
    run = [
        "env", f"LUNASCHED_DB_PATH={home}/l.db", "lunasched", "apply", "-", "--format", "yaml",
        "--dry-run",
    ]  # fmt: skip
    text = "jobs: [{name: one, schedule: '@daily', command: 'true'}]\n"
    done = machine.run(run, user="luna", input=text)
    assert "1 to add" in done.stdout
    assert machine.run(["test", "-e", home], check=False).returncode == 1


def test_the_configuration_file_gives_defaults(files: Files) -> None:
    files.machine.exec("mkdir -p /etc/lunasched")
    config = "/etc/lunasched/config.yaml"
    files.write("global: {default_timezone: Asia/Tokyo}\ndefaults: {timeout: 1h, tags: [x]}\n",
                config)  # fmt: skip
    try:
        files.luna("add", "--name", "typed", "--schedule", "@daily", "--command", "true")
        files.apply("defaults: {timeout: 2h}\njobs: [{name: read, schedule: '@daily', command: a}]")
        read, typed = files.luna.json("list")
        assert (read["timezone"], read["tags"]) == ("Asia/Tokyo", ["x"])
        assert (typed["timezone"], typed["tags"]) == ("Asia/Tokyo", ["x"])
        limits = [job["resource_limits"]["timeout_seconds"] for job in (read, typed)]
        assert limits == [7200, 3600]
    finally:
        files.machine.exec(["rm", config])


def test_edit(files: Files) -> None:
    files.apply(THREE)

    def edit(script: str, name: str = "dump") -> Any:
        return files.machine.run(
            ["lunasched", "edit", name], env={"EDITOR": f"sed -i {script}"}, check=False
        )

    before = files.traces()
    assert edit("-e ''").stdout == "Job 'dump' was not changed.\n"
    wrong = edit("'s/at 02:30/at 25:30/; s/max_attempts: 3/max_attempts: many/'")
    assert wrong.returncode == 2
    assert re.findall(r"dump:\d+: (jobs\[0\]\S+):", wrong.stderr) == [
        "jobs[0].schedule", "jobs[0].retry_policy.max_attempts",
    ]  # fmt: skip
    renamed = edit("'s/name: dump/name: dumpling/'")
    assert renamed.returncode == 2 and "cannot be renamed" in renamed.stderr
    failed = edit("'s/('")
    assert failed.returncode == 1 and "nothing was changed" in failed.stderr
    assert files.traces() == before
    done = edit("'s/at 02:30/at 03:30/'")
    assert done.stdout == 'schedule: "at 02:30" -> "at 03:30"\nChanged job \'dump\'.\n'
    assert "03:30:00 UTC" in files.timer("dump", "TimersCalendar")
    assert edit("-e ''", "nobody").returncode == 3


def test_edit_asks_again_on_a_terminal(files: Files) -> None:
    files.apply(THREE)
    editor = "/tmp/editor"
    # Wrong at first, fixed when it is opened again.
    files.machine.write_file(
        editor,
        "#!/bin/sh\nif grep -q 25:30 $1; then sed -i s/25:30/04:30/ $1; "
        "else sed -i s/02:30/25:30/ $1; fi\n",
        mode=0o755,
    )
    asked = files.machine.run(
        ["script", "-qec", f"EDITOR={editor} lunasched edit dump", "/dev/null"], input="y\n"
    )
    assert "jobs[0].schedule" in asked.stdout
    assert "Edit 'dump' again? [Y/n]" in asked.stdout
    assert "04:30:00 UTC" in files.timer("dump", "TimersCalendar")


# What a change does to the world: to the database, to files, to systemd.
CALLS = ("pwrite64", "fdatasync", "fsync", "rename", "unlink", "symlink", "sendmsg")


def eight(hour: int) -> str:
    """Every second job is one of all hours, so that a change adds, changes and removes.

    In every third hour, one of them is Exclusive, so that the gate comes and goes.
    """
    modes = {15: "Sequential" if hour % 3 else "Exclusive"}
    return "jobs:\n" + "".join(
        f"  - {{name: k{number}, schedule: 'at {hour:02}:{number + 10}', command: 'true',"
        f" execution_mode: {modes.get(number, 'Sequential')}}}\n"
        for number in range(hour % 2, 16, 1 + hour % 2)
    )


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.parametrize("by", ["the supervisor", "the next command"])
def test_killed_at_any_call(files: Files, rng: random.Random, by: str) -> None:
    """After a SIGKILL the jobs are the old ones or the new ones, and soon their timers are, too."""
    trace = ["strace", "-f", "-qq", "-o", "/tmp/trace"]
    machine = files.machine
    if by == "the next command":
        machine.exec("systemctl stop lunasched")
    # As an umask would make it.
    machine.exec("chmod 600 /var/lib/lunasched/jobs.db.deploy-lock.word", check=False)

    def apply(hour: int, *before: str) -> int:
        path = files.write(eight(hour))
        done = machine.exec([*before, "lunasched", "apply", "--prune", path], check=False)
        return int(done.returncode)

    apply(1)
    assert apply(2, *trace) == 0
    calls = re.findall(r"^\d+ +(\w+)\(", machine.exec("cat /tmp/trace").stdout, re.MULTILINE)
    old, killed = 2, 0
    # First where each of them leaves a half-written file: the record, the gate, and at random.
    places = [("fsync", 1), ("fsync", calls.count("fsync")), ("rename", 1)]
    for hour in range(3, rounds(10, 24)):
        call = rng.choice(CALLS)
        number = rng.randint(1, calls.count(call))
        if places:
            call, number = places.pop()
        inject = f"inject={call}:signal=KILL:when={number}"
        killed += apply(hour, *trace, "-e", f"trace={call}", "-e", inject) != 0
        listed = {job["schedule"][3:5] for job in files.luna.json("list")}
        (found,) = map(int, listed)
        assert found in (old, hour), (call, number)
        if by == "the supervisor":
            machine.wait_for(files.in_place, 30, what=f"timers after a kill at {call} {number}")
        else:
            assert apply(found) == 0
            assert files.in_place(), (call, number)
        assert "as it should be" in files.luna("sync").stdout
        assert files.leftovers() == "", (call, number)
        old = found
    assert killed > rounds(2, 6)


@pytest.mark.slow
def test_a_sync_killed_at_any_call(files: Files, rng: random.Random) -> None:
    """The next one does not take files for what systemd has: it may not have read them."""
    machine = files.machine
    machine.exec("systemctl stop lunasched")
    files.apply(eight(2))
    files.apply(eight(3), "--prune")
    gate = f"rm -r {UNITS}/lunasched-job@.service.d; systemctl daemon-reload"
    others = f"""
        rm {UNITS}/timers.target.wants/lunasched-job@k1.timer {UNITS}/lunasched-job@k3.service
        sed -i s/03:1./12:10/ {UNITS}/lunasched-job@k*.timer
        {gate}; systemctl stop lunasched-job@k5.timer
        sed -i s/^Nice=.*/Nice=19/ {UNITS}/lunasched-job@k7.service
    """
    machine.exec(others)
    machine.exec("strace -f -qq -o /tmp/trace lunasched sync")
    calls = re.findall(r"^\d+ +(\w+)\(", machine.exec("cat /tmp/trace").stdout, re.MULTILINE)
    # The record is fsync 1 and 2, the gate 3 and, in its place, 4.
    places = [(gate, "fsync", 4)]
    places += [(others, "fsync", number) for number in (1, 3, calls.count("fsync"))]
    places += [(others, call, rng.randint(1, calls.count(call))) for call in CALLS if call in calls]
    killed = 0
    for before, call, number in places:
        machine.exec(before)
        inject = f"-e trace={call} -e inject={call}:signal=KILL:when={number}"
        killed += machine.exec(
            f"strace -f -qq -o /dev/null {inject} lunasched sync", check=False
        ).returncode in (-9, 137)
        files.luna("sync")
        assert files.in_place(), (call, number)
        loaded = ["systemctl", "show", "--all", "lunasched-job@*.service", "-p", "NeedDaemonReload"]
        assert "yes" not in machine.exec(loaded).stdout, (call, number)
        assert "as it should be" in files.luna("sync").stdout
        assert files.leftovers() == "", (call, number)
    assert killed > 4


def test_all_jobs_are_pruned_where_that_was_killed(files: Files) -> None:
    """A database without jobs is no lost one then."""
    files.apply(eight(2))
    files.machine.exec("systemctl stop lunasched")
    inject = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=unlink"]
    inject += ["-e", "inject=unlink:signal=KILL:when=3"]
    prune = ["lunasched", "apply", "--prune", "--allow-empty", files.write("jobs: []\n")]
    assert files.machine.exec([*inject, *prune], check=False).returncode != 0
    assert files.names() == []
    assert "lunasched-job@k1" in files.traces()
    files.luna("sync")
    assert "lunasched-job@k" not in files.traces()


def test_what_cannot_be_taken_back_is_said_and_put_right_later(files: Files) -> None:
    """The disk fails in the middle of a change, and while that is taken back."""
    files.apply(eight(2))
    files.machine.exec("systemctl stop lunasched")
    inject = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=rename"]
    inject += ["-e", "inject=rename:error=EIO:when=4+"]
    broken = files.machine.exec(
        [*inject, "lunasched", "apply", "--prune", files.write(eight(4))], check=False
    )
    assert broken.returncode == 1
    assert "Not all of it could be undone" in broken.stderr and "lunasched sync" in broken.stderr
    again = files.luna("apply", "--prune", files.path)
    assert "a change that a killed command had left unfinished was finished first" in again.stderr
    assert "04:1" in files.timer("k1", "TimersCalendar")
    assert "as it should be" in files.luna("sync").stdout
