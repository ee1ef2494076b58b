"""Standard output and standard error, through which everything that we print goes.

What is printed repeats names, commands, outputs and errors that others wrote, also into the
database and the journal. `make_printable` puts a writer in the place of both streams that shows
characters which would steer a terminal, or turn the direction of its text round, as escapes. What a
program is to read exactly as it is goes through `exact`, which leaves it so where no terminal reads
it.
"""

from __future__ import annotations

import io
import sys
from typing import TextIO

from lunasched.formats.printable import printable


class _PrintableStream(io.TextIOWrapper):
    """A text stream that writes printable characters, newlines and tabs only."""

    def write(self, text: str) -> int:
        super().write(printable(text))
        return len(text)

    def heading(self, line: str) -> None:
        """Write a line in bold."""
        super().write(f"\033[1m{printable(line)}\033[0m\n")

    def close(self) -> None:
        """Leave what is below open: it was there before, and others may hold it."""
        if not self.closed:
            self.flush()


def make_printable() -> None:
    """Let both streams print printable text only, from now on; doing so twice is harmless."""
    sys.stdout, sys.stderr = _printable_stream(sys.stdout), _printable_stream(sys.stderr)


def print_exact(text: str) -> None:
    """Print text as it is, in UTF-8 whatever the locale; on a terminal, as all else."""
    if sys.stdout.isatty() or not isinstance(sys.stdout, _PrintableStream):
        sys.stdout.write(text)
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode(errors="backslashreplace"))


def heading(line: str) -> None:
    """Print a line that stands out."""
    if isinstance(sys.stdout, _PrintableStream):
        sys.stdout.heading(line)
    else:
        print(line)


def _printable_stream(stream: TextIO) -> TextIO:
    # A test's stream may have no bytes below it, and a closed descriptor is None.
    if isinstance(stream, _PrintableStream) or not hasattr(stream, "buffer"):
        return stream
    stream.flush()
    return _PrintableStream(
        stream.buffer,
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=bool(getattr(stream, "line_buffering", False)),
        write_through=bool(getattr(stream, "write_through", False)),
    )
