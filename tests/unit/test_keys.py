"""Every row of the table of keys does what it says: in files, options, units and adoption.

A new key needs no line here: its value is the first of ``VALUES`` that its reader takes and that
is not what a job has anyway.
"""

from __future__ import annotations

import dataclasses
import json
import re
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import typer
from compiling import SYSTEM

import lunasched
from lunasched.cli.app import app, load_commands
from lunasched.cli.joboptions import definition_of, option_of
from lunasched.errors import InvalidInput, InvalidJob
from lunasched.files import dump
from lunasched.files.configfile import read_config
from lunasched.formats.document import Format, read_document
from lunasched.formats.unitfile import UnitFile
from lunasched.jobs import directives
from lunasched.jobs.keys import DIRECTIVES, GROUPS, KEYS, ROWS, Built, KeyRow, Line, NoUnit, Takes
from lunasched.jobs.model import Backoff, Channel, ChannelType, Job, ResourceLimits
from lunasched.jobs.reading import job_from_mapping
from lunasched.transfer.adoption import Source, adopted_job
from lunasched.units import compiler, summary

LEAST: dict[str, Any] = {"name": "backup", "schedule": "at 02:30", "command": "true"}
VALUES: tuple[Any, ...] = (
    True, False, "64M", "every 3h", "daemon", 3, "/srv", "Pacific/Apia", "Critical", "Fixed",
    "Exclusive", "replace", ["first", "second"], {"A": "b c"}, "https://hc.example.org/ping/1",
    [{"type": "exec", "command": "wall"}], "027", "invisible", "AF_UNIX",
    "CAP_CHOWN", "@system-service",
)  # fmt: skip
BESIDE: dict[str, dict[str, Any]] = {
    "hooks.timeout": {"on_start": "true"},
    "max_concurrent": {"execution_mode": "Parallel"},
    **{
        f"retry.{name}": {"max_retries": "2"}
        for name in ("backoff", "initial_delay", "max_delay", "retry_on", "no_retry_on")
    },
}
"""What a job needs for a key to have a meaning."""

every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.field)


def base(row: KeyRow) -> dict[str, Any]:
    return {**LEAST, **BESIDE.get(row.field, {})}


def at(job: Job, field: str) -> Any:
    """The value of a job's field, options of the sandbox included."""
    part, _, name = field.rpartition(".")
    return dict(job.sandbox).get(name) if part == "sandbox" else attrgetter(field)(job)


def value_of(row: KeyRow, read: Any = None) -> Any:
    """A value that a reader of the row takes, and that is no default."""
    default = at(job_from_mapping(base(row)), row.field)
    for value in VALUES:
        try:
            found = (read or row.read)(value)
        except InvalidInput:
            continue
        if found != default:
            return value
    raise AssertionError(f"VALUES has nothing for {row.field}")


def nested(key: str, value: Any) -> dict[str, Any]:
    group, _, inner = key.rpartition(".")
    return {group: {inner: value}} if group else {inner: value}


def with_row(row: KeyRow) -> Job:
    return job_from_mapping({**base(row), **nested(row.writes, value_of(row))})


def unit_texts(job: Job) -> dict[str, str]:
    """The units of a job, without the line that has a fingerprint of its definition."""
    units = compiler.compile(job, SYSTEM).units
    return {unit.name: re.sub(r"(?m)^# Job: .*\n", "", unit.text) for unit in units}


@every_row
def test_a_key_becomes_what_its_row_says(row: KeyRow) -> None:
    with_it, without = unit_texts(with_row(row)), unit_texts(job_from_mapping(base(row)))
    match row.becomes:
        case Line(directive, write):
            line = f"{directive}={write(at(with_row(row), row.field))}"
            assert line in with_it["lunasched-job@backup.service"].splitlines()
            assert line not in without["lunasched-job@backup.service"].splitlines()
        case Built(function):
            module, _, name = function.rpartition(".")
            assert callable(getattr(import_module(f"lunasched.{module}"), name))
            assert with_it != without
        case NoUnit(module):
            assert with_it == without
            source = Path(lunasched.__path__[0], *module.split(".")).with_suffix(".py").read_text()
            assert re.search(rf"\.{row.field.rpartition('.')[2]}\b", source)


