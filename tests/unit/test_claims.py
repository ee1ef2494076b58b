"""What systemd was asked to start: given back, given up or closed, as the journal stays silent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from handloop import HandLoop

from lunasched.errors import LunaschedError, SystemdError, SystemdUnreachable
from lunasched.supervisor.claims import Claims

NOW = 1_700_000_000_000_000
FRESH = 2_000_000
"""systemd has so long to begin what it was asked for."""


@dataclass
class Row:
    id: int
    unit: str
    claimed_at: int | None = NOW
    tries: int = 1
    begun: bool = False


@dataclass
class Rows:
    """A table, and a manager beside it."""

    rows: list[Row] = field(default_factory=list)
    busy: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    knows_end: bool = True
    answer: LunaschedError | None = None

    def claimed(self) -> list[Row]:
        return list(self.rows)

    def unclaim(self, row_id: int) -> None:
        self.told.append(f"unclaim {row_id}")

    def give_up(self, claim: Row, reason: str) -> None:
        self.told.append(f"give up {claim.id}: {reason}")

    def has_begun(self, claim: Row) -> bool:
        return claim.begun

    def close(self, claim: Row, *, doubted: bool) -> bool:
        self.told.append(f"close {claim.id}{' doubted' * doubted}")
        return self.knows_end or doubted

    def is_busy(self, unit: str) -> bool:
        return unit in self.busy

    def start_later(self, unit: str, answered: Callable[[LunaschedError | None], None]) -> None:
        self.asked.append(unit)
        answered(self.answer)


@pytest.fixture
def rows() -> Rows:
    return Rows([Row(1, "a.service")])


@pytest.fixture
def loop() -> HandLoop:
    return HandLoop(NOW)


def claims(loop: HandLoop, rows: Rows) -> Claims[Row]:
    return Claims(loop, rows, rows, on_asked=lambda: rows.asked.append("read"))


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (None, []),
        (SystemdUnreachable("no bus"), ["unclaim 1"]),
        (SystemdError("no such unit"), ["refused: no such unit"]),
    ],
    ids=str,
)
def test_what_systemd_answers(
    loop: HandLoop, rows: Rows, answer: LunaschedError | None, told: list[str]
) -> None:
    rows.answer = answer
    claims(loop, rows).ask(1, "a.service", lambda error: rows.told.append(f"refused: {error}"))
    assert rows.asked == ["a.service", "read"]
    assert rows.told == told


def test_an_error_while_an_answer_is_taken_ends_the_loop(loop: HandLoop, rows: Rows) -> None:
    def refused(error: LunaschedError) -> None:
        raise KeyError("a fault of ours")

    rows.answer = SystemdError("no")
    claims(loop, rows).ask(1, "a.service", refused)
    with pytest.raises(KeyError):
        loop.raise_failure()


def test_what_was_asked_for_a_moment_ago_is_not_judged(loop: HandLoop, rows: Rows) -> None:
    made = claims(loop, rows)
    loop.time = NOW + FRESH - 1
    made.doubt()
    assert made.reconcile()
    assert not rows.told


def test_what_did_not_begin_is_asked_for_again_after_a_doubt(loop: HandLoop, rows: Rows) -> None:
    made = claims(loop, rows)
    loop.time = NOW + FRESH
    assert made.reconcile(), "nobody has doubted it: the journal is to be read once more"
    assert not rows.told
    made.doubt()
    assert not made.reconcile()
    assert rows.told == ["unclaim 1"]
    # A doubt is for one time.
    assert made.reconcile()


def test_what_never_begins_is_given_up(loop: HandLoop, rows: Rows) -> None:
    rows.rows[0].tries = 5
    made = claims(loop, rows)
    loop.time = NOW + FRESH
    made.doubt()
    assert not made.reconcile()
    assert rows.told == ["give up 1: systemd does not begin it"]


def test_what_runs_or_is_about_to_is_left_alone(loop: HandLoop, rows: Rows) -> None:
    made = claims(loop, rows)
    loop.time = NOW + FRESH
    rows.busy = {"a.service"}
    made.doubt()
    assert not made.reconcile()
    assert not rows.told
    # It was busy when it was doubted, and is not any more: its end may be in the journal.
    rows.busy = set()
    assert made.reconcile()
    assert not rows.told


@pytest.mark.parametrize("knows_end", [True, False])
def test_what_has_begun_is_closed_and_not_asked_for_again(
    loop: HandLoop, rows: Rows, knows_end: bool
) -> None:
    rows.rows[0].begun, rows.knows_end = True, knows_end
    made = claims(loop, rows)
    loop.time = NOW + FRESH
    assert made.reconcile() is not knows_end
    made.doubt()
    assert not made.reconcile()
    assert rows.told == ["close 1", "close 1 doubted"]


def test_a_clock_that_was_set_back_makes_nothing_fresh(loop: HandLoop, rows: Rows) -> None:
    made = claims(loop, rows)
    loop.time = NOW - 3_600_000_000
    made.doubt()
    assert not made.reconcile()
    assert rows.told == ["unclaim 1"]


def test_each_claim_is_judged_by_itself(loop: HandLoop, rows: Rows) -> None:
    loop.time = NOW + FRESH
    rows.rows += [
        Row(2, "b.service", claimed_at=loop.time),
        Row(3, "c.service", tries=5),
        Row(4, "d.service"),
    ]
    rows.busy = {"d.service"}
    made = claims(loop, rows)
    made.doubt()
    assert made.reconcile(), "the second is fresh"
    assert rows.told == ["unclaim 1", "give up 3: systemd does not begin it"]
