"""The unit tests under the newest Python and the newest libraries that there are.

Python, its bindings of C libraries and systemd are Debian sid's, the libraries PyPI's, as
`make venv` has them. They are in a root of their own, made once a week; it is no machine: nothing
is booted, and what tests write is dropped.

    python3 tests/support/newest.py [OPTIONS OF PYTEST]

The exit status is pytest's. Standard library only, as `machine`.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from anymachine import MachineError, locked, remove_tree
from machine import (
    REPOSITORY,
    UNSTABLE,
    cache_directory,
    mmdebstrap,
    require_host,
)

PACKAGES = (
    "acl",
    "bash-completion",
    "chromium",
    "dbus",
    "fish",
    "git",
    "libnss-myhostname",
    "libpam-systemd",
    "make",
    "man-db",
    "mandoc",
    "passwd",
    "procps",
    "prometheus",
    "python3",
    "python3-cairo",
    "python3-gi",
    "python3-pydbus",
    "python3-systemd",
    "python3-venv",
    "sqlite3",
    "systemd",
    "tzdata",
    "tzdata-legacy",
    "zsh",
)
TREE = "/opt/lunasched"
PYTHON = "/opt/newest/bin/python"
SELECTED = ("-m", "not slow and not machine", "tests/unit")
# What pip and its libraries are told of this host's package index.
_OF_PIP = ("PIP_", "SSL_", "REQUESTS_", "http_proxy", "https_proxy", "no_proxy")
_LIBRARIES = f"""
set -e
python3 -m venv --system-site-packages /opt/newest
{PYTHON} -m pip install --quiet --upgrade --upgrade-strategy eager --editable '{TREE}[dev]'
"""


def main(arguments: Sequence[str]) -> int:
    """Run the tests; returns the exit status of pytest."""
    try:
        root = image()
    except MachineError as error:
        print(f"newest: {error}", file=sys.stderr)
        return 1
    seed = os.environ.get("LUNASCHED_SEED")
    command = [
        *_within(root),
        "--volatile=overlay",
        f"--overlay={REPOSITORY}::{TREE}",
        f"--chdir={TREE}",
        "--setenv=LANG=C.UTF-8",
        *([f"--setenv=LUNASCHED_SEED={seed}"] if seed else []),
        *(PYTHON, "-m", "pytest", "-p", "no:cacheprovider"),
        *(arguments or SELECTED),
    ]
    return subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode


def image() -> Path:
    """Return the root of this week, after making it if there is none; those before are removed."""
    require_host()
    recipe = "\0".join([*PACKAGES, _LIBRARIES, (REPOSITORY / "pyproject.toml").read_text()])
    week = time.strftime("%G-W%V")
    name = f"newest-{week}-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    cache = cache_directory()
    root = cache / name
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / "newest.lock") as lock:
        if root.is_dir():
            return root
        for old in cache.glob("newest-*"):
            if not old.name.startswith(f"newest-{week}-"):
                remove_tree(old)
        print(f"newest: making a root of Debian {UNSTABLE}, once, minutes", file=sys.stderr)
        partial = cache / f"{name}.partial"
        remove_tree(partial)
        mmdebstrap(UNSTABLE, PACKAGES, partial, lock)
        _install_libraries(partial)
        partial.rename(root)
    return root


def _install_libraries(root: Path) -> None:
    settings = [f"{name}={value}" for name, value in os.environ.items() if name.startswith(_OF_PIP)]
    # Certificates and wheels of this host that pip is told of.
    shown = [Path("/etc/ssl/certs"), *map(Path, os.environ.get("PIP_FIND_LINKS", "").split())]
    command = [
        *_within(root),
        f"--bind-ro={REPOSITORY}:{TREE}",
        *(f"--bind-ro={path}" for path in shown if path.is_dir()),
        "--resolv-conf=bind-host",
        *(f"--setenv={setting}" for setting in settings),
        *("/bin/sh", "-c", _LIBRARIES),
    ]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        remove_tree(root)
        raise MachineError(f"the libraries cannot be installed:\n{done.stderr[-4000:]}")


def _within(root: Path) -> list[str]:
    """Run what follows in a root, without booting it."""
    return [
        "systemd-nspawn",
        *("--quiet", "--register=no", "--keep-unit", "--as-pid2"),
        f"--directory={root}",
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
