"""What a job compiles to: byte for byte, as systemd reads it, and whatever the job's text is.

`LUNASCHED_UPDATE_GOLDEN=1` rewrites the files in `golden/`; read the difference.
"""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from compiling import (
    EVERYTHING,
    NOW,
    RUNTIME,
    SLOTS,
    SYSTEM,
    UNITS,
    USER,
    USER_EVERYTHING,
    compiled,
    directives,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st
from systemds import SUITES, analyzer

from lunasched.errors import InvalidInput, InvalidJob
from lunasched.formats import unittext
from lunasched.jobs.model import Job
from lunasched.jobs.reading import job_from_mapping
from lunasched.jobs.sandbox import OPTIONS, UserMode
from lunasched.paths import Mode, unit_scripts
from lunasched.systemd import systemctl
from lunasched.units import compiler, versions
from lunasched.units.compiler import CompiledJob, Context, Unit

GOLDEN = Path(__file__).parent.parent / "golden"
# What stands in a golden file for the directory of the templates, which is elsewhere everywhere.
TEMPLATES = "/usr/lib/lunasched/unit-templates"

JOBS: dict[str, tuple[dict[str, Any], Context]] = {
    "minimal": ({"name": "minimal", "schedule": "every 1h", "command": "true"}, SYSTEM),
    "everything": (EVERYTHING, SYSTEM),
    "arguments": (
        {
            "name": "arguments",
            "schedule": "*/15 * * * *",
            "command": ["/bin/echo", "", "a b", "$HOME", "%h", ";", "\\", '"', "'", "\x01", "~"],
            "priority": "Low",
        },
        SYSTEM,
    ),
    "either-day": (
        {
            "name": "either-day",
            "schedule": "cron:0 12 1,15 * 1",
            "command": "true",
            "timezone": "UTC",
            "priority": "Critical",
        },
        SYSTEM,
    ),
    "several": (
        {
            "name": "several",
            "schedule": ["at 09:00", "30 2 * * 1-5", "@boot+15m"],
            "command": "true",
            "timezone": "Europe/Berlin",
        },
        SYSTEM,
    ),
    "from-boot": (
        {"name": "from-boot", "schedule": "every 1d; @boot+15m", "command": "true"},
        SYSTEM,
    ),
    "at-boot": ({"name": "at-boot", "schedule": "@reboot", "command": "true"}, SYSTEM),
    "calendar": (
        {
            "name": "calendar",
            "schedule": "calendar:Mon *-*-1..7 09:00",
            "command": "true",
            "timeout": 0.5,
            "enabled": False,
        },
        SYSTEM,
    ),
    "exclusive": (
        {
            "name": "exclusive",
            "schedule": "@weekly",
            "command": "true",
            "execution_mode": "Exclusive",
        },
        SYSTEM,
    ),
    "parallel": (
        {
            "name": "parallel",
            "schedule": "*/5 * * * *",
            "command": "true",
            "execution_mode": "Parallel",
            "max_concurrent": 3,
            "tags": ["none"],
        },
        SYSTEM,
    ),
    "replace": (
        {"name": "replace", "schedule": "every 1h", "command": "true", "overlap": "replace"},
        USER,
    ),
    "on-demand": (
        {"name": "on-demand", "command": "true", "dependencies": ["minimal"], "timeout": "1h"},
        SYSTEM,
    ),
    "follower": (
        {
            "name": "follower",
            "schedule": "at 04:00",
            "command": "true",
            "dependencies": ["minimal"],
            "after": ["at-boot", "minimal"],
        },
        SYSTEM,
    ),
    "as-cron": (
        {
            "name": "as-cron",
            "schedule": "@daily",
            "command": "[ -x /x ] && /x",
            "any_exit_code": True,
            "notification_config": {
                "on_output": {"type": "sendmail", "to": "root, ops@example.org", "style": "cron"},
            },
        },
        SYSTEM,
    ),
    "private": (
        {
            "name": "private é",
            "schedule": "@daily",
            "command": "curl -u 'me:pa$$w\"rd`' \\\n  %h",
            "env": {"TOKEN": "s3cret"},
            "on_failure": ["/bin/tell", "--key", "k"],
            "private": True,
        },
        SYSTEM,
    ),
    "user-minimal": ({"name": "minimal", "schedule": "@daily", "command": "true"}, USER),
    "user-everything": (USER_EVERYTHING, USER),
}

OFFSET, DELAY = "RandomizedOffsetSec", "RandomizedDelaySec"
# All that our units may say.
ALLOWED = {
    "Unit": {
        "Description", "Documentation", "StartLimitIntervalSec", "CollectMode", "After",
        "Before", "ConditionPathExists",
    },
    "Service": {
        "Type", "ExecCondition", "ExecStart", "User", "WorkingDirectory", "Environment",
        "EnvironmentFile",
        "IgnoreSIGPIPE", "SyslogIdentifier", "LogRateLimitIntervalSec", "LogRateLimitBurst",
        "Slice", "CPUAccounting", "MemoryAccounting", "RuntimeMaxSec", "MemoryMax", "CPUQuota",
        "TasksMax", "TimeoutStopSec",
        "Nice", "CPUWeight", "IOWeight", "OOMScoreAdjust", "RuntimeDirectory", "ExecStartPre",
        "ExecStartPost", "ExecStopPost", "SuccessExitStatus", "TimeoutStartSec",
        *(option.directive for option in OPTIONS.values()),
    },
    "Timer": {
        "OnCalendar", "Persistent", "OnBootSec", "OnStartupSec", "OnActiveSec", "OnUnitActiveSec",
        "AccuracySec", "RandomizedDelaySec", "FixedRandomDelay", "RandomizedOffsetSec", "Unit",
    },
    "Install": {"WantedBy"},
}  # fmt: skip
REPEATABLE = {
    "Environment", "OnCalendar", "After", "ExecCondition", "ExecStartPre", "ReadOnlyPaths",
    "ReadWritePaths",
    "InaccessiblePaths", "NoExecPaths", "ExecPaths", "RestrictNamespaces",
    "RestrictAddressFamilies", "SystemCallFilter", "CapabilityBoundingSet",
}  # fmt: skip


def check_holds_only_ours(job: CompiledJob) -> None:
    """Only directives that we generate, in their sections, and each as often as it may be."""
    chosen = [
        (name, line)
        for name, value in job.job.directives
        for line in ([value] if isinstance(value, str) else value)
    ]
    for unit in job.units:
        kind = unit.name.rpartition(".")[2].capitalize()
        sections = ["Unit", "Timer", "Install"] if kind == "Timer" else ["Unit", kind]
        read = directives(unit.text)
        if chosen and unit is job.service:
            # As they were written, after everything else.
            assert [(key, value) for _, key, value in read[-len(chosen) :]] == chosen
            del read[-len(chosen) :]
        seen: list[tuple[str, str]] = []
        for section, key, value in read:
            assert key in ALLOWED[section], f"{unit.name}: [{section}] {key}"
            empty_means_none = key == "CapabilityBoundingSet"
            assert value or empty_means_none, f"{unit.name}: {key}= is empty, which resets it"
            assert key in REPEATABLE or (section, key) not in seen, f"{key} is there twice"
            seen.append((section, key))
        assert list(dict.fromkeys(section for section, _ in seen)) == sections
        keys = [key for _, key in seen]
        assert keys.count("ExecStart") == (kind == "Service")
        if unit in (job.service, *job.hooks):
            is_private = job.job.private
            assert keys.count("Environment") == (0 if is_private else len(job.job.environment))
            assert keys.count("EnvironmentFile") == is_private


def verify(
    units: Iterable[Unit],
    directory: Path,
    *,
    user: bool = False,
    tool: Sequence[str] = ("systemd-analyze",),
) -> list[str]:
    """What `systemd-analyze verify` complains about."""
    directory.mkdir()
    runtime = directory.parent / f"{directory.name}-runtime"
    runtime.mkdir(mode=0o700)
    paths = []
    for unit in units:
        # A colon separates the file from an alias here; the names of hooks have one.
        paths.append(str(directory / unit.name.replace(":", "-")))
        Path(paths[-1]).write_text(unit.text, encoding="utf-8")
    assert paths
    done = subprocess.run(
        [*tool, "verify", "--man=no", *(["--user"] if user else []), *paths],
        capture_output=True,
        env={**os.environ, "LC_ALL": "C", "XDG_RUNTIME_DIR": str(runtime)},
        check=False,
    )
    complaints = [
        line
        for line in (done.stdout + done.stderr).decode(errors="replace").split("\n")
        # Programs that are not here, names of users that useradd would not make, and units of the
        # host, which are those of another version.
        if line
        and "is not executable: " not in line
        and "Accepting user/group name" not in line
        and "/lib/systemd/" not in line.partition(": ")[0]
    ]
    assert done.returncode == 0 or complaints or b"is not executable" in done.stderr, done
    return complaints


def golden_files(case: str) -> dict[str, Unit]:
    """The units of a job by the names that their golden files have: the job's, shorter."""
    job = compiled(*JOBS[case])
    instance = unittext.instance_name(job.job.name)
    found = {}
    for unit in job.files:
        prefix, _, rest = unit.name.partition(f"@{instance}")
        kind = prefix.removeprefix("lunasched-")
        middle = {"job": "", "hook": ""}.get(kind, f".{kind}")
        found[f"{case}{middle}{rest.replace(':', '.')}"] = unit
    return found


@pytest.mark.parametrize("case", JOBS)
def test_units_are_the_golden_ones(case: str) -> None:
    for name, unit in golden_files(case).items():
        text = unit.text.replace(str(unit_scripts()), TEMPLATES)
        file = GOLDEN / name
        if os.environ.get("LUNASCHED_UPDATE_GOLDEN"):
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
        assert text == file.read_bytes().decode()


def test_a_timer_that_is_started_later_than_at_boot_has_a_drop_in() -> None:
    def found(schedule: str) -> str | None:
        job = job_from_mapping({"name": "x", "command": "true", "schedule": schedule})
        return compiler.compile(job, SYSTEM).until_boot

    head = "# Until the next boot: what was due before is not due again.\n\n[Timer]\nOnActiveSec=\n"
    assert found("every 1d; @boot+15m") == f"{head}OnActiveSec=86400s\nOnUnitActiveSec=86400s\n"
    assert found("at 09:00; @reboot") == f"{head}OnCalendar=*-*-* 09:00:00\n"
    assert (found("@boot+15m"), found("at 09:00; at 10:00"), found("every 1d")) == (None,) * 3


def test_what_runs_after_each_boot_does_not_catch_up() -> None:
    mapping = {"name": "x", "command": "true", "schedule": "at 09:00; @boot", "catch_up": True}
    with pytest.raises(InvalidJob, match="catch_up: this job runs after each boot anyway"):
        compiler.compile(job_from_mapping(mapping), SYSTEM)
    # An interval has no slots that could be missed.
    compiler.compile(job_from_mapping({**mapping, "schedule": "every 1d; @boot"}), SYSTEM)


def test_there_is_no_golden_file_without_a_job() -> None:
    named = {name for case in JOBS for name in golden_files(case)}
    assert {file.name for file in GOLDEN.glob("*.*")} == named


def test_the_golden_files_hold_every_directive_that_there_is() -> None:
    used: dict[str, set[str]] = {section: set() for section in ALLOWED}
    for file in (file for file in GOLDEN.glob("*.*") if unittext.is_unit_name(file.name)):
        for section, key, _ in directives(file.read_text(encoding="utf-8")):
            used[section].add(key)
    used["Service"] -= EVERYTHING["systemd"].keys()
    # The golden units are for the oldest systemd; what newer ones have is looked at below.
    used["Timer"].add(OFFSET)
    assert used == ALLOWED


@pytest.mark.parametrize("mode", Mode)
def test_systemd_accepts_the_golden_units(mode: Mode, tmp_path: Path) -> None:
    # Compiled again for their names, which are those of the jobs, and for the systemd that is here.
    here = max(versions.major_version(systemctl.version()), SYSTEM.systemd)
    jobs = [
        compiled(mapping, dataclasses.replace(context, systemd=here))
        for mapping, context in JOBS.values()
        if context.mode is mode
    ]
    units = [unit for job in jobs for unit in job.units]
    assert verify(units, tmp_path / "units", user=mode is Mode.USER) == []


@pytest.mark.machine
@pytest.mark.parametrize("version", SUITES)
@pytest.mark.parametrize("mode", Mode)
def test_each_version_of_systemd_accepts_what_is_compiled_for_it(
    mode: Mode, version: int, tmp_path: Path
) -> None:
    jobs = [
        compiled(mapping, dataclasses.replace(context, systemd=version))
        for mapping, context in JOBS.values()
        if context.mode is mode
    ]
    units = [unit for job in jobs for unit in job.units]
    tool = analyzer(version)
    assert verify(units, tmp_path / "units", user=mode is Mode.USER, tool=tool) == []


@pytest.mark.machine
def test_the_newest_systemd_warns_of_what_the_oldest_has(tmp_path: Path) -> None:
    said = verify(compiled(*JOBS["minimal"]).units, tmp_path / "units", tool=analyzer(max(SUITES)))
    assert [line for line in said if "CPUAccounting=" not in line] == []
    assert said


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("257.13-1~deb13u1", 257),
        ("systemd 262 (262.1-1)", 262),
        ("258~rc1", 258),
        ("", versions.OLDEST),
        ("systemd", versions.OLDEST),
    ],
)
def test_the_version_is_the_first_number_that_systemd_says(said: str, version: int) -> None:
    assert versions.major_version(said) == version


