"""The jobs of `make torture`, and what they leave that says how they ran.

Each run appends lines to a file of its own account, synced before it goes on. The file is on a disk
that no fault reaches.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from torture_oracle import Proof, Row, Told

if TYPE_CHECKING:
    from collections.abc import Sequence

    from machine import Machine
    from vm import VirtualMachine

    AnyMachine = Machine | VirtualMachine

DIRECTORY = "/var/torture"
PROOFS = f"{DIRECTORY}/proofs"
PORT = 9778
RECEIVED = f"{DIRECTORY}/received"
DATABASES = "/var/lib/lunasched"
RUNTIME = "/run/lunasched"
USER = "jobber"
USER_ID = 1700
HOSTILE = 'it\'s 50% "of" $HOME \\ ünï: €'
TELLS = "fails"
RETRIED = "retried"
BY_HAND = "by hand"

PROVE = f"""\
#!/bin/bash
# prove JOB CODE SECONDS: run, leave proof, and end with CODE.
export LC_ALL=C
read -r boot </proc/sys/kernel/random/boot_id
note() {{
    printf '%s\\t%s\\t%s\\t%s\\t%s\\n' "$1" "$INVOCATION_ID" "$boot" "${{EPOCHREALTIME/./}}" "$2" \\
        >>{PROOFS} && sync {PROOFS}
}}
note "$1" began
echo "this is $INVOCATION_ID"
[ "$3" = 0 ] || sleep "$3"
note "$1" "$2"
exit "$2"
"""
"""The instants are taken right before a line is written, and before it is synced."""

MOUNTS = f"""
set -e
mkdir -p {DATABASES} {RUNTIME}
mount -t tmpfs -o size=64M,mode=755,nr_inodes=100000 databases {DATABASES}
mount -t tmpfs -o size=1M,mode=755 runtime {RUNTIME}
"""
"""What faults fill and make read-only; the proofs are elsewhere."""

SETUP = f"""
set -e
mkdir -p {DIRECTORY}
install -m 666 /dev/null {PROOFS}
useradd --uid {USER_ID} --create-home {USER}
mkdir -p /etc/lunasched
echo '{{"notifications": {{"max_per_hour": 0}}}}' >/etc/lunasched/config.yaml
systemd-run --quiet --unit=receiver --property=Restart=always --property=RestartSec=100ms \\
    python3 /opt/lunasched/tests/support/receiver.py {PORT} {RECEIVED} {DIRECTORY}/replies
