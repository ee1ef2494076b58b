"""The program crontab(1), for a machine whose crontabs lunasched runs.

Who types ``crontab`` knows cron's options, messages and exit status, and so do programs: nothing of
it is as in the command line ``lunasched``. A text is kept as it is written. ::

    actions: arguments ─► program ─┬ of root ─► spool: the files
                          editing  └ of others ─► remotespool ─ socket ─► spoolservice: the same,
                          syntax                                          as the user who asks

It makes no jobs: systemd sees that the spool has changed (lunasched-crontabs.path).
"""

from lunasched.usercrontab.program import main

__all__ = ["main"]
