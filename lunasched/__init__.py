"""lunasched: cron's jobs as systemd timers, with a history of every run."""

__version__ = "2.0.0"
