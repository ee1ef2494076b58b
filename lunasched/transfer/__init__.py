"""What other schedulers have, as jobs, and jobs as what works without lunasched.

Pure: crontabs, timers of others and ejected units as text. ``deploy``, the doctor and the CLI call
it.
"""
