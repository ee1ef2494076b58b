"""A timer and a service that somebody wrote, translated into a job.

A directive that says no more than a key of a job has its rule from the table of keys. Each other
one has its row in a table here: where it goes in the definition of a job, or the value that it
must have because all jobs have it. What has no row goes to ``systemd:`` if that takes it, and is
refused otherwise. Where a job is not quite what the units were, a note says
so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from datetime import datetime, timezone
from typing import Any

from lunasched import schedule
from lunasched.dataclass import dataclass
from lunasched.errors import InvalidInput, InvalidJob
from lunasched.formats import measures, numerals, unitfile
from lunasched.formats.pattern import pattern
from lunasched.formats.unitfile import INFINITY, Assignment, UnitFile
from lunasched.jobs import directivelines, directives, keys, sandbox
from lunasched.jobs.model import Job, Priority
from lunasched.jobs.reading import job_from_mapping
from lunasched.jobs.values import ATTEMPTS
from lunasched.paths import Mode
from lunasched.transfer.ejection import OF_THE_UNITS_NAME, SCHEDULE_NOTE, ZONE_NOTE
from lunasched.units import compiler
from lunasched.units.compiler import Context

Path = tuple[str | int, ...]

# The handler gets the name of the failed unit, which is now the job's.
_OF_WHO_FAILED = ("OnFailure", "OnSuccess")
# systemd-system.conf(5)
_START_INTERVAL, _START_BURST = 10.0, 5
_ELAPSES = (
    "OnCalendar", "OnActiveSec", "OnBootSec", "OnStartupSec", "OnUnitActiveSec",
    "OnUnitInactiveSec",
)  # fmt: skip
_NO_PLACE = "it has no place in a job"
_NO_SCHEDULE = (
    "a schedule is OnCalendar= lines, OnUnitActiveSec= with OnBootSec= or with OnActiveSec= of the "
    "same seconds, and one of OnBootSec= and OnStartupSec= alone or beside these"
)
_YEARS = 11
_PRIORITY = ("Nice", "CPUWeight", "IOWeight", "OOMScoreAdjust")
# What systemd sets for a service with User= (systemd.exec(5)).
_LOGIN_VARIABLES = ("HOME", "LOGNAME", "USER", "SHELL")


@dataclass(frozen=True, slots=True)
class Source:
    """A unit and its files, in the order in which systemd reads them."""

    name: str
    files: tuple[UnitFile, ...]


@dataclass(frozen=True, slots=True)
class Adoption:
    """The job that does what the units did, and what is different all the same."""

    job: Job
    notes: tuple[str, ...]
    places: Mapping[str, str] = field(default_factory=dict)
    """The origins of the keys of the job."""

    def placed(self, fault: str) -> str:
        """A fault of a key of the job, and its origin."""
        key, colon, message = fault.partition(": ")
        return f"{self.places[key]}: {message}" if colon and key in self.places else fault


@dataclass
class _Draft:
    """The findings so far."""

    context: Context
    service: str
    definition: dict[str, Any]
    places: dict[Path, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    elapses: list[Assignment] = field(default_factory=list)
    type: str = "simple"
    has_user: bool = False
    after: tuple[str, ...] = ()
    restarts: bool = False
    # The defaults of systemd.
    restart_delay: float = 0.1
    start_interval: float | None = None
    start_burst: int | None = None
    ignores_sigpipe: bool = True

    def set(self, path: Path, value: Any, place: str) -> None:
        """Set a key of the definition."""
        inner: dict[Any, Any] = self.definition
        for key in path[:-1]:
            inner = inner.setdefault(key, {})
        inner[path[-1]] = value
        self.places[path] = place

    def place(self, path: Path) -> str:
        """Return the origin of a key of the definition."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return ""

    def label(self, path: Path) -> str:
        """Return the name of a key that comes from no directive."""
        return "" if self.place(path) else _dotted(path)


_Rule = Callable[[_Draft, Sequence[Assignment]], None]


