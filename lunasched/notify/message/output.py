"""The output of a job as a message shows it: its last lines, without characters that act."""

from __future__ import annotations

from lunasched.formats.pattern import pattern

LINES = 20
"""The most lines of output in a notification."""
LINE_MAX = 400
"""Characters of a line, of which the beginning is kept."""
_READ_MAX = 64 << 10

# Sequences that steer a terminal (ECMA-48): colours, the cursor, the title of the window.
_ESCAPES = pattern(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-Z\\^-~])")
# Controls, halves of pairs, and what turns the direction of a text round.
_HOSTILE = pattern(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def last_lines(text: str, count: int = LINES) -> str:
    """The last lines of a text that are not empty at its end, each cut to a length."""
    lines = [_line(one) for one in text[-_READ_MAX:].rstrip().split("\n")[-count:]]
    return "\n".join(lines).strip("\n")


def whole_lines(text: str) -> str:
    """All lines of a text, each as it would be shown at last."""
    lines = (clean(one.rstrip("\r").rpartition("\r")[2]).rstrip() for one in text.split("\n"))
    return "\n".join(lines).strip("\n")


def subject_line(text: str, length: int) -> str:
    """A text as one line, for a subject."""
    return shortened(" ".join(clean(text).split()), length)


def clean(text: str) -> str:
    """A text in which every character stands for itself."""
    return _HOSTILE.sub(_REPLACEMENT, _ESCAPES.sub("", text.replace("\r\n", "\n")))


def shortened(text: str, length: int) -> str:
    """The beginning of a text."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _line(text: str) -> str:
    # Only the last state of a progress bar, which overwrites its line, is kept.
    shown = text.rstrip("\r").rpartition("\r")[2]
    return shortened(clean(shown).rstrip(), LINE_MAX)
