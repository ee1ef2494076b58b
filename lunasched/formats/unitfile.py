"""Unit files as people write them: assignments with their places, words, spans of time.

The reading is that of systemd.syntax(7), systemd.service(5) "COMMAND LINES" and systemd.time(7).
What systemd would ignore with a warning is refused here: whoever wrote it meant something.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from lunasched.dataclass import dataclass
from lunasched.errors import InvalidInput
from lunasched.formats import measures
from lunasched.formats.pattern import pattern

INFINITY = float("inf")

# systemd.syntax(7), "QUOTING".
_ESCAPES = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", '"': '"', "'": "'", "s": " ",
}  # fmt: skip
_NUMBERED = pattern(
    r"x([0-9a-fA-F]{2})|([0-3][0-7]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})", re.ASCII
)
_WHITESPACE = " \t\n\r"
_SECTION = pattern(r"\[([^\[\]]+)\]\Z")
_UNIT_NAME = pattern(
    r"[A-Za-z0-9:_.\\@-]+\.(?:automount|device|mount|path|scope|service|slice|socket|swap|target|timer)\Z"
)
_UNIT_NAME_BYTES_MAX = 255
_PREFIXES = "-@:+!|"
_SPECIFIER = pattern(r"%(.)")
_PLAIN_NAME = pattern(r"[A-Za-z0-9:_./@-]*\Z")
_COMMENT = pattern(r"\s[#;]")
_SIZE = pattern(r"\d{1,18}(\.\d{1,18})?[KMGT]?\Z", re.ASCII)

# systemd.time(7), "PARSING TIME SPANS": without a unit, they are seconds.
_SPAN_UNITS = {**measures.SECONDS, "": 1}
_TRUE, _FALSE = ("1", "yes", "y", "true", "t", "on"), ("0", "no", "n", "false", "f", "off")


@dataclass(frozen=True, slots=True)
class Assignment:
    """One ``Directive=value`` of a unit, and where it stands."""

    section: str
    directive: str
    value: str
    file: str
    line: int

    @property
    def place(self) -> str:
        """The beginning of an error about the assignment."""
        return f"{self.file}:{self.line}: [{self.section}] {self.directive}="


@dataclass(frozen=True, slots=True)
class UnitFile:
    """The text of a unit's file or of one of its drop-ins."""

    path: str
    text: str


def assignments(files: Iterable[UnitFile]) -> tuple[list[Assignment], list[str]]:
    """Return a unit's assignments, in systemd's reading order, and the lines that it cannot read.

    Sections whose names begin with ``X-`` are not for systemd and left out.
    """
    found: list[Assignment] = []
    problems: list[str] = []
    for file in files:
        section = ""
        for line, text in _logical_lines(file.text):
            header = _SECTION.match(text)
            directive, equals, value = text.partition("=")
            if header:
                section = header[1]
            elif not equals or not directive.strip():
                problems.append(
                    f"{file.path}:{line}: this is not an assignment, and systemd ignores it"
                )
            elif not section:
                problems.append(f"{file.path}:{line}: this is not in a section")
            elif not section.startswith("X-") and not directive.startswith("X-"):
                value = value.strip(_WHITESPACE)
                found.append(Assignment(section, directive.strip(), value, file.path, line))
    return found, problems


def comments(text: str) -> Iterator[str]:
    """The comments before the first section, without their signs."""
    for line in text.splitlines():
        if line.startswith("["):
            return
        if line[:1] in ("#", ";"):
            yield line[1:].strip()


def checked_unit_name(value: str) -> str:
    """The value as the name of a unit; raises ``InvalidInput`` where it can be none."""
    if not _UNIT_NAME.match(value) or len(value) > _UNIT_NAME_BYTES_MAX:
        raise InvalidInput(f"{value!r} cannot be the name of a unit")
    if "@." in value:
        raise InvalidInput(f"{value!r} is a template; name an instance of it")
    return value


def comment_hint(value: str) -> str:
    """The advice for a value that was not understood and may end in a comment, or nothing."""
    found = _COMMENT.search(value)
    return "; a comment has to be on a line of its own" if found else ""


