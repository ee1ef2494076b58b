"""What each sandboxing option keeps a job from, as seen from inside the job."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sandbox_probe import PROBES
from sandboxes import PREPARE, UNSEEN, USERS, outcomes, surprises

from lunasched.jobs.sandbox import OPTIONS

if TYPE_CHECKING:
    from installed import Lunasched
    from machine import Machine

pytestmark = pytest.mark.machine


@pytest.fixture(scope="module")
def prepared(booted: Machine) -> Machine:
    booted.run(PREPARE)
    return booted


def test_every_option_is_tried() -> None:
    assert PROBES.keys() == OPTIONS.keys()


def test_jobs_are_kept_from_what_they_shall_not_do(prepared: Machine, luna: Lunasched) -> None:
    keys = [key for key in PROBES if key not in UNSEEN]
    found = outcomes(prepared, keys)
    assert surprises(found, keys) == {}
    assert found["system_call_filter"] == {"system_call_filter": "EDOM"}


def test_users_can_have_their_jobs_kept_from_it_as_well(prepared: Machine, own: Lunasched) -> None:
    keys = [key for key in USERS if key not in UNSEEN]
    assert surprises(outcomes(prepared, keys, "luna"), keys) == {}
