"""The jobs of `make torture`, and what they leave that says how they ran.

Each run appends lines to a file of its own account, synced before it goes on. The file is on a disk
that no fault reaches.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from torture_oracle import Proof, Row, Told

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anymachine import AnyMachine

DIRECTORY = "/var/torture"
PROOFS = f"{DIRECTORY}/proofs"
JOBS = "/root/jobs.yaml"
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

# In a file: systemd 252 reads the text of a command of systemd-run as settings when it reloads.
RECEIVER = f"""\
[Service]
ExecStart=python3 /opt/lunasched/tests/support/receiver.py {PORT} {RECEIVED} {DIRECTORY}/replies
Restart=always
RestartSec=100ms
[Install]
WantedBy=multi-user.target
"""

SETUP = f"""
set -e
mkdir -p {DIRECTORY}
install -m 666 /dev/null {PROOFS}
useradd --uid {USER_ID} --create-home {USER}
mkdir -p /etc/lunasched
echo '{{"notifications": {{"max_per_hour": 0}}}}' >/etc/lunasched/config.yaml
systemctl enable --quiet --now receiver.service
"""

_ELAPSE = re.compile(
    r"^ *(?:Next elapse|Iter\S* #\d+): \w{3} (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC$", re.MULTILINE
)


def _job(
    name: str, calendar: str, code: int = 0, seconds: float = 0, **more: Any
) -> dict[str, Any]:
    command = ["/usr/local/bin/prove", name, str(code), f"{seconds:g}"]
    return {"name": name, "schedule": f"calendar:{calendar}", "command": command, **more}


@dataclass(frozen=True, slots=True)
class Load:
    """How much there is to run."""

    crowd: int
    """So many jobs are due at one instant, beside one of each kind."""
    is_slow: bool = False
    """Each is due once a minute, as an emulated processor can do it, and one catches up."""

    def jobs(self) -> list[dict[str, Any]]:
        """As a file of jobs has them."""
        webhook = {"type": "webhook", "url": f"http://127.0.0.1:{PORT}/failed"}
        told = {"on_failure": webhook, "every_failure": True}
        again = {"max_attempts": 2, "initial_delay_seconds": 1}
        never = "2099-01-01 00:00:00"
        return [
            _job("short", self._at(0, 10)),
            _job("long", self._at(6, 10), seconds=1.5),
            _job(TELLS, self._at(3, 10), code=3, notification_config=told),
            _job(RETRIED, self._at(8, 20), code=4, retry_policy=again),
            _job(HOSTILE, self._at(5, 15)),
            _job("parallel", self._at(2, 10), seconds=0.5, execution_mode="Parallel"),
            _job("of a user", self._at(4, 10), user=USER),
            _job("hooked", self._at(9, 20), hooks={"on_success": "true"}),
            _job(BY_HAND, never, code=5),
            *([_job("caught", self._at(7, 60), catch_up=True)] if self.is_slow else []),
            *(_job(f"crowd-{number:03}", self._at(0, 30)) for number in range(self.crowd)),
        ]

    def calendars(self) -> dict[str, str]:
        """The systemd calendar of each job."""
        return {job["name"]: job["schedule"].partition(":")[2] for job in self.jobs()}

    def deploy(self, machine: AnyMachine) -> None:
        """Put the jobs on a machine with lunasched installed."""
        machine.write_file(JOBS, json.dumps({"jobs": self.jobs()}))
        machine.run(["lunasched", "apply", JOBS], timeout=600)

    def _at(self, second: int, period: int) -> str:
        if self.is_slow:
            # Apart: one after the other, an emulated processor starts them in time.
            return f"*:*:{second * 5}"
        return f"*:*:{second}/{period}"


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


def begins(machine: AnyMachine) -> frozenset[str]:
    """The runs of whose beginning the manager's record is in the journal."""
    return _recorded(machine, "7d4958e842da4a758f6c1cdc7b36dcc5")


def ends(machine: AnyMachine) -> frozenset[str]:
    """The runs of whose end the manager's record is in the journal."""
    succeeded, failed = "7ad2d189f7e94e70a38c781354912448", "d9b373ed55a64feb8242e02dbe79a49c"
    return _recorded(machine, succeeded) | _recorded(machine, failed)


def _recorded(machine: AnyMachine, message: str) -> frozenset[str]:
    command = ["journalctl", "-o", "json", "--all", "_PID=1", f"MESSAGE_ID={message}"]
    lines = machine.exec(command, check=False).stdout.splitlines()
    return frozenset(str(json.loads(line).get("INVOCATION_ID")) for line in lines)


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
