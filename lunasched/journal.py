"""The journal: what the service manager said of our units, and what the jobs printed.

The manager's records are chosen by trusted fields, which journald adds itself, so that a job
cannot make up its own end: ``_PID=1``, and for a user's manager its user ID and
``_SYSTEMD_USER_UNIT=init.scope``. The message IDs are those of sd-messages.h. The one record not
from the manager is that of a program that could not be executed: it comes from the child that
failed to, and counts only if it stands in the run's own cgroup.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import Any

from lunasched.config import Mode
from lunasched.errors import JournalError
from lunasched.unittext import HOOK_PREFIX, JOB_PREFIX, LAUNCH_PREFIX

OUTPUT_BYTES = 8192
"""How much of a run's output is kept in the history."""

# The manager says "Starting" when it has started the process, whose output may be there already.
_EARLY_USEC = 100_000


_PREFIXES = (JOB_PREFIX, HOOK_PREFIX, LAUNCH_PREFIX)


class EventKind(Enum):
    """What a record of the service manager says, by its message ID.

    A user's manager does not log SUCCEEDED, except at debug level (seen in systemd 252).
    """

    STARTING = "7d4958e842da4a758f6c1cdc7b36dcc5"
    STARTED = "39f53479d3a045ac8e11786248231fbf"
    SPAWN_FAILED = "641257651c1b4ec9a8624d7a40a9e1e7"
    PROCESS_ENDED = "98e322203f7a4ed290d09fe03c09fe15"
    STOPPING = "de5b426a63be47a7b6ac3eaac82e2f6f"
    SKIPPED = "0e4284a0caca4bfc81c0bb6786972673"
    STOPPED = "9d1aaa27d60140bd96365438aad20286"
    SUCCEEDED = "7ad2d189f7e94e70a38c781354912448"
    FAILED = "d9b373ed55a64feb8242e02dbe79a49c"
    RESOURCES = "ae8f7b866b0347b9af31fe1c80b127c0"
    CONDITION_FAILED = "39f53479 skipped"
    """STARTED as to its ID, but it says that a condition of the unit did not hold: no run."""


_ENDS = {
    EventKind.SKIPPED.value,
    EventKind.STOPPED.value,
    EventKind.SUCCEEDED.value,
    EventKind.FAILED.value,
}


@dataclass(frozen=True, slots=True)
class Event:
    """One record about one run. ``at`` is when the manager wrote it (µs, UTC)."""

    kind: EventKind
    execution_id: str
    unit: str
    at: int
    boot_id: str
    exit_code: int | None = None
    signal: int | None = None
    unit_result: str | None = None
    cpu_usec: int | None = None
    memory_peak: int | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the journal, and the event that the record there stands for, if it is one."""

    cursor: str
    event: Event | None


class Tail:
    """A place in the journal that moves on as it is read."""

    def __init__(
        self, reader: Any, after: str | None, interpret: Callable[[dict[str, Any]], Event | None]
    ) -> None:
        self._reader = reader
        self._after = after
        self._interpret = interpret

    def fileno(self) -> int:
        """A file descriptor that becomes readable when anything is written to the journal."""
        return int(self._reader.fileno())

    def drain(self) -> Iterator[Position]:
        """All records that have been written since the last call."""
        self._reader.process()
        while entry := self._reader.get_next():
            if self._after is not None:
                # Seeking goes to the record of the cursor itself, if that is still there.
                known, self._after = self._reader.test_cursor(self._after), None
                if known:
                    continue
            yield Position(entry["__CURSOR"], self._interpret(entry))


# How much later than a run's end the last of its output may reach the journal.
_LATE_USEC = 10_000_000


@dataclass(frozen=True, slots=True)
class RunWindow:
    """What finds the output of one run: its ID, or its unit and its time (µs, UTC).

    journald looks a writer up when its message arrives. A process that has ended by then has no
    invocation ID in the journal, and with a user's manager not even a unit: what is left is the
    unit (or the identifier that the unit sets) and the time from this run's start to the next's.
    """

    execution_id: str
    unit: str
    since: int
    until: int | None

    @classmethod
    def between(
        cls,
        execution_id: str,
        unit: str,
        started_at: int,
        ended_at: int | None,
        next_start: int | None,
    ) -> RunWindow:
        """The window of a recorded run; ``next_start`` is that of its unit's next run."""
        until = next_start
        if until is None and ended_at is not None:
            until = ended_at + _LATE_USEC
        return cls(execution_id, unit, started_at, until)


