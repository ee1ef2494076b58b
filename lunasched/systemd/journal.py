"""The journal: what the service manager said of our units, and what the jobs printed.

Anybody can write a record with any field, except for those that begin with an underscore: these
journald adds itself. So the manager's records are those with ``_PID=1``, for a user's manager those
with its user ID and ``_SYSTEMD_USER_UNIT=init.scope``, and a run's output has the run's unit in
``_SYSTEMD_UNIT``. ``_SYSTEMD_INVOCATION_ID`` alone proves nothing: for the units of an ordinary
user, journald reads it from a link that this user can replace. The message IDs are those of
sd-messages.h.

Three kinds of records come neither from the manager nor from the job. One is of a program that
could not be executed, written by the child that failed to, as root before it has changed its user
and as the job's user after that; one is of an exit code that is no failure, written by
``exit-note`` as the job's user; and one is of a launcher that starts the job's service, written as
the manager. journald looks a writer up when its message arrives, and these have mostly ended by
then (the child 16 of 20 times in systemd 252, 14 of 20 in 257): their user ID alone is known.
From root they are believed. From anybody else and without a unit it is a claim:
``Event.claimed_by``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum
from itertools import chain, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from lunasched.dataclass import dataclass
from lunasched.errors import InvalidInput, JournalError
from lunasched.formats.pattern import pattern
from lunasched.formats.unittext import HOOK_PREFIX, JOB_PREFIX, LAUNCH_PREFIX
from lunasched.history.run import Instant
from lunasched.jobs import directivelines, userswitch
from lunasched.paths import Mode
from lunasched.systemd import elsewhere
from lunasched.systemd.elsewhere import Fields
from lunasched.units import concurrency

if TYPE_CHECKING:
    from lunasched.jobs.model import Job

UNITS_MAX = 2000
"""Units of one job whose records can be shown together: a command line has its limit."""

OUTPUT_BYTES = 8192
"""The most output of a run that the history keeps."""

UNSURE_NOTE = (
    "[lunasched: journald was behind, and does not tell apart which run of the job wrote this]\n"
)
CUT_NOTE = "[lunasched: only the end of the output is kept here; the journal has the rest]\n"
"""The beginning of an output in the history that is not complete."""

# The manager logs "Starting" after it has started the process, whose output may come first.
_EARLY_USEC = 100_000
# So many records about a unit are looked at for runs beside one.
_NEIGHBOURS_MAX = 50
# Where journald is as far behind, it takes in what several runs wrote at one time.
_MIXED_USEC = 1_000_000

# A larger delay of journald is a step of the clock.
_BEHIND_USEC = 3600 * 1_000_000


# "Suppressed 170640 messages from UNIT": a limit of journald's was reached, and is no more.
_DROPPED = "a596d6fe7bfa4994828e72309e95d61e"
_DROPPED_TEXT = pattern(r"Suppressed (\d+) messages from (\S+)")

# A core dump, as systemd-coredump reports it.
_COREDUMP = "fc2e22bc6ee647b6b90729ab34a250b1"

_EXECUTION_ID = pattern(r"[0-9a-f]{32}\Z")

_PREFIXES = (JOB_PREFIX, HOOK_PREFIX, LAUNCH_PREFIX)


# Where a child that the manager has just made is, as far as journald knows, before it has moved.
_CHILDS_UNITS = ("", "init.scope")


class EventKind(Enum):
    """The kind of a record of the service manager, by its message ID.

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
    CONDITION_UNMET = "39f53479 unmet"
    """The same of a condition that is the job's own: the run is skipped."""
    EXIT_NOTED = "8cb3cd41a6e94cfa9ba1bbbd1f4dd3a6"
    """What ``exit-note`` says of an exit code that is a success to the manager."""
    LAUNCHES = "aa6d3cea1e5a4920adc0ca9b33ae9c4e"
    """What ``launch`` says before it starts the job's service: by what it was started itself."""
    REFUSED = "be02cf6855d2428ba40df7e9d022f03d"
    """The start failed, of a unit that a required one or an assertion kept from it."""


_OF_OTHER_IDS = (EventKind.CONDITION_FAILED, EventKind.CONDITION_UNMET)
_OF_PROCESSES = (EventKind.SPAWN_FAILED, EventKind.EXIT_NOTED, EventKind.LAUNCHES)
"""The kinds that processes of our units write, and not the manager."""
_TRIGGERS = {"timer": True, "hand": False}
_NEVER_BEGAN = ("assert", "dependency")

