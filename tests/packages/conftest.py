"""Packages of this tree, built on each Debian release, and machines to install them on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from anymachine import locked, remove_tree
from machine import Machine
from packaged import BUILDERS, OTHER_BUILDERS, SHELLS, SUITES, Built, available, build

_ON_EACH_RELEASE = (
    "test_lintian_finds_nothing", "test_has_the_version_of_the_tree", "test_pydbus_is_recommended",
    "test_installed_files", "test_upgrade_while_jobs_run", "test_the_life_of_the_package",
)  # fmt: skip
"""What `make test` tries on each release, as `make campaigns` all; the rest on the oldest alone."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if (
            isinstance(item, pytest.Function)
            and getattr(item, "callspec", None) is not None
            and item.callspec.params.get("built") in SUITES[1:]
            and item.originalname not in _ON_EACH_RELEASE
        ):
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session", params=SUITES)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The Debian packages, built as the guide says; once for all runs that share a pool."""
    pool: Path | None = request.config.getoption("pool")
    top = pool.parent if pool else tmp_path_factory.getbasetemp()
    directory = top / f"deb-{request.param}"
    with locked(top / f"{directory.name}.lock"):
        if (directory / "lintian").exists():
            return Built(request.param, directory)
        remove_tree(directory)  # of a build that failed
        directory.mkdir(mode=0o755)
        return build(request.param, directory)


@pytest.fixture(scope="session")
def clean(built: Built) -> Iterator[Machine]:
    """A machine without lunasched and without what it needs; the packages are in /srv/built."""
    with Machine.boot(
        f"clean-{built.suite}",
        suite=built.suite,
        extra_packages=SHELLS,
        available=available(),
        binds=[(built.directory, "/srv/built")],
    ) as machine:
        machine.write_file("/etc/apt/apt.conf.d/90yes", 'APT::Get::Assume-Yes "true";\n')
        yield machine


@pytest.fixture(scope="session")
def workshop() -> Iterator[Machine]:
    """A machine to build on whatever is no Debian package, and to install it on."""
    with Machine.boot("workshop", extra_packages=(*BUILDERS, *OTHER_BUILDERS)) as machine:
        machine.exec("rm /usr/local/bin/lunasched /usr/local/bin/lunasched-daemon")
        yield machine
