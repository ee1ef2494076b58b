"""``lunasched-daemon``: journal records into history, and intervals across a boot.

``service`` connects its parts, and says how it waits and wakes; ``loop`` is what they wait in.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lunasched import __version__
from lunasched.errors import LunaschedError
from lunasched.files.settings import Settings
from lunasched.formats import daycalendar
from lunasched.machine import terminal
from lunasched.paths import Mode, Paths, host_timezone
from lunasched.state.deploylock import DeployLock

if TYPE_CHECKING:
    from lunasched.store import Store


def main(argv: Sequence[str] | None = None) -> int:
    """The entry point of ``lunasched-daemon``; the exit status is that of lunasched(1)."""
    terminal.make_printable()
    options = _parse(argv)
    mode = Mode(options.mode)
    try:
        paths = Paths.of(mode, os.environ)
        with running_lock(paths.history):
            return _serve(mode, paths)
    except LunaschedError as error:
        if options.debug:
            raise
        print(f"lunasched-daemon: {error}", file=sys.stderr)
        return int(error.exit_code)


@contextmanager
def running_lock(history: Path) -> Iterator[None]:
    """Be the one supervisor of this history; the kernel ends that with the process."""
    from lunasched.store import supervisor_lock

    path = supervisor_lock(history)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise LunaschedError(f"{path}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise LunaschedError(
            f"a supervisor is recording into {history} already; "
            "see: systemctl status lunasched.service"
        ) from None
    try:
        yield
    finally:
        os.close(descriptor)


def _serve(mode: Mode, paths: Paths) -> int:
    # Imported here, so that asking whether a supervisor runs costs no start-up time.
    from lunasched.state.runtimedir import RuntimeDirectory
    from lunasched.state.slotfile import SlotDirectory
    from lunasched.supervisor.loop import Loop
    from lunasched.supervisor.service import Supervisor
    from lunasched.systemd.journal import Journal
    from lunasched.systemd.manager import Manager
    from lunasched.systemd.startsocket import StartSocket

    daycalendar.look_in(paths.calendars)
    settings = Settings.load(paths.settings, os.environ)
    starts = StartSocket() if mode is Mode.SYSTEM else None
    with _opened(mode, paths) as store:
        if store.migration is not None:
            for line in store.migration.summary():
                print(f"<5>{line}", file=sys.stderr)
        loop = Loop()
        supervisor = Supervisor(
            loop,
            mode=mode,
            store=store,
            journal=Journal(mode, os.getuid()),
            manager=Manager.connect(mode, starts=starts),
            slots=SlotDirectory(paths.slots),
            deploy_lock=DeployLock(paths.deploy_lock),
            runtime=RuntimeDirectory(paths.runtime),
            settings=settings,
            host_timezone=host_timezone(),
            calendars=paths.calendars,
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.on_signal(number, loop.quit)
        return supervisor.run()


def _opened(mode: Mode, paths: Paths) -> Store:
    """Both databases: in system mode the definitions are root's, and only read."""
    from lunasched.paths import is_supervisor
    from lunasched.store import Store, check_directory
    from lunasched.supervisor.zones import settle

    if mode is Mode.USER or not is_supervisor(os.geteuid()):
        return Store.open(paths.database, durable=False, mode=mode)
    check_directory(paths.database.parent)
    database = paths.database
    return Store.open_for_supervisor(database, settle=lambda: settle(database))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="lunasched-daemon",
        description="Record the runs of lunasched's jobs. Jobs run on time without it.",
    )
    parser.add_argument("--version", action="version", version=f"lunasched {__version__}")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--system",
        dest="mode",
        action="store_const",
        const=Mode.SYSTEM.value,
        help="record the system's jobs (as root or the user lunasched; their default)",
    )
    chosen.add_argument(
        "--user",
        dest="mode",
        action="store_const",
        const=Mode.USER.value,
        help="record the calling user's own jobs (the default of ordinary users)",
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    default = Mode.SYSTEM if os.getuid() == 0 else Mode.USER
    parser.set_defaults(mode=default.value)
    return parser.parse_args(argv)
