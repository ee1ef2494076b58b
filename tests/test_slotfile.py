"""The slot guard's files, which its script writes at any time."""

from __future__ import annotations

import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lunasched import slot
from lunasched.schedule import parse
from lunasched.slot import SlotState
from lunasched.slotfile import SlotDirectory

GUARD = Path(__file__).parent.parent / "unit-templates" / "slot-guard"
SECOND = 1_000_000


@pytest.fixture
def slots(tmp_path: Path) -> SlotDirectory:
    return SlotDirectory(tmp_path / "slots")


@pytest.fixture
def now() -> int:
    return time.time_ns() // 1000


def due(now: int) -> SlotState:
    """A slot just now, and one in an hour."""
    following = (now - SECOND, now + 3600 * SECOND)
    return SlotState(now - 3600 * SECOND, 0, following, "UTC", "0 * * * *")


def start(slots: SlotDirectory) -> None:
    """What ExecCondition= does for a start of the job, without a process of ours."""
    guard = ["/bin/bash", "-c", '[ ! -r "$0" ] || . "$0"', GUARD, "/no-mark", slots.file("job")]
    arguments = ["", "job", "UTC", "0 * * * *"]
    subprocess.run([*guard, *arguments], check=True, env={"PATH": "/nowhere", "HOME": "/"})


def test_what_ran_while_its_file_was_changed_is_known(slots: SlotDirectory, now: int) -> None:
    slots.write("job", due(now), durable=False)
    seen: list[SlotState] = []

    def change(known: SlotState) -> SlotState:
        seen.append(known)
        if len(seen) == 1:
            start(slots)
        return replace(known, offset=7)

    slots.change("job", change, durable=False)
    assert [known.last for known in seen] == [now - 3600 * SECOND, now - SECOND]
    after = slots.read("job")
    assert after is not None
    assert (after.last, after.following) == (now - SECOND, (now + 3600 * SECOND,))
    assert after.offset == 7


def test_a_guard_that_is_about_to_write_is_waited_for(
    slots: SlotDirectory, now: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = due(now)
    slots.write("job", state, durable=False)
    seen: list[SlotState] = []

    def change(known: SlotState) -> SlotState:
        seen.append(known)
        if len(seen) == 1:
            file = slots.file("job").open("r+")
            text = file.read().replace(str(state.last), str(now - SECOND))
            file.truncate(0)
            file.seek(0)
            # It writes while it is waited for, however busy the machine is.
            monkeypatch.setattr(time, "sleep", lambda _: (file.write(text), file.close()))
        return replace(known, offset=7)

    slots.change("job", change, durable=False)
    after = slots.read("job")
    assert after is not None
    assert (after.last, after.offset) == (now - SECOND, 7)


@pytest.mark.parametrize("damage", [None, "", "x y z\n", "1\n", b"\xff\xfe 1 2\nUTC \xff\n"])
def test_what_is_not_known_stays_so(slots: SlotDirectory, damage: str | bytes | None) -> None:
    if damage is not None:
        slots.path.mkdir()
        slots.file("job").write_bytes(damage if isinstance(damage, bytes) else damage.encode())
    slots.change("job", lambda known: pytest.fail("there is nothing to change"), durable=False)
    assert slots.read("job") is None


def test_a_slot_that_ran_after_the_command_began_does_not_come_again(now: int) -> None:
    """The command waits for its turn, and reads the file later than it looked at the clock."""
    rule = parse("*/10 * * * *")
    ran = (now // (600 * SECOND) + 1) * 600 * SECOND
    known = SlotState(ran, 5, (ran, ran + SECOND), "UTC", rule.text)
    anew = slot.found_anew(known, rule, now)
    assert (anew.last, anew.offset, len(anew.following)) == (ran, 5, slot.NEXT_SLOTS)
    assert anew.following[0] == ran + 600 * SECOND
    earlier = replace(known, last=now - 6000 * SECOND)
    assert slot.found_anew(earlier, rule, now).following[0] == ran
