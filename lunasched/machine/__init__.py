"""The machine as it is: accounts, programs, processes, journald, disks, the terminal.

It only looks. Every room above may ask it.
"""
