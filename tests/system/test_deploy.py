"""Adding, changing and removing jobs on a real systemd: all of it or nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from installed import Lunasched
    from machine import Machine

pytestmark = pytest.mark.machine

UNITS = "/etc/systemd/system"


def units(machine: Machine) -> list[str]:
    """Every trace that a job of ours could leave among the unit files."""
    return machine.exec(f"find {UNITS} -name '*lunasched-*' | sort").stdout.split()


def timer(luna: Lunasched, name: str, *properties: str) -> dict[str, str]:
    shown = luna.machine.exec(
        ["systemctl", "show", f"lunasched-job@{name}.timer", "-p", ",".join(properties)]
    ).stdout
    return dict(line.split("=", 1) for line in shown.splitlines())


def test_add_makes_a_timer_that_systemd_runs(luna: Lunasched) -> None:
    added = luna("add", "--name", luna.name, "--schedule", "every 1s", "--command", "echo tick")
    assert f"lunasched-job@{luna.name}.timer" in added.stdout
    listed = luna.machine.exec("systemctl list-timers --no-legend").stdout
    assert f"lunasched-job@{luna.name}.service" in listed
    luna.wait_for_runs(luna.name, 2)
    printed = luna.machine.exec(
        ["journalctl", "-u", f"lunasched-job@{luna.name}", "-o", "cat", "--no-pager"]
    ).stdout
    assert "tick" in printed
    seen: list[dict[str, Any]] = []

    def rests() -> bool:
        # While it runs, it has no result and an interval no next time.
        seen[:] = luna.json("list")
        return seen[0]["last_run"]["result"] is not None and seen[0]["next_elapse"] is not None

    luna.machine.wait_for(rests, what="a moment at which it does not run")
    (job,) = seen
    assert job["last_run"]["result"] == "success"
    assert job["next_elapse"] > job["last_run"]["started_at"]


def test_a_job_survives_a_reboot_of_systemds_view(luna: Lunasched) -> None:
    """The timer is wanted by timers.target, and a daemon-reload finds it as it was."""
    luna("add", "--name", luna.name, "--schedule", "0 3 * * *", "--command", "true")
    before = timer(luna, luna.name, "NextElapseUSecRealtime", "ActiveState")
    luna.machine.exec("systemctl daemon-reload")
    assert timer(luna, luna.name, "NextElapseUSecRealtime", "ActiveState") == before
    wanted = luna.machine.exec("systemctl show -P Wants timers.target").stdout
    assert f"lunasched-job@{luna.name}.timer" in wanted


def test_all_options_arrive_in_the_service(luna: Lunasched) -> None:
    luna(
        *("add", "--name", luna.name, "--schedule", "0 3 * * *", "--run-as", "luna"),
        *("--timezone", "Asia/Tokyo", "--timeout", "15m", "--max-memory", "512M"),
        *("--cpu-quota", "0.5", "--jitter", "2m", "--env", "A=x y", "--env", "B=$HOME %n"),
        *("--working-directory", "/tmp", "--priority", "low", "--tags", "nightly,db"),
        *("--command", 'echo "$A|$B|$PWD|$(id -un)|$HOME"'),
    )
    unit = f"lunasched-job@{luna.name}.service"
    shown = luna.machine.exec(["systemctl", "show", unit]).stdout
    properties = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    assert properties["RuntimeMaxUSec"] == "15min"
    assert properties["MemoryMax"] == str(512 << 20)
    assert properties["CPUQuotaPerSecUSec"] == "500ms"
    assert (properties["Nice"], properties["CPUWeight"], properties["IOWeight"]) == (
        "10",
        "30",
        "30",
    )
    assert properties["Slice"] == "lunasched.slice"
    assert properties["Type"] == "exec"
    jitter = timer(luna, luna.name, "RandomizedDelayUSec", "RandomizedOffsetUSec")
    # From systemd 258 on it is an offset.
    assert jitter.pop("RandomizedOffsetUSec", jitter["RandomizedDelayUSec"]) == "2min"
    calendar = timer(luna, luna.name, "TimersCalendar")["TimersCalendar"]
    assert "03:00:00 Asia/Tokyo" in calendar
    done = luna("start", luna.name, "--wait")
    assert done.stdout == "x y|$HOME %n|/tmp|luna|/home/luna\n"
    (listed,) = luna.json("list", "--tag", "db")
    assert listed["name"] == luna.name
    assert luna.json("list", "--tag", "other") == []


def test_replace_changes_a_job_without_leaving_the_old_one(luna: Lunasched) -> None:
    luna("add", "--name", luna.name, "--schedule", "@yearly", "--command", "echo old")
    luna("start", luna.name, "--wait")
    refused = luna(
        *("add", "--name", luna.name, "--schedule", "@yearly", "--command", "echo new"), check=False
    )
    assert refused.returncode == 2
    assert "--replace" in refused.stderr
    for turn in range(3):
        luna(
            *("add", "--replace", "--name", luna.name, "--schedule", f"{turn} 4 * * *"),
            *("--command", f"echo new {turn}"),
        )
        assert f"04:0{turn}:00" in timer(luna, luna.name, "TimersCalendar")["TimersCalendar"]
        assert luna("start", luna.name, "--wait").stdout == f"new {turn}\n"


def test_replace_takes_effect_while_the_job_runs(luna: Lunasched) -> None:
    luna("add", "--name", luna.name, "--schedule", "@yearly", "--command", "sleep 2; echo old")
    luna("start", luna.name)
    luna("add", "--replace", "--name", luna.name, "--schedule", "@yearly", "--command", "echo new")
    (old,) = luna.wait_for_runs(luna.name, 1)
    assert (old["output"], old["result"]) == ("old\n", "success")
    assert luna("start", luna.name, "--wait").stdout == "new\n"


def test_replace_after_a_failure(luna: Lunasched) -> None:
    """A failed unit stays loaded with its old content until it is reset."""
    luna("add", "--name", luna.name, "--schedule", "@yearly", "--command", "exit 1")
    luna("start", luna.name, "--wait", check=False)
    luna("add", "--replace", "--name", luna.name, "--schedule", "@yearly", "--command", "echo new")
    assert luna("start", luna.name, "--wait").stdout == "new\n"


def test_disable_and_enable(luna: Lunasched) -> None:
    luna("add", "--name", luna.name, "--schedule", "every 1s", "--command", "true", "--disabled")
    assert timer(luna, luna.name, "ActiveState")["ActiveState"] == "inactive"
    assert not [unit for unit in units(luna.machine) if "wants" in unit and luna.name in unit]
    luna("start", luna.name, "--wait")
    luna("enable", luna.name)
    assert "already" in luna("enable", luna.name).stdout
    luna.wait_for_runs(luna.name, 3)
    luna("disable", luna.name)
    assert timer(luna, luna.name, "ActiveState")["ActiveState"] == "inactive"
    (job,) = luna.json("list")
    assert (job["enabled"], job["next_elapse"]) == (False, None)


def test_remove_leaves_nothing_but_the_history(luna: Lunasched) -> None:
    before = units(luna.machine)
    luna("add", "--name", luna.name, "--schedule", "@yearly", "--command", "exit 7")
    luna("start", luna.name, "--wait", check=False)
    luna.wait_for_runs(luna.name, 1)
    luna("remove", luna.name)
    assert units(luna.machine) == before
    loaded = luna.machine.exec("systemctl list-units --all --no-legend 'lunasched-job@*'").stdout
    assert luna.name not in loaded
    assert luna("get", luna.name, check=False).returncode == 3
    assert luna("remove", luna.name, check=False).returncode == 3
    (run,) = luna.history(luna.name)
    assert run["exit_code"] == 7


def test_remove_lets_a_run_in_progress_end(luna: Lunasched) -> None:
    luna("add", "--name", luna.name, "--schedule", "@yearly", "--command", "sleep 1; echo done")
    luna("start", luna.name)
    luna("remove", luna.name)
    (run,) = luna.wait_for_runs(luna.name, 1)
    assert (run["result"], run["output"]) == ("success", "done\n")


def test_add_and_remove_do_not_reload_systemd(luna: Lunasched) -> None:
    luna.machine.run(
        "systemd-run -q --unit=bus-monitor --property=StandardOutput=file:/tmp/monitor "
        "busctl --json=short monitor org.freedesktop.systemd1"
    )
    luna.machine.wait_for(
        "test -s /tmp/monitor || busctl call org.freedesktop.systemd1 "
        "/org/freedesktop/systemd1 org.freedesktop.systemd1.Manager "
        "GetUnit s dbus.service && test -s /tmp/monitor"
    )
    for number in range(6):
        name = f"{luna.name}-{number}"
        luna("add", "--name", name, "--schedule", f"{number} 5 * * *", "--command", "true")
    for number in range(6):
        luna("remove", f"{luna.name}-{number}")
    calls = luna.machine.exec("cat /tmp/monitor").stdout.splitlines()
    luna.machine.run("systemctl stop bus-monitor")
    members = [json.loads(call).get("member") for call in calls if call.startswith("{")]
    assert members.count("StartUnit") == 6
    assert members.count("StopUnit") >= 6
    assert members.count("Reload") == 0


def test_sync_repairs_what_was_changed_behind_its_back(luna: Lunasched) -> None:
    for name in ("a", "b", "c", "d"):
        luna("add", "--name", f"{luna.name}{name}", "--schedule", "@yearly", "--command", "true")
    assert "as it should be" in luna("sync").stdout
    unit = f"lunasched-job@{luna.name}"
    luna.machine.exec(
        f"cd {UNITS}; rm {unit}a.timer; echo '# edited' >> {unit}b.service;"
        f"systemctl stop {unit}c.timer; rm timers.target.wants/{unit}d.timer;"
        f"sed 's/yes/no/' {unit}a.service > {unit}stray.service"
    )
    done = luna("sync").stdout
    assert f"wrote {unit}a.timer" in done
    assert f"wrote {unit}b.service" in done
    assert f"removed {unit}stray.service" in done
    assert f"started {unit}c.timer" in done
    assert "as it should be" in luna("sync").stdout
    for name in ("a", "b", "c", "d"):
        state = timer(luna, f"{luna.name}{name}", "ActiveState", "NeedDaemonReload")
        assert state == {"ActiveState": "active", "NeedDaemonReload": "no"}
        luna.machine.exec(f"test -L {UNITS}/timers.target.wants/{unit}{name}.timer")


def test_sync_does_not_take_a_lost_database_for_no_jobs(luna: Lunasched) -> None:
    luna("add", "--name", luna.name, "--schedule", "@yearly", "--command", "true")
    before = units(luna.machine)
    lost = "LUNASCHED_DB_PATH=/root/lost/jobs.db lunasched sync"
    refused = luna.machine.run(lost, check=False)
    assert refused.returncode == 1
    assert "none was removed" in refused.stderr
    assert units(luna.machine) == before
    assert (
        f"removed lunasched-job@{luna.name}.timer"
        in luna.machine.run(f"{lost} --allow-empty").stdout
    )
    assert luna.name not in " ".join(units(luna.machine))
    luna("sync")
    assert units(luna.machine) == before


def test_two_adds_at_the_same_instant(luna: Lunasched) -> None:
    command = ["lunasched", "add", "--schedule", "@yearly", "--command", "true", "--name"]
    same = [luna.machine.popen([*command, luna.name]) for _ in range(6)]
    other = [luna.machine.popen([*command, f"{luna.name}-{number}"]) for number in range(4)]
    for process in [*same, *other]:
        process.wait(300)
    assert sorted(process.returncode for process in same) == [0, 2, 2, 2, 2, 2]
    assert [process.returncode for process in other] == [0] * 4
    assert len(luna.json("list")) == 5
    assert "as it should be" in luna("sync").stdout


@pytest.mark.parametrize(
    ("directory", "trouble", "says"),
    [
        (UNITS, "mount -t tmpfs -o size=64k none {0}; head -c 60k /dev/zero > {0}/full", "full"),
        (UNITS, "mount -t tmpfs -o ro none {0}", "read-only"),
        (
            "/var/lib/lunasched",
            "cp -a {0} /tmp/copy.$$; mount -t tmpfs -o size=300k none {0};"
            "cp -a /tmp/copy.$$/jobs.db* {0}; chmod 755 {0};"
            "cat /dev/zero > {0}/full 2>/dev/null",
            "full",
        ),
    ],
    ids=["full unit directory", "read-only unit directory", "full database directory"],
)
def test_a_disk_that_does_not_take_it(
    luna: Lunasched, directory: str, trouble: str, says: str
) -> None:
    """The trouble is in a mount namespace of the command alone."""
    luna("list")
    before = units(luna.machine)
    add = f"lunasched add --name {luna.name} --schedule @yearly --command true"
    big = '--env X="$(head -c 100000 /dev/zero | tr "\\0" x)"'
    script = f"{trouble.format(directory)}\n{add} {big}; echo code $?; ls -A {directory}"
    done = luna.machine.run(["unshare", "--mount", "sh", "-c", script], check=False)
    assert "code 1" in done.stdout, done
    assert says in done.stderr
    assert "lunasched-new" not in done.stdout
    assert luna("get", luna.name, check=False).returncode == 3
    assert units(luna.machine) == before
    states = luna.machine.exec("systemctl list-units --all --no-legend 'lunasched-job@*'").stdout
    assert luna.name not in states


@pytest.mark.parametrize("suffix", ["service", "timer"])
@pytest.mark.parametrize("kind", ["file", "link", "directory"])
def test_a_foreign_file_where_ours_would_go(luna: Lunasched, suffix: str, kind: str) -> None:
    path = f"{UNITS}/lunasched-job@{luna.name}.{suffix}"
    make = {"file": f"echo '# mine' > {path}", "link": f"ln -s /dev/null {path}"}
    luna.machine.exec(make.get(kind, f"mkdir {path}"))
    try:
        before = units(luna.machine)
        done = luna(
            *("add", "--name", luna.name, "--schedule", "@yearly", "--command", "true"), check=False
        )
        assert done.returncode == 1
        assert path in done.stderr
        assert "left alone" in done.stderr
        assert units(luna.machine) == before
        assert luna.json("list") == []
    finally:
        luna.machine.exec(f"rm -rf {path}")


def test_a_killed_add_is_finished_or_undone_by_sync(luna: Lunasched) -> None:
    """SIGKILL at any moment: afterwards the job is there or not, and the units agree."""
    for number in range(24):
        name = f"{luna.name}-{number}"
        delay = 0.10 + number * 0.012
        luna.machine.exec(
            f"timeout -s KILL {delay:.3f} lunasched add --name {name} --schedule @yearly "
            "--command true || true"
        )
    luna("sync", "--allow-empty")
    assert "as it should be" in luna("sync").stdout
    jobs = {job["name"] for job in luna.json("list")}
    for number in range(24):
        name = f"{luna.name}-{number}"
        state = timer(luna, name, "ActiveState", "LoadState")
        expected = ("active", "loaded") if name in jobs else ("inactive", "not-found")
        assert (state["ActiveState"], state["LoadState"]) == expected
    leftovers = luna.machine.exec(f"ls -A {UNITS} | grep lunasched-new", check=False).stdout
    assert leftovers == ""


def test_names_that_need_escaping(luna: Lunasched) -> None:
    names = [
        'it\'s 100% "quoted"',
        "a/b",
        "ünïcode €",
        "back\\slash\\",
        "x:y@z",
        "%n",
        "$HOME",
        "a b",
    ]
    for name in names:
        luna("add", "--name", name, "--schedule", "@yearly", "--command", "echo ran")
        assert luna("start", name, "--wait").stdout == "ran\n"
        (run,) = luna.wait_for_runs(name, 1)[:1]
        assert (run["job"], run["result"]) == (name, "success")
        assert "ran" in luna("logs", name).stdout
        assert "ran" in luna("logs", name, "--execution", run["execution_id"]).stdout
    assert {job["name"] for job in luna.json("list")} == set(names)
    assert "as it should be" in luna("sync").stdout
    for name in names:
        luna("remove", name)
    assert not [unit for unit in units(luna.machine) if "lunasched-job" in unit]


def test_compile_prints_and_writes_what_is_deployed(luna: Lunasched) -> None:
    luna("add", "--name", luna.name, "--schedule", "@yearly", "--command", "true")
    luna("compile", luna.name, "--output", "/tmp/units")
    for suffix in ("service", "timer"):
        unit = f"lunasched-job@{luna.name}.{suffix}"
        deployed = luna.machine.exec(["cat", f"{UNITS}/{unit}"]).stdout
        assert luna.machine.exec(["cat", f"/tmp/units/{unit}"]).stdout == deployed
        assert deployed in luna("compile", luna.name).stdout


def test_dry_run_changes_nothing(luna: Lunasched) -> None:
    done = luna(
        *("add", "--dry-run", "--name", luna.name, "--schedule", "@yearly", "--command", "true")
    )
    assert "OnCalendar=" in done.stdout
    assert luna.json("list") == []
    assert luna.name not in " ".join(units(luna.machine))
