"""Jobs that try what their sandbox forbids, for tests on machines of any kind."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sandbox_probe import PROBES

from lunasched.jobs.sandbox import OPTIONS, UserMode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from machine import Machine
    from vm import VirtualMachine

PROBE = ["/usr/bin/python3", "/opt/lunasched/tests/support/sandbox_probe.py"]
PREPARE = r"""
umask 022
mkdir -p /srv/probe/open /srv/probe/secret /srv/probe/programs /usr/lib/modules
mkdir -p "/srv/probe/read-only/50% \"a\\b' c" /dev/lunasched-probe
touch /srv/probe/open/owned /srv/probe/secret/file /tmp/lunasched-probe
touch /usr/lib/modules/lunasched-probe
for kind in net ipc user; do readlink /proc/1/ns/$kind >/srv/probe/namespace-$kind; done
cp /bin/true /srv/probe/programs
chmod -R a+rwX /srv/probe
"""
# The sandbox that a key is tried with, where it is not the key alone.
SANDBOX: dict[str, dict[str, Any]] = {
    "read_only_paths": {"read_only_paths": ["-/no/such", "/srv/probe/read-only/50% \"a\\b' c"]},
    "inaccessible_paths": {"inaccessible_paths": "/srv/probe/secret"},
    "no_exec_paths": {"no_exec_paths": "/srv/probe/programs"},
    "protect_home": {"protect_home": "read-only"},
    "protect_proc": {"protect_proc": "invisible"},
    "restrict_address_families": {"restrict_address_families": ["AF_UNIX", "AF_NETLINK"]},
    "system_call_filter": {"system_call_filter": "~getpriority:EDOM"},
    "capability_bounding_set": {"capability_bounding_set": "~CAP_CHOWN"},
    "umask": {"umask": "077"},
}
# What these allow again, beside the same without them.
EXCEPTIONS: dict[str, dict[str, Any]] = {
    "read_write_paths": {"read_only_paths": "/srv", "read_write_paths": "/srv/probe/open"},
    "exec_paths": {"no_exec_paths": "/srv/probe", "exec_paths": "/srv/probe/programs"},
}
# What a user's job can be kept from.
USERS = [key for key in PROBES if OPTIONS[key].user_mode in (UserMode.WORKS, UserMode.NAMESPACE)]

UNSEEN = (
    "protect_kernel_tunables",
    "protect_kernel_logs",
    "protect_clock",
    "restrict_realtime",
)
"""What a container may not do anyway: it is tried in the virtual machine, and the rest is not."""

ADD = """
import json, sys
sys.path.insert(0, "/opt/lunasched")
from lunasched.cli.session import Session
from lunasched.jobs.reading import job_from_mapping

session = Session.choose(None)
for definition in json.load(sys.stdin):
    session.deployer.add(job_from_mapping(definition), now=session.now())
"""
REMOVE = """
import json, sys
sys.path.insert(0, "/opt/lunasched")
from lunasched.cli.session import Session

session = Session.choose(None)
for definition in json.load(sys.stdin):
    session.deployer.remove(definition["name"], now=session.now())
"""


def definition(name: str, sandbox: dict[str, Any], keys: list[str], **more: Any) -> dict[str, Any]:
    return {
        "name": f"probe-{name}",
        "schedule": "@yearly",
        "command": [*PROBE, *keys],
        "sandbox": sandbox,
        **more,
    }


def definitions(keys: list[str], nobody: str | None) -> Iterator[dict[str, Any]]:
    """A job for each key, one for all without a sandbox, and for exceptions one without them."""
    for key in keys:
        as_other = {"user": nobody} if key == "protect_proc" else {}
        sandbox = SANDBOX.get(key) or EXCEPTIONS.get(key) or {key: True}
        yield definition(key, sandbox, [key], **as_other)
    for key in keys:
        without = {other: value for other, value in EXCEPTIONS.get(key, {}).items() if other != key}
        if not without:
            continue
        yield definition(f"no-{key}", without, [key])
    yield definition("open", {}, keys)


def outcomes(
    machine: Machine | VirtualMachine, keys: list[str], user: str | None = None
) -> dict[str, dict[str, str]]:
    """What became of each probe in each job, by the job's key."""
    jobs = [*definitions(keys, None if user else "daemon")]
    names = {job["name"] for job in jobs}
    # Under an emulated processor, all of this takes a minute.
    machine.run(["python3", "-c", ADD], user=user, input=json.dumps(jobs), timeout=300)
    units = [f"lunasched-job@{name}.service" for name in names]
    # All at once they take longer than a start may.
    for number in range(0, len(units), 6):
        start = ["systemctl", *(["--user"] if user else []), "start", *units[number : number + 6]]
        machine.run(start, user=user, timeout=300)

    def printed() -> dict[str, dict[str, str]]:
        listed = machine.run(["lunasched", "history", "--all", "--json"], user=user).stdout
        runs = [run for run in json.loads(listed) if run["job"] in names and run["output"]]
        # systemd may have said something before it.
        return {
            run["job"].removeprefix("probe-"): json.loads(run["output"].splitlines()[-1])
            for run in runs
        }

    machine.wait_for(lambda: len(printed()) == len(jobs), 300, what="the probes")
    machine.run(["python3", "-c", REMOVE], user=user, input=json.dumps(jobs), timeout=300)
    return printed()


def surprises(found: dict[str, dict[str, str]], keys: list[str]) -> dict[str, str]:
    """What a sandbox did not keep a job from, or what the machine itself did."""
    expected = {("open", key): True for key in keys}
    expected |= {(key, key): key in EXCEPTIONS for key in keys}
    expected |= {(f"no-{key}", key): False for key in keys if key in EXCEPTIONS}
    return {
        f"{key} in {name}": found[name][key]
        for (name, key), allowed in expected.items()
        if (found[name][key] == "allowed") != allowed
    }
