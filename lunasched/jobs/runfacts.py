"""The facts of a run, a row each: the one table of their names.

A row says what a fact is called in the history, in JSON, in templates, in the environment of hooks
and on pages, and which of these have it. How a value is written is decided where it is written, by
its ``Form``. The table is in this room, and not beside ``Run``, because the templates of a job name
facts, and are checked when the job is read.

One more fact is a row here, a field of ``RunFields``, a migration that adds its column, and a
sentence in the manual. A test names what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum, Flag, auto

from lunasched.dataclass import dataclass


class Form(Enum):
    """The kind of a fact's value, by which it is written."""

    ID = auto()
    """An execution ID: 32 hexadecimal digits."""
    TEXT = auto()
    WORD = auto()
    """A member of an enumeration."""
    TIME = auto()
    """Microseconds since the epoch, UTC."""
    COUNT = auto()
    SIGNAL = auto()
    """The number of a signal."""
    SPAN = auto()
    """Microseconds from a start to an end."""
    CPU_TIME = auto()
    """Microseconds of processors."""
    SIZE = auto()
    """Bytes."""


class Medium(Flag):
    """The readers of the facts of a run."""

    JSON = auto()
    """``history --json`` and the API."""
    WEBHOOK = auto()
    TEMPLATE = auto()
    """Subject and body of a channel."""
    HOOK = auto()
    EXEC = auto()
    """The command of a channel of type ``exec``."""
    PAGE = auto()
    """The page of the run."""


_VARIABLES = Medium.HOOK | Medium.EXEC
_ALL = Medium.JSON | Medium.WEBHOOK | Medium.TEMPLATE | Medium.PAGE | _VARIABLES


OWN_PREFIX = "LUNASCHED_"
"""The beginning of the names of variables that lunasched sets."""


@dataclass(frozen=True, slots=True)
class RunFact:
    """One fact of a run."""

    name: str
    """The column of the history, the field of ``Report``, and the variable of templates."""
    form: Form
    meaning: str
    label: str
    """Its name on the page, in notifications and, in capitals, above a column."""
    media: Medium = _ALL
    path: str = ""
    """The attributes that lead to it from ``Run``, with dots between them; ``name`` if empty."""
    key: str = ""
    """Its place in JSON; the path if empty."""
    is_kept: bool = True
    """It has a column; the others come from those that have."""
    is_of_end: bool = False
    """It is passed on only after the run is over."""

    attributes: tuple[str, ...] = field(init=False)
    """The attributes that lead to it from ``Run``."""
    keys: tuple[str, ...] = field(init=False)
    """The keys that lead to it in JSON."""

    def __post_init__(self) -> None:
        # Once for each fact and not for each of perhaps a million runs.
        path = self.path or self.name
        object.__setattr__(self, "attributes", tuple(path.split(".")))
        object.__setattr__(self, "keys", tuple((self.key or path).split(".")))

    @property
    def variable(self) -> str:
        """The name of its environment variable."""
        return f"{OWN_PREFIX}{self.name.upper()}"


COURSE: tuple[RunFact, ...] = (
    RunFact("execution_id", Form.ID, "execution ID of the run", "Execution ID"),
    RunFact(
        "job", Form.TEXT, "name of the job", "Job",
        Medium.JSON | Medium.TEMPLATE | _VARIABLES,
    ),
    RunFact("unit", Form.TEXT, "the unit that ran", "Unit", Medium.HOOK | Medium.PAGE),
    RunFact("trigger", Form.WORD, "what started the run", "Trigger"),
    RunFact("scheduled_at", Form.TIME, "when it was due", "Scheduled"),
    RunFact("started_at", Form.TIME, "when it began", "Started"),
    RunFact("ended_at", Form.TIME, "when it ended", "Ended", is_of_end=True),
    RunFact(
        "duration", Form.SPAN, "how many seconds it took", "Took", _ALL & ~_VARIABLES,
        key="duration_ms", is_kept=False, is_of_end=True,
    ),
    RunFact(
        "result", Form.WORD, "the result as in the history", "Result", _ALL & ~Medium.PAGE,
        is_of_end=True,
    ),
    RunFact(
        "exit_code", Form.COUNT, "exit code of the main process", "Exit code", is_of_end=True
    ),
    RunFact(
        "signal", Form.SIGNAL, "signal that ended it, such as SIGKILL", "Signal", is_of_end=True
    ),
    RunFact("attempt", Form.COUNT, "number of the attempt", "Attempt"),
    RunFact(
        "max_attempts", Form.COUNT, "how many there are at most", "Attempts at most",
        Medium.WEBHOOK | Medium.TEMPLATE | _VARIABLES, is_kept=False,
    ),
    RunFact(
        "first_attempt_id", Form.ID, "execution ID of the first attempt", "First attempt",
        Medium.JSON | Medium.WEBHOOK | _VARIABLES,
    ),
)  # fmt: skip
"""The identity of a run, its cause, and its end; variables have these also where empty."""

YIELD: tuple[RunFact, ...] = (
    RunFact(
        "cpu_usec", Form.CPU_TIME, "the processor time that it used", "CPU time",
        Medium.WEBHOOK | Medium.PAGE, is_of_end=True,
    ),
    RunFact(
        "memory_peak", Form.SIZE, "the most memory that it had at a time", "Peak memory",
        Medium.WEBHOOK | Medium.PAGE, is_of_end=True,
    ),
    RunFact(
        "overrun", Form.COUNT, "slots that passed during the run", "Slots passed",
        Medium.JSON | Medium.TEMPLATE | Medium.EXEC | Medium.PAGE, path="overrun.count",
    ),
    RunFact(
        "overrun_first_at", Form.TIME, "the first of them", "First passed",
        Medium.JSON | Medium.EXEC, path="overrun.first_at",
    ),
    RunFact(
        "overrun_last_at", Form.TIME, "the last of them", "Last passed",
        Medium.JSON | Medium.EXEC, path="overrun.last_at",
    ),
    RunFact(
        "output", Form.TEXT, "the last lines of its output", "Output",
        Medium.JSON | Medium.WEBHOOK | Medium.TEMPLATE, is_of_end=True,
    ),
)  # fmt: skip
"""The resources, held-up slots and output of a run; a variable is there only if it is not empty."""

RUN_FACTS = COURSE + YIELD
BY_NAME: Mapping[str, RunFact] = {fact.name: fact for fact in RUN_FACTS}

TEMPLATE_VARIABLES: Mapping[str, str] = {
    "event": "what happened: on_failure, on_recovery, ...",
    "host": "name of the machine",
    "subject": "our own subject",
    "text": "our own text",
    "what": "what happened, in words: 'exit code 3'",
    **{fact.name: fact.meaning for fact in RUN_FACTS if Medium.TEMPLATE in fact.media},
    "output_lines": "the same as a list",
    "failures": "failures in a row",
    "failing_since": "when the first of them ended",
    "missed": "slots that passed without a run",
}
"""The variables of templates, with their meanings: those of a notification and of its run."""


def given(facts: tuple[RunFact, ...], media: Medium) -> tuple[RunFact, ...]:
    """Return those of some facts that one of the media has."""
    return tuple(fact for fact in facts if fact.media & media)