class OutputTail:
    """The output of one run, read as it comes."""

    def __init__(self, reader: Any, belongs: Callable[[dict[str, Any]], bool], about: str) -> None:
        self._reader = reader
        self._belongs = belongs
        self._about = about
        self.ended = False
        """Whether the manager's record of the run's end has been read."""

    def drain(self) -> str:
        """What has been written since the last call."""
        self._reader.process()
        pieces = []
        while entry := self._reader.get_next():
            if self._belongs(entry):
                pieces.append(_line(entry))
            elif self._about in entry and entry.get("MESSAGE_ID") in _ENDS:
                self.ended = True
        return b"".join(pieces).decode(errors="replace")

    def wait(self, seconds: float) -> bool:
        """Wait until anything is written to the journal; ``False`` if nothing was in time."""
        return bool(self._reader.wait(seconds))


class Journal:
    """The journal as far as it is about the jobs of one mode."""

    def __init__(self, mode: Mode, uid: int) -> None:
        """``uid`` is the user whose manager is meant, in user mode."""
        self._mode = mode
        self._uid = uid

    @contextmanager
    def tail(self, after: str | None) -> Iterator[Tail]:
        """The manager's records after a cursor (``None``: all there are), read as they come.

        Where the record of the cursor has been vacuumed away, from the next that is left.
        """
        with _reader() as reader:
            self._match_manager(reader)
            if after is None:
                reader.seek_head()
            else:
                reader.seek_cursor(after)
            yield Tail(reader, after, self._event)

    def first_event(self, after: str | None, records: int = 20_000) -> Event | None:
        """The first event after a cursor, if it is one of so many records."""
        with self.tail(after) as tail:
            for position in islice(tail.drain(), records):
                if position.event is not None:
                    return position.event
        return None

    def output(self, run: RunWindow, limit: int = OUTPUT_BYTES) -> str:
        """The end of what a run printed, at most ``limit`` bytes of UTF-8."""
        pieces: list[bytes] = []
        size = 0
        with _reader() as reader:
            self._match_output(reader, run)
            if run.until is None:
                reader.seek_tail()
            else:
                reader.seek_realtime(run.until)
            while size < limit and (entry := reader.get_previous()):
                if entry["__REALTIME_TIMESTAMP"] < run.since - _EARLY_USEC:
                    break
                if self._belongs(entry, run):
                    pieces.append(_line(entry))
                    size += len(pieces[-1])
        tail = b"".join(reversed(pieces))[-limit:]
        if size > limit:
            # The cut may have gone through a character: drop what is left of it.
            while tail and tail[0] & 0xC0 == 0x80:
                tail = tail[1:]
        return tail.decode(errors="replace")

    @contextmanager
    def follow(self, run: RunWindow) -> Iterator[OutputTail]:
        """What a run prints, from its beginning on, as it comes."""
        with _reader() as reader:
            self._match_output(reader, run)
            reader.add_disjunction()
            reader.add_match(f"{self._about()}={run.execution_id}")
            reader.seek_realtime(run.since - _EARLY_USEC)
            yield OutputTail(reader, lambda entry: self._belongs(entry, run), self._about())

    def _about(self) -> str:
        """The field in which the manager names the run that a record is about."""
        return "INVOCATION_ID" if self._mode is Mode.SYSTEM else "USER_INVOCATION_ID"

    def _match_output(self, reader: Any, run: RunWindow) -> None:
        reader.add_match(_SYSTEMD_INVOCATION_ID=run.execution_id)
        reader.add_disjunction()
        if self._mode is Mode.SYSTEM:
            reader.add_match(_SYSTEMD_UNIT=run.unit)
        else:
            reader.add_match(SYSLOG_IDENTIFIER=_identifier(run.unit), _UID=str(self._uid))
        # Why a program could not be executed is the output of a run that has no other.
        reader.add_disjunction()
        reader.add_match(f"{self._about()}={run.execution_id}")
        reader.add_match(MESSAGE_ID=EventKind.SPAWN_FAILED.value)

    def _belongs(self, entry: dict[str, Any], run: RunWindow) -> bool:
        """Whether a record is output of the run, by its ID or, without one, by unit and time."""
        if entry.get("MESSAGE_ID") == EventKind.SPAWN_FAILED.value:
            return bool(entry.get(self._about()) == run.execution_id)
        invocation = entry.get("_SYSTEMD_INVOCATION_ID")
        if invocation is not None and (
            self._mode is Mode.SYSTEM or entry.get("_SYSTEMD_USER_UNIT") is not None
        ):
            return bool(invocation == run.execution_id)
        if self._mode is Mode.SYSTEM:
            ours = entry.get("_SYSTEMD_UNIT") == run.unit
        else:
            ours = (
                entry.get("SYSLOG_IDENTIFIER") == _identifier(run.unit)
                and entry.get("_TRANSPORT") == "stdout"
            )
        at: int = entry["__REALTIME_TIMESTAMP"]
        until = run.until
        return ours and run.since - _EARLY_USEC <= at and (until is None or at < until)

    def _match_manager(self, reader: Any) -> None:
        for kind in EventKind:
            if kind not in (EventKind.SPAWN_FAILED, EventKind.CONDITION_FAILED):
                reader.add_match(MESSAGE_ID=kind.value)
        if self._mode is Mode.SYSTEM:
            reader.add_match(_PID="1")
        else:
            reader.add_match(_UID=str(self._uid), _SYSTEMD_USER_UNIT="init.scope")
        reader.add_disjunction()
        reader.add_match(MESSAGE_ID=EventKind.SPAWN_FAILED.value)

    def _event(self, entry: dict[str, Any]) -> Event | None:
        prefix = "" if self._mode is Mode.SYSTEM else "USER_"
        unit = entry.get(f"{prefix}UNIT", "")
        execution_id = entry.get(f"{prefix}INVOCATION_ID", "")
        if not unit.startswith(_PREFIXES) or not unit.endswith(".service"):
            return None
        kind = EventKind(entry["MESSAGE_ID"])
        if kind is EventKind.STARTED and _tells_of_condition(entry):
            kind = EventKind.CONDITION_FAILED
        elif not execution_id:
            return None
        # The failed child is usually gone when journald looks it up; if not, it has to fit.
        writer = entry.get("_SYSTEMD_INVOCATION_ID", execution_id)
        if kind is EventKind.SPAWN_FAILED and self._mode is Mode.SYSTEM and writer != execution_id:
            return None
        status = _number(entry, "EXIT_STATUS")
        exited = entry.get("EXIT_CODE") == "exited"
        if kind is EventKind.SPAWN_FAILED:
            status, exited = _failed_step(entry), True
        cpu_nsec = _number(entry, "CPU_USAGE_NSEC")
        return Event(
            kind,
            execution_id,
            unit,
            entry.get("_SOURCE_REALTIME_TIMESTAMP") or entry["__REALTIME_TIMESTAMP"],
            entry["_BOOT_ID"],
            exit_code=status if exited else None,
            signal=None if exited else status,
            unit_result=entry.get("UNIT_RESULT"),
            cpu_usec=None if cpu_nsec is None else cpu_nsec // 1000,
            memory_peak=_number(entry, "MEMORY_PEAK"),
        )


