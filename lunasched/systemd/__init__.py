"""The service manager over D-Bus; the only importer of pydbus and, beside the supervisor, of gi."""

from lunasched.systemd.bus import Answered
from lunasched.systemd.manager import (
    Elapse,
    Invocation,
    Manager,
    UnitFacts,
    UnitState,
    UnitTimes,
    unit_path,
)
from lunasched.systemd.notify import notify
from lunasched.systemd.polkit import may_do
from lunasched.systemd.startsocket import START_SOCKET_UNIT, StartSocket

__all__ = [
    "START_SOCKET_UNIT",
    "Answered",
    "Elapse",
    "Invocation",
    "Manager",
    "StartSocket",
    "UnitFacts",
    "UnitState",
    "UnitTimes",
    "may_do",
    "notify",
    "unit_path",
]
