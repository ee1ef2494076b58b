"""The supervisor's history for root: read and changed by a child with the supervisor's rights.

The history is in a directory of the supervisor's, and whoever took the supervisor over can put
there what they like: links, pipes, locks that are never given back, tables of their own. So root
opens nothing there. It forks a child that becomes the supervisor's user for good and asks it by
the names of statements; what comes back is bounded in size, in time and in kind, and is data.

A question and its answer are frames: four bytes with the length of the JSON that follows. ::

    {"call": "execute", "query": NAME, "parameters": {…}}   ──►
                                   ◄──   {"columns": [NAME…], "rows": [[…]…], "more": true}
                                   ◄──   {"columns": [NAME…], "rows": [[…]…], "more": false}
    {"call": "begin"} … {"call": "commit"}                  ──►  ◄──  {"value": null}
                                   ◄──   {"error": TEXT, "denied": false}
"""

from __future__ import annotations

import atexit
import json
import os
import resource
import selectors
import signal
import socket
import sqlite3
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from lunasched.dataclass import dataclass
from lunasched.errors import LunaschedError, PermissionDenied, StoreError
from lunasched.paths import HISTORY_DIRECTORY, Mode
from lunasched.store.connection import HISTORY, Row, explained

if TYPE_CHECKING:
    from types import FrameType

    from lunasched.store.historydatabase import History
    from lunasched.store.inspection import Inspection
    from lunasched.store.repair import Repair
    from lunasched.store.separation import TakenJob

ANSWER_SECONDS = 30.0
"""A question that has no answer by then has none: what holds it up is no business of root's."""
_LONG_SECONDS = 600.0
_TAKEOVER_SECONDS = 3600.0
"""A database of 1.x with a million runs takes a minute."""
_LONG = ("rebuild",)
"""Statements that write a whole database anew."""

_FRAME_MAX = 64 << 20
_ANSWER_MAX = 512 << 20
_ROWS = 500
_CHILD_MEMORY = 1 << 30
"""What it may take beside what it has of us when it begins: a limit counts both."""
_CHILD_CPU_SECONDS = 900
# In the child, so that the child reports errors.
_BUSY_SECONDS = 10.0
_INTEGER = range(-(1 << 63), 1 << 63)


@dataclass(frozen=True, slots=True)
class LegacyFindings:
    """The jobs of an old database, and what is to be known of one of 1.x, in lines."""

    jobs: tuple[TakenJob, ...]
    notes: tuple[str, ...]


class RemoteRow:
    """A row that came from the child."""

    __slots__ = ("_columns", "_values")

    def __init__(self, columns: Mapping[str, int], values: Sequence[Any]) -> None:
        self._columns = columns
        self._values = values

    def __getitem__(self, key: str | int) -> Any:
        return self._values[key if isinstance(key, int) else self._columns[key]]


