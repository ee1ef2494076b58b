"""The values of the facts of a run, from its record or from a report, and as people read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lunasched.formats import quantities
from lunasched.formats.unittext import uuid
from lunasched.jobs.runfacts import Form, RunFact

if TYPE_CHECKING:
    from lunasched.history.report import Report
    from lunasched.history.run import Run

_SHOWN: Mapping[Form, Callable[[Any], str]] = {
    Form.ID: uuid,
    Form.TEXT: str,
    Form.WORD: lambda word: str(word.value),
    Form.TIME: quantities.local_time,
    Form.COUNT: str,
    Form.SIGNAL: str,
    Form.SPAN: quantities.duration,
    Form.CPU_TIME: quantities.duration,
    Form.SIZE: quantities.mebibytes,
}


def value_of_run(run: Run, fact: RunFact) -> Any:
    """The value of a fact in the record of a run; ``None`` where there is none."""
    if fact.name == "first_attempt_id":
        return run.first_attempt_id or run.execution_id
    value: Any = run
    for attribute in fact.attributes:
        value = None if value is None else getattr(value, attribute)
    return value


def value_of_report(report: Report, fact: RunFact) -> Any:
    """The value of a fact in a report of a run; ``None`` where there is none."""
    if fact.name == "first_attempt_id":
        return report.first_attempt_id or report.execution_id
    return getattr(report, fact.name)


def fact_shown(run: Run, fact: RunFact) -> str:
    """A fact as tables and pages show it, on the host's clock; ``-`` where there is none."""
    value = value_of_run(run, fact)
    return "-" if value is None else _SHOWN[fact.form](value)