def test_time_is_counted_where_a_version_has_to_be_told() -> None:
    for version, told in ((252, True), (257, True), (258, False), (262, False)):
        context = dataclasses.replace(SYSTEM, systemd=version)
        service = compiled(JOBS["minimal"][0], context).service.text
        assert ("\nCPUAccounting=yes\n" in service) is told
        assert "\nMemoryAccounting=yes\n" in service


def test_verify_would_complain(tmp_path: Path) -> None:
    bad = Unit("lunasched-job@a.service", "[Service]\nExecStart=/bin/true\nNonsense=1\n")
    assert any("Nonsense" in line for line in verify([bad], tmp_path / "units"))


@pytest.mark.parametrize("case", JOBS)
def test_golden_jobs_hold_only_our_directives(case: str) -> None:
    check_holds_only_ours(compiled(*JOBS[case]))


def test_units_are_named_after_the_job() -> None:
    job = compiled(EVERYTHING, SYSTEM)
    assert job.timer is not None
    assert job.service.name == r"lunasched-job@nightly\x3a\x2050\x25\x20\xc3\xbc.service"
    assert job.timer.name == r"lunasched-job@nightly\x3a\x2050\x25\x20\xc3\xbc.timer"
    hook = r"lunasched-hook@nightly\x3a\x2050\x25\x20\xc3\xbc:{}.service"
    events = ("on_start", "on_success", "on_failure", "on_retry")
    # What runs twice is one unit, called after what it runs.
    channels = ("exec-940fd25c", "exec-58b6c3ac")
    assert [unit.name for unit in job.hooks] == [
        hook.format(event) for event in (*events, *channels)
    ]
    assert job.units == (job.service, job.timer, *job.hooks)


