"""The timers that Debian's packages ship, taken out of the packages; none of them is kept here."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lunasched.formats.unitfile import UnitFile
from lunasched.transfer.adoption import Source

PACKAGES = (
    "acmetool", "aide-common", "amazon-ec2-net-utils", "anacron", "apt", "apt-listbugs",
    "apt-show-versions", "apticron-systemd", "atop", "borgmatic", "btrbk", "btrfsmaintenance",
    "burp", "certbot", "chkrootkit", "chrony", "clamav-freshclam", "cloudflare-ddns",
    "debci-collector", "debian-edu-config", "debspawn", "diffmon", "dpkg", "e2fsprogs",
    "etckeeper", "exim4-base", "fetch-crl", "freedombox", "freeipa-client-epn",
    "freeipa-healthcheck", "fwupd", "google-compute-engine-oslogin", "jetty9",
    "laptop-mode-tools", "liblemonldap-ng-handler-perl", "liblemonldap-ng-portal-perl",
    "location", "logrotate", "lynis", "man-db", "mdadm", "ntpsec", "ntpsec-ntpviz",
    "ocsinventory-agent", "openqa", "painintheapt", "pcp", "pgcluu", "php-common", "pk4",
    "plocate", "pnopaste", "podman", "postgresql-common", "privoxy",
    "prometheus-node-exporter-collectors", "rancid", "roundcube-core", "rpki-client", "sanoid",
    "sitesummary", "sitesummary-client", "snapper", "spamassassin", "sysstat", "systemd",
    "systemd-cron", "tuptime", "util-linux", "ypserv",
)  # fmt: skip
"""The packages of Debian 12 that ship timers of the system, by its list of contents."""

_DIRECTORIES = ("/lib/systemd/system", "/usr/lib/systemd/system")
_LINKS_MAX = 4


@dataclass(frozen=True, slots=True)
class Pair:
    """A timer, an instance of it if it is a template, and the service that it starts."""

    package: str
    timer: Source
    service: Source


def unit_files(deb: Path) -> dict[str, str]:
    """The text of the system's units in a package, by name; links have that of their target."""
    archive = subprocess.run(
        ["dpkg-deb", "--fsys-tarfile", deb], capture_output=True, check=True
    ).stdout
    found: dict[str, str] = {}
    links: dict[str, str] = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            path = PurePosixPath(member.name.removeprefix("."))
            if str(path.parent) not in _DIRECTORIES:
                continue
            content = tar.extractfile(member) if member.isfile() else None
            if content is not None:
                found[path.name] = content.read().decode()
            elif member.issym():
                links[path.name] = PurePosixPath(member.linkname).name
    for _ in range(_LINKS_MAX):
        found |= {name: found[target] for name, target in links.items() if target in found}
    return found


def pairs(package: str, files: Mapping[str, str]) -> Iterator[Pair]:
    """The timers of a package with their services, where those are in the same package."""
    for name in sorted(files):
        if not name.endswith(".timer"):
            continue
        unit = name.replace("@.", "@main.")
        timer = Source(unit, (UnitFile(unit, files[name]),))
        service = _service(unit, files[name])
        text = files.get(service) or files.get(_template(service))
        if text is not None and service.endswith(".service"):
            yield Pair(package, timer, Source(service, (UnitFile(service, text),)))


def _service(timer: str, text: str) -> str:
    named = [line.partition("=")[2].strip() for line in text.splitlines() if line[:5] == "Unit="]
    name = timer.removesuffix(".timer")
    found = named[-1] if named else f"{name}.service"
    return found.replace("%i", name.partition("@")[2])


def _template(service: str) -> str:
    return f"{service.partition('@')[0]}@.service"
