"""What cron's log has of its last minute: which entries it started, and which it did not."""

from __future__ import annotations

import pytest

from lunasched.jobs.origin import JobOrigin
from lunasched.systemd.cronrecords import CronEnd
from lunasched.transfer.crontab.cronlog import is_start_of

FILE = "/etc/cron.d/php"
SPOOL = "/var/spool/cron/crontabs/alice"
MINUTE = 1_800_000_000_000_000 // 60_000_000 * 60_000_000


@pytest.mark.parametrize(
    ("source", "text", "message", "expected"),
    [
        (FILE, "9 * * * * root  /bin/a b ", "(root) CMD (/bin/a b)", True),
        (FILE, "9 * * * *\troot\t/bin/a b", "(root) CMD (/bin/a b)", True),
        (FILE, "9 * * * * root /bin/a b", "(root) CMD (/bin/a)", False),
        (FILE, "9 * * * * www /bin/a", "(root) CMD (/bin/a)", False),
        (FILE, "9 * * * * root (a) CMD (b)", "(root) CMD ((a) CMD (b))", True),
        (FILE, "9 * * * * root /bin/a", "(root) CMDEND (/bin/a)", False),
        (FILE, "nonsense", "(root) CMD (nonsense)", False),
        (SPOOL, "@hourly a \\%x %in\\%put", "(alice) CMD (a %x )", True),
        (FILE, "* * * * * root date +\\%s >>/x", "(root) CMD (date +%s >>/x)", True),
        (SPOOL, "@hourly a", "(root) CMD (a)", False),
        (SPOOL, "@hourly echo nö; b", "(alice) CMD (echo nM-CM-6; b)", True),
        (SPOOL, "@hourly echo nö; b", "(alice) CMD (date)", False),
    ],
)
def test_which_entry_a_message_is_about(
    source: str, text: str, message: str, expected: bool
) -> None:
    assert is_start_of(JobOrigin(source, 3, text), message) is expected


def test_a_script_is_started_with_all_of_its_directory() -> None:
    script = JobOrigin("/etc/cron.daily/man-db", 0, "")
    assert is_start_of(script, "(root) CMD (cd / && run-parts --report /etc/cron.daily)")
    assert not is_start_of(script, "(root) CMD (cd / && run-parts --report /etc/cron.hourly)")


def test_each_message_is_about_one_entry() -> None:
    end = CronEnd(MINUTE + 30_000_000, ["a", "b", "a"], logs=True)
    acted = [end.acted_until(one.__eq__) for one in "aaabc"]
    started, not_started = MINUTE + 30_000_000, MINUTE - 1
    assert acted == [started, started, not_started, started, not_started]


def test_a_message_may_be_about_all_scripts_of_a_directory() -> None:
    end = CronEnd(MINUTE, ["a"], logs=True)
    assert {end.acted_until("a".__eq__, alone=False) for _ in range(3)} == {MINUTE}


@pytest.mark.parametrize(("seconds", "acts"), [(0, False), (4, False), (6, True), (59, True)])
def test_a_cron_that_logs_nothing_is_taken_to_be_on_time(seconds: int, acts: bool) -> None:
    at = MINUTE + seconds * 1_000_000
    assert CronEnd(at, [], logs=False).acted_until(lambda _: True) == (at if acts else MINUTE - 1)
