"""The rights that polkit(8) gives the supervisor's user, who should have none."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from gi.repository import GLib

from lunasched.paths import Mode
from lunasched.systemd.bus import Bus, Call

_NAME = "org.freedesktop.PolicyKit1"
_AUTHORITY = "org.freedesktop.PolicyKit1.Authority"
_PATH = "/org/freedesktop/PolicyKit1/Authority"
# systemd uses this action for starts of existing units, not of transient ones.
_START = "Authentication is required to start '$(unit)'."
_MANAGE_UNITS = "org.freedesktop.systemd1.manage-units"


def _start(unit: str) -> Mapping[str, str]:
    return {"unit": unit, "verb": "start", "polkit.message": _START}


# One of each kind: what a rule of 2.0.0 permitted, what a rule that is too wide permits, and what
# logind permits everybody.
_QUESTIONS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "start jobs by itself": (_MANAGE_UNITS, _start("lunasched-job@doctor.service")),
    "start units that are not lunasched's": (_MANAGE_UNITS, _start("ssh.service")),
    "have processes of its own after each boot": ("org.freedesktop.login1.set-self-linger", {}),
}


def may_do(uid: int) -> Iterator[str]:
    """Yield what of the above polkit lets a user do without a password.

    Only root may ask that about others. Raises ``PermissionDenied``, ``SystemdUnreachable`` where
    polkit does not answer, ``SystemdError``.
    """
    bus = Bus.open(Mode.SYSTEM)
    for words, (action, details) in _QUESTIONS.items():
        if _is_authorized(bus, uid, action, details):
            yield words


def _is_authorized(bus: Bus, uid: int, action: str, details: Mapping[str, str]) -> bool:
    # polkit needs a process, and trusts root to name its user.
    subject = {
        "pid": GLib.Variant("u", os.getpid()),
        "start-time": GLib.Variant("t", 0),
        "uid": GLib.Variant("i", uid),
    }
    parameters = GLib.Variant(
        "((sa{sv})sa{ss}us)", (("unix-process", subject), action, details, 0, "")
    )
    call = Call(
        "CheckAuthorization", parameters, path=_PATH, interface=_AUTHORITY, destination=_NAME
    )
    ((authorized, _, _),) = bus.call(call)
    return bool(authorized)
