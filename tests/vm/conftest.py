"""The virtual machine that tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from installed import INSTALL
from vm import VirtualMachine
from vm_qemu import why_unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def vm() -> Iterator[VirtualMachine]:
    """One booted virtual machine for the whole session; skips where none can be made.

    Tests set its clock and its time zone before they use them, and leave no unit behind.
    """
    if reason := why_unavailable():
        pytest.skip(reason)
    with VirtualMachine.boot("test") as booted:
        yield booted


@pytest.fixture(scope="session")
def lunasched_vm(vm: VirtualMachine) -> VirtualMachine:
    """The shared machine, with the supervisor running from now on."""
    vm.exec(INSTALL, timeout=600)
    return vm