"""

_ELAPSE = re.compile(
    r"^ *(?:Next elapse|Iter\S* #\d+): \w{3} (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC$", re.MULTILINE
)


def _job(
    name: str, calendar: str, code: int = 0, seconds: float = 0, **more: Any
) -> dict[str, Any]:
    command = ["/usr/local/bin/prove", name, str(code), f"{seconds:g}"]
    return {"name": name, "schedule": f"calendar:{calendar}", "command": command, **more}


def jobs(crowd: int) -> list[dict[str, Any]]:
    """As a file of jobs has them: one of each kind, and so many that are due at one instant."""
    webhook = {"type": "webhook", "url": f"http://127.0.0.1:{PORT}/failed"}
    told = {"on_failure": webhook, "every_failure": True}
    again = {"max_attempts": 2, "initial_delay_seconds": 1}
    never = "2099-01-01 00:00:00"
    return [
        _job("short", "*:*:0/10"),
        _job("long", "*:*:6/10", seconds=1.5),
        _job(TELLS, "*:*:3/10", code=3, notification_config=told),
        _job(RETRIED, "*:*:8/20", code=4, retry_policy=again),
        _job(HOSTILE, "*:*:5/15"),
        _job("parallel", "*:*:2/10", seconds=0.5, execution_mode="Parallel"),
        _job("of a user", "*:*:4/10", user=USER),
        _job("hooked", "*:*:9/20", hooks={"on_success": "true"}),
        _job(BY_HAND, never, code=5),
        *(_job(f"crowd-{number:03}", "*:*:0/30") for number in range(crowd)),
    ]


def deploy(machine: AnyMachine, crowd: int) -> None:
    """Put the jobs on a machine with lunasched installed."""
    machine.write_file("/root/jobs.yaml", json.dumps({"jobs": jobs(crowd)}))
    machine.run(["lunasched", "apply", "/root/jobs.yaml"], timeout=170)


def calendars(crowd: int) -> dict[str, str]:
    """The systemd calendar of each job."""
    return {job["name"]: job["schedule"].partition(":")[2] for job in jobs(crowd)}


def slots(machine: AnyMachine, calendar: str, after: int, until: int) -> list[int]:
    """The elapses of a calendar in a span, as the machine's systemd computes them."""
    number = max(1, (until - after) // 1_000_000)
    command = f"TZ=UTC systemd-analyze calendar --iterations={number} --base-time=@{after // 10**6}"
    text = machine.exec(f"{command} '{calendar}'").stdout
    found = [
        datetime.fromisoformat(each).replace(tzinfo=timezone.utc) for each in _ELAPSE.findall(text)
    ]
    at = [int(each.timestamp()) * 1_000_000 for each in found]
    return [each for each in at if after < each <= until]


def proofs(machine: AnyMachine) -> list[Proof]:
    """What the runs wrote of themselves."""
    began: dict[str, list[tuple[str, str, int]]] = defaultdict(list)
    ended: dict[str, tuple[int, int]] = {}
    for line in machine.read_file(PROOFS).splitlines():
        job, invocation, boot, at, word = line.split("\t")
        if word == "began":
            began[invocation].append((job, boot, int(at)))
        else:
            ended[invocation] = (int(at), int(word))
    return [
        Proof(job, invocation, boot, at, *ended.get(invocation, (None, None)))
        for invocation, each in began.items()
        for job, boot, at in each
    ]


def rows(text: str) -> list[Row]:
    """What ``history --json`` prints."""
    return [
        Row(
            run["job"],
            str(run["execution_id"]).replace("-", ""),
            run["trigger"],
            _instant(run["scheduled_at"]),
            _instant(run["started_at"]) or 0,
            _instant(run["ended_at"]),
            run["result"],
            run["exit_code"],
            run["output"],
        )
        for run in json.loads(text)
    ]


def told(machine: AnyMachine) -> list[Told]:
    """The messages of failed runs that arrived."""
    text = machine.exec(f"cat {RECEIVED}", check=False).stdout
    bodies = [json.loads(json.loads(line)["body"]) for line in text.splitlines()]
    return [
        Told(
            body["job"],
            str(body["run"]["execution_id"]).replace("-", ""),
            body["run"]["result"],
            body["run"]["exit_code"],
        )
        for body in bodies
        if body["run"]
    ]


def without_a_timer(machine: AnyMachine, listed: str) -> set[str]:
    """Names of jobs that are enabled, as ``list --json`` says, or have a timer, but not both."""
    units = "systemctl list-units --plain --no-legend --type=timer 'lunasched-job@*'"
    names = [line.split()[0] for line in machine.exec(units).stdout.splitlines()]
    timers = {_unescaped(name.partition("@")[2].removesuffix(".timer")) for name in names}
    enabled = {job["name"] for job in json.loads(listed) if job["enabled"]}
    return enabled ^ timers


def _unescaped(instance: str) -> str:
    """The name in a unit's: bytes as systemd.unit(5) has them, and - as lunasched leaves it."""
    data = re.sub(
        rb"\\x([0-9a-f]{2})", lambda one: bytes.fromhex(one[1].decode()), instance.encode()
    )
    return data.decode()


def ends(machine: AnyMachine) -> frozenset[str]:
    """The runs of whose end the manager's record is in the journal."""
    found = set()
    for message in ("7ad2d189f7e94e70a38c781354912448", "d9b373ed55a64feb8242e02dbe79a49c"):
        command = ["journalctl", "-o", "json", "--all", "_PID=1", f"MESSAGE_ID={message}"]
        lines = machine.exec(command, check=False).stdout.splitlines()
        found |= {str(json.loads(line).get("INVOCATION_ID")) for line in lines}
    return frozenset(found)


def busy(
    machine: AnyMachine, names: Sequence[str] = ("lunasched-job@*.service",)
) -> frozenset[str]:
    """The invocations that are in progress."""
    states = "--state=active,activating,deactivating"
    units = machine.exec(
        ["systemctl", "list-units", "--plain", "--no-legend", states, *names]
    ).stdout
    found = [line.split()[0] for line in units.splitlines()]
    if not found:
        return frozenset()
    shown = machine.exec(["systemctl", "show", "-P", "InvocationID", *found]).stdout
    return frozenset(shown.split())


def _instant(text: str | None) -> int | None:
    if text is None:
        return None
    at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return round(at.timestamp() * 1_000_000)
