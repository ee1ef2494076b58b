"""What a command works on: the mode that was chosen, its paths, store and service manager."""

from __future__ import annotations

import os
import pwd
import sys
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING

from lunasched.config import (
    SUPERVISOR_USER,
    Mode,
    Paths,
    host_timezone,
    unit_scripts,
    unit_templates,
    zone_identity,
)
from lunasched.errors import NoSuchJob

if TYPE_CHECKING:
    from lunasched.compiler import Context
    from lunasched.deploy import Deployer
    from lunasched.journal import Journal
    from lunasched.model import Job
    from lunasched.settings import Settings
    from lunasched.store import Start, Store
    from lunasched.supervisor.consequences import Consequences
    from lunasched.systemd import Manager


@dataclass(frozen=True)
class Session:
    """One command's surroundings, each part made when it is first needed."""

    mode: Mode

    @classmethod
    def choose(cls, system: bool | None) -> Session:
        """``--system`` (True), ``--user`` (False), or by who is asking (None): root or not."""
        if system is None:
            system = os.geteuid() == 0
        return cls(Mode.SYSTEM if system else Mode.USER)

    @cached_property
    def paths(self) -> Paths:
        """The files of the mode."""
        return Paths.of(self.mode, os.environ)

    @cached_property
    def store(self) -> Store:
        """The database, opened; that of Lunasched 1.x is taken over, and what became of it told."""
        from lunasched.store import Store

        store = Store.open(self.paths.database, owner=self._database_owner(), mode=self.mode)
        if store.migration is not None:
            option = "--user " if self.mode is Mode.USER else ""
            for line in [
                *store.migration.summary(),
                f"the jobs have timers after: lunasched {option}sync",
            ]:
                print(f"note: {line}", file=sys.stderr)
        return store

    @cached_property
    def store_as_is(self) -> Store:
        """The database for what changes nothing: where there is none, none is made."""
        from lunasched.store import Store

        try:
            missing = not self.paths.database.exists()
        except PermissionError:
            missing = False
        return Store.in_memory() if missing else self.store

    @cached_property
    def manager(self) -> Manager:
        """The service manager, connected."""
        from lunasched.systemd import Manager

        return Manager.connect(self.mode)

    @cached_property
    def journal(self) -> Journal:
        """The journal."""
        from lunasched.journal import Journal

        return Journal(self.mode, os.getuid())

    @cached_property
    def host_timezone(self) -> str:
        """The host's own zone."""
        return host_timezone()

    @cached_property
    def context(self) -> Context:
        """What compiling depends on; ``now`` is the beginning of the year, see ``Context``."""
        from lunasched.compiler import Context

        year = datetime.now(timezone.utc).year
        return Context(
            mode=self.mode,
            host_timezone=self.host_timezone,
            zones=zone_identity(),
            now=datetime(year, 1, 1, tzinfo=timezone.utc),
            templates=unit_templates(),
            scripts=unit_scripts(),
            units=self.paths.units,
            slots=self.paths.slots,
            runtime=self.paths.runtime,
        )

    @cached_property
    def settings(self) -> Settings:
        """What the configuration file says; raises ``InvalidInput``."""
        from lunasched.settings import Settings

        return Settings.load(self.paths.settings, os.environ)

    @cached_property
    def deployer(self) -> Deployer:
        """The use case that changes jobs. Connects first: without systemd nothing is changed."""
        from lunasched.deploy import Deployer

        manager = self.manager
        return Deployer(
            self.store,
            self.paths,
            manager,
            self.context,
            max_concurrent_jobs=self.settings.max_concurrent_jobs,
        )

    @cached_property
    def consequences(self) -> Consequences:
        """What follows where a command decides what becomes of a run."""
        from lunasched.supervisor.consequences import Consequences
        from lunasched.supervisor.messages import Origin

        return Consequences(self.store, Origin.here(self.mode), self.now)

    def job(self, name: str) -> Job:
        """The job of this name; raises ``NoSuchJob``."""
        job = self.store.jobs.get(name)
        if job is None:
            raise NoSuchJob(name)
        return job

    def retries(self) -> dict[str, Start]:
        """The pending retries, by the execution ID of the run that failed."""
        return {start.failed_id: start for start in self.store.starts.all() if start.failed_id}

    def now(self) -> int:
        """Microseconds since the epoch, UTC."""
        return time.time_ns() // 1000

    def note_supervisor(self) -> None:
        """Tell on standard error where the history may lag behind."""
        from lunasched.supervisor import is_running

        if not is_running(self.paths.database):
            option = "--user " if self.mode is Mode.USER else ""
            print(
                "note: the supervisor is not running; jobs run without it, and their runs are "
                f"recorded once it does: systemctl {option}enable --now lunasched.service",
                file=sys.stderr,
            )

    @property
    def lingers(self) -> bool:
        """Whether the caller's own manager runs while they are logged out."""
        from lunasched import host

        return host.lingers(pwd.getpwuid(os.getuid()).pw_name)

    def _database_owner(self) -> tuple[int, int] | None:
        """The supervisor's user, where root makes the system's database."""
        if self.mode is Mode.USER or os.geteuid() != 0:
            return None
        try:
            entry = pwd.getpwnam(SUPERVISOR_USER)
        except KeyError:
            return None
        return entry.pw_uid, entry.pw_gid
