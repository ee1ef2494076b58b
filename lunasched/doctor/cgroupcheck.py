"""The check of resource limits: the controllers of cgroup v2 that jobs need."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lunasched.doctor.facts import Unseen
from lunasched.doctor.finding import error, fine, unseen, warning
from lunasched.jobs.model import Job
from lunasched.machine import host
from lunasched.paths import Mode

if TYPE_CHECKING:
    from lunasched.doctor.facts import Facts
    from lunasched.doctor.finding import Finding


def look(mode: Mode) -> frozenset[str]:
    """The controllers of cgroup v2 that jobs' limits have to work with."""
    return host.cgroup_controllers(None if mode is Mode.SYSTEM else os.getuid())


def judge(facts: Facts) -> Iterator[Finding]:
    """Tell whether resource limits hold."""
    if facts.cgroup != "v2":
        lost = (
            "a run that is killed for lack of memory is recorded as signal 9"
            if facts.mode is Mode.SYSTEM
            else "your jobs have no limits of memory, CPU or tasks"
        )
        fix = (
            "sed -i 's/^GRUB_CMDLINE_LINUX=\"/&systemd.unified_cgroup_hierarchy=1 /' "
            "/etc/default/grub",
            "update-grub",
            "systemctl reboot",
        )
        yield warning(
            f"this machine has cgroup {facts.cgroup}, not v2 alone",
            f"{lost}; the host of this container decides that" if facts.in_container else lost,
            *(() if facts.in_container else fix),
            as_root=True,
        )
        return
    if isinstance(facts.controllers, Unseen):
        yield unseen("the controllers of cgroup v2", facts.controllers)
        return
    wanted = _controllers_wanted(facts)
    missing = sorted(wanted.keys() - facts.controllers)
    for controller in missing:
        names = ", ".join(wanted[controller])
        what = f"the cgroup controller {controller!r} is not there for jobs that need it: {names}"
        yield _no_controller(facts, what)
    if not missing:
        yield fine("cgroup v2, with the controllers that jobs need")


def _no_controller(facts: Facts, what: str) -> Finding:
    why = "their limits are not enforced"
    if facts.mode is Mode.SYSTEM:
        return error(what, f"{why}; the kernel, or the host of this container, has to provide it")
    directory = "/etc/systemd/system/user@.service.d"
    return error(
        what,
        why,
        f"mkdir -p {directory}",
        f"printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' >{directory}/lunasched.conf",
        "systemctl daemon-reload",
        f"systemctl restart user@$(id -u {facts.user}).service",
        as_root=True,
    )


def _controllers_wanted(facts: Facts) -> dict[str, list[str]]:
    """The controllers that limits of jobs work by, and these jobs."""
    jobs: tuple[Job, ...] = () if isinstance(facts.deployed, Unseen) else facts.deployed.jobs
    wanted: dict[str, list[str]] = {}
    for job in jobs:
        limits = job.limits
        for controller, limit in (
            ("memory", limits.max_memory),
            ("cpu", limits.cpu_quota),
            ("pids", limits.tasks_max),
            ("io", limits.io_weight),
        ):
            if limit is not None:
                wanted.setdefault(controller, []).append(job.name)
    return wanted
