"""Every exception that lunasched raises on purpose, with the exit code it ends a command with.

::

    LunaschedError                1  the operation failed
    ├── InvalidInput              2  the caller asked for something that cannot be
    │   ├── ScheduleError            a schedule that cannot be read or said exactly
    │   ├── InvalidJob               a job definition with one or more faults
    │   ├── InvalidJobs              the same of several jobs
    │   └── JobExists                `add` of a name that is taken
    ├── NoSuchJob                 3  the name is not a job of ours
    ├── PermissionDenied          4  root (or another user's manager) is needed
    ├── SystemdUnreachable        5  no answer from the service manager's bus
    ├── SystemdError              1  the service manager refused a call
    ├── UnitConflict              1  a file or unit stands where ours would go and is not ours
    ├── DeploymentFailed          1  units could not be written or loaded
    ├── StoreError                1  the database cannot be read or written
    ├── JournalError              1  the journal cannot be read
    ├── NotifyError               1  a message could not be sent
    └── TemplateFailed            1  a template of a message could not be filled in

Libraries raise these; only ``lunasched.cli`` renders them. A message is one or two sentences:
what is wrong, where, and what to do next. That nothing was changed is not in the text of an error
that may be raised in the middle of something: ``nothing_changed`` is set by who knows it.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit status of a ``lunasched`` command; documented in lunasched(1)."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NO_SUCH_JOB = 3
    PERMISSION = 4
    NO_SYSTEMD = 5


class LunaschedError(Exception):
    """Base of all errors that are expected; its text is meant for the user."""

    exit_code = ExitCode.FAILED
    nothing_changed = False
    """True if nothing is known to have changed. The raiser sets it, the CLI prints it."""


class InvalidInput(LunaschedError):
    """The request cannot be carried out as it was written."""

    exit_code = ExitCode.USAGE


class ScheduleError(InvalidInput):
    """A schedule that cannot be read, or that no timer can express exactly.

    ``position`` is an index into ``text``; both are shown under the message, with a caret.
    """

    def __init__(self, message: str, *, text: str = "", position: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.text = text
        self.position = position

    def __str__(self) -> str:
        if not self.text or self.position is None:
            return self.message
        # One line, and one column for each character, so that the caret is in place.
        text = "".join(one if one.isprintable() else "\ufffd" for one in self.text)
        return f"{self.message}\n    {text}\n    {' ' * self.position}^"


class CalendarError(ScheduleError):
    """A calendar that a schedule names is not there, or cannot be read."""


class InvalidJob(InvalidInput):
    """A job definition with faults; ``problems`` holds all of them, a line each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class InvalidJobs(InvalidInput):
    """Several jobs that were to be changed at once, some of them with faults.

    ``faults`` has the name of a job and what is wrong with it, as ``key: message``.
    """

    def __init__(self, faults: Sequence[tuple[str, str]]) -> None:
        super().__init__("\n".join(f"job {name!r}: {problem}" for name, problem in faults))
        self.faults = tuple(faults)


class JobExists(InvalidInput):
    """A job of this name exists already."""


class NoSuchJob(LunaschedError):
    """No job has this name."""

    exit_code = ExitCode.NO_SUCH_JOB

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no job {name!r}; 'lunasched list' shows all jobs")


class PermissionDenied(LunaschedError):
    """The caller may not do this."""

    exit_code = ExitCode.PERMISSION


class SystemdUnreachable(LunaschedError):
    """There is no bus, no manager behind it, or it did not answer in time."""

    exit_code = ExitCode.NO_SYSTEMD


class SystemdError(LunaschedError):
    """The service manager answered with an error; ``name`` is its D-Bus error name."""

    def __init__(self, message: str, *, name: str = "") -> None:
        super().__init__(message)
        self.name = name


class UnitConflict(LunaschedError):
    """A file that we did not write stands where one of ours would go."""


class DeploymentFailed(LunaschedError):
    """A change of units could not be completed."""


class ZonesChanged(LunaschedError):
    """The time zones changed between the start of a command and its turn to change jobs."""

    def __init__(self) -> None:
        super().__init__(
            "the time zone of this machine changed while other jobs were being deployed; "
            "nothing was changed: run the command again"
        )


class StoreError(LunaschedError):
    """The database cannot be opened, read or written."""


class JournalError(LunaschedError):
    """The journal cannot be opened or read."""


class NotifyError(LunaschedError):
    """A message could not be sent; its text holds no secret.

    ``permanent``: sending it again would not help. ``retry_after``: seconds to wait before the next
    attempt, where the service said so. ``unreachable``: no other message to the same server would
    fare better now.
    """

    def __init__(
        self,
        message: str,
        *,
        permanent: bool = False,
        retry_after: float | None = None,
        unreachable: bool = False,
    ) -> None:
        super().__init__(message)
        self.unreachable = unreachable
        self.permanent = permanent
        self.retry_after = retry_after


class TemplateFailed(LunaschedError):
    """A template of a message could not be filled in."""


@contextmanager
def nothing_changed_if_it_raises() -> Iterator[None]:
    """Note of an error that it came before anything was changed, or after all was taken back."""
    try:
        yield
    except LunaschedError as error:
        error.nothing_changed = True
        raise


_REASONS = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EROFS: "the file system is read-only; remount it writable",
}


def reason(error: OSError) -> str:
    """Return what the system says is in the way, with the remedy where there is one."""
    return _REASONS.get(error.errno or 0, error.strerror or str(error))


_KEY_MAX = 64


def near(key: object, known: Iterable[str]) -> str:
    """Return a hint to the key that was probably meant, or nothing."""
    from difflib import get_close_matches

    found = get_close_matches(str(key)[:_KEY_MAX], list(known), 1)
    return f"; did you mean {found[0]!r}?" if found else ""
