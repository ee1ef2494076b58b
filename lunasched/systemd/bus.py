"""Calls on the bus of a service manager.

pydbus opens the connection, or Gio alone where it is not there; the calls are made on its Gio
connection (``bus.con``), because pydbus proxies cost an introspection round trip each and have no
time-out. Every call here has one, and every ``GLib.Error`` becomes an error of ours.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gi.repository import Gio, GLib

from lunasched import paths
from lunasched.dataclass import dataclass
from lunasched.errors import LunaschedError, PermissionDenied, SystemdError, SystemdUnreachable
from lunasched.paths import Mode

try:
    import pydbus
except ImportError:  # not every distribution has it
    pydbus = None

NAME = "org.freedesktop.systemd1"
OBJECT = "/org/freedesktop/systemd1"
MANAGER = "org.freedesktop.systemd1.Manager"
UNIT = "org.freedesktop.systemd1.Unit"
TIMER = "org.freedesktop.systemd1.Timer"
SERVICE = "org.freedesktop.systemd1.Service"
PROPERTIES = "org.freedesktop.DBus.Properties"
NO_SUCH_UNIT = "org.freedesktop.systemd1.NoSuchUnit"

TIMEOUT_MS = 180_000
"""How long an answer is waited for.

A manager that reads its unit files anew answers nobody: 7 to 60 s were measured at 10,000 jobs.
"""
# What dbus-daemon lets one connection have in flight (max_replies_per_connection, measured).
_IN_FLIGHT = 8
# Fewer, to leave room for synchronous calls.
_LATER_IN_FLIGHT = 4

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

Answered = Callable[[LunaschedError | None], None]
"""Called with ``None`` when a call was answered, or with its error."""


@dataclass(frozen=True, slots=True)
class Call:
    """One method call; of the manager itself by default."""

    method: str
    parameters: Any
    path: str = OBJECT
    interface: str = MANAGER
    destination: str = NAME

    def arguments(self, timeout_ms: int) -> tuple[Any, ...]:
        """Return the arguments that Gio's ``call`` and ``call_sync`` both take first."""
        return (
            self.destination,
            self.path,
            self.interface,
            self.method,
            self.parameters,
            None,
            Gio.DBusCallFlags.NONE,
            timeout_ms,
            None,
        )