def adopted_job(
    timer: Source, service: Source, *, name: str, enabled: bool, context: Context
) -> Adoption:
    """The job that ``timer`` and the ``service`` that it starts are.

    Raises ``InvalidJob`` with all directives that have no place, each with its file and line.
    """
    draft = _Draft(context, service.name, {"name": name, "enabled": enabled})
    problems: list[str] = []
    said: list[Assignment] = []
    for source, rules, sections in (
        (timer, _TIMER_RULES, ("Unit", "Timer", "Install")),
        (service, _SERVICE_RULES, ("Unit", "Service", "Install")),
    ):
        found, faults = unitfile.assignments(source.files)
        problems += faults
        said += found
        in_force = _in_force(found)
        problems += _join_alternatives(in_force)
        # The meaning of other directives depends on it.
        for section, directive in sorted(in_force, key=lambda key: key != ("Service", "Type")):
            values = in_force[section, directive]
            rule = rules.get((section, directive)) or _without_rule(section, directive, sections)
            problems += _apply(rule, draft, source.name, values)
    problems += _read_schedule(draft, timer)
    _fill_in(draft)
    job = None
    try:
        job = job_from_mapping(draft.definition, label=draft.label, place=draft.place)
    except InvalidJob as error:
        told = tuple(draft.places.values())
        # A missing key is the consequence of one that was refused.
        problems += [
            _with_hint(problem, said)
            for problem in error.problems
            if not problems or problem.startswith(told)
        ]
        if any("] ExecStart=: " in problem for problem in problems):
            problems = [each for each in problems if not each.startswith("command: ")]
    if problems or job is None:
        raise InvalidJob(problems)
    places = {_dotted(path): place for path, place in draft.places.items()}
    return Adoption(job, tuple(dict.fromkeys(draft.notes)), places)


def service_of(timer: Source) -> str:
    """The unit that a timer starts; raises ``InvalidJob``."""
    found, _ = unitfile.assignments(timer.files)
    values = _in_force(found).get(("Timer", "Unit"))
    if not values:
        return timer.name.removesuffix(".timer") + ".service"
    try:
        return unitfile.checked_unit_name(values[-1].value)
    except InvalidInput as error:
        raise InvalidJob([_blame(values[-1], error)]) from error


def _apply(rule: _Rule, draft: _Draft, unit: str, values: Sequence[Assignment]) -> list[str]:
    try:
        if values[-1].directive not in _OF_WHO_FAILED:
            places = unitfile.OF_THE_SYSTEM if draft.context.mode is Mode.SYSTEM else {}
            values = [
                replace(each, value=unitfile.written_out(each.value, unit, places))
                for each in values
            ]
        rule(draft, values)
    except InvalidInput as error:
        return [_blame(values[-1], error)]
    return []


def _blame(value: Assignment, error: InvalidInput) -> str:
    return f"{value.place}: {error}{unitfile.comment_hint(value.value)}"


def _with_hint(problem: str, said: Sequence[Assignment]) -> str:
    """A fault of the job, with the hint to a comment behind the value that it comes from."""
    hints = [unitfile.comment_hint(each.value) for each in said if problem.startswith(each.place)]
    first, newline, rest = problem.partition("\n")
    return f"{first}{hints[-1] if hints else ''}{newline}{rest}"


def _in_force(found: Sequence[Assignment]) -> dict[tuple[str, str], list[Assignment]]:
    """The assignments of each directive that an empty one has not reset."""
    kept: dict[tuple[str, str], list[Assignment]] = {}
    for each in found:
        key = (each.section, each.directive)
        if each.value:
            kept.setdefault(key, []).append(each)
            continue
        timer = each.section == "Timer" and each.directive in _ELAPSES
        for directive in _ELAPSES if timer else (each.directive,):
            kept.pop((each.section, directive), None)
        if each.directive == "CapabilityBoundingSet":
            # An empty value is the empty set here.
            kept[key] = [each]
    return kept


_PLAIN_GLOB = pattern(r"/[^!{},\\]*\Z")
_GLOB = ("Unit", "ConditionPathExistsGlob")


def _join_alternatives(in_force: dict[tuple[str, str], list[Assignment]]) -> list[str]:
    """Write what any of several conditions asks for ("|") as one; returns what cannot be.

    A job has alternatives of its own while an Exclusive job is there, and systemd has but one set.
    """
    found = [
        each
        for (section, directive), values in in_force.items()
        if section == "Unit" and directive.startswith("Condition")
        for each in values
        if each.value.startswith("|")
    ]
    if not found:
        return []
    for each in found:
        in_force[each.section, each.directive].remove(each)
    for key in {(each.section, each.directive) for each in found}:
        if not in_force[key]:
            del in_force[key]
    places = [each.value[1:].lstrip() for each in found]
    only_globs = all((each.section, each.directive) == _GLOB for each in found)
    if len(found) > 1 and (not only_globs or not all(map(_PLAIN_GLOB.match, places))):
        return [f"{each.place}: {directives.NO_ALTERNATIVE}" for each in found]
    # glob(3) with GLOB_BRACE, as systemd calls it; the whole has to begin with a "/".
    joined = places[0] if len(places) == 1 else f"/{{{','.join(path[1:] for path in places)}}}"
    key = (found[0].section, found[0].directive)
    in_force.setdefault(key, []).append(replace(found[0], value=joined))
    return []


