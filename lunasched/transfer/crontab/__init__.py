"""Crontabs of cron(8), cronie and anacron(8) as jobs. Pure: text in, jobs and what differs out.

::

    bytes ─► lines: variables and entries ─► command, schedule ─► convert: Job, differences
             anacron: the same of /etc/anacrontab                 names: from the command alone

What Debian's cron does with a line was looked at by running it (tests/system/test_crontabs.py);
cronie's extensions are those of its crontab(5).
"""

from lunasched.transfer.crontab.convert import format_by_content, read_crontab
from lunasched.transfer.crontab.source import CronFormat, Crontab, CrontabEntry, CrontabSource

__all__ = [
    "CronFormat",
    "Crontab",
    "CrontabEntry",
    "CrontabSource",
    "format_by_content",
    "read_crontab",
]
