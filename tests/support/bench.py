"""What `make bench` prints: how long the commands and the supervisor take.

The figures are medians. On the host: start-up, and lists of many jobs, with the Python that runs
this. In a booted container, with Debian 12's own versions: changing jobs, recording runs.
Nothing is asserted: goals, limits and last values are in ``bench.json`` (``figures``), and what
became worse by a tenth is told of at the end.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from figures import Figures
from machine import Machine
from samples import own_history

from lunasched.paths import history_path

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lunasched.jobs.model import Job
    from lunasched.store import Store

TREE = Path(__file__).resolve().parent.parent.parent
JOBS = 1000
MANY_JOBS = 10_000
RUNS = 5_000
AT_ONCE = 50
"""How many jobs are started together, for so many runs."""
HISTORY = 1_000_000
SLOTS = 40
"""How many slots the guard's cost is measured over."""
MANY = "/var/tmp/bench/jobs.db"
"""Where the database of so many jobs is in the machine."""
LOOKED_AT = "/var/tmp/bench/history.db"
"""Where that is which has so many runs as well."""
SCHEDULES = (
    "every 15m",
    "every 1h",
    "*/15 * * * *",
    "30 4 1,15 * 5",
    "0 9-17 * * 1-5",
    "at 02:30",
    "at 09:00 on Mon,Wed,Fri",
    "on last Fri at 18:00",
    "@daily",
    "calendar:Mon *-*-* 03:00",
)
ZONES = (None, None, None, "Europe/Berlin", "America/New_York")
FIGURES = Figures.load()
MODULES = ("typer", "jinja2", "croniter", "gi.repository.GLib", "pydbus", "lunasched.schedule")


def main() -> int:
    """Measure and print."""
    print(FIGURES.header())
    try:
        _measure_all()
    finally:
        # What was measured counts, though the rest was not.
        FIGURES.save()
    print("\n".join(FIGURES.told))
    return 0


def _measure_all() -> None:
    with tempfile.TemporaryDirectory(prefix="lunasched-bench-") as directory:
        database = Path(directory, "jobs.db")
        _on_the_host(database)
        _prune(Path(directory, "history.db"))
        _miss_slots(Path(directory, "missed.db"))
        history = Path(directory, "history-of-jobs.db")
        _fill_jobs_and_history(history)
        with Machine.boot("bench") as machine:
            machine.copy(database, MANY)
            _in_a_machine(machine)
            machine.copy(history, f"{LOOKED_AT}.jobs")
            machine.copy(history_path(history), LOOKED_AT)
            _look_at(machine)


def _on_the_host(database: Path) -> None:
    lunasched = Path(sys.executable).with_name("lunasched")
    environment = {**os.environ, "LUNASCHED_DB_PATH": str(database)}

    def command(*arguments: str) -> Callable[[], object]:
        argv = [str(lunasched), *arguments]
        return lambda: subprocess.run(argv, env=environment, capture_output=True, check=True)

    python = [sys.executable, "-c"]
    bare = _measure(lambda: subprocess.run([*python, "pass"], check=True), 15)
    _report("the interpreter alone, of this environment", bare)
    _report("lunasched --version", _measure(command("--version"), 15))
    _report("lunasched --help", _measure(command("--help"), 9))
    made = _measure(lambda: _fill(database), 1)
    _report(f"{JOBS} jobs into the database", made)
    _report(f"lunasched list, {JOBS} jobs", _measure(command("--user", "list"), 9))
    as_json = _measure(command("--user", "list", "--json"), 9)
    _report(f"lunasched list --json, {JOBS} jobs", as_json)
    _report("lunasched get", _measure(command("--user", "get", "job-7"), 9))
    _report(f"compile {JOBS} jobs in process", _measure(_compile_all, 3))
    for module in MODULES:
        imported = _measure(lambda: subprocess.run([*python, f"import {module}"], check=True), 5)  # noqa: B023
        _report(f"import {module}", [max(0, taken - min(bare)) for taken in imported])


def _prune(database: Path) -> None:
    """A year of many jobs, of which a quarter is to stay: all of it, and what holds the lock."""
    from lunasched.store import Pruning, Store, space

    now = time.time_ns() // 1000
    with Store.open(database, durable=False) as store:
        _fill_history(store, days=365, now=now)
        pruning = Pruning(store, history_days=90, max_history_per_job=0, now=now)
        steps = [0.0]
        began = time.perf_counter()
        while pruning.step() is not None:
            steps.append(time.perf_counter() - began - sum(steps))
        _report(f"{HISTORY} runs, three quarters pruned", [sum(steps)])
        _report("the longest transaction of pruning", [max(steps)])
        taken = _measure(lambda: list(space.give_back(store)), 1)
        _report("the space of pruned runs given back", taken)