def test_every_field_of_a_job_has_a_row() -> None:
    """A field that no row leads to could not be set; one row leads to one field."""
    job = Job(**LEAST)
    fields = []
    for one in dataclasses.fields(job):
        part = getattr(job, one.name)
        if dataclasses.is_dataclass(part):
            fields += [f"{one.name}.{inner.name}" for inner in dataclasses.fields(part)]
        elif one.name not in ("sandbox", "directives"):
            fields.append(one.name)
    rows = [row.field for row in ROWS if not row.field.startswith("sandbox.")]
    assert sorted(rows) == sorted(fields)


@every_row
def test_all_spellings_of_a_key_mean_the_same_field(row: KeyRow) -> None:
    for key in row.keys:
        group, _, inner = key.rpartition(".")
        spelling = GROUPS[group][inner] if group else KEYS[inner]
        assert spelling.field == row.field
        value = value_of(row, spelling.read)
        job = job_from_mapping({**base(row), **nested(key, value)})
        assert at(job, row.field) == spelling.read(value)


@every_row
def test_a_key_is_in_the_mapping_of_a_job(row: KeyRow) -> None:
    job = with_row(row)
    group, _, inner = row.writes.rpartition(".")
    mapping = job.asked_for()
    assert inner in (mapping[group] if group else mapping)
    assert Job.from_mapping(job.to_mapping()) == job


@every_row
def test_the_row_of_a_key_and_its_field_name_it_alike(row: KeyRow) -> None:
    part, _, name = row.field.rpartition(".")
    if part == "sandbox":
        return
    whole = at(Job(**LEAST), part) if part else Job(**LEAST)
    keys = {one.name: one.metadata.get("key", one.name) for one in dataclasses.fields(whole)}
    assert row.writes.rpartition(".")[2] == keys[name]


@dataclasses.dataclass(frozen=True, slots=True)
class LaterLimits(ResourceLimits):
    swap: int | None = dataclasses.field(default=None, metadata={"key": "max_swap"})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LaterJob(Job):
    limits: ResourceLimits = dataclasses.field(
        default=LaterLimits(), metadata={"key": "resource_limits"}
    )
    growth: Backoff = dataclasses.field(default=Backoff.FIXED, metadata={"key": "growing"})
    places: tuple[str, ...] = ()


def test_a_field_is_in_mappings_without_a_line_of_its_own() -> None:
    """As a later version would have one; what an earlier version stored lacks it."""
    job = LaterJob(**LEAST, limits=LaterLimits(swap=3), growth=Backoff.LINEAR, places=("a", "b"))
    mapping = job.to_mapping()
    assert (mapping["growing"], mapping["places"]) == ("Linear", ["a", "b"])
    assert mapping["resource_limits"]["max_swap"] == 3
    assert job.asked_for() == {
        **LEAST, "resource_limits": {"max_swap": 3}, "growing": "Linear", "places": ["a", "b"],
    }  # fmt: skip
    assert LaterJob.from_mapping(json.loads(json.dumps(mapping))) == job
    assert LaterJob.from_mapping(Job(**LEAST).to_mapping()) == LaterJob(**LEAST)


@pytest.mark.parametrize("format_", list(Format), ids=lambda each: each.name)
@every_row
def test_a_key_is_exported_and_read_back(row: KeyRow, format_: Format) -> None:
    job = with_row(row)
    dumped = dump.dump([job], format_)
    assert not dumped.unsaid
    assert row.writes.rpartition(".")[2] in dumped.text
    config = read_config(read_document(dumped.text.encode(), "a", format_))
    assert [entry.job for entry in config.entries] == [job]


@every_row
def test_the_directives_of_a_key_are_refused(row: KeyRow) -> None:
    for directive in row.refuses:
        with pytest.raises(InvalidJob, match=re.escape(row.advice)):
            job_from_mapping({**LEAST, DIRECTIVES: {directive: "1"}})
    if isinstance(row.becomes, Line):
        assert row.becomes.directive in {**directives.REFUSED, **directives.OF_SOME_VALUES}


