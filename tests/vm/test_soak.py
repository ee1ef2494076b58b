"""A short `make soak`: the night of a month on which an hour is missing."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import pytest
from installed import SYNCED
from soak import RAN, ZONE, Soak

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm import VirtualMachine

pytestmark = [pytest.mark.vm, pytest.mark.slow]


@pytest.fixture
def soak(lunasched_vm: VirtualMachine) -> Iterator[Soak]:
    yield Soak(lunasched_vm, 4, datetime(2028, 3, 26, tzinfo=ZONE))
    lunasched_vm.exec(
        "lunasched apply /dev/null --format yaml --prune --allow-empty;"
        f" rm -rf {RAN} /etc/lunasched/config.yaml; systemctl restart lunasched",
        timeout=180,
    )
    lunasched_vm.wait_for(SYNCED)


def test_a_short_soak_finds_nothing(soak: Soak) -> None:
    soak.prepare()
    soak.live(1)
    assert soak.wrong() == []
    assert len(soak.sizes) == 1