_KINDS = {kind.value: kind for kind in EventKind}
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
    since_boot: int
    """The same on the monotonic clock (µs), which no step of the clock moves."""
    boot_id: str
    exit_code: int | None = None
    signal: int | None = None
    unit_result: str | None = None
    cpu_usec: int | None = None
    memory_peak: int | None = None
    claimed_by: int | None = None
    """The user ID of who wrote the record, where nothing but that is known of them."""
    reason: str | None = None
    """The manager's words for why a unit that has no invocation did not start."""
    by_timer: bool | None = None
    """Of LAUNCHES: whether the timer started the launcher, as far as systemd told it."""
    elapsed: int | None = None
    """Of LAUNCHES: when that elapsed (µs, UTC), as far as systemd told it."""

    @property
    def instant(self) -> Instant:
        """The time at which the manager wrote the record."""
        return Instant(self.at, self.since_boot)


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
        self.mark = 0
        """The highest number of the marks that have been read."""

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
            self.mark = max(self.mark, _number(entry, "LUNASCHED_MARK_NUMBER") or 0)
            yield Position(entry["__CURSOR"], self._interpret(entry))


# How much later than the record of a run's end the last of its output may reach the journal.
_LATE_USEC = 10_000_000


@dataclass(frozen=True, slots=True)
class Output:
    """The end of what a run printed, and the last record of it (none: it printed nothing)."""

    text: str
    cursor: str | None


# The records of systemd 252 to 257 about a timeout (src/core/service.c).
_WAITS_FUNCTION = "service_dispatch_timer"
_LIMIT_REACHED = pattern(r"reached runtime time limit|operation timed out")
_STATE_TIMED_OUT = pattern(r"State '[a-z-]+' timed out")


@dataclass(frozen=True, slots=True)
class Waits:
    """The processes that did not end in time when systemd stopped a run."""

    for_main: bool = False
    """For the run itself, which reached its time limit."""
    for_leftover: bool = False
    """For processes, after it had asked them to end."""


@dataclass(frozen=True, slots=True)
class RunWindow:
    """The search for the output of one run: its ID, or its unit and its time (µs, UTC).

    journald looks a writer up when its message arrives. A process that has ended by then has no
    invocation ID in the journal, or that of the run that the unit has by then, and with a user's
    manager not even a unit: what is left is the stream by which it printed
    (``lunasched.systemd.elsewhere``), the unit (or the identifier that the unit sets) and the time
    from this run's start to the next's. The identifier is that of other units, too, and believed
    for a moment after the end only.
    """

    execution_id: str
    unit: str
    since: int
    until: int | None
    is_followed: bool = False
    """True if the unit was started again at ``until``: nothing after that is this run's."""
    names: tuple[str, ...] = ()
    """The users whom the job's own command enters by ``su`` and the like."""
    has_several: bool = False
    """True if the job has several commands, each of which has a stream of its own."""
    users: frozenset[int] = frozenset()
    """The users whom the run has entered; known once looked for."""
    leaders: frozenset[int] = frozenset()
    """The IDs of the processes that say so, which lead sessions; known likewise."""
    streams: frozenset[str] = frozenset()
    """The streams by which its output came, also of those who left its unit; known likewise."""
    is_stream_known: bool = False
    """True if ``streams`` has the only one that systemd opened for the run's own processes."""

    @classmethod
    def between(
        cls,
        execution_id: str,
        unit: str,
        started_at: int,
        ended_at: int | None,
        next_start: int | None,
        job: Job | None = None,
    ) -> RunWindow:
        """The window of a recorded run of a job; ``next_start`` is that of its unit's next run."""
        until = next_start
        if until is None and ended_at is not None:
            until = ended_at + _LATE_USEC
        is_followed = next_start is not None
        window = cls(execution_id, unit, started_at, until, is_followed)
        return window if job is None else window.of_job(job)

    def of_job(self, job: Job) -> RunWindow:
        """The same with what the job's command says of its output."""
        return replace(
            self,
            names=userswitch.users(job),
            has_several=directivelines.is_oneshot(job.directives),
        )


@dataclass(frozen=True, slots=True)
class _Lag:
    """The times by which journald was behind at the start and at the end of a run (µs)."""

    at_start: int
    at_end: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """The number of records that the journal lacks, of the run before one and of that one."""

    before: int
    during: int


def dropped_note(number: int) -> str:
    """Return the note about records that journald dropped, which follows the output they were
    in."""
    return f"[journald: suppressed {number} messages]\n"


