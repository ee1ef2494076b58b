"""The byte code of lunasched and of what it imports, made once for all test machines of a Debian.

A machine has the source tree without byte code and would compile it anew, a second of a processor
each, and ten where that is emulated. The byte code is a directory to be laid over the machine's
root. Python compares it with the source, so that a test that changes the source has what it wrote.

Standard library only, as `machine`.
"""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from anymachine import MachineError, locked, remove_tree

TREE = "/opt/lunasched"
PREFIX = "/var/cache/lunasched-pyc"
"""Where the commands of a machine keep it: the source tree is read-only."""
_KEPT = 4
"""So many are kept of each Debian: other trees may be tested at the same time."""

_COMPILE = f"""
import sys
sys.pycache_prefix = "{PREFIX}"
sys.path.insert(0, "{TREE}")
import contextlib, importlib, pkgutil
import lunasched
for module in pkgutil.walk_packages(lunasched.__path__, "lunasched."):
    if not module.name.endswith("__main__"):
        with contextlib.suppress(ImportError):
            importlib.import_module(module.name)
"""
"""Imports are compiled, those of the modules too; what cannot be imported will be when it is."""


def layer(root: Path, source: Path, cache: Path) -> Path:
    """Return the directory for machines with this root, after making it if there is none.

    It appears complete, by a rename, and holds `PREFIX` alone.
    """
    name = f"bytecode-{root.name}"
    made = cache / f"{name}-{_key(source)}"
    if made.is_dir():
        return made
    with locked(cache / f"{name}.lock"):
        if made.is_dir():
            return made
        older = sorted(cache.glob(f"{name}-*"), key=lambda path: path.stat().st_mtime)
        for each in older[: 1 - _KEPT]:
            remove_tree(each)
        partial = cache / f"{name}.partial"
        remove_tree(partial)
        prefix = partial / PREFIX.lstrip("/")
        prefix.mkdir(parents=True)
        prefix.chmod(0o1777)
        _compile(root, source, prefix)
        partial.rename(made)
    return made


def _key(source: Path) -> str:
    """What Python looks at to tell if byte code is that of a source, of the whole tree."""
    digest = hashlib.sha256()
    for path in sorted((source / "lunasched").rglob("*.py")):
        status = path.stat()
        line = f"{path.relative_to(source)} {status.st_mtime_ns} {status.st_size}\n"
        digest.update(line.encode())
    return digest.hexdigest()[:16]


def _compile(root: Path, source: Path, prefix: Path) -> None:
    command = [
        *("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--as-pid2"),
        *("--volatile=overlay", f"--directory={root}"),
        *(f"--bind-ro={source}:{TREE}", f"--bind={prefix}:{PREFIX}"),
        *("/usr/bin/python3", "-c", _COMPILE),
    ]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise MachineError(f"byte code: {done.stderr.strip()}")