def journalctl(mode: Mode, uid: int, unit: str, run: RunWindow | None, *options: str) -> list[str]:
    """The ``journalctl`` command that shows a job, or one run of it.

    A run is chosen by what its processes wrote and by what the manager wrote of it.
    """
    command = ["journalctl", *options]
    if run is None:
        option = "--unit" if mode is Mode.SYSTEM else "--user-unit"
        # Runs beside one another, and those with an environment of their own, have units of theirs.
        runs = unit.removesuffix(".service") + ":*.service"
        return [*command, f"{option}={unit}", f"{option}={runs}"]
    command.append(f"--since={_timestamp(run.since - _EARLY_USEC)}")
    if run.until is not None:
        command.append(f"--until={_timestamp(run.until)}")
    prefix = "" if mode is Mode.SYSTEM else "USER_"
    written = [f"_SYSTEMD_INVOCATION_ID={run.execution_id}"]
    about = [f"{prefix}INVOCATION_ID={run.execution_id}"]
    unattributed = (
        [f"_SYSTEMD_UNIT={unit}"]
        if mode is Mode.SYSTEM
        else [f"SYSLOG_IDENTIFIER={_identifier(unit)}", f"_UID={uid}", "_TRANSPORT=stdout"]
    )
    return [*command, *written, "+", *about, "+", *unattributed]


