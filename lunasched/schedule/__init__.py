"""Schedules: text → rule → timer directives, instants and a sentence. Pure, no clock, no I/O.

::

    parse(text) ─► Schedule ─┬► timing(…)         OnCalendar= lines and intervals for the timer
                             ├► elapses(…)        the instants to come
                             ├► latest_elapse(…)  the slot that a run belongs to
                             ├► describe(…)       one sentence
                             └► doubt(…)          another reading that may have been meant

The meaning is that of cron(8) and crontab(5), in systemd's terms; lunasched-schedule(5) tells it
to users.
"""

from lunasched.schedule.days import DayRule
from lunasched.schedule.describe import describe
from lunasched.schedule.doubt import doubt
from lunasched.schedule.elapse import elapses, latest_elapse
from lunasched.schedule.parse import SEPARATOR, parse
from lunasched.schedule.places import has_places, placed
from lunasched.schedule.rule import (
    ON_DEMAND,
    UNTIMED,
    Calendar,
    Every,
    Limited,
    OnDemand,
    Reboot,
    Schedule,
    ScheduleKind,
    Several,
    SystemdCalendar,
    named_calendars,
    named_zones,
)
from lunasched.schedule.timing import Timing, forget_zones, timing
from lunasched.schedule.zone import (
    Transition,
    check_timezone,
    lost_zone,
    timer_zone,
    transitions,
)

__all__ = [
    "ON_DEMAND",
    "SEPARATOR",
    "UNTIMED",
    "Calendar",
    "DayRule",
    "Every",
    "Limited",
    "OnDemand",
    "Reboot",
    "Schedule",
    "ScheduleKind",
    "Several",
    "SystemdCalendar",
    "Timing",
    "Transition",
    "check_timezone",
    "describe",
    "doubt",
    "elapses",
    "forget_zones",
    "has_places",
    "latest_elapse",
    "lost_zone",
    "named_calendars",
    "named_zones",
    "parse",
    "placed",
    "timer_zone",
    "timing",
    "transitions",
]
