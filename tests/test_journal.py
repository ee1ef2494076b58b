"""What only the text of a record tells, as the versions of systemd write it."""

from __future__ import annotations

import pytest

from lunasched.journal import _tells_of_condition

NAME = "lunasched-job@a.service - a (lunasched job)"


@pytest.mark.parametrize(
    ("message", "unmet"),
    [
        # systemd 252
        (f"{NAME} was skipped because of an unmet condition check (ConditionPathExists=/x).", True),
        (f"{NAME} was skipped because no trigger condition checks were met.", True),
        (f"Condition check resulted in {NAME} being skipped.", False),
        (f"Started {NAME}.", False),
        (f"Finished {NAME}.", False),
        # systemd 257
        (f"{NAME} skipped, unmet condition check ConditionPathExists=/x", True),
        (f"{NAME} skipped, no trigger condition checks were met.", True),
        # The name of a job is in the text, too.
        ("Started a was skipped because of a condition check (lunasched job).", False),
        ("Finished x skipped, condition check (lunasched job).", False),
    ],
)
def test_a_start_that_was_none(message: str, unmet: bool) -> None:
    assert _tells_of_condition({"MESSAGE": message.encode()}) is unmet
