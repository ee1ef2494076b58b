"""Job definitions as people write them: what is taken, what is refused, and what it says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lunasched.errors import ExitCode, InvalidInput, InvalidJob
from lunasched.jobfile import job_from_mapping, read_duration, read_name, read_size
from lunasched.model import Job, Priority, ResourceLimits

LEAST: dict[str, Any] = {"name": "backup", "schedule": "every 1h", "command": "true"}
TEN_YEARS = 10 * 366 * 86400


def job(**keys: Any) -> Job:
    return job_from_mapping({**LEAST, **keys})


def problems(mapping: Mapping[str, Any]) -> list[str]:
    with pytest.raises(InvalidJob) as caught:
        job_from_mapping(mapping)
    assert caught.value.exit_code == ExitCode.USAGE
    assert str(caught.value) == "\n".join(caught.value.problems)
    return list(caught.value.problems)


def test_three_keys_make_a_job() -> None:
    assert job() == Job(name="backup", schedule="every 1h", command="true")


def test_every_key_reaches_the_job() -> None:
    assert job(
        command=["/bin/echo", "a b"],
        user="alice",
        timezone="Europe/Berlin",
        timeout="15m",
        max_memory="512M",
        cpu_quota="50%",
        jitter=30,
        env={"A": "1", "B": "two words"},
        working_directory="/srv",
        priority="high",
        tags=["db", "night"],
        enabled=False,
    ) == Job(
        name="backup",
        schedule="every 1h",
        command=("/bin/echo", "a b"),
        user="alice",
        timezone="Europe/Berlin",
        limits=ResourceLimits(timeout=900, max_memory=512 << 20, cpu_quota=0.5),
        jitter=30,
        environment=(("A", "1"), ("B", "two words")),
        working_directory="/srv",
        priority=Priority.HIGH,
        tags=("db", "night"),
        enabled=False,
    )


def test_a_null_is_a_key_that_was_left_out() -> None:
    optional = (
        "user", "timezone", "timeout", "max_memory", "cpu_quota", "jitter", "env",
        "working_directory", "priority", "tags", "enabled",
    )  # fmt: skip
    assert job(**dict.fromkeys(optional)) == job()


@pytest.mark.parametrize("key", ["name", "schedule", "command"])
@pytest.mark.parametrize("null", [True, False])
def test_what_every_job_needs(key: str, null: bool) -> None:
    mapping = {**LEAST, key: None} if null else {k: v for k, v in LEAST.items() if k != key}
    assert problems(mapping) == [f"{key}: it is missing, and every job needs one"]


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
        }
    )
    assert [problem.partition(":")[0] for problem in found] == [
        "name", "shedule", "command", "user", "timezone", "timeout", "max_memory", "cpu_quota",
        "jitter", "env", "working_directory", "priority", "tags", "enabled", "schedule",
    ]  # fmt: skip


def test_label_says_what_its_author_calls_a_key() -> None:
    with pytest.raises(InvalidJob) as caught:
        job_from_mapping(
            {"user": "no body", "schedul": "", "name": "a", "command": "b"},
            label=lambda key: f"jobs.yaml:3: jobs.a.{key}",
        )
    assert [problem.split(": ")[:2] for problem in caught.value.problems] == [
        ["jobs.yaml:3", "jobs.a.user"],
        ["jobs.yaml:3", "jobs.a.schedul"],
        ["jobs.yaml:3", "jobs.a.schedule"],
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
    ("max_memory", "much", "no size"),
    ("max_memory", 1.5, "not a text"),
    ("cpu_quota", 0, "out of range"),
    ("cpu_quota", "0%", "out of range"),
    ("cpu_quota", 5000, "out of range"),
    ("cpu_quota", float("nan"), "out of range"),
    ("cpu_quota", 10**400, "out of range"),
    ("cpu_quota", "0.555", "finer"),
    ("cpu_quota", "half", "no share"),
    ("cpu_quota", "50 % of it", "no share"),
    ("cpu_quota", True, "no share"),
    ("cpu_quota", [1], "no share"),
    ("jitter", -1, "out of range"),
    ("jitter", "a while", "no duration"),
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
    ("working_directory", "/a/../b", r"\.\."),
    ("working_directory", "/a\nb", "control"),
    ("working_directory", 1, "not a text"),
    ("priority", "Urgent", "Low, Normal, High, Critical"),
    ("priority", 1, "no priority"),
    ("tags", "a,b", "a list"),
    ("tags", ["a,b"], "without commas"),
    ("tags", [""], "cannot be a tag"),
    ("tags", ["a\nb"], "cannot be a tag"),
    ("tags", [1], "not a text"),
    ("enabled", "yes", "neither true nor false"),
    ("enabled", 1, "neither true nor false"),
]


@pytest.mark.parametrize(("key", "value", "reason"), BAD)
def test_bad_values(key: str, value: object, reason: str) -> None:
    [problem] = problems({**LEAST, key: value})
    assert re.match(f"(?s){key}: .*{reason}", problem)


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


# What a parser of YAML can come up with.
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters() | st.sampled_from("0123456789.,:%KMGT \n-*/@"), max_size=20)
    | st.binary(max_size=3)
    | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3)
    ),
    max_leaves=4,
)
KEYS = (
    "name", "schedule", "command", "user", "timezone", "timeout", "max_memory", "cpu_quota",
    "jitter", "env", "working_directory", "priority", "tags", "enabled",
)  # fmt: skip


@given(changes=st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4))
@example(changes={"timeout": 10**400, "max_memory": 10**400, "cpu_quota": 10**400})
@example(changes={"max_memory": "2\u212a"})
def test_whatever_is_written_gives_a_job_or_a_problem_of_a_key(changes: dict[str, Any]) -> None:
    mapping = {**LEAST, **changes}
    try:
        made = job_from_mapping(mapping)
    except InvalidJob as error:
        assert {problem.partition(":")[0] for problem in error.problems} <= set(mapping)
    else:
        assert Job.from_mapping(made.to_mapping()) == made
