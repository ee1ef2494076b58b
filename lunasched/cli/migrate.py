"""The command that takes over the jobs of an earlier lunasched."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Optional

import typer

from lunasched.cli.app import MODE_OPTION, app, chosen_mode
from lunasched.cli.session import Session
from lunasched.errors import LunaschedError, PermissionDenied
from lunasched.paths import SUPERVISOR_USER, Mode


@app.command()
def migrate(ctx: typer.Context, system: Optional[bool] = MODE_OPTION) -> None:
    """Take the system's jobs over from an earlier lunasched. The supervisor is stopped.

    Jobs that root did not deploy are left out.
    """
    from lunasched.deploy.takeover import Takeover

    session = Session.choose(chosen_mode(ctx, system))
    if session.mode is Mode.USER:
        # In user mode, opening the database migrates it.
        session.store.jobs.names()
        print("Your own jobs are those of this version.")
        return
    if os.geteuid() != 0:
        raise PermissionDenied(
            "only root can migrate the system's jobs; your own need no migration"
        )
    try:
        entry = pwd.getpwnam(SUPERVISOR_USER)
    except KeyError:
        raise LunaschedError(
            f"there is no user {SUPERVISOR_USER}, which the supervisor runs as; "
            "create it: systemd-sysusers"
        ) from None
    takeover = Takeover(session.paths, (entry.pw_uid, entry.pw_gid))
    if not takeover.is_due():
        print("There is nothing to take over.")
        return
    manager = session.manager if Path("/run/systemd/system").is_dir() else None
    done = takeover.carry_out(manager)
    for line in done.notes:
        print(f"note: {line}")
    print(f"Took over {done.jobs} jobs; they have timers after: lunasched sync")
    if done.left:
        print(
            f"Left out {len(done.left)} jobs, which are not as root deployed them: "
            f"{', '.join(map(repr, done.left))}.\n"
            f"They are in {done.file}. Review them; to deploy them, run as root: "
            f"lunasched import-config {done.file}"
        )