def _dotted(path: Path) -> str:
    return ".".join(map(str, path))


# Rules


def _key(*path: str, read: Callable[[str], Any]) -> _Rule:
    """Goes to a key; ``None`` is what the key has anyway."""

    def rule(draft: _Draft, values: Sequence[Assignment]) -> None:
        value = read(values[-1].value)
        if value is not None:
            draft.set(path, value, values[-1].place)

    return rule


def _same(*accepted: str, why: str = _NO_PLACE) -> _Rule:
    """Has to be what all jobs have."""

    def rule(_: _Draft, values: Sequence[Assignment]) -> None:
        if values[-1].value.lower() not in accepted:
            raise InvalidInput(f"{values[-1].value!r}: {why}")

    return rule


# What the templates of units have, so that nothing of a job's output is dropped.
_JOBS_INTERVAL, _JOBS_BURST = "1s", "10000000"


def _rate_limit(jobs_value: str) -> _Rule:
    """0 stands for what journald.conf(5) has, and not for no limit; another one is wanted."""

    def rule(draft: _Draft, values: Sequence[Assignment]) -> None:
        value, directive = values[-1].value, values[-1].directive
        if value in ("0", "0s"):
            draft.notes.append(
                f"{directive}=0 is journald's own limit (10,000 lines in 30 s, mostly), "
                "which jobs do not have"
            )
        elif value != jobs_value:
            raise InvalidInput(f"{value!r}: no output of a job is dropped")

    return rule


def _dropped(note: str) -> _Rule:
    def rule(draft: _Draft, values: Sequence[Assignment]) -> None:
        # A description that only repeats the unit's name is not mentioned.
        if values[-1].value not in (draft.definition["name"], draft.service.rpartition(".")[0]):
            draft.notes.append(f"{values[-1].directive}= {note}")

    return rule


def _refuse(why: str) -> _Rule:
    def rule(_draft: _Draft, _values: Sequence[Assignment]) -> None:
        raise InvalidInput(why)

    return rule


def _without_rule(section: str, directive: str, sections: Sequence[str]) -> _Rule:
    if section not in sections:
        return _refuse(f"the section [{section}] has no place in a job")
    if section == "Unit" and "Service" in sections:
        return _pass_on if directivelines.is_of_unit(directive) else _no_unit(directive)
    if section == "Unit" and directivelines.is_condition(directive):
        return _when_the_timer_starts
    return _pass_on if section == "Service" else _refuse(_NO_PLACE)


def _no_unit(directive: str) -> _Rule:
    """The refusal of a directive of ``[Unit]``, with the reason where there is one."""
    return _refuse(directives.REFUSED.get(directive, _NO_PLACE))


def _pass_on(draft: _Draft, values: Sequence[Assignment]) -> None:
    """A directive without a rule: of the sandbox, or as it is."""
    directive = values[-1].directive
    if directive in _SANDBOX:
        draft.set(("sandbox", _SANDBOX[directive]), _sandbox_value(values), values[-1].place)
        return
    for each in values:
        if directive not in _OF_WHO_FAILED and (found := OF_THE_UNITS_NAME.search(each.value)):
            raise InvalidInput(f"{found[0][-2:]!r} is another text in a unit of another name")
    lines = [each.value for each in values]
    draft.set(("systemd", directive), lines[0] if len(lines) == 1 else lines, values[-1].place)


def _sandbox_value(values: Sequence[Assignment]) -> Any:
    directive = values[-1].directive
    if directive.endswith("Paths"):
        return [
            unitfile.without_specifiers(word)
            for each in values
            for word in unitfile.words(each.value, escapes=False)
        ]
    if directive not in _SANDBOX_LISTS:
        return values[-1].value
    if len(values) == 1 and values[0].value.lower() in ("yes", "no", "true", "false", "none"):
        return values[0].value
    found: list[str] = []
    for each in values:
        sign = "~" if each.value.startswith("~") else ""
        found += [sign + word for word in each.value.removeprefix("~").split()]
    return found or "none"


