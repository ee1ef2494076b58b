"""Entries that run the scripts of a directory: each script is a job, in their order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lunasched.jobs.model import ExecutionMode, Job, Priority
from lunasched.jobs.origin import JobOrigin
from lunasched.transfer.crontab import CronFormat, CrontabSource
from lunasched.transfer.crontab.runparts import RunParts, directories_of_anacron, run_parts
from lunasched.transfer.crontab.served import Known, ServedCrontab, served
from lunasched.transfer.crontab.source import CronScript

DAILY = "/etc/cron.daily"
GUARDED = f"test -x /usr/sbin/anacron || {{ cd / && run-parts --report {DAILY}; }}"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("cd / && run-parts --report /etc/cron.hourly", RunParts("/etc/cron.hourly", False, False)),
        (GUARDED, RunParts(DAILY, False, True)),
        (
            "test -x /usr/sbin/anacron || ( cd / && run-parts --report /etc/cron.weekly )",
            RunParts("/etc/cron.weekly", False, True),
        ),
        (
            "[ -x /usr/sbin/anacron ] || run-parts /etc/cron.monthly",
            RunParts("/etc/cron.monthly", False, True),
        ),
        ("run-parts /etc/cron.hourly", RunParts("/etc/cron.hourly", False, False)),
        ("nice run-parts /etc/cron.yearly/", RunParts("/etc/cron.yearly", True, False)),
        ("run-parts --report /etc/cron.5min", None),
        ("run-parts --report /etc/cron.daily -x", None),
        ("run-parts --report /etc/cron.daily; true", None),
        ("run-parts --report /etc/cron.daily/sub", None),
        (f"test -x /usr/sbin/anacron && run-parts {DAILY}", None),
        (f"{{ run-parts {DAILY}; }}", None),
        (f"test -x /usr/sbin/anacron || {{ run-parts {DAILY}; }} || true", None),
        (f"echo run-parts {DAILY}", None),
        ("", None),
    ],
)
def test_the_commands_that_are_known(command: str, expected: RunParts | None) -> None:
    assert run_parts(command) == expected


def scripts(*names: str) -> CrontabSource:
    """A crontab of the system, on a machine with these scripts in /etc/cron.daily."""
    found = [CronScript(f"{DAILY}/{name}", ("/run-one", name)) for name in names]
    return CrontabSource(
        "/etc/crontab",
        CronFormat.SYSTEM,
        prefix="crontab",
        users={"root"},
        scripts=lambda directory: found if directory == DAILY else [],
        spread="one machine",
    )


THREE = scripts("0first", "man-db", "zlast")


def serve(text: str, source: CrontabSource = THREE, known: Known = ()) -> ServedCrontab:
    return served(text.encode(), source, known, lambda name: False)


def jobs(text: str, source: CrontabSource = THREE, known: Known = ()) -> list[Job]:
    found = serve(text, source, known)
    assert not found.faults and not found.notes
    return [job for job, _ in found.jobs]


def test_each_script_is_a_job_and_comes_after_those_before_it() -> None:
    found = serve(f"MAILTO=ops\n25 6 * * * root {GUARDED}\n")
    first, second, last = (job for job, _ in found.jobs)
    assert [first.name, second.name, last.name] == [
        "cron.daily-0first", "cron.daily-man-db", "cron.daily-zlast",
    ]  # fmt: skip
    assert [first.after, second.after, last.after] == [
        (), (first.name,), (first.name, second.name),
    ]  # fmt: skip
    assert [origin for _, origin in found.jobs] == [
        JobOrigin(f"{DAILY}/{name}", 0, "") for name in ("0first", "man-db", "zlast")
    ]
    assert (second.command, second.schedule) == (("/run-one", "man-db"), "25 6 * * *")
    assert (second.user, second.working_directory) == (None, "/")
    assert second.mode is ExecutionMode.SEQUENTIAL
    assert not second.any_exit_code  # run-parts says it
    assert [one.target for one in second.notifications.on_output] == ["ops"]
    # What would be left to anacron is done as by anacron, which makes up for days.
    assert second.catch_up
    assert not jobs(f"25 6 * * * root run-parts {DAILY}\n")[0].catch_up
    assert jobs("25 6 * * * root run-parts /etc/cron.weekly\n") == []


def test_a_comment_is_for_all_of_them_and_does_not_change_their_order() -> None:
    source = scripts("a", "b")
    text = f"# lunasched: timeout=1h tags=nightly\n5 5 * * * root run-parts {DAILY}\n"
    limited = [(job.limits.timeout, job.tags) for job in jobs(text, source)]
    assert limited == [(3600, ("nightly",))] * 2
    found = serve(f"# lunasched: execution_mode=Parallel\n5 5 * * * root run-parts {DAILY}\n")
    assert [job.mode for job, _ in found.jobs] == [ExecutionMode.SEQUENTIAL] * 3
    assert "run in order; this comment has no effect" in found.notes[0][1]


def test_what_anacron_does_is_nobody_elses() -> None:
    source = replace(THREE, by_anacron=frozenset({DAILY}))
    assert jobs(f"25 6 * * * root {GUARDED}\n", source) == []
    # Nobody asks for anacron there.
    assert len(jobs(f"25 6 * * * root run-parts {DAILY}\n", source)) == 3


ANACRONTAB = f"""\
SHELL=/bin/sh
HOME=/root
LOGNAME=root
1\t5\tcron.daily\trun-parts --report {DAILY}
7\t10\tcron.weekly\trun-parts --report /etc/cron.weekly
@monthly 15 own /usr/local/bin/own %x
"""


def test_the_table_of_anacron() -> None:
    source = replace(THREE, label="/etc/anacrontab", format=CronFormat.ANACRON, prefix="anacrontab")
    *daily, own = jobs(ANACRONTAB, source)
    assert [job.name for job in daily] == [
        "cron.daily-0first", "cron.daily-man-db", "cron.daily-zlast",
    ]  # fmt: skip
    assert {(job.schedule, job.catch_up) for job in daily} == {("35 7 * * *", True)}
    assert (own.name, own.schedule) == ("anacrontab-own", "45 7 1 * *")
    assert (own.command, own.catch_up) == ("/usr/local/bin/own %x", True)
    assert own.mode is ExecutionMode.SEQUENTIAL
    assert directories_of_anacron(ANACRONTAB.encode()) == {
        DAILY: "cron.daily", "/etc/cron.weekly": "cron.weekly",
    }  # fmt: skip
    assert directories_of_anacron(b"nonsense\n\xff\n") == {}


def test_a_random_delay_is_one_for_all_of_them() -> None:
    anacron = replace(THREE, format=CronFormat.ANACRON)
    text = f"RANDOM_DELAY=45\nSTART_HOURS_RANGE=3-22\n1 5 cron.daily nice run-parts {DAILY}\n"
    found = jobs(text, anacron)
    (when,) = {job.schedule for job in found}
    minute, hour, *_ = when.split()
    assert 3 * 60 + 5 <= int(hour) * 60 + int(minute) <= 3 * 60 + 50
    assert {(job.jitter, job.priority) for job in found} == {(0, Priority.LOW)}
    others = {
        job.schedule
        for number in range(20)
        for job in jobs(text, replace(anacron, spread=f"machine {number}"))
    }
    assert len(others) > 5
    # It cannot be one where it would lead out of the hour: the command is one job then.
    late = f"RANDOM_DELAY=1000\n59 * * * * root run-parts {DAILY}\n"
    assert [(job.name, job.jitter) for job in jobs(late)] == [("crontab-cron.daily", 60_000)]


def test_a_script_keeps_its_job() -> None:
    text = f"25 6 * * * root {GUARDED}\n"
    known = [("cron.daily-b-2", JobOrigin(f"{DAILY}/b", 0, ""))]
    names = [job.name for job in jobs(text, scripts("a", "b", "c"), known)]
    assert names == ["cron.daily-a", "cron.daily-b-2", "cron.daily-c"]
    # One that is gone leaves its job to no other, though the names be alike.
    known = [("cron.daily-5", JobOrigin(f"{DAILY}/5", 0, ""))]
    assert [job.name for job in jobs(text, scripts("6"), known)] == ["cron.daily-6"]


def test_a_users_run_parts_is_a_command() -> None:
    user = CrontabSource(
        "/var/spool/cron/crontabs/a", CronFormat.USER, prefix="crontab.a", user="a"
    )
    (job,) = jobs(f"1 1 * * * run-parts {DAILY}\n", user)
    assert job.name == "crontab.a-cron.daily"
