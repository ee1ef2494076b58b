"""Jobs into running timers: compile, compare, write, load, start.

One change at a time holds the deploy lock. The order makes every point of death harmless: the
files are written in full beside their places first (a full disk ends it there), then the database
says what shall be, then the files are renamed and the timers started. What fails after that is
taken back; what is killed after that is finished by ``sync``, which makes the units equal the
database. The lock says that a change is being made (``deploylock``), so that who is next, and the
supervisor, knows of one that was killed, and has that done.

A job that others depend on has another service than one that nobody does (``dependencies``), so
that a change of one job may change the service of the jobs that it depends on: in the same step.

One job or ten thousand are one change: all of it or nothing.

There is no daemon-reload unless systemd itself says that it needs one (ARCHITECTURE.md).
"""