class OutputTail:
    """The output of one run, read as it comes."""

    def __init__(self, journal: Journal, reader: Any, run: RunWindow) -> None:
        self._journal = journal
        self._reader = reader
        self._run = run
        self._last: str | None = None
        # A user is to be entered, or has been, and no stream is known yet.
        self._is_moving = bool(run.names)
        self.ended = False
        """True if the manager's record of the run's end has been read."""
        self._begin()

    def drain(self) -> str:
        """Return the output since the last call."""
        self._reader.process()
        before = self._run
        pieces = self._read()
        if pieces or self._is_moving:
            self._run = self._journal.located(self._run)
            self._is_moving = bool(self._run.users)
            if self._run.streams - before.streams:
                pieces += self._read_earlier(before)
                pieces += self._read()
        return b"".join(pieces).decode(errors="replace")

    def wait(self, seconds: float) -> bool:
        """Wait until anything is written to the journal; ``False`` if nothing was in time."""
        return bool(self._reader.wait(seconds))

    def _begin(self) -> None:
        self._reader.flush_matches()
        self._journal.match_run(self._reader, self._run)
        self._reader.seek_realtime(self._run.since - _EARLY_USEC)

    def _read(self) -> list[bytes]:
        pieces = []
        is_located = self._run.is_stream_known
        while entry := self._reader.get_next():
            self._last = entry["__CURSOR"]
            if not is_located and not elsewhere.is_attributed(entry):
                self._run, is_located = self._journal.located(self._run), True
            if self._journal.belongs(entry, self._run):
                pieces.append(_line(entry))
            elif self._journal.ends(entry, self._run):
                self.ended = True
        return pieces

    def _read_earlier(self, before: RunWindow) -> list[bytes]:
        """Read from the beginning to the last record what was not known to belong to the run."""
        self._begin()
        pieces: list[bytes] = []
        if self._last is None:
            return pieces
        while entry := self._reader.get_next():
            known = self._journal.belongs(entry, before)
            if not known and self._journal.belongs(entry, self._run):
                pieces.append(_line(entry))
            if entry["__CURSOR"] == self._last:
                break
        return pieces


