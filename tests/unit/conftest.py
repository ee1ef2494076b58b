"""What unit tests share: a database of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lunasched.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store, in a file as the supervisor has it."""
    with Store.open(tmp_path / "lunasched.db", durable=False) as opened:
        yield opened