@pytest.mark.parametrize("case", JOBS)
def test_every_file_begins_with_the_ownership_line(case: str) -> None:
    job = compiled(*JOBS[case])
    named = "private" if case == "private" else f"sha256:{compiler.job_hash(job.job)}"
    for unit in job.files:
        first, second, *_ = unit.text.splitlines()
        assert first.startswith(unittext.OWNERSHIP_MARK)
        assert second == f"# Job: {named}"
        assert unit.text.endswith("\n")


def test_nothing_of_a_private_job_is_in_its_units() -> None:
    """Only its name, and those of its programs."""
    job = compiled(*JOBS["private"])
    assert len(job.hooks) == 1
    for unit in job.units:
        assert not re.search("curl|s3cret|TOKEN|--key", unit.text), unit.name
        assert compiler.job_hash(job.job)[:8] not in unit.text
    assert job.private is not None and unittext.is_private(job.private.name)
    assert 'TOKEN="s3cret"\n' in job.private.text
    for other in sorted(JOBS.keys() - {"private"}):
        assert compiled(*JOBS[other]).private is None


def test_a_private_job_has_no_command_in_systemds_words() -> None:
    mapping = {"name": "x", "schedule": "@daily", "systemd": {"ExecStart": "/bin/a"}}
    with pytest.raises(InvalidJob, match="private: a command in systemd's own words"):
        compiler.compile(job_from_mapping({**mapping, "private": True}), SYSTEM)