class Journal:
    """The journal as far as it is about the jobs of one mode."""

    def __init__(self, mode: Mode, uid: int) -> None:
        """``uid`` is the user whose manager is meant, in user mode."""
        self._mode = mode
        self._uid = uid

    @contextmanager
    def tail(self, after: str | None, mark: str | None = None) -> Iterator[Tail]:
        """The manager's records after a cursor (``None``: all there are), read as they come.

        With them come the marks of a name that only the caller knows.

        Where the record of the cursor has been vacuumed away, from the next that is left.
        """
        with open_reader() as reader:
            self._match_manager(reader)
            if mark is not None:
                reader.add_disjunction()
                _add(reader, {"LUNASCHED_MARK": mark})
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

    def boot_id(self) -> str | None:
        """The boot of the manager's latest record, as journald has it.

        In a container that may not be the one that the kernel gives us: its manager can have put
        another in the place of the kernel's, which ``ProtectProc=`` uncovers.
        """
        with open_reader() as reader:
            _add(reader, self._manager())
            reader.seek_tail()
            entry = reader.get_previous()
            return str(entry["_BOOT_ID"]) if entry else None

    def waits(self, execution_id: str) -> Waits:
        """Return what systemd waited for in vain, of a run whose end is in the journal.

        It says so in records without an ID of their own, before that of the end.
        """
        is_of = {self._about(): execution_id, "CODE_FUNC": _WAITS_FUNCTION}
        with open_reader() as reader:
            _add(reader, {**self._manager(), **is_of})
            reader.seek_head()
            said = []
            while entry := reader.get_next():
                said.append(_decoded(entry.get("MESSAGE", b"")))
        return Waits(
            for_main=any(_LIMIT_REACHED.search(line) for line in said),
            for_leftover=any(_STATE_TIMED_OUT.search(line) for line in said),
        )

    def outputs(self, runs: Iterable[RunWindow], limit: int = OUTPUT_BYTES) -> list[Output]:
        """The end of what each of some runs printed, at most ``limit`` bytes of UTF-8."""
        with open_reader() as reader:
            return [self._output(reader, run, limit) for run in runs]

    def delayed(self, run: RunWindow) -> RunWindow:
        """The window of a run whose end reached the journal late: its output did so, too."""
        with open_reader() as reader:
            return self._delayed(run, self._lag(reader, run))

    def located(self, run: RunWindow) -> RunWindow:
        """A run with the streams by which its output has come so far, and whom it has entered."""
        with open_reader() as reader:
            return self._located(reader, run)

    def streams_elsewhere(self, runs: Iterable[RunWindow]) -> list[str]:
        """The streams of runs by which something came that is not under their unit."""
        with open_reader() as reader:
            return [
                stream
                for run in runs
                for stream in self._located(reader, run).streams
                if elsewhere.has_left(reader, stream, _unit(self._mode, self._uid, run.unit))
            ]

    def _located(self, reader: Any, run: RunWindow) -> RunWindow:
        of_unit = _unit(self._mode, self._uid, run.unit)
        of_run = {**of_unit, "_SYSTEMD_INVOCATION_ID": run.execution_id}
        since, until = run.since - _EARLY_USEC, run.until if run.is_followed else None
        named = dict.fromkeys(elsewhere.user_ids(run.names), since)
        entries = elsewhere.user_entries(reader, of_run, since)
        users = {entry.user: entry.at for entry in entries} | named
        own = elsewhere.own_streams(reader, of_run, since, until)
        identifier = _identifier(run.unit)
        is_known = not run.has_several and any(
            elsewhere.is_attributed(entry) and _single(entry, "SYSLOG_IDENTIFIER") == identifier
            for entry in own.values()
        )
        streams = [
            stream
            for stream, entry in own.items()
            if not is_known
            or elsewhere.is_attributed(entry)
            or _single(entry, "SYSLOG_IDENTIFIER") != identifier
        ]
        streams = streams or elsewhere.stream_by_time(reader, of_unit, since, until)
        for user, at in users.items():
            streams += elsewhere.streams_of_user(reader, user, identifier, at - _EARLY_USEC, until)
        return replace(
            run,
            users=frozenset(users),
            leaders=frozenset(entry.pid for entry in entries),
            streams=frozenset(streams),
            is_stream_known=is_known,
        )

    def scopes(self, run: RunWindow) -> list[str]:
        """The scopes from which something came by the streams of a run that has been located."""
        field = "_SYSTEMD_UNIT" if self._mode is Mode.SYSTEM else "_SYSTEMD_USER_UNIT"
        with open_reader() as reader:
            return elsewhere.scopes(reader, run.streams, field)

    def _output(self, reader: Any, run: RunWindow, limit: int) -> Output:
        lag = self._lag(reader, run)
        run = self._located(reader, self._delayed(run, lag))
        reader.flush_matches()
        self._match_output(reader, run)
        if run.until is not None and run.is_followed:
            reader.seek_realtime(run.until)
        else:
            # journald may still be writing: it takes a minute for some hundred thousand lines.
            reader.seek_tail()
        pieces: list[bytes] = []
        by_time: set[str] = set()
        cursor = None
        size = 0
        while size <= limit and (entry := reader.get_previous()):
            if entry["__REALTIME_TIMESTAMP"] < run.since - _EARLY_USEC:
                break
            if self.belongs(entry, run):
                cursor = cursor or entry["__CURSOR"]
                pieces.append(_line(entry))
                size += len(pieces[-1])
                if _is_of_command(entry, run) and not elsewhere.is_attributed(entry):
                    by_time.add(_single(entry, "_STREAM_ID"))
        tail = b"".join(reversed(pieces))[-limit:]
        if size > limit:
            # The cut may have gone through a character: drop what is left of it.
            while tail and tail[0] & 0xC0 == 0x80:
                tail = tail[1:]
        note = CUT_NOTE if size > limit else ""
        # A command has one stream: of several, some are of the runs before or after it.
        if not run.is_stream_known and self._is_mixed(reader, run, lag, len(by_time)):
            note = UNSURE_NOTE + note
        return Output(note + tail.decode(errors="replace"), cursor)

    def dropped(self, run: RunWindow) -> Dropped:
        """The records that journald has dropped, as far as it reported that since a run began.

        It reports a loss when it takes the next line of the unit: a report before the run's first
        line belongs to the run before it.
        """
        source = run.unit if self._mode is Mode.SYSTEM else f"user@{self._uid}.service"
        with open_reader() as reader:
            streams = self._located(reader, run).streams
            # A session has a limit of its own, journald's default.
            sources = {source, *elsewhere.scopes(reader, streams, "_SYSTEMD_UNIT")}
            reader.flush_matches()
            _add(reader, {"MESSAGE_ID": _DROPPED, "_TRANSPORT": "driver"})
            reader.seek_realtime(run.since - _EARLY_USEC)
            told = [
                (entry["__REALTIME_TIMESTAMP"], int(text[1]))
                for entry in iter(reader.get_next, {})
                if (text := _DROPPED_TEXT.match(_decoded(entry.get("MESSAGE", b""))))
                and text[2] in sources
            ]
            if run.is_followed and run.until is not None:
                told = [one for one in told if one[0] < run.until]
            first = self._first_line(reader, run) if told else 0
        # journald gives its own record the time of the line that it took.
        before = sum(number for at, number in told if at <= first)
        return Dropped(before, sum(number for _, number in told) - before)

    def _first_line(self, reader: Any, run: RunWindow) -> int:
        """Return when the first line of a run was taken in; 0 if there is none."""
        reader.flush_matches()
        self._match_output(reader, run)
        reader.seek_realtime(run.since - _EARLY_USEC)
        while entry := reader.get_next():
            if self.belongs(entry, run):
                return int(entry["__REALTIME_TIMESTAMP"])
        return 0

    def _delayed(self, run: RunWindow, lag: _Lag) -> RunWindow:
        """Move the end of a window by the time that journald was behind at the run's end.

        What finds records by their time finds them by when journald took them in.
        """
        return run if run.until is None else replace(run, until=run.until + lag.at_end)

    def _lag(self, reader: Any, run: RunWindow) -> _Lag:
        """Return the times by which journald was behind at the start and at the end of a run."""
        reader.flush_matches()
        _add(reader, {**self._manager(), self._about(): run.execution_id})
        reader.seek_head()
        at_start = at_end = 0
        while entry := reader.get_next():
            behind = max(0, entry["__REALTIME_TIMESTAMP"] - _at(entry))
            if entry.get("MESSAGE_ID") == EventKind.STARTING.value:
                at_start = behind
            elif entry.get("MESSAGE_ID") in _ENDS:
                at_end = behind
        return _Lag(at_start, at_end)

    def _is_mixed(self, reader: Any, run: RunWindow, lag: _Lag, streams: int) -> bool:
        """Tell whether so many streams of writers who had ended may be those of several runs."""
        if streams > 1 and (not run.has_several or lag.at_end > _MIXED_USEC):
            return True
        return streams > 0 and lag.at_start > _MIXED_USEC and self._follows_late(reader, run)

    def _follows_late(self, reader: Any, run: RunWindow) -> bool:
        """Tell whether journald took in the end of the unit's run before when this had begun."""
        unit_field = "UNIT" if self._mode is Mode.SYSTEM else "USER_UNIT"
        reader.flush_matches()
        _add(reader, {**self._manager(), unit_field: run.unit})
        reader.seek_realtime(run.since)
        return any(
            _at(entry) < run.since and _single(entry, self._about()) != run.execution_id
            for entry in islice(iter(reader.get_next, {}), _NEIGHBOURS_MAX)
        )

    @contextmanager
    def follow(self, run: RunWindow) -> Iterator[OutputTail]:
        """Follow the output of a run, from its beginning on."""
        with open_reader() as reader:
            yield OutputTail(self, reader, run)

    def match_run(self, reader: Any, run: RunWindow) -> None:
        """Have a reader give the output of a run, and what the manager says of it."""
        self._match_output(reader, run)
        reader.add_disjunction()
        _add(reader, {**self._manager(), self._about(): run.execution_id})

    def units(self, unit: str) -> list[str]:
        """A job's service, and the services of its runs that had one each, as the journal has them.

        Raises ``InvalidInput`` where they are too many for one command.
        """
        prefix = unit.removesuffix(".service") + ":"
        field = "_SYSTEMD_UNIT" if self._mode is Mode.SYSTEM else "_SYSTEMD_USER_UNIT"
        manager_field = "UNIT" if self._mode is Mode.SYSTEM else "USER_UNIT"
        with open_reader() as reader:
            known = chain(reader.query_unique(field), reader.query_unique(manager_field))
            found = {
                str(name)
                for name in known
                if isinstance(name, str) and name.startswith(prefix) and name.endswith(".service")
            }
        if len(found) > UNITS_MAX:
            raise InvalidInput(
                f"the journal has {len(found)} runs with a unit of their own, and {UNITS_MAX} are "
                "the most that can be shown together; choose one with --execution"
            )
        return [unit, *sorted(found)]

    def _writer(self, entry: dict[str, Any]) -> str:
        """The unit of this mode's manager that a record was written in; empty if not known."""
        return _single(
            entry, "_SYSTEMD_UNIT" if self._mode is Mode.SYSTEM else "_SYSTEMD_USER_UNIT"
        )

    def _about(self) -> str:
        """The field in which the manager names the run that a record is about."""
        return "INVOCATION_ID" if self._mode is Mode.SYSTEM else "USER_INVOCATION_ID"

    def _manager(self) -> dict[str, str]:
        """The trusted fields of the manager's own records."""
        return _manager(self._mode, self._uid)

    def _why_not_executed(self, run: RunWindow) -> dict[str, str]:
        return {**_about_setup(self._mode, self._uid), self._about(): run.execution_id}

    def _match_output(self, reader: Any, run: RunWindow) -> None:
        _add(reader, _unit(self._mode, self._uid, run.unit))
        if self._mode is Mode.USER:
            reader.add_disjunction()
            _add(reader, _unattributed(self._uid, run.unit))
        # The reason why a program could not be executed is the output of a run without output.
        reader.add_disjunction()
        _add(reader, self._why_not_executed(run))
        for stream in run.streams:
            reader.add_disjunction()
            _add(reader, _stream(stream))

    def belongs(self, entry: dict[str, Any], run: RunWindow) -> bool:
        """Tell whether a record is output of the run: from its unit and, if known, its invocation.

        Or from where processes of it are that have left the unit.
        """
        if _single(entry, "_STREAM_ID") in run.streams:
            return True
        if entry.get("MESSAGE_ID") == EventKind.EXIT_NOTED.value:
            return False
        if _has(entry, _unit(self._mode, self._uid, run.unit)):
            is_attributed = elsewhere.is_attributed(entry)
            if not is_attributed and _came_by_anothers_stream(entry, run):
                return False
            invocation = entry.get("_SYSTEMD_INVOCATION_ID")
            if invocation:
                return bool(invocation == run.execution_id)
            return _is_within(entry, run if run.is_followed else replace(run, until=None))
        if _has(entry, self._why_not_executed(run)):
            # Not records of the manager itself, which also writes about the run.
            is_childs = _single(entry, "SYSLOG_IDENTIFIER").startswith("(")
            return is_childs and self._writer(entry) in _CHILDS_UNITS
        return (
            self._mode is Mode.USER
            and _has(entry, _unattributed(self._uid, run.unit))
            and "_SYSTEMD_USER_UNIT" not in entry
            and not _came_by_anothers_stream(entry, run)
            and _is_within(entry, run)
        )

    def ends(self, entry: dict[str, Any], run: RunWindow) -> bool:
        """Tell whether a record is the manager's of the run's end."""
        about = {**self._manager(), self._about(): run.execution_id}
        return _has(entry, about) and entry.get("MESSAGE_ID") in _ENDS

    def _match_manager(self, reader: Any) -> None:
        for kind in EventKind:
            if kind not in (*_OF_PROCESSES, *_OF_OTHER_IDS):
                reader.add_match(MESSAGE_ID=kind.value)
        _add(reader, self._manager())
        reader.add_disjunction()
        for kind in _OF_PROCESSES:
            reader.add_match(MESSAGE_ID=kind.value)
        user = {} if self._mode is Mode.SYSTEM else {"_UID": str(self._uid)}
        _add(reader, {"_TRANSPORT": "journal", **user})

    def _event(self, entry: dict[str, Any]) -> Event | None:
        prefix = "" if self._mode is Mode.SYSTEM else "USER_"
        unit = _single(entry, f"{prefix}UNIT")
        execution_id = _single(entry, f"{prefix}INVOCATION_ID")
        if not unit.startswith(_PREFIXES) or not unit.endswith(".service"):
            return None
        message_id = _single(entry, "MESSAGE_ID")
        kind = _KINDS.get(message_id)
        if kind is None:
            # Matched by one of several IDs; only a forged record has several.
            return None
        if kind in _OF_PROCESSES:
            return self._of_process(kind, entry, unit, execution_id)
        reason = None
        if kind is EventKind.STARTED and _tells_of_condition(entry):
            kind = EventKind.CONDITION_FAILED
            if not _is_of_gate(entry):
                kind = EventKind.CONDITION_UNMET
        elif kind is EventKind.REFUSED and entry.get("JOB_RESULT") not in _NEVER_BEGAN:
            # The run that failed has records of its own.
            return None
        elif kind is not EventKind.REFUSED and not execution_id:
            return None
        if kind in (EventKind.CONDITION_UNMET, EventKind.REFUSED):
            execution_id, reason = _id_of_record(entry, unit), _decoded(entry.get("MESSAGE", b""))
        status = _number(entry, "EXIT_STATUS")
        exited = entry.get("EXIT_CODE") == "exited"
        cpu_nsec = _number(entry, "CPU_USAGE_NSEC")
        return Event(
            kind,
            execution_id,
            unit,
            _at(entry),
            _since_boot(entry),
            entry["_BOOT_ID"],
            exit_code=status if exited else None,
            signal=None if exited else status,
            unit_result=entry.get("UNIT_RESULT"),
            cpu_usec=None if cpu_nsec is None else cpu_nsec // 1000,
            memory_peak=_number(entry, "MEMORY_PEAK"),
            reason=reason,
        )

    def _of_process(
        self, kind: EventKind, entry: dict[str, Any], unit: str, execution_id: str
    ) -> Event | None:
        """A record that anybody may have written, if it can be true."""
        if not _EXECUTION_ID.match(execution_id):
            return None
        claimed_by = None
        if self._writer(entry) == unit:
            if entry.get("_SYSTEMD_INVOCATION_ID", execution_id) != execution_id:
                return None
        elif self._writer(entry) not in _CHILDS_UNITS:
            return None
        elif self._mode is Mode.SYSTEM:
            claimed_by = _number(entry, "_UID") or None
        if kind is EventKind.LAUNCHES and claimed_by is not None:
            return None
        noted = kind is EventKind.EXIT_NOTED
        return Event(
            kind,
            execution_id,
            unit,
            _at(entry),
            _since_boot(entry),
            entry["_BOOT_ID"],
            exit_code=_noted_code(entry) if noted else _failed_step(entry),
            claimed_by=claimed_by,
            by_timer=_TRIGGERS.get(_single(entry, "LUNASCHED_TRIGGER")),
            elapsed=_earlier(entry, "LUNASCHED_ELAPSED"),
        )


