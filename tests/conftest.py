"""The booted machine that tests share, the order of the tests, and the seed of random ones."""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
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
    Debian release than the oldest that is supported; of ``sid`` it is a virtual machine.
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
        "--share",
        metavar="I/N",
        help="run the I-th of N shares of the tests, which differ by file",
    )
    parser.addoption(
        "--suite",
        default=os.environ.get("LUNASCHED_SUITE", OLDEST),
        help="Debian release of the machines; sid: a virtual machine",
    )


@pytest.hookimpl(trylast=True)  # when -m and -k have taken their choice
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Quick answers first: pure tests, then those on a machine, then the slow ones."""
    wanted = config.getoption("share")
    if wanted is not None:
        number, total = map(int, wanted.split("/"))
        mine = shares(Counter(item.path for item in items), total)[number - 1]
        left = [item for item in items if item.path not in mine]
        items[:] = [item for item in items if item.path in mine]
        config.hook.pytest_deselected(items=left)
    items.sort(
        key=lambda item: (
            item.get_closest_marker("slow") is not None,
            item.get_closest_marker("machine") is not None,
        )
    )


def shares(tests: Counter[Path], total: int) -> list[set[Path]]:
    """Deal files among so many shares, each of which has about the same number of tests."""
    dealt: list[set[Path]] = [set() for _ in range(total)]
    load = [0] * total
    for path, number in sorted(tests.items(), key=lambda one: (-one[1], one[0])):
        least = load.index(min(load))
        dealt[least].add(path)
        load[least] += number
    return dealt