def test_only_a_job_at_boot_is_not_started_when_it_is_deployed() -> None:
    assert [case for case in JOBS if compiled(*JOBS[case]).at_boot_only] == ["at-boot"]


def test_root_is_named_in_system_mode_and_nobody_in_user_mode() -> None:
    least = JOBS["minimal"][0]
    assert ("Service", "User", "root") in directives(compiled(least, SYSTEM).service.text)
    assert "User=" not in compiled(least, USER).service.text


def test_a_user_is_refused_in_user_mode() -> None:
    with pytest.raises(InvalidJob, match=r"^user: .*--system"):
        compiled({**JOBS["minimal"][0], "user": "alice"}, USER)


@pytest.mark.parametrize("priority", ["High", "Critical"])
def test_what_a_user_cannot_lower_is_warned_of(priority: str) -> None:
    least = JOBS["minimal"][0]
    assert compiled({**least, "priority": priority}, SYSTEM).warnings == ()
    [warning] = (job := compiled({**least, "priority": priority}, USER)).warnings
    for directive in ("Nice=", "OOMScoreAdjust="):
        assert directive in warning
        assert directive not in job.service.text
    assert "CPUWeight=" in job.service.text
    low = compiled({**least, "priority": "Low"}, USER)
    assert low.warnings == ()
    assert "OOMScoreAdjust=500" in low.service.text


