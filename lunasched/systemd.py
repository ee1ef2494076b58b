"""The service manager over D-Bus; the only importer of pydbus and gi.

pydbus opens the connection; the calls are made on its Gio connection (``bus.con``), because
pydbus proxies cost an introspection round trip each and have no time-out. Every call here has one,
and every ``GLib.Error`` becomes an error of ours.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pydbus
from gi.repository import Gio, GLib

from lunasched.config import Mode
from lunasched.errors import LunaschedError, PermissionDenied, SystemdError, SystemdUnreachable
from lunasched.unittext import bus_label

_BUS_NAME = "org.freedesktop.systemd1"
_OBJECT = "/org/freedesktop/systemd1"
_MANAGER = "org.freedesktop.systemd1.Manager"
_UNIT = "org.freedesktop.systemd1.Unit"
_TIMER = "org.freedesktop.systemd1.Timer"
_SERVICE = "org.freedesktop.systemd1.Service"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_NUDGE_PATH, _NUDGE_INTERFACE, _NUDGE = "/org/lunasched", "org.lunasched.Supervisor", "Look"

_TIMEOUT_MS = 25_000
# A reload reads every unit file: 7 to 60 s were measured at 10,000 jobs.
_RELOAD_TIMEOUT_MS = 180_000
_JOB_TIMEOUT_S = 90
# What is not started by then waits for another unit.
_ORDERING_S = 0.5
# States of a service before its main process.
_NOT_BEGUN = {"dead", "failed", "condition", "start-pre", "auto-restart"}
# From a timer's elapse to the start of its service; a machine under load takes its time.
_ELAPSE_TO_START_USEC = 1_000_000
# What dbus-daemon lets one connection have in flight (max_replies_per_connection, measured).
_IN_FLIGHT = 8
# Fewer, so that there is room for calls that are waited for.
_STARTS_IN_FLIGHT = 4
_BUSY_STATES = ["active", "activating", "deactivating", "reloading"]
# systemd follows the client of every job by a match rule of its own, and dbus-daemon cuts off a
# connection that wants more than 512 of them: seen with 2,000 timers that were started in a row.
_JOBS_AT_ONCE = 100

_DENIED = {
    "org.freedesktop.DBus.Error.AccessDenied",
    "org.freedesktop.DBus.Error.AuthFailed",
    "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
}
_UNREACHABLE = {
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.NameHasNoOwner",
    "org.freedesktop.DBus.Error.NoReply",
    "org.freedesktop.DBus.Error.Disconnected",
    "org.freedesktop.DBus.Error.Timeout",
    "org.freedesktop.DBus.Error.TimedOut",
    "org.freedesktop.DBus.Error.NoServer",
}
_NO_SUCH_UNIT = "org.freedesktop.systemd1.NoSuchUnit"


@dataclass(frozen=True, slots=True)
class UnitState:
    """A loaded unit as the manager lists it."""

    load: str
    active: str
    sub: str
    has_job: bool
    """Whether it is waiting to be started or stopped."""

    @property
    def is_active(self) -> bool:
        """Whether it is started, or on its way there or back."""
        return self.active in ("active", "activating", "deactivating", "reloading")


@dataclass(frozen=True, slots=True)
class Invocation:
    """A run as the manager knows it right now."""

    execution_id: str
    active: str
    result: str
    exit_code: int | None
    signal: int | None
    ended_at: int | None
    """When the unit last became inactive (µs, UTC)."""

    @property
    def ended(self) -> bool:
        """Whether the run is over."""
        return self.active in ("inactive", "failed")


class Manager:
    """One service manager: PID 1, or the calling user's own."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._unsent: deque[tuple[str, Callable[[LunaschedError | None], None]]] = deque()
        self._unanswered = 0
        self._subscribed = False

    @classmethod
    def connect(cls, mode: Mode) -> Manager:
        """Connect to the manager of ``mode``; raises ``SystemdUnreachable`` with what to do."""
        try:
            if mode is Mode.SYSTEM:
                connection = pydbus.SystemBus().con
            else:
                connection = pydbus.connect(_user_bus_address()).con
        except GLib.Error as error:
            raise SystemdUnreachable(_unreachable(mode, error.message)) from error
        # Gio would end the process when the bus goes away; we want to say so instead.
        connection.set_exit_on_close(False)
        manager = cls(connection)
        try:
            manager.version()
        except SystemdError as error:
            raise SystemdUnreachable(_unreachable(mode, str(error))) from error
        return manager

    def version(self) -> str:
        """The manager's version, as it gives it itself."""
        return str(self._property(_OBJECT, _MANAGER, "Version"))

    # Units in bulk

    def start(self, units: Iterable[str]) -> dict[str, LunaschedError]:
        """Start units and wait until their start jobs are done; what failed, by unit."""
        return self._run_jobs("StartUnit", units)

    def stop(self, units: Iterable[str]) -> dict[str, LunaschedError]:
        """Stop units and wait until they are; a unit that is not loaded is no failure."""
        failures = self._run_jobs("StopUnit", units)
        return {
            unit: error
            for unit, error in failures.items()
            if not (isinstance(error, SystemdError) and error.name == _NO_SUCH_UNIT)
        }

    def restart(self, units: Iterable[str]) -> dict[str, LunaschedError]:
        """Restart units, or start those that are not, and wait; what failed, by unit."""
        return self._run_jobs("RestartUnit", units)

    def active_since(self, unit: str) -> int:
        """When a unit became active (µs, UTC); 0 if it is not."""
        path = unit_path(unit)
        if self._property(path, _UNIT, "ActiveState") != "active":
            return 0
        since: int = self._property(path, _UNIT, "ActiveEnterTimestamp")
        return since

    def reset_failed(self, units: Iterable[str]) -> None:
        """Forget that units failed, so that they can be unloaded; others are left alone."""
        calls = [_Call("ResetFailedUnit", GLib.Variant("(s)", (unit,))) for unit in units]
        for outcome in self._call_all(calls):
            if isinstance(outcome, SystemdError) and outcome.name == _NO_SUCH_UNIT:
                continue
            if isinstance(outcome, LunaschedError):
                raise outcome

    def need_reload(self, units: Iterable[str]) -> bool:
        """Whether the manager holds any of ``units`` in a version older than its file."""
        calls = [
            _Call(
                "Get",
                GLib.Variant("(ss)", (_UNIT, "NeedDaemonReload")),
                path=unit_path(unit),
                interface=_PROPERTIES,
            )
            for unit in units
        ]
        for outcome in self._call_all(calls):
            if isinstance(outcome, LunaschedError):
                raise outcome
            if outcome[0]:
                return True
        return False

    def reload(self) -> None:
        """Have the manager read all unit files again (``daemon-reload``). Slow with many units."""
        self._call(_Call("Reload", None), timeout_ms=_RELOAD_TIMEOUT_MS)

    def states(self, pattern: str) -> dict[str, UnitState]:
        """The loaded units whose names match a glob pattern."""
        parameters = GLib.Variant("(asas)", ([], [pattern]))
        (listed,) = self._call(_Call("ListUnitsByPatterns", parameters))
        return {
            entry[0]: UnitState(entry[2], entry[3], entry[4], has_job=bool(entry[7]))
            for entry in listed
        }

    def state(self, unit: str) -> UnitState | None:
        """The state of a unit, if it is loaded."""
        return self.states(unit.replace("\\", "\\\\")).get(unit)

    def busy(self, pattern: str) -> set[str]:
        """The units matching a glob pattern that are started, or on their way there or back."""
        parameters = GLib.Variant("(asas)", (_BUSY_STATES, [pattern]))
        (listed,) = self._call(_Call("ListUnitsByPatterns", parameters))
        return {entry[0] for entry in listed}

    def start_later(self, unit: str, answered: Callable[[LunaschedError | None], None]) -> None:
        """Ask for the start of a unit; ``answered`` is called when systemd has taken it on, or not.

        Calls are sent in the order in which they were asked for.
        """
        self._unsent.append((unit, answered))
        self._send_starts()

    def _send_starts(self) -> None:
        while self._unsent and self._unanswered < _STARTS_IN_FLIGHT:
            unit, answered = self._unsent.popleft()
            self._unanswered += 1
            call = _Call("StartUnit", GLib.Variant("(ss)", (unit, "replace")))
            self._connection.call(*call.arguments(_TIMEOUT_MS), self._start_answered, answered)

    def _start_answered(
        self, connection: Any, reply: Any, answered: Callable[[LunaschedError | None], None]
    ) -> None:
        self._unanswered -= 1
        error = None
        try:
            connection.call_finish(reply)
        except GLib.Error as failure:
            error = _translate(failure, "StartUnit")
        answered(error)
        self._send_starts()

    # One run

    def hold(self, unit: str) -> None:
        """Load a unit and keep it loaded as long as we are connected, whatever becomes of it."""
        self._call(_Call("LoadUnit", GLib.Variant("(s)", (unit,))))
        self._call(_Call("Ref", None, path=unit_path(unit), interface=_UNIT))

    def invocation(self, unit: str) -> Invocation:
        """The latest run of a service unit; one that is not loaded has an empty execution ID."""
        path = unit_path(unit)
        # First whether it is over: what is read after that does not change any more.
        active = self._property(path, _UNIT, "ActiveState")
        raw = self._property(path, _UNIT, "InvocationID")
        code = self._property(path, _SERVICE, "ExecMainCode")
        status = self._property(path, _SERVICE, "ExecMainStatus")
        return Invocation(
            execution_id=bytes(raw).hex(),
            active=active,
            result=self._property(path, _SERVICE, "Result"),
            exit_code=status if code == os.CLD_EXITED else None,
            signal=status if code in (os.CLD_KILLED, os.CLD_DUMPED) else None,
            ended_at=self._property(path, _UNIT, "InactiveEnterTimestamp") or None,
        )

    def begin(self, unit: str, *, patient: bool) -> Invocation | None:
        """Start a held service that is not running, and return its run as soon as there is one.

        ``None`` where there is none yet, because a condition of the unit refused it, or because it
        waits for units that it is ordered after: for these, wait only if ``patient``.
        """
        self.subscribe(lambda _: None)
        before = self._execution_id(unit)
        with self._job_results() as results:
            parameters = GLib.Variant("(ss)", (unit, "replace"))
            (job,) = self._call(_Call("StartUnit", parameters))
            # The start job of a oneshot service is done when the service is.
            oneshot = self._property(unit_path(unit), _SERVICE, "Type") == "oneshot"

            def begun() -> bool:
                if job in results:
                    return True
                state = self._property(unit_path(unit), _UNIT, "SubState")
                return oneshot and state not in _NOT_BEGUN

            _iterate(begun, _ORDERING_S)
            if patient or self._execution_id(unit) != before:
                _iterate(begun, None if patient else _JOB_TIMEOUT_S)
        invocation = self.invocation(unit)
        if invocation.execution_id != before:
            return invocation
        if results.get(job, "done") != "done":
            raise _job_failure("StartUnit", unit, results[job])
        return None

    def wait_begun(self, unit: str, before: str, seconds: float | None) -> bool:
        """Wait until a held unit has another run than ``before``; ``False`` if not in time."""
        self.subscribe(lambda _: None)
        _iterate(lambda: self._execution_id(unit) != before, seconds)
        return self._execution_id(unit) != before

    def _execution_id(self, unit: str) -> str:
        return bytes(self._property(unit_path(unit), _UNIT, "InvocationID")).hex()

    def started_by_timer(self, service: str, timer: str) -> bool:
        """Whether the service's current start comes from an elapse of the timer.

        The environment does not tell: ``TRIGGER_UNIT`` and its kin stay as the first elapse set
        them as long as the service is loaded (seen in systemd 252 and 257).
        """
        elapsed: int = self._property(unit_path(timer), _TIMER, "LastTriggerUSecMonotonic")
        started: int = self._property(unit_path(service), _UNIT, "InactiveExitTimestampMonotonic")
        return bool(elapsed) and abs(started - elapsed) < _ELAPSE_TO_START_USEC

    def main_signal(self, unit: str, execution_id: str) -> int | None:
        """The signal that ended the main process of a run, if the unit still holds that run."""
        path = unit_path(unit)
        status: int = self._property(path, _SERVICE, "ExecMainStatus")
        if not status or self._property(path, _SERVICE, "ExecMainCode") == os.CLD_EXITED:
            return None
        held = bytes(self._property(path, _UNIT, "InvocationID")).hex()
        return status if held == execution_id else None

    def wait_ended(self, unit: str, tick: Callable[[], None], tick_seconds: float) -> Invocation:
        """Wait until a held service unit is over, calling ``tick`` now and then."""
        self.subscribe(lambda _: None)
        timer = GLib.timeout_add(max(1, int(tick_seconds * 1000)), lambda: True)
        try:
            while not (invocation := self.invocation(unit)).ended:
                tick()
                GLib.MainContext.default().iteration(True)
            return invocation
        finally:
            GLib.source_remove(timer)

    # Signals

    def subscribe(self, changed: Callable[[str], None]) -> None:
        """Call ``changed`` with the object path of every unit whose state changes."""
        if not self._subscribed:
            self._call(_Call("Subscribe", None))
            self._subscribed = True
        self._connection.signal_subscribe(
            _BUS_NAME,
            _PROPERTIES,
            "PropertiesChanged",
            None,
            _UNIT,
            Gio.DBusSignalFlags.NONE,
            lambda _connection, _sender, path, *_: changed(path),
        )

    def nudge(self) -> None:
        """Tell the supervisor on this bus that there is something for it in the database."""
        with suppress(GLib.Error):
            self._connection.emit_signal(None, _NUDGE_PATH, _NUDGE_INTERFACE, _NUDGE, None)
            self._connection.flush_sync()

    def on_nudge(self, nudged: Callable[[], None]) -> None:
        """Call ``nudged`` when somebody says so. Anybody can: it is a reason to look, no more."""
        self._connection.signal_subscribe(
            None,
            _NUDGE_INTERFACE,
            _NUDGE,
            _NUDGE_PATH,
            None,
            Gio.DBusSignalFlags.NONE,
            lambda *_: nudged(),
        )

    def on_closed(self, closed: Callable[[], None]) -> None:
        """Call ``closed`` when the connection to the bus is lost."""
        self._connection.connect("closed", lambda *_: closed())

    # Calls

    def _run_jobs(self, method: str, units: Iterable[str]) -> dict[str, LunaschedError]:
        """Queue a job for each unit and wait until all are done; what failed, by unit."""
        failures: dict[str, LunaschedError] = {}
        remaining = iter(units)
        while names := list(islice(remaining, _JOBS_AT_ONCE)):
            failures.update(self._run_some_jobs(method, names))
        return failures

    def _run_some_jobs(self, method: str, names: Sequence[str]) -> dict[str, LunaschedError]:
        with self._job_results() as results:
            calls = [_Call(method, GLib.Variant("(ss)", (name, "replace"))) for name in names]
            outcomes = self._call_all(calls)
            paths = {
                name: outcome[0]
                for name, outcome in zip(names, outcomes, strict=True)
                if not isinstance(outcome, LunaschedError)
            }
            _iterate(lambda: results.keys() >= set(paths.values()), _JOB_TIMEOUT_S)
        failures: dict[str, LunaschedError] = {
            name: outcome
            for name, outcome in zip(names, outcomes, strict=True)
            if isinstance(outcome, LunaschedError)
        }
        for name, path in paths.items():
            result = results.get(path, "timeout")
            if result != "done":
                failures[name] = _job_failure(method, name, result)
        return failures

    @contextmanager
    def _job_results(self) -> Iterator[dict[str, str]]:
        """The results of jobs of the manager, by their path, as they are done."""
        results: dict[str, str] = {}
        subscription = self._connection.signal_subscribe(
            _BUS_NAME,
            _MANAGER,
            "JobRemoved",
            _OBJECT,
            None,
            Gio.DBusSignalFlags.NONE,
            lambda *arguments: results.update({arguments[5][1]: arguments[5][3]}),
        )
        try:
            yield results
        finally:
            self._connection.signal_unsubscribe(subscription)

    def _property(self, path: str, interface: str, name: str) -> Any:
        parameters = GLib.Variant("(ss)", (interface, name))
        return self._call(_Call("Get", parameters, path=path, interface=_PROPERTIES))[0]

    def _call(self, call: _Call, timeout_ms: int = _TIMEOUT_MS) -> Any:
        try:
            reply = self._connection.call_sync(*call.arguments(timeout_ms))
        except GLib.Error as error:
            raise _translate(error, call.method) from error
        return reply.unpack()

    def _call_all(self, calls: Sequence[_Call]) -> list[Any]:
        """The replies of many calls, or their errors, a few in flight at a time."""
        outcomes: list[Any] = [None] * len(calls)
        waiting = iter(enumerate(calls))
        done = 0

        def send_next() -> None:
            for index, call in waiting:
                self._connection.call(*call.arguments(_TIMEOUT_MS), received, index)
                return

        def received(connection: Any, reply: Any, index: int) -> None:
            nonlocal done
            try:
                outcomes[index] = connection.call_finish(reply).unpack()
            except GLib.Error as error:
                outcomes[index] = _translate(error, calls[index].method)
            done += 1
            send_next()

        for _ in range(_IN_FLIGHT):
            send_next()
        _iterate(lambda: done == len(calls), None)
        return outcomes


