"""A short `make torture` with faults that are always the same."""

from __future__ import annotations

import pytest
from installed import SUITE
from machine import Machine
from torture import Round
from torture_faults import (
    CommandKilledAtCall,
    ExecutedManager,
    FullDisk,
    KilledSupervisor,
    RestartedBus,
    RestartedJournald,
    SupervisorKilledAtCall,
)
from torture_jobs import Load

pytestmark = [pytest.mark.machine, pytest.mark.slow]

KINDS = (
    *(CommandKilledAtCall, ExecutedManager, FullDisk, KilledSupervisor),
    *(RestartedBus, RestartedJournald, SupervisorKilledAtCall),
)


def test_a_short_round_finds_nothing() -> None:
    with Machine.boot("torture", suite=SUITE) as machine:
        verdict = Round(16, KINDS, number=5, load=Load(crowd=5)).play(machine)
    assert verdict.lines() == []
    assert verdict.runs > 10