def test_a_schedule_that_seems_to_have_its_seconds_first_is_warned_of() -> None:
    job = {"name": "a", "command": "true", "schedule": "0 0 12 * * *"}
    [warning] = compiled(job, SYSTEM).warnings
    assert warning.startswith("schedule: ") and "'0 12 * * *'" in warning
    assert compiled({**job, "schedule": "0 12 * * * 30"}, SYSTEM).warnings == ()


def test_the_weight_of_a_job_is_before_that_of_its_priority() -> None:
    job = compiled({**JOBS["minimal"][0], "priority": "Low", "io_weight": 77}, SYSTEM)
    found = [value for _, key, value in directives(job.service.text) if key == "IOWeight"]
    assert found == ["77"]


SANDBOX_OF_USERS = {key: option for key, option in OPTIONS.items() if key != "private_users"}


@pytest.mark.parametrize("key", SANDBOX_OF_USERS)
def test_what_becomes_of_the_sandbox_in_user_mode(key: str) -> None:
    option = OPTIONS[key]
    mapping = {**JOBS["minimal"][0], "sandbox": {key: EVERYTHING["sandbox"][key] or True}}
    assert compiled(mapping, SYSTEM).warnings == ()
    if option.user_mode is UserMode.FAILS:
        with pytest.raises(InvalidJob, match=f"^sandbox.{key}: "):
            compiled(mapping, USER)
        return
    job = compiled(mapping, USER)
    found = {name for _, name, _ in directives(job.service.text)}
    assert (option.directive in found) == (option.user_mode is not UserMode.NEEDLESS)
    assert ("PrivateUsers" in found) == (option.user_mode is UserMode.NAMESPACE)
    assert bool(job.warnings) == (option.user_mode is UserMode.NEEDLESS)


def test_a_sandbox_of_a_user_that_could_not_be_is_refused() -> None:
    mapping = {**JOBS["minimal"][0], "sandbox": {"private_tmp": True, "private_users": False}}
    assert compiled(mapping, SYSTEM).warnings == ()
    with pytest.raises(InvalidJob, match=r"^sandbox\.private_tmp: .*private_users"):
        compiled(mapping, USER)
    assert compiled({**mapping, "sandbox": {"private_tmp": False}}, USER).warnings == ()


@pytest.mark.parametrize(
    ("codes", "is_refused"),
    [("1 2", False), ("1 254", True), (["254", "3"], True)],
)
def test_the_exit_code_of_guards_cannot_be_a_success(codes: object, is_refused: bool) -> None:
    said: dict[str, Any] = {"systemd": {"SuccessExitStatus": codes}}
    guarded = {**JOBS["minimal"][0], "schedule": "0 4 * * *", **said}
    unguarded = {**guarded, "schedule": "@reboot"}
    compiled(unguarded, SYSTEM)
    for mapping in (
        guarded,
        {**unguarded, "overlap": "skip"},
        {**unguarded, "dependencies": ["a"]},
    ):
        with ExitStack() as stack:
            if is_refused:
                refused = pytest.raises(InvalidJob, match=r"^systemd: SuccessExitStatus: 254 ")
                stack.enter_context(refused)
            compiled(mapping, SYSTEM)


@pytest.mark.parametrize("schedule", ["0 0 30 2 *", "calendar:2020-01-01", "calendar:nonsense"])
def test_a_schedule_that_cannot_be_is_refused(schedule: str) -> None:
    with pytest.raises(InvalidJob, match=r"^schedule: "):
        compiled({**JOBS["minimal"][0], "schedule": schedule}, SYSTEM)


@pytest.mark.parametrize(
    ("keys", "systemd", "expected"),
    [
        ({"schedule": "at 02:00"}, 257, DELAY),
        ({"schedule": "at 02:00"}, 258, OFFSET),
        # What is made up for at boot is spread by it.
        ({"schedule": "at 02:00", "catch_up": True}, 258, DELAY),
        # An offset is for calendars alone.
        ({"schedule": "every 1h"}, 258, DELAY),
        ({"schedule": "at 02:00; @boot+5m"}, 258, DELAY),
    ],
)
def test_a_jitter_is_a_part_of_the_schedule_where_systemd_knows_that(
    keys: dict[str, Any], systemd: int, expected: str
) -> None:
    job = compiled({"name": "x", "command": "true", **keys, "jitter": "1h"}, on(systemd))
    assert job.timer is not None
    assert job.has_offset == (expected == OFFSET)
    check_holds_only_ours(job)
    written = [key for _, key, _ in directives(job.timer.text) if key in (OFFSET, DELAY)]
    assert written == [expected]
    plain = compiled({"name": "x", "command": "true", **keys}, on(systemd))
    assert not plain.has_offset


