"""Debian's Prometheus, for tests: unpacked beside the images of the test machines, not installed.

Installing it would start a server. Its package needs nothing but the C library.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from anymachine import locked, remove_tree
from machine import cache_directory

PACKAGE = "prometheus"


def directory() -> Path:
    """Where ``prometheus`` and ``promtool`` are; unpacks them if need be."""
    installed = shutil.which("promtool")
    if installed and Path(installed).with_name("prometheus").exists():
        return Path(installed).parent
    version = _version()
    cache = cache_directory()
    root = cache / f"prometheus-{version}"
    if not root.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / "prometheus.lock"):
            if not root.is_dir():
                _unpack(version, root)
    return root / "usr/bin"


def promtool(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run ``promtool`` with some standard input."""
    return subprocess.run(
        [directory() / "promtool", *arguments],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )


def _version() -> str:
    known = _candidate()
    if known is None:
        subprocess.run(["apt-get", "--quiet", "update"], capture_output=True, check=True)
        known = _candidate()
    assert known is not None, f"apt knows no package {PACKAGE}"
    return known


def _candidate() -> str | None:
    shown = subprocess.run(
        ["apt-cache", "policy", PACKAGE], capture_output=True, text=True, check=True
    ).stdout
    versions = [line.split()[1] for line in shown.splitlines() if "Candidate:" in line]
    return versions[0] if versions and versions[0] != "(none)" else None


def _unpack(version: str, root: Path) -> None:
    """Appear complete, by a rename: this may be killed."""
    partial = root.with_name(root.name + ".partial")
    remove_tree(partial)
    partial.mkdir()
    # apt gives up its rights for a user that cannot write here, unless it is told not to.
    download = ["apt-get", "--quiet", "--option", "APT::Sandbox::User=root", "download"]
    subprocess.run(
        [*download, f"{PACKAGE}={version}"], cwd=partial, capture_output=True, check=True
    )
    (package,) = partial.glob("*.deb")
    subprocess.run(["dpkg-deb", "--extract", package, partial], check=True)
    package.unlink()
    partial.rename(root)
