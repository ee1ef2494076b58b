"""What polkit(8) lets somebody do with units."""

from __future__ import annotations

import os

from gi.repository import GLib

from lunasched.config import Mode
from lunasched.systemd.bus import Bus, Call

_NAME = "org.freedesktop.PolicyKit1"
_AUTHORITY = "org.freedesktop.PolicyKit1.Authority"
_PATH = "/org/freedesktop/PolicyKit1/Authority"
# What systemd asks for by this is the start of a unit that there is, not of a transient one.
_START = "Authentication is required to start '$(unit)'."
_MANAGE_UNITS = "org.freedesktop.systemd1.manage-units"


def may_start(uid: int, unit: str) -> bool:
    """Whether polkit lets a user start a unit of the system without a password.

    Only root may ask that about others. Raises ``PermissionDenied``, ``SystemdUnreachable`` where
    polkit does not answer, ``SystemdError``.
    """
    # polkit wants a process and believes root what user it is of.
    subject = {
        "pid": GLib.Variant("u", os.getpid()),
        "start-time": GLib.Variant("t", 0),
        "uid": GLib.Variant("i", uid),
    }
    details = {"unit": unit, "verb": "start", "polkit.message": _START}
    parameters = GLib.Variant(
        "((sa{sv})sa{ss}us)", (("unix-process", subject), _MANAGE_UNITS, details, 0, "")
    )
    call = Call(
        "CheckAuthorization", parameters, path=_PATH, interface=_AUTHORITY, destination=_NAME
    )
    ((authorized, _, _),) = Bus.open(Mode.SYSTEM).call(call)
    return bool(authorized)
