"""Jobs that were written into a file are the same when they are read back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, example, given
from hypothesis import strategies as st
from test_jobfile import EVERY_FIELD, LEAST, definitions

from lunasched.errors import InvalidInput, InvalidJob
from lunasched.files import configfile
from lunasched.files.dump import definition, dump
from lunasched.formats.document import Format, read_document
from lunasched.jobs.model import Job
from lunasched.jobs.reading import NO_DEFAULTS, Defaults, defaults_from_mapping, job_from_mapping
from lunasched.jobs.values import read_environment

formats = pytest.mark.parametrize("format_", Format)
GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "files"
MINIMAL = job_from_mapping(LEAST)


def read_back(text: str, format_: Format, base: Defaults = NO_DEFAULTS) -> list[Job]:
    document = read_document(text.encode(), f"x.{format_.value}", format_)
    return [entry.job for entry in configfile.read_config(document, base=base).entries]


HARD = (
    "on", "yes", "null", "~", "1:30", "0o17", "0x1f", "1e3", "09", "1_000", ".inf", ".nan", "-",
    "*a", "&a", "!a", "%m", "@x", "`x`", "# x", "a # b", "a: b", "a:", "[a", "{a", "- a", "'", '"',
    "''", '"""', '""""', "'''", "\\", "\\n", "a\\", "<<", "=", "=x", "|", ">", "---", "--- a",
    "...", "?", "true", "2026-01-01", "12:00:00", "\x85a", "a\u2028b", "\ufeffa",
    "\x1b[0m", "\x7f", "\U0001f600", "\t", " a", "a ", "x" * 5000, "a b " * 500, "\r", "a\rb",
)  # fmt: skip
MULTILINE = (
    "a\n", "a\nb", "a\n\n", "\na", "\n\na\n", "  a\nb", "a\n  b\n", "a \nb", "a\n \nb", "a\tb\n\tc",
    "a\r\nb", "#a\nb", "- a\n- b", "---\na", "...\nb", 'a"""\nb"', "a\\\nb", "a: b\nc", "\ta\nb",
    "a\n\x07b", "a\nb\u2028c", "set -e\necho 'x' \"y\" $(date +%m)\n",
)  # fmt: skip


def is_variable(text: str) -> bool:
    try:
        read_environment({"A": text})
    except InvalidInput:
        return False
    return True


@formats
@pytest.mark.parametrize("text", [*HARD, *MULTILINE])
def test_texts_that_are_traps(text: str, format_: Format) -> None:
    line = text if text.isprintable() and text == text.strip() else "x"
    job = MINIMAL.evolve(
        command=("/bin/echo", text, text + "\n"),
        environment=(("A", text), ("B", f"{text}{text}")) if is_variable(text) else (),
        tags=(line.replace(",", ""),),
    )
    shell = MINIMAL.evolve(name="shell", command=f"echo {text}")
    alone = MINIMAL.evolve(name="alone", command=text if text.strip() else "x")
    jobs = [job, shell, alone]
    assert read_back(dump(jobs, format_).text, format_) == jobs


@formats
def test_everything(format_: Format) -> None:
    jobs = [EVERY_FIELD, MINIMAL.evolve(name="other")]
    assert read_back(dump(jobs, format_).text, format_) == jobs


@formats
def test_no_jobs(format_: Format) -> None:
    assert read_back(dump([], format_).text, format_) == []


TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    | st.sampled_from(":#-?*&!%@`'\"\\[]{},|> \n\r\t\x7f\x85\u2028"),
    max_size=30,
) | st.sampled_from([*HARD, *MULTILINE])
PLAIN = st.text(st.sampled_from("abcXYZ .:@-_"), min_size=1, max_size=8)
FURTHER = st.fixed_dictionaries(
    {},
    optional={
        "name": TEXTS,
        "command": TEXTS | st.lists(TEXTS, max_size=3).map(lambda words: ["echo", *words]),
        "env": st.dictionaries(st.sampled_from(["A", "on", "y", "B" * 200]), TEXTS, max_size=3),
        "tags": st.lists(TEXTS | PLAIN, max_size=3),
        "enabled": st.booleans(),
        "timeout": st.floats(0.001, 1e8) | st.integers(1, 10**8),
        "retry_delay": st.floats(0, 3600),
        "cpu_quota": st.integers(1, 10000).map(lambda percent: percent / 100),
        "dependencies": st.lists(TEXTS | PLAIN, max_size=3),
        "hooks": st.dictionaries(st.sampled_from(["on_start", "on_failure"]), TEXTS | PLAIN),
        "working_directory": TEXTS.map("/{}".format),
        "systemd": st.dictionaries(
            st.sampled_from(["LimitNOFILE", "BindPaths"]),
            PLAIN | st.integers() | st.lists(PLAIN, min_size=1, max_size=3),
        ),
        "notification_config": st.fixed_dictionaries(
            {
                "on_failure": st.lists(
                    st.fixed_dictionaries(
                        {"type": st.just("email"), "to": st.just("a@b")},
                        optional={"subject": TEXTS | PLAIN, "body": TEXTS | PLAIN},
                    )
                    | st.fixed_dictionaries(
                        {"type": st.just("webhook"), "url": st.just("https://x/y#z?a=b: c")}
                        | {"url": st.just("https://x/'\"")},
                        optional={
                            "headers": st.dictionaries(PLAIN, TEXTS | PLAIN),
                            "secret": TEXTS,
                        },
                    )
                    | st.fixed_dictionaries(
                        {
                            "type": st.just("exec"),
                            "command": TEXTS | st.lists(TEXTS, min_size=1, max_size=2),
                        },
                        optional={"timeout": st.floats(0.001, 1e6)},
                    )
                    | st.fixed_dictionaries(
                        {"type": st.just("ntfy"), "url": st.just("https://ntfy.sh/a")},
                        optional={"priority": st.integers(1, 5), "token": PLAIN},
                    ),
                    max_size=3,
                )
            },
            optional={
                "on_recovery": st.just([]) | st.just([{"type": "email", "to": "c@d"}]),
                "remind_every": st.floats(0, 1e6) | st.just("1d"),
                "every_failure": st.booleans(),
                "on_overrun": st.just([]) | st.just([{"type": "email", "to": "c@d"}]),
                "overrun_after": st.floats(0, 1e6) | st.just("2h"),
                "heartbeat": st.just("https://hc.example.org/ping/1"),
            },
        ),
    },
)


def valid_job(mapping: dict[str, Any]) -> Job | None:
    """The job of a definition, from which keys with faults are taken away."""
    for _ in range(len(mapping) + 1):
        try:
            return job_from_mapping(mapping)
        except InvalidJob as error:
            bad = {
                problem.partition(":")[0].partition(".")[0].partition("[")[0]
                for problem in error.problems
            }
            mapping = {key: LEAST.get(key) for key in mapping if key not in bad or key in LEAST} | {
                key: value for key, value in mapping.items() if key not in bad
            }
    return None


@given(changes=st.lists(st.one_of(definitions(), FURTHER), min_size=1, max_size=2))
def test_jobs_are_read_back_as_they_were(changes: list[dict[str, Any]]) -> None:
    found = [valid_job({**LEAST, **one}) for one in changes]
    jobs = {job.name: job for job in found if job is not None}
    assume(jobs)
    for format_ in Format:
        text = dump(jobs.values(), format_).text
        assert read_back(text, format_) == list(jobs.values()), text


@given(changes=FURTHER, defaults=FURTHER)
@example(changes={}, defaults={"args": ["a"], "schedule": "@daily", "tags": ["a"]})
def test_defaults_of_the_machine_change_nothing_that_can_be_said(
    changes: dict[str, Any], defaults: dict[str, Any]
) -> None:
    job = valid_job({**LEAST, **changes})
    valid = valid_job({**LEAST, **defaults})
    assume(job and valid)
    assert job and valid
    common = definition(valid)
    for key in ("name", "dependencies"):
        common.pop(key, None)
    base = defaults_from_mapping(common)
    for format_ in Format:
        written = dump([job], format_, defaults=base)
        try:
            (again,) = read_back(written.text, format_, base)
        except InvalidJob:
            # Two things that contradict each other, one of which could not be taken back.
            assert written.unsaid
            continue
        same = again.evolve(environment=job.environment)
        assert (same == job and dict(again.environment) == dict(job.environment)) == (
            not written.unsaid
        )


@formats
def test_what_it_looks_like(format_: Format) -> None:
    job = EVERY_FIELD.evolve(name="other", command="set -e\necho 'a' \"b\"\n")
    text = dump([MINIMAL, job], format_).text
    file = GOLDEN / f"exported.{format_.value}"
    if os.environ.get("LUNASCHED_UPDATE_GOLDEN"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


def test_what_is_no_word_of_yaml_1_1_either() -> None:
    """Other readers of YAML find the same texts."""
    job = MINIMAL.evolve(
        environment=tuple((f"A{n}", text) for n, text in enumerate(HARD) if is_variable(text))
    )
    loaded = yaml.safe_load(dump([job], Format.YAML).text)
    assert tuple(loaded["jobs"][0]["env"].items()) == job.environment


def test_what_the_machine_adds_is_told() -> None:
    base = defaults_from_mapping(
        {"timeout": 60, "env": {"A": "1"}, "sandbox": {"umask": "027"}, "tags": ["x"]}
    )
    written = dump([MINIMAL], Format.YAML, defaults=base)
    assert written.unsaid == (
        "job 'backup' has no timeout",
        "job 'backup' has no env.A",
        "job 'backup' has no sandbox.umask",
    )
    assert "tags: []" in written.text
