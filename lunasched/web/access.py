"""Access to the page: the names that the server answers to, and who sees outputs.

Every user of the machine can connect to a port of it, and a web page that somebody reads there can
have their browser do so, under any name that leads to the machine (DNS rebinding).
"""

from __future__ import annotations

import grp
import ipaddress
import os
import pwd
from contextlib import suppress

from lunasched.dataclass import dataclass
from lunasched.web import peer
from lunasched.web.httpserver import Request

JOURNAL_GROUPS = ("adm", "systemd-journal", "wheel")
"""The groups whose members may read the system's journal (systemd-journald.service(8))."""


@dataclass(frozen=True, slots=True)
class Access:
    """The rules of one server."""

    names: frozenset[str]
    """Hosts that it answers to, in lower case, besides localhost and addresses."""
    private: bool
    """True if it answers only to ``uid`` and to root: a user's own jobs are nobody else's."""
    show_output: bool
    """True if everybody sees outputs who sees the rest."""
    uid: int
    """The user ID of the supervisor."""
    group: str | None = None
    """The group that may read the database."""

    def knows(self, host: str | None) -> bool:
        """Tell whether a request for this host (and port) is meant for us.

        An address cannot be rebound, and what sends no name is no browser.
        """
        if host is None:
            return True
        name = _without_port(host).lower().rstrip(".")
        if name == "localhost" or name in self.names:
            return True
        with suppress(ValueError):
            ipaddress.ip_address(name)
            return True
        return False

    def admits(self, request: Request) -> bool:
        """Tell whether the client may see anything."""
        if not self.private:
            return True
        return peer.owner(request.client, request.server) in (0, self.uid)

    def trusts(self, request: Request) -> bool:
        """Tell whether the client may see what jobs print.

        Where not everybody may: root, whose jobs they are, and in system mode the members of the
        groups that could read it without us.
        """
        if self.show_output:
            return True
        uid = peer.owner(request.client, request.server)
        if uid is None or self.private:
            return uid is not None and uid in (0, self.uid)
        return uid in (0, self.uid) or _is_member(uid, {*JOURNAL_GROUPS, self.group})


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_member(uid: int, groups: set[str | None]) -> bool:
    try:
        entry = pwd.getpwuid(uid)
        members = os.getgrouplist(entry.pw_name, entry.pw_gid)
    except (KeyError, OSError):
        return False
    for gid in members:
        with suppress(KeyError):
            if grp.getgrgid(gid).gr_name in groups:
                return True
    return False
