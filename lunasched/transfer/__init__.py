"""Entries of other schedulers as jobs, and jobs as units that work without lunasched.

Pure: crontabs, timers of others and ejected units as text. ``deploy``, the doctor and the CLI call
it.
"""
