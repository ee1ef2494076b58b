"""What the tests of packages share: where they are built, and what the guide says of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from machine import PACKAGES

TREE = Path(__file__).resolve().parent.parent.parent
SUITES = ("bookworm", "trixie")
OLDER = "1.99"
"""What a package that is upgraded calls itself."""

# Build-Depends= of packaging/debian/control, and what is built with or checked by.
BUILDERS = (
    "debhelper",
    "dh-python",
    "lintian",
    "make",
    "man-db",
    "pybuild-plugin-pyproject",
    "python3-all",
    "python3-hatchling",
)
# What the rpm and the installation from source need besides, which Debian 13 has not all of.
OTHER_BUILDERS = ("cpio", "python3-venv", "rpm", "rpmlint")
SHELLS = ("bash-completion", "fish", "zsh")


def available() -> list[str]:
    """What apt has to install with the package: what it depends on and what it recommends."""
    return [
        "polkitd",
        "dbus-user-session",
        *(name for name in PACKAGES if name.startswith("python3")),
    ]


def guide_part(title: str, level: int = 2) -> str:
    """The text below a heading of the guide."""
    text = (TREE / "man/guide.md").read_text()
    part = re.search(rf"^{'#' * level} {title}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    assert part, title
    return part[1]


def commands(text: str) -> list[list[str]]:
    """The lines of each block of shell commands in a text."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)
    return [block.splitlines() for block in blocks]


@dataclass(frozen=True)
class Built:
    """The packages that were built on one release, and what lintian said of them."""

    suite: str
    directory: Path
    """With ``dist``, of this tree, and ``older``, of the same with another version."""
    lintian: str
