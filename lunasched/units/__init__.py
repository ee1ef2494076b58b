"""Jobs into the text of their systemd units, and what these units need of the machine.

Pure. ``deploy`` writes what comes from here; the doctor compares with it.
"""
