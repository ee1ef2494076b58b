"""Every error says what to do next, or where to read on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lunasched import errors
from lunasched.cli.pointers import pointer
from lunasched.errors import InvalidInput, InvalidJob, LunaschedError, NoSuchJob, StoreError

TREE = Path(__file__).resolve().parent.parent.parent
PLAIN = [
    one
    for one in vars(errors).values()
    if isinstance(one, type) and issubclass(one, LunaschedError)
]


@pytest.mark.parametrize("kind", PLAIN)
def test_every_kind_of_error_has_one(kind: type[LunaschedError]) -> None:
    error = kind.__new__(kind)
    Exception.__init__(error, "it is not right")
    error.message, error.text, error.position = "it is not right", "", None  # type: ignore[attr-defined]
    assert pointer(error, ["add"])


@pytest.mark.parametrize(
    ("error", "arguments", "expected"),
    [
        (InvalidJob(["--schedule: 'often' is no schedule"]), ["add"], "lunasched-schedule(5)"),
        (InvalidInput("'often' is no schedule"), ["explain", "often"], "lunasched-schedule(5)"),
        (InvalidJob(["jobs.yaml:3: jobs[0].env: it must be a mapping"]), ["apply"], ".yaml(5)"),
        (InvalidInput("crontab:3: there are 4 fields"), ["import-crontab"], "MOVING FROM CRON"),
        (
            InvalidJob(["--timeout: '5x' is not a time"]),
            ["--system", "add"],
            "lunasched add --help",
        ),
        (StoreError("/x is damaged"), ["list"], "lunasched doctor"),
    ],
)
def test_where_it_leads(error: LunaschedError, arguments: list[str], expected: str) -> None:
    assert expected in str(pointer(error, arguments))


def test_none_where_the_message_says_what_to_do() -> None:
    assert pointer(NoSuchJob("x"), ["get"]) is None
    assert pointer(LunaschedError("it does not run: systemctl start lunasched"), ["list"]) is None
    assert pointer(InvalidInput("--all and -n exclude each other; see lunasched(1)"), []) is None


def test_sections_and_pages_that_are_named_exist() -> None:
    source = (TREE / "lunasched/cli/pointers.py").read_text()
    for name, number in re.findall(r"(lunasched[a-z.-]*)\((\d)\)", source):
        assert (TREE / f"man/{name}.{number}").exists()
    assert ".Sh MOVING FROM CRON\n" in (TREE / "man/lunasched-concepts.7").read_text()