def _miss_slots(database: Path) -> None:
    """A week without a supervisor or a run: how long it takes to see what each job missed."""
    from lunasched.paths import Mode
    from lunasched.store import Store
    from lunasched.supervisor.consequences import Consequences
    from lunasched.supervisor.loop import Loop
    from lunasched.supervisor.notificationqueue import Origin
    from lunasched.supervisor.slotchecker import SlotChecker

    now, day = time.time_ns() // 1000, 86_400_000_000
    awake = iter([0])
    loop = Loop(lambda: now, lambda: next(awake, day))
    with Store.open(database, durable=False) as store:
        with store.changing_jobs():
            for number in range(MANY_JOBS):
                store.jobs.put(_job(number).evolve(schedule="* * * * *"), now - 7 * day)
        consequences = Consequences(store, Origin("bench", "UTC", Mode.SYSTEM), lambda: now)
        checker = SlotChecker(loop, store, consequences, "UTC")
        steps = []
        for name in store.jobs.names():
            begun = time.perf_counter()
            with store.transaction():
                checker.check(name)
            steps.append(time.perf_counter() - begun)
        _report(f"slots that {MANY_JOBS} jobs missed in a week, in all", [sum(steps)])
        _report("the longest transaction of missed slots", [max(steps)])

        def check_all() -> None:
            for name in store.jobs.names():
                checker.check(name)

        again = _measure(check_all, 1)
        _report("missed slots looked at again", again)


def _fill_history(store: Store, *, days: int, now: int) -> None:
    """So many runs of the jobs in turn, one in 50 a failure, over the days before now (µs)."""
    with store.transaction():
        own_history(store).run(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count) "
            "INSERT INTO runs (execution_id, job, unit, boot_id, phase, settled, "
            '"trigger", scheduled_at, started_at, ended_at, result, exit_code, output) '
            "SELECT lower(hex(randomblob(16))), 'job-' || (i % :jobs), "
            "'lunasched-job@job-' || (i % :jobs) || '.service', 'b', 'ended', 1, 'timer', "
            ":now - (:count - i) * :step, :now - (:count - i) * :step, "
            ":now - (:count - i) * :step + abs(random() % 60000000), "
            "CASE i / :jobs % 50 WHEN 7 THEN 'exit-code' ELSE 'success' END, "
            "CASE i / :jobs % 50 WHEN 7 THEN 3 ELSE 0 END, 'some output' FROM n",
            {
                "count": HISTORY,
                "jobs": JOBS,
                "now": now,
                "step": days * 86_400_000_000 // HISTORY,
            },
        )


def _jobs() -> list[Job]:
    return [_job(number) for number in range(JOBS)]


def _job(number: int) -> Job:
    from lunasched.jobs.reading import job_from_mapping

    return job_from_mapping(
        {
            "name": f"job-{number}",
            "schedule": SCHEDULES[number % len(SCHEDULES)],
            "command": f"/usr/local/bin/job --number {number}",
            "timezone": ZONES[number % len(ZONES)],
            "tags": ["bench", f"group-{number % 7}"],
        }
    )


