"""What may be asked for, and what is read from outside, has bounds that are named when passed."""

from __future__ import annotations

import inspect
import math
import re
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lunasched import schedule
from lunasched.cli.app import app, load_commands
from lunasched.errors import InvalidInput, InvalidJob
from lunasched.files import settings
from lunasched.formats import quantities
from lunasched.formats.document import Format, InvalidDocument, read_document
from lunasched.formats.numerals import DIGITS_MAX, decimal, whole
from lunasched.formats.unitfile import timespan
from lunasched.history import jsonview
from lunasched.history.run import Result, Run, Trigger
from lunasched.jobs import values as values
from lunasched.paths import history_path
from lunasched.store import Store
from lunasched.transfer import crontab
from lunasched.transfer.crontab import CronFormat, CrontabSource

MAN = Path(__file__).parent.parent.parent / "man"


def numbers() -> dict[str, dict[str, Any]]:
    """Of each command, the options and arguments that take a number."""
    load_commands()
    groups = [app, *(group.typer_instance for group in app.registered_groups)]
    found: dict[str, dict[str, Any]] = {}
    for command in (one for group in groups if group for one in group.registered_commands):
        assert command.callback is not None
        name = command.name or command.callback.__name__
        for key, parameter in inspect.signature(command.callback).parameters.items():
            if re.search(r"\b(int|float)\b", str(parameter.annotation)):
                found.setdefault(name, {})[key] = parameter.default
    return found


def test_each_number_that_an_option_takes_has_a_bound() -> None:
    """A new option without one fails here."""
    found = numbers()
    assert {"next", "explain", "history", "notifications", "vacuum"} <= set(found)
    for command, options in found.items():
        for name, option in options.items():
            assert option.min is not None, f"{command}: {name}"
            assert option.max is not None, f"{command}: {name}"


@pytest.mark.parametrize("command", ["next", "explain", "history", "notifications"])
def test_the_bounds_of_counts_are_documented(command: str) -> None:
    page = (MAN / "lunasched.1").read_text()
    assert f"{numbers()[command]['count'].max:,}" in page


def lunasched(home: Path, *arguments: str, limit: int = 0) -> subprocess.CompletedProcess[str]:
    def bounded() -> None:
        if limit:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    return subprocess.run(
        [Path(sys.executable).with_name("lunasched"), "--user", *arguments],
        env={"HOME": str(home), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        preexec_fn=bounded,
    )


def test_too_many_times_are_refused_with_the_bound(tmp_path: Path) -> None:
    for arguments in (("next", "-n", "100000000"), ("explain", "-n", "10001", "every 1s")):
        done = lunasched(tmp_path, *arguments)
        assert done.returncode == 2
        assert "10000" in done.stderr


@pytest.mark.slow
def test_the_whole_history_takes_no_more_memory_than_a_part(tmp_path: Path) -> None:
    found = lunasched(tmp_path, "list")
    assert found.returncode == 0, found.stderr
    database = next(tmp_path.rglob("jobs.db"))
    with Store.open(database) as store:
        run = Run(
            execution_id="0" * 32,
            job="many",
            unit="lunasched-job@many.service",
            trigger=Trigger.TIMER,
            scheduled_at=None,
            started_at=1,
        )
        store.runs.begin(run, "b" * 32)
        store.runs.end(run.execution_id, Result.SUCCESS, 2)
    with sqlite3.connect(history_path(database)) as raw:
        names = [row[1] for row in raw.execute("PRAGMA table_info(runs)")]
        rest = [name for name in names if name not in ("sequence", "execution_id", "output")]
        raw.execute(
            f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 8000) "
            f"INSERT INTO runs (execution_id, output, {', '.join(rest)}) "
            f"SELECT printf('%032x', i), hex(zeroblob(4000)), {', '.join(rest)} FROM n, runs "
            "WHERE execution_id = ?",
            ("0" * 32,),
        )
    for options in ((), ("--json",)):
        done = lunasched(tmp_path, "history", "--all", *options, limit=100 << 20)
        assert done.returncode == 0, done.stderr[-500:]
        assert done.stdout.count("many") >= 8_001


# Numbers

