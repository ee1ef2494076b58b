"""A machine with crontab(1), ours and Debian's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import bytecode
import debian_crontabs

if TYPE_CHECKING:
    from pathlib import Path

    from machine import Machine

SPOOL = "/var/spool/cron/crontabs"
INSTALL_CRON = """
set -e
/opt/lunasched/packaging/install-units --cron
systemd-sysusers lunasched-cron.conf
systemd-tmpfiles --create lunasched-cron.conf
systemctl daemon-reload
systemctl enable --quiet --now lunasched-usercrontab.socket
"""
PROGRAM = f"""\
#!/usr/bin/python3
import sys
sys.pycache_prefix = "{bytecode.PREFIX}"
sys.path.insert(0, "{bytecode.TREE}")
from lunasched.usercrontab import main
sys.exit(main())
"""


def with_crontabs(machine: Machine, directory: Path) -> None:
    """Install our ``crontab``, and Debian's as ``crontab.debian``; ``directory`` is for its files.

    lunasched itself is installed.
    """
    machine.run(INSTALL_CRON)
    machine.write_file("/usr/local/bin/crontab", PROGRAM, mode=0o755)
    debian_crontabs.extracted(debian_crontabs.debs(("cron",))["cron"], directory)
    machine.copy(directory / "usr/bin/crontab", "/usr/bin/crontab.debian")
    machine.run("chgrp crontab /usr/bin/crontab.debian; chmod 2755 /usr/bin/crontab.debian")
