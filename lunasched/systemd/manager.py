"""The service manager: units in bulk, one run, signals."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice

from gi.repository import GLib

from lunasched.dataclass import dataclass
from lunasched.errors import LunaschedError, SystemdError, SystemdUnreachable
from lunasched.formats.unittext import JOB_PREFIX, bus_label, unit_of_label
from lunasched.paths import Mode
from lunasched.systemd.bus import (
    MANAGER,
    NAME,
    NO_SUCH_UNIT,
    OBJECT,
    PROPERTIES,
    SERVICE,
    TIMER,
    UNIT,
    Answered,
    Bus,
    Call,
    iterate,
    unreachable,
)
from lunasched.systemd.questions import Property, Questions, Told
from lunasched.systemd.startsocket import StartSocket

_NUDGE_PATH, _NUDGE_INTERFACE, _NUDGE = "/org/lunasched", "org.lunasched.Supervisor", "Look"

_LOGIND, _LOGIND_OBJECT = "org.freedesktop.login1", "/org/freedesktop/login1"
_LOGIND_MANAGER, _LOGIND_SESSION = f"{_LOGIND}.Manager", f"{_LOGIND}.Session"
_PAM_SERVICES = frozenset(("su", "su-l", "runuser", "runuser-l", "sudo", "sudo-i", "doas"))

_JOB_TIMEOUT_S = 90
_TICK_MS = 100
# A start that takes longer waits for another unit.
_ORDERING_S = 0.5
# States of a service before its main process.
_NOT_BEGUN = {"dead", "failed", "condition", "start-pre", "auto-restart"}
_NEVER = (1 << 64) - 1
_BUSY_STATES = ["active", "activating", "deactivating", "reloading"]
# systemd follows the client of every job by a match rule of its own, and dbus-daemon cuts off a
# connection that wants more than 512 of them: seen with 2,000 timers that were started in a row.
_JOBS_AT_ONCE = 100
_ASKED_ONE_BY_ONE = 50
_UNKNOWN = "no-such-unit-of-lunasched.target"


@dataclass(frozen=True, slots=True)
class UnitState:
    """A loaded unit as the manager lists it."""

    load: str
    active: str
    sub: str
    has_job: bool
    """True if it is waiting to be started or stopped."""

    @property
    def is_active(self) -> bool:
        """True if it is started, or on its way there or back."""
        return self.active in ("active", "activating", "deactivating", "reloading")


@dataclass(frozen=True, slots=True)
class Invocation:
    """A run as the manager knows it right now."""

    execution_id: str
    active: str
    result: str
    exit_code: int | None
    signal: int | None
    began_at: int | None
    """The last time at which the unit ceased to be inactive (µs, UTC)."""
    ended_at: int | None
    """The last time at which the unit became inactive (µs, UTC)."""
    began_since_boot: int = 0
    """The same on the monotonic clock (µs); 0 if the unit never ceased to be inactive."""
    ended_since_boot: int = 0

    @property
    def ended(self) -> bool:
        """True if the run is over."""
        return self.active in ("inactive", "failed")


@dataclass(frozen=True, slots=True)
class UnitTimes:
    """The last times at which a unit left the inactive state and returned (µs, UTC); 0 for
    never."""

    began_at: int
    ended_at: int


@dataclass(frozen=True, slots=True)
class UnitFacts:
    """The origin of a unit, and the other units that want it."""

    name: str
    names: tuple[str, ...]
    """Its aliases are among them."""
    load: str
    """``loaded``, ``not-found``, ``masked`` and so on."""
    active: str
    fragment: str
    drop_ins: tuple[str, ...]
    transient: bool
    stale: bool
    """True if its files are not what the manager has read."""
    used_by: tuple[str, ...]
    """The units that start, stop or follow it."""


@dataclass(frozen=True, slots=True)
class UnitProcess:
    """A process in the cgroup of a unit."""

    pid: int
    command: str


@dataclass(frozen=True, slots=True)
class UserSession:
    """A session that ``su`` or the like has opened, as logind has it."""

    scope: str
    leader: int
    """The process that has opened it."""


@dataclass(frozen=True, slots=True)
class TimerFacts:
    """The past (µs since the epoch) and the next elapse of a timer (µs of the monotonic clock)."""

    since: int
    last_trigger: int
    next_monotonic: int


@dataclass(frozen=True, slots=True)
class Elapse:
    """The last elapse of a timer since boot; ``at`` and ``since_boot`` are 0 if there was none."""

    at: int
    """By the clock (µs, UTC)."""
    since_boot: int
    """On the monotonic clock (µs)."""
    active_since_boot: int = 0
    """The start of the timer (µs since boot), if that was asked for."""


_USED_BY = (
    "RequiredBy", "RequisiteOf", "WantedBy", "BoundBy", "UpheldBy", "ConsistsOf", "TriggeredBy",
    "OnSuccessOf", "OnFailureOf", "StopPropagatedFrom", "ReloadPropagatedFrom",
)  # fmt: skip


class Manager:
    """One service manager: PID 1, or the calling user's own."""

    def __init__(self, bus: Bus, starts: StartSocket | None = None) -> None:
        self._bus = bus
        self._starts = starts
        self._subscribed = False
        self._questions: Questions | None = None

    @classmethod
    def connect(cls, mode: Mode, *, starts: StartSocket | None = None) -> Manager:
        """Connect to the manager of ``mode``; raises ``SystemdUnreachable`` with what to do.

        With ``starts``, the methods ``start_later``, ``restart_later``, ``start_soon`` and
        ``start_and_wait`` go through it, for a user who may not start anything.
        """
        manager = cls(Bus.open(mode), starts)
        try:
            manager.version()
        except SystemdError as error:
            raise unreachable(mode, str(error)) from error
        return manager

    def version(self) -> str:
        """The manager's version, as it gives it itself."""
        return str(self._bus.property(OBJECT, MANAGER, "Version"))

    def search_path(self) -> list[str]:
        """The directories that units are read from."""
        found: list[str] = self._bus.property(OBJECT, MANAGER, "UnitPath")
        return found

    def path(self) -> tuple[str, ...]:
        """``PATH`` of units that set none: directories."""
        environment: list[str] = self._bus.property(OBJECT, MANAGER, "Environment")
        pairs = dict(each.partition("=")[::2] for each in environment)
        return tuple(each for each in pairs.get("PATH", "").split(":") if each)

    def facts(self, unit: str) -> UnitFacts:
        """Return the manager's facts about a unit, which it loads if it has to."""
        self._look()
        (path,) = self._bus.call(Call("LoadUnit", GLib.Variant("(s)", (unit,))))
        parameters = GLib.Variant("(s)", (UNIT,))
        (found,) = self._bus.call(Call("GetAll", parameters, path=path, interface=PROPERTIES))
        return UnitFacts(
            name=found["Id"],
            names=tuple(found["Names"]),
            load=found["LoadState"],
            active=found["ActiveState"],
            fragment=found["FragmentPath"],
            drop_ins=tuple(found["DropInPaths"]),
            transient=found["Transient"],
            stale=found["NeedDaemonReload"],
            used_by=tuple(other for name in _USED_BY for other in found.get(name, ())),
        )

    def timer(self, timer: str) -> TimerFacts:
        """Return the past and the next elapse of a timer that is held; 0 for what is unknown."""
        path = unit_path(timer)
        return TimerFacts(
            since=self.active_since(timer),
            last_trigger=self._bus.property(path, TIMER, "LastTriggerUSec"),
            next_monotonic=self.next_monotonic(timer),
        )

    def last_elapse(self, timer: str) -> Elapse | None:
        """The last elapse of a timer that is active; ``None`` for one that is not.

        That of an earlier boot, which the stamp of ``Persistent=`` says, is none.
        """
        if not self.active_since(timer):
            return None
        path = unit_path(timer)
        active = self._bus.property(path, UNIT, "ActiveEnterTimestampMonotonic")
        parameters = GLib.Variant("(s)", (TIMER,))
        call = Call("GetAll", parameters, path=path, interface=PROPERTIES)
        (found,) = self._bus.call(call)
        return replace(_elapse(lambda name: found.get(name, 0)), active_since_boot=active)

    def next_monotonic(self, timer: str) -> int:
        """Return the next elapse of a timer with an interval (µs since boot); 0 if it has none."""
        following: int = self._bus.property(unit_path(timer), TIMER, "NextElapseUSecMonotonic")
        return 0 if following == _NEVER else following

    def processes(self, unit: str) -> list[UnitProcess]:
        """The processes in a unit, also in one that has ended and left some behind."""
        try:
            (found,) = self._bus.call(Call("GetUnitProcesses", GLib.Variant("(s)", (unit,))))
        except SystemdError:
            # It is not loaded.
            return []
        return [UnitProcess(pid, command) for _, pid, command in found]

    def sessions(self, users: Container[int], since: int, until: int) -> list[UserSession]:
        """The sessions of users that ``su`` and the like opened in a time (µs, UTC), and are there.

        None where there is no logind: a user's bus has none.
        """
        try:
            call = Call("ListSessions", None, _LOGIND_OBJECT, _LOGIND_MANAGER, _LOGIND)
            (listed,) = self._bus.call(call)
            ours = [path for _, user, _, _, path in listed if user in users]
            properties = GLib.Variant("(s)", (_LOGIND_SESSION,))
            facts = self._bus.call_all(
                [Call("GetAll", properties, path, PROPERTIES, _LOGIND) for path in ours]
            )
        except LunaschedError:
            return []
        # A unit that is gone by now yields an error in its place.
        known = [one[0] for one in facts if not isinstance(one, LunaschedError)]
        return [
            UserSession(one["Scope"], one["Leader"])
            for one in known
            if one["Service"] in _PAM_SERVICES and since <= one["Timestamp"] <= until
        ]

    # Units in bulk

    def start(self, units: Iterable[str]) -> dict[str, LunaschedError]:
        """Start units and wait until their start jobs are done; what failed, by unit."""
        return self._run_jobs("StartUnit", units)

    def stop(self, units: Iterable[str]) -> dict[str, LunaschedError]:
        """Stop units and wait until they are; a unit that is not loaded is no failure."""
        failures = self._run_jobs("StopUnit", self._loaded(units))
        return {
            unit: error
            for unit, error in failures.items()
            if not (isinstance(error, SystemdError) and error.name == NO_SUCH_UNIT)
        }

    def restart(self, units: Iterable[str]) -> dict[str, LunaschedError]:
        """Restart units, or start those that are not, and wait; what failed, by unit."""
        return self._run_jobs("RestartUnit", units)

    def active_since(self, unit: str) -> int:
        """Return when a unit became active (µs, UTC); 0 if it is not."""
        path = unit_path(unit)
        if self._bus.property(path, UNIT, "ActiveState") != "active":
            return 0
        since: int = self._bus.property(path, UNIT, "ActiveEnterTimestamp")
        return since

    def reset_failed(self, units: Iterable[str]) -> None:
        """Forget that units failed, so that they can be unloaded; others are left alone."""
        calls = [
            Call("ResetFailedUnit", GLib.Variant("(s)", (unit,))) for unit in self._loaded(units)
        ]
        for outcome in self._bus.call_all(calls):
            if isinstance(outcome, SystemdError) and outcome.name == NO_SUCH_UNIT:
                continue
            if isinstance(outcome, LunaschedError):
                raise outcome

    def ask_later(self, units: Iterable[str], wanted: Sequence[Property], told: Told) -> None:
        """Ask about each of many units from the main loop, beside all else; needs ``subscribe``.

        ``told`` is called with the name of a unit and the values of what was ``wanted``.
        """
        if self._questions is None:
            self._questions = Questions(self._bus)
        self._questions.ask(units, wanted, told)

    @property
    def is_reloading(self) -> bool:
        """Tell if the manager reads its unit files, as far as it has said so."""
        return self._questions is not None and self._questions.is_waiting

    def need_reload(self, units: Iterable[str]) -> bool:
        """Tell whether the manager holds any of ``units`` in a version older than its file."""
        return bool(self.stale(units))

    def stale(self, units: Iterable[str]) -> list[str]:
        """The units that the manager holds in a version older than their files."""
        # Asking about a unit loads it; what is not loaded cannot be old.
        loaded = self._loaded(units)
        self._look()
        calls = [
            Call(
                "Get",
                GLib.Variant("(ss)", (UNIT, "NeedDaemonReload")),
                path=unit_path(unit),
                interface=PROPERTIES,
            )
            for unit in loaded
        ]
        found = []
        for unit, outcome in zip(loaded, self._bus.call_all(calls), strict=True):
            if isinstance(outcome, LunaschedError):
                raise outcome
            if outcome[0]:
                found.append(unit)
        return found

    def _look(self) -> None:
        """Have the manager look at its unit directories.

        It answers ``NeedDaemonReload`` from the names that it found there when it last loaded a
        unit from a file: without a look, "no" for a new directory of drop-ins. It looks for a unit
        that it does not know. (systemd 252: ``unit_file_build_name_map``.)
        """
        self._bus.call(Call("LoadUnit", GLib.Variant("(s)", (_UNKNOWN,))))

    def _loaded(self, units: Iterable[str]) -> list[str]:
        """Of many units those that are loaded, by one call; few are not worth it."""
        units = list(units)
        if len(units) <= _ASKED_ONE_BY_ONE:
            return units
        loaded = self.states("*")
        return [unit for unit in units if unit in loaded]

    def reload(self) -> None:
        """Have the manager read all unit files again (``daemon-reload``). Slow with many units."""
        self._bus.call(Call("Reload", None))

    def file_state(self, unit: str) -> str:
        """Return the answer of ``systemctl is-enabled`` for a unit; empty where there is no such
        unit."""
        try:
            parameters = GLib.Variant("(s)", (unit,))
            return str(self._bus.call(Call("GetUnitFileState", parameters))[0])
        except SystemdError:
            return ""

    def enable(self, unit: str) -> None:
        """Have a unit started when its target is, as ``systemctl enable`` does."""
        self._bus.call(Call("EnableUnitFiles", GLib.Variant("(asbb)", ([unit], False, False))))

    def states(self, *patterns: str) -> dict[str, UnitState]:
        """The loaded units whose names match one of some glob patterns."""
        parameters = GLib.Variant("(asas)", ([], patterns))
        listed = self._bus.reply(Call("ListUnitsByPatterns", parameters)).get_child_value(0)
        found = {}
        # What is needed is taken out: to unpack all of it takes three times as long, and more
        # memory than all else where there are ten thousand.
        for number in range(listed.n_children()):
            entry = listed.get_child_value(number).get_child_value
            load, active, sub = (entry(place).get_string() for place in (2, 3, 4))
            has_job = bool(entry(7).get_uint32())
            found[entry(0).get_string()] = UnitState(load, active, sub, has_job)
        return found

    def timers(self) -> dict[str, UnitState]:
        """The loaded timers of jobs, in one call."""
        return self.states(f"{JOB_PREFIX}*.timer")

    def state(self, unit: str) -> UnitState | None:
        """The state of a unit, if it is loaded."""
        # systemd matches with FNM_NOESCAPE: a backslash in a name stands for itself.
        return self.states(unit).get(unit)

    def is_busy(self, unit: str) -> bool:
        """Tell whether a unit is started, on its way there or back, or about to be."""
        state = self.state(unit)
        return state is not None and (state.is_active or state.has_job)

    def busy(self, pattern: str) -> set[str]:
        """The units matching a glob pattern that are started, or on their way there or back."""
        parameters = GLib.Variant("(asas)", (_BUSY_STATES, [pattern]))
        (listed,) = self._bus.call(Call("ListUnitsByPatterns", parameters))
        return {entry[0] for entry in listed}

    def start_soon(self, unit: str) -> None:
        """Have a unit started without waiting for it; the main loop does nothing meanwhile."""
        if self._starts is not None:
            self._starts.ask("start", unit, lambda _: None)
        else:
            self._bus.call(Call("StartUnit", GLib.Variant("(ss)", (unit, "replace"))))

    def start_later(self, unit: str, answered: Answered) -> None:
        """Ask for the start of a unit; ``answered`` is called when systemd has taken it on, or not.

        Calls are sent in the order in which they were asked for.
        """
        self._ask_later("start", unit, answered)

    def restart_later(self, unit: str, answered: Answered) -> None:
        """Ask for the restart of a unit, or its start, as ``start_later`` does."""
        self._ask_later("restart", unit, answered)

    def _ask_later(self, verb: str, unit: str, answered: Answered) -> None:
        if self._starts is not None:
            self._starts.ask(verb, unit, answered)
        else:
            parameters = GLib.Variant("(ss)", (unit, "replace"))
            self._bus.call_later(Call(f"{verb.title()}Unit", parameters), answered)

    def start_and_wait(self, unit: str) -> LunaschedError | None:
        """Start a oneshot service and wait until it is over; its failure, if it failed."""
        if self._starts is None:
            return self.start([unit]).get(unit)
        answers: list[LunaschedError | None] = []
        self._starts.ask("start", unit, answers.append)
        iterate(lambda: bool(answers), _JOB_TIMEOUT_S)
        if not answers:
            return SystemdUnreachable(f"{unit} was not started in time")
        if answers[0] is not None:
            return answers[0]
        # There may be no signal of its end, so poll.
        tick = GLib.timeout_add(_TICK_MS, lambda: True)
        try:
            iterate(lambda: not self.is_busy(unit), _JOB_TIMEOUT_S)
        finally:
            GLib.source_remove(tick)
        result = self.invocation(unit).result
        return None if result == "success" else _job_failure("StartUnit", unit, result)

    # One run

    def hold(self, unit: str) -> None:
        """Load a unit and keep it loaded as long as we are connected, whatever becomes of it."""
        self._bus.call(Call("LoadUnit", GLib.Variant("(s)", (unit,))))
        self._bus.call(Call("Ref", None, path=unit_path(unit), interface=UNIT))

    def release(self, unit: str) -> None:
        """Let go of a unit that is held."""
        with suppress(SystemdError):
            self._bus.call(Call("Unref", None, path=unit_path(unit), interface=UNIT))

    def invocation(self, unit: str) -> Invocation:
        """The latest run of a service unit; one that is not loaded has an empty execution ID."""
        path = unit_path(unit)
        # Check first that it is over: values that are read afterwards no longer change.
        active = self._bus.property(path, UNIT, "ActiveState")
        raw = self._bus.property(path, UNIT, "InvocationID")
        code = self._bus.property(path, SERVICE, "ExecMainCode")
        status = self._bus.property(path, SERVICE, "ExecMainStatus")
        result = self._bus.property(path, SERVICE, "Result")
        # systemd also reports a timeout if it has to kill what a success left behind.
        ended_in_time = (
            result == "timeout"
            and (code, status) == (os.CLD_EXITED, 0)
            and self._ended_in_time(path)
        )
        return Invocation(
            execution_id=bytes(raw).hex(),
            active=active,
            result="success" if ended_in_time else result,
            exit_code=status if code == os.CLD_EXITED else None,
            signal=status if code in (os.CLD_KILLED, os.CLD_DUMPED) else None,
            began_at=self._bus.property(path, UNIT, "InactiveExitTimestamp") or None,
            ended_at=self._bus.property(path, UNIT, "InactiveEnterTimestamp") or None,
            began_since_boot=self._bus.property(path, UNIT, "InactiveExitTimestampMonotonic"),
            ended_since_boot=self._bus.property(path, UNIT, "InactiveEnterTimestampMonotonic"),
        )

    def _ended_in_time(self, path: str) -> bool:
        """Tell if the main process of a service ended before its limit (0: it never began)."""

        def usec(interface: str, name: str) -> int:
            found: int = self._bus.property(path, interface, name)
            return found

        # The limit of a oneshot service, which is not active before it has ended.
        oneshot = self._bus.property(path, SERVICE, "Type") == "oneshot"
        limit = usec(SERVICE, "TimeoutStartUSec" if oneshot else "RuntimeMaxUSec")
        since = (
            usec(SERVICE, "ExecMainStartTimestampMonotonic")
            if oneshot
            else usec(UNIT, "ActiveEnterTimestampMonotonic")
        )
        ended = usec(SERVICE, "ExecMainExitTimestampMonotonic")
        return limit in (0, _NEVER) or 0 < ended < since + limit

    def begin(self, unit: str, *, patient: bool) -> Invocation | None:
        """Start a held service that is not running, and return its run as soon as there is one.

        ``None`` where there is none yet, because a condition of the unit refused it, or because it
        waits for units that it is ordered after: for these, wait only if ``patient``.
        """
        self.subscribe(lambda *_: None)
        before = self._execution_id(unit)
        with self._bus.job_results() as results:
            parameters = GLib.Variant("(ss)", (unit, "replace"))
            (job,) = self._bus.call(Call("StartUnit", parameters))
            # The start job of a oneshot service is done when the service is.
            oneshot = self._bus.property(unit_path(unit), SERVICE, "Type") == "oneshot"

            def begun() -> bool:
                if job in results:
                    return True
                state = self._bus.property(unit_path(unit), UNIT, "SubState")
                return oneshot and state not in _NOT_BEGUN

            iterate(begun, _ORDERING_S)
            if patient or self._execution_id(unit) != before:
                iterate(begun, None if patient else _JOB_TIMEOUT_S)
        invocation = self.invocation(unit)
        if invocation.execution_id != before:
            return invocation
        if results.get(job, "done") != "done":
            raise _job_failure("StartUnit", unit, results[job])
        return None

    def unmet(self, unit: str, since: int) -> list[str]:
        """The conditions of a held unit that did not hold when they were looked at last.

        Each as it is written, ``ConditionPathExists=!/x``; none if that was before a point in time
        (µs, UTC), by an earlier start.
        """
        if self._bus.property(unit_path(unit), UNIT, "ConditionTimestamp") < since:
            return []
        found = self._bus.property(unit_path(unit), UNIT, "Conditions")
        return [
            f"{name}={'!' if negated else ''}{parameter}"
            for name, _, negated, parameter, state in found
            if state < 0
        ]

    def wait_begun(self, unit: str, before: str, seconds: float | None) -> bool:
        """Wait until a held unit has another run than ``before``; ``False`` if not in time."""
        self.subscribe(lambda *_: None)
        iterate(lambda: self._execution_id(unit) != before, seconds)
        return self._execution_id(unit) != before

    def _execution_id(self, unit: str) -> str:
        return bytes(self._bus.property(unit_path(unit), UNIT, "InvocationID")).hex()

    def main_signal(self, unit: str, execution_id: str) -> int | None:
        """The signal that ended the main process of a run, if the unit still holds that run."""
        path = unit_path(unit)
        status: int = self._bus.property(path, SERVICE, "ExecMainStatus")
        if not status or self._bus.property(path, SERVICE, "ExecMainCode") == os.CLD_EXITED:
            return None
        held = bytes(self._bus.property(path, UNIT, "InvocationID")).hex()
        return status if held == execution_id else None

    def wait_ended(self, unit: str, tick: Callable[[], None], tick_seconds: float) -> Invocation:
        """Wait until a held service unit is over, calling ``tick`` now and then."""
        self.subscribe(lambda *_: None)
        timer = GLib.timeout_add(max(1, int(tick_seconds * 1000)), lambda: True)
        try:
            while not (invocation := self.invocation(unit)).ended:
                tick()
                GLib.MainContext.default().iteration(True)
            return invocation
        finally:
            GLib.source_remove(timer)

    # Signals

    def subscribe(self, changed: Callable[[str, Callable[[], UnitTimes]], None]) -> None:
        """Call ``changed`` with the path and the times of every unit whose state changes."""
        if not self._subscribed:
            self._bus.call(Call("Subscribe", None))
            self._subscribed = True
        self._bus.on_signal(
            NAME,
            PROPERTIES,
            "PropertiesChanged",
            None,
            lambda path, parameters: changed(path, partial(_times, parameters)),
            argument=UNIT,
        )

    def on_elapsed(self, elapsed: Callable[[str, Elapse], None]) -> None:
        """Call ``elapsed`` with the name of each timer that elapses; needs ``subscribe``."""

        def received(path: str, parameters: GLib.Variant) -> None:
            elapse = _elapse(partial(_changed, parameters))
            if elapse.at:
                elapsed(unit_of_label(path.removeprefix(unit_path(""))), elapse)

        self._bus.on_signal(NAME, PROPERTIES, "PropertiesChanged", None, received, argument=TIMER)

    def on_reloaded(self, reloaded: Callable[[], None]) -> None:
        """Call ``reloaded`` after every ``daemon-reload``; needs ``subscribe``."""

        def received(_path: str, parameters: GLib.Variant) -> None:
            if not parameters[0]:
                reloaded()

        self._bus.on_signal(NAME, MANAGER, "Reloading", OBJECT, received)

    def nudge(self) -> None:
        """Tell the supervisor on this bus that there is something for it in the database."""
        with suppress(GLib.Error):
            self._bus.connection.emit_signal(None, _NUDGE_PATH, _NUDGE_INTERFACE, _NUDGE, None)
            self._bus.connection.flush_sync()

    def on_nudge(self, nudged: Callable[[], None]) -> None:
        """Call ``nudged`` when somebody says so. Anybody can: it is a reason to look, no more."""
        self._bus.on_signal(
            None, _NUDGE_INTERFACE, _NUDGE, _NUDGE_PATH, lambda _path, _parameters: nudged()
        )

    def on_closed(self, closed: Callable[[], None]) -> None:
        """Call ``closed`` when the connection to the bus is lost."""
        self._bus.connection.connect("closed", lambda *_: closed())

    # Calls

    def _run_jobs(self, method: str, units: Iterable[str]) -> dict[str, LunaschedError]:
        """Queue a job for each unit and wait until all are done; what failed, by unit."""
        failures: dict[str, LunaschedError] = {}
        remaining = iter(units)
        while names := list(islice(remaining, _JOBS_AT_ONCE)):
            failures.update(self._run_some_jobs(method, names))
        return failures

    def _run_some_jobs(self, method: str, names: Sequence[str]) -> dict[str, LunaschedError]:
        with self._bus.job_results() as results:
            calls = [Call(method, GLib.Variant("(ss)", (name, "replace"))) for name in names]
            outcomes = self._bus.call_all(calls)
            paths = {
                name: outcome[0]
                for name, outcome in zip(names, outcomes, strict=True)
                if not isinstance(outcome, LunaschedError)
            }
            iterate(lambda: results.keys() >= set(paths.values()), _JOB_TIMEOUT_S)
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


def _changed(parameters: GLib.Variant, name: str) -> int:
    """One time in a signal ``PropertiesChanged``, 0 without; the signal has dozens of others."""
    found = parameters.get_child_value(1).lookup_value(name, None)
    return 0 if found is None else int(found.get_uint64())


def _times(parameters: GLib.Variant) -> UnitTimes:
    """The times in a signal ``PropertiesChanged`` of a unit."""
    return UnitTimes(
        _changed(parameters, "InactiveExitTimestamp"),
        _changed(parameters, "InactiveEnterTimestamp"),
    )


def _elapse(time_of: Callable[[str], int]) -> Elapse:
    """The last elapse of a timer, by its properties."""
    since_boot = time_of("LastTriggerUSecMonotonic")
    return Elapse(time_of("LastTriggerUSec") if since_boot else 0, since_boot)


def unit_path(unit: str) -> str:
    """The object path of a unit (sd_bus_path_encode(3))."""
    return f"{OBJECT}/unit/{bus_label(unit)}"


def _job_failure(method: str, unit: str, result: str) -> SystemdError:
    return SystemdError(
        f"systemd could not carry out {method} of {unit} ({result}); see: systemctl status {unit!r}"
    )
