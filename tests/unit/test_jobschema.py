"""The schema says what the readers do: nothing else is refused, and no structure taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jobdefinitions import EVERY_KEY, KEYS, NESTED, definitions
from jsonschema import Draft202012Validator
from samples import LEAST

from lunasched.errors import InvalidInput, InvalidJob
from lunasched.files import jsonschema, settings
from lunasched.files.configfile import read_config
from lunasched.formats.document import Format, read_document
from lunasched.jobs import channels, keys
from lunasched.jobs.reading import defaults_from_mapping, job_from_mapping

TREE = Path(__file__).resolve().parent.parent.parent
EXAMPLES = sorted(TREE.glob("packaging/examples/*.*"))
SCHEMA = jsonschema.job_schema()
VALIDATOR = Draft202012Validator(SCHEMA)


def of_job(mapping: Any) -> bool:
    return bool(VALIDATOR.is_valid({"jobs": [mapping]}))


def readable(mapping: Any) -> bool:
    try:
        job_from_mapping(mapping)
    except InvalidJob:
        return False
    return True


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


def test_every_reader_has_a_shape() -> None:
    readers = [row.read for rows in (keys.KEYS, *keys.GROUPS.values()) for row in rows.values()]
    readers += [row.read for keys in channels.CHANNEL_KEYS.values() for row in keys.values()]
    readers += [row.read for rows in settings.SECTIONS.values() for row in rows.values()]
    used = set()
    for read in readers:
        reference = jsonschema.shape(read).get("$ref", "").removeprefix("#/$defs/")
        used.add(reference)
        assert not reference or reference in SCHEMA["$defs"]
    of_readers = {name for name, _ in jsonschema._SHAPES.values()} | {"channels", "messengers"}
    assert used - {""} == of_readers


def test_it_has_every_key() -> None:
    job = SCHEMA["$defs"]["job"]
    assert set(job["properties"]) == {
        *keys.KEYS, *keys.CLAUSES, keys.ARGUMENTS, *keys.GROUPS, keys.DIRECTIVES,
    }  # fmt: skip
    assert set(SCHEMA["$defs"]["defaults"]["properties"]) == set(job["properties"]) - {
        "name", "dependencies", "after", *keys.CLAUSES,
    }  # fmt: skip
    for group, rows in keys.GROUPS.items():
        assert list(SCHEMA["$defs"][group]["properties"]) == list(rows)
    for section, settings_of in settings.SECTIONS.items():
        found = SCHEMA
        for name in section.split("."):
            found = found["properties"][name]
        inner = [
            name.removeprefix(f"{section}.")
            for name in settings.SECTIONS
            if name.startswith(f"{section}.")
        ]
        assert list(found["properties"]) == [
            *settings_of,
            *settings.OBSOLETE.get(section, {}),
            *inner,
        ]
        for name in settings.OBSOLETE.get(section, {}):
            assert found["properties"][name]["deprecated"]


@pytest.mark.parametrize("definition", ["job", "defaults", *keys.GROUPS])
def test_every_key_says_what_it_is_about(definition: str) -> None:
    for key, content in SCHEMA["$defs"][definition]["properties"].items():
        assert content["description"].endswith("."), key


def test_every_mapping_refuses_what_it_does_not_know() -> None:
    def mappings(node: Any) -> list[Any]:
        inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
        found = [one for part in inner for one in mappings(part)]
        return (
            [*found, node] if isinstance(node, dict) and "additionalProperties" in node else found
        )

    listed = [one for one in mappings(SCHEMA) if "properties" in one]
    assert len(listed) > 10
    assert all(one["additionalProperties"] is False for one in listed)


def test_what_the_defaults_are() -> None:
    """A job that writes all of them is the one that writes none."""
    job = SCHEMA["$defs"]["job"]["properties"]
    written = {key: content["default"] for key, content in job.items() if "default" in content}
    assert len(written) > 10
    assert job_from_mapping({**LEAST, **written}) == job_from_mapping(LEAST)
    for group in keys.GROUPS:
        known = SCHEMA["$defs"][group]["properties"]
        inner = {key: content["default"] for key, content in known.items() if "default" in content}
        assert job_from_mapping({**LEAST, group: inner}) == job_from_mapping(LEAST)


def test_every_key_is_taken() -> None:
    assert of_job({**LEAST, **EVERY_KEY})


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_are_valid(path: Path) -> None:
    document = read_document(path.read_bytes(), path.name, Format.of(path.name))
    VALIDATOR.validate(document.value)


def test_there_are_examples() -> None:
    assert {path.name for path in EXAMPLES} == {"jobs.yaml", "jobs.toml", "config.yaml"}


def texts_for_keys(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and texts_for_keys(value[key]) for key in value)
    return not isinstance(value, list) or all(map(texts_for_keys, value))


@given(changes=definitions().filter(texts_for_keys))
@example(changes={"schedule": None, "dependencies": ["a"]})
@example(changes={"timeout": "1H 30 Min", "max_memory": "2gIb", "cpu_quota": " 5 % ", "jitter": ""})
@example(changes={"priority": " lOW ", "retry_on_exit_codes": "1, 75", "max_retries": " 3 "})
@example(changes={"sandbox": {"private_tmp": " Yes", "umask": "0027", "protect_home": "TMPFS "}})
@example(changes={"resource_limits": {"max_memory_mb": "1"}, "systemd": {"A": [1.5, True, "x"]}})
def test_what_it_refuses_no_reader_takes(changes: dict[str, Any]) -> None:
    mapping = {**LEAST, **changes}
    assert of_job(mapping) or not readable(mapping)
    try:
        defaults_from_mapping(changes)
    except InvalidJob:
        pass
    else:
        assert VALIDATOR.is_valid({"defaults": changes})


SINGLE: st.SearchStrategy[str] = st.one_of(
    st.from_regex(r"\s*[0-9]{1,4}(\.[0-9]{1,2})?\s*([kKMGTgt]?i?[bB]?|ms|S|min|h|d|w|%)\s*"),
    st.from_regex(r"(ht|H)tt?ps?://[a-z]{1,3}/?"),
    st.sampled_from(
        ["yes", "OFF", "read-only", "exponential", "Parallel", "027", "CAP_CHOWN", "a"]
    ),
    st.text(max_size=4),
)
CHANNEL = st.dictionaries(
    st.sampled_from(
        [
            "type",
            "to",
            "url",
            "webhook_url",
            "subject",
            "body",
            "headers",
            "secret",
            "token",
            "priority",
            "command",
            "timeout",
            "x",
        ]
    ),
    st.sampled_from(
        [
            "email",
            "Slack",
            "ntfy",
            "EXEC",
            "heartbeat",
            "webhook",
            "a@b",
            "https://x/y",
            None,
            {"A": "b"},
            {"A b": ""},
            1,
            "high",
            "1m",
            ["a"],
            "{{ job }}",
        ]
    ),
    max_size=5,
)


@given(
    path=st.sampled_from(
        [(key,) for key in KEYS] + [(group, key) for group in NESTED for key in NESTED[group]]
    ),
    value=SINGLE | st.lists(SINGLE, max_size=2) | CHANNEL | st.lists(CHANNEL, max_size=2),
)
def test_what_it_refuses_no_reader_takes_either_way(path: tuple[str, ...], value: Any) -> None:
    mapping = {**LEAST, path[0]: value if len(path) == 1 else {path[1]: value}}
    assert of_job(mapping) or not readable(mapping)


STRUCTURES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["A", "type", "on_start", "umask", "timeout"]), inner)
    ),
    max_leaves=3,
)


@given(
    key=st.sampled_from([*KEYS, "unknown"]),
    value=STRUCTURES,
    inner=st.none()
    | st.sampled_from(["unknown", *(key for keys in NESTED.values() for key in keys)]),
)
def test_structure_is_the_same_to_both(key: str, value: Any, inner: str | None) -> None:
    written = value if inner is None else {inner: value}
    if written is None and key in LEAST:
        return  # Missing to the reader; the schema lets a key have no value.
    mapping = {**LEAST, key: written}
    assert of_job(mapping) == readable(mapping)


PATHS = [
    *((key,) for key in (*keys.KEYS, keys.ARGUMENTS)),
    *((group, key) for group, rows in keys.GROUPS.items() for key in rows),
    (keys.DIRECTIVES, "LimitNOFILE"),
]
WRITTEN: list[Any] = [
    0, 1, 1.5, 0.01, 4096, 999, 10**6, 1 << 20, (1 << 60) - 1, 10 * 366 * 86400, "", " ", "0",
    " 5 ", "1.5", "5GiB", "2gb", "5 M", "1048576", "90s", "1H 30 Min", "1.5w", "250MS",
    "50%", "0.5 %",
    "yes", "OFF ", "tmpfs", "read-only", "STRICT", "invisible", "low", " CRITICAL", "linear",
    "Parallel", "queue", "027", "0027", "1,75", "1 , 75", [1, "75"], "@daily", "UTC", "/x", "-/x",
    ["-/x", "/y"], "CAP_CHOWN", ["~CAP_X"], "none", ["AF_UNIX"], "~@system-service", "ipc",
    ["~net"], {"A": "1"}, {}, "alice", "x$", ["a", "b"], ["a"], [1.5, True, "x"],
]  # fmt: skip
STRUCTURED: list[Any] = [
    True, False, [], {}, [[]], [{}], [True], [None], {"A": 1}, {"A": {}}, {"A": None}, {"A b": "x"},
    [["a"]], [{"type": "email"}], {"type": "email", "to": "a", "x": 1},
    {"type": "email", "x": None}, {"type": "webhook", "url": "https://x", "headers": {"A": 1}},
    {"type": True}, ["a", ["b"]],
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS, ids=".".join)
def test_what_is_written_for_a_key(path: tuple[str, ...]) -> None:
    written = [(value, False) for value in WRITTEN]
    for value, structured in [*written, *((value, True) for value in STRUCTURED)]:
        mapping = {**LEAST, path[0]: value if len(path) == 1 else {path[1]: value}}
        read = readable(mapping)
        assert of_job(mapping) or not read, value
        if structured:
            assert of_job(mapping) == read, value


WHOLE: list[tuple[Any, bool]] = [
    (None, True),
    ([], False),
    ({"jobs": None, "defaults": None, "global": None, "notifications": {"email": None}}, True),
    ({"jobs": {}}, False),
    ({"jobs": [None]}, False),
    ({"jbos": []}, False),
    ({"x-mine": 1, "$schema": "x"}, True),
    ({"jobs": [{"name": "a", "schedule": "@daily"}]}, False),
    ({"jobs": [{"name": "a", "command": "b"}]}, False),
    ({"jobs": [{"name": "a", "command": "b", "dependencies": ["c"]}]}, True),
    ({"jobs": [{"name": "a", "schedule": "@daily"}], "defaults": {"command": "b"}}, True),
    ({"jobs": [{"name": "a", "command": "b"}], "defaults": {"schedule": "@daily"}}, True),
    ({"jobs": [{"command": "b", "schedule": "@daily"}]}, False),
    ({"defaults": {"name": "a"}}, False),
    ({"defaults": {"dependencies": ["a"]}}, False),
    ({"global": {"max_concurrent_jobs": "8", "socket_path": "/x"}}, True),
    ({"global": {"max_concurrent_jobs": True}}, False),
    ({"server": {"default_timezone": "UTC"}}, False),
    ({"notifications": {"email": {"smtp_port": 0}}}, False),
    ({"notifications": {"mail": {}}}, False),
    ({"notifications": {"max_per_hour": 5, "email": {"tls": "STARTTLS"}}}, True),
    ({"notifications": {"email": {"tls": "ssl"}}}, False),
    ({"web": {"enabled": False, "address": "::1", "port": "9000"}}, True),
    ({"web": {"port": 0}}, False),
    ({"metrics": {"textfile": "/var/lib/x/lunasched.prom"}}, True),
    ({"metrics": {"textfile": "lunasched.prom"}}, False),
    ({"logging": {"level": ["x"]}}, True),
    ({"systemd": {"a b": None}}, False),
    ({"defaults": {"systemd": {"Type": None}}}, False),
    ({"defaults": {"systemd": {"LimitNOFILE": None}}}, True),
]  # fmt: skip


@pytest.mark.parametrize(("value", "valid"), WHOLE)
def test_whole_files(value: Any, valid: bool) -> None:
    assert VALIDATOR.is_valid(value) == valid
    document = read_document(json.dumps(value).encode(), "x.json", Format.YAML)
    try:
        read_config(document)
    except InvalidInput:
        assert not valid
    else:
        assert valid
