"""The warnings about jobs that need what is not there."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from lunasched.formats.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lunasched.cli.session import Session
    from lunasched.jobs.model import Job


def warn_of_lacks(session: Session, jobs: Iterable[Job]) -> None:
    """Say on standard error what these jobs need and is not there now; they are taken all the same.

    A program may be installed later, and a home mounted.
    """
    from lunasched.units import needs

    for lack in needs.lacking(jobs, session.surroundings):
        print(f"warning: {printable(str(lack))}", file=sys.stderr)
