"""Text that is safe inside a unit file, and the one gate that makes it.

A template accepts nothing but ``UnitText``; the functions below are the only way to make one.
Each is for one grammar of systemd.syntax(7), systemd.service(5) "COMMAND LINES" or
systemd.unit(5) "SPECIFIERS", and raises ``Unrepresentable`` where that grammar has no way to say
the text: better refused than changed.

The instance part of a unit name has its own escape here: unlike ``systemd-escape`` it keeps
``-``, so that ``daily-backup`` is ``lunasched-job@daily-backup``, and escapes ``:``, which
separates the job from the run in the units of Parallel runs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lunasched.errors import InvalidInput

JOB_PREFIX = "lunasched-job@"
HOOK_PREFIX = "lunasched-hook@"
LAUNCH_PREFIX = "lunasched-launch@"

# A unit's name may have 255 bytes. Leave room for "lunasched-hook@", ":", an invocation ID
# (32 digits), ".service" and a suffix of a few letters.
NAME_BYTES_MAX = 190

# A path without its NUL (PATH_MAX) and a name in it (NAME_MAX), one argument or variable
# (MAX_ARG_STRLEN of execve(2)), and the longest line that systemd reads (LONG_LINE_MAX), less its
# key.
_PATH_BYTES_MAX = 4095
_NAME_BYTES_MAX = 255
_WORD_BYTES_MAX = (1 << 17) - 1
_LINE_BYTES_MAX = (1 << 20) - 64

_BARE_WORD = re.compile(r"[A-Za-z0-9_./:=,+@^-]+\Z")
_PLAIN = re.compile(r"[A-Za-z0-9_./:;=,+@*~#\\ -]*\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NOT_IN_PROGRAM = re.compile(r"""[\x00-\x1f\x7f"'\\]""")
_INSTANCE_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")
_INSTANCE_WHOLE = re.compile(r"[A-Za-z0-9_.-]*\Z")
_C_ESCAPES = {
    **{code: f"\\x{code:02x}" for code in (*range(0x20), 0x7F)},
    **str.maketrans({"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\", '"': '\\"'}),
}


class Unrepresentable(InvalidInput):
    """No unit file can carry this text in this place; the message says why."""


@dataclass(frozen=True, slots=True)
class UnitText:
    """Text that may be written into a unit file as it is."""

    text: str

    def __str__(self) -> str:
        return self.text


def plain(value: str | int) -> UnitText:
    """A value of our own making (a number, a calendar line, a slice), checked to need no escape."""
    text = str(value)
    if not _PLAIN.match(text) or text.endswith("\\"):
        raise Unrepresentable(f"{text!r} holds a character that means something to systemd")
    return UnitText(text)


def sentence(text: str) -> UnitText:
    """Free text, as in ``Description=``: not unquoted, but specifiers are expanded."""
    _check_text(text)
    if _CONTROL.search(text):
        raise Unrepresentable("it holds a control character, such as a newline or a tab")
    _check_characters(text)
    if text != text.strip() or text.endswith("\\"):
        raise Unrepresentable("it begins or ends with white space, or ends with a backslash")
    return UnitText(text.replace("%", "%%"))


def directory(text: str) -> UnitText:
    """An absolute path, as in ``WorkingDirectory=``: specifiers are expanded, nothing unquoted."""
    _check_text(text)
    if not text.startswith("/"):
        raise Unrepresentable("it is not an absolute path")
    if _CONTROL.search(text):
        raise Unrepresentable("a path in a unit file cannot hold a control character")
    _check_characters(text)
    if ".." in text.split("/"):
        raise Unrepresentable('systemd refuses a path with ".." in it')
    if text[-1] in " \\":
        # A line that ends so would be stripped or continued; "DIR/" is the same directory.
        text += "/"
    _check_path(text)
    return UnitText(text.replace("%", "%%"))


def listed_path(text: str) -> UnitText:
    """An absolute path, as in ``ReadOnlyPaths=``: unquoted, specifiers are expanded.

    It may have the prefixes of systemd.exec(5): ``-`` (it may be missing), ``+`` (below the root of
    the unit), or ``-+``.
    """
    bare = text.removeprefix("-").removeprefix("+")
    prefix = text[: len(text) - len(bare)]
    _check_text(text)
    if not bare.startswith("/"):
        raise Unrepresentable("it is not an absolute path")
    if _CONTROL.search(text):
        raise Unrepresentable("a path in a unit file cannot hold a control character")
    _check_characters(text)
    if ".." in bare.split("/"):
        raise Unrepresentable('systemd refuses a path with ".." in it')
    _check_path(bare)
    escaped = (prefix + bare).replace("%", "%%")
    if _BARE_WORD.match(escaped):
        return UnitText(escaped)
    # Quoted, and not C-escaped: a backslash stands for the character that follows it.
    escaped = escaped.replace("\\", "\\\\").replace('"', '\\"')
    return UnitText(f'"{escaped}"')


def raw(text: str) -> UnitText:
    """The value of a directive in systemd's own words, which is one line and stays its own."""
    _check_text(text)
    if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", text):
        raise Unrepresentable("it holds a control character, such as a newline")
    _check_characters(text)
    if not text.strip():
        raise Unrepresentable("it is empty, which resets a directive")
    if text != text.strip() or text.endswith("\\"):
        raise Unrepresentable("it begins or ends with white space, or ends with a backslash")
    if len(text.encode()) > _LINE_BYTES_MAX:
        raise Unrepresentable("it is too long: systemd reads lines of at most 1 MiB")
    return UnitText(text)


def assignment(name: str, value: str) -> UnitText:
    """One ``NAME=value`` of ``Environment=``: unquoted, C-unescaped, specifiers expanded."""
    _check_text(value)
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f]", value) or _has_noncharacter(value):
        raise Unrepresentable(
            "systemd drops a variable with control characters other than tab and newline, "
            "or with Unicode noncharacters"
        )
    return UnitText(_word(f"{name}={value}", dollar=False))


def command_line(argv: Sequence[str | UnitText]) -> UnitText:
    """An argument list for ``ExecStart=`` that reaches the program byte for byte.

    ``$`` is doubled except in the program's own path, which is not subject to substitution.
    Arguments that are ``UnitText`` stay as they are.
    """
    if not argv or not argv[0]:
        raise Unrepresentable("there is no program to run")
    program = str(argv[0])
    _check_text(program)
    if not program.startswith("/") and (
        "/" in program or program[0] in "@-:+!|" or program in (".", "..", ";")
    ):
        raise Unrepresentable(
            f"{program!r} is neither an absolute path nor the plain name of a program in PATH"
        )
    if _NOT_IN_PROGRAM.search(program) or program.endswith("/"):
        raise Unrepresentable(
            "systemd refuses a program path with control characters, quotes or backslashes, "
            "or a '/' end"
        )
    _check_path(program)
    words = [_word(program, dollar=False)]
    for argument in argv[1:]:
        if isinstance(argument, UnitText):
            words.append(argument.text)
            continue
        _check_text(argument)
        words.append(_word(argument, dollar=True))
    line = " ".join(words)
    if len(line.encode()) > _LINE_BYTES_MAX:
        raise Unrepresentable("it is too long: systemd reads lines of at most 1 MiB; use a script")
    return UnitText(line)


def shell_command_line(command: str) -> UnitText:
    """``command`` run as ``/bin/sh -c`` runs it, byte for byte."""
    if not command.strip():
        raise Unrepresentable("the command is empty")
    return command_line(["/bin/sh", "-c", command])


def instance_name(job: str) -> str:
    """A job's name as the instance part of a unit name; ``job_name`` is the inverse."""
    if _INSTANCE_WHOLE.match(job):
        return job
    return "".join(
        chr(byte) if byte in _INSTANCE_SAFE else f"\\x{byte:02x}" for byte in job.encode()
    )


def job_name(unit: str) -> str | None:
    """The job that a unit belongs to, or ``None`` if it is not a job's unit of ours."""
    prefix = next((prefix for prefix in (JOB_PREFIX, LAUNCH_PREFIX) if unit.startswith(prefix)), "")
    if not prefix:
        return None
    instance = unit[len(prefix) :].rpartition(".")[0].partition(":")[0]
    raw = re.sub(rb"\\x([0-9a-f]{2})", lambda match: bytes([int(match[1], 16)]), instance.encode())
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


def service_name(job: str) -> str:
    """The service unit of a job."""
    return f"{JOB_PREFIX}{instance_name(job)}.service"


def run_service_name(job: str, run: str) -> str:
    """The service unit of one run of a job whose runs have units of their own."""
    return f"{JOB_PREFIX}{instance_name(job)}:{run}.service"


def launched_run(unit: str) -> tuple[str, str] | None:
    """The ID that a launcher gave the unit of a run, and the letter that says what started it."""
    found = re.search(r":([0-9a-f]{12})([th]?)\.service\Z", unit)
    return None if found is None else (found[1], found[2])


def timer_name(job: str) -> str:
    """The timer unit of a job."""
    return f"{JOB_PREFIX}{instance_name(job)}.timer"


def launch_name(job: str) -> str:
    """The service unit that starts runs of a job whose timer cannot start them directly."""
    return f"{LAUNCH_PREFIX}{instance_name(job)}.service"


def bus_label(unit: str) -> str:
    """A unit's name as an element of an object path of the bus; that of a prefix is a prefix."""
    return re.sub("[^A-Za-z0-9]", lambda found: f"_{ord(found[0]):02x}", unit)


def unit_of_label(label: str) -> str:
    """The unit whose ``bus_label`` it is."""
    return re.sub("_([0-9a-f]{2})", lambda match: chr(int(match[1], 16)), label)


def hook_instance(job: str, event: str) -> str:
    """The instance part of the name of a hook's unit."""
    return f"{instance_name(job)}:{event}"


def last_slot_name(job: str) -> str:
    """The file that has the last slot of a job that ran."""
    # ":" does not occur in the names of jobs' files.
    return f"last:{instance_name(job)}"


def success_name(job: str) -> str:
    """The file that says whether the latest run of a job that others depend on is a success."""
    # ":" does not occur in the names of jobs' files.
    return f"succeeded:{instance_name(job)}"


def hook_name(job: str, event: str) -> str:
    """The service unit of the hook that a job has for an event."""
    return f"{HOOK_PREFIX}{hook_instance(job, event)}.service"


def uuid(execution_id: str) -> str:
    """An invocation ID as the UUID that it is."""
    parts = (slice(0, 8), slice(8, 12), slice(12, 16), slice(16, 20), slice(20, 32))
    return "-".join(execution_id[part] for part in parts)


def _check_text(text: str) -> None:
    if "\0" in text:
        raise Unrepresentable("it holds a NUL byte, which no argument or variable can carry")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Unrepresentable("it is not valid UTF-8, which unit files have to be") from None


def _check_characters(text: str) -> None:
    """For a value that is not unquoted, so that there is no escape."""
    if _has_noncharacter(text):
        raise Unrepresentable("it holds a Unicode noncharacter, which systemd refuses in a line")


def _check_path(path: str) -> None:
    if len(path.encode()) > _PATH_BYTES_MAX:
        raise Unrepresentable(f"the path is longer than {_PATH_BYTES_MAX} bytes")
    if any(len(name.encode()) > _NAME_BYTES_MAX for name in path.split("/")):
        raise Unrepresentable(f"a name in the path is longer than {_NAME_BYTES_MAX} bytes")


def _word(text: str, *, dollar: bool) -> str:
    """One word of a line that systemd splits, unquotes, C-unescapes and specifier-expands."""
    if _has_noncharacter(text):
        # systemd would run it if escaped, but could send no D-Bus message that contains it.
        raise Unrepresentable(
            "it holds a Unicode noncharacter, which no message of D-Bus can carry: systemctl "
            "status would fail for the unit"
        )
    if len(text.encode()) > _WORD_BYTES_MAX:
        raise Unrepresentable(
            "it is too long: Linux passes at most 128 KiB in one argument or variable; use a file"
        )
    escaped = text.replace("$", "$$") if dollar else text
    escaped = escaped.replace("%", "%%")
    if _BARE_WORD.match(escaped):
        return escaped
    return f'"{escaped.translate(_C_ESCAPES)}"'


def _has_noncharacter(text: str) -> bool:
    """U+FDD0…, U+…FFFE and U+…FFFF, which systemd's check of UTF-8 refuses in a line."""
    if text.isascii():
        return False
    codes = map(ord, text)
    return any(0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE for code in codes)


def seconds(value: float) -> str:
    """A time span of systemd.time(7); whole seconds where it is whole, else milliseconds."""
    return f"{int(value)}s" if value == int(value) else f"{round(value * 1000)}ms"
