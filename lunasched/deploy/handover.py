"""The common part of ``eject`` and ``adopt``: two timers for one schedule, of which one runs.

Before anything is touched, a file says what is about to be handed over; it is among those of the
slots, which are root's in system mode. Who takes the deploy lock next, after a kill, finds it: a
hand-over whose job is in the database as intended is finished, any other taken back.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from lunasched.dataclass import dataclass
from lunasched.errors import DeploymentFailed
from lunasched.formats import unittext
from lunasched.history import slot
from lunasched.state.unitdir import UnitDirectory

if TYPE_CHECKING:
    from lunasched.jobs.model import Job
    from lunasched.paths import Paths
    from lunasched.systemd.manager import Manager

# ":" does not occur in the names of jobs' files.
_NAME = "handover:record"
# A timer may elapse this late, and a change takes this long.
_LATE_USEC = 10_000_000


@dataclass(frozen=True, slots=True)
class Record:
    """A hand-over in progress."""

    kind: str
    job: str
    units: tuple[str, str]
    """The timer and the service beside those of the job."""
    moves: tuple[tuple[str, str], ...] = ()
    """Files that are renamed, and to what."""
    links: tuple[tuple[str, str], ...] = ()
    """Symbolic links that are removed, and where they point."""


class RecordFile:
    """The file that says so."""

    def __init__(self, paths: Paths) -> None:
        self._path = paths.slots / _NAME
        self._files = UnitDirectory(self._path.parent, mark="", prefix=self._path.name)

    def read(self) -> Record | None:
        """Return the hand-over that was begun and is not known to be finished."""
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
            return Record(
                found["kind"],
                found["job"],
                tuple(found["units"]),
                tuple(map(tuple, found["moves"])),
                tuple(map(tuple, found["links"])),
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DeploymentFailed(f"{self._path} cannot be read: {error}") from error

    def write(self, record: Record) -> None:
        """Note it, so that it outlives a power cut."""
        with self._files.stage({self._path.name: json.dumps(asdict(record))}) as staged:
            staged.install()

    def drop(self) -> None:
        """Forget it."""
        self._files.remove([self._path.name])
        self.remove_leftovers()

    def remove_leftovers(self) -> None:
        """Remove what killed processes staged beside the slots; only for who holds the lock."""
        self._files.remove_leftovers()


def check_idle(manager: Manager, *services: str) -> None:
    """Refuse to hand over what runs: the new units would not wait for that run."""
    running = sorted(unit for service in services for unit in manager.busy(service))
    if running:
        raise DeploymentFailed(f"{running[0]} is running; wait until it has ended, or stop it")


def runs_of(job: str) -> tuple[str, str]:
    """The patterns of the services of a job's runs."""
    return unittext.service_name(job), unittext.run_service_name(job, "*")


def lost_slot(job: Job, host_timezone: str, *, before: int, done: int, until: int) -> bool:
    """Tell whether a slot came while no timer ran (µs, UTC).

    The old timer was there until ``before`` or later and last acted at ``done``, the new one is
    from ``until`` on.
    """
    latest = slot.latest_slot(job, until, host_timezone)
    late = before - _LATE_USEC - int(job.leeway * 1_000_000)
    return latest is not None and latest > max(done, late)
