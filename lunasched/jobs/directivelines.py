"""The directives of a job that was read: what they say of it, and their lines in its units.

``directives`` reads them, for which it has the table of all keys: who starts a job or shows it does
without that.
"""

from __future__ import annotations

from lunasched.formats import unittext
from lunasched.formats.unittext import UnitText
from lunasched.jobs.model import Directive

Directives = tuple[tuple[str, Directive], ...]

UNIT = frozenset(
    (
        "After", "Before", "Wants", "Requires", "Requisite", "BindsTo", "PartOf", "Conflicts",
        "Upholds", "RequiresMountsFor", "WantsMountsFor", "DefaultDependencies", "IgnoreOnIsolate",
        "JoinsNamespaceOf", "OnFailure", "OnFailureJobMode", "OnSuccess", "OnSuccessJobMode",
    )
)  # fmt: skip
"""The directives of ``[Unit]`` that have a meaning for a job, beside conditions and assertions."""
_TESTS = ("Condition", "Assert")


def is_of_unit(name: str) -> bool:
    """Tell if a directive is one of ``[Unit]``."""
    return name in UNIT or is_condition(name)


def is_condition(name: str) -> bool:
    """Tell if a directive is a condition or an assertion of ``[Unit]``."""
    return name.startswith(_TESTS)


def command(directives: Directives) -> str | None:
    """The lines of ``ExecStart=`` that take the place of a command, as one text."""
    found = dict(directives).get("ExecStart")
    return found if found is None or isinstance(found, str) else "\n".join(found)


def is_oneshot(directives: Directives) -> bool:
    """Tell if a job has several commands, one after the other: only ``Type=oneshot`` does that."""
    found = dict(directives)
    main = found.get("ExecStart", "")
    several = not isinstance(main, str) and len(main) > 1
    return several or not found.keys().isdisjoint(("ExecStartPre", "ExecStartPost"))


def is_success(directives: Directives, exit_code: int) -> bool:
    """Tell if a job has this exit code among those of ``SuccessExitStatus=``."""
    value = dict(directives).get("SuccessExitStatus", "")
    lines = (value,) if isinstance(value, str) else value
    return str(exit_code) in " ".join(lines).split()


def directive_lines(directives: Directives) -> list[tuple[UnitText, UnitText]]:
    """The lines of a job's directives."""
    return [
        (unittext.plain(name), unittext.raw(line))
        for name, value in directives
        for line in ((value,) if isinstance(value, str) else value)
    ]


def of_unit(directives: Directives) -> Directives:
    """Those of ``[Unit]``."""
    return tuple((name, value) for name, value in directives if is_of_unit(name))


def of_service(directives: Directives) -> Directives:
    """Those of ``[Service]``."""
    return tuple((name, value) for name, value in directives if not is_of_unit(name))