def _fill(database: Path) -> None:
    from lunasched.store import Store

    with Store.open(database) as store, store.changing_jobs():
        for job in _jobs():
            store.jobs.put(job, time.time_ns() // 1000)


def _compile_all() -> None:
    import dataclasses

    from lunasched.cli.session import Session
    from lunasched.units import compiler

    # Where this is a system with no jobs of ours, the paths in the units are only text.
    context = dataclasses.replace(
        Session.choose(True).context, now=datetime(2026, 1, 1, tzinfo=timezone.utc)
    )
    for job in _jobs():
        compiler.compile(job, context)


def _in_a_machine(machine: Machine) -> None:
    print("in a container with Debian's Python and typer, the start of the program included:")
    machine.run(
        "set -e; /opt/lunasched/packaging/install-units; systemd-sysusers; "
        "systemd-tmpfiles --create lunasched.conf; "
        "systemctl daemon-reload; systemctl enable --quiet --now lunasched"
    )
    _report("lunasched --version, in a machine", _timed_inside(machine, "lunasched --version", 15))
    listing = f"LUNASCHED_DB_PATH={MANY} lunasched --user list"
    _report(f"lunasched list, {JOBS} jobs, in a machine", _timed_inside(machine, listing, 9))
    as_json = _timed_inside(machine, f"{listing} --json", 9)
    _report(f"lunasched list --json, {JOBS} jobs, in a machine", as_json)
    _report("lunasched list, no jobs", _timed_inside(machine, "lunasched list", 9))
    add = "lunasched add --name job-$i --schedule 'every 1h' --command 'echo $i; exit 3'"
    _report("lunasched add, every 1h", _timed_inside(machine, add, 9))
    add = "lunasched add --name cron-$i --schedule '30 4 * * *' --command 'echo $i; exit 3'"
    _report("lunasched add, 30 4 * * *", _timed_inside(machine, add, 9))
    change = "lunasched add --replace --name job-$i --schedule 'every 2h' --command true"
    _report("lunasched add --replace", _timed_inside(machine, change, 9))
    start = "systemctl start lunasched-job@cron-$i.service || true"
    _report("systemctl start of that (guard asks systemd)", _timed_inside(machine, start, 9))
    _guard(machine)
    _report(
        "lunasched start --wait of a job",
        _timed_inside(machine, "lunasched start --wait job-$i", 9),
    )
    _record(machine)
    remove = "lunasched remove job-$i"
    _report("lunasched remove", _timed_inside(machine, remove, 9))
    for jobs in (1_000, 10_000):
        _files(machine, jobs)


def _files(machine: Machine, jobs: int) -> None:
    """A whole file of jobs: imported, applied again as it is, removed."""
    machine.run(["python3", "-c", _FILE_OF_JOBS, str(jobs)])
    prune = "lunasched apply --prune --allow-empty --format yaml /dev/null"
    machine.run(prune, timeout=600)
    count = "journalctl -b _PID=1 -o cat | grep -c Reloading. || true"
    reloads = int(machine.exec(count).stdout)
    file = "/tmp/bench.yaml"
    _report(
        f"import-config, {jobs} jobs",
        _timed_inside(machine, f"lunasched import-config {file}", 1),
    )
    print(f"{'  daemon-reloads for it':<48}{int(machine.exec(count).stdout) - reloads:>8}")
    timers = "systemctl list-units --no-legend 'lunasched-job@*.timer' | wc -l"
    assert int(machine.exec(timers).stdout) == jobs
    _report(
        f"apply, {jobs} unchanged jobs",
        _timed_inside(machine, f"lunasched apply {file}", 3),
    )
    _report(f"lunasched list, {jobs} jobs of root's", _timed_inside(machine, "lunasched list", 5))
    add = "lunasched add --name extra-$i --schedule '30 4 * * *' --command true"
    _report(f"lunasched add beside {jobs} jobs", _timed_inside(machine, add, 5))
    _many(machine, jobs)
    _report(f"apply --prune, {jobs} jobs removed", _timed_inside(machine, prune, 1))


def _many(machine: Machine, jobs: int) -> None:
    """What the supervisor and its helpers cost where there are so many jobs."""
    for command in ("sync", "doctor"):
        taken = _timed_inside(machine, f"lunasched {command}", 3)
        _report(f"lunasched {command}, {jobs} jobs", taken)
    restart = "systemctl restart lunasched"
    _report(f"restart of the supervisor, {jobs} jobs", _timed_inside(machine, restart, 3))
    reload = "systemctl daemon-reload"
    ours = statistics.median(_timed_inside(machine, reload, 3))
    # systemctl fails of a manager that still has to read thousands of units.
    machine.wait_for("systemctl is-active --quiet lunasched", 120, what="the manager's answer")
    pid = machine.exec("systemctl show -P MainPID lunasched").stdout.strip()
    _tell(f"its peak memory, {jobs} jobs", _peak(machine, pid), "MB")
    machine.run("systemctl stop lunasched")
    alone = statistics.median(_timed_inside(machine, reload, 3))
    machine.wait_for("systemctl is-active --quiet dbus", 120, what="the manager's answer")
    machine.run("systemctl start lunasched")
    _report(f"daemon-reload beside the supervisor, {jobs} jobs", [ours])
    _tell(f"the same to one without it, {jobs} jobs", ours / alone, "ratio")


_FILE_OF_JOBS = """
import sys

schedules = ["every 1d", "*/15 * * * *", "30 4 1,15 * 5", "at 02:30", "@daily"]
zones = ["Europe/Berlin", "UTC"]
with open("/tmp/bench.yaml", "w") as file:
    print("jobs:", file=file)
    for number in range(int(sys.argv[1])):
        print(f"  - name: bench-{number:05}", file=file)
        print(f"    schedule: '{schedules[number % 5]}'", file=file)
        print(f"    timezone: {zones[number % 2]}", file=file)
        print(f"    command: /usr/bin/true {number}", file=file)
        print("    resource_limits: {timeout_seconds: 60, max_memory_mb: 128}", file=file)
        print("    tags: [a, b]", file=file)
"""


def _fill_jobs_and_history(database: Path) -> None:
    """What the status page is to show: jobs that no timer starts meanwhile, and their runs."""
    from lunasched.store import Store

    now = time.time_ns() // 1000
    with Store.open(database, durable=False) as store:
        with store.changing_jobs():
            for number, job in enumerate(_jobs()):
                yearly = f"{number % 60} {number // 60 % 24} 1 1 *"
                store.jobs.put(job.evolve(schedule=yearly), now - 90 * 86_400_000_000)
        _fill_history(store, days=80, now=now)
        with store.transaction():
            own_history(store).run(_TOTALS)


_TOTALS = """
INSERT INTO job_totals (job, successes, failures, elapses, took_usec, durations)
SELECT job, sum(result = 'success'), sum(result <> 'success'), count(*), sum(ended_at - started_at),
    (SELECT group_concat(printf('%014d', ended_at - started_at), '') FROM (
        SELECT started_at, ended_at FROM runs AS latest WHERE latest.job = runs.job
        ORDER BY sequence DESC LIMIT 100))
FROM runs GROUP BY job
"""


def _look_at(machine: Machine) -> None:
    """The pages of the running supervisor, and what memory it has had for all of them.

    It finds its byte code made, as a package's is: to make it takes memory too.
    """
    print(f"the supervisor of {JOBS} jobs and {HISTORY} runs:")
    machine.run(
        f"set -e; python3 -c '{_COMPILE}'; systemctl stop lunasched; "
        "cd /var/lib/lunasched; rm -f jobs.db history/history.db*; "
        f"mv {LOOKED_AT}.jobs jobs.db; mv {LOOKED_AT} history/history.db; "
        "mkdir -p /etc/lunasched; echo 'web: {enabled: true}' >/etc/lunasched/config.yaml; "
        "chown root:lunasched jobs.db; chmod 640 jobs.db; chown lunasched: history/history.db; "
        "systemctl start lunasched"
    )
    pid = machine.exec("systemctl show -P MainPID lunasched").stdout.strip()
    for what, path in (
        ("the status page", "/"),
        ("the page of a job", "/jobs/job-7"),
        ("a scrape of the metrics", "/metrics"),
        ("all jobs as JSON", "/api/v1/jobs"),
        ("1000 runs as JSON", "/api/v1/runs?limit=1000"),
    ):
        done = machine.run(["/usr/bin/python3", "-c", _FETCH, path], check=False, timeout=300)
        if done.returncode == 0:
            taken = json.loads(done.stdout)
            _report(what, taken)
            if path in ("/", "/metrics"):
                _report(f"{what}, the first", taken[:1])
    _tell("the supervisor's peak memory, after all of these", _peak(machine, pid), "MB")


def _peak(machine: Machine, pid: str) -> float:
    """The most memory that a process had (MB)."""
    status = machine.read_file(f"/proc/{pid}/status").splitlines()
    held = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    return held * 1024 / 1e6


_COMPILE = (
    "import compileall, sys; "
    'sys.pycache_prefix = "/var/cache/lunasched-pyc"; '
    'compileall.compile_dir("/opt/lunasched/lunasched", quiet=1)'
)
_FETCH = """
import json, sys, time, urllib.request

taken = []
for _ in range(11):
    begun = time.monotonic()
    with urllib.request.urlopen("http://127.0.0.1:8080" + sys.argv[1]) as answer:
        answer.read()
    taken.append(time.monotonic() - begun)
print(json.dumps(taken))
"""


def _guard(machine: Machine) -> None:
    """From a slot to the first instruction of a job, and of the same with less of a guard."""
    # Each at a phase of its own, within the same seconds of the same run.
    phases = {"nothing": 0, "/bin/true": 2, "an empty bash": 4, "guard": 6}
    period = 2 * len(phases)
    instruction = "echo $EPOCHREALTIME >>/tmp/guard"
    schedule = f"calendar:*:*:{phases['guard']}/{period}"
    add = ("add", "--name", "guarded", "--schedule", schedule, "--disabled")
    machine.run(["lunasched", *add, "--", "/bin/bash", "-c", instruction])
    # The same service but for the guard: what a job costs besides is not the guard's.
    service = machine.read_file("/etc/systemd/system/lunasched-job@guarded.service")
    conditions = {
        "nothing": [],
        "/bin/true": ["ExecCondition=/bin/true"],
        "an empty bash": ["ExecCondition=/bin/bash -p -c :"],
    }
    files = {"guard": "/tmp/guard"}
    for number, (name, condition) in enumerate(conditions.items()):
        files[name] = f"/tmp/compared-{number}"
        lines = [line for line in service.splitlines() if not line.startswith("ExecCondition=")]
        lines[lines.index("[Service]") + 1 : 0] = condition
        text = "\n".join(lines).replace(files["guard"], files[name])
        unit = f"/run/systemd/system/compared-{number}"
        machine.write_file(f"{unit}.service", f"{text}\n")
        elapses = f"OnCalendar=*:*:{phases[name]}/{period}"
        machine.write_file(f"{unit}.timer", f"[Timer]\n{elapses}\nAccuracySec=1us\n")
    timers = " ".join(f"compared-{number}.timer" for number in range(len(conditions)))
    machine.run(f"systemctl daemon-reload; lunasched enable guarded; systemctl start {timers}")
    enough = f"[ $(cat {' '.join(files.values())} | wc -l) -gt {len(files) * SLOTS} ]"
    machine.wait_for(enough, 3 * period * SLOTS, interval=2)
    machine.run(f"lunasched remove guarded; systemctl stop {timers}")
    taken = {
        name: [float(line) % 1 for line in machine.read_file(files[name]).split()]
        for name in phases
    }
    for name, each in taken.items():
        _report(f"from a slot to a job, behind {name}", each)
    bare = taken.pop("nothing")
    for name, each in taken.items():
        added = statistics.median(each) - statistics.median(bare)
        _tell(f"what {name} adds to a run", added * 1000, "ms")


def _record(machine: Machine) -> None:
    """How fast a supervisor that was down takes in what it missed."""
    names = [f"record-{number}" for number in range(AT_ONCE)]
    jobs = [{"name": name, "schedule": "@yearly", "command": "echo $$"} for name in names]
    machine.write_file("/tmp/record.json", json.dumps({"jobs": jobs}))
    machine.run("lunasched import-config --format yaml /tmp/record.json")
    before = _recorded(machine)
    machine.run("systemctl stop lunasched")
    units = " ".join(f"lunasched-job@{name}.service" for name in names)
    script = f"""
    for turn in $(seq {RUNS // AT_ONCE}); do
        systemctl start {units}
        while [ -n "$(systemctl list-units --no-legend --state=active,activating,deactivating \
            'lunasched-job@record-*.service')" ]; do :; done
    done
    """
    machine.run(script, check=False, timeout=600)
    machine.run("journalctl --sync")
    begun = time.monotonic()
    machine.exec("systemctl start lunasched")
    _report("start of the supervisor", [time.monotonic() - begun])
    machine.wait_for(lambda: _recorded(machine) >= before + RUNS, 120, what="all runs on record")
    taken = time.monotonic() - begun
    _report(f"{RUNS} missed runs recorded", [taken])
    machine.wait_for(
        lambda: _recorded(machine, "output IS NOT NULL") >= before + RUNS, 120, what="their output"
    )
    _report(f"{RUNS} missed runs with their output", [time.monotonic() - begun])
    _tell("runs recorded in a second", RUNS / taken, "/s")


def _recorded(machine: Machine, condition: str = "phase = 'ended'") -> int:
    query = f"SELECT count(*) FROM runs WHERE {condition}"
    done = machine.exec(["sqlite3", "/var/lib/lunasched/history/history.db", query], check=False)
    return int(done.stdout or 0)


def _timed_inside(machine: Machine, script: str, count: int) -> list[float]:
    """Seconds that a shell command took, measured inside of the machine, ``$i`` from 1."""
    timer = (
        "import json, os, subprocess, sys, time\n"
        "taken = []\n"
        f"for i in range(1, {count + 1}):\n"
        "    begun = time.monotonic()\n"
        "    subprocess.run(['/bin/sh', '-c', sys.argv[1]], env={**os.environ, 'i': str(i)},\n"
        "                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "    taken.append(time.monotonic() - begun)\n"
        "print(json.dumps(taken))\n"
    )
    done = machine.run(["/usr/bin/python3", "-c", timer, script], timeout=600)
    taken: list[float] = json.loads(done.stdout)
    return taken


def _measure(action: Callable[[], object], count: int) -> list[float]:
    """Seconds of each of ``count`` calls, after one that warms the caches if there are several."""
    if count > 1:
        action()
    taken = []
    for _ in range(count):
        begun = time.perf_counter()
        action()
        taken.append(time.perf_counter() - begun)
    return taken


def _report(what: str, taken: Sequence[float]) -> None:
    """Print the median of some times (s), in ms."""
    _tell(what, statistics.median(taken) * 1000, "ms")


def _tell(what: str, value: float, unit: str) -> None:
    print(FIGURES.line(what, value, unit).rstrip(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
