"""The service manager over D-Bus; the only importer of pydbus and, beside the supervisor, of gi."""

from lunasched.systemd.bus import Answered
from lunasched.systemd.manager import Invocation, Manager, UnitFacts, UnitState, unit_path
from lunasched.systemd.notify import notify
from lunasched.systemd.polkit import may_start

__all__ = [
    "Answered",
    "Invocation",
    "Manager",
    "UnitFacts",
    "UnitState",
    "may_start",
    "notify",
    "unit_path",
]
