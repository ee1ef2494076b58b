"""The users and groups of a job."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from lunasched.units.needs.lack import Lack
from lunasched.units.needs.machinequestions import Absence
from lunasched.units.needs.place import Place

_USER, _GROUP = 217, 216
"""EXIT_USER and EXIT_GROUP of systemd.exec(5)."""


def account_lacks(place: Place) -> Iterator[Lack]:
    """Find users and groups that there are not, and homes that are not there."""
    yield from _user(place)
    for name, line in place.lines("Group", "SupplementaryGroups"):
        for word in line.split():
            if "%" in word or word.isdecimal() or place.machine.group(word) is not None:
                continue
            yield place.lack(
                f"systemd.{name}",
                word,
                f"there is no group {word!r}",
                exits=_GROUP,
                remedy=f"make it ('groupadd --system {shlex.quote(word)}'), or name another",
            )


def _user(place: Place) -> Iterator[Lack]:
    user, account = place.job.user, place.account
    if account is None:
        if user is not None:
            yield place.lack(
                "user",
                user,
                f"there is no user {user!r}",
                exits=_USER,
                remedy=f"make it ('useradd --system {shlex.quote(user)}'), or name another",
            )
        return
    if not account.is_person or user is None:
        return
    home, shell = account.home, account.shell
    if place.job.working_directory is None and place.examine(home) is Absence.NOTHING:
        yield place.lack(
            "user",
            account.name,
            f"the home of {account.name}, {home}, is not there now",
            effect="until it is made or mounted, runs begin in /",
            remedy="make it, have the job wait for it (systemd: RequiresMountsFor), or set "
            "working_directory",
        )
    if shell and place.examine(shell) is Absence.NOTHING:
        yield place.lack(
            "user",
            account.name,
            f"the shell of {account.name}, {shell}, is not there",
            effect="the job itself is run by /bin/sh, but su(1) and programs that ask SHELL fail",
            remedy=f"install it, or 'chsh --shell /bin/sh {shlex.quote(account.name)}'",
        )