@pytest.mark.parametrize(
    ("version", "expected"),
    [(250, ""), (252, ""), (257, ""), (258, "systemd 258"), (262, "systemd 258")],
)
def test_units_are_made_anew_where_a_version_has_other_directives(
    version: int, expected: str
) -> None:
    assert versions.made_for(version) == expected


def on(systemd: int) -> Context:
    return dataclasses.replace(SYSTEM, systemd=systemd)


@pytest.mark.parametrize("forgets", ["{{ name }}", "{% for x in ['a'] %}{{ x }}{% endfor %}"])
def test_a_template_that_forgets_to_escape_is_refused(forgets: str, tmp_path: Path) -> None:
    (tmp_path / "job.service.j2").write_text(forgets.replace("name", "'a plain text'"))
    (tmp_path / "job.timer.j2").write_text("")
    context = Context(Mode.SYSTEM, "UTC", "", NOW, tmp_path, unit_scripts(), UNITS, SLOTS, RUNTIME)
    with pytest.raises(TypeError, match="not UnitText"):
        compiled(JOBS["minimal"][0], context)


@pytest.mark.parametrize("plain", ["1", "1.5", "none", "true", "[]", "job_hash ~ 'x'"])
def test_a_template_prints_nothing_but_unit_text(plain: str, tmp_path: Path) -> None:
    (tmp_path / "job.service.j2").write_text("{{ " + plain + " }}")
    (tmp_path / "job.timer.j2").write_text("")
    context = Context(Mode.SYSTEM, "UTC", "", NOW, tmp_path, unit_scripts(), UNITS, SLOTS, RUNTIME)
    with pytest.raises(TypeError, match="not UnitText"):
        compiled(JOBS["minimal"][0], context)


# Whatever could end a line, a word or a section, or be expanded.
PIECES = [
    "'", '"', "\\", "$", "${X}", "%", "%%", "%n", "\n", "\n\n[Service]\nExecStart=/bin/false\n",
    "\nUser=root", "\r", "\r\n", "\\\n", "\t", " ", "  ", ";", " ; ", "\\n", "\\x0a", "#", "\n#",
    "=", "@", "-", "+", "!", ":", ",", "/", "..", "~", "|", "é", "𝄞", "\u200b", "\ufdd0",
    "\uffff", "\x01", "\x1b", "\x7f", "\x85", "\u2028", "\xa0", "\ufeff", "a", "b", "0", "1", "9",
    "K", "M", "h", "m", "every ", "at ", "on ", "cron:", "calendar:", "*", "* ", "*-*-*", "Mon",
    "12:00", "Europe/Berlin", "UTC", "{{ 1 }}", "{% if %}", "{#", "\x00", "\ud800",
]  # fmt: skip
TEXT = st.lists(st.sampled_from(PIECES) | st.characters(), max_size=10).map("".join)
PATH = st.builds("{}/{}".format, st.sampled_from(["", "-", "+", "-+"]), TEXT)
PATH_KEYS = [key for key in OPTIONS if key.endswith("_paths")]


def is_known(sandbox: dict[str, str]) -> bool:
    """Whether there is no word that systemd alone knows to be wrong, such as a system call's."""
    return not any(re.fullmatch(r"[a-z0-9@~:_-]+", value) for value in sandbox.values())