def _timestamp(usec: int) -> str:
    """A point in time as systemd.time(7) takes it without a zone."""
    return f"@{usec // 1_000_000}.{usec % 1_000_000:06d}"


@contextmanager
def _reader() -> Iterator[Any]:
    try:
        from systemd import journal
    except ImportError as error:
        raise JournalError(
            "the Python module 'systemd' is missing; install python3-systemd"
        ) from error
    try:
        # python-systemd would make times naive local ones, which repeat in autumn.
        reader = journal.Reader(
            converters={
                "__REALTIME_TIMESTAMP": int,
                "_SOURCE_REALTIME_TIMESTAMP": int,
                "MESSAGE_ID": _decoded,
                "_BOOT_ID": _decoded,
                "MESSAGE": bytes,
                "EXIT_STATUS": _decoded,
            }
        )
    except OSError as error:
        raise JournalError(
            f"the journal cannot be opened ({error.strerror}); "
            "root and the members of the group systemd-journal can read it"
        ) from error
    with reader:
        yield reader


# What ended a record of standard output, by _LINE_BREAK (systemd.journal-fields(7)); the rest
# (line-max, eof, pid-change) is nothing that the program wrote.
_LINE_ENDS = {"": b"\n", "nul": b"\0"}


def _identifier(unit: str) -> str:
    """What ``SyslogIdentifier=`` is in the unit: its instance, without the run's part."""
    return unit.removeprefix(JOB_PREFIX).removesuffix(".service").partition(":")[0]


def _line(entry: dict[str, Any]) -> bytes:
    """A record as the bytes that the run wrote; only empty lines journald does not keep."""
    message = entry.get("MESSAGE", b"")
    text = message[-1] if isinstance(message, list) else message
    return bytes(text) + _LINE_ENDS.get(entry.get("_LINE_BREAK", ""), b"")


# The exit statuses of a process that systemd could not set up, from 200 on, by the step that failed
# (systemd.exec(5), "PROCESS EXIT CODES"); 223 and 234 are not in use.
_STEPS = (
    "CHDIR", "NICE", "FDS", "EXEC", "MEMORY", "LIMITS", "OOM_ADJUST", "SIGNAL_MASK", "STDIN",
    "STDOUT", "CHROOT", "IOPRIO", "TIMERSLACK", "SECUREBITS", "SETSCHEDULER", "CPUAFFINITY",
    "GROUP", "USER", "CAPABILITIES", "CGROUP", "SETSID", "CONFIRM", "STDERR", "", "PAM", "NETWORK",
    "NAMESPACE", "NO_NEW_PRIVILEGES", "SECCOMP", "SELINUX_CONTEXT", "PERSONALITY", "APPARMOR",
    "ADDRESS_FAMILIES", "RUNTIME_DIRECTORY", "", "CHOWN", "SMACK_PROCESS_LABEL", "KEYRING",
    "STATE_DIRECTORY", "CACHE_DIRECTORY", "LOGS_DIRECTORY", "CONFIGURATION_DIRECTORY",
    "NUMA_POLICY", "CREDENTIALS", "BPF",
)  # fmt: skip


def _failed_step(entry: dict[str, Any]) -> int | None:
    """The exit status that a failed child is about to end with; the record names its step only."""
    words = _decoded(entry.get("MESSAGE", b"")).partition("Failed at step ")[2].split(" ", 1)
    return 200 + _STEPS.index(words[0]) if words[0] and words[0] in _STEPS else None


# "X was skipped because of an unmet condition check (...)" or "because no trigger condition checks
# were met" (252), "X skipped, unmet condition check ..." and the like (257). After an
# ExecCondition= there is "Condition check resulted in X being skipped."
_UNMET = re.compile(r" skipped(?:,| because) .*condition check")


def _tells_of_condition(entry: dict[str, Any]) -> bool:
    """Whether a record about a start says that there was none, because of a ``Condition…=``.

    That has the message ID of a start, and for a unit that is loaded the invocation ID of its last
    run (seen in systemd 252 and 257): only the text tells.
    """
    text = _decoded(entry.get("MESSAGE", b""))
    return bool(_UNMET.search(text)) and not text.startswith(("Started ", "Finished "))


def _decoded(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _number(entry: dict[str, Any], field: str) -> int | None:
    value = entry.get(field)
    try:
        return int(value) if value is not None else None
    except (TypeError, ValueError):
        return None