@every_row
def test_a_key_is_shown(row: KeyRow) -> None:
    def shown(job: Job) -> dict[str, str]:
        return summary.rows(job, host_timezone="UTC", default_user="root", show_secrets=True)

    labels = list(shown(job_from_mapping(LEAST)))
    assert not row.label or row.label in labels
    assert shown(with_row(row)) != shown(job_from_mapping(base(row)))


def test_every_label_is_of_one_row() -> None:
    labels = [row.label for row in ROWS if row.label]
    assert len(set(labels)) == len(labels)
    shown = summary.rows(job_from_mapping(LEAST), host_timezone="UTC", default_user="root")
    assert shown.keys() - set(labels) == {"Sandbox", "systemd"}


ADOPTED = [row for row in ROWS if row.adopts is not None or row.field.startswith("sandbox.")]


@pytest.mark.parametrize("row", ADOPTED, ids=lambda row: row.field)
def test_a_directive_that_a_key_sets_is_adopted_as_the_key(row: KeyRow) -> None:
    job = with_row(row)
    section, directive = row.adopts[:2] if row.adopts else ("Service", row.refuses[0])
    written = "\n".join(unit_texts(job).values())
    line = "\n".join(re.findall(rf"(?m)^{directive}=.*$", written))
    assert line
    text = {"Timer": "[Timer]\nOnCalendar=02:30\n", "Service": "[Service]\nExecStart=/bin/true\n"}
    text[section] += f"{line}\n"
    timer, service = (
        Source(f"x.{name.lower()}", (UnitFile(f"/x.{name.lower()}", text[name]),))
        for name in ("Timer", "Service")
    )
    adopted = adopted_job(timer, service, name="x", enabled=True, context=SYSTEM).job
    assert at(adopted, row.field) == at(job, row.field)


# The options of `lunasched add`


def argument(row: KeyRow, value: Any, directory: Path) -> list[str]:
    """The words of a command line that say a value."""
    assert row.option is not None
    match row.option.takes:
        case Takes.SWITCH | Takes.OFF:
            return [row.flag]
        case Takes.LIST | Takes.LISTS:
            return [row.flag, ",".join(value)]
        case Takes.PAIRS:
            return [word for pair in value.items() for word in (row.flag, "=".join(pair))]
        case Takes.FILE:
            file = directory / "value"
            file.write_text(f"{value}\n")
            return [row.flag, str(file)]
        case Takes.EMAIL:
            return [row.flag, "ops@example.org"]
    return [row.flag, str(value)]


def from_options(words: list[str]) -> Job:
    """The job of a command line, which is read as `lunasched add` does, and not run."""
    load_commands("add")
    group: Any = typer.main.get_command(app)
    params = group.commands["add"].make_context("add", words).params
    return job_from_mapping(definition_of(params["argv"], params), label=option_of)


@pytest.mark.parametrize("row", [row for row in ROWS if row.option], ids=lambda row: row.field)
def test_an_option_says_what_the_key_says(row: KeyRow, tmp_path: Path) -> None:
    assert row.option is not None
    read = KEYS[row.keys[0]].read if "." not in row.keys[0] else row.read
    value = value_of(row, read)
    expected = read(value)
    if row.option.takes is Takes.EMAIL:
        expected = (Channel(ChannelType.EMAIL, "ops@example.org"),)
    others = {key: text for key, text in base(row).items() if key not in row.keys}
    words = [word for key, text in others.items() for word in (f"--{key.replace('_', '-')}", text)]
    job = from_options([*words, *argument(row, value, tmp_path)])
    assert at(job, row.field) == expected


def test_a_fault_names_the_option() -> None:
    words = {
        row.flag: "\x00"
        for row in ROWS
        if row.option and row.option.takes in (Takes.TEXT, Takes.SCHEDULES)
    }
    with pytest.raises(InvalidJob) as caught:
        from_options(["--name", "-", *[word for pair in words.items() for word in pair]])
    told = {problem.partition(":")[0] for problem in caught.value.problems}
    assert told == {"--name", *words}


def test_keys_without_an_option_are_named() -> None:
    """A key that is left out of the command line is left out on purpose."""
    without = {row.keys[0] for row in ROWS if row.option is None}
    groups = {key.partition(".")[0] for key in without}
    assert groups == {"sandbox", "notification_config"}
