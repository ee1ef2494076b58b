"""A job, translated into the text of its systemd units.

Pure apart from reading the templates: what a job compiles to depends on the job and the context
alone, so that the same job always gives the same bytes and a difference on disk means a change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lunasched import schedule
from lunasched.dataclass import dataclass
from lunasched.errors import InvalidInput, InvalidJob, ScheduleError
from lunasched.formats import unittext
from lunasched.formats.unittext import UnitText
from lunasched.jobs import dependencies, directivelines, keys, sandbox, userswitch
from lunasched.jobs.model import Command, Job, Overlap, Priority
from lunasched.paths import (
    CALENDARS,
    HOOKS_DIRECTORY,
    SUPERVISOR_DIRECTORY,
    SUPERVISOR_USER,
    Mode,
)
from lunasched.units import commandchannels, concurrency, confinement, guards, versions
from lunasched.units.privatefile import PrivateFile

if TYPE_CHECKING:
    from jinja2 import Environment

GATE_NAME = "lunasched-job@.service.d/10-lunasched-gate.conf"
"""The drop-in's path among the units; a drop-in of a template is for all of its instances."""

_SPAWN_FAILURES = range(200, 244)
"""The exit statuses of what systemd could not execute (systemd.exec(5), PROCESS EXIT CODES)."""
ANY_EXIT_CODE = " ".join(
    str(code)
    for code in range(1, 256)
    if code not in _SPAWN_FAILURES and code != dependencies.REFUSED
)
"""``SuccessExitStatus=`` of a job with ``any_exit_code``.

Not a "-" before the command: systemd calls that a success also where the program is missing, or a
signal ended it (seen with 252).
"""

_NETWORK = "network-online.target"
BOOT_ORDER = ("remote-fs.target", "nss-user-lookup.target")
"""The units that Debian's cron.service starts after, and so do system jobs: mounts, and users."""

# The values that each priority sets, in this order; Normal is systemd's default.
_PRIORITY_DIRECTIVES = ("Nice", "CPUWeight", "IOWeight", "OOMScoreAdjust")
_PRIORITY_VALUES: dict[Priority, tuple[int, ...]] = {
    Priority.LOW: (10, 30, 30, 500),
    Priority.NORMAL: (),
    Priority.HIGH: (-5, 300, 300, -250),
    Priority.CRITICAL: (-10, 1000, 1000, -500),
}
# In these, only root may go below zero.
_ROOT_ONLY_BELOW_ZERO = ("Nice", "OOMScoreAdjust")


@dataclass(frozen=True, slots=True)
class Context:
    """The facts that compilation depends on besides the job.

    ``now`` is where the ten years of daylight-saving corrections begin; round it down (to the
    year) to get the same units every day.
    """

    mode: Mode
    host_timezone: str
    zones: str
    """The identity of the zones (``config.zone_identity``): the units are right for no others."""
    now: datetime
    templates: Path
    scripts: Path
    """The directory of ``slot-guard``, ``run-hook`` and their like."""
    units: Path
    slots: Path
    runtime: Path
    systemd: int = versions.OLDEST
    """The version of the service manager, which reads the units."""
    calendars: Path = CALENDARS
    """The directory of calendars, whose state is part of the zones' identity."""