_NO_END = "a job is a program that ends: simple, exec or oneshot"
_NO_TYPE = {
    "forking": (
        "its program goes on in the background, where the end and the result of a run are not "
        "known; have it stay in the foreground, with Type=exec"
    ),
}


def _type(draft: _Draft, values: Sequence[Assignment]) -> None:
    draft.type = values[-1].value
    if draft.type not in ("simple", "exec", "oneshot"):
        raise InvalidInput(f"{draft.type}: {_NO_TYPE.get(draft.type, _NO_END)}")


def _exec_start(draft: _Draft, values: Sequence[Assignment]) -> None:
    if len(values) > 1 and draft.type != "oneshot":
        raise InvalidInput("there is more than one; systemd refuses that unless Type=oneshot")
    try:
        (value,) = values
        argv = unitfile.argv(value.value)
    except (InvalidInput, ValueError):
        # In systemd's own words: variables, specifiers, prefixes, several of them.
        _pass_on(draft, values)
        return
    shell = len(argv) == 3 and argv[:2] == ("/bin/sh", "-c") and argv[2].strip()
    draft.set(("command",), argv[2] if shell else list(argv), value.place)


def _before(draft: _Draft, values: Sequence[Assignment]) -> None:
    if draft.type != "oneshot":
        draft.notes.append("ExecStartPre= has no time limit, which it had without Type=oneshot")
    _pass_on(draft, values)


def _afterwards(draft: _Draft, values: Sequence[Assignment]) -> None:
    if draft.type != "oneshot":
        raise InvalidInput("it runs beside the command unless Type=oneshot; a job is one thing")
    _pass_on(draft, values)


def _restart(draft: _Draft, values: Sequence[Assignment]) -> None:
    word = values[-1].value
    if word not in ("no", "on-failure"):
        raise InvalidInput(f"{word}: a job is retried only after a failure")
    draft.restarts = word == "on-failure"


def _restart_delay(draft: _Draft, values: Sequence[Assignment]) -> None:
    draft.restart_delay = unitfile.timespan(values[-1].value)


def _no_restart(draft: _Draft, values: Sequence[Assignment]) -> None:
    codes = [code for each in values for code in each.value.split()]
    if not all(map(str.isdecimal, codes)):
        raise InvalidInput("only exit codes keep a run from being retried")
    draft.set(("retry_policy", "no_retry_on_exit_codes"), [*map(int, codes)], values[-1].place)


def _success_codes(draft: _Draft, values: Sequence[Assignment]) -> None:
    if [each.value for each in values] == [compiler.ANY_EXIT_CODE]:
        draft.set(("any_exit_code",), True, values[0].place)
    else:
        _pass_on(draft, values)


def _start_interval(draft: _Draft, values: Sequence[Assignment]) -> None:
    draft.start_interval = unitfile.timespan(values[-1].value)


def _start_burst(draft: _Draft, values: Sequence[Assignment]) -> None:
    burst = numerals.whole(values[-1].value)
    if burst is None:
        raise InvalidInput(f"{values[-1].value!r} is not a number")
    draft.start_burst = burst


def _user(draft: _Draft, values: Sequence[Assignment]) -> None:
    draft.has_user = True
    user = unitfile.without_specifiers(values[-1].value)
    if draft.context.mode is Mode.USER:
        raise InvalidInput("a job of one's own manager runs as oneself")
    if user not in ("root", "0"):
        draft.set(("user",), user, values[-1].place)


def _working_directory(draft: _Draft, values: Sequence[Assignment]) -> None:
    path = unitfile.without_specifiers(values[-1].value)
    if path == "~":
        draft.notes.append("WorkingDirectory=~: where that home is missing, the job runs in /")
    # The default of jobs.
    draft.set(("working_directory",), None if path in ("~", "-~") else path, values[-1].place)


def _environment(draft: _Draft, values: Sequence[Assignment]) -> None:
    variables: dict[str, str] = {}
    for each in values:
        for word in map(unitfile.without_specifiers, unitfile.words(each.value)):
            name, equals, value = word.partition("=")
            if not equals:
                raise InvalidInput(f"{word!r} is not of the form NAME=value")
            # As in systemd, the last one counts.
            variables.pop(name, None)
            variables[name] = value
    draft.set(("env",), variables, values[-1].place)