def words(value: str, *, escapes: bool = True) -> list[str]:
    """The words of a value, unquoted; without ``escapes`` a backslash only protects what follows.

    Raises ``InvalidInput`` where a quote is open or an escape unknown.
    """
    return [word for word, _ in _words(value, escapes)]


def without_specifiers(value: str) -> str:
    """The value with ``%%`` as ``%``; raises ``InvalidInput`` for any other specifier."""
    if found := re.search(r"%(?!%)", value.replace("%%", "")):
        specifier = value.replace("%%", "")[found.start() :][:2]
        raise InvalidInput(
            f"the specifier {specifier!r} is not supported; write what it stands for"
        )
    return value.replace("%%", "%")


@dataclass(frozen=True, slots=True)
class CommandLine:
    """One command of an ``Exec…=`` line: the prefixes of its program, and its words as written."""

    prefixes: str
    words: tuple[str, ...]


def commands(value: str) -> tuple[CommandLine, ...]:
    """The commands of an ``Exec…=`` line, which a word ``;`` separates.

    Raises ``InvalidInput`` where systemd could not read it.
    """
    found: list[list[str]] = [[]]
    for word, written in _words(value, escapes=True, command=True):
        if written == ";":
            found.append([])
        else:
            found[-1].append(word)
    if len(found) > 1 and not found[-1]:
        found.pop()
    if not all(found):
        raise InvalidInput("there is no command")
    lines = []
    for program, *arguments in found:
        bare = program.lstrip(_PREFIXES)
        lines.append(CommandLine(program[: len(program) - len(bare)], (bare, *arguments)))
    return tuple(lines)


OF_THE_SYSTEM: Mapping[str, str] = {
    "t": "/run", "S": "/var/lib", "C": "/var/cache", "L": "/var/log", "E": "/etc", "h": "/root",
    "u": "root", "U": "0", "g": "root", "G": "0",
}  # fmt: skip
"""The specifiers that stand for the same with every manager of the system (systemd.unit(5))."""


def written_out(value: str, unit: str, places: Mapping[str, str]) -> str:
    """The value with what specifiers stand for in place of them, those of ``unit``'s own name.

    ``places`` are those of its manager; all others stay as they are. Raises ``InvalidInput`` for
    names that would have to be quoted.
    """
    name = unit.rpartition(".")[0]
    prefix, _, instance = name.partition("@")
    last = prefix.rpartition("-")[2]
    raw = {"n": unit, "N": name, "p": prefix, "i": instance, "j": last}
    unescaped = {"P": prefix, "I": instance, "J": last, "f": instance or prefix}

    def text(match: re.Match[str]) -> str:
        letter = match[1]
        if letter == "%":
            return match[0]
        found = places.get(letter, raw.get(letter))
        if found is None and letter not in unescaped:
            return match[0]
        if found is None:
            found = unescaped[letter].replace("-", "/")
            found = f"/{found.lstrip('/')}" if letter == "f" else found
        if not _PLAIN_NAME.match(found):
            raise InvalidInput(f"the specifier '%{letter}' stands for {found!r}; write it out")
        return found

    return _SPECIFIER.sub(text, value)


def argv(value: str) -> tuple[str, ...]:
    """The arguments that ``ExecStart=`` passes on, where all of them are written there.

    Raises ``InvalidInput`` for prefixes, variables of systemd and several commands.
    """
    pairs = list(_words(value, escapes=True, command=True))
    if not pairs:
        raise InvalidInput("there is no command")
    program = pairs[0][0]
    if program[:1] in (*_PREFIXES,):
        raise InvalidInput(f"the prefix {program[:1]!r} has no place in a job")
    # One in quotes is an argument.
    if any(written == ";" for _, written in pairs):
        raise InvalidInput("it is more than one command; a job has one")
    found = [without_specifiers(word) for word, _ in pairs]
    if "$" in found[0]:
        raise InvalidInput("a '$' in the program's path is not supported")
    return (found[0], *map(_without_variables, found[1:]))


def timespan(value: str) -> float:
    """Seconds, or ``INFINITY``; raises ``InvalidInput``."""
    text = value.strip(_WHITESPACE)
    if text == "infinity":
        return INFINITY
    seconds = measures.seconds_in(text, _SPAN_UNITS)
    if seconds is None:
        raise InvalidInput(f"{value!r} is not a span of time")
    # systemd counts microseconds.
    seconds = round(seconds, 6)
    return int(seconds) if seconds == int(seconds) else seconds