@dataclass(frozen=True, slots=True)
class Unit:
    """The name and the whole text of a unit file."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class CompiledJob:
    """The units of one job, and what its author should know about them."""

    job: Job
    service: Unit
    timer: Unit | None
    """``None`` for a job without a schedule."""
    launcher: Unit | None = None
    """The unit that the timer starts in place of the service, if there is one."""
    hooks: tuple[Unit, ...] = ()
    private: Unit | None = None
    """The file beside the units that root alone reads (``privatefile``), if there is one."""
    warnings: tuple[str, ...] = ()
    guarded: bool = False
    """True if the slot guard looks at its starts, so that it needs to know the slots."""
    at_boot_only: bool = False
    """True if starting the timer runs the job (``@reboot``), so that only booting may do it."""
    has_offset: bool = False
    """True if the job's jitter is a part of its schedule: a timer that is started after a slot, but
    within the jitter, may still elapse for it."""
    until_boot: str | None = None
    """The drop-in for a timer that is started later than at boot (``until_boot``)."""

    @property
    def units(self) -> tuple[Unit, ...]:
        """All units, the service first."""
        others = (self.timer, self.launcher)
        return (self.service, *(unit for unit in others if unit is not None), *self.hooks)

    @property
    def files(self) -> tuple[Unit, ...]:
        """All files, the units first."""
        return self.units if self.private is None else (*self.units, self.private)


def compile(  # noqa: A001 - the design's word for it
    job: Job, context: Context, depended_on: bool = False, launched: Collection[str] = ()
) -> CompiledJob:
    """The units of ``job``; ``depended_on`` tells whether other jobs wait for it.

    ``launched`` are those of the jobs that it waits for that have a launcher
    (``concurrency.has_launcher``).
    Raises ``InvalidJob`` where the job cannot exist in the context's mode or never elapses.
    """
    timing = _timing(job, context)
    if job.catch_up and timing.has_boot and timing.on_calendar:
        # A Persistent= timer leaves out what was due before it was started, as @reboot is.
        raise InvalidJob(["catch_up: this job runs after each boot anyway; leave catch_up out"])
    unsure = schedule.doubt(schedule.parse(job.schedule))
    warnings = [] if unsure is None else [f"schedule: {unsure}"]
    warnings += [f"timezone: {said}" for said in lost_zones(job)]
    environment = _environment(context.templates)
    common = {
        "ownership": UnitText(f"{unittext.OWNERSHIP_MARK} for the job of this name."),
        # Who knows most of a command could guess the rest by its fingerprint.
        "job_hash": UnitText("# Job: private" if job.private else job_hash_line(job)),
        "description": unittext.sentence(f"{job.name} (lunasched job)"),
    }
    service_values = _service_values(job, context, warnings)
    private = _hide(job, service_values, context) if job.private else None
    if context.mode is Mode.SYSTEM and (lost := userswitch.switch_warning(job)) is not None:
        warnings.append(lost)
    obstacle = _obstacle(job, context, depended_on)
    guarded = bool(timing.on_calendar) and obstacle is None
    if timing.on_calendar and obstacle is not None:
        warnings.append(
            f"{obstacle}; there is no guard for its slots: one may run twice where the clock is "
            "set back or its timer is restarted"
        )
    oneshot = depended_on or directivelines.is_oneshot(job.directives)
    lines = {
        "type": UnitText("oneshot" if oneshot else "exec"),
        **dependencies.dependency_values(
            job, context.slots, depended_on=depended_on, launched=launched
        ),
        **guards.concurrency_values(
            job,
            scripts=context.scripts,
            slots=context.slots,
            runtime=context.runtime,
            mode=context.mode,
            guarded=guarded,
            wait=guards.patience(job, oneshot=oneshot),
        ),
        "exit_note": guards.exit_note(job, context.scripts, context.mode),
    }
    _check_refusals(job, lines)
    if _guards_are_outside(job, context):
        lines = confinement.outside(lines)
    service = environment.get_template("job.service.j2").render(
        common | service_values | lines,
        limits=dependencies.limits(service_values["limits"], oneshot=oneshot),
        own_files=_own_files(job, context, guarded=guarded, depended_on=depended_on),
        boot_order=_boot_order(context),
        after=_after(job, context),
    )
    hooks = _hooks(job, common, service_values, context, private)
    return CompiledJob(
        job,
        Unit(unittext.service_name(job.name), service),
        None if timing.is_empty else _timer(job, timing, common, context),
        launcher=_launcher(job, common, context) if concurrency.has_launcher(job) else None,
        hooks=hooks,
        private=None
        if private is None
        else Unit(private.name, private.text((common["ownership"], common["job_hash"]))),
        warnings=tuple(warnings),
        guarded=guarded,
        at_boot_only=timing.at_boot_only,
        has_offset=_has_offset(job, timing, context),
        until_boot=_until_boot(timing.rest_of_boot()),
    )


def lost_zones(job: Job) -> list[str]:
    """Sentences about the zones of a job that the machine has no more; its timer has others."""
    named = schedule.named_zones(schedule.parse(job.schedule))
    said = (schedule.lost_zone(zone) for zone in (*named, job.timezone) if zone is not None)
    return [sentence for sentence in said if sentence is not None]


def plain_units(job: Job, context: Context, name: str, about: Sequence[str]) -> tuple[Unit, ...]:
    """A service and, if the job has a schedule, a timer called ``name`` that need nothing of ours.

    Without what only lunasched can do for a job; ``about`` is the comment at the top of both.
    Raises ``InvalidJob``.
    """
    environment = _environment(context.templates)
    timing = _timing(job, context)
    common = {
        "about": [UnitText(line) for line in about],
        "description": unittext.sentence(job.name),
    }
    values = _service_values(job, context, [])
    oneshot = directivelines.is_oneshot(job.directives)
    values["limits"] = dependencies.limits(values["limits"], oneshot=oneshot)
    service = environment.get_template("ejected.service.j2").render(
        common | values | {"identifier": UnitText(name)},
        type=UnitText("oneshot" if oneshot else "exec"),
        at_home=job.working_directory is None,
        boot_order=_boot_order(context),
        after=_after(job, context) if timing.on_calendar else None,
    )
    units = [Unit(f"{name}.service", service)]
    if not timing.is_empty:
        timer = environment.get_template("ejected.timer.j2").render(
            common | _timer_values(job, timing)
        )
        units.append(Unit(f"{name}.timer", timer))
    return tuple(units)


def until_boot(job: Job, context: Context, remaining: float | None) -> str | None:
    """The drop-in for a timer of a job that is started later than at boot, if it needs one.

    By it nothing is due that was due after the boot, and an interval ends in ``remaining`` seconds.
    """
    timing = _timing(job, context)
    rest = timing.rest_of_boot()
    if remaining is not None:
        rest = replace(rest or timing, on_active_sec=remaining)
    return _until_boot(rest)


def gate(context: Context) -> Unit:
    """The drop-in for all jobs that makes them look at the gate."""
    template = _environment(context.templates).get_template("gate.conf.j2")
    text = template.render(
        ownership=UnitText(
            f"{unittext.OWNERSHIP_MARK}: there are Exclusive jobs, or a limit to jobs."
        ),
        **guards.gate_values(context.runtime),
    )
    return Unit(GATE_NAME, text)


def priority_values(priority: Priority, mode: Mode) -> tuple[Mapping[str, str], Sequence[str]]:
    """Return a priority's values by directive, and the directives that the mode has to leave
    out."""
    values = dict(zip(_PRIORITY_DIRECTIVES, map(str, _PRIORITY_VALUES[priority]), strict=False))
    refused = [
        directive
        for directive in _ROOT_ONLY_BELOW_ZERO
        if mode is Mode.USER and values.get(directive, "").startswith("-")
    ]
    kept = {directive: value for directive, value in values.items() if directive not in refused}
    return kept, refused


def order(catch_up: bool, mode: Mode) -> tuple[str, ...]:
    """The units that a job is ordered after at boot, whatever it says itself.

    What is made up for at boot mostly needs the network. A user's manager has no such units, and is
    started when they are there.
    """
    if mode is Mode.USER:
        return ()
    return (*BOOT_ORDER, _NETWORK) if catch_up else BOOT_ORDER


def job_hash_line(job: Job) -> str:
    """The comment in a job's units that says of which definition they were made."""
    return f"# Job: sha256:{job_hash(job)}"


