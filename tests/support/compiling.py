"""What unit and system tests compile jobs with, and how they read what came out."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from lunasched.jobs.reading import job_from_mapping
from lunasched.jobs.sandbox import OPTIONS
from lunasched.paths import Mode, unit_scripts, unit_templates
from lunasched.units import compiler
from lunasched.units.compiler import CompiledJob, Context

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
UNITS = Path("/etc/systemd/system")
SLOTS = Path("/var/lib/lunasched/slots")
RUNTIME = Path("/run/lunasched")
SYSTEM = Context(
    Mode.SYSTEM, "Europe/Berlin", "", NOW, unit_templates(), unit_scripts(), UNITS, SLOTS, RUNTIME
)
USER = Context(
    Mode.USER,
    "Europe/Berlin",
    "",
    NOW,
    unit_templates(),
    unit_scripts(),
    Path("/home/alice/.config/systemd/user"),
    Path("/home/alice/.local/state/lunasched"),
    Path("/run/user/1000/lunasched"),
)
EVERYTHING: dict[str, Any] = {
    "name": "nightly: 50% ü",
    "schedule": "at 02:30:15 on Mon,Fri",
    "command": "cd \"$HOME\" &&\n\tdate +%m > 'a;b\\c' ; echo $$ é",
    "user": "daemon",
    "timezone": "America/New_York",
    "timeout": "1h30m",
    "max_memory": "512M",
    "cpu_quota": "50%",
    "jitter": "250ms",
    "accuracy": "10s",
    "env": {"PLAIN": "1", "QUOTED": 'two words, "50%" of $X\\', "LINES": "a\nb\tc", "NONE": ""},
    "working_directory": "/srv/a b/100%",
    "priority": "High",
    "tags": ["db", "night"],
    "catch_up": True,
    "resource_limits": {"tasks_max": 20, "io_weight": 50, "kill_after_seconds": "2.5s"},
    "retry_policy": {"max_attempts": 3, "backoff_strategy": "linear"},
    "hooks": {
        "on_start": 'echo "$LUNASCHED_JOB" 50%',
        "on_success": ["/bin/echo", "a b", "$X", "%h"],
        "on_failure": "logger -- failed",
        "on_retry": "logger again",
        "timeout_seconds": "90s",
    },
    "notification_config": {
        "on_failure": [
            {"type": "exec", "command": 'mail -s "$LUNASCHED_SUBJECT" ops@50%', "timeout": "2m"},
            {"type": "exec", "command": ["/usr/local/bin/page", "$X", "%h"]},
            {"type": "email", "to": "ops@example.org"},
        ],
        "on_success": {"type": "exec", "command": ["/usr/local/bin/page", "$X", "%h"]},
    },
    "overlap": "skip",
    "dependencies": ["dump: 50%", "mount"],
    "sandbox": {
        "read_only_paths": ["/etc", "-/srv/a b/100%", '+/quoted "\\'],
        "read_write_paths": "/var/lib",
        "inaccessible_paths": "-+/boot",
        "no_exec_paths": ["/"],
        "exec_paths": ["/usr", "/bin", "/lib", "-/lib64"],
        "private_tmp": True,
        "private_devices": True,
        "private_network": "yes",
        "private_ipc": True,
        "private_users": True,
        "protect_home": "read-only",
        "protect_system": "strict",
        "protect_proc": "invisible",
        "protect_kernel_tunables": True,
        "protect_kernel_modules": True,
        "protect_kernel_logs": True,
        "protect_control_groups": True,
        "protect_clock": True,
        "protect_hostname": False,
        "no_new_privileges": True,
        "restrict_suid_sgid": True,
        "restrict_realtime": True,
        "restrict_namespaces": ["~user", "~mnt"],
        "restrict_address_families": ["AF_UNIX", "AF_INET"],
        "lock_personality": True,
        "memory_deny_write_execute": True,
        "system_call_filter": ["@system-service", "~@mount:EPERM"],
        "capability_bounding_set": "none",
        "umask": "027",
    },
    "systemd": {"LimitNOFILE": 1024, "BindPaths": ["/srv", "-/a:/b"], "StandardInputText": "%n"},
}
# What only the system's jobs can have.
SYSTEM_ONLY = {"protect_proc"}
USER_EVERYTHING: dict[str, Any] = {
    **EVERYTHING,
    "user": None,
    "priority": "Critical",
    "sandbox": {key: EVERYTHING["sandbox"][key] for key in OPTIONS.keys() - SYSTEM_ONLY},
}
# The jobs that others depend on.
DEPENDED_ON = {"on-demand"}


def compiled(mapping: dict[str, Any], context: Context) -> CompiledJob:
    depended_on = mapping["name"] in DEPENDED_ON
    return compiler.compile(job_from_mapping(mapping), context, depended_on=depended_on)


def directives(text: str) -> list[tuple[str, str, str]]:
    """Section, directive and value of each line, as systemd.syntax(7) reads a file."""
    found: list[tuple[str, str, str]] = []
    section, pending = "", ""
    # systemd ends a line at each of these.
    for line in text.replace("\r", "\n").replace("\0", "\n").split("\n"):
        bare = line.lstrip(" \t")
        if bare.startswith(("#", ";")):
            continue
        logical = pending + bare
        if (len(logical) - len(logical.rstrip("\\"))) % 2:
            pending = logical[:-1] + " "
            continue
        pending = ""
        logical = logical.strip(" \t")
        if not logical:
            continue
        if logical.startswith("["):
            assert logical.endswith("]")
            section = logical[1:-1]
            continue
        key, equals, value = logical.partition("=")
        assert equals, f"systemd complains about {logical!r}"
        found.append((section, key.rstrip(" \t"), value.strip(" \t")))
    assert not pending, "the last line continues"
    return found
