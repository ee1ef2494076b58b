"""The judge of `make torture` finds each kind of thing that must not be, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from torture_oracle import LATE_US, UNRECORDED_US, Evidence, Proof, Row, Told, judge, printed

S = 1_000_000
SLOT = 1_000 * S
PROOF = Proof("job", "a1", "boot", SLOT + S, SLOT + 2 * S, 0)
ROW = Row("job", "a1", "timer", SLOT, SLOT + S // 2, SLOT + 3 * S, "success", 0, printed("a1"))
TRUE = Evidence(
    since=SLOT - 5 * S, until=SLOT + 60 * S, proofs=[PROOF], rows=[ROW], slots={"job": [SLOT]}
)
FAILED = replace(PROOF, code=3)
FAILED_ROW = replace(ROW, result="exit-code", code=3)


def found(evidence: Evidence, **changes: Any) -> list[str]:
    """The kinds of what is wrong."""
    return [line.partition(":")[0] for line in judge(replace(evidence, **changes)).lines()]


def test_the_truth_is_clean() -> None:
    verdict = judge(TRUE)
    assert verdict.is_clean
    assert (verdict.runs, verdict.slots, verdict.passed) == (1, 1, 0)
    assert found(TRUE, proofs=[FAILED], rows=[FAILED_ROW]) == []


def test_a_run_that_the_history_does_not_have_is_lost() -> None:
    assert found(TRUE, rows=[]) == ["lost", "lost"]  # and so is its slot
    assert found(TRUE, rows=[], slots={}) == ["lost"]


def test_a_slot_without_a_run_is_lost_unless_it_is_told_as_missed() -> None:
    due = {"job": [SLOT, SLOT + 10 * S]}
    assert found(TRUE, slots=due) == ["lost"]
    assert found(TRUE, slots=due, missed={"job": 1}) == []
    assert judge(replace(TRUE, slots=due, missed={"job": 1})).passed == 1
    refused = replace(ROW, id="b2", slot=SLOT + 10 * S, started=SLOT + 10 * S, result="skipped")
    assert found(TRUE, slots=due, rows=[ROW, refused]) == ["lost"]
    assert found(TRUE, slots={"job": [SLOT - 30 * S, SLOT, SLOT + 90 * S]}) == []


def test_a_run_that_catches_up_stands_for_all_slots_since_the_run_before() -> None:
    due = {"job": [SLOT - 4 * S, SLOT - 2 * S, SLOT, SLOT + 10 * S]}
    assert found(TRUE, slots=due) == ["lost"]
    caught = replace(ROW, trigger="catch-up")
    assert found(TRUE, slots={"job": due["job"][:3]}, rows=[caught]) == []
    assert found(TRUE, slots=due, rows=[caught]) == ["lost"]


def test_a_slot_that_a_late_run_has_overtaken_is_told_as_skipped() -> None:
    second = SLOT + S // 2
    due = {"job": [SLOT, second]}
    refused = replace(ROW, id="b2", slot=second, started=SLOT + 3 * S, result="skipped", code=None)
    assert found(TRUE, slots=due, rows=[ROW, refused]) == []
    assert judge(replace(TRUE, slots=due, rows=[ROW, refused])).passed == 1
    assert found(TRUE, slots=due, rows=[ROW]) == ["lost"]


def test_a_slot_that_ran_twice_is_doubled_whatever_the_history_says() -> None:
    again = Proof("job", "b2", "boot", SLOT + 5 * S, SLOT + 6 * S, 0)
    row = replace(ROW, id="b2", started=SLOT + 5 * S, ended=SLOT + 7 * S, output=None)
    assert found(TRUE, proofs=[PROOF, again], rows=[ROW, row]) == ["doubled", "doubled"]
    manual = replace(row, trigger="manual", slot=None)
    assert found(TRUE, proofs=[PROOF, again], rows=[ROW, manual]) == ["doubled"]
    by_hand = frozenset({"job"})
    assert found(TRUE, proofs=[PROOF, again], rows=[ROW, manual], started_otherwise=by_hand) == []


def test_a_run_that_is_there_twice_is_doubled() -> None:
    assert found(TRUE, rows=[ROW, ROW]) == ["doubled"]
    assert found(TRUE, proofs=[PROOF, PROOF], started_otherwise=frozenset({"job"})) == [
        *("doubled", "doubled")
    ]


def test_a_run_in_progress_that_is_none_is_stuck() -> None:
    open_row = replace(ROW, result=None, code=None, ended=None)
    assert found(TRUE, rows=[open_row]) == ["stuck"]
    assert found(TRUE, rows=[open_row], busy=frozenset({"a1"})) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"result": "exit-code", "code": 1},
        {"code": 1},
        {"result": "lost", "code": None},
        {"job": "another", "slot": None},
        {"started": PROOF.began + 1},
        {"ended": SLOT + S},
        {"output": "something else\n"},
    ],
)
def test_what_a_row_says_is_held_against_the_proof(changes: dict[str, Any]) -> None:
    assert found(TRUE, rows=[replace(ROW, **changes)], slots={}) == ["false"]


def test_a_slot_that_is_none_or_not_its_own_is_false() -> None:
    late = replace(ROW, started=SLOT + LATE_US, ended=SLOT + LATE_US + 2 * S)
    proof = replace(PROOF, began=SLOT + LATE_US + 1, ended=SLOT + LATE_US + S)
    assert found(TRUE, proofs=[proof], rows=[late], slots={}, until=2 * SLOT) == ["false"]
    early = replace(ROW, slot=SLOT + 1)
    assert "false" in found(TRUE, rows=[early], missed={"job": 1})


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"result": "success"}, ["false"]),
        ({"result": "exit-code", "code": 3}, ["false"]),
        ({"result": "exit-code", "code": 217}, []),
        ({"result": "resources", "code": None}, []),
    ],
)
def test_without_a_proof_nothing_ran(changes: dict[str, Any], wrong: list[str]) -> None:
    assert found(TRUE, proofs=[], rows=[replace(ROW, **changes)]) == wrong


def test_a_run_that_did_not_come_to_its_end_did_not_succeed() -> None:
    cut = replace(PROOF, ended=None, code=None)
    assert found(TRUE, proofs=[cut]) == ["false"]
    assert found(TRUE, proofs=[cut], rows=[replace(ROW, result="signal", code=None)]) == []


def test_what_was_said_is_not_taken_back() -> None:
    before = replace(ROW, result="lost", code=None)
    assert found(TRUE, earlier=[before]) == ["false"]
    assert found(TRUE, earlier=[replace(ROW, id="b2")]) == ["false"]
    assert found(TRUE, earlier=[ROW]) == []


def test_messages_are_true_and_none_is_missing() -> None:
    failed = replace(TRUE, proofs=[FAILED], rows=[FAILED_ROW], tells=frozenset({"job"}))
    assert found(failed) == ["false"]
    assert found(failed, told=[Told("job", "a1", "exit-code", 3)]) == []
    assert found(failed, told=[Told("job", "a1", "exit-code", 4)]) == ["false"]


def test_an_end_that_the_journal_has_lost_may_be_lost() -> None:
    lost = replace(ROW, result="lost", code=None)
    assert found(TRUE, rows=[lost], witnessed=frozenset()) == []
    assert found(TRUE, rows=[lost], witnessed=frozenset({"a1"})) == ["false"]
    assert found(TRUE, rows=[replace(ROW, code=1)], witnessed=frozenset()) == ["false"]


def test_an_output_of_several_runs_says_so() -> None:
    both = printed("b2") + printed("a1")
    assert found(TRUE, rows=[replace(ROW, output=both)]) == ["false"]
    guard = "this slot ran already, and systemd does not say\n"
    assert found(TRUE, rows=[replace(ROW, output=guard + printed("a1"))]) == []
    note = "[lunasched: journald was behind, and does not tell apart which run of the job wrote "
    assert found(TRUE, rows=[replace(ROW, output=f"{note}this]\n{both}")]) == []
    assert found(TRUE, rows=[replace(ROW, output=f"{note}this]\n{printed('b2')}")]) == ["false"]


def test_a_run_whose_beginning_the_journal_has_lost_may_begin_later() -> None:
    late = replace(ROW, started=PROOF.began + 1)
    assert found(TRUE, rows=[late], announced=frozenset()) == []
    assert found(TRUE, rows=[late], announced=frozenset({"a1"})) == ["false"]


def test_other_false_statements_are_taken_as_they_are() -> None:
    assert found(TRUE, said=["start --wait ended with 0"]) == ["false"]


def test_a_run_right_before_a_power_cut_may_be_unrecorded() -> None:
    after = replace(TRUE, rows=[], tells=frozenset({"job"}), proofs=[FAILED])
    assert found(after) == ["lost", "lost", "false"]
    assert found(after, cuts=[FAILED.began - 1]) == ["lost", "false"]  # its slot is before it
    assert found(after, cuts=[FAILED.began + UNRECORDED_US]) == ["lost"]  # its slot was earlier
    assert found(after, cuts=[SLOT + 3 * S]) == []
    assert found(TRUE, rows=[ROW, ROW], cuts=[SLOT + 3 * S]) == ["doubled"]


def test_a_shell_that_can_make_no_process_says_so_and_may_give_up() -> None:
    retried = "/usr/local/bin/prove: fork: retry: Resource temporarily unavailable\n"
    said = replace(ROW, output=retried * 2 + printed("a1"))
    assert found(TRUE, rows=[said]) == []
    assert found(TRUE, rows=[replace(said, output=retried + printed("b2"))]) == ["false"]
    unfinished = [replace(PROOF, ended=None, code=None)]
    gave_up = replace(FAILED_ROW, code=254, output=retried * 4 + retried.replace(" retry:", ""))
    assert found(TRUE, proofs=unfinished, rows=[gave_up]) == []
    assert found(TRUE, proofs=unfinished, rows=[replace(gave_up, code=3)]) == ["false"]
    assert found(TRUE, proofs=unfinished, rows=[replace(gave_up, output="")]) == ["false"]