def job_hash(job: Job) -> str:
    """Return a fingerprint of the definition (SHA-256, hexadecimal).

    Defaults are no part of it: a key that a later version adds leaves the units of jobs that do
    not use it as they are.
    """
    return _fingerprint(job.asked_for())


def former_hash_line(definition: Mapping[str, Any]) -> str:
    """The comment that 2.0.0 wrote, for the mapping in its database, with all keys it had."""
    return f"# Job: sha256:{_fingerprint(definition)}"


def _fingerprint(mapping: Mapping[str, Any]) -> str:
    canonical = json.dumps(mapping, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _service_values(job: Job, context: Context, warnings: list[str]) -> dict[str, Any]:
    return {
        "exec_start": None
        if directivelines.command(job.directives) is not None
        else _command_line(job.command),
        "user": _user(job, context),
        # As cron does, a job starts in its user's home; "-" lets it run where there is none.
        "working_directory": UnitText("-~")
        if job.working_directory is None
        else unittext.working_directory(job.working_directory),
        "environment": [unittext.assignment(*pair) for pair in job.environment],
        "environment_file": None,
        "identifier": UnitText(unittext.instance_name(job.name)),
        "success_codes": UnitText(ANY_EXIT_CODE) if job.any_exit_code else None,
        "accounting": [
            unittext.plain(directive)
            for directive in ("CPUAccounting", "MemoryAccounting")
            if versions.has_directive(context.systemd, directive)
        ],
        "limits": _limit_directives(job),
        "priority": _priority_directives(job, context, warnings),
        "sandbox": _sandbox_directives(job, context, warnings),
        "unit_directives": directivelines.directive_lines(directivelines.of_unit(job.directives)),
        "directives": directivelines.directive_lines(directivelines.of_service(job.directives)),
    }


def _boot_order(context: Context) -> UnitText | None:
    found = order(False, context.mode)
    return UnitText(" ".join(found)) if found else None


def _after(job: Job, context: Context) -> UnitText | None:
    return UnitText(_NETWORK) if _NETWORK in order(job.catch_up, context.mode) else None


def _command_line(command: Command) -> UnitText:
    if isinstance(command, str):
        return unittext.shell_command_line(command)
    return unittext.command_line(command)


def _hide(job: Job, service_values: dict[str, Any], context: Context) -> PrivateFile:
    """Take out of the values of a unit what is private, into a file."""
    if directivelines.command(job.directives) is not None:
        raise InvalidJob(["private: a command in systemd's own words (ExecStart) is in the unit"])
    # Said of it as of any command.
    _command_line(job.command)
    private = PrivateFile(job, context.units)
    service_values["environment"] = []
    service_values["environment_file"] = private.reference
    service_values["exec_start"] = unittext.command_line(private.hide(job.command))
    return private


def _launcher(job: Job, common: dict[str, Any], context: Context) -> Unit:
    template = _environment(context.templates).get_template("launch.service.j2")
    values = {
        "description": unittext.sentence(f"{job.name} (lunasched launcher)"),
        "exec_start": guards.launch_command(
            job,
            scripts=context.scripts,
            units=context.units,
            runtime=context.runtime,
            mode=context.mode,
        ),
        "service": UnitText(unittext.service_name(job.name)),
        "identifier": UnitText(f"{unittext.instance_name(job.name)}:launcher"),
    }
    return Unit(unittext.launch_name(job.name), template.render(common | values))


def _hooks(
    job: Job,
    common: dict[str, Any],
    service_values: dict[str, Any],
    context: Context,
    private: PrivateFile | None,
) -> tuple[Unit, ...]:
    """A unit for each hook; ``run-hook`` passes it the facts of the run, and works without us."""
    commands = list(_hook_commands(job))
    if not commands:
        return ()
    template = _environment(context.templates).get_template("hook.service.j2")
    owner = SUPERVISOR_USER if context.mode is Mode.SYSTEM else "-"
    run_hook = ["/usr/bin/python3", "-I", "-S", str(context.scripts / "run-hook"), owner]
    units = []
    for event, command, timeout, kind in commands:
        name = unittext.hook_name(job.name, event)
        about = (
            context.runtime
            / SUPERVISOR_DIRECTORY
            / HOOKS_DIRECTORY
            / unittext.hook_instance(job.name, event)
        )
        argv: Sequence[str | UnitText]
        if private is not None:
            argv = private.hide(command, event)
        else:
            argv = (*unittext.SHELL, command) if isinstance(command, str) else command
        values = {
            **service_values,
            "identifier": UnitText(unittext.hook_instance(job.name, event)),
            "description": unittext.sentence(f"{job.name} {event} (lunasched {kind})"),
            "exec_start": unittext.command_line([*run_hook, str(about), *argv]),
            "timeout": unittext.plain(unittext.seconds(timeout)),
        }
        units.append(Unit(name, template.render(common | values)))
    return tuple(units)


def _hook_commands(job: Job) -> Iterator[tuple[str, Command, float, str]]:
    """Yield the commands of hooks: event, command, longest time, description."""
    for event in job.hooks.events():
        command = job.hooks.command(event)
        assert command is not None
        yield event.value, command, job.hooks.timeout, "hook"
    for name, channel in commandchannels.command_channels(job).items():
        command = commandchannels.command_of(channel)
        yield name, command, channel.timeout or job.hooks.timeout, "channel"


def _own_files(
    job: Job, context: Context, *, guarded: bool, depended_on: bool
) -> list[tuple[UnitText, UnitText]]:
    """The directives that let a job write what its guards note in its name."""
    if _guards_are_outside(job, context):
        return []
    files = [unittext.last_slot_name(job.name)] if guarded else []
    files += [unittext.success_name(job.name)] if depended_on else []
    return confinement.Needs(context.slots, context.scripts).writable_again(job, files)


def _obstacle(job: Job, context: Context, depended_on: bool) -> str | None:
    """Return the reason why guards cannot work inside the job, or ``None``.

    Raises ``InvalidJob`` where the job cannot do without them.
    """
    if _guards_are_outside(job, context):
        return None
    obstacle = confinement.Needs(context.slots, context.scripts).obstacle(job)
    if obstacle is not None:
        reasons = {
            "overlap: skip": job.overlap is Overlap.SKIP,
            "dependencies": bool(job.dependencies),
            "being depended upon": depended_on,
        }
        faults = [
            f"{obstacle}; {what} needs a guard, which runs as the job and in its sandbox"
            for what, needed in reasons.items()
            if needed
        ]
        if faults:
            raise InvalidJob(faults)
    return obstacle


def _check_refusals(job: Job, lines: Mapping[str, Any]) -> None:
    """Raise ``InvalidJob`` where a guard that refuses a run would be taken for one that agrees."""
    guarded = any(lines[guard] for guard in ("guard", "overlap_guard", "dependency_check"))
    if guarded and directivelines.is_success(job.directives, dependencies.REFUSED):
        raise InvalidJob(
            [
                f"systemd: SuccessExitStatus: {dependencies.REFUSED} is what the job's guards end "
                "with to refuse a run, and systemd would begin it all the same; use another code"
            ]
        )


def _guards_are_outside(job: Job, context: Context) -> bool:
    """Tell if guards run outside of the job's sandbox: in user mode, as the same user.

    There each process of a unit has a user namespace of its own. So a command could not join the
    others that a guard had been given before it, and would go on without ``PrivateNetwork=`` and
    fail with ``PrivateIPC=`` (seen with systemd 252).
    """
    return context.mode is Mode.USER and bool(job.sandbox or job.directives)


def _user(job: Job, context: Context) -> UnitText | None:
    if context.mode is Mode.USER:
        if job.user is not None:
            raise InvalidJob(
                [f"user: a job in user mode cannot run as {job.user}; use --system as root"]
            )
        return None
    # Named even where it is root: only then does systemd set HOME, LOGNAME and SHELL, as cron does.
    return UnitText(job.user or "root")


def _limit_directives(job: Job) -> list[tuple[UnitText, UnitText]]:
    """The lines that the table of keys has for what the job sets, times before amounts."""
    return [
        (UnitText(line.directive), UnitText(line.write(value)))
        for value_of, line in _limit_lines()
        if (value := value_of(job)) is not None
    ]


@lru_cache(maxsize=1)
def _limit_lines() -> tuple[tuple[Callable[[Job], Any], keys.Line], ...]:
    """Return the lines of the table, each with what gets its value from a job."""
    lines = [(row.field, row.becomes) for row in keys.ROWS if isinstance(row.becomes, keys.Line)]
    lines.sort(key=lambda line: line[1].write is not unittext.seconds)
    return tuple((attrgetter(field), line) for field, line in lines)


def _priority_directives(
    job: Job, context: Context, warnings: list[str]
) -> list[tuple[UnitText, UnitText]]:
    values, refused = priority_values(job.priority, context.mode)
    if refused:
        warnings.append(
            f"priority {job.priority.value}: an ordinary user cannot lower "
            f"{'= and '.join(refused)}=, what is set is {'= and '.join(values)}="
        )
    said = {name for name, _ in job.directives}
    if job.limits.io_weight is not None:
        said.add("IOWeight")
    return [
        (unittext.plain(directive), unittext.plain(value))
        for directive, value in values.items()
        if directive not in said
    ]


def _sandbox_directives(
    job: Job, context: Context, warnings: list[str]
) -> list[tuple[UnitText, UnitText]]:
    try:
        lines, about = sandbox.directives(job.sandbox, context.mode)
    except InvalidInput as error:
        raise InvalidJob([str(error)]) from error
    warnings += about
    return lines


def _timing(job: Job, context: Context) -> schedule.Timing:
    try:
        return schedule.timing(
            schedule.parse(job.schedule),
            timezone=job.timezone,
            host_timezone=context.host_timezone,
            now=context.now,
        )
    except ScheduleError as error:
        raise InvalidJob([f"schedule: {error}"]) from error


def _timer(job: Job, timing: schedule.Timing, common: dict[str, Any], context: Context) -> Unit:
    template = _environment(context.templates).get_template("job.timer.j2")
    return Unit(
        unittext.timer_name(job.name),
        template.render(
            common, offset=_has_offset(job, timing, context), **_timer_values(job, timing)
        ),
    )


def _has_offset(job: Job, timing: schedule.Timing, context: Context) -> bool:
    """Tell whether the job's jitter is an offset of its schedule, and no delay after each slot.

    An offset is for calendars alone. Runs that are made up for at boot need the delay: it spreads
    them, and systemd leaves out the slot after such a run where there is an offset (#42337).
    """
    only_calendar = {directive for directive, _ in _elapse_directives(timing)} == {"OnCalendar"}
    known = versions.has_directive(context.systemd, "RandomizedOffsetSec")
    return bool(job.jitter) and known and only_calendar and not job.catch_up


def _timer_values(job: Job, timing: schedule.Timing) -> dict[str, Any]:
    return {
        "elapses": [
            (unittext.plain(directive), unittext.plain(value))
            for directive, value in _elapse_directives(timing)
        ],
        "unit": UnitText(concurrency.started_unit(job)) if concurrency.has_launcher(job) else None,
        "accuracy": unittext.plain(unittext.seconds(job.accuracy) if job.accuracy else "1us"),
        "persistent": job.catch_up and bool(timing.on_calendar),
        "jitter": unittext.plain(unittext.seconds(job.jitter)) if job.jitter else None,
    }


def _until_boot(rest: schedule.Timing | None) -> str | None:
    if rest is None:
        return None
    # An empty value resets all lines of every kind.
    lines = [("OnActiveSec", ""), *_elapse_directives(rest)]
    text = "".join(f"{directive}={value}\n" for directive, value in lines)
    return f"# Until the next boot: what was due before is not due again.\n\n[Timer]\n{text}"


def _elapse_directives(timing: schedule.Timing) -> list[tuple[str, str]]:
    found = [("OnCalendar", line) for line in timing.on_calendar]
    for directive, seconds in (
        ("OnBootSec", timing.on_boot_sec),
        ("OnStartupSec", timing.on_startup_sec),
        ("OnActiveSec", timing.on_active_sec),
        ("OnUnitActiveSec", timing.on_unit_active_sec),
    ):
        if seconds is not None:
            found.append((directive, unittext.seconds(seconds)))
    return found


@lru_cache(maxsize=4)
def _environment(templates: Path) -> Environment:
    # Imported here: jinja2 takes longer to load than most commands take to run.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(templates),
        undefined=StrictUndefined,
        finalize=_only_unit_text,
        autoescape=False,
        keep_trailing_newline=True,
        # Else each of thousands of units looks whether its template is still the same file.
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _only_unit_text(value: object) -> str:
    """Refuse whatever did not pass through ``unittext``: no template can forget an escape."""
    if not isinstance(value, UnitText):
        raise TypeError(f"a template used {value!r}, which is not UnitText")
    return value.text
