"""Which slot a start belongs to, and which one comes next."""

from __future__ import annotations

from datetime import datetime, timezone
from itertools import islice

import pytest
from samples import backup

from lunasched.history import slot
from lunasched.history.run import Trigger
from lunasched.history.slot import Past, attribute, next_slot_of_job, to_datetime, to_usec
from lunasched.jobs.model import Job
from lunasched.schedule import elapses, parse

HOST = "Europe/Berlin"
SECOND = 1_000_000
HOUR = 3600 * SECOND


def at(text: str) -> int:
    """A point in time that is written in UTC."""
    return to_usec(datetime.fromisoformat(text).replace(tzinfo=timezone.utc))


LONG_AGO = at("2026-01-01")
# 02:30 in Berlin is 01:30 UTC in winter.
SLOT = at("2026-02-10 01:30")
BEFORE = at("2026-02-09 01:30")
NIGHTLY = backup(schedule="at 02:30")
HOURLY = backup(schedule="every 1h")

ATTRIBUTIONS = [
    # A calendar: a start belongs to the latest slot, unless that was used.
    ("on time", NIGHTLY, SLOT + 20_000, Past(LONG_AGO, BEFORE, BEFORE), (Trigger.TIMER, SLOT)),
    ("to the microsecond", NIGHTLY, SLOT, Past(LONG_AGO, None, None), (Trigger.TIMER, SLOT)),
    ("the first run", NIGHTLY, SLOT + SECOND, Past(LONG_AGO, None, None), (Trigger.TIMER, SLOT)),
    ("late", NIGHTLY, SLOT + HOUR, Past(LONG_AGO, BEFORE, BEFORE), (Trigger.TIMER, SLOT)),
    ("used", NIGHTLY, SLOT + HOUR, Past(LONG_AGO, SLOT + SECOND, SLOT), (Trigger.MANUAL, None)),
    (
        "after a start by hand that took no slot",
        NIGHTLY,
        SLOT + SECOND,
        Past(LONG_AGO, SLOT - SECOND, BEFORE),
        (Trigger.TIMER, SLOT),
    ),
    (
        "a slot from before the job was added",
        NIGHTLY,
        SLOT + HOUR,
        Past(SLOT + SECOND, None, None),
        (Trigger.MANUAL, None),
    ),
    (
        "the first slot after the job was added",
        NIGHTLY,
        SLOT + SECOND,
        Past(SLOT - SECOND, None, None),
        (Trigger.TIMER, SLOT),
    ),
    (
        "a slot that other slots were missed before",
        NIGHTLY,
        SLOT + SECOND,
        Past(LONG_AGO, BEFORE - 48 * HOUR, BEFORE - 48 * HOUR),
        (Trigger.TIMER, SLOT),
    ),
    (
        "with jitter",
        backup(schedule="at 02:30", jitter=1800),
        SLOT + HOUR // 2,
        Past(LONG_AGO, BEFORE, BEFORE),
        (Trigger.TIMER, SLOT),
    ),
    (
        "in the job's own zone",
        backup(schedule="at 02:30", timezone="America/New_York"),
        at("2026-02-10 07:30:01"),
        Past(LONG_AGO, None, None),
        (Trigger.TIMER, at("2026-02-10 07:30")),
    ),
    (
        "no slot yet in the zone of the job",
        backup(schedule="0 12 24 12 *"),
        at("2026-02-10"),
        Past(LONG_AGO, None, None),
        (Trigger.MANUAL, None),
    ),
    # A slot that passed while the machine was off is made up for in the new boot.
    (
        "catching up",
        backup(schedule="at 02:30", catch_up=True),
        SLOT + HOUR,
        Past(LONG_AGO, BEFORE, BEFORE),
        (Trigger.CATCH_UP, SLOT),
    ),
    (
        "late in a boot that it ran in",
        backup(schedule="at 02:30", catch_up=True),
        SLOT + HOUR,
        Past(LONG_AGO, BEFORE, BEFORE, ran_this_boot=True),
        (Trigger.TIMER, SLOT),
    ),
    (
        "delayed by its jitter",
        backup(schedule="at 02:30", catch_up=True, jitter=3600),
        SLOT + HOUR,
        Past(LONG_AGO, BEFORE, BEFORE),
        (Trigger.TIMER, SLOT),
    ),
    # An interval counts from the last start, or from when the job was added or changed.
    (
        "an interval after the last start",
        HOURLY,
        SLOT + HOUR,
        Past(LONG_AGO, SLOT, None),
        (Trigger.TIMER, SLOT + HOUR),
    ),
    (
        "an interval after it was added",
        HOURLY,
        SLOT + HOUR + SECOND,
        Past(SLOT, None, None),
        (Trigger.TIMER, SLOT + HOUR),
    ),
    (
        "an interval after it was changed",
        HOURLY,
        SLOT + HOUR,
        Past(SLOT, SLOT - HOUR // 2, None),
        (Trigger.TIMER, SLOT + HOUR),
    ),
    (
        "a second early, by another clock",
        HOURLY,
        SLOT + HOUR - SECOND,
        Past(LONG_AGO, SLOT, None),
        # No run is earlier than its slot.
        (Trigger.TIMER, SLOT + HOUR - SECOND),
    ),
    (
        "before the interval is over",
        HOURLY,
        SLOT + HOUR // 2,
        Past(LONG_AGO, SLOT, None),
        (Trigger.MANUAL, None),
    ),
    # At boot: the first start of a boot.
    (
        "at boot",
        backup(schedule="@reboot"),
        SLOT,
        Past(LONG_AGO, BEFORE, None, ran_this_boot=False),
        (Trigger.TIMER, None),
    ),
    (
        "again in the same boot",
        backup(schedule="@reboot"),
        SLOT,
        Past(LONG_AGO, BEFORE, None, ran_this_boot=True),
        (Trigger.MANUAL, None),
    ),
    # Beside others, what is due after a boot is the first start of it, and has no slot.
    *(
        (f"{text}, {name}", backup(schedule=text, catch_up=False), started, past, expected)
        for text in ("at 02:30; @boot+15m", "at 02:30; at 02:30 on Sun; @reboot")
        for name, started, past, expected in (
            ("on time", SLOT + 2 * SECOND, Past(LONG_AGO, BEFORE, BEFORE), (Trigger.TIMER, SLOT)),
            (
                "after a boot",
                SLOT + HOUR,
                Past(LONG_AGO, BEFORE, BEFORE, False),
                (Trigger.TIMER, None),
            ),
            (
                "after another",
                SLOT + HOUR,
                Past(LONG_AGO, BEFORE, SLOT, False),
                (Trigger.TIMER, None),
            ),
            ("later", SLOT + HOUR, Past(LONG_AGO, SLOT, SLOT, True), (Trigger.MANUAL, None)),
        )
    ),
    (
        "an interval after a boot",
        backup(schedule="every 1h; @boot+15m"),
        SLOT + 3 * HOUR,
        Past(LONG_AGO, SLOT, None, False),
        (Trigger.TIMER, None),
    ),
    (
        "an interval soon after a boot",
        backup(schedule="every 1h; @boot+15m"),
        SLOT + HOUR // 2,
        Past(LONG_AGO, SLOT, None, False),
        (Trigger.TIMER, None),
    ),
    (
        "an interval after the boot's run",
        backup(schedule="every 1h; @boot+15m"),
        SLOT + HOUR,
        Past(LONG_AGO, SLOT, None, True),
        (Trigger.TIMER, SLOT + HOUR),
    ),
    (
        "on demand",
        backup(schedule="on demand"),
        SLOT,
        Past(LONG_AGO, None, None),
        (Trigger.MANUAL, None),
    ),
    # A disabled job has no timer.
    (
        "disabled",
        backup(schedule="at 02:30", enabled=False),
        SLOT,
        Past(LONG_AGO, BEFORE, BEFORE),
        (Trigger.MANUAL, None),
    ),
    (
        "disabled later than it started",
        backup(schedule="every 1h", enabled=False),
        SLOT,
        Past(SLOT + SECOND, SLOT - 2 * HOUR, None),
        (Trigger.MANUAL, None),
    ),
]


@pytest.mark.parametrize(
    ("job", "started_at", "past", "expected"),
    [case[1:] for case in ATTRIBUTIONS],
    ids=[case[0].replace(" ", "-") for case in ATTRIBUTIONS],
)
def test_what_started_a_run(
    job: Job, started_at: int, past: Past, expected: tuple[Trigger, int | None]
) -> None:
    assert attribute(job, started_at, past, HOST) == expected


def test_a_repeated_hour_has_a_slot_for_each_pass_of_a_wildcard_job() -> None:
    quarterly = backup(schedule="*/15 * * * *")
    first, second = at("2026-10-25 00:15"), at("2026-10-25 01:15")
    assert attribute(quarterly, first + 1, Past(LONG_AGO, None, first - HOUR), HOST) == (
        Trigger.TIMER,
        first,
    )
    assert attribute(quarterly, second + 1, Past(LONG_AGO, first, first), HOST) == (
        Trigger.TIMER,
        second,
    )


def test_a_time_in_the_skipped_hour_has_its_slot_after_the_gap() -> None:
    after_gap = at("2026-03-29 01:00")
    assert attribute(NIGHTLY, after_gap + SECOND, Past(LONG_AGO, None, None), HOST) == (
        Trigger.TIMER,
        after_gap,
    )


NEXT = [
    ("a calendar", NIGHTLY, BEFORE + SECOND, Past(LONG_AGO, None, None), SLOT),
    ("not the present", NIGHTLY, SLOT, Past(LONG_AGO, None, None), SLOT + 24 * HOUR),
    ("whatever ran", NIGHTLY, BEFORE + SECOND, Past(LONG_AGO, BEFORE, BEFORE), SLOT),
    (
        "without its jitter",
        backup(schedule="at 02:30", jitter=60),
        SLOT - 1,
        Past(LONG_AGO, None, None),
        SLOT,
    ),
    (
        "in the job's own zone",
        backup(schedule="at 02:30", timezone="Asia/Tokyo"),
        at("2026-02-10"),
        Past(LONG_AGO, None, None),
        at("2026-02-10 17:30"),
    ),
    ("an interval", HOURLY, SLOT + SECOND, Past(LONG_AGO, SLOT, None), SLOT + HOUR),
    ("an interval not yet run", HOURLY, SLOT + SECOND, Past(SLOT, None, None), SLOT + HOUR),
    ("an interval that was changed", HOURLY, SLOT, Past(SLOT, BEFORE, None), SLOT + HOUR),
    ("an overdue interval", HOURLY, SLOT, Past(LONG_AGO, BEFORE, None), SLOT),
    ("at boot", backup(schedule="@reboot"), SLOT, Past(LONG_AGO, None, None), None),
    ("on demand", backup(schedule="on demand"), SLOT, Past(LONG_AGO, None, None), None),
    (
        "disabled",
        backup(schedule="at 02:30", enabled=False),
        SLOT,
        Past(LONG_AGO, None, None),
        None,
    ),
    (
        "a disabled interval",
        backup(schedule="every 1h", enabled=False),
        SLOT,
        Past(LONG_AGO, None, None),
        None,
    ),
    ("never again", backup(schedule="calendar:2020-01-01"), SLOT, Past(LONG_AGO, None, None), None),
    (
        "over the spring night",
        NIGHTLY,
        at("2026-03-28 12:00"),
        Past(LONG_AGO, None, None),
        at("2026-03-29 01:00"),
    ),
]


@pytest.mark.parametrize(
    ("job", "now", "past", "expected"),
    [case[1:] for case in NEXT],
    ids=[case[0].replace(" ", "-") for case in NEXT],
)
def test_when_a_job_elapses_next(job: Job, now: int, past: Past, expected: int | None) -> None:
    assert next_slot_of_job(job, now, past, HOST) == expected


@pytest.mark.parametrize("usec", [0, 1, -1, 1_782_000_000_123_456])
def test_times_keep_their_microseconds(usec: int) -> None:
    assert to_usec(to_datetime(usec)) == usec


@pytest.mark.parametrize("text", ["0 * * * *", "calendar:2026-02-10 12,13,14:00", "every 1h"])
def test_next_and_second_are_what_each_is_by_itself(text: str) -> None:
    hour, noon = HOUR, at("2026-02-10 12:00")
    for now in range(noon - 2 * hour, noon + 4 * hour, hour // 2):
        for after in range(noon - 2 * hour, noon + 4 * hour, hour // 2):
            upcoming, second = slot.next_and_second(text, "UTC", now, after, after)
            assert upcoming == slot.timer_elapse(text, "UTC", now, after)
            if text.startswith("every"):
                assert second == after + 2 * hour
            else:
                found = elapses(parse(text), timezone="UTC", after=to_datetime(after))
                slots = [to_usec(one) for one in islice(found, 2)]
                assert second == (slots[1] if len(slots) == 2 else None)
