"""The slot guard and its files: the manager's list, and the job's user's last slot."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lunasched.history import slot
from lunasched.history.slot import CORRECTION_USEC, NEVER, NEXT_SLOTS, LastSlot, SlotList, slot_list
from lunasched.paths import Mode
from lunasched.schedule import parse
from lunasched.state import slotfile
from lunasched.state.slotfile import SlotDirectory, clock_offset
from lunasched.units.guards import guard_command

GUARD = Path(__file__).parent.parent.parent / "unit-templates" / "slot-guard"
SECOND = 1_000_000
HOUR = 3600 * SECOND


@pytest.fixture
def slots(tmp_path: Path) -> SlotDirectory:
    return SlotDirectory(tmp_path / "slots")


@pytest.fixture
def now() -> int:
    return time.time_ns() // 1000


BY_TIMER = 'a(ss) 3 "trigger_unit" "x.timer" "trigger_timer_realtime_usec" "5"'
BY_HAND = "a(ss) 0"


class Guard:
    """``ExecCondition=`` for a start of the job, with a systemd that says what is wanted."""

    def __init__(self, slots: SlotDirectory, path: Path) -> None:
        self.slots, self.path = slots, path
        self.mark, self.ours = path / "by-hand", path / "ours"
        self.launched = self.boot = "-"
        # The one thing that is not the script's own: its program's place.
        script = GUARD.read_text().replace("/usr/bin/busctl", str(path / "busctl"))
        (path / "slot-guard").write_text(script)
        self.environment = {"PATH": "/nowhere", "HOME": "/", "slots": "x", "words": "y", "by": "z"}
        self.environment["TRIGGER_UNIT"] = "x.timer"
        self.said = ""

    def systemd_says(
        self, details: str, job: int = 12, *, elapsed: int = 0, boot: int = 0, over: int = 0
    ) -> None:
        busctl = self.path / "busctl"
        timers = f'a(stt) 2 "OnCalendarX" 1 2 "OnBootUSec" {boot} {boot}'
        busctl.write_text(
            f"#!/bin/bash\necho x >>{self.path}/asked\n"
            f"case $* in *'/timer '*) echo 't {elapsed}'; echo '{timers}'; exit ;;\n"
            f"*'/service '*Inactive*) echo 't {over}'; exit ;; esac\n"
            f"case $* in *'/service '*Unit*Job) echo '(uo) {job} \"/job/{job}\"' ;;\n"
            f"*'/job/{job} '*ActivationDetails) echo '{details}' ;; *) exit 1 ;; esac\n"
        )
        busctl.chmod(0o755)

    @property
    def noted(self) -> Path:
        """What a launcher notes of a start of the service, which this guard is of from now on."""
        self.launched = "lunasched-job@job.service"
        return self.mark.with_name(f"{self.mark.name}:launched")

    def asked(self) -> int:
        file = self.path / "asked"
        return len(file.read_text().split()) if file.exists() else 0

    def passes(self, job: str = "job", prefix: str = "") -> bool:
        files = (self.slots.path / job, self.slots.path / f"last:{job}", self.mark, self.ours)
        run = ["/bin/bash", "-p", "-c", prefix + '[ ! -r "$0" ] || . "$0"']
        done = subprocess.run(
            [
                *(*run, str(self.path / "slot-guard"), *map(str, files)),
                *("-", "/service", self.launched, "2000ms", self.boot),
            ],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert done.stderr == ""
        self.said = done.stdout
        if done.returncode:
            assert done.stdout == "this slot ran already\n"
        return done.returncode == 0


UNKNOWN = (
    "this slot ran already, and systemd does not say whether the timer started it again: it runs\n"
)


@pytest.fixture
def guard(slots: SlotDirectory, tmp_path: Path) -> Guard:
    made = Guard(slots, tmp_path)
    made.systemd_says(BY_TIMER)
    return made


@pytest.mark.parametrize(
    ("elapsed", "over", "launched", "passes"),
    [
        # The timer elapsed after the time that follows the boot, and the job had not run since.
        (5, 0, "", True),
        (5, 2, "", True),
        # It elapsed again, or before that time.
        (9, 6, "", False),
        (2, 0, "", False),
        # What a launcher starts is known by when the timer elapsed.
        (5, 0, "t", True),
        (90, 0, "t", False),
    ],
)
def test_what_is_due_after_a_boot_is_for_no_slot(
    elapsed: int, over: int, launched: str, passes: bool, guard: Guard, slots: SlotDirectory
) -> None:
    now = time.time_ns() // 1000
    slots.write("job", hourly(now))
    guard.systemd_says(BY_TIMER, elapsed=elapsed * SECOND, boot=4 * SECOND, over=over * SECOND)
    if launched:
        guard.launched = f"lunasched-job@job:{'a' * 12}{launched}.service"
    assert guard.passes()
    assert not guard.passes()
    guard.boot = "/timer"
    assert guard.passes() is passes


def hourly(now: int) -> SlotList:
    """A slot a second ago, and those that follow it."""
    return SlotList("UTC", "x", tuple(now - SECOND + n * HOUR for n in range(NEXT_SLOTS + 1)))


def set_last(slots: SlotDirectory, last: int, offset: int = 0) -> None:
    slots.set_last("job", LastSlot(last, offset), None, durable=False)


def last_slot(slots: SlotDirectory) -> int:
    found = slots.last("job")
    assert found is not None
    return found.slot


@pytest.mark.parametrize("noted", [False, True])
@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_starts_that_waited_run_in_any_order(
    order: tuple[int, ...], noted: bool, slots: SlotDirectory, guard: Guard, now: int
) -> None:
    """Each is for its own slot, once, and none is for one that is older than what is known."""
    times = [now - (4 - each) * HOUR - SECOND for each in range(4)]
    slots.write("job", SlotList("UTC", "x", (now - 9 * HOUR, *times, now + HOUR)))
    set_last(slots, now - 9 * HOUR)

    def passes(elapsed: int) -> bool:
        guard.environment["TRIGGER_TIMER_REALTIME_USEC"] = str(elapsed)
        guard.launched = f"lunasched-job@job:{'a' * 12}t.service"
        if noted:
            guard.noted.write_text(f"12 t {elapsed}\n")
        return guard.passes()

    for each in order:
        assert passes(times[each] + SECOND // 9)
        assert not passes(times[each] + SECOND // 9), "twice"
    found = slots.last("job")
    assert found is not None
    assert (found.slot, *found.earlier) == (*reversed(times), now - 9 * HOUR)
    assert not passes(now - 9 * HOUR + 5)
    # A list of full length, and a clock that is set back for good.
    known = tuple(now - n * SECOND for n in range(1, 8))
    slots.set_last("job", LastSlot(now, 1, known), None, durable=False)
    assert passes(now - 10 * SECOND) is False
    for before in (known, (now + HOUR, now - 9 * HOUR)):
        slots.set_last("job", LastSlot(now + 9 * HOUR, 0, before), None, durable=False)
        assert passes(now - SECOND)
        found = slots.last("job")
        assert found is not None and found.earlier == ()


def test_a_slot_runs_once(slots: SlotDirectory, guard: Guard, now: int) -> None:
    slots.write("job", hourly(now))
    set_last(slots, now - HOUR)
    assert guard.passes()
    found = slots.last("job")
    assert found is not None
    assert found.slot == now - SECOND
    assert abs(found.offset - clock_offset(now)) < 10 * SECOND
    assert not guard.passes()
    # Each slot, wherever in the list it is.
    for position in range(1, NEXT_SLOTS, 31):
        slots.write("job", hourly(now - position * HOUR))
        set_last(slots, now - HOUR)
        assert guard.passes()
        assert last_slot(slots) == now - SECOND
        assert not guard.passes()


@pytest.mark.parametrize("launched", ["", "t", "noted"])
def test_a_start_that_is_later_than_a_period_is_for_the_slot_of_its_elapse(
    slots: SlotDirectory, guard: Guard, now: int, launched: str
) -> None:
    """And the start for the next slot is none that ran already."""
    slots.write("job", hourly(now - 2 * HOUR))
    set_last(slots, now - SECOND - 2 * HOUR)
    if launched == "t":
        guard.launched = f"lunasched-job@job:{'a' * 12}{launched}.service"
    for elapsed, slot_of_it in ((now - HOUR // 2, now - SECOND - HOUR), (now, now - SECOND)):
        if launched == "noted":
            guard.noted.write_text(f"12 t {elapsed}\n")
        else:
            guard.environment["TRIGGER_TIMER_REALTIME_USEC"] = str(elapsed)
        assert guard.passes()
        assert last_slot(slots) == slot_of_it
    assert not guard.passes()


@pytest.mark.parametrize(
    "elapsed", ["", "x", "a[$(id)]", "-5", "9" * 18, "9" * 17, "0", "0000000000000009"]
)
def test_a_time_of_an_elapse_that_cannot_be_is_none(
    slots: SlotDirectory, guard: Guard, now: int, elapsed: str
) -> None:
    slots.write("job", hourly(now))
    set_last(slots, now - SECOND - HOUR)
    guard.environment["TRIGGER_TIMER_REALTIME_USEC"] = elapsed
    assert guard.passes()
    assert last_slot(slots) == now - SECOND
    assert not guard.passes()


@pytest.mark.parametrize("details", [BY_HAND, 'a(ss) 1 "trigger_unit" "x.path"'])
def test_what_the_timer_did_not_start_passes(
    slots: SlotDirectory, guard: Guard, now: int, details: str
) -> None:
    slots.write("job", hourly(now))
    set_last(slots, now)
    guard.systemd_says(details)
    assert guard.passes()
    assert (guard.said, guard.asked()) == ("", 2)
    assert last_slot(slots) == now


def test_before_the_first_start_by_the_timer_nobody_is_asked(
    slots: SlotDirectory, guard: Guard, now: int
) -> None:
    """Nor is a slot used up: hundreds may be started by hand at once."""
    slots.write("job", hourly(now))
    del guard.environment["TRIGGER_UNIT"]
    for last in (now, now - HOUR):
        set_last(slots, last)
        assert guard.passes()
        assert (guard.said, guard.asked()) == ("", 0)
        assert last_slot(slots) == last


@pytest.mark.parametrize("answer", ["", "echo '(uo) 12'", "echo '(uo) 12 \"/job/12\"'"])
def test_what_cannot_be_told_runs_and_says_so(
    slots: SlotDirectory, guard: Guard, now: int, answer: str
) -> None:
    slots.write("job", hourly(now))
    set_last(slots, now)
    # The last one answers the first question alone, like a manager that came to stand still.
    (guard.path / "busctl").write_text(
        f"#!/bin/bash\ncase $* in *'/service '*) {answer or ':'} ;; esac; exit 1\n"
    )
    assert guard.passes()
    assert guard.said == UNKNOWN
    (guard.path / "busctl").unlink()
    assert guard.passes()
    assert guard.said == UNKNOWN


@pytest.mark.parametrize(
    ("unit", "passes", "said"),
    [
        ("lunasched-job@job:0123456789abt.service", False, "this slot ran already\n"),
        ("lunasched-job@job:0123456789abh.service", True, ""),
        ("lunasched-job@job:0123456789ab.service", True, UNKNOWN),
        # No launcher has started it.
        ("lunasched-job@job.service", True, ""),
        ("lunasched-job@0123456789abt.service", True, ""),
    ],
)
def test_a_launcher_says_what_it_was_started_by_in_the_name(
    slots: SlotDirectory, guard: Guard, now: int, unit: str, passes: bool, said: str
) -> None:
    slots.write("job", hourly(now))
    set_last(slots, now)
    guard.launched = unit
    assert (guard.passes(), guard.said, guard.asked()) == (passes, said, 0)


@pytest.mark.parametrize(
    ("text", "passes", "said"),
    [
        ("12 t 5\n", False, "this slot ran already\n"),
        ("12 t\n", False, "this slot ran already\n"),
        ("12 h\n", True, ""),
        ("12 -\n", True, UNKNOWN),
        # The service was started by somebody else since.
        ("11 t 5\n", True, ""),
        ("starting t 5\n", True, UNKNOWN),
        ("", True, UNKNOWN),
    ],
)
def test_a_launcher_that_starts_the_service_notes_what_it_was_started_by(
    slots: SlotDirectory, guard: Guard, now: int, text: str, passes: bool, said: str
) -> None:
    slots.write("job", hourly(now))
    set_last(slots, now)
    guard.noted.write_text(text)
    assert (guard.passes(), guard.said, guard.asked()) == (passes, said, 1)


def test_a_launcher_may_take_a_moment_to_know_the_job(
    slots: SlotDirectory, guard: Guard, now: int
) -> None:
    slots.write("job", hourly(now))
    set_last(slots, now)
    guard.noted.write_text("starting t 5\n")
    # The guard has asked: it waits for the launcher.
    writer = f"until [ -e {guard.path}/asked ]; do :; done; echo 12 t 5 >{guard.noted}"
    with subprocess.Popen(["/bin/bash", "-c", writer]):
        assert not guard.passes()


def test_a_clock_that_was_set_back_far_counts(slots: SlotDirectory, guard: Guard, now: int) -> None:
    slots.write("job", hourly(now))
    offset = clock_offset(now)
    set_last(slots, now + HOUR, offset + CORRECTION_USEC - HOUR)
    assert not guard.passes()
    set_last(slots, now + HOUR, offset + CORRECTION_USEC + HOUR)
    assert guard.passes()
    assert last_slot(slots) == now - SECOND
    # Where the time since boot was hidden.
    set_last(slots, now + CORRECTION_USEC - HOUR)
    assert not guard.passes()
    set_last(slots, now + CORRECTION_USEC + HOUR)
    assert guard.passes()


@pytest.mark.parametrize(
    "slots_known",
    [lambda now: (now - 2 * HOUR, now - HOUR), lambda now: (now + HOUR, now + 2 * HOUR)],
    ids=["a list that is over", "before the list"],
)
def test_what_is_not_known_is_no_repeat(
    slots: SlotDirectory, guard: Guard, now: int, slots_known: Callable[[int], tuple[int, ...]]
) -> None:
    slots.write("job", SlotList("UTC", "x", slots_known(now)))
    set_last(slots, now - SECOND)
    for _ in range(2):
        before = last_slot(slots)
        assert guard.passes()
        assert last_slot(slots) > before
    set_last(slots, now + HOUR)
    assert not guard.passes()


@pytest.mark.parametrize("damage", [None, "", "x y z\n", "UTC x\nq\n", "UTC x\n1 2\na[$(id)]\n"])
@pytest.mark.parametrize("which", ["job", "last:job"])
def test_a_lost_or_damaged_file_loses_no_slot(
    slots: SlotDirectory, guard: Guard, now: int, which: str, damage: str | None
) -> None:
    slots.write("job", hourly(now))
    set_last(slots, now - HOUR)
    file = slots.path / which
    file.unlink()
    if damage is not None:
        file.write_text(damage)
    assert guard.passes()
    assert last_slot(slots) >= now - SECOND


def test_a_job_that_may_write_nothing_runs(slots: SlotDirectory, guard: Guard, now: int) -> None:
    slots.write("job", hourly(now))
    set_last(slots, now - HOUR)
    for _ in range(2):
        assert guard.passes(prefix="ulimit -f 0; ")
    assert last_slot(slots) == now - HOUR
    (slots.path / "last:job").unlink()
    assert guard.passes(prefix="ulimit -n 10; ")


@pytest.mark.parametrize("which", ["by-hand", "ours"])
def test_a_mark_lets_a_start_pass_until_its_time(
    slots: SlotDirectory, guard: Guard, now: int, which: str
) -> None:
    slots.write("job", hourly(now))
    set_last(slots, now)
    assert not guard.passes()
    (guard.path / which).write_text(f"{slotfile._uptime() + 60 * SECOND}\n")
    assert guard.passes()
    # It does not use up a slot either.
    set_last(slots, now - HOUR)
    assert guard.passes()
    assert last_slot(slots) == now - HOUR
    set_last(slots, now)
    (guard.path / which).write_text("1000\n")
    assert not guard.passes()


@pytest.mark.parametrize("launched", ["-", "lunasched-job@job:0123456789abh.service", "/none"])
@pytest.mark.parametrize("environment", [{}, {"TRIGGER_UNIT": "x.timer"}])
def test_what_the_supervisor_starts_in_place_of_the_timer_is_for_a_slot(
    slots: SlotDirectory, guard: Guard, now: int, launched: str, environment: dict[str, str]
) -> None:
    slots.write("job", hourly(now))
    set_last(slots, now - HOUR)
    guard.launched, guard.environment = launched, environment
    guard.ours.write_text(f"{slotfile._uptime() + 60 * SECOND} timer\n")
    assert guard.passes()
    assert last_slot(slots) == now - SECOND
    assert not guard.passes()
    assert guard.asked() == 0


@pytest.mark.parametrize("kind", ["command", "fifo", "link", "directory", "long", "zeros"])
def test_the_slot_guard_trusts_no_mark(
    slots: SlotDirectory, guard: Guard, now: int, tmp_path: Path, kind: str
) -> None:
    slots.write("job", hourly(now))
    set_last(slots, now)
    mark, touched = guard.ours, tmp_path / "touched"
    if kind == "command":
        mark.write_text(f"a[$(touch {touched})]\n")
    elif kind == "fifo":
        os.mkfifo(mark)
    elif kind == "link":
        mark.symlink_to("/dev/zero")
    elif kind == "directory":
        mark.mkdir()
    elif kind == "zeros":
        mark.write_bytes(bytes(4096))
    else:
        mark.write_text("9" * 10_000 + "\n")
    assert not guard.passes()
    assert not touched.exists()


def test_the_guard_is_called_without_what_the_environment_has() -> None:
    line = guard_command(GUARD, "a b", mode=Mode.SYSTEM).text
    assert line.startswith("/bin/bash -p -c ")
    assert line.endswith(f'{GUARD} "a b"')
    assert guard_command(GUARD, mode=Mode.USER).text.endswith(" --user")


# The files


@pytest.mark.parametrize("schedule", ["* * * * *", "@yearly", "calendar:2020-01-01", "0 0 29 2 *"])
def test_a_list_is_read_as_it_was_written(
    slots: SlotDirectory, now: int, schedule: str, rng: random.Random
) -> None:
    rule = parse(schedule)
    for _ in range(5):
        moment = now + rng.randrange(10 * 365 * 24) * HOUR
        made = slot_list(rule, "Europe/Berlin", moment)
        slots.write("job", made)
        assert slots.read("job") == made
        assert (slots.path / "job").stat().st_size <= 4096
        assert made.slots[0] <= moment < made.slots[1]
        assert list(made.slots) == sorted(made.slots)
        assert made.is_for(rule, "Europe/Berlin")
        assert not made.is_for(rule, "UTC")


def test_a_list_of_what_a_timer_read_otherwise_is_for_no_schedule(now: int) -> None:
    """Before the timer had the ends of steps, the list lacked slots, and the guard refused them."""
    text = "calendar:*-*-1/7"
    for schedule in (text, f"at 09:00; {text}"):
        rule = parse(schedule)
        made = slot_list(rule, "UTC", now)
        assert made.is_for(rule, "UTC")
        assert not SlotList("UTC", rule.text, made.slots).is_for(rule, "UTC")


def test_how_long_a_list_lasts(now: int) -> None:
    rule = parse("0 * * * *")
    made = slot_list(rule, "UTC", now)
    assert made.lasts(now, 0.99)
    assert not made.lasts(made.slots[0] - 1, 0)
    assert made.lasts(made.slots[NEXT_SLOTS // 2], 0.25)
    assert not made.lasts(made.slots[NEXT_SLOTS // 2], 0.75)
    assert not made.lasts(made.slots[-1], 0)
    # No more of them are found than a month needs, and of those that are left a share is enough.
    daily = slot_list(parse("0 3 * * *"), "UTC", now)
    assert len(daily.slots) - 1 == 32
    assert daily.lasts(now, 0.99)
    assert daily.lasts(daily.slots[16], 0.25)
    assert not daily.lasts(daily.slots[30], 0.25)
    assert len(slot_list(parse("0 */6 * * *"), "UTC", now).slots) - 1 in (121, 122)
    assert len(slot_list(parse("* * * * *"), "UTC", now).slots) - 1 == NEXT_SLOTS
    # A schedule that ends has no more slots than it has.
    ends = slot_list(parse("calendar:2020-01-01"), "UTC", now)
    assert ends.slots[1:] == (NEVER,)
    assert ends.lasts(now, 0.99)


def test_the_user_of_a_job_is_given_its_file(slots: SlotDirectory, now: int) -> None:
    slots.set_last("job", LastSlot(now, 7), "daemon", durable=True)
    file = slots.path / "last:job"
    assert (file.stat().st_uid, file.stat().st_mode & 0o777) == (1, 0o644)
    assert slots.last("job") == LastSlot(now, 7)
    inode = file.stat().st_ino
    slots.own_last("job", "daemon", durable=True)
    assert file.stat().st_ino == inode
    # Another user: another file with the same word.
    slots.own_last("job", "2", durable=False)
    assert file.stat().st_uid == 2
    assert slots.last("job") == LastSlot(now, 7)
    slots.own_last("job", "no such user", durable=False)
    assert file.stat().st_uid == os.geteuid()
    assert slots.last("job") == LastSlot(now, 7)


def test_what_ran_while_its_file_was_replaced_is_known(
    slots: SlotDirectory, guard: Guard, now: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots.write("job", hourly(now))
    slots.set_last("job", LastSlot(now - HOUR, 0), "daemon", durable=False)
    replace, ran = Path.replace, list[bool]()

    def after_a_run(self: Path, target: Path) -> Path:
        if not ran:
            ran.append(guard.passes())
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", after_a_run)
    slots.own_last("job", None, durable=False)
    assert ran == [True]
    assert last_slot(slots) == now - SECOND
    assert (slots.path / "last:job").stat().st_uid == os.geteuid()


def test_what_all_units_were_made_for_is_noted(slots: SlotDirectory) -> None:
    assert (slots.zones(), slots.systemd()) == ("", "")
    slots.write_made_for("Europe/Berlin 2026a", "")
    assert (slots.zones(), slots.systemd()) == ("Europe/Berlin 2026a", "")
    slots.write_made_for("Europe/Berlin 2026a", "systemd 258")
    assert (slots.zones(), slots.systemd()) == ("Europe/Berlin 2026a", "systemd 258")


@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "long", "word", "negative"])
def test_what_a_user_put_there_is_data(slots: SlotDirectory, tmp_path: Path, kind: str) -> None:
    """They cannot make it a link; whoever could, would gain nothing."""
    slots.write_made_for("UTC 1", "")
    target = tmp_path / "target"
    target.write_text(f"{1:<18} {2:<18}\n")
    for name in ("last:job", "succeeded:job"):
        file = slots.path / name
        if kind == "link":
            file.symlink_to(target)
        elif kind == "fifo":
            os.mkfifo(file)
        elif kind == "directory":
            file.mkdir()
        else:
            words = {"long": "9" * 100_000, "word": "x y", "negative": "-1 -2"}
            file.write_text(words[kind] + "\n")
    assert slots.last("job") is None
    assert not slots.says_success("job")
    if kind != "directory":
        slots.own_last("job", None, durable=False)
        slots.set_succeeded("job", True, None)
        assert slots.says_success("job")
        assert target.read_text() == f"{1:<18} {2:<18}\n"


def test_success_is_one_byte(slots: SlotDirectory) -> None:
    for said in (True, False):
        slots.set_succeeded("job", said, "daemon")
        assert slots.says_success("job") is said
        assert (slots.path / "succeeded:job").stat().st_uid == 1
        assert slots.can_say_success("job", "daemon")
        assert not slots.can_say_success("job", None)
    slots.set_succeeded("other", True, None)
    slots.forget_successes(but=["other"])
    assert sorted(each.name for each in slots.path.iterdir()) == ["succeeded:other"]


def test_slots_after_the_latest_one(now: int) -> None:
    made = slot.slot_list(parse("*/10 * * * *"), "UTC", now)
    assert made.slots[0] == now // (600 * SECOND) * 600 * SECOND
    assert {b - a for a, b in zip(made.slots, made.slots[1:], strict=False)} == {600 * SECOND}
