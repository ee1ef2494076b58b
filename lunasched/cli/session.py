"""The surroundings of a command: the chosen mode, its paths, store and service manager."""

from __future__ import annotations

import atexit
import os
import pwd
import sys
import time
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from lunasched.dataclass import dataclass
from lunasched.errors import LunaschedError, NoSuchJob, StoreError, nothing_changed_if_it_raises
from lunasched.formats import daycalendar
from lunasched.formats.printable import printable
from lunasched.paths import (
    SUPERVISOR_USER,
    Mode,
    Paths,
    host_timezone,
    is_there,
    unit_scripts,
    unit_templates,
    user_name,
    zone_identity,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from lunasched.deploy.deployer import Deployer
    from lunasched.files.settings import Settings
    from lunasched.history.overview import ListedJob
    from lunasched.history.timerstate import Timers
    from lunasched.jobs.model import Job
    from lunasched.machine.surroundings import Surroundings
    from lunasched.store import RemoteHistory, Start, Store
    from lunasched.supervisor.consequences import Consequences
    from lunasched.systemd.journal import Journal
    from lunasched.systemd.manager import Manager
    from lunasched.units.compiler import Context

T = TypeVar("T")


@dataclass(frozen=True)
class Session:
    """One command's surroundings, each part made when it is first needed."""

    mode: Mode

    @classmethod
    def choose(cls, system: bool | None) -> Session:
        """``--system`` (True), ``--user`` (False), or by who is asking (None): root or not."""
        if system is None:
            system = os.geteuid() == 0
        session = cls(Mode.SYSTEM if system else Mode.USER)
        daycalendar.look_in(session.paths.calendars)
        return session

    @cached_property
    def paths(self) -> Paths:
        """The files of the mode."""
        return Paths.of(self.mode, os.environ)

    @cached_property
    def store(self) -> Store:
        """The jobs and their history, opened as who is asking may (ARCHITECTURE.md).

        In system mode root opens the definitions, and the history through a child that has the
        supervisor's rights; the supervisor's user opens the history, and may read the definitions.
        In user mode both are one's own, and a database of an earlier lunasched is taken over.
        They are closed when the program ends.
        """
        store = self._opened()
        atexit.register(store.close)
        return store

    def _opened(self) -> Store:
        from lunasched.store import Definitions, Store, check_directory

        path = self.paths.database
        if self.mode is Mode.SYSTEM and os.geteuid() == 0 and self._supervisor:
            history = self._remote_history
            check_directory(path.parent)
            return Store(Definitions.open(path, group=self._supervisor[1]), history)
        if self.mode is Mode.SYSTEM and self._supervisor and os.geteuid() == self._supervisor[0]:
            return Store.open_for_supervisor(path)
        store = Store.open(path, mode=self.mode)
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
        """The same for what changes nothing: where there are no jobs, no database is made."""
        from lunasched.store import Store

        if not self._is_unused:
            return self.store
        store = Store.in_memory()
        atexit.register(store.close)
        return store

    @cached_property
    def store_to_look_at(self) -> Store:
        """Both databases as they are, for who finds out what is wrong with them."""
        from lunasched.store import RemoteHistory, Store

        path = self.paths.database
        if self.mode is Mode.SYSTEM and os.geteuid() == 0 and self._supervisor:
            history = RemoteHistory(self.paths.history, *self._supervisor, as_it_is=True)
            store = Store.open_as_it_is(path, history)
        else:
            store = Store.open_as_it_is(path)
        atexit.register(store.close)
        return store

    @property
    def _is_unused(self) -> bool:
        path = self.paths.database
        try:
            return not is_there(path) and not is_there(path.with_name("lunasched.db"))
        except OSError:
            # What is in the way is said when it is opened.
            return False

    @cached_property
    def _remote_history(self) -> RemoteHistory:
        from lunasched.store import RemoteHistory

        assert self._supervisor is not None
        top, directory = self.paths.database.parent, self.paths.history.parent
        # If a directory cannot be created, its user reports that.
        with suppress(OSError):
            top.mkdir(mode=0o755, parents=True, exist_ok=True)
            if not is_there(directory) and top.stat().st_uid == 0:
                directory.mkdir(mode=0o700)
                os.chown(directory, *self._supervisor)
        return RemoteHistory(self.paths.history, *self._supervisor)

    @cached_property
    def _supervisor(self) -> tuple[int, int] | None:
        """The supervisor's user and group ID, where there is that user."""
        try:
            entry = pwd.getpwnam(SUPERVISOR_USER)
        except KeyError:
            return None
        return entry.pw_uid, entry.pw_gid

    @cached_property
    def manager(self) -> Manager:
        """The service manager, connected."""
        from lunasched.systemd.manager import Manager

        if self.mode is Mode.SYSTEM and os.geteuid() == 0 and self._supervisor:
            # Before D-Bus starts threads, which a forked child would lack.
            self._remote_history.start()
        return Manager.connect(self.mode)

    @cached_property
    def surroundings(self) -> Surroundings:
        """This machine, as jobs find it."""
        from lunasched.machine.surroundings import Surroundings

        path = None
        # A command that only shows a plan does not connect, and cannot know.
        if "manager" in vars(self):
            with suppress(LunaschedError):
                path = self.manager.path()
        return Surroundings(self.mode, path)

    @cached_property
    def journal(self) -> Journal:
        """The journal."""
        from lunasched.systemd.journal import Journal

        return Journal(self.mode, os.getuid())

    @cached_property
    def host_timezone(self) -> str:
        """The host's own zone."""
        return host_timezone()

    @cached_property
    def context(self) -> Context:
        """The surroundings of compilation; ``now`` is the beginning of the year, see
        ``Context``."""
        from lunasched.units.compiler import Context

        year = datetime.now(timezone.utc).year
        return Context(
            mode=self.mode,
            host_timezone=self.host_timezone,
            zones=zone_identity(self.paths.calendars),
            calendars=self.paths.calendars,
            now=datetime(year, 1, 1, tzinfo=timezone.utc),
            templates=unit_templates(),
            scripts=unit_scripts(),
            units=self.paths.units,
            slots=self.paths.slots,
            runtime=self.paths.runtime,
            systemd=self._systemd_version,
        )

    @cached_property
    def _systemd_version(self) -> int:
        """The version of systemd that reads the units: of the manager, where it was asked anyway.

        What only shows a plan asks the program: between an upgrade and the next start of the
        manager they may differ, and a unit with a directive too many is warned of and works.
        """
        from lunasched.systemd import systemctl
        from lunasched.units import versions

        if "manager" in vars(self):
            with suppress(LunaschedError):
                return versions.major_version(self.manager.version())
        return versions.major_version(systemctl.version())

    @cached_property
    def settings(self) -> Settings:
        """The content of the configuration file; raises ``InvalidInput``."""
        from lunasched.files.settings import Settings
        from lunasched.machine.host import machine_id

        settings = Settings.load(self.paths.settings, os.environ)
        return replace(settings, defaults=replace(settings.defaults, host=machine_id()))

    @cached_property
    def deployer(self) -> Deployer:
        """The use case that changes jobs. Connects first: without systemd nothing is changed."""
        from lunasched.deploy.deployer import Deployer

        manager = self.manager
        with nothing_changed_if_it_raises():
            store = self.store
        return Deployer(
            store,
            self.paths,
            manager,
            self.context,
            max_concurrent_jobs=self.settings.max_concurrent_jobs,
        )

    @cached_property
    def consequences(self) -> Consequences:
        """The consequences of runs, for commands that end or skip a run."""
        from lunasched.supervisor.consequences import Consequences
        from lunasched.supervisor.notificationqueue import Origin

        return Consequences(self.store, Origin.here(self.mode), self.now)

    def job(self, name: str) -> Job:
        """The job of this name; raises ``NoSuchJob``."""
        job = self.store.jobs.get(name)
        if job is None:
            self.check_not_lost()
            raise NoSuchJob(name)
        return job

    def jobs(self, *, as_is: bool = False) -> list[Job]:
        """All jobs; with ``as_is`` no database is made for there being none."""
        found = (self.store_as_is if as_is else self.store).jobs.all()
        if not found:
            self.check_not_lost()
        return found

    def listed(self, *, as_is: bool = False) -> list[ListedJob]:
        """As much of all jobs as a list shows; with ``as_is``, see ``jobs``."""
        found = (self.store_as_is if as_is else self.store).jobs.listed()
        if not found:
            self.check_not_lost()
        return found

    def check_not_lost(self) -> None:
        """Refuse to know of no jobs where some are deployed: their timers run, unknown to anybody.

        Raises ``StoreError``.
        """
        from lunasched.formats import unittext
        from lunasched.state.deploylock import DeployLock
        from lunasched.state.unitdir import UnitDirectory

        # In this order: a removal of the last job that is no longer under way has removed its
        # units, and the first job that was added meanwhile is in the database before its units are.
        if DeployLock(self.paths.deploy_lock).leaves_no_job:
            return
        prefix = unittext.JOB_PREFIX
        mark = unittext.OWNERSHIP_MARK
        deployed = UnitDirectory(self.paths.units, mark=mark, prefix=prefix).owned()
        if deployed and not self.store_as_is.jobs.names():
            raise StoreError(
                f"{self.paths.database} has no jobs, but {len(deployed)} unit files of jobs are "
                "deployed. If the database was lost, restore it"
            )

    def retries(self) -> dict[str, Start]:
        """The pending retries, by the execution ID of the run that failed."""
        return {start.failed_id: start for start in self.store.starts.all() if start.failed_id}

    @cached_property
    def timers(self) -> Timers:
        """The timers of jobs as systemd has them, which says on standard error where it cannot."""
        found = self.timers_if_known
        if found.loaded is None:
            print(
                "note: systemd does not answer; next runs are computed from the schedules alone",
                file=sys.stderr,
            )
        return found

    @property
    def timers_if_known(self) -> Timers:
        """The same without a word."""
        from lunasched.formats import unittext
        from lunasched.history.timerstate import Timers
        from lunasched.systemd import systemctl

        with suppress(LunaschedError):
            return Timers(systemctl.list_units(self.mode, f"{unittext.JOB_PREFIX}*.timer"))
        return Timers()

    def now(self) -> int:
        """Microseconds since the epoch, UTC."""
        return time.time_ns() // 1000

    def of_history(self, action: Callable[[], T], otherwise: T) -> T:
        """Do something with the history that what was asked for does not depend on.

        Where the history cannot be reached, that is said, and the result is ``otherwise``.
        """
        try:
            return action()
        except LunaschedError as error:
            print(f"note: {printable(str(error))}", file=sys.stderr)
            return otherwise

    @property
    def is_recorded(self) -> bool:
        """Tell if a supervisor records the runs of this mode right now."""
        # If systemd cannot be asked, do not claim that there is no supervisor.
        return self.of_history(self.store.history.is_recorded, otherwise=True)

    def note_supervisor(self) -> None:
        """Tell on standard error where the history may lag behind."""
        if not self.is_recorded:
            option = "--user " if self.mode is Mode.USER else ""
            print(
                "note: the supervisor is not running; jobs run without it, and their runs are "
                f"recorded once it does: systemctl {option}enable --now lunasched.service",
                file=sys.stderr,
            )

    @property
    def lingers(self) -> bool | None:
        """True if the caller's own manager runs while they are logged out; ``None``: not known."""
        from lunasched.machine import host

        return host.lingers(user_name())