class RemoteHistory:
    """A history that a child reads and writes; the child is started with the first question."""

    def __init__(self, path: Path, uid: int, gid: int, *, as_it_is: bool = False) -> None:
        """``uid`` and ``gid`` are whose the history is; ``as_it_is`` changes nothing of it."""
        self.path = path
        self._as_it_is = as_it_is
        self._uid, self._gid = uid, gid
        self._child = 0
        self._socket: socket.socket | None = None

    def execute(self, query: str, **parameters: Any) -> list[Row]:
        """The rows of the query of this name; raises ``StoreError``."""
        seconds = _LONG_SECONDS if query in _LONG else ANSWER_SECONDS
        found: list[Row] = []
        asked = {"call": "execute", "query": query, "parameters": parameters}
        for answer in self._ask(asked, seconds):
            columns = {str(name): place for place, name in enumerate(answer["columns"])}
            found += (RemoteRow(columns, self._checked(row, columns)) for row in answer["rows"])
        return found

    def step_through(self, query: str) -> None:
        """Run a named script."""
        self._value({"call": "step_through", "query": query}, _LONG_SECONDS)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and alone."""
        self._value({"call": "begin"})
        try:
            yield
            self._value({"call": "commit"})
        except BaseException:
            with suppress(StoreError, PermissionDenied):
                self._value({"call": "rollback"})
            raise

    def size(self) -> int:
        """The bytes that it has on the disk."""
        found = self._value({"call": "size"})
        return found if isinstance(found, int) and found in _INTEGER else 0

    def is_recorded(self) -> bool:
        """Tell if a supervisor records into it right now, as far as it can be asked."""
        return self._value({"call": "is_recorded"}) is True

    def inspect(self) -> Inspection | None:
        """Look at the file as it is; ``None`` where there is none."""
        from lunasched.store.inspection import Inspection

        found = self._value({"call": "inspect"}, _LONG_SECONDS)
        return None if found is None else Inspection.from_mapping(found)

    def repair(self) -> Repair:
        """Make it anew from what can be read of it; the supervisor is stopped. See ``repair``."""
        from lunasched.store.repair import Repair

        found: Any = self._value({"call": "repair"}, _LONG_SECONDS)
        try:
            return Repair(str(found["kept"]), int(found["rows"]), int(found["lost"]))
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"{self.path}: it is unknown whether it was carried out") from error

    def begin_takeover(self) -> LegacyFindings:
        """Read the jobs of an old database that is in the history's place (``separation``)."""
        from lunasched.store.separation import TakenJob

        found: Any = self._value({"call": "begin_takeover"}, _TAKEOVER_SECONDS)
        try:
            jobs = tuple(TakenJob.of(*row) for row in found["jobs"])
            return LegacyFindings(jobs, tuple(map(str, found["notes"])))
        except (KeyError, TypeError, ValueError, LunaschedError) as error:
            raise StoreError(f"{self.path}: its jobs cannot be read: {error}") from error

    def end_takeover(self) -> None:
        """Drop those jobs: they are in the definitions."""
        self._value({"call": "end_takeover"}, _TAKEOVER_SECONDS)

    def close(self) -> None:
        """End the child."""
        if self._socket is None:
            return
        atexit.unregister(self.close)
        self._socket.close()
        self._socket = None
        _end(self._child)

    def start(self) -> None:
        """Start the child, before threads of others make that unwise."""
        if self._socket is not None:
            return
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            child = os.fork()
        except OSError as error:
            raise StoreError(f"{self.path}: no process could be started: {error}") from error
        if child == 0:
            _serve_for_good(
                theirs, _Server(self.path, as_it_is=self._as_it_is), self._uid, self._gid
            )
        theirs.close()
        # The child ends with us, because some callers wait for all our processes.
        atexit.register(self.close)
        mine.setblocking(False)
        self._child, self._socket = child, mine

    def _value(self, asked: Mapping[str, Any], seconds: float = ANSWER_SECONDS) -> object:
        (answer,) = self._ask(asked, seconds)
        return answer.get("value")

    def _ask(self, asked: Mapping[str, Any], seconds: float) -> list[dict[str, Any]]:
        """The frames of an answer; a child that fails to give one is ended."""
        self.start()
        deadline = time.monotonic() + seconds
        try:
            return self._answers(asked, deadline)
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            self.close()
            what = (
                f"did not answer within {seconds:.0f} s"
                if isinstance(error, TimeoutError)
                else "could not be read"
            )
            raise StoreError(
                f"{self.path}: the history {what}; see: systemctl status lunasched.service"
            ) from error

    def _answers(self, asked: Mapping[str, Any], deadline: float) -> list[dict[str, Any]]:
        assert self._socket is not None
        _send(self._socket, asked, deadline)
        found, taken = [], 0
        while True:
            answer, size = _received(self._socket, deadline)
            if not isinstance(answer, dict):
                raise ValueError("no answer")
            if "error" in answer:
                kind = PermissionDenied if answer.get("denied") is True else StoreError
                raise kind(str(answer["error"]))
            taken += size
            if taken > _ANSWER_MAX:
                raise StoreError(
                    f"{self.path}: more than {_ANSWER_MAX >> 20} MiB were asked for at once"
                )
            found.append(answer)
            if answer.get("more") is not True:
                return found

    def _checked(self, row: object, columns: Mapping[str, int]) -> list[Any]:
        """The values of a row, of the kinds that SQLite has for us."""
        if not isinstance(row, list) or len(row) != len(columns):
            raise StoreError(f"{self.path} is damaged: a row has not the columns asked for")
        for value in row:
            known = value is None or type(value) in (str, float)
            if not known and not (type(value) is int and value in _INTEGER):
                raise StoreError(f"{self.path} is damaged: a value is of no kind that it can have")
        return row


