"""Job definitions as people write them, turned into ``Job`` objects with every fault named.

The input is a mapping with the keys of ``keys``, whose values may be what YAML, TOML or a
command line gives: numbers in the unit of the key's name, or texts such as ``30m`` and ``2G``.
All faults of a definition are found before any is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from typing import Any

from lunasched import errors, schedule
from lunasched.dataclass import dataclass
from lunasched.errors import InvalidInput, InvalidJob, ScheduleError
from lunasched.jobs import directivelines, directives, sandbox
from lunasched.jobs import values as values
from lunasched.jobs.keys import ARGUMENTS, CLAUSES, DIRECTIVES, GROUPS, KEYS, Key
from lunasched.jobs.model import (
    ExecutionMode,
    Hooks,
    Job,
    Notifications,
    Overlap,
    ResourceLimits,
    RetryPolicy,
)
from lunasched.jobs.values import InvalidParts

Path = tuple[str | int, ...]
"""The keys, and indexes of lists, that lead from a job to a value in it."""

Label = Callable[[Path], str]

_SEQUENTIAL = ExecutionMode.SEQUENTIAL
_ALL_KEYS = (*KEYS, *CLAUSES, ARGUMENTS, *GROUPS, DIRECTIVES)
OF_ONE_JOB = ("name", "dependencies", "after", *CLAUSES)
"""The keys that no two jobs can have in common."""


def dotted(path: Path) -> str:
    """A path as it is written: ``hooks.on_failure``, ``jobs[3].name``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{_shown(part)}" for part in path)
    return text.removeprefix(".")


def _shown(key: str) -> str:
    """A key in one line, whatever characters a file has in it."""
    return key if key and key.isprintable() else repr(key)


