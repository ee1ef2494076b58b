"""What keeps guards from working inside a job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from compiling import SYSTEM, USER
from samples import job
from sandboxes import EXCEPTIONS, SANDBOX

from lunasched.errors import InvalidJob
from lunasched.jobs.model import Job
from lunasched.jobs.sandbox import OPTIONS
from lunasched.units import compiler
from lunasched.units.confinement import Needs

NEEDS = Needs(Path("/var/lib/lunasched/slots"), Path("/usr/libexec/lunasched"))
HOME = Needs(Path("/home/a/.local/state/lunasched/slots"), Path("/usr/libexec/lunasched"))


def daily(**keys: Any) -> Job:
    return job(**{"name": "a", "schedule": "@daily", **keys})


@pytest.mark.parametrize("key", OPTIONS)
def test_no_option_is_an_obstacle_by_itself(key: str) -> None:
    sandbox = SANDBOX.get(key) or EXCEPTIONS.get(key) or {key: True}
    assert NEEDS.obstacle(daily(sandbox=sandbox)) is None


OBSTACLES: list[tuple[str, dict[str, Any], str]] = [
    ("sandbox", {"inaccessible_paths": "/var/lib"}, "hides /var/lib/lunasched/slots"),
    ("sandbox", {"inaccessible_paths": "-/var//lib/lunasched/slots/"}, "hides /var/lib/lunasched"),
    ("sandbox", {"inaccessible_paths": "/usr/libexec"}, "hides /usr/libexec/lunasched"),
    ("sandbox", {"inaccessible_paths": "/bin"}, "hides /usr/bin/bash"),
    ("sandbox", {"inaccessible_paths": "/usr/lib/x86_64-linux-gnu"}, "hides /usr/lib/x86"),
    ("sandbox", {"no_exec_paths": "/"}, "nothing in /usr/bin/bash"),
    ("sandbox", {"no_exec_paths": "/", "exec_paths": "/usr/bin"}, "nothing in /usr/lib"),
    ("sandbox", {"no_exec_paths": "/bin/bash"}, "nothing in /usr/bin/bash"),
    ("sandbox", {"system_call_filter": ["read", "write"]}, "a shell"),
    ("sandbox", {"system_call_filter": "~openat:EPERM"}, "a shell"),
    ("sandbox", {"system_call_filter": ["@system-service", "~@process"]}, "a shell"),
    ("systemd", {"RootDirectory": "/srv/root"}, "other files"),
    ("systemd", {"TemporaryFileSystem": "/var:ro"}, "other files in /var"),
    ("systemd", {"BindPaths": "/etc/x /srv/a:/var/lib:rbind"}, "other files in /var/lib"),
    ("systemd", {"BindReadOnlyPaths": "/srv/usr:/usr"}, "other files in /usr"),
    ("systemd", {"AppArmorProfile": "mine"}, "other files"),
]
NONE = [
    ("sandbox", {"inaccessible_paths": "/var/library"}),
    ("sandbox", {"no_exec_paths": "/", "exec_paths": ["/usr", "/lib"]}),
    ("sandbox", {"no_exec_paths": "/usr/lib/python3"}),
    ("sandbox", {"system_call_filter": "~@mount"}),
    ("sandbox", {"system_call_filter": ["@system-service", "~@resources", "~@privileged"]}),
    ("sandbox", {"protect_home": True, "private_tmp": True}),
    ("systemd", {"BindPaths": "/srv/a:/srv/b", "TemporaryFileSystem": "/srv"}),
    ("systemd", {"ExecSearchPath": "/srv", "PAMName": "login"}),
]


@pytest.mark.parametrize(("key", "value", "said"), OBSTACLES)
def test_obstacles(key: str, value: dict[str, Any], said: str) -> None:
    found = NEEDS.obstacle(daily(**{key: value}))
    assert found is not None
    assert said in found
    assert found.startswith(f"{key}.{next(iter(value))}: ")
    compiled = compiler.compile(daily(**{key: value}), SYSTEM)
    if "libexec" not in said:
        assert not compiled.guarded
        assert "slot-guard" not in compiled.service.text
        assert any(said in warning and "run twice" in warning for warning in compiled.warnings)


@pytest.mark.parametrize(("key", "value"), NONE)
def test_what_is_no_obstacle(key: str, value: dict[str, Any]) -> None:
    assert NEEDS.obstacle(daily(**{key: value})) is None


def test_the_homes_are_where_a_users_slots_are() -> None:
    for value in (True, "tmpfs"):
        assert HOME.obstacle(daily(sandbox={"protect_home": value})) is not None
    assert HOME.obstacle(daily(sandbox={"protect_home": "read-only"})) is None


@pytest.mark.parametrize(
    ("more", "depended_on", "said"),
    [
        ({"overlap": "skip"}, False, "overlap: skip"),
        ({"dependencies": ["b"]}, False, "dependencies"),
        ({}, True, "being depended upon"),
    ],
)
def test_what_cannot_do_without_a_guard_is_refused(
    more: dict[str, Any], depended_on: bool, said: str
) -> None:
    hidden = daily(sandbox={"inaccessible_paths": "/var/lib"}, **more)
    with pytest.raises(InvalidJob, match=said):
        compiler.compile(hidden, SYSTEM, depended_on=depended_on)


@pytest.mark.parametrize(
    ("sandbox", "again"),
    [
        ({"protect_system": "strict"}, True),
        ({"read_only_paths": "/var"}, True),
        ({"read_only_paths": "/var/lib/lunasched/slots/last:a"}, True),
        ({"read_only_paths": ["/var/lib/other", "/etc"]}, False),
        ({"protect_system": True}, False),
        ({"protect_home": "read-only"}, False),
    ],
)
def test_own_files_are_writable_again_where_they_are_not(
    sandbox: dict[str, Any], again: bool
) -> None:
    text = compiler.compile(daily(sandbox=sandbox), SYSTEM, depended_on=True).service.text
    for name in ("last:a", "succeeded:a"):
        line = f"ReadWritePaths=-/var/lib/lunasched/slots/{name}"
        assert (line in text.splitlines()) is again


def test_in_user_mode_they_are_outside_of_the_sandbox() -> None:
    """Or the command could not join the namespaces that a guard had been given before it."""
    found = daily(sandbox={"protect_home": "tmpfs"}, dependencies=["b"], overlap="skip")
    text = compiler.compile(found, USER, depended_on=True).service.text
    guards = [line for line in text.splitlines() if line.startswith("Exec")]
    assert len(guards) == 7
    assert [line for line in guards if "=+" not in line] == ["ExecStart=/bin/sh -c true"]
    assert "ReadWritePaths" not in text
    bare = compiler.compile(daily(), USER, depended_on=True).service.text
    assert "=+" not in bare