def journalctl(
    mode: Mode,
    uid: int,
    units: Sequence[str],
    run: RunWindow | None,
    *options: str,
    streams: Iterable[str] = (),
) -> list[str]:
    """The ``journalctl`` command that shows the units of a job, or one run of it.

    ``streams`` are those by which came what is not under the units.
    A run is chosen by what its processes wrote and by what the manager wrote of it. Not by
    ``--unit=``, which in systemd 257 takes anybody's word for a core dump.
    """
    command = ["journalctl", *options]
    prefix = "" if mode is Mode.SYSTEM else "USER_"
    if run is not None:
        units = [run.unit]
        about, names = f"{prefix}INVOCATION_ID", [run.execution_id]
        command.append(f"--since={_timestamp(run.since - _EARLY_USEC)}")
        if run.until is not None and (run.is_followed or mode is Mode.USER):
            command.append(f"--until={_timestamp(run.until)}")
    else:
        about, names = f"{prefix}UNIT", list(units)
    choices = [
        [_unit(mode, uid, unit) for unit in units],
        [{**_manager(mode, uid), about: name} for name in names],
        [{**_about_setup(mode, uid), about: name} for name in names],
    ]
    if mode is Mode.SYSTEM:
        choices.append([{"MESSAGE_ID": _COREDUMP, "_UID": "0", "COREDUMP_UNIT": u} for u in units])
    elif run is not None:
        choices.append([_unattributed(uid, run.unit)])
    choices.append([_stream(stream) for stream in (run.streams if run else streams)])
    matches: list[str] = []
    for choice in filter(None, choices):
        matches += ["+"] if matches else []
        # Several values of one field are alternatives.
        pairs = (f"{name}={value}" for fields in choice for name, value in fields.items())
        matches += dict.fromkeys(pairs)
    return [*command, *matches]


