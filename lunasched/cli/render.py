"""Values for people and for programs: tables and JSON, and what stands in them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from lunasched.formats.printable import command_text, json_text, one_line, printable
from lunasched.formats.quantities import duration, local_time, size, zone_time
from lunasched.formats.unittext import uuid as execution_id
from lunasched.history.phrases import hook_ended, next_time, run_ended
from lunasched.machine import terminal

__all__ = [
    "Table",
    "command_text",
    "duration",
    "execution_id",
    "hook_ended",
    "local_time",
    "next_time",
    "one_line",
    "print_json",
    "print_json_list",
    "print_table",
    "printable",
    "run_ended",
    "size",
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
    terminal.print_exact(json_text(text) + "\n")


def print_json_list(values: Iterable[Any]) -> None:
    """A list of JSON, an element a line, each printed when it comes."""
    between = "[\n"
    for value in values:
        terminal.print_exact(between + json_text(json.dumps(value, ensure_ascii=False)))
        between = ",\n"
    terminal.print_exact("\n]\n" if between == ",\n" else "[]\n")


class Table:
    """Aligned columns; the header is bold on a terminal, and nothing is cut anywhere.

    Rows are printed as they are added. Those that are added later can widen a column.
    """

    def __init__(self, header: Sequence[str]) -> None:
        self._header: Sequence[str] | None = header
        self._widths = [len(name) for name in header]

    def add(self, rows: Sequence[Sequence[str]]) -> None:
        """Print rows, after the header if they are the first."""
        if not rows:
            return
        for column in range(len(self._widths)):
            self._widths[column] = max(self._widths[column], max(len(row[column]) for row in rows))
        if self._header is not None:
            header, self._header = self._line(self._header), None
            if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
                terminal.heading(header)
            else:
                print(header)
        # In one piece: each is searched for what a terminal would act on.
        print("\n".join(map(self._line, rows)))

    def _line(self, row: Sequence[str]) -> str:
        cells = (cell.ljust(width) for cell, width in zip(row, self._widths, strict=True))
        return "  ".join(cells).rstrip()


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """One table, as a whole."""
    Table(header).add(rows)
