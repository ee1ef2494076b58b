"""The lines of a crontab: comments left out, variables kept for the entries below them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from lunasched.errors import InvalidInput

SIZE_MAX = 1 << 20
"""Bytes of a whole crontab."""

COMMAND_BYTES_MAX = 998
"""The longest command that Debian's cron takes (measured); cronie's limit is 128 KiB."""
VARIABLE_BYTES_MAX = 999
"""The bytes that Debian's cron keeps of a longer ``NAME=value`` (measured)."""

CRLF = "a carriage return (CRLF)"
CONVERT = "convert the file: sed -i 's/\\r$//' FILE"

# A name, quoted or without white space, "=", and a value in matching quotes or without any at its
# beginning. What does not match is an entry, to cron as here. There is no white space around it: to
# look for it here would take time that grows with its square.
_VARIABLE = re.compile(
    r"""(?P<name>"[^"]*"|'[^']*'|[^ \t="'][^ \t=]*)?[ \t]*=[ \t]*
        (?P<value>"[^"]*"|'[^']*'|[^ \t"'].*)\Z""",
    re.VERBOSE | re.DOTALL,
)
_EMPTY = re.compile(r"[ \t]*([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*\Z")
_LIKE_VARIABLE = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_REMARK = re.compile(r"[ \t]*#[ \t]*lunasched:(?P<text>.*)\Z", re.DOTALL)
# An entry that was made a comment: five fields or a name with "@", and something after them.
_DISABLED = re.compile(r"[ \t]*#+[ \t]*(?:@[a-z]+|(?:[0-9*][^ \t]*[ \t]+){2})[ \t]*[^ \t]")


@dataclass(frozen=True, slots=True)
class Variable:
    """The value of a variable, and the line that gave it."""

    line: int
    value: str


@dataclass(frozen=True, slots=True)
class Remark:
    """A comment for us, ``# lunasched: TEXT``."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class RawEntry:
    """A line with a job, and the variables above it."""

    line: int
    text: str
    variables: Mapping[str, Variable]
    remarks: tuple[Remark, ...] = ()
    """The comments for us that are above it, and below the last entry."""

    def value(self, name: str) -> str | None:
        """The value of a variable."""
        found = self.variables.get(name)
        return None if found is None else found.value


@dataclass
class Problems:
    """The errors by line, so that they can be reported in the order of the lines."""

    label: str
    found: dict[tuple[int, str], None] = field(default_factory=dict)
    notes: dict[tuple[int, str], None] = field(default_factory=dict)
    """What keeps no entry from running."""

    def add(self, line: int, message: str) -> None:
        """Record a fault once, however many entries it is a fault of."""
        self.found[line, message] = None

    def note(self, line: int, message: str) -> None:
        """Record what cron passes over, as it runs the entry all the same."""
        self.notes[line, message] = None

    def texts(self) -> tuple[str, ...]:
        """``file:line: message``, a line each; line 0 is the file."""
        return tuple(
            f"{self.label}:{line}: {message}" if line else f"{self.label}: {message}"
            for line, message in sorted([*self.found, *self.notes], key=lambda each: each[0])
        )


def raw_entries(data: bytes, problems: Problems, *, anacron: bool = False) -> list[RawEntry]:
    """The entries of a crontab; what cannot be one is noted in ``problems``."""
    variables: dict[str, Variable] = {}
    remarks: list[Remark] = []
    found = []
    for number, text in _texts(data, problems, anacron):
        if not text.strip(" \t"):
            continue
        if text.lstrip(" \t").startswith("#"):
            if match := _REMARK.match(text):
                remarks.append(Remark(number, match["text"]))
            elif _DISABLED.match(text):
                # They are of that entry.
                remarks.clear()
            continue
        try:
            if anacron and text.endswith("\r"):
                raise InvalidInput("this is not a line of an anacrontab")
            if text.strip(" \t") == "\r":
                raise InvalidInput("it is not an entry, and cron therefore ignores the whole file")
            variable = _anacron_variable(text) if anacron else _variable(text)
        except InvalidInput as error:
            problems.add(number, _with_line_end(str(error), text))
            continue
        if variable is None:
            found.append(RawEntry(number, text, dict(variables), tuple(remarks)))
            remarks.clear()
        else:
            name, value = variable
            if value.endswith("\r"):
                fault = f"systemd takes no such value of {name}"
                problems.add(number, _with_line_end(fault, text))
                continue
            variables[name] = Variable(number, value)
    for remark in remarks:
        problems.note(remark.line, "it is of the next entry, and there is none below")
    return found


def _texts(data: bytes, problems: Problems, anacron: bool) -> Iterator[tuple[int, str]]:
    """The lines that can be looked at, with their numbers."""
    if len(data) > SIZE_MAX:
        problems.add(0, f"it is longer than {SIZE_MAX >> 20} MiB, which no crontab is")
        return
    lines = data.split(b"\n")
    last = lines.pop()
    if last.strip(b" \t") and not last.lstrip(b" \t").startswith(b"#"):
        if not anacron:
            problems.add(
                len(lines) + 1,
                "the newline at the end of the last line is missing, so that cron ignores the "
                "line; add it",
            )
        lines.append(last)
    joined, first = b"", 0
    for number, line in enumerate(lines, start=1):
        first = first or number
        if anacron and line.endswith(b"\\") and number < len(lines):
            joined += line[:-1]
            continue
        text = _decoded(joined + line, first, problems)
        if text is not None:
            yield first, text
        joined, first = b"", 0


def _decoded(line: bytes, number: int, problems: Problems) -> str | None:
    if b"\0" in line:
        problems.add(number, "it holds a NUL byte; is this a crontab?")
        return None
    try:
        text = line.decode()
    except UnicodeDecodeError:
        problems.add(number, "it is not valid UTF-8, which unit files have to be; convert it")
        return None
    if text.startswith("\ufeff"):
        problems.add(number, "it begins with a byte order mark, which cron does not accept")
        return None
    return text


def _with_line_end(fault: str, text: str) -> str:
    """The fault of a line, with its carriage return where that may be the cause."""
    return f"{fault} (it ends with {CRLF}; {CONVERT})" if text.endswith("\r") else fault


def _variable(text: str) -> tuple[str, str] | None:
    """The variable that a line sets, or ``None`` where it is an entry."""
    match = _VARIABLE.match(text.strip(" \t"))
    if match is None:
        if empty := _EMPTY.match(text):
            raise InvalidInput(
                f'{empty[1]} has no value, and cron does not accept that; write {empty[1]}=""'
            )
        if _LIKE_VARIABLE.match(text):
            raise InvalidInput(
                "cron does not accept this; a variable is set by NAME=value, without 'export', and "
                "the quotes around a value are the same at its beginning and its end"
            )
        return None
    name = _unquoted(match["name"] or "")
    if not _NAME.match(name):
        if match["name"] is not None and re.match(r"[0-9*@]", name):
            return None
        raise InvalidInput(f"{name!r} cannot be the name of an environment variable")
    return name, _unquoted(match["value"])


def _unquoted(text: str) -> str:
    return text[1:-1] if text[:1] in ("'", '"') and len(text) > 1 else text


def _anacron_variable(text: str) -> tuple[str, str] | None:
    """In an anacrontab, all after "=" is the value (anacrontab(5))."""
    match = re.match(r"[ \t]*([A-Za-z_][A-Za-z0-9_]*)[ \t]*=(.*)\Z", text, re.DOTALL)
    return (match[1], match[2].strip(" \t")) if match else None
