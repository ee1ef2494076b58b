"""The booted machine that tests share, the order of the tests, and the seed of random ones."""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from campaign import IS_FULL
from hypothesis import HealthCheck, settings
from machine import OLDEST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from machine import Machine


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    """One booted machine for the whole session; where none can be made, tests error.

    Tests that reboot it, or that need it to themselves, boot their own. ``--suite`` names another
    Debian release than the oldest that is supported, and with ``--vm`` it is a virtual machine.
    """
    # Imported here: its machines are of the suite that the options name.
    from installed import boot

    with boot("test") as booted:
        yield booted


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """The seed of this session, for tests that draw random numbers themselves."""
    return pytestconfig.stash[_SEED]


@pytest.fixture
def rng(seed: int, request: pytest.FixtureRequest) -> random.Random:
    """Random numbers that depend on the seed and on the test, not on the tests before it."""
    return random.Random(f"{seed}:{request.node.nodeid}")


_SEED = pytest.StashKey[int]()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    os.environ["LUNASCHED_SUITE"] = config.getoption("suite")
    os.environ["LUNASCHED_VM"] = "1" if config.getoption("vm") else ""
    config.stash[_SEED] = int(os.environ.get("LUNASCHED_SEED") or secrets.randbits(32))
    if config.getoption("hypothesis_seed", None) is None:  # read by hypothesis's plugin
        config.option.hypothesis_seed = str(config.stash[_SEED])
    # How fast a machine is under load says nothing about the code.
    settings.register_profile(
        "lunasched", deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("lunasched")
    signal.signal(signal.SIGTERM, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    """End as on Ctrl-C, so that fixtures are taken down."""
    raise KeyboardInterrupt


def pytest_report_header(config: pytest.Config) -> str:
    return f"LUNASCHED_SEED={config.stash[_SEED]}"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note each failure for whoever runs the failed tests again (tests/support/everything.py)."""
    path = os.environ.get("LUNASCHED_FAILURES")
    if path is None or not report.failed:
        return
    printed = "".join(f"\n--- {title}\n{text}" for title, text in report.sections)
    suite = os.environ["LUNASCHED_SUITE"]
    text = f"{report.when}: {report.longreprtext}{printed}\n"
    line = {"test": report.nodeid, "suite": suite, "text": text}
    with Path(path).open("a") as file:
        file.write(f"{json.dumps(line)}\n")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--pool",
        metavar="DIRECTORY",
        type=Path,
        help="run the tests with others that are given this directory, each file by one of them",
    )
    parser.addoption(
        "--suite",
        default=os.environ.get("LUNASCHED_SUITE", OLDEST),
        help="Debian release of the machines",
    )
    parser.addoption(
        "--vm", action="store_true", help="machines that tests share are virtual: cgroup v2"
    )


@pytest.hookimpl(trylast=True)  # when -m and -k have taken their choice
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Quick answers first: pure tests, then those on a machine, then the slow ones.

    In a pool it is the longest files first, so that no run has one to go when the others are over.
    """
    long = [item for item in items if item.get_closest_marker("long")]
    if long and not IS_FULL:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]
    if config.getoption("pool"):
        weights = Counter({item.path: 0 for item in items})
        for item in items:
            weights[item.path] += _weight(item)
        items.sort(key=lambda item: (-weights[item.path], item.path))
        return
    items.sort(
        key=lambda item: (
            item.get_closest_marker("slow") is not None,
            item.get_closest_marker("machine") is not None,
        )
    )


def _weight(item: pytest.Item) -> int:
    """About how long a test takes, beside one that needs no machine."""
    if item.get_closest_marker("slow"):
        return 1000
    return 100 if item.get_closest_marker("machine") else 1


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """In a pool, run the files that no other run of it has taken yet."""
    pool: Path | None = session.config.getoption("pool")
    if pool is None or session.testsfailed or session.config.option.collectonly:
        return None
    item = next(mine := _of_pool(session.items, pool), None)
    while item is not None:
        # A file is taken before the last test of the one before it runs: that takes down what the
        # following test does not need.
        following = next(mine, None)
        session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        item = following
    return True


def _of_pool(items: list[pytest.Item], pool: Path) -> Iterator[pytest.Item]:
    """The tests of each file that nobody else has taken when it is its turn."""
    for path, tests in groupby(items, key=lambda item: item.path):
        try:
            (pool / str(path).replace("/", "%")).touch(exist_ok=False)
        except FileExistsError:
            continue
        yield from tests