def _timestamp(usec: int) -> str:
    """A point in time as systemd.time(7) takes it without a zone."""
    return f"@{usec // 1_000_000}.{usec % 1_000_000:06d}"


def _manager(mode: Mode, uid: int) -> dict[str, str]:
    """The trusted fields of what the service manager writes."""
    if mode is Mode.SYSTEM:
        return {"_PID": "1"}
    return {"_UID": str(uid), "_SYSTEMD_USER_UNIT": "init.scope"}


def _unit(mode: Mode, uid: int, unit: str) -> dict[str, str]:
    """The trusted fields of what the processes of a unit write."""
    if mode is Mode.SYSTEM:
        return {"_SYSTEMD_UNIT": unit}
    return {"_SYSTEMD_UNIT": f"user@{uid}.service", "_SYSTEMD_USER_UNIT": unit}


def _unattributed(uid: int, unit: str) -> dict[str, str]:
    """The fields of what a user's unit printed, where the writer had ended: all are the user's."""
    return {"SYSLOG_IDENTIFIER": _identifier(unit), "_UID": str(uid), "_TRANSPORT": "stdout"}


def _stream(stream: str) -> dict[str, str]:
    """The fields of what came by a stream."""
    return {"_STREAM_ID": stream, "_TRANSPORT": "stdout"}