DIGITS = "1" * 16_000
HOSTILE = [
    DIGITS, "5\x1f", "5\x1c", "\x1e5", "\u0663", "\u00b2", "1_000", "+5", "0x10", "1e5",
    "-1", "", "\uff15",
    f"{DIGITS}.5", f"5.{DIGITS}", "inf", "nan", "5\x85", "5\n", "5 5",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:8]))
def test_no_number_is_read_of_anything_but_digits(text: str) -> None:
    assert whole(text) is None
    assert decimal(text) is None


def test_numbers_as_large_as_they_may_be() -> None:
    assert whole("9" * DIGITS_MAX) == 10**DIGITS_MAX - 1
    assert whole("9" * (DIGITS_MAX + 1)) is None
    assert decimal("1.5") == 1.5


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:8]))
@pytest.mark.parametrize(
    "read",
    [
        values.Whole(1, 65535), values.read_duration, values.read_size, values.read_cpu_quota,
        values.read_memory, values.read_mebibytes, values.read_exit_codes, timespan,
        values.read_user,
    ],
    ids=lambda read: getattr(read, "__name__", "Whole"),
)  # fmt: skip
def test_each_reader_of_numbers_refuses_or_reads_and_is_quick(read: object, text: str) -> None:
    """What is checked is what is converted: "5\\x1f" was checked stripped and converted whole."""
    begun = time.process_time()
    for padded in (text, f" {text} ", f"{text}s", f"{text}%"):
        try:
            value = read(padded)  # type: ignore[operator]
        except InvalidInput:
            continue
        assert not isinstance(value, float) or math.isfinite(value)
    assert time.process_time() - begun < 1


@pytest.mark.parametrize(
    "line",
    [
        "30~ * * * * true", f"{'3' * 4400}~ * * * * true", f"0~{'5' * 4400} * * * * true",
        f"*/{DIGITS} * * * * true", f"{DIGITS} * * * * true", f"1-{DIGITS} * * * * true",
        f"* * * * * echo {DIGITS}", f"* * * * * {DIGITS}>x", f"* * * * {DIGITS}-0 true",
        f"RANDOM_DELAY={DIGITS}\n* * * * * true", f"{DIGITS} {DIGITS} name true",
        f"A=b{' ' * 60_000}c", f"{' ' * 60_000}A b", f"A{' ' * 60_000}b", f"A={' ' * 60_000}\t'",
        f"{'&' * 60_000}", f"* * * * * {'a ' * 30_000}", f"* * * * * {'x=' * 30_000}",
    ],
    ids=lambda line: line[:24],
)  # fmt: skip
@pytest.mark.parametrize("form", CronFormat)
def test_no_number_in_a_crontab_is_too_much(line: str, form: CronFormat) -> None:
    begun = time.process_time()
    crontab.read_crontab(f"{line}\n".encode(), CrontabSource(label="x", format=form))
    assert time.process_time() - begun < 1


@pytest.mark.parametrize(
    "text",
    [
        f"every {'1' * 4000}s", f"cron:{'1' * 4000} * * * *", f"cron:*/{'1' * 4000} * * * *",
        f"calendar:@{'1' * 4000}", f"calendar:{'1' * 4000}-1-1", f"calendar:*:*:0.{'1' * 3000}",
        f"at {'1' * 4000}:00", "every ²s", "٣ * * * *",
    ],
    ids=lambda text: text[:16],
)  # fmt: skip
def test_no_number_in_a_schedule_is_too_much(text: str) -> None:
    try:
        schedule.parse(text)
    except InvalidInput:
        return
    assert text.startswith("calendar:*:*:0.")


@pytest.mark.parametrize(
    "text",
    [
        ".".join("a" * 8000) + " = 1\n",
        " . ".join(["'a b'"] * 60) + " = 1\n",
        "[" + ".".join(["a"] * 60) + "]\n",
        "x = { " + ".".join(["a"] * 60) + " = 1 }\n",
        's = """\n.\n"""\n' + ".".join(["a"] * 60) + " = 1\n",
    ],
    ids=["8000", "quoted", "table", "inline", "after-a-string"],
)
def test_a_key_of_many_parts_is_refused_before_it_takes_memory(text: str) -> None:
    with pytest.raises(InvalidDocument, match=r"x:\d+: more than 50 levels"):
        read_document(text.encode(), "x", Format.TOML)