def _end(child: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitpid(child, 0)


# Frames


def _send(connection: socket.socket, content: object, deadline: float | None) -> None:
    data = json.dumps(content, separators=(",", ":")).encode()
    view = memoryview(struct.pack("!I", len(data)) + data)
    while view:
        _wait(connection, selectors.EVENT_WRITE, deadline)
        with suppress(BlockingIOError):
            view = view[connection.send(view) :]


def _received(connection: socket.socket, deadline: float | None) -> tuple[object, int]:
    """The content of the next frame, and its size; raises ``EOFError`` where there is no more."""
    (size,) = struct.unpack("!I", _read(connection, 4, deadline))
    if size > _FRAME_MAX:
        raise ValueError("a frame is too large")
    return json.loads(_read(connection, size, deadline)), size


def _read(connection: socket.socket, size: int, deadline: float | None) -> bytes:
    data = bytearray()
    while len(data) < size:
        _wait(connection, selectors.EVENT_READ, deadline)
        with suppress(BlockingIOError):
            piece = connection.recv(min(size - len(data), 1 << 20))
            if not piece:
                raise ConnectionResetError("the other side is gone")
            data += piece
    return bytes(data)


def _wait(connection: socket.socket, event: int, deadline: float | None) -> None:
    if deadline is None:
        return
    left = deadline - time.monotonic()
    with selectors.DefaultSelector() as selector:
        selector.register(connection, event)
        if left <= 0 or not selector.select(left):
            raise TimeoutError


# The child


def _serve_for_good(connection: socket.socket, server: _Server, uid: int, gid: int) -> NoReturn:
    """Be the child: drop all rights but the supervisor's, and answer until nobody asks."""
    status = 1
    try:
        _become(uid, gid)
        _keep_only(connection)
        server.serve(connection)
        status = 0
    except (KeyboardInterrupt, OSError, EOFError):
        # The parent is gone or was interrupted.
        status = 0
    finally:
        # Nothing of the parent's is flushed or closed a second time.
        os._exit(status)


def _become(uid: int, gid: int) -> None:
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        # Ctrl-C is for the parent, which ends us.
        signal.signal(number, _ignore)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    os.umask(0o077)
    os.chdir("/")
    memory, most = _address_space() + _CHILD_MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]
    if most == resource.RLIM_INFINITY or memory < most:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (_CHILD_CPU_SECONDS, _CHILD_CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _address_space() -> int:
    """The bytes of our address space (proc_pid_statm(5)), which a process has from its parent."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
    return int(pages) * resource.getpagesize()


def _ignore(number: int, frame: FrameType | None) -> None:
    """Unlike SIG_IGN, nothing that is inherited by a program."""


def _keep_only(connection: socket.socket) -> None:
    """Close what the parent had open: its definitions, its terminal, its bus."""
    number = connection.fileno()
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.closerange(3, number)
    os.closerange(number + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


class _Server:
    """The answers of the child."""

    def __init__(self, path: Path, *, as_it_is: bool) -> None:
        self._path = path
        self._as_it_is = as_it_is
        self._history: History | None = None

    def serve(self, connection: socket.socket) -> None:
        while True:
            asked, _ = _received(connection, None)
            assert isinstance(asked, dict)
            try:
                for answer in self._answers(asked):
                    _send(connection, answer, None)
            except LunaschedError as error:
                denied = isinstance(error, PermissionDenied)
                _send(connection, {"error": str(error), "denied": denied}, None)
            except sqlite3.Error as error:
                _send(connection, {"error": str(explained(error, self._path))}, None)
            except MemoryError:
                _send(connection, {"error": f"{self._path}: it takes too much memory"}, None)

    def _answers(self, asked: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        match asked["call"]:
            case "execute":
                yield from self._rows(asked["query"], asked["parameters"])
            case "step_through":
                self._opened.step_through(asked["query"])
                yield {"value": None}
            case "begin" | "commit" | "rollback" as what:
                self._opened.run("BEGIN IMMEDIATE" if what == "begin" else what.upper())
                yield {"value": None}
            case "size":
                yield {"value": self._opened.size()}
            case "is_recorded":
                from lunasched.store.historydatabase import is_recorded

                yield {"value": is_recorded(self._path)}
            case "inspect":
                from lunasched.store.inspection import inspect

                found = inspect(self._path, HISTORY)
                yield {"value": found.to_mapping() if found else None}
            case "repair":
                from lunasched.store.repair import repair

                yield {"value": repair(self._path, HISTORY).to_mapping()}
            case "begin_takeover":
                yield {"value": self._old_jobs()}
            case "end_takeover":
                from lunasched.store import separation

                separation.drop_old_jobs(self._path)
                yield {"value": None}
            case call:
                yield {"error": f"there is no call {call!r}"}

    def _rows(self, query: str, parameters: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        opened = self._opened
        try:
            cursor = opened.connection.execute(HISTORY.query(query), parameters)
            columns = [str(column[0]) for column in cursor.description or ()]
            rows = cursor.fetchmany(_ROWS)
            while True:
                following = cursor.fetchmany(_ROWS) if len(rows) == _ROWS else []
                answer = [self._sendable(row) for row in rows]
                yield {"columns": columns, "rows": answer, "more": bool(following)}
                if not following:
                    return
                rows = following
        except sqlite3.Error as error:
            raise explained(error, self._path) from error

    def _sendable(self, row: sqlite3.Row) -> list[Any]:
        values = list(row)
        if any(isinstance(value, bytes) for value in values):
            raise StoreError(f"{self._path} is damaged: there are bytes where a text should be")
        return values

    def _old_jobs(self) -> dict[str, Any]:
        from lunasched.store import separation

        with suppress(OSError):
            # An earlier start of the supervisor's may have made it in the old directory.
            self._path.with_name(HISTORY_DIRECTORY).rmdir()
        old = self._path.with_name(separation.OLD_NAME)
        taken = separation.begin((old,), self._path, Mode.SYSTEM)
        if taken is None:
            return {"jobs": [], "notes": []}
        return {
            "jobs": [
                [json.dumps(one.definition), one.created_at, one.updated_at] for one in taken.jobs
            ],
            "notes": [*(taken.report.summary() if taken.report else ()), *taken.unreadable],
        }

    @property
    def _opened(self) -> History:
        from lunasched.store.historydatabase import History

        if self._history is None:
            history = (
                History.open_as_it_is(self._path)
                if self._as_it_is
                else History.open(self._path, seconds=_BUSY_SECONDS)
            )
            history.check_shape()
            self._history = history
        return self._history