def _about_setup(mode: Mode, uid: int) -> dict[str, str]:
    """The fields of what a child says of a run, as far as they are to be believed.

    Of why it executes no program; not each such record has a message ID ("Failed to execute …" has
    none). In system mode another user than root could have made it up (see the module's docstring).
    """
    return {"_TRANSPORT": "journal", "_UID": "0" if mode is Mode.SYSTEM else str(uid)}


def _add(reader: Any, fields: Fields) -> None:
    """Have a reader give the records that have all of these fields."""
    for name, value in fields.items():
        reader.add_match(f"{name}={value}")


def _has(entry: dict[str, Any], fields: Fields) -> bool:
    """Tell whether a record has all of these fields, each once."""
    return all(_single(entry, name) == value for name, value in fields.items())


def _came_by_anothers_stream(entry: dict[str, Any], run: RunWindow) -> bool:
    """Tell whether a record came by a stream of the unit that is not the run's.

    systemd opens one stream for the processes of a command, with the identifier of the unit.
    """
    return (
        run.is_stream_known
        and _is_of_command(entry, run)
        and _single(entry, "_STREAM_ID") not in run.streams
    )


def _is_of_command(entry: dict[str, Any], run: RunWindow) -> bool:
    """Tell whether a record came by a stream that systemd opened for a command of the unit."""
    return bool(_single(entry, "_STREAM_ID")) and (
        _single(entry, "SYSLOG_IDENTIFIER") == _identifier(run.unit)
    )