class Bus:
    """One connection to one bus."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._unsent: deque[tuple[Call, Answered]] = deque()
        self._unanswered = 0

    @classmethod
    def open(cls, mode: Mode) -> Bus:
        """The system's bus or the calling user's; raises ``SystemdUnreachable``."""
        try:
            connection = _system_bus() if mode is Mode.SYSTEM else _bus_at(_user_bus_address())
        except GLib.Error as error:
            raise unreachable(mode, error.message) from error
        # Gio would end the process when the bus goes away; report an error instead.
        connection.set_exit_on_close(False)
        return cls(connection)

    def property(self, path: str, interface: str, name: str) -> Any:
        """A property of an object."""
        parameters = GLib.Variant("(ss)", (interface, name))
        return self.call(Call("Get", parameters, path=path, interface=PROPERTIES))[0]

    def call(self, call: Call) -> Any:
        """The reply to a call, waited for."""
        return self.reply(call).unpack()

    def reply(self, call: Call) -> Any:
        """The same as a ``GLib.Variant``, for who needs little of it."""
        try:
            return self.connection.call_sync(*call.arguments(TIMEOUT_MS))
        except GLib.Error as error:
            raise _translate(error, call.method) from error

    def call_all(self, calls: Sequence[Call]) -> list[Any]:
        """The replies of many calls, or their errors, a few in flight at a time."""
        outcomes: list[Any] = [None] * len(calls)
        waiting = iter(enumerate(calls))
        done = 0

        def send_next() -> None:
            for index, call in waiting:
                self.connection.call(*call.arguments(TIMEOUT_MS), received, index)
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
        iterate(lambda: done == len(calls), None)
        return outcomes

    def call_later(self, call: Call, answered: Answered) -> None:
        """Make a call from the main loop, after those that were asked for before."""
        self._unsent.append((call, answered))
        self._send()

    def _send(self) -> None:
        while self._unsent and self._unanswered < _LATER_IN_FLIGHT:
            call, answered = self._unsent.popleft()
            self._unanswered += 1
            arguments = call.arguments(TIMEOUT_MS)
            self.connection.call(*arguments, self._received, (call.method, answered))

    def _received(self, connection: Any, reply: Any, about: tuple[str, Answered]) -> None:
        method, answered = about
        self._unanswered -= 1
        error = None
        try:
            connection.call_finish(reply)
        except GLib.Error as failure:
            error = _translate(failure, method)
        answered(error)
        self._send()

    def on_signal(
        self, sender: str | None, interface: str, name: str, path: str | None,
        received: Callable[[str, Any], None], *, argument: str | None = None,
    ) -> int:  # fmt: skip
        """Call ``received`` with the object path and the parameters of each such signal."""
        number: int = self.connection.signal_subscribe(
            sender,
            interface,
            name,
            path,
            argument,
            Gio.DBusSignalFlags.NONE,
            lambda *given: received(given[2], given[5]),
        )
        return number

    @contextmanager
    def job_results(self) -> Iterator[dict[str, str]]:
        """The results of jobs of the manager, by their path, as they are done."""
        results: dict[str, str] = {}
        subscription = self.on_signal(
            NAME, MANAGER, "JobRemoved", OBJECT, lambda _, job: results.update({job[1]: job[3]})
        )
        try:
            yield results
        finally:
            self.connection.signal_unsubscribe(subscription)


def iterate(finished: Callable[[], bool], timeout_s: float | None) -> None:
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


def unreachable(mode: Mode, reason: str) -> SystemdUnreachable:
    """The error for a bus that is not there, or has no service manager."""
    if mode is Mode.SYSTEM:
        return SystemdUnreachable(
            f"systemd does not answer on the system bus ({reason}); is this a systemd machine?"
        )
    runtime = paths.runtime_directory(os.environ)
    if paths.lacks_bus(runtime):
        return SystemdUnreachable(
            f"your own systemd manager runs and has no D-Bus (nothing listens at "
            f"{runtime / 'bus'}); on Debian the package dbus-user-session brings it, for sessions "
            "that begin after its installation. For the system's jobs, run as root"
        )
    name = paths.user_name()
    if name.isdecimal():
        return SystemdUnreachable(
            f"the user {name} has no name on this machine (passwd(5)), and systemd runs managers "
            "for users with one; run as such a user, or for the system's jobs as root"
        )
    return SystemdUnreachable(
        f"your own systemd manager does not answer ({reason}); it runs while you are logged in, "
        f"and always after: loginctl enable-linger {name}. "
        "For the system's jobs, run as root"
    )


def _system_bus() -> Any:
    if pydbus is None:
        return Gio.bus_get_sync(Gio.BusType.SYSTEM, None)
    return pydbus.SystemBus().con


def _bus_at(address: str) -> Any:
    if pydbus is None:
        flags = Gio.DBusConnectionFlags
        return Gio.DBusConnection.new_for_address_sync(
            address, flags.AUTHENTICATION_CLIENT | flags.MESSAGE_BUS_CONNECTION, None, None
        )
    return pydbus.connect(address).con


def _user_bus_address() -> str:
    """The bus of the user's manager, found as systemctl(1) does even without a session.

    After su(1), the variables are those of the user who called it; the bus of another one is of no
    use.
    """
    address = os.environ.get("DBUS_SESSION_BUS_ADDRESS", "")
    runtime = paths.runtime_directory(os.environ)
    path = address.removeprefix("unix:path=").partition(",")[0]
    if address and (not address.startswith("unix:path=") or paths.is_own(Path(path))):
        return address
    return f"unix:path={runtime / 'bus'}"


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