def _start_limit(draft: _Draft, values: Sequence[Assignment]) -> None:
    seconds = unitfile.timespan(values[-1].value)
    if draft.type != "oneshot":
        draft.notes.append("TimeoutStartSec= is not kept: it limits no run unless Type=oneshot")
    elif seconds not in (0, INFINITY):
        draft.set(("resource_limits", "timeout_seconds"), seconds, values[-1].place)


def _running_limit(draft: _Draft, values: Sequence[Assignment]) -> None:
    seconds = unitfile.timespan(values[-1].value)
    if draft.type == "oneshot":
        draft.notes.append("RuntimeMaxSec= is not kept: systemd ignores it where Type=oneshot")
    elif seconds not in (0, INFINITY):
        draft.set(("resource_limits", "timeout_seconds"), seconds, values[-1].place)


def _stop_limit(draft: _Draft, values: Sequence[Assignment]) -> None:
    seconds = unitfile.timespan(values[-1].value)
    if seconds in (0, INFINITY):
        # systemd.service(5): 0 is the same for the time that a stop takes.
        draft.set(("systemd", "TimeoutStopSec"), "infinity", values[-1].place)
    else:
        draft.set(("resource_limits", "kill_after_seconds"), seconds, values[-1].place)


def _both_limits(draft: _Draft, values: Sequence[Assignment]) -> None:
    _start_limit(draft, values)
    _stop_limit(draft, values)


def _priority(draft: _Draft, values: Sequence[Assignment]) -> None:
    draft.definition.setdefault("priority", {})[values[-1].directive] = values[-1]


def _unit(draft: _Draft, values: Sequence[Assignment]) -> None:
    if values[-1].value != draft.service:
        raise InvalidInput(f"systemd starts {draft.service}")


def _after(draft: _Draft, values: Sequence[Assignment]) -> None:
    draft.after = tuple(unit for each in values for unit in each.value.split())
    # The schedule decides which of these the job has anyway.
    draft.set(("systemd", "After"), " ".join(draft.after), values[-1].place)


def _when_the_timer_starts(draft: _Draft, values: Sequence[Assignment]) -> None:
    """A condition of the timer, which becomes one of the service."""
    directive = values[-1].directive
    draft.notes.append(f"{directive}= of the timer is checked before each run, and not at boot")
    _pass_on(draft, values)


def _fixed(draft: _Draft, values: Sequence[Assignment]) -> None:
    draft.set(("fixed",), unitfile.boolean(values[-1].value), values[-1].place)


def _install(draft: _Draft, values: Sequence[Assignment]) -> None:
    units = [unit for each in values for unit in each.value.split()]
    if units != ["timers.target"]:
        said = f"{values[-1].directive}={' '.join(units)}"
        draft.notes.append(f"{said}: the timer of a job is wanted by timers.target")


def _sigpipe(draft: _Draft, values: Sequence[Assignment]) -> None:
    draft.ignores_sigpipe = unitfile.boolean(values[-1].value)


def _output(draft: _Draft, values: Sequence[Assignment]) -> None:
    word, directive = values[-1].value, values[-1].directive
    if word == "inherit" or (directive, word) == ("StandardOutput", "journal"):
        # Without a standard input, "inherit" is the journal for the one, and the one for the other.
        return
    if word == "null":
        draft.notes.append(f"{directive}={word}: output that goes there is not in the history")
    _pass_on(draft, values)


def _collect(draft: _Draft, values: Sequence[Assignment]) -> None:
    draft.elapses += values


def _plain_rules(section: str) -> dict[tuple[str, str], _Rule]:
    """The rules of the directives that say no more than a key, from the table of keys."""
    rules = {}
    for row in keys.ROWS:
        if (plain := row.adopts) is not None and plain[0] == section:
            rules[plain[:2]] = _key(*row.writes.split("."), read=plain[2])
    return rules