@pytest.mark.parametrize(
    "text",
    [
        f"s = '{'a.' * 500}'\n",
        f's = "{"a." * 500}"  # {"b." * 500}\n',
        f"s = '''\n{'a.' * 500}\n'''\nt = [{'1.5, ' * 200}]\n",
        f's = """\n{"a." * 500}\\""" """\nt = 1\n',
        ".".join(["a"] * 49) + " = 1\n",
    ],
)
def test_dots_elsewhere_are_no_keys(text: str) -> None:
    assert read_document(text.encode(), "x", Format.TOML).value


@pytest.mark.parametrize("text", ['"80\\x1c"', '"٣"', f'"{DIGITS}"', '"80\\n"'])
def test_a_port_is_a_number(text: str) -> None:
    document = read_document(f"web: {{port: {text}}}\n".encode(), "x", Format.YAML)
    try:
        found = settings.of_document(document)
    except (InvalidInput, InvalidJob):
        return
    assert text in ('"80\\x1c"', '"80\\n"')
    assert found.settings.web.port == 80


@pytest.mark.parametrize("name", ["a/" * 2000 + "a", "A" * 100_000, "Europe" + "/Berlin" * 500])
def test_a_zone_of_many_parts_is_none(name: str) -> None:
    """Python imports a package for each part, and overflows its stack."""
    with pytest.raises(InvalidInput, match="is not a time zone"):
        schedule.check_timezone(name)


@pytest.mark.slow
def grows_with(size: int, work: Callable[[int], object]) -> bool:
    """Tell whether 16 times as much takes about 16 times as long, and not 256 times.

    The quickest of a few counts: what else runs on the machine makes some of them slower.
    """

    def quickest(size: int, times: int) -> float:
        def took() -> float:
            begun = time.process_time()
            work(size)
            return time.process_time() - begun

        return min(took() for _ in range(times))

    return quickest(size, 2) < 64 * quickest(size // 16, 5)


@pytest.mark.parametrize(
    ("line", "form"),
    [(b"60 * * * * x\n", CronFormat.USER), (b"1 5 name true\n", CronFormat.ANACRON)],
)
def test_many_faults_of_a_crontab_are_no_more_work_each(line: bytes, form: CronFormat) -> None:
    def read(number: int) -> None:
        found = crontab.read_crontab(line * number, CrontabSource(label="x", format=form))
        assert len(found.problems) >= number - 1

    assert grows_with(8_000, read)


def test_many_names_are_no_more_work_each() -> None:
    def read(number: int) -> None:
        assert len(values.read_names([f"job-{n}" for n in range(number)])) == number

    assert grows_with(48_000, read)


@pytest.mark.parametrize(
    "moment",
    [
        "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "9999-12-31", "1969-12-31T12:00",
        "9" * 5000, "2026-01-01\x1f", "2026-01-01T00:00\u0663",
    ],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_a_time_that_no_schedule_reaches_is_refused(tmp_path: Path, moment: str) -> None:
    done = lunasched(tmp_path, "explain", "0 3 * * *", "--from", moment)
    assert done.returncode == 2
    assert "--from: " in done.stderr


@pytest.mark.parametrize("usec", [2**62, -(2**62), 2**63 - 1])
def test_times_that_no_clock_shows_break_nothing(usec: int) -> None:
    assert quantities.local_time(usec) == f"@{usec}"
    assert jsonview.iso(usec) is None


def test_no_file_is_read_without_end(tmp_path: Path) -> None:
    """Each of these would be read until there is no memory left."""
    add = ("add", "--name", "x", "--schedule", "@daily", "--command", "x", "--dry-run")
    for arguments in (
        (*add, "--heartbeat-from", "/dev/zero"),
        ("apply", "/dev/zero", "--format", "yaml", "--dry-run"),
        ("import-config", "/dev/zero", "--format", "toml", "--dry-run"),
        ("import-crontab", "/dev/zero", "--dry-run"),
    ):
        done = lunasched(tmp_path, *arguments, limit=200 << 20)
        assert done.returncode == 2, done.stderr
    settings_file = tmp_path / ".config/lunasched/config.yaml"
    settings_file.parent.mkdir(parents=True)
    settings_file.symlink_to("/dev/zero")
    done = lunasched(tmp_path, *add, limit=200 << 20)
    assert done.returncode == 2
    assert "32 MiB" in done.stderr