def _is_within(entry: dict[str, Any], run: RunWindow) -> bool:
    at: int = entry["__REALTIME_TIMESTAMP"]
    return run.since - _EARLY_USEC <= at and (run.until is None or at < run.until)


def _at(entry: dict[str, Any]) -> int:
    """Return the time at which a record was written (µs, UTC)."""
    at: int = entry.get("_SOURCE_REALTIME_TIMESTAMP") or entry["__REALTIME_TIMESTAMP"]
    return at


def _since_boot(entry: dict[str, Any]) -> int:
    """Return when a record was written (µs since boot), from when it was taken in and its delay.

    Where the clock was set in between, journald seems to have been too early, or hours behind.
    """
    taken_in: int = entry["__MONOTONIC_TIMESTAMP"]
    behind = entry["__REALTIME_TIMESTAMP"] - _at(entry)
    return taken_in - behind if 0 < behind < min(taken_in, _BEHIND_USEC) else taken_in


@contextmanager
def open_reader() -> Iterator[Any]:
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
                "__MONOTONIC_TIMESTAMP": itemgetter(0),
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
    """Return the ``SyslogIdentifier=`` of the unit: its instance, without the run's part."""
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


def _noted_code(entry: dict[str, Any]) -> int | None:
    """The exit code that ``exit-note`` was told; systemd gives it as a number."""
    code = _number(entry, "EXIT_STATUS") if entry.get("EXIT_CODE") == "exited" else None
    return code if code is not None and 0 <= code <= 255 else None


# "X was skipped because of an unmet condition check (...)" or "because no trigger condition checks
# were met" (252), "X skipped, unmet condition check ..." and the like (257). After an
# ExecCondition= there is "Condition check resulted in X being skipped."
_UNMET = pattern(r" skipped(?:,| because) .*condition check")


def _tells_of_condition(entry: dict[str, Any]) -> bool:
    """Tell whether a record about a start says that there was none, because of a ``Condition…=``.

    That has the message ID of a start, and for a unit that is loaded the invocation ID of its last
    run (seen in systemd 252 and 257): only the text tells.
    """
    text = _decoded(entry.get("MESSAGE", b""))
    return bool(_UNMET.search(text)) and not text.startswith(("Started ", "Finished "))


def _is_of_gate(entry: dict[str, Any]) -> bool:
    """Tell if the condition that did not hold is one of those by which starts wait their turn."""
    text = _decoded(entry.get("MESSAGE", b""))
    # The trigger conditions are those of the gate alone: no job has one.
    return "no trigger condition" in text or concurrency.is_of_gate(text)


def _id_of_record(entry: dict[str, Any], unit: str) -> str:
    """An ID for a run that has no invocation, because it did not come that far."""
    import hashlib  # takes 7 ms to load

    known = f"{entry['_BOOT_ID']} {unit} {_at(entry)}"
    return hashlib.sha256(known.encode()).hexdigest()[:32]


def _decoded(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _single(entry: Mapping[str, Any], field: str) -> str:
    """A field that a record has once, and as text: whoever writes it can repeat it, or use bytes.

    python-systemd gives numbers and other types for some of the trusted fields.
    """
    value = entry.get(field, "")
    return "" if isinstance(value, (list, bytes)) else str(value)


def _earlier(entry: dict[str, Any], field: str) -> int | None:
    """A point in time (µs, UTC) before the record; no other number can be one."""
    value = _number(entry, field)
    return value if value is not None and 0 < value <= _at(entry) else None


def _number(entry: dict[str, Any], field: str) -> int | None:
    value = entry.get(field)
    try:
        return int(value) if value is not None else None
    except (TypeError, ValueError):
        return None
