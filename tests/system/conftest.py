"""A booted machine with the supervisor installed, as a package would have it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from installed import INSTALL, PAGE, Lunasched
from machine import Machine


@pytest.fixture(scope="session")
def booted(machine: Machine) -> Machine:
    """The shared machine, with the supervisor running."""
    machine.run(INSTALL)
    return machine


@pytest.fixture
def luna(booted: Machine) -> Iterator[Lunasched]:
    """The system's jobs on the shared machine; what a test added is removed after it."""
    command = Lunasched(booted)
    yield command
    booted.exec("systemctl start lunasched.service")
    command.remove_all()
    # Of those that there are by then, one may end before its turn comes, which is an error.
    booted.exec("until systemctl stop 'lunasched-job@*.service'; do sleep 0.1; done")


@pytest.fixture
def page(luna: Lunasched) -> Iterator[Lunasched]:
    """The same with the status page, which one line of the configuration asks for."""
    luna.machine.run(PAGE)
    yield luna
    luna.machine.run("rm -f /etc/lunasched/config.yaml; systemctl restart lunasched")


@pytest.fixture
def own(booted: Machine) -> Iterator[Lunasched]:
    """The jobs of the ordinary user, with a supervisor of their own."""
    booted.run("systemctl --user daemon-reload; systemctl --user start lunasched", user="luna")
    command = Lunasched(booted, "luna")
    yield command
    command.remove_all()
