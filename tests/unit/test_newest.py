"""The root that the unit tests run in under the newest Python has what they need."""

from __future__ import annotations

import re
from pathlib import Path

from newest import PACKAGES, SELECTED

TREE = Path(__file__).resolve().parent.parent.parent
# Of the packages that development needs, those that only make and boot machines.
OF_MACHINES = {
    "debian-archive-keyring",
    "e2fsprogs",
    "mmdebstrap",
    "qemu-system-x86",
    "qemu-utils",
    "systemd-container",
    "util-linux",  # essential
}


def test_it_has_the_packages_that_development_needs() -> None:
    text = (TREE / "tests/support/setup.sh").read_text()
    found = re.search(r'packages="([^"]+)"', text)
    assert found
    assert set(found[1].split()) - OF_MACHINES <= set(PACKAGES)


def test_what_needs_no_machine_is_run() -> None:
    from everything import quick

    options, *_ = quick(Path("pool")).values()
    assert SELECTED[:2] == tuple(options[:2])