def _nowhere(_: Path) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Defaults:
    """The values of a job that says nothing itself, and the host that chooses numbers for it."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    host: str = ""
    """What tells the host from others, for ``H`` in a schedule."""


NO_DEFAULTS = Defaults()


def defaults_from_mapping(
    value: object,
    *,
    base: Defaults = NO_DEFAULTS,
    label: Label = dotted,
    place: Label = _nowhere,
) -> Defaults:
    """Read a mapping with keys of a job as defaults of all jobs; the rest is of ``base``.

    Raises ``InvalidJob`` with all problems.
    """
    found = _Found(label, place)
    for key, inner in found.items(value, ()):
        if key in OF_ONE_JOB:
            found.blame((key,), "it cannot be the same for all jobs")
        else:
            found.take_any(key, inner)
    if found.problems:
        raise InvalidJob(found.problems)
    found.fall_back(base)
    return Defaults(found.fields, found.labels, base.host)


def job_from_mapping(
    mapping: Mapping[str, Any],
    *,
    defaults: Defaults = NO_DEFAULTS,
    label: Label = dotted,
    place: Label = _nowhere,
) -> Job:
    """The job that ``mapping`` describes.

    ``label`` turns a path into what its author knows it by (an option's name, a path in a file),
    ``place`` into where that is (``jobs.yaml:7: ``).
    Raises ``InvalidJob`` with all problems, each as ``place label: message``.
    """
    found = _Found(label, place)
    for key, value in _with_whole_schedule(mapping, found, defaults.host).items():
        found.take_any(key, value)
    found.fall_back(defaults)
    found.take_commands()
    _check_present(mapping, found)
    for target, message in _contradictions(found.fields, found.labels):
        found.problems.append(
            f"{found.places.get(target, place(()))}{found.labels[target]}: {message}"
        )
    if found.problems:
        raise InvalidJob(found.problems)
    return found.job()


def _with_whole_schedule(mapping: Mapping[str, Any], found: _Found, host: str) -> Mapping[str, Any]:
    """The same, with the keys that are clauses of the schedule in its text, and numbers for H."""
    clauses: list[str] = []
    for key in CLAUSES:
        if mapping.get(key) is None:
            continue
        if mapping.get("schedule") is None:
            found.blame((key,), "there is no schedule that it could be about")
            continue
        try:
            clauses += [f"{key} {text}" for text in values.read_clauses(mapping[key])]
        except InvalidInput as error:
            found.blame((key,), str(error))
    rest = {key: value for key, value in mapping.items() if key not in CLAUSES}
    try:
        text = values.schedule_text(rest.get("schedule"))
        if not clauses and not schedule.has_places(text):
            return rest
        whole = schedule.placed(text, f"{host}\0{rest.get('name')}")
    except ScheduleError as error:
        found.blame(("schedule",), str(error))
        return {**rest, "schedule": schedule.ON_DEMAND}
    except InvalidInput:
        return rest  # it is blamed where the key is read
    each = (" ".join([part.strip(), *clauses]) for part in whole.split(schedule.SEPARATOR))
    return {**rest, "schedule": f"{schedule.SEPARATOR} ".join(each)}


def _check_present(mapping: Mapping[str, Any], found: _Found) -> None:
    for key in ("name", "schedule", "command"):
        if mapping.get(key) is not None or key in found.fields:
            continue
        if key == "schedule" and found.fields.get("dependencies"):
            found.fields["schedule"] = schedule.ON_DEMAND
            continue
        others = " (or dependencies, after which it runs)" if key == "schedule" else ""
        found.blame((key,), f"it is missing, and every job needs one{others}")


def _contradictions(
    fields: Mapping[str, Any], labels: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield what is right alone and wrong beside something else: the field, and why."""
    mode = fields.get("mode", _SEQUENTIAL)
    if fields.get("overlap", Overlap.QUEUE) is not Overlap.QUEUE and mode is not _SEQUENTIAL:
        yield "overlap", f"only a Sequential job has a choice, and this one is {mode.value}"
    if fields.get("max_concurrent") and mode is not ExecutionMode.PARALLEL:
        yield "max_concurrent", f"it is for Parallel jobs, and this one is {mode.value}"
    for key in ("dependencies", "after"):
        if fields.get("name") in fields.get(key, ()):
            yield key, "a job cannot wait for itself"
    first = fields.get("retry.initial_delay", 0)
    if fields.get("retry.max_delay", first) < first:
        yield "retry.max_delay", f"it is less than {labels['retry.initial_delay']}"
    for code in fields.get("retry.no_retry_on", ()):
        if code in fields.get("retry.retry_on", ()):
            yield "retry.no_retry_on", f"{code} is also in {labels['retry.retry_on']}"


@dataclass
class _Found:
    """The values read so far, by field, and the faults found in them."""

    label: Label
    place: Label
    fields: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    """The name of the key of each field."""
    places: dict[str, str] = field(default_factory=dict)
    """The place in the file."""
    problems: list[str] = field(default_factory=list)

    def blame(self, path: Path, message: str) -> None:
        """Note a problem."""
        self.problems.append(f"{self.place(path)}{self.label(path)}: {message}")

    def take_any(self, key: Any, value: object) -> None:
        """Read the value of one key of a job."""
        if key in GROUPS:
            for inner, content in self.items(value, (key,)):
                self._take(GROUPS[key], (key, inner), content, known=tuple(GROUPS[key]))
        elif key == DIRECTIVES:
            self._take_directives(value)
        elif key == ARGUMENTS:
            self._take_arguments(value)
        else:
            self._take(KEYS, (key,), value, known=_ALL_KEYS)

    def items(self, value: object, path: Path) -> list[tuple[Any, Any]]:
        """The items of what must be a mapping."""
        if value is None or isinstance(value, Mapping):
            return list((value or {}).items())
        self.blame(path, "it must be a mapping of keys to values")
        return []

    def fall_back(self, defaults: Defaults) -> None:
        """Take over what was not said; of variables and directives, each that was not."""
        for target, value in defaults.fields.items():
            if target in ("environment", "directives") and target in self.fields:
                both = {**dict(value), **dict(self.fields[target])}
                items = sorted(both.items()) if target == "directives" else both.items()
                self.fields[target] = tuple(items)
            else:
                self.fields.setdefault(target, value)
            self.labels.setdefault(target, defaults.labels[target])

    def _take(
        self, keys: Mapping[str, Key], path: Path, value: object, known: tuple[str, ...]
    ) -> None:
        key = path[-1]
        if not isinstance(key, str) or key not in keys:
            hint = errors.near(key, known) if isinstance(key, str) else ""
            self.blame((*path[:-1], str(key)), f"there is no such key{hint}")
            return
        if value is None:
            return
        target = keys[key].field
        try:
            read = keys[key].read(value)
        except InvalidParts as error:
            for part in error.parts:
                self.blame((*path, *part.path), part.message)
            return
        except InvalidInput as error:
            self.blame(path, str(error))
            return
        self._set(target, read, path)

    def _set(self, target: str, value: object, path: Path) -> None:
        if target in self.fields and self.fields[target] != value:
            self.blame(path, f"{self.labels[target]} has another value; keep one")
            return
        self.fields[target] = value
        self.labels[target], self.places[target] = self.label(path), self.place(path)

    def _take_directives(self, value: object) -> None:
        """Read the mapping whose keys are directives of systemd."""
        chosen = {}
        for name, inner in self.items(value, (DIRECTIVES,)):
            try:
                directives.check_name(name)
                if inner is not None:
                    chosen[name] = directives.read_directive(name, inner)
            except InvalidInput as error:
                self.blame((DIRECTIVES, str(name)), str(error))
        self._set("directives", tuple(sorted(chosen.items())), (DIRECTIVES,))

    def _take_arguments(self, value: object) -> None:
        if value is None:
            return
        try:
            arguments = values.read_arguments(value)
        except InvalidInput as error:
            self.blame((ARGUMENTS,), str(error))
        else:
            # An empty list counts as set: it overrides the defaults.
            self._set("arguments", arguments, (ARGUMENTS,))

    def take_commands(self) -> None:
        """Take the lines of ``ExecStart=`` for the command of a job that has no other."""
        command = directivelines.command(self.fields.get("directives", ()))
        if command is None:
            return
        for target in ("command", "arguments"):
            if target in self.places:
                self.blame(
                    (DIRECTIVES, "ExecStart"), f"{self.labels[target]} is there, too; keep one"
                )
            self.fields.pop(target, None)
        self.fields["command"] = command

    def job(self) -> Job:
        """The job, once there are no problems."""
        parts: dict[str, dict[str, Any]] = {
            "limits": {}, "retry": {}, "hooks": {}, "notifications": {}, "sandbox": {}, "": {}
        }  # fmt: skip
        arguments = self.fields.pop("arguments", None)
        if arguments:
            self.fields["command"] = values.with_arguments(self.fields["command"], arguments)
        for target, value in self.fields.items():
            part, _, name = target.rpartition(".")
            parts[part][name] = value
        retry = parts["retry"]
        first = retry.get("initial_delay", 0)
        retry.setdefault("max_delay", max(first, RetryPolicy().max_delay))
        chosen = parts["sandbox"]
        return Job(
            limits=ResourceLimits(**parts["limits"]),
            retry=RetryPolicy(**retry),
            hooks=Hooks(**parts["hooks"]),
            notifications=Notifications(**parts["notifications"]),
            sandbox=tuple((key, chosen[key]) for key in sandbox.OPTIONS if key in chosen),
            **parts[""],
        )