LEAST: dict[str, Any] = {"name": "job", "schedule": "every 1h", "command": "true"}
# In a form that is right except for the text in it, so that much of it is accepted.
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "name": TEXT,
    "schedule": TEXT
    | TEXT.map("calendar:{}".format)
    | TEXT.map("calendar:*-*-* 12:00:00{}".format)
    | TEXT.map("every 1h{}".format)
    | TEXT.map("0 0 * * *{}".format),
    "command": TEXT
    | st.lists(TEXT, max_size=3)
    | st.lists(TEXT, max_size=3).map(lambda words: ["/bin/echo", *words])
    | TEXT.map(lambda text: ["/bin/" + text]),
    "user": TEXT | st.text("abAB019_.-$", max_size=33),
    "timezone": TEXT | TEXT.map("Europe/Berlin{}".format),
    "timeout": TEXT | st.floats(0, 1e9) | st.integers(0, 10**12),
    "max_memory": TEXT | st.integers(0, 1 << 61),
    "cpu_quota": TEXT | st.floats(0, 5000) | st.integers(0, 500_000).map("{}%".format),
    "jitter": TEXT | st.floats(0, 1e9) | st.integers(0, 10**12),
    "env": st.dictionaries(TEXT, TEXT, max_size=2)
    | st.dictionaries(st.sampled_from(["A", "B_1", "_"]), TEXT, max_size=3),
    "working_directory": TEXT | TEXT.map("/{}".format),
    "priority": TEXT | st.sampled_from(["low", "Normal", "HIGH", "Critical"]),
    "tags": TEXT | st.lists(TEXT, max_size=3),
    "tasks_max": TEXT | st.integers(-1, 1 << 23),
    "io_weight": TEXT | st.integers(-1, 20_000),
    "kill_after": TEXT | st.floats(0, 1e9),
    "max_retries": TEXT | st.integers(-1, 2000),
    "backoff": TEXT,
    "retry_on_exit_codes": TEXT | st.lists(st.integers(0, 256), max_size=3),
    "execution_mode": TEXT | st.sampled_from(["Sequential", "parallel", "EXCLUSIVE"]),
    "overlap": TEXT | st.sampled_from(["queue", "skip", "replace"]),
    "dependencies": TEXT | st.lists(TEXT, max_size=3),
    **dict.fromkeys(
        ("on_start", "on_success", "on_failure", "on_retry"),
        TEXT | st.lists(TEXT, max_size=2).map(lambda words: ["/bin/echo", *words]),
    ),
    "hook_timeout": TEXT | st.floats(0, 1e9),
    "sandbox": st.dictionaries(
        st.sampled_from(PATH_KEYS), TEXT | PATH | st.lists(PATH, max_size=3), max_size=2
    )
    | st.dictionaries(st.sampled_from(sorted(OPTIONS)), TEXT, max_size=1).filter(is_known),
    "systemd": st.dictionaries(
        TEXT | st.sampled_from(["BindPaths", "LimitNOFILE", "StandardInputText", "TTYPath"]),
        TEXT | st.lists(TEXT, max_size=2) | st.integers() | st.booleans(),
        max_size=2,
    ),
}


@st.composite
def changes(draw: st.DrawFn) -> tuple[str, Any]:
    key = draw(st.sampled_from(sorted(FIELDS)))
    return key, draw(FIELDS[key])


@pytest.mark.slow
def test_no_text_in_any_field_adds_a_directive(tmp_path: Path) -> None:
    accepted: dict[str, CompiledJob] = {}

    @settings(max_examples=400, deadline=None)
    @given(change=changes())
    @example(change=("working_directory", "/a\\"))
    @example(change=("working_directory", "/" + "d/" * 2047))
    @example(change=("working_directory", "/\ufdd0"))
    @example(change=("command", ["/bin/" + "d/" * 2045 + "x"]))
    @example(change=("command", ["p" * 256]))
    @example(change=("command", ["/bin/" + "p" * 256]))
    @example(change=("command", [".."]))
    @example(change=("command", [";"]))
    @example(change=("command", [";", "a b"]))
    @example(change=("command", [";;"]))
    @example(change=("command", ["/bin/;"]))
    @example(change=("command", ["/bin/../bin/true"]))
    @example(change=("working_directory", "/" + "d" * 256))
    @example(change=("command", "x" * 131_071))
    @example(change=("schedule", "every 1h" + " " * 140_000))
    @example(change=("schedule", "0 0 * * " + "1," * 70_000 + "1"))
    @example(change=("timezone", "U" * 140_000))
    @example(change=("command", ["/bin/echo", *["\x01" * 99_000] * 3]))
    @example(change=("command", ["/bin/echo", *["%" * 90_000] * 5]))
    @example(change=("command", ["/bin/echo", *["x" * 90_000] * 11]))
    @example(change=("env", {"A": "\\" * 131_000}))
    @example(change=("name", "%" * 47))
    @example(change=("user", "4294967296"))
    @example(change=("user", "1" * 19))
    @example(change=("user", "root\n"))
    @example(change=("cpu_quota", 4096))
    @example(change=("max_memory", (1 << 60) - 1))
    @example(change=("timeout", 10 * 366 * 86400))
    @example(change=("kill_after", 10 * 366 * 86400))
    @example(change=("on_start", "x" * 131_071))
    @example(change=("dependencies", ["%" * 47, "a b", "$x'\\"]))
    @example(change=("sandbox", {"read_only_paths": ["/a\\", '-/"%\\', "+/$x ", "/'a", "/ b"]}))
    @example(change=("sandbox", {"exec_paths": ["/" + "d/" * 2047, "/" + "d" * 256]}))
    @example(change=("sandbox", {"no_exec_paths": ["/\ufdd0", "/\x85", "/\xa0"]}))
    @example(change=("systemd", {"BindPaths": ["/a\\", "/a\\\\"]}))
    @example(change=("systemd", {"StandardInputText": "\\"}))
    @example(change=("systemd", {"StandardInputText": "a\r\nUser=root"}))
    def compile_any(change: tuple[str, Any]) -> None:
        key, value = change
        # A name of its own for each, so that one call verifies them all.
        mapping = {**LEAST, "name": f"job-{len(accepted)}", key: value}
        try:
            job = compiled(mapping, SYSTEM)
        except InvalidJob as error:
            assert error.problems
            for problem in error.problems:
                assert problem.startswith((f"{key}: ", f"{key}.")), problem
            return
        except InvalidInput as error:
            raise AssertionError(f"{key}={value!r}: the error names no field: {error}") from error
        check_holds_only_ours(job)
        assert compiler.compile(job.job, SYSTEM) == job
        accepted[job.service.name] = job

    compile_any()
    # What is in systemd's own words may well be wrong, but it is its own line alone.
    units = [unit for job in accepted.values() if not job.job.directives for unit in job.units]
    assert len(units) > 100
    complaints = verify(units, tmp_path / "units")
    assert not complaints, (complaints, [unit for unit in units if unit.name in str(complaints)])