_YES, _NO = ("yes", "true", "on", "1", "y", "t"), ("no", "false", "off", "0", "n", "f")
_NOT_KEPT = "is not kept: a job is known by its name"
_DESCRIPTIONS: Mapping[tuple[str, str], _Rule] = {
    ("Unit", "Description"): _dropped(_NOT_KEPT),
    ("Unit", "Documentation"): _dropped(_NOT_KEPT),
}
_ORDERING = ("After", "Before", "Wants", "Conflicts", "DefaultDependencies")
_WITH_ALL_OTHERS = "of the timer is not kept: that of a job is started and stopped with all others"
_BONDS = ("Requires", "Requisite", "BindsTo", "PartOf", "Upholds")
_NO_BOND = "the timer of a job is started and stopped with all others; give it to the service"
_TIMER_RULES: Mapping[tuple[str, str], _Rule] = {
    **_plain_rules("Timer"),
    **_DESCRIPTIONS,
    **{("Timer", directive): _collect for directive in _ELAPSES},
    **dict.fromkeys([("Unit", name) for name in _ORDERING], _dropped(_WITH_ALL_OTHERS)),
    **dict.fromkeys([("Unit", name) for name in _BONDS], _refuse(_NO_BOND)),
    ("Timer", "FixedRandomDelay"): _fixed,
    ("Timer", "Unit"): _unit,
    ("Timer", "WakeSystem"): _same(*_NO, why="a job does not wake the machine"),
    ("Timer", "RemainAfterElapse"): _same(*_YES),
    ("Timer", "OnClockChange"): _same(*_NO),
    ("Timer", "OnTimezoneChange"): _same(*_NO),
    ("Install", "WantedBy"): _install,
    ("Install", "RequiredBy"): _install,
    ("Install", "Also"): _dropped("is not kept: the job alone is enabled"),
}
_SERVICE_RULES: Mapping[tuple[str, str], _Rule] = {
    **_plain_rules("Service"),
    **_DESCRIPTIONS,
    ("Unit", "After"): _after,
    **dict.fromkeys(
        [
            (section, f"StartLimitInterval{suffix}")
            for section in ("Unit", "Service")
            for suffix in ("", "Sec")
        ],
        _start_interval,
    ),
    ("Unit", "StartLimitBurst"): _start_burst,
    ("Service", "StartLimitBurst"): _start_burst,
    ("Unit", "CollectMode"): _same("inactive-or-failed"),
    **dict.fromkeys(
        [("Install", name) for name in ("WantedBy", "RequiredBy", "Also", "Alias")],
        _dropped("is not kept: a job is started by its timer"),
    ),
    ("Service", "Type"): _type,
    ("Service", "ExecStart"): _exec_start,
    ("Service", "ExecStartPre"): _before,
    ("Service", "ExecStartPost"): _afterwards,
    ("Service", "User"): _user,
    ("Service", "WorkingDirectory"): _working_directory,
    ("Service", "Environment"): _environment,
    ("Service", "TimeoutStartSec"): _start_limit,
    ("Service", "RuntimeMaxSec"): _running_limit,
    ("Service", "TimeoutStopSec"): _stop_limit,
    ("Service", "TimeoutSec"): _both_limits,
    **{("Service", directive): _priority for directive in _PRIORITY},
    ("Service", "IgnoreSIGPIPE"): _sigpipe,
    ("Service", "SyslogIdentifier"): _dropped("is not kept: it is the name of the job's unit"),
    ("Service", "LogRateLimitIntervalSec"): _rate_limit(_JOBS_INTERVAL),
    ("Service", "LogRateLimitBurst"): _rate_limit(_JOBS_BURST),
    ("Service", "CPUAccounting"): _same(*_YES),
    ("Service", "MemoryAccounting"): _same(*_YES),
    ("Service", "Restart"): _restart,
    ("Service", "RestartSec"): _restart_delay,
    ("Service", "RestartPreventExitStatus"): _no_restart,
    ("Service", "SuccessExitStatus"): _success_codes,
    ("Service", "RemainAfterExit"): _same(*_NO, why="a run is over when its program ends"),
    ("Service", "SendSIGKILL"): _same(*_YES),
    ("Service", "StandardOutput"): _output,
    ("Service", "StandardError"): _output,
}  # fmt: skip
_SANDBOX = {option.directive: key for key, option in sandbox.OPTIONS.items()}
_SANDBOX_LISTS = {
    "RestrictNamespaces", "RestrictAddressFamilies", "SystemCallFilter", "CapabilityBoundingSet"
}  # fmt: skip


# The schedule


