"""The cron files that Debian's packages ship, taken out of the packages; none of them is kept here.

The packages come from the machine's own apt sources and are kept in a cache outside the tree.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

from anymachine import locked
from machine import cache_directory

PACKAGES = (
    "amavisd-new", "anacron", "apt-mirror", "atop", "awstats", "backupninja", "buildd", "certbot",
    "clamav-unofficial-sigs", "cricket", "cron-apt", "cron-daemon-common", "dirvish", "dma",
    "e2fsprogs", "fcheck", "fetch-crl", "ganeti", "inn2", "john", "ldap2zone", "leafnode",
    "logcheck", "mailman3", "mailman3-web", "mdadm", "mlmmj", "munin", "munin-node", "ntpsec",
    "php-common", "roundcube-core", "rsnapshot", "sysstat", "systraq", "tiger",
)  # fmt: skip
"""Packages of Debian 12 that ship cron files."""
MORE_PACKAGES = (
    "apt-cacher", "barman", "battery-stats", "burp", "cedar-backup3", "csync2", "debarchiver",
    "debian-edu-config", "desktop-autoloader", "dkim-rotate", "dphys-config", "emboss-explorer",
    "filetraq", "fwanalog", "gsm-utils", "gup", "hearse", "homer-api", "ikiwiki-hosting-web",
    "inn", "iog", "ldap-git-backup", "liblemonldap-ng-handler-perl", "lightsquid", "lockout",
    "lyskom-server", "mtpolicyd", "mythtv-status", "nordugrid-arc-nordugridmap", "ntpsec-ntpviz",
    "oar-server", "obs-server", "open-infrastructure-storage-tools", "openssh-known-hosts",
    "painintheapt", "planetfilter", "pnopaste", "rancid", "recap", "routino-www", "sa-exim",
    "sanoid", "sbws", "shutdown-at-night", "sqwebmail", "sreview-detect", "swift-drive-audit",
    "swift-object", "tua", "tuptime", "uucp",
)  # fmt: skip
"""Others that have files in /etc/cron.d, each of them small."""


class NoPackages(Exception):
    """apt cannot give the packages."""


def debs(names: tuple[str, ...] = PACKAGES) -> dict[str, Path]:
    """The files of packages, by name, downloaded where they are not in the cache yet."""
    directory = cache_directory() / "packages"
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory / ".lock"):
        missing = [name for name in names if not list(directory.glob(f"{name}_*.deb"))]
        if missing:
            done = subprocess.run(
                ["apt-get", "download", "-q", *missing],
                cwd=directory,
                capture_output=True,
                text=True,
                check=False,
                timeout=400,
            )
            if done.returncode != 0:
                raise NoPackages(f"apt-get download: {done.stderr.strip()}")
        return {name: next(directory.glob(f"{name}_*.deb")) for name in names}


def cron_files(deb: Path) -> dict[str, bytes]:
    """The cron files in a package, by their paths."""
    # dpkg-deb itself, for it knows all compressions.
    archive = subprocess.run(
        ["dpkg-deb", "--fsys-tarfile", deb], capture_output=True, check=True
    ).stdout
    found = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            path = member.name.removeprefix(".")
            content = tar.extractfile(member) if member.isfile() and is_cron_file(path) else None
            if content is not None:
                found[path] = content.read()
    return found


def is_cron_file(path: str) -> bool:
    """Whether it is where cron or anacron look."""
    in_cron_d = path.startswith("/etc/cron.d/") and not path.endswith("/.placeholder")
    return in_cron_d or path in ("/etc/crontab", "/etc/anacrontab")


def extracted(deb: Path, target: Path) -> None:
    """A package's files below a directory."""
    subprocess.run(["dpkg-deb", "--extract", deb, target], check=True)
