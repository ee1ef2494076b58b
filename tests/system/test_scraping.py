"""Metrics of a real supervisor: scraped by Debian's Prometheus, over restarts and a reboot."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import prometheus
import pytest
from installed import INSTALL, PAGE, Lunasched, slots_each
from machine import Machine
from prometheus_client.parser import text_string_to_metric_families

pytestmark = pytest.mark.machine

TREE = Path(__file__).resolve().parent.parent.parent
RULES = TREE / "packaging/prometheus/lunasched.rules.yml"
SECONDLY = "calendar:*:*:*"
CONFIGURATION = """
global: {scrape_interval: 500ms, evaluation_interval: 500ms}
rule_files: [/etc/rules.yml]
scrape_configs:
  - job_name: lunasched
    static_configs: [{targets: ["localhost:8080"]}]
"""
SLOW_BOOT = """
[Unit]
DefaultDependencies=no
Before=sysinit.target
[Service]
Type=oneshot
ExecStart=/bin/sleep 3
[Install]
WantedBy=sysinit.target
"""
DROP_IN = "/etc/systemd/system/lunasched.service.d/metrics.conf"
TEXTFILE = "/var/lib/prometheus/node-exporter/lunasched.prom"
FETCH = "import sys, urllib.request as r; sys.stdout.write(r.urlopen(sys.argv[1]).read().decode())"


def fetch(machine: Machine, url: str) -> str:
    return machine.run(["python3", "-c", FETCH, url]).stdout


class Scrape:
    """The metrics of a machine at one moment."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.values = {
            (sample.name.removeprefix("lunasched_"), frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def __call__(self, name: str, job: str | None = None, **labels: str) -> float | None:
        if job is not None:
            labels["job_id"] = job
        return self.values.get((name, frozenset(labels.items())))

    @property
    def counters(self) -> dict[Any, float]:
        ends = ("_total", "_sum", "_count")
        return {key: value for key, value in self.values.items() if key[0].endswith(ends)}


def scrape(machine: Machine) -> Scrape:
    return Scrape(fetch(machine, "http://localhost:8080/metrics"))


def test_a_run_is_counted_and_described(page: Lunasched) -> None:
    luna = page
    good, bad = luna.name, f"{luna.name}-bad"
    luna("add", "--name", good, "--schedule", "every 1d", "--command", "sleep 0.3")
    luna("add", "--name", bad, "--schedule", "every 1d", "--command", "kill -SEGV $$")
    for name in (good, bad, bad):
        luna("start", name, "--wait", check=False)
    luna.wait_for_runs(good, 1)
    luna.wait_for_runs(bad, 2)
    luna.machine.wait_for(
        lambda: scrape(luna.machine)("recording_lag_seconds") == 0, what="all on record"
    )
    found = scrape(luna.machine)
    assert (found("job_executions_total", good), found("job_successes_total", good)) == (1, 1)
    assert (found("job_executions_total", bad), found("job_failures_total", bad)) == (2, 2)
    assert (found("job_last_run_success", good), found("job_last_run_success", bad)) == (1, 0)
    assert found("job_last_exit_code", bad) == 128 + 11
    assert (found("job_duration_ms", good, quantile="0.99") or 0) >= 300
    used = "SELECT cpu_usec FROM runs WHERE cpu_usec IS NOT NULL AND job ="
    query = ["sqlite3", "/var/lib/lunasched/history/history.db", f"{used} '{good}'"]
    assert found("job_cpu_seconds_total", good) == int(luna.machine.run(query).stdout or 0) / 1e6
    assert found("supervisor_running") == 1
    luna("start", bad, "--wait", check=False)
    luna("add", "--replace", "--name", good, "--schedule", "every 1d", "--command", "sleep 600")
    luna("start", good)
    luna.machine.wait_for(
        lambda: scrape(luna.machine)("job_running", good) == 1, what="a run in progress"
    )
    luna("stop", good)


@pytest.fixture
def alone() -> Iterator[Lunasched]:
    """A machine of its own, with Prometheus in it."""
    bound = [(prometheus.directory(), "/opt/prometheus")]
    with Machine.boot("metrics", binds=bound) as machine:
        machine.run(INSTALL)
        machine.run(PAGE)
        yield Lunasched(machine)


def test_prometheus_scrapes_it_and_no_counter_is_reset(alone: Lunasched) -> None:
    machine = alone.machine
    machine.write_file("/etc/prometheus.yml", CONFIGURATION)
    machine.write_file("/etc/rules.yml", RULES.read_text())
    server = (
        "/opt/prometheus/prometheus --config.file=/etc/prometheus.yml "
        "--storage.tsdb.path=/var/tmp/tsdb --web.listen-address=127.0.0.1:9090"
    )
    machine.run(f"systemd-run --quiet --unit=prometheus {server}")

    def api(path: str) -> Any:
        answer = json.loads(fetch(machine, f"http://127.0.0.1:9090/api/v1/{path}"))
        assert answer["status"] == "success"
        return answer["data"]

    def query(expression: str) -> list[tuple[dict[str, str], float]]:
        result = api(f"query?query={quote(expression)}")["result"]
        return [(one["metric"], float(one["value"][1])) for one in result]

    machine.wait_for(
        "/usr/bin/python3 -c " + shlex.quote(FETCH) + " http://127.0.0.1:9090/-/ready",
        60,
        what="Prometheus",
        interval=0.5,
    )
    alone("add", "--name", "tick", "--schedule", SECONDLY, "--command", "true")
    alone("add", "--name", "fails", "--schedule", "every 1d", "--command", "exit 3")
    alone("start", "fails", "--wait", check=False)

    def runs() -> float:
        found = query('lunasched_job_executions_total{job_id="tick"}')
        return found[0][1] if found else 0

    before = 0.0
    for _ in range(3):
        machine.wait_for(lambda: runs() >= before + 3, 90, what="scraped runs", interval=0.5)  # noqa: B023
        before = runs()
        machine.run("systemctl kill --signal=KILL lunasched.service; systemctl start lunasched")
    machine.wait_for(lambda: runs() >= before + 3, 90, what="scraped runs", interval=0.5)
    for name in {f"lunasched_{name}" for name, _ in scrape(machine).counters}:
        assert query(f"max(resets({name}[10m]))") == [({}, 0)], name
    assert query("changes(lunasched_supervisor_start_time_seconds[10m]) >= 3")
    (target,) = api("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
    rules = [rule for group in api("rules")["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in rules} == {"ok"}
    machine.wait_for(
        lambda: bool(query('ALERTS{alertname="LunaschedJobFailed", job_id="fails"}')),
        60,
        what="an alert for the job that failed",
        interval=0.5,
    )
    assert not query('ALERTS{alertname="LunaschedJobFailed", job_id="tick"}')


def test_counters_go_on_after_a_reboot_and_a_vacuum(alone: Lunasched) -> None:
    machine = alone.machine
    alone("add", "--name", "tick", "--schedule", SECONDLY, "--command", "true")
    alone("add", "--name", "fails", "--schedule", "every 1d", "--command", "exit 3")
    for _ in range(3):
        alone("start", "fails", "--wait", check=False)
    alone.wait_for_runs("tick", 5)
    alone.wait_for_runs("fails", 3)
    machine.write_file("/etc/systemd/system/slow-boot.service", SLOW_BOOT)
    machine.run("systemctl daemon-reload; systemctl enable slow-boot")
    before = scrape(machine).counters
    missed = alone.json("get", "tick")["missed_slots"]
    alone("vacuum", "--max-history", "1", "--history-days", "1")
    machine.reboot()
    alone.wait_for_runs("tick", 3)
    # While the machine was down, slots of each second passed.
    machine.wait_for(
        lambda: alone.json("get", "tick")["missed_slots"] >= missed + 2, 90, what="missed slots"
    )
    after = scrape(machine)
    assert {key for key, value in before.items() if after.values[key] < value} == set()
    assert (after("job_missed_slots_total", "tick") or 0) >= missed + 2
    assert after("job_failures_total", "fails") == 3


def test_slots_that_pass_while_the_timer_is_stopped_are_missed(luna: Lunasched) -> None:
    name, timer = luna.name, f"lunasched-job@{luna.name}.timer"
    since = int(luna.machine.run("date +%s").stdout)
    luna("add", "--name", name, "--schedule", SECONDLY, "--command", "true")
    luna.wait_for_runs(name, 2)
    luna.machine.run(["systemctl", "stop", timer])
    stopped = luna.machine.run("date +%s; sleep 4.5; date +%s").stdout.split()
    luna.machine.run(["systemctl", "start", timer])
    passed = int(stopped[1]) - int(stopped[0])
    luna.machine.wait_for(
        lambda: luna.json("get", name)["missed_slots"] >= passed - 1,
        what="missed slots",
        interval=0.3,
    )
    luna.machine.run(["systemctl", "stop", timer])
    # A loaded machine may have missed some of the others, too; but none is counted twice.
    runs = [run for run in luna.history(name) if run["result"] != "skipped"]
    missed = luna.json("get", name)["missed_slots"]
    until = int(luna.machine.run("date +%s").stdout)
    assert missed + len(runs) <= until - since
    luna.machine.run(["systemctl", "kill", "--signal=KILL", "lunasched.service"])
    luna.machine.run(["systemctl", "start", timer])
    count = len(luna.wait_for_runs(name, 1))
    luna.wait_for_runs(name, count + 3)
    assert luna.json("get", name)["missed_slots"] >= missed
    assert "Missed slots: " in luna("get", name).stdout


@pytest.mark.parametrize("how", ["add", "enable"])
def test_slots_before_the_timer_of_a_new_job_are_not_missed(luna: Lunasched, how: str) -> None:
    """Between its definition and the start of its timer, on a machine that takes its time."""
    period = luna.period(2)
    schedule = ("--schedule", slots_each(period), "--command", "true")
    command = ["add", "--name", luna.name, *schedule]
    if how == "enable":
        luna(*command, "--disabled")
        command = ["enable", luna.name]
    delay = f"inject=rename:delay_enter={2 * period * 1_000_000}:when=1"
    # What is renamed first is a unit then, and no bytecode.
    slowly = ["env", "PYTHONDONTWRITEBYTECODE=1"]
    slowly += ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=rename", "-e", delay]
    luna.machine.exec([*slowly, "lunasched", *command], timeout=60 + 2 * period)
    luna.wait_for_runs(luna.name, 2)
    assert luna.json("get", luna.name)["missed_slots"] == 0


SLOW_ADD = """
import sys, time
sys.path.insert(0, "/opt/lunasched")
from lunasched.cli import main
from lunasched.deploy.loader import Loader
load, period = Loader.load, int(sys.argv.pop(1))
def load_until_after_a_slot(*arguments):
    load(*arguments)
    time.sleep(period - time.time() % period + 0.3)
Loader.load = load_until_after_a_slot
sys.exit(main())
"""


def test_the_first_slot_of_a_new_job_is_its_own_before_the_command_is_over(
    luna: Lunasched,
) -> None:
    """The timer runs by then, and its run comes later, as on a machine that takes its time."""
    machine, period = luna.machine, luna.period(6)
    proof = f"/var/tmp/{luna.name}"
    machine.exec("systemctl stop lunasched")
    job = ["--schedule", slots_each(period), "--jitter", f"{period - 2}"]
    job += ["--command", f"echo >>{proof}"]
    add = ["python3", "-c", SLOW_ADD, str(period), "add", "--name", luna.name, *job]
    machine.exec(add, timeout=60 + 2 * period)
    # systemd does not say any more what it elapsed for first.
    machine.wait_for(f"test $(wc -l <{proof}) -ge 2", 30 + 3 * period, what="two runs")
    machine.exec("systemctl start lunasched")
    runs = luna.wait_for_runs(luna.name, 2)
    assert [run["trigger"] for run in runs[-2:]] == ["timer", "timer"]
    assert luna.json("get", luna.name)["missed_slots"] == 0


def test_slots_without_a_supervisor_are_not_missed(luna: Lunasched) -> None:
    """The jobs ran, and are on record when it is back."""
    proof, period = f"/var/tmp/{luna.name}", luna.period(4, 4)
    command = ["--command", f"date +%s >> {proof}"]
    luna("add", "--name", luna.name, "--schedule", slots_each(period), *command)
    luna.wait_for_runs(luna.name, 1)
    luna.machine.run("systemctl stop lunasched.service")
    before = int(luna.machine.run(f"wc -l <{proof}").stdout)
    luna.machine.wait_for(f"test $(wc -l <{proof}) -ge {before + 3}", what="three more runs")
    luna.machine.run("systemctl start lunasched.service")
    luna.wait_for_runs(luna.name, before + 4)
    luna("disable", luna.name)
    ran = [int(second) // period for second in luna.machine.run(["cat", proof]).stdout.split()]
    # On a machine that is so busy that systemd passes a slot over, that one is missed, of course.
    passed_over = max(ran) - min(ran) + 1 - len({*ran})
    missed = luna.json("get", luna.name)["missed_slots"]
    facts = ("scheduled_at", "started_at", "result")
    runs = [[run[fact] for fact in facts] for run in luna.history(luna.name)]
    assert missed == passed_over, (period, ran, runs, luna("get", luna.name).stdout)


def test_the_file_for_node_exporter(alone: Lunasched) -> None:
    machine = alone.machine
    machine.write_file("/etc/lunasched/config.yaml", f"metrics: {{textfile: {TEXTFILE}}}\n")
    machine.run("groupadd prometheus; install -d -m 775 -g prometheus $(dirname " + TEXTFILE + ")")
    machine.run("systemctl restart lunasched")
    alone("add", "--name", "once", "--schedule", "every 1d", "--command", "true")
    alone("start", "once", "--wait")
    complaints = "journalctl -u lunasched -o cat | grep -c 'metrics are not written'"
    machine.wait_for(f"{complaints} | grep -qx 1", what="a complaint")
    drop_in = (
        "[Service]\n"
        "ReadWritePaths=/var/lib/prometheus/node-exporter\n"
        "SupplementaryGroups=prometheus\n"
    )
    machine.write_file(DROP_IN, drop_in)
    machine.run("systemctl daemon-reload; systemctl restart lunasched")

    def written() -> Scrape:
        return Scrape(machine.exec(["cat", TEXTFILE], check=False).stdout)

    machine.wait_for(lambda: written()("supervisor_running") == 1, what="the file")
    assert written()("job_successes_total", "once") == 1
    alone("start", "once", "--wait")
    machine.wait_for(
        lambda: written()("job_successes_total", "once") == 2, 60, what="the next", interval=0.5
    )
    mode, owner = machine.run(["stat", "-c", "%a %U", TEXTFILE]).stdout.split()
    assert (mode, owner) == ("644", "lunasched")
    files = machine.run(f"ls -A $(dirname {TEXTFILE})").stdout.split()
    assert files == ["lunasched.prom"]
    machine.run("systemctl stop lunasched")
    assert written()("supervisor_running") == 0
    assert written()("job_successes_total", "once") == 2
    alone("metrics", "--textfile", TEXTFILE)
    assert written()("supervisor_running") == 0
    assert prometheus.promtool("check", "metrics", text=written().text).stderr.splitlines()[:1] == [
        "lunasched_job_duration_ms metric names should not contain abbreviated units"
    ]
