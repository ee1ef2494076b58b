"""Job definitions as people write them: what is taken, what is refused, and what it says."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given
from jobdefinitions import EVERY_FIELD, EVERY_KEY, NESTED, definitions
from samples import LEAST, job

from lunasched import schedule
from lunasched.errors import ExitCode, InvalidInput, InvalidJob
from lunasched.jobs.directives import REFUSED
from lunasched.jobs.keys import ROWS
from lunasched.jobs.model import (
    Backoff,
    Channel,
    ChannelType,
    Job,
    Notifications,
    NotifyEvent,
    Priority,
    RetryPolicy,
)
from lunasched.jobs.reading import Defaults, defaults_from_mapping, dotted, job_from_mapping
from lunasched.jobs.values import read_duration, read_name, read_size

TEN_YEARS = 10 * 366 * 86400


def problems(mapping: Mapping[str, Any]) -> list[str]:
    with pytest.raises(InvalidJob) as caught:
        job_from_mapping(mapping)
    assert caught.value.exit_code == ExitCode.USAGE
    assert str(caught.value) == "\n".join(caught.value.problems)
    return list(caught.value.problems)


def test_three_keys_make_a_job() -> None:
    assert job() == Job(name="backup", schedule="every 1h", command="true")


def test_every_key_reaches_the_job() -> None:
    assert job(**EVERY_KEY) == EVERY_FIELD


def test_the_keys_of_mappings_mean_the_same() -> None:
    nested: dict[str, Any] = dict(EVERY_KEY)
    for row in ROWS:
        flat, (group, _, inner) = row.keys[0], row.writes.rpartition(".")
        if flat in EVERY_KEY and flat != row.writes:
            value = nested.pop(flat)
            whole = nested.setdefault(group, {}) if group else nested
            whole[inner] = value + 1 if flat == "max_retries" else value
    assert job(**nested) == EVERY_FIELD
    # Both ways at once, as long as they agree.
    groups = {key: nested[key] for key in nested.keys() - EVERY_KEY.keys() if key in NESTED}
    assert sorted(groups) == ["hooks", "resource_limits", "retry_policy"]
    assert job(**EVERY_KEY, **groups) == EVERY_FIELD


def test_a_job_is_read_back_from_what_it_is_shown_as() -> None:
    assert job_from_mapping(EVERY_FIELD.to_mapping()) == EVERY_FIELD
    assert job_from_mapping(job().to_mapping()) == job()


def test_a_null_is_a_key_that_was_left_out() -> None:
    optional = (set(EVERY_KEY) - {"command"}) | {"resource_limits", "retry_policy", "hooks"}
    assert job(**dict.fromkeys(optional)) == job()
    groups = {group: dict.fromkeys(inner) for group, inner in NESTED.items()}
    groups["systemd"] = {"BindPaths": None}
    assert job(**groups) == job()


@pytest.mark.parametrize("key", ["name", "schedule", "command"])
@pytest.mark.parametrize("null", [True, False])
def test_what_every_job_needs(key: str, null: bool) -> None:
    mapping = {**LEAST, key: None} if null else {k: v for k, v in LEAST.items() if k != key}
    [problem] = problems(mapping)
    assert problem.startswith(f"{key}: it is missing, and every job needs one")


def test_a_job_with_dependencies_needs_no_schedule() -> None:
    mapping = {"name": "report", "command": "true", "dependencies": ["backup"]}
    assert job_from_mapping(mapping).schedule == schedule.ON_DEMAND
    assert job_from_mapping({**mapping, "schedule": "@daily"}).schedule == "@daily"
    [problem] = problems({**mapping, "dependencies": []})
    assert problem.startswith("schedule: it is missing")


def test_all_problems_are_found_at_once() -> None:
    found = problems(
        {
            "name": "",
            "shedule": "every 1h",
            "command": "",
            "user": "no body",
            "timezone": "Europe/Nowhere",
            "timeout": 0,
            "max_memory": "1",
            "cpu_quota": "lots",
            "jitter": "soon",
            "env": {"1": "x"},
            "working_directory": "here",
            "priority": "Urgent",
            "tags": "a,b",
            "enabled": "yes",
            "retry_policy": {"max_attempts": -1, "backoff_strategy": "Random", "retries": 3},
            "hooks": {"on_start": ["bin/x"], "timeout_seconds": 0},
            "sandbox": {"private_tmp": "perhaps", "tmp": True},
            "systemd": {"Type": "forking", "a b": 1, "BindPaths": "/a\nUser=root"},
            "overlap": "skip",
            "execution_mode": "Exclusive",
        }
    )
    assert [problem.partition(": ")[0] for problem in found] == [
        "name", "shedule", "command", "user", "timezone", "timeout", "max_memory", "cpu_quota",
        "jitter", "env", "working_directory", "priority", "tags", "enabled",
        "retry_policy.max_attempts", "retry_policy.backoff_strategy", "retry_policy.retries",
        "hooks.on_start", "hooks.timeout_seconds", "sandbox.private_tmp", "sandbox.tmp",
        "systemd.Type", "systemd.a b", "systemd.BindPaths", "schedule", "overlap",
    ]  # fmt: skip


def test_label_says_what_its_author_calls_a_key() -> None:
    with pytest.raises(InvalidJob) as caught:
        job_from_mapping(
            {
                "user": "no body",
                "schedul": "",
                "name": "a",
                "command": "b",
                "hooks": {"on_start": ""},
                "max_concurrent": 2,
            },
            label=lambda path: f"jobs.a.{dotted(path)}",
            place=lambda _: "jobs.yaml:3: ",
        )
    assert [problem.split(": ")[:2] for problem in caught.value.problems] == [
        ["jobs.yaml:3", "jobs.a.user"],
        ["jobs.yaml:3", "jobs.a.schedul"],
        ["jobs.yaml:3", "jobs.a.hooks.on_start"],
        ["jobs.yaml:3", "jobs.a.schedule"],
        ["jobs.yaml:3", "jobs.a.max_concurrent"],
    ]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("shedule", "schedule"),
        ("time_zone", "timezone"),
        ("Timeout", "timeout"),
        ("tag", "tags"),
        ("memory_max", "max_memory"),
        ("workingdirectory", "working_directory"),
    ],
)
def test_a_near_miss_is_pointed_out(written: str, meant: str) -> None:
    assert problems({**LEAST, written: "x"}) == [
        f"{written}: there is no such key; did you mean '{meant}'?"
    ]


def test_a_near_miss_in_a_mapping_is_pointed_out() -> None:
    assert problems(
        {**LEAST, "retry_policy": {"max_attempt": 3}, "sandbox": {"privat_tmp": 1}}
    ) == [
        "retry_policy.max_attempt: there is no such key; did you mean 'max_attempts'?",
        "sandbox.privat_tmp: there is no such key; did you mean 'private_tmp'?",
    ]


def test_a_key_that_is_near_none() -> None:
    assert problems({**LEAST, "xyzzy": 1}) == ["xyzzy: there is no such key"]


@pytest.mark.parametrize("key", [True, 1, None, 1.5])
def test_a_key_that_yaml_did_not_read_as_a_text(key: Any) -> None:
    assert problems({**LEAST, key: 1}) == [f"{key}: there is no such key"]


@pytest.mark.parametrize(
    "name", ["backup", "daily-backup", "a b", "ü", "a/b", "a:b", "50%", "$x", "..", "x" * 190]
)
def test_names(name: str) -> None:
    assert read_name(name) == name
    assert job(name=name).name == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "empty"),
        (" a", "white space"),
        ("a ", "white space"),
        ("a\nb", "control"),
        ("a\tb", "control"),
        ("a\0b", "control"),
        ("a\u2028b", "control"),
        ("\ufdd0", "control"),
        ("-a", "options"),
        ("--all", "options"),
        ("x" * 191, "191 bytes"),
        ("ü" * 24, "192 bytes"),
        ("\ud800", "UTF-8"),
        (7, "not a text"),
        (True, "not a text"),
        (["a"], "not a text"),
    ],
)
def test_names_that_are_refused(name: object, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        read_name(name)


@pytest.mark.parametrize("schedule", ["every 15m", "at 02:30 on Mon,Fri", "0 3 * * *", "@daily"])
def test_schedules(schedule: str) -> None:
    assert job(schedule=schedule).schedule == schedule


def test_a_bad_schedule_shows_the_place() -> None:
    found = problems({**LEAST, "schedule": "at 25:00"})
    lines = found[0].splitlines()
    assert lines[0].startswith("schedule: ")
    assert lines[1].strip() == "at 25:00"
    assert lines[2].index("^") == lines[1].index("25")


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        ("echo $HOME | wc -c", "echo $HOME | wc -c"),
        ("a\nb", "a\nb"),
        (["/bin/echo", ""], ("/bin/echo", "")),
        (("echo",), ("echo",)),
    ],
)
def test_commands(command: object, kept: object) -> None:
    assert job(command=command).command == kept


GOOD = [
    ("user", "alice", "alice"),
    ("user", "_apt", "_apt"),
    ("user", "first.last", "first.last"),
    ("user", "machine$", "machine$"),
    ("user", "0", "0"),
    ("user", "1000", "1000"),
    ("user", "4294967294", "4294967294"),
    ("timezone", "UTC", "UTC"),
    ("timezone", "America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"),
    ("working_directory", "/", "/"),
    ("working_directory", "/srv/a b/50%", "/srv/a b/50%"),
    ("working_directory", "-/srv", "-/srv"),
    ("jitter", 0, 0),
    ("jitter", "250ms", 0.25),
    ("env", {}, ()),
    ("env", {"_A1": ""}, (("_A1", ""),)),
    ("env", {"A": "two\nlines\t$X %h"}, (("A", "two\nlines\t$X %h"),)),
    ("priority", "Low", Priority.LOW),
    ("priority", "CRITICAL", Priority.CRITICAL),
    ("tags", [], ()),
    ("tags", ["b", " a ", "b"], ("b", "a")),
    ("enabled", True, True),
]


@pytest.mark.parametrize(("key", "value", "kept"), GOOD)
def test_good_values(key: str, value: object, kept: object) -> None:
    field = {"env": "environment"}.get(key, key)
    assert getattr(job(**{key: value}), field) == kept


BAD = [
    ("schedule", "", ""),
    ("schedule", "sometimes", ""),
    ("schedule", 5, "not a text"),
    ("schedule", "every 1h\0", "NUL"),
    ("schedule", "0 0 * * " + "1," * 3000 + "1", "at most 4096"),
    ("schedule", "9" * 5000 + " * * * *", "at most 4096"),
    ("schedule", "every 1h\x1b[31m", "\ufffd"),
    ("command", "", "empty"),
    ("command", "  ", "empty"),
    ("command", [], "no program"),
    ("command", ["bin/x"], "absolute"),
    ("command", ["/bin/echo", 5], "not a text"),
    ("command", ["/bin/echo", "a\0b"], "NUL"),
    ("command", "echo \ud800", "UTF-8"),
    ("command", 5, "neither a shell command nor a list"),
    ("command", {"run": "x"}, "neither a shell command nor a list"),
    ("user", "", "user's name"),
    ("user", "a b", "user's name"),
    ("user", "-x", "user's name"),
    ("user", "a\n", "user's name"),
    ("user", "1a", "user's name"),
    ("user", "007", "user's name"),
    ("user", "x" * 32, "user's name"),
    ("user", "%u", "user's name"),
    ("user", "65535", "user's ID"),
    ("user", "4294967295", "user's ID"),
    ("user", "4294967296", "user's ID"),
    ("user", "99999999999", "user's ID"),
    ("user", 0, "not a text"),
    ("timezone", "Europe/Nowhere", "Nowhere"),
    ("timezone", "", ""),
    ("timezone", "../../etc/passwd", ""),
    ("timezone", "/etc/localtime", ""),
    ("timezone", "Europe/Berlin\nX=1", ""),
    ("timeout", 0, "longer than 0"),
    ("timeout", "0s", "longer than 0"),
    # systemd counts milliseconds here, and no milliseconds are no limit.
    ("timeout", 0.0001, "longer than 0"),
    ("timeout", -1, "out of range"),
    ("timeout", True, "not a text"),
    ("timeout", [], "not a text"),
    ("max_memory", 1000, "less than 1M"),
    ("max_memory", "1023K", "less than 1M"),
    ("max_memory", "much", "not a size"),
    ("max_memory", 1.5, "not a text"),
    ("cpu_quota", 0, "out of range"),
    ("cpu_quota", "0%", "out of range"),
    ("cpu_quota", 5000, "out of range"),
    ("cpu_quota", float("nan"), "out of range"),
    ("cpu_quota", 10**400, "out of range"),
    ("cpu_quota", "0.555", "finer"),
    ("cpu_quota", "half", "not a share"),
    ("cpu_quota", "50 % of it", "not a share"),
    ("cpu_quota", True, "not a share"),
    ("cpu_quota", [1], "not a share"),
    ("jitter", -1, "out of range"),
    ("jitter", "a while", "not a duration"),
    ("env", [], "must map"),
    ("env", "A=b", "must map"),
    ("env", {"A B": "x"}, "'A B' cannot be the name"),
    ("env", {"": "x"}, "cannot be the name"),
    ("env", {"É": "x"}, "cannot be the name"),
    ("env", {"A\n": "x"}, "cannot be the name"),
    ("env", {1: "x"}, "1 cannot be the name"),
    ("env", {"PORT": 8080}, "PORT: 8080 is not a text"),
    ("env", {"A": "\x01"}, "A: .*control"),
    ("env", {"A": "a\0"}, "A: .*NUL"),
    ("env", {"A": None}, "A: None is not a text"),
    ("working_directory", "srv", "absolute"),
    ("working_directory", "~", "absolute"),
    ("working_directory", "-srv", "absolute"),
    ("working_directory", "/a/../b", r"\.\."),
    ("working_directory", "/a\nb", "control"),
    ("working_directory", 1, "not a text"),
    ("priority", "Urgent", "Low, Normal, High, Critical"),
    ("priority", 1, "not a valid priority"),
    ("tags", "a,b", "a list"),
    ("tags", ["a,b"], "without commas"),
    ("tags", [""], "cannot be a tag"),
    ("tags", ["a\nb"], "cannot be a tag"),
    ("tags", [1], "not a text"),
    ("tasks_max", 0, "out of range"),
    ("tasks_max", "many", "whole number"),
    ("tasks_max", 1.5, "whole number"),
    ("tasks_max", True, "whole number"),
    ("io_weight", 0, "out of range"),
    ("io_weight", 10_001, "out of range"),
    ("kill_after", 0, "longer than 0"),
    ("max_retries", -1, "out of range"),
    ("max_retries", 1000, "out of range"),
    ("backoff", "random", "Exponential, Linear, Fixed"),
    ("retry_delay", "soon", "not a duration"),
    ("retry_max_delay", -1, "out of range"),
    ("retry_on_exit_codes", [0], "out of range"),
    ("retry_on_exit_codes", "1,256", "out of range"),
    ("retry_on_exit_codes", "1;2", "whole number"),
    ("retry_on_exit_codes", {}, "a list of exit codes"),
    ("no_retry_on_exit_codes", ["x"], "whole number"),
    ("on_start", "", "empty"),
    ("on_success", [], "no program"),
    ("on_failure", 5, "neither a shell command nor a list"),
    ("on_retry", "a\0b", "NUL"),
    ("hook_timeout", 0, "longer than 0"),
    ("execution_mode", "Serial", "Sequential, Parallel, Exclusive"),
    ("overlap", "kill", "queue, skip, replace"),
    ("max_concurrent", -1, "out of range"),
    ("max_concurrent", 2, "for Parallel jobs, and this one is Sequential"),
    ("dependencies", "a", "a list of names"),
    ("dependencies", [""], "the name is empty"),
    ("dependencies", ["a", "b", "a"], "'a' is there more than once"),
    ("dependencies", ["backup"], "wait for itself"),
    ("resource_limits", 5, "a mapping"),
    ("retry_policy", [], "a mapping"),
    ("hooks", "echo", "a mapping"),
    ("sandbox", ["private_tmp"], "a mapping"),
    ("systemd", "Nice=5", "a mapping"),
    ("enabled", "yes", "neither true nor false"),
    ("enabled", 1, "neither true nor false"),
]


@pytest.mark.parametrize(("key", "value", "reason"), BAD)
def test_bad_values(key: str, value: object, reason: str) -> None:
    [problem] = problems({**LEAST, key: value})
    assert re.match(f"(?s){key}: .*{reason}", problem)


BAD_NESTED = [
    ("resource_limits", "timeout_seconds", 0, "longer than 0"),
    ("resource_limits", "max_memory_mb", 0.5, "less than 1M"),
    ("resource_limits", "max_memory_mb", -1, "out of range"),
    ("resource_limits", "max_memory_mb", "lots", "not a size"),
    ("resource_limits", "tasks_max", 0, "out of range"),
    ("retry_policy", "max_attempts", -1, "out of range"),
    ("retry_policy", "max_attempts", 1001, "out of range"),
    ("retry_policy", "initial_delay_seconds", "x", "not a duration"),
    ("hooks", "on_start", {}, "neither a shell command nor a list"),
    ("hooks", "timeout_seconds", 0, "longer than 0"),
    ("sandbox", "private_tmp", "maybe", "neither true nor false"),
    ("sandbox", "private_tmp", 1, "neither true nor false"),
    ("sandbox", "protect_home", "half", "none of true, false, read-only, tmpfs"),
    ("sandbox", "protect_home", [True], "none of"),
    ("sandbox", "protect_proc", True, "none of noaccess"),
    ("sandbox", "read_only_paths", "etc", "'etc': it is not an absolute path"),
    ("sandbox", "read_only_paths", ["/a", "/b/../c"], r"\.\."),
    ("sandbox", "read_only_paths", ["/a\nUser=root"], "control"),
    ("sandbox", "read_only_paths", ["+-/a"], "absolute"),
    ("sandbox", "read_only_paths", [], "neither a text nor a list"),
    ("sandbox", "read_only_paths", [5], "neither a text nor a list"),
    ("sandbox", "restrict_namespaces", ["time"], "not a namespace"),
    ("sandbox", "restrict_address_families", ["unix"], "AF_UNIX"),
    ("sandbox", "restrict_address_families", ["none", "AF_UNIX"], "'none' is not"),
    ("sandbox", "system_call_filter", ["~"], "a system call"),
    ("sandbox", "system_call_filter", ["@mount @swap"], "a system call"),
    ("sandbox", "capability_bounding_set", ["chown"], "CAP_CHOWN"),
    ("sandbox", "umask", 27, "octal"),
    ("sandbox", "umask", "999", "octal"),
    ("systemd", "IOWeight", 5, "cannot be set here: use resource_limits: io_weight"),
    ("systemd", "PrivateTmp", True, "cannot be set here: use sandbox: private_tmp"),
    ("systemd", "Type", "oneshot", "cannot be set here"),
    ("systemd", "Limit NOFILE", 5, "letters only"),
    ("systemd", "LimitNOFILE=5\nUser", "root", "letters only"),
    ("systemd", "", "x", "letters only"),
    ("systemd", 5, "x", "letters only"),
    ("systemd", "BindPaths", "", "empty"),
    ("systemd", "BindPaths", [], "empty"),
    ("systemd", "BindPaths", [[]], "neither a text nor a number"),
    ("systemd", "BindPaths", {}, "neither a text nor a number"),
    ("systemd", "BindPaths", "/a\nUser=root", "control"),
    ("systemd", "BindPaths", "/a\rUser=root", "control"),
    ("systemd", "BindPaths", "/a\\", "backslash"),
]


@pytest.mark.parametrize(("group", "key", "value", "reason"), BAD_NESTED)
def test_bad_values_in_mappings(group: str, key: str, value: object, reason: str) -> None:
    [problem] = problems({**LEAST, group: {key: value}})
    assert re.match(f"(?s){re.escape(dotted((group, str(key))))}: .*{reason}", problem)


@pytest.mark.parametrize(("name", "reason"), sorted(REFUSED.items()))
def test_directives_that_cannot_be_set(name: str, reason: str) -> None:
    assert problems({**LEAST, "systemd": {name: "1"}}) == [
        f"systemd.{name}: this directive cannot be set here: {reason}"
    ]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"timeout": 60, "resource_limits": {"timeout_seconds": 90}},
            "resource_limits.timeout_seconds: timeout has another value; keep one",
        ),
        (
            {"resource_limits": {"max_memory": "1G", "max_memory_mb": 512}},
            "resource_limits.max_memory_mb: resource_limits.max_memory has another value",
        ),
        (
            {"max_retries": 3, "retry_policy": {"max_attempts": 3}},
            "retry_policy.max_attempts: max_retries has another value",
        ),
        (
            {"hooks": {"on_start": "a"}, "on_start": "b"},
            "on_start: hooks.on_start has another value",
        ),
        (
            {"retry_delay": 60, "retry_policy": {"max_delay_seconds": 30}},
            "retry_policy.max_delay_seconds: it is less than retry_delay",
        ),
        (
            {"retry_on_exit_codes": [1, 2], "no_retry_on_exit_codes": "2,3"},
            "no_retry_on_exit_codes: 2 is also in retry_on_exit_codes",
        ),
        (
            {"execution_mode": "Parallel", "overlap": "replace"},
            "overlap: only a Sequential job has a choice, and this one is Parallel",
        ),
        (
            {"execution_mode": "Exclusive", "max_concurrent": 2},
            "max_concurrent: it is for Parallel jobs, and this one is Exclusive",
        ),
    ],
)
def test_what_contradicts_itself(changes: dict[str, Any], told: str) -> None:
    [problem] = problems({**LEAST, **changes})
    assert problem.startswith(told)


@pytest.mark.parametrize(
    ("initial", "most"), [(60, 3600), ("1h", 3600), ("90m", 5400), ("2d", 172_800)]
)
def test_a_long_first_delay_raises_the_longest(initial: object, most: float) -> None:
    assert job(retry_delay=initial).retry.max_delay == most


@pytest.mark.parametrize(
    ("written", "size"),
    [(512, 512 << 20), ("512", 512 << 20), (1.5, 3 << 19), ("2G", 2 << 30), ("512M", 512 << 20)],
)
def test_mebibytes(written: object, size: int) -> None:
    assert job(resource_limits={"max_memory_mb": written}).limits.max_memory == size


@pytest.mark.parametrize(
    ("key", "value", "kept"),
    [
        ("private_tmp", "yes", True),
        ("private_tmp", "False", False),
        ("protect_home", "Read-Only", "read-only"),
        ("protect_home", "true", True),
        ("protect_system", False, False),
        ("protect_proc", "invisible", "invisible"),
        ("read_only_paths", "/a b", ("/a b",)),
        ("read_only_paths", ["/a", "-/b", "+/c", "-+/d", "/a"], ("/a", "-/b", "+/c", "-+/d")),
        ("restrict_namespaces", "true", True),
        ("restrict_namespaces", ["net", "~user"], ("net", "~user")),
        ("restrict_address_families", "none", ("none",)),
        ("system_call_filter", ["@system-service", "~@mount:EPERM"], None),
        ("capability_bounding_set", ["CAP_CHOWN", "~CAP_SYS_ADMIN"], None),
        ("umask", "0027", "0027"),
    ],
)
def test_sandbox_values(key: str, value: Any, kept: object) -> None:
    wanted = tuple(value) if kept is None else kept
    assert job(sandbox={key: value}).sandbox == ((key, wanted),)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (90, 90),
        (0, 0),
        (0.25, 0.25),
        (90.0, 90),
        ("90", 90),
        ("1.5", 1.5),
        ("90s", 90),
        ("15m", 900),
        ("15min", 900),
        ("15 min", 900),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        (" 1H30M ", 5400),
        ("1.5h", 5400),
        ("250ms", 0.25),
        ("2d", 172_800),
        ("1w", 604_800),
        (TEN_YEARS, TEN_YEARS),
    ],
)
def test_durations(written: object, seconds: float) -> None:
    assert read_duration(written) == seconds
    assert isinstance(read_duration(written), int) == (seconds == int(seconds))


@pytest.mark.parametrize(
    "written",
    [
        "", " ", "h",
        "1x", "1h30", "1 h 30", "-5", "-5s", "+5", "1e3", "1,5h", "1h!", "m5", "every 5m", "0x10",
        "inf", "nan", "1y", "5 s s", None, True, [], {}, b"5", -1, -0.1, float("inf"),
        float("-inf"), float("nan"), 10**400, TEN_YEARS + 1, "3661d", "9" * 400, "9" * 400 + "h",
    ],
)  # fmt: skip
def test_no_durations(written: object) -> None:
    with pytest.raises(InvalidInput):
        read_duration(written)


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (0, 0),
        (1 << 30, 1 << 30),
        ((1 << 53) + 1, (1 << 53) + 1),
        ("1048576", 1 << 20),
        ("512K", 512 << 10),
        ("512M", 512 << 20),
        ("512m", 512 << 20),
        ("512MB", 512 << 20),
        ("512MiB", 512 << 20),
        ("2G", 2 << 30),
        ("2 G", 2 << 30),
        (" 2G ", 2 << 30),
        ("1.5G", 3 << 29),
        ("1T", 1 << 40),
        ("100B", 100),
    ],
)
def test_sizes(written: object, size: int) -> None:
    assert read_size(written) == size


@pytest.mark.parametrize(
    "written",
    [
        "", "G", "1X", "-1", "1 2G", "1e9", "50%", "1P", "2G\n2G", "2\u212a", None, True, 1.5, [],
        -1, 10**400, 1 << 60, "9" * 400 + "T",
    ],
)  # fmt: skip
def test_no_sizes(written: object) -> None:
    with pytest.raises(InvalidInput):
        read_size(written)


@pytest.mark.parametrize(
    ("written", "quota"),
    [(1, 1), (0.5, 0.5), ("0.5", 0.5), ("50%", 0.5), ("50 %", 0.5), ("250%", 2.5), ("2", 2)],
)
def test_shares_of_a_core(written: object, quota: float) -> None:
    assert job(cpu_quota=written).limits.cpu_quota == quota


@given(changes=definitions())
@example(changes={"timeout": 10**400, "max_memory": 10**400, "cpu_quota": 10**400})
@example(changes={"max_memory": "2\u212a"})
def test_whatever_is_written_gives_a_job_or_a_problem_of_a_key(changes: dict[str, Any]) -> None:
    mapping = {**LEAST, **changes}
    try:
        made = job_from_mapping(mapping)
    except InvalidJob as error:
        for problem in error.problems:
            assert re.split("[.:]", problem)[0] in mapping, problem
    else:
        assert Job.from_mapping(made.to_mapping()) == made


def test_arguments_follow_the_command() -> None:
    assert job(command="tar", args=["-c", "a b"]).command == ("tar", "-c", "a b")
    assert job(command=["tar", "-c"], args=["x"]).command == ("tar", "-c", "x")
    assert job(command="tar -c x | wc", args=[]).command == "tar -c x | wc"
    assert job(command="tar -c", args=["a b", "$x"]).command == "tar -c 'a b' '$x'"
    assert problems({**LEAST, "args": [1]}) == ["args: 1 is not a text"]


def test_an_empty_list_of_arguments_takes_the_place_of_the_defaults() -> None:
    defaults = defaults_from_mapping({"args": ["-v"]})
    assert job_from_mapping(LEAST, defaults=defaults).command == ("true", "-v")
    assert job_from_mapping({**LEAST, "args": []}, defaults=defaults).command == "true"


def test_what_does_not_exist_is_refused_without_a_value_too() -> None:
    channel = {"type": "email", "to": "a", "url": None}
    assert len(problems({**LEAST, "systemd": {"Type": None, "a b": None}})) == 2
    assert len(problems({**LEAST, "notification_config": {"on_start": channel}})) == 1


@pytest.mark.parametrize("key", ["a\nb", "\x1b[31m", ""])
def test_a_key_is_shown_in_one_line(key: str) -> None:
    (problem,) = problems({**LEAST, key: 1})
    assert problem.startswith(f"{key!r}: there is no such key")


def test_the_owner_is_the_user() -> None:
    assert job(owner="alice") == job(user="alice")
    assert "keep one" in problems({**LEAST, "user": "a", "owner": "b"})[0]


CHANNELS: list[tuple[Any, str]] = [
    ("x", ": it must be a mapping such as {type: email, to: ADDRESS}"),
    ([{"to": "a@b"}], "[0].type: None is not a valid type of channel; use one of email"),
    ([{"type": "email"}], "[0].to: it is missing; email needs it"),
    ([{"type": "email", "to": "a b"}], "[0].to: 'a b' is not an email address"),
    ([{"type": "email", "to": "a", "url": "x"}], "[0].url: this type has no such key"),
    ([{"type": "email", "to": "a", "subjct": "x"}], "[0].subjct: this type has no such "
     "key; did you mean 'subject'?"),
    ([{"type": "email", "to": "a", "subject": "a\nBcc: b"}], "[0].subject: it must be one line"),
    ([{"type": "slack", "webhook_url": "ftp://x"}], "[0].webhook_url: it is not a URL"),
    ([{"type": "slack", "webhook_url": "http://x:99999/"}], "[0].webhook_url: it is not a URL"),
    ([{"type": "webhook", "url": "http://x", "headers": {"A b": "c"}}],
     "[0].headers.A b: it cannot be the name of a header"),
    ([{"type": "webhook", "url": "http://x", "headers": {"A": "c\r\nd"}}],
     "[0].headers.A: it must be one line"),
    ([{"type": "webhook", "url": "http://x", "secret": 1}], "[0].secret: it must be one line"),
    ([{"type": "email", "to": "a", "subject": "{{ jbo }}"}],
     "[0].subject: not a valid template: line 1: there is no variable 'jbo'; did you mean 'job'?"),
    ([{"type": "email", "to": "a", "body": "a\n{% if"}],
     "[0].body: not a valid template: line 2: "),
    ([{"type": "email", "to": "a", "body": "x" * 8193}], "[0].body: a template has at most 8192"),
    ([{"type": "ntfy", "url": "https://ntfy.sh"}], "[0].url: it is not a URL of a topic"),
    ([{"type": "ntfy", "url": "https://ntfy.sh/a?b=/c"}], "[0].url: it is not a URL of a topic"),
    ([{"type": "ntfy", "url": "https://ntfy.sh/a", "token": "a b"}], "[0].token: it must be ASCII"),
    ([{"type": "ntfy", "url": "https://ntfy.sh/a", "priority": 6}],
     "[0].priority: 6 is not a valid"),
    ([{"type": "exec", "command": []}], "[0].command: "),
    ([{"type": "exec"}], "[0].command: it is missing; exec needs it"),
    ([{"type": "exec", "command": "a", "timeout": 0}], "[0].timeout: a time limit must be longer"),
    ([{"type": "heartbeat", "url": "hc"}], "[0].url: it is not a URL"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "message"), CHANNELS)
def test_what_is_no_channel(value: Any, message: str) -> None:
    (problem,) = problems({**LEAST, "notification_config": {"on_failure": value}})
    assert problem.startswith(f"notification_config.on_failure{message}")


@pytest.mark.parametrize(
    "channel",
    [
        {"type": "discord", "webhook_url": "https//discord/SECRET"},
        {"type": "ntfy", "url": "https://ntfy.sh/SECRET/a b"},
        {"type": "ntfy", "url": "https://ntfy.sh/a", "token": "SECRET "},
        {"type": "webhook", "url": "https://x", "secret": "SECRET\n"},
        {"type": "webhook", "url": "https://x", "headers": {"A": "SECRET\n"}},
        {"type": "heartbeat", "url": "SECRET"},
    ],
)
def test_a_secret_that_is_wrong_is_not_repeated(channel: dict[str, Any]) -> None:
    (problem,) = problems({**LEAST, "notification_config": {"on_start": [channel]}})
    assert "SECRET" not in problem


def test_a_heartbeat_has_no_word_for_what_is_not_a_run() -> None:
    channel = {"type": "heartbeat", "url": "https://hc.example.org/ping/1"}
    for event in ("on_recovery", "on_skipped", "on_missed"):
        (problem,) = problems({**LEAST, "notification_config": {event: channel}})
        assert problem == (
            f"notification_config.{event}.type: "
            "a heartbeat is for on_start, on_success and on_failure"
        )


def test_who_is_told() -> None:
    email = Channel(ChannelType.EMAIL, "a@b")
    ping = Channel(ChannelType.HEARTBEAT, "https://hc.example.org/1")
    own = Channel(ChannelType.HEARTBEAT, "https://hc.example.org/2")
    told = Notifications(on_failure=(email, own), heartbeat=ping)
    assert told.channels(NotifyEvent.ON_START) == (ping,)
    assert told.channels(NotifyEvent.ON_FAILURE) == (email, own, ping)
    assert told.channels(NotifyEvent.ON_RECOVERY) == (email,)
    assert told.channels(NotifyEvent.ON_MISSED) == ()
    assert (
        Notifications(on_failure=(email,), on_recovery=()).channels(NotifyEvent.ON_RECOVERY) == ()
    )
    twice = Notifications(on_start=(ping,), heartbeat=ping)
    assert twice.channels(NotifyEvent.ON_START) == (ping,)


def test_what_identifies_a_channel() -> None:
    one = Channel(ChannelType.WEBHOOK, "https://x/y")
    assert one.key == dataclasses.replace(one, headers=(("A", "b"),), secret="c").key
    others = [
        Channel(ChannelType.WEBHOOK, "https://x/z"),
        Channel(ChannelType.SLACK, "https://x/y"),
        Channel(ChannelType.EXEC, "a b"),
        Channel(ChannelType.EXEC, ("a", "b")),
    ]
    assert len({channel.key for channel in (one, *others)}) == 5


def test_jobs_of_versions_with_fewer_keys_are_read() -> None:
    stored = EVERY_FIELD.to_mapping()
    stored["notification_config"] = {
        "on_start": [],
        "on_success": [{"type": "webhook", "url": "http://x", "headers": {"A": "b"}}],
        "on_failure": [{"type": "email", "to": "a@b", "subject": "s"}],
    }
    assert Job.from_mapping(stored).notifications == Notifications(
        on_success=(Channel(ChannelType.WEBHOOK, "http://x", headers=(("A", "b"),)),),
        on_failure=(Channel(ChannelType.EMAIL, "a@b", subject="s"),),
    )
    del stored["notification_config"]
    assert Job.from_mapping(stored).notifications == Notifications()


def test_of_a_channel_that_is_shown_the_secrets_are_left_out() -> None:
    secret = Channel(
        ChannelType.WEBHOOK, "https://user:SECRET@h.example:8443/SECRET?SECRET", secret="SECRET",
        headers=(("Authorization", "SECRET"),), token="SECRET",
    )  # fmt: skip
    shown = secret.without_secrets()
    assert "SECRET" not in repr(shown)
    assert shown.target == "https://h.example:8443/..."
    assert shown.headers == (("Authorization", "..."),)
    assert (shown.secret, shown.token) == ("...", "...")
    for url in ("https://u:SECRET@h.example#SECRET", "https://h.example?SECRET"):
        shown = Channel(ChannelType.HEARTBEAT, url).without_secrets()
        assert shown.target == "https://h.example/..."
    for known in (EVERY_FIELD.notifications.on_failure[0], *EVERY_FIELD.notifications.on_missed):
        assert known.without_secrets() == known
    hidden = EVERY_FIELD.notifications.without_secrets()
    assert hidden == Notifications.from_mapping(hidden.to_mapping())
    for text in ("tk_1", "'s3'", "/ping", ".org/t", "/s/1", "/d/1"):
        assert text in repr(EVERY_FIELD.notifications)
        assert text not in repr(hidden)


def test_defaults_are_for_what_a_job_does_not_say() -> None:
    defaults = defaults_from_mapping(
        {
            "retry_policy": {"max_attempts": 4, "backoff_strategy": "fixed"},
            "timeout": "1h",
            "env": {"A": "1", "B": "2"},
            "systemd": {"Group": "staff", "LimitNOFILE": 10},
            "tags": ["x"],
            "user": "alice",
        }
    )
    made = job_from_mapping(
        {**LEAST, "max_retries": 0, "env": {"B": "3"}, "systemd": {"LimitNOFILE": 20}},
        defaults=defaults,
    )
    assert made.retry == RetryPolicy(max_attempts=1, backoff=Backoff.FIXED)
    assert made.limits.timeout == 3600
    assert dict(made.environment) == {"A": "1", "B": "3"}
    assert made.directives == (("Group", "staff"), ("LimitNOFILE", "20"))
    assert (made.tags, made.user) == (("x",), "alice")
    assert job_from_mapping(LEAST, defaults=defaults_from_mapping(None)) == job()


def test_defaults_of_defaults() -> None:
    base = defaults_from_mapping({"user": "alice", "jitter": 5})
    both = defaults_from_mapping({"jitter": 7}, base=base)
    made = job_from_mapping(LEAST, defaults=both)
    assert (made.user, made.jitter) == ("alice", 7)
    assert isinstance(both, Defaults)


def test_what_cannot_be_a_default() -> None:
    with pytest.raises(InvalidJob) as caught:
        defaults_from_mapping({"name": "x", "dependencies": [], "prio": 1, "timeout": -1})
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "name", "dependencies", "prio", "timeout",
    ]  # fmt: skip


def test_a_contradiction_with_a_default_names_it() -> None:
    defaults = defaults_from_mapping(
        {"overlap": "skip"}, label=lambda path: f"defaults.{dotted(path)}"
    )
    with pytest.raises(InvalidJob, match=r"^defaults\.overlap: only a Sequential job"):
        job_from_mapping({**LEAST, "execution_mode": "Parallel"}, defaults=defaults)
