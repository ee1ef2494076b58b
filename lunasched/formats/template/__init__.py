"""Templates of messages: a part of Jinja2 whose work has a limit that can be seen from the text.

A template is filled in by the supervisor, whose main loop a loop without an end, or a text of a
gigabyte, would stop. So it has expressions, conditions and loops over what there is, and neither
calls, assignments nor loops in loops; every value stays below ``VALUE_MAX`` characters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from lunasched.errors import InvalidInput
from lunasched.formats.template.filters import FILTERS, VALUE_MAX

__all__ = ["FILTERS", "LENGTH_MAX", "VALUE_MAX", "VARIABLES", "check", "render"]

VARIABLES: Mapping[str, str] = {
    "event": "what happened: on_failure, on_recovery, ...",
    "job": "name of the job",
    "host": "name of the machine",
    "subject": "our own subject",
    "text": "our own text",
    "what": "what happened, in words: 'exit code 3'",
    "result": "the result as in the history",
    "exit_code": "exit code of the main process",
    "signal": "signal that ended it, such as SIGKILL",
    "trigger": "what started the run",
    "attempt": "number of the attempt",
    "max_attempts": "how many there are at most",
    "execution_id": "execution ID of the run",
    "scheduled_at": "when it was due",
    "started_at": "when it began",
    "ended_at": "when it ended",
    "duration": "how many seconds it took",
    "output": "the last lines of its output",
    "output_lines": "the same as a list",
    "failures": "failures in a row",
    "failing_since": "when the first of them ended",
    "missed": "slots that passed without a run",
    "overrun": "slots that passed during the run",
}
"""The variables of a template."""

LENGTH_MAX = 8192
"""Characters of a template."""


def check(text: str) -> None:
    """Raise ``InvalidInput`` for a text that is no template, or one that could not be filled in."""
    if len(text) > LENGTH_MAX:
        raise InvalidInput(f"a template has at most {LENGTH_MAX} characters")
    if not _is_plain(text):
        # Here, so that commands that only look do not load Jinja2.
        from lunasched.formats.template.language import compiled

        compiled(text, VARIABLES)


def render(text: str, variables: Mapping[str, object]) -> str:
    """Fill in a template with some ``VARIABLES``; raises ``TemplateFailed``."""
    if _is_plain(text):
        return text
    from lunasched.formats.template.language import filled

    return filled(text, variables)


def _is_plain(text: str) -> bool:
    return not re.search(r"\{[{%#]", text)
