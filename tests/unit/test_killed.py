"""A change of jobs that was killed is noticed, and one that is in progress is left alone."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

from lunasched.state.deploylock import DeployLock
from lunasched.supervisor.unfinished import KilledChanges


class Interleaved(DeployLock):
    """The lock, and another command that changes jobs between two looks at it."""

    def __init__(self, path: Path, begins_after: int | None, ends_after: int | None) -> None:
        super().__init__(path)
        self._other, self._steps = DeployLock(path), ExitStack()
        self._begins_after, self._ends_after, self._looks = begins_after, ends_after, 0

    @property
    def is_held(self) -> bool:
        held = super().is_held
        self._looked()
        return held

    @property
    def is_unfinished(self) -> bool:
        unfinished = super().is_unfinished
        self._looked()
        return unfinished

    def _looked(self) -> None:
        self._looks += 1
        if self._looks == self._begins_after:
            self._steps.enter_context(self._other.hold())
            self._steps.enter_context(self._other.changing(leaves_no_job=False))
        if self._looks == self._ends_after:
            self._steps.close()

    def end(self) -> None:
        self._steps.close()


def watched(lock: DeployLock) -> tuple[KilledChanges, list[None]]:
    asked: list[None] = []
    return KilledChanges(lock, lambda: asked.append(None), lambda callback: callback), asked


def killed(lock: DeployLock) -> None:
    with lock.hold():
        pass
    lock.word_path.write_text("+")


def test_a_change_that_begins_or_ends_between_two_looks_was_not_killed(tmp_path: Path) -> None:
    for begins in range(1, 7):
        for ends in (None, *range(begins + 1, 8)):
            lock = Interleaved(tmp_path / f"{begins}-{ends}", begins, ends)
            watch, asked = watched(lock)
            for _ in range(4):
                watch._look()
            lock.end()
            assert not asked, (begins, ends)


def test_a_change_that_was_killed_is_finished_at_the_second_look(tmp_path: Path) -> None:
    lock = DeployLock(tmp_path / "lock")
    killed(lock)
    watch, asked = watched(lock)
    assert watch._look()
    assert not asked
    assert not watch._look()
    assert len(asked) == 1


def test_another_change_since_the_first_look_is_another(tmp_path: Path) -> None:
    lock = DeployLock(tmp_path / "lock")
    killed(lock)
    watch, asked = watched(lock)
    assert watch._look()
    os.utime(lock.word_path, ns=(1, 1))
    assert watch._look()
    assert not watch._look()
    assert len(asked) == 1


def test_a_lock_that_was_held_at_one_look_is_looked_at_twice_more(tmp_path: Path) -> None:
    lock = DeployLock(tmp_path / "lock")
    killed(lock)
    watch, asked = watched(lock)
    with DeployLock(lock.path).hold():
        assert watch._look()
    assert watch._look()
    assert not asked
    assert not watch._look()
    assert len(asked) == 1