@dataclass(frozen=True, slots=True)
class _Call:
    method: str
    parameters: Any
    path: str = _OBJECT
    interface: str = _MANAGER

    def arguments(self, timeout_ms: int) -> tuple[Any, ...]:
        """What Gio's ``call`` and ``call_sync`` both take first."""
        return (
            _BUS_NAME,
            self.path,
            self.interface,
            self.method,
            self.parameters,
            None,
            Gio.DBusCallFlags.NONE,
            timeout_ms,
            None,
        )


def unit_path(unit: str) -> str:
    """The object path of a unit (sd_bus_path_encode(3))."""
    return f"{_OBJECT}/unit/{bus_label(unit)}"


def notify(state: str) -> None:
    """Tell the service manager about ourselves (sd_notify(3)); nothing where it did not ask."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)


def _job_failure(method: str, unit: str, result: str) -> SystemdError:
    return SystemdError(
        f"systemd could not carry out {method} of {unit} ({result}); see: systemctl status {unit!r}"
    )


def _iterate(finished: Callable[[], bool], timeout_s: float | None) -> None:
    """Run the main context until ``finished`` or the time is over."""
    expired = False

    def expire() -> bool:
        nonlocal expired
        expired = True
        return True

    source = GLib.timeout_add(int(timeout_s * 1000), expire) if timeout_s else None
    try:
        while not finished() and not expired:
            GLib.MainContext.default().iteration(True)
    finally:
        if source is not None:
            GLib.source_remove(source)


def _user_bus_address() -> str:
    """The bus of the user's manager, found as systemctl(1) does even without a session."""
    address = os.environ.get("DBUS_SESSION_BUS_ADDRESS")
    if address:
        return address
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    return f"unix:path={Path(runtime) / 'bus'}"


def _unreachable(mode: Mode, reason: str) -> str:
    if mode is Mode.SYSTEM:
        return f"systemd does not answer on the system bus ({reason}); is this a systemd machine?"
    return (
        f"your own systemd manager does not answer ({reason}); log in, or let root run "
        "'loginctl enable-linger' for you, or use --system as root"
    )


def _translate(error: Any, method: str) -> LunaschedError:
    name = Gio.DBusError.get_remote_error(error) or ""
    message = error.message.removeprefix(f"GDBus.Error:{name}: ").strip()
    if name in _DENIED:
        return PermissionDenied(
            f"systemd does not let this user do that ({method}: {message}); "
            "run as root, or use --user for your own jobs"
        )
    if name in _UNREACHABLE or not name:
        return SystemdUnreachable(f"systemd did not answer ({method}: {message}); try again")
    return SystemdError(f"systemd refused {method}: {message}", name=name)