@given(first=changes(), second=changes())
@settings(max_examples=100, deadline=None)
def test_the_same_job_has_the_same_hash_and_another_another(
    first: tuple[str, Any], second: tuple[str, Any]
) -> None:
    jobs: list[Job] = []
    for key, value in (first, second):
        try:
            jobs.append(job_from_mapping({**LEAST, key: value}))
        except InvalidJob:
            return
    one, other = jobs
    assert (compiler.job_hash(one) == compiler.job_hash(other)) == (one == other)
    assert compiler.job_hash(Job.from_mapping(one.to_mapping())) == compiler.job_hash(one)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LaterJob(Job):
    """A job of a version with more keys than this one: of its own and within its groups."""

    imaginary: str | None = None
    imaginary_parts: tuple[str, ...] = ()

    def to_mapping(self) -> dict[str, Any]:
        whole = Job.to_mapping(self)
        parts = list(self.imaginary_parts)
        for group in ("resource_limits", "retry_policy", "hooks", "notification_config"):
            whole[group] |= {"imaginary_limit": self.imaginary, "imaginary_parts": parts}
        return whole | {
            "imaginary": self.imaginary,
            "imaginary_switch": False,
            "imaginary_number": 3,
            "imaginary_group": {"imaginary": self.imaginary, "imaginary_parts": parts},
        }


@pytest.mark.parametrize("definition", [LEAST, EVERYTHING], ids=["least", "everything"])
def test_a_key_of_a_later_version_changes_no_unit_of_a_job_without_it(
    definition: dict[str, Any],
) -> None:
    job = job_from_mapping(definition)
    fields = {field.name: getattr(job, field.name) for field in dataclasses.fields(Job)}
    later = LaterJob(**fields)
    assert compiler.compile(later, SYSTEM).units == compiler.compile(job, SYSTEM).units
    hashes = {
        compiler.job_hash(one)
        for one in (
            later,
            LaterJob(**fields, imaginary="x"),
            LaterJob(**fields, imaginary_parts=("x",)),
        )
    }
    assert len(hashes) == 3


def test_every_field_is_in_the_hash() -> None:
    base = job_from_mapping(EVERYTHING)
    others: dict[str, Any] = {
        "name": "other", "schedule": "every 1h", "command": "x", "user": None,
        "timezone": None, "timeout": 1, "max_memory": None, "cpu_quota": 1,
        "jitter": 1, "accuracy": 1,
        "env": {}, "working_directory": None, "priority": None, "tags": [], "enabled": False,
        "catch_up": False,
        "remove_when_over": True, "any_exit_code": True, "private": True, "resource_limits": None,
        "retry_policy": None, "hooks": None,
        "overlap": None, "execution_mode": "Parallel", "max_concurrent": 1, "dependencies": [],
        "after": ["a"],
        "sandbox": None, "systemd": None,
        "notification_config": {"on_start": {"type": "email", "to": "root"}},
    }  # fmt: skip
    changed = []
    for key, value in others.items():
        mapping = {**EVERYTHING, key: value}
        if key in ("execution_mode", "max_concurrent"):
            mapping |= {"overlap": None, "execution_mode": "Parallel"}
        changed.append(job_from_mapping(mapping))
    hashes = {compiler.job_hash(job) for job in [base, *changed]}
    assert len(hashes) == len(changed) + 1
    fields = {field.name for field in dataclasses.fields(Job)}
    unlike = {
        name for name in fields for job in changed if getattr(job, name) != getattr(base, name)
    }
    assert unlike == fields
