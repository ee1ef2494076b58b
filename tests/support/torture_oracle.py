"""The judge of `make torture`: it believes the jobs' own proofs, and nothing that lunasched says.

Proofs are what the jobs wrote themselves; slots are what ``systemd-analyze calendar`` says. Each
claim of lunasched (history, lists, messages, exit statuses) is held against the two. Instants are
microseconds since the epoch.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

LATE_US = 60_000_000
"""The longest that a start may be late on a machine under torture."""
UNRECORDED_US = 10_000_000
"""A run that began so long before a power cut may be on record nowhere."""
_UNSURE = "[lunasched: journald was behind, and does not tell apart which run"
_NO_FORK = re.compile(r"^/usr/local/bin/prove: fork: .*\n", re.MULTILINE)
"""What bash says of itself where it can make no process; after four of these it ends with 254."""
_EXEC_FAILURES = range(200, 246)
"""Exit statuses with which systemd says that it could not start a command, systemd.exec(5)."""


@dataclass(frozen=True, slots=True)
class Proof:
    """A run by its own account: a line when it began and one at its end."""

    job: str
    id: str
    boot: str
    began: int
    ended: int | None
    code: int | None
    """The exit status that it ended with."""


@dataclass(frozen=True, slots=True)
class Row:
    """A run as the history has it."""

    job: str
    id: str
    trigger: str
    slot: int | None
    started: int
    ended: int | None
    result: str | None
    code: int | None
    output: str | None


@dataclass(frozen=True, slots=True)
class Told:
    """A message about a failed run, as the server received it."""

    job: str
    id: str
    result: str
    code: int | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of one machine; what is not from `since` to `until` is not judged."""

    since: int
    until: int
    proofs: Sequence[Proof]
    rows: Sequence[Row]
    slots: Mapping[str, Sequence[int]]
    """When each job with a calendar was due, by systemd, from `LATE_US` before `since`."""
    missed: Mapping[str, int] = field(default_factory=dict)
    """How many slots of a job lunasched says were missed."""
    busy: frozenset[str] = frozenset()
    """The invocations that systemd says are in progress."""
    earlier: Sequence[Row] = ()
    """What the history said of ended runs while faults were in force."""
    told: Sequence[Told] = ()
    tells: frozenset[str] = frozenset()
    """The jobs of which each failure is told."""
    said: Sequence[str] = ()
    """False statements that were found otherwise, as those of commands."""
    started_otherwise: frozenset[str] = frozenset()
    """The jobs with slots that something else than their timer starts, too."""
    witnessed: frozenset[str] | None = None
    """The runs of whose end the journal has a record; None: each that has ended."""
    announced: frozenset[str] | None = None
    """The runs of whose beginning the journal has a record; None: each."""
    interrupted: frozenset[str] = frozenset()
    """Runs whose processes a fault killed."""
    cuts: Sequence[int] = ()
    """When the power was cut."""
    late: int = LATE_US
    """The longest that a start may be late; longer where slots are made up for after a cut."""

    def may_be_unrecorded(self, at: int) -> bool:
        """Tell if what began at an instant may have been on no disk yet when the power failed."""
        return any(cut - UNRECORDED_US <= at <= cut for cut in self.cuts)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong, a sentence each; `passed` are slots missed by systemd, and told as such."""

    lost: Sequence[str]
    doubled: Sequence[str]
    stuck: Sequence[str]
    false: Sequence[str]
    runs: int = 0
    slots: int = 0
    passed: int = 0

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.doubled or self.stuck or self.false)

    def lines(self) -> list[str]:
        """Each sentence with what it is a case of."""
        kinds = ("lost", "doubled", "stuck", "false")
        return [f"{kind}: {text}" for kind in kinds for text in getattr(self, kind)]


def judge(evidence: Evidence) -> Verdict:
    """Hold what lunasched says against what happened."""
    proofs = [proof for proof in evidence.proofs if proof.began <= evidence.until]
    rows: dict[str, list[Row]] = {}
    for row in evidence.rows:
        rows.setdefault(row.id, []).append(row)
    lost = [
        f"{proof.job} ran as {proof.id} at {proof.began}, and the history does not have it"
        for proof in proofs
        if proof.id not in rows and not evidence.may_be_unrecorded(proof.began)
    ]
    passed = 0
    for job, without in without_a_run(evidence).items():
        slots = [at for at in without if not _was_overtaken(evidence, job, at)]
        passed += len(without) - len(slots)
        if len(slots) <= evidence.missed.get(job, 0):
            passed += len(slots)
        else:
            lost.append(f"{job} has no run for {slots}, and that was not told")
    return Verdict(
        lost,
        _doubled(evidence, proofs, rows),
        _stuck(evidence),
        [
            *_false_rows(evidence),
            *_taken_back(evidence),
            *_false_messages(evidence),
            *evidence.said,
        ],
        runs=len(proofs),
        slots=sum(len(_due(evidence, job)) for job in evidence.slots),
        passed=passed,
    )


def without_a_run(evidence: Evidence) -> dict[str, list[int]]:
    """The slots of each job that the history has no run for."""
    triggers: dict[str, dict[int, str]] = defaultdict(dict)
    for row in evidence.rows:
        if row.slot is not None and row.result != "skipped":
            triggers[row.job][row.slot] = row.trigger
    found = {
        job: [
            at
            for at in _due(evidence, job)
            if not _is_covered(at, triggers[job]) and not evidence.may_be_unrecorded(at)
        ]
        for job in evidence.slots
    }
    return {job: slots for job, slots in found.items() if slots}


def _is_covered(slot: int, triggers: Mapping[int, str]) -> bool:
    """Tell if a slot has a run, or the next one makes up for all since the run before."""
    following = min((at for at in triggers if at >= slot), default=None)
    return following == slot or (following is not None and triggers[following] == "catch-up")


def _was_overtaken(evidence: Evidence, job: str, slot: int) -> bool:
    """Tell if a slot is said to be skipped, and the run of an earlier one began after it.

    The guard of a slot goes by the time: of two starts after a slot, the second is refused.
    """
    skipped = any(
        row.job == job and row.result == "skipped" and row.slot == slot for row in evidence.rows
    )
    began = {proof.id: proof.began for proof in evidence.proofs if proof.job == job}
    late = any(
        row.slot is not None and row.slot < slot <= began.get(row.id, 0)
        for row in evidence.rows
        if row.job == job
    )
    return skipped and late


def _due(evidence: Evidence, job: str) -> list[int]:
    return [at for at in evidence.slots[job] if evidence.since < at <= evidence.until]


def _doubled(
    evidence: Evidence, proofs: Sequence[Proof], rows: Mapping[str, Sequence[Row]]
) -> list[str]:
    found = [f"{each[0].job} has {key} twice" for key, each in rows.items() if len(each) > 1]
    began = Counter(proof.id for proof in proofs)
    found += [f"{key} began {count} times" for key, count in began.items() if count > 1]
    by_timer: dict[str, list[int]] = defaultdict(list)
    ran: Counter[tuple[str, int]] = Counter()
    for proof in proofs:
        row = rows[proof.id][0] if proof.id in rows else None
        if proof.job not in evidence.started_otherwise:
            by_timer[proof.job].append(proof.began)
        if row is not None and row.slot is not None:
            ran[proof.job, row.slot] += 1
    found += [
        f"{job} ran {count} times for the slot {slot}"
        for (job, slot), count in ran.items()
        if count > 1
    ]
    for job, due in evidence.slots.items():
        surplus = _surplus(due, by_timer[job], evidence.late)
        found += [f"{job} ran at {at} for a slot that had run" for at in surplus]
    return found


def _surplus(slots: Iterable[int], began: Iterable[int], late: int) -> list[int]:
    """The starts for which there is no slot of their own, each at most so late as may be."""
    free = sorted(slots)
    surplus = []
    for at in sorted(began):
        own = [slot for slot in free if at - late <= slot <= at]
        if own:
            # The earliest: what is late leaves the slots after it to those that come after it.
            free.remove(own[0])
        else:
            surplus.append(at)
    return surplus


def _stuck(evidence: Evidence) -> list[str]:
    return [
        f"{row.job} has {row.id} in progress since {row.started}, and systemd does not"
        for row in evidence.rows
        if row.result is None and row.id not in evidence.busy and row.started <= evidence.until
    ]


def _false_rows(evidence: Evidence) -> list[str]:
    proofs = {proof.id: proof for proof in evidence.proofs}
    found = []
    for row in evidence.rows:
        if row.started > evidence.until or row.result is None:
            continue
        proof = proofs.get(row.id)
        wrong = _without_proof(row) if proof is None else _against(row, proof, evidence)
        if wrong:
            found.append(f"{row.job} {row.id}: {wrong}")
        due = evidence.slots.get(row.job)
        if row.slot is not None and due and due[0] <= row.slot and row.slot not in due:
            found.append(f"{row.job} {row.id}: its slot {row.slot} is none")
    return found


def _without_proof(row: Row) -> str:
    if row.result == "success":
        return "a success that did not run"
    if row.result == "exit-code" and row.code not in _EXEC_FAILURES:
        return f"it ended with {row.code} without having run"
    return ""


def _against(row: Row, proof: Proof, evidence: Evidence) -> str:
    """A sentence on what a row says and its proof does not, or nothing."""
    if row.job != proof.job:
        return f"it is a run of {proof.job}"
    is_announced = evidence.announced is None or row.id in evidence.announced
    # Else there is a later record only.
    if is_announced and row.started > proof.began:
        return f"started at {row.started}, and it had begun at {proof.began}"
    if row.slot is not None and not 0 <= proof.began - row.slot <= evidence.late:
        return f"it began at {proof.began}, and is said to be for {row.slot}"
    if row.id in evidence.interrupted:
        return ""
    if row.result == "lost" and evidence.witnessed is not None and row.id not in evidence.witnessed:
        # journald has lost the record, and that is what the row says.
        return ""
    if proof.ended is None:
        if row.result == "exit-code" and _gave_up(row):
            return ""
        return "" if row.result not in ("success", "exit-code") else f"{row.result} without an end"
    if row.ended is not None and row.ended < proof.ended:
        return f"ended at {row.ended}, and it still ran at {proof.ended}"
    expected = "exit-code" if proof.code else "success"
    if (row.result, row.code) != (expected, proof.code):
        return f"{row.result} ({row.code}), and it ended with {proof.code}"
    if row.output and not _is_output(row.output, printed(proof.id)):
        return f"it did not print {row.output!r}"
    return ""


def _gave_up(row: Row) -> bool:
    """Tell if the shell of a run ended it because it could make no process."""
    return row.code == 254 and _NO_FORK.search(row.output or "") is not None


def _is_output(output: str, own: str) -> bool:
    """Tell if an output is a run's, or says that it may be that of others and has the run's."""
    output = _NO_FORK.sub("", output)
    # What the guard of a slot says of a start that it cannot tell the cause of.
    guard, _, rest = output.partition("\n")
    text = rest if guard.startswith("this slot ran already, and ") else output
    return text == own or (text.startswith(_UNSURE) and own in text)


def printed(invocation: str) -> str:
    """What each run prints."""
    return f"this is {invocation}\n"


def _taken_back(evidence: Evidence) -> list[str]:
    """What was said of a run that was over is not taken back."""
    now = {row.id: row for row in evidence.rows}
    found = {}
    for before in evidence.earlier:
        row = now.get(before.id)
        if row is None:
            found[before.id] = f"{before.job} {before.id}: its row went away"
        elif before.result and (row.result, row.code) != (before.result, before.code):
            found[before.id] = (
                f"{before.job} {before.id}: {before.result} ({before.code}) became "
                f"{row.result} ({row.code})"
            )
    return list(found.values())


def _false_messages(evidence: Evidence) -> list[str]:
    proofs = {proof.id: proof for proof in evidence.proofs}
    found = []
    for told in evidence.told:
        proof = proofs.get(told.id)
        if proof is None or proof.code is None or told.id in evidence.interrupted:
            continue
        code = None if told.result == "lost" else proof.code
        if (proof.job, code) != (told.job, told.code):
            found.append(f"a message says {told}, and it was {proof}")
    known = {told.id for told in evidence.told}
    for proof in evidence.proofs:
        is_told = proof.job in evidence.tells and proof.began <= evidence.until
        is_unrecorded = evidence.may_be_unrecorded(proof.began)
        if is_told and proof.code and proof.id not in known and not is_unrecorded:
            found.append(f"nobody was told that {proof.job} {proof.id} failed")
    return found