def _read_schedule(draft: _Draft, timer: Source) -> list[str]:
    """Find the schedule of the elapses; returns what is wrong with them."""
    elapses = draft.elapses
    if not elapses:
        return [f"{timer.files[0].path}:1: [Timer]: it never elapses"]
    place = elapses[0].place
    problems = []
    values: list[tuple[str, str | float]] = []
    for each in elapses:
        try:
            text = unitfile.without_specifiers(each.value)
            calendar = each.directive == "OnCalendar"
            values.append((each.directive, text if calendar else unitfile.timespan(text)))
        except InvalidInput as error:
            problems.append(f"{each.place}: {error}")
    if problems:
        return problems
    if _is_noted(draft, timer, values, place):
        return []
    try:
        text = _schedule(values)
    except InvalidInput as error:
        return [f"{each.place}: {error}" for each in elapses]
    draft.set(("schedule",), text, place)
    if "@" in text and not text.startswith("@"):
        draft.notes.append("what is due after a boot is due from the next boot on")
    return []


def _schedule(values: Sequence[tuple[str, str | float]]) -> str:
    """The schedule that the lines of a timer are; raises ``InvalidInput`` with what it is not."""
    calendars = [f"calendar:{line}" for directive, line in values if directive == "OnCalendar"]
    spans = {directive: span for directive, span in values if directive != "OnCalendar"}
    if len(values) != len(calendars) + len(spans):
        raise InvalidInput("it is given several times; the first would be enough")
    found = [name for name in ("OnBootSec", "OnStartupSec") if name in spans]
    boots = [_boot(name, spans.pop(name)) for name in found]
    interval, first = spans.pop("OnUnitActiveSec", None), spans.pop("OnActiveSec", None)
    # Without another line the timer would never elapse.
    begun = first is None if boots else first == interval
    if spans or not begun or len(boots) > 1 or (calendars and interval is not None):
        raise InvalidInput(_NO_SCHEDULE)
    every = [] if interval is None else [f"every {_span(interval)}"]
    return f"{schedule.SEPARATOR} ".join([*calendars, *every, *boots])


def _boot(directive: str, seconds: str | float) -> str:
    if not seconds:
        return "@reboot"
    word = "@boot" if directive == "OnBootSec" else "@reboot"
    return f"{word}+{_span(seconds)}"


def _is_noted(
    draft: _Draft, timer: Source, values: Sequence[tuple[str, str | float]], place: str
) -> bool:
    """Tell whether a comment of ``eject`` names the schedule, and the lines are still its."""
    notes = dict(
        comment.split(": ", 1) for comment in unitfile.comments(timer.files[0].text)
        if ": " in comment
    )  # fmt: skip
    text, zone = notes.get(SCHEDULE_NOTE), notes.get(ZONE_NOTE)
    if text is None:
        return False
    context = draft.context
    for year in range(context.now.year, context.now.year - _YEARS, -1):
        try:
            timing = schedule.timing(
                schedule.parse(text),
                timezone=zone,
                host_timezone=context.host_timezone,
                now=datetime(year, 1, 1, tzinfo=timezone.utc),
            )
        except InvalidInput:
            return False
        if _elapses(timing) == sorted(values, key=str):
            draft.set(("schedule",), text, place)
            if zone is not None:
                draft.set(("timezone",), zone, place)
            return True
        if timing.valid_until is None:
            return False
    return False


def _elapses(timing: schedule.Timing) -> list[tuple[str, str | float]]:
    found: list[tuple[str, str | float]] = [("OnCalendar", line) for line in timing.on_calendar]
    for directive, seconds in (
        ("OnBootSec", timing.on_boot_sec),
        ("OnStartupSec", timing.on_startup_sec),
        ("OnActiveSec", timing.on_active_sec),
        ("OnUnitActiveSec", timing.on_unit_active_sec),
    ):
        if seconds is not None:
            found.append((directive, seconds))
    return sorted(found, key=str)


def _span(seconds: str | float) -> str:
    if not isinstance(seconds, int) or not seconds:
        raise InvalidInput("a schedule has whole seconds, and one at least")
    parts = measures.split(seconds, measures.DAYS_TO_SECONDS)
    return "".join(f"{count}{unit.letter}" for count, unit in parts if count)


# Differences from the units