def boolean(value: str) -> bool:
    """Yes or no in one of systemd's words; raises ``InvalidInput``."""
    word = value.lower()
    if word not in (*_TRUE, *_FALSE):
        raise InvalidInput(f"{value!r} is neither yes nor no")
    return word in _TRUE


def byte_count(value: str) -> str | None:
    """A number of bytes, as it is written; ``None`` for no limit."""
    if value == "infinity":
        return None
    if not _SIZE.match(value):
        raise InvalidInput(
            f"{value!r} is not a size such as 512M; a share of the memory is not supported"
        )
    return value


def percentage(value: str) -> str:
    """A percentage, as it is written."""
    if not value.endswith("%"):
        raise InvalidInput(f"{value!r} is not a percentage")
    return value


def number(value: str) -> str | None:
    """A number, as it is written; ``None`` for no limit."""
    return None if value == "infinity" else value


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with what continues them, and the number of the first; without comments."""
    begun: list[str] = []
    start = 0
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip(_WHITESPACE)
        # Also within a continued line (systemd.syntax(7)).
        if stripped[:1] in ("#", ";"):
            continue
        if not begun:
            start = number
        continued = (len(line) - len(line.rstrip("\\"))) % 2 == 1
        begun.append(line[:-1] if continued else line)
        if not continued:
            whole = " ".join(begun).strip(_WHITESPACE)
            begun = []
            if whole:
                yield start, whole
    if "".join(begun).strip(_WHITESPACE):
        yield start, " ".join(begun).strip(_WHITESPACE)


def _words(value: str, escapes: bool, *, command: bool = False) -> Iterator[tuple[str, str]]:
    """Each word, and how it is written."""
    position = 0
    while True:
        while position < len(value) and value[position] in _WHITESPACE:
            position += 1
        if position == len(value):
            return
        start = position
        if command and start and re.match(r"\\;(?:\s|\Z)", value[start:]):
            # systemd.service(5), "COMMAND LINES": the one escape that is for a whole word.
            yield ";", "\\;"
            position += 2
            continue
        word, position = _word(value, position, escapes)
        yield word, value[start:position].rstrip(_WHITESPACE)


def _word(value: str, position: int, escapes: bool) -> tuple[str, int]:
    found = bytearray()
    quote = ""
    while position < len(value):
        char = value[position]
        position += 1
        if char == "\\":
            if position == len(value):
                raise InvalidInput("it ends with a backslash")
            piece, position = (
                _escape(value, position)
                if escapes
                else (
                    value[position].encode(),
                    position + 1,
                )
            )
            found += piece
        elif char == quote:
            quote = ""
        elif quote:
            found += char.encode()
        elif char in "\"'":
            quote = char
        elif char in _WHITESPACE:
            break
        else:
            found += char.encode()
    if quote:
        raise InvalidInput(f"the quote {quote} is not closed")
    try:
        return found.decode(), position
    except UnicodeDecodeError:
        raise InvalidInput("its escapes are not valid UTF-8") from None


def _escape(value: str, position: int) -> tuple[bytes, int]:
    if value[position] in _ESCAPES:
        return _ESCAPES[value[position]].encode(), position + 1
    match = _NUMBERED.match(value, position)
    if not match:
        raise InvalidInput(f"'\\{value[position]}' is not an escape that systemd knows")
    if match[1] or match[2]:
        code = int(match[1], 16) if match[1] else int(match[2], 8)
        piece = bytes([code])
    else:
        code = int(match[3] or match[4], 16)
        if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise InvalidInput(f"'\\{match[0]}' is not a character")
        piece = chr(code).encode()
    if not code:
        raise InvalidInput("it holds a NUL byte")
    return piece, match.end()


def _without_variables(word: str) -> str:
    """A word after systemd's substitution, where that needs no variable (systemd.service(5))."""
    bare = word.replace("$$", "")
    if "${" in bare or (word.startswith("$") and not word.startswith("$$")):
        raise InvalidInput(
            f"systemd would expand a variable in {word!r}; "
            "let a shell do it: /bin/sh -c '...$NAME...'"
        )
    return word.replace("$$", "$")
