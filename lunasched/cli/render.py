"""Values for people and for programs: tables and JSON, and what stands in them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from lunasched import terminal
from lunasched.jsonview import iso, job_json, run_json, start_json
from lunasched.starts import waits_for
from lunasched.unittext import uuid as execution_id
from lunasched.words import (
    command_text,
    duration,
    hook_ended,
    json_text,
    local_time,
    one_line,
    printable,
    run_ended,
    size,
    zone_time,
)

__all__ = [
    "command_text",
    "duration",
    "execution_id",
    "hook_ended",
    "iso",
    "job_json",
    "local_time",
    "one_line",
    "print_json",
    "print_table",
    "printable",
    "run_ended",
    "run_json",
    "size",
    "start_json",
    "waits_for",
    "zone_time",
]


def print_json(value: Any) -> None:
    """JSON in UTF-8: an element of a list, or a key of an object, a line.

    A character that a terminal would act on is an escape of JSON's, wherever it is printed to.
    """
    # Not indent=: it keeps json from using its C encoder, which is ten times as fast.
    if isinstance(value, list) and value:
        inner = ",\n".join(json.dumps(element, ensure_ascii=False) for element in value)
        text = f"[\n{inner}\n]"
    elif isinstance(value, dict):
        text = json.dumps(value, ensure_ascii=False, indent=2)
    else:
        text = json.dumps(value, ensure_ascii=False)
    terminal.exact(json_text(text) + "\n")


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns; the header is bold on a terminal, and nothing is cut anywhere."""
    if not rows:
        return
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    bold = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for number, row in enumerate([header, *rows]):
        line = "  ".join(
            cell.ljust(width) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        if bold and number == 0:
            terminal.heading(line)
        else:
            print(line)