def _fill_in(draft: _Draft) -> None:
    definition, notes = draft.definition, draft.notes
    calendar = any(each.directive == "OnCalendar" for each in draft.elapses)
    if not calendar:
        # Persistent= is for OnCalendar= alone.
        definition.pop("catch_up", None)
        if "every" in str(definition.get("schedule", "")):
            notes.append("its interval counts from now, and goes on across a reboot")
    if "accuracy" not in definition:
        notes.append("it starts at its time, and not within a minute of it")
    fixed = definition.pop("fixed", False)
    if definition.get("jitter_seconds"):
        often = "" if fixed else ", and not for each run"
        notes.append(f"its random delay is drawn anew, once{often}")
    if "StandardOutput" not in (own := definition.get("systemd", {})) and (
        own.get("StandardError") == "journal"
    ):
        # The same destination as the other.
        del own["StandardError"]
    _fill_in_priority(draft)
    _fill_in_restarts(draft)
    _fill_in_order(draft)
    if draft.context.mode is Mode.SYSTEM:
        definition.setdefault("working_directory", "/")
        _keep_login_variables_unset(draft)
    notes.append("it runs in lunasched.slice")
    if draft.ignores_sigpipe:
        notes.append("SIGPIPE is not ignored, and ends its programs as in a shell")


def _fill_in_order(draft: _Draft) -> None:
    """Leave out of ``After=`` what the job is after anyway, and say what the service was not."""
    anyway = compiler.order(draft.definition.get("catch_up", False), draft.context.mode)
    own = [unit for unit in draft.after if unit not in anyway]
    if own:
        draft.definition["systemd"]["After"] = " ".join(own)
    elif draft.after:
        del draft.definition["systemd"]["After"]
    if unsaid := [unit for unit in anyway if unit not in draft.after]:
        draft.notes.append(f"it is after {' and '.join(unsaid)}, which the service was not")


def _fill_in_restarts(draft: _Draft) -> None:
    """The retries that restarts are, as often as the limit of starts lets them be."""
    limited = (draft.start_interval, draft.start_burst) != (None, None)
    if not draft.restarts:
        draft.definition.pop("retry_policy", None)
        if limited and draft.start_interval != 0 and draft.start_burst != 0:
            draft.notes.append("no start of it is refused, however many there are in a short time")
        return
    interval = _START_INTERVAL if draft.start_interval is None else draft.start_interval
    burst = _START_BURST if draft.start_burst is None else draft.start_burst
    ends = interval and burst and burst * draft.restart_delay <= interval
    attempts = min(burst, ATTEMPTS.most) if ends else ATTEMPTS.most
    policy = draft.definition.setdefault("retry_policy", {})
    policy |= {"max_attempts": attempts, "backoff_strategy": "Fixed"}
    policy["initial_delay_seconds"] = policy["max_delay_seconds"] = draft.restart_delay
    draft.notes.append(
        f"lunasched retries a failed run, {attempts - 1} times at most, and each attempt is a run "
        "of its own"
    )


def _fill_in_priority(draft: _Draft) -> None:
    """The priority that sets the same; what none sets is set as it is."""
    chosen: dict[str, Assignment] = draft.definition.pop("priority", {})
    values = {directive: each.value for directive, each in chosen.items()}
    weight = values.pop("IOWeight", None)
    for priority in Priority:
        lines = dict(compiler.priority_values(priority, draft.context.mode)[0])
        own_weight = lines.pop("IOWeight", None)
        if lines == values and (weight is not None or own_weight is None):
            if values:
                draft.definition["priority"] = priority.value
            break
    else:
        own_weight = None
        for directive in values:
            draft.set(("systemd", directive), values[directive], chosen[directive].place)
    if weight not in (None, own_weight):
        draft.set(("resource_limits", "io_weight"), weight, chosen["IOWeight"].place)


def _keep_login_variables_unset(draft: _Draft) -> None:
    """Without ``User=`` a service of the system has none of them; a job always has a user."""
    if draft.has_user:
        return
    directives = draft.definition.get("systemd", {})
    if {"EnvironmentFile", "PassEnvironment", "UnsetEnvironment", "PAMName"} & directives.keys():
        notes = ", ".join(_LOGIN_VARIABLES)
        draft.notes.append(f"its environment has {notes} of root")
        return
    unset = [name for name in _LOGIN_VARIABLES if name not in draft.definition.get("env", {})]
    if unset:
        draft.definition.setdefault("systemd", {})["UnsetEnvironment"] = " ".join(unset)
