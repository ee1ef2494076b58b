"""What ``eject`` and ``adopt`` have in common: two timers for one schedule, of which one runs.

Before anything is touched, a file beside the database says what is about to be handed over. Who
takes the deploy lock next, after a kill, finds it: a hand-over whose job is as it shall be in
the database is finished, any other taken back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lunasched import slot, unittext
from lunasched.errors import DeploymentFailed
from lunasched.unitdir import UnitDirectory

if TYPE_CHECKING:
    from lunasched.config import Paths
    from lunasched.model import Job
    from lunasched.systemd import Manager

_SUFFIX = ".handover"
# A timer may elapse as much late as that, and then the change begins.
_LATE_USEC = 10_000_000


class Record:
    """The file that says what is being handed over."""

    def __init__(self, paths: Paths) -> None:
        self._path = paths.database.with_name(paths.database.name + _SUFFIX)
        self._files = UnitDirectory(self._path.parent, mark="", prefix=self._path.name)

    def read(self) -> dict[str, Any] | None:
        """What was begun and is not known to be finished."""
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise DeploymentFailed(f"{self._path} cannot be read: {error}") from error
        if not isinstance(found, dict):
            raise DeploymentFailed(f"{self._path} is not what lunasched wrote")
        return found

    def write(self, record: Mapping[str, Any]) -> None:
        """Note it, so that it outlives a power cut."""
        with self._files.stage({self._path.name: json.dumps(record)}) as staged:
            staged.install()

    def drop(self) -> None:
        """Forget it."""
        self._files.remove([self._path.name])
        self._files.remove_leftovers()


def check_idle(manager: Manager, *services: str) -> None:
    """Refuse to hand over what runs: the new units would not wait for that run."""
    running = sorted(unit for service in services for unit in manager.busy(service))
    if running:
        raise DeploymentFailed(
            f"{running[0]} is running, and nothing was changed; wait until it has ended, or stop it"
        )


def runs_of(job: str) -> tuple[str, str]:
    """The patterns of the services of a job's runs."""
    return unittext.service_name(job), unittext.run_service_name(job, "*")


def lost_slot(job: Job, host_timezone: str, *, before: int, done: int, until: int) -> bool:
    """Whether a slot came while no timer ran (µs, UTC).

    The old timer was there until ``before`` or later and last acted at ``done``, the new one is
    from ``until`` on.
    """
    latest = slot.latest_slot(job, until, host_timezone)
    late = before - _LATE_USEC - int(job.jitter * 1_000_000)
    return latest is not None and latest > max(done, late)
