"""What the tests of packages share: where they are built, and what the guide says of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from machine import PACKAGES, Machine

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
    """The packages that were built on one release."""

    suite: str
    directory: Path
    """``dist``, of this tree, ``older``, of the same with another version, and ``lintian``."""

    @property
    def lintian(self) -> str:
        """What lintian said of those of this tree."""
        return (self.directory / "lintian").read_text()


# The same package as an older one.
AS_OLDER = f"""
set -e
cd /srv/built
mkdir older
dpkg-deb --raw-extract dist/lunasched_*.deb /tmp/older
sed -i 's/^Version: .*/Version: {OLDER}/' /tmp/older/DEBIAN/control
sed -i 's/^__version__ = .*/__version__ = "{OLDER}"/' \\
    /tmp/older/usr/lib/python3/dist-packages/lunasched/__init__.py
dpkg-deb --build --root-owner-group -Zgzip /tmp/older older/lunasched_{OLDER}_all.deb
"""


def build(suite: str, directory: Path) -> Built:
    """Build the Debian package of this tree, and an older one, on a machine of their own."""
    with Machine.boot(
        f"build-{suite}",
        suite=suite,
        extra_packages=BUILDERS,
        writable_binds=[(directory, "/srv/built")],
    ) as builder:
        builder.run("make -C /opt/lunasched deb DIST=/srv/built/dist", timeout=300)
        builder.run(AS_OLDER)
        checked = builder.run(
            "lintian --fail-on error,warning --allow-root /srv/built/dist/*.changes",
            check=False,
            timeout=300,
        )
    # Last, so that packages with it are complete.
    (directory / "lintian").write_text(checked.stdout + checked.stderr)
    return Built(suite, directory)
