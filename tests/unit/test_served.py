"""Crontabs that lunasched serves itself: what each entry becomes, under which name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from lunasched.jobs.model import ExecutionMode, Job, Overlap, Priority
from lunasched.jobs.origin import JobOrigin
from lunasched.paths import user_home
from lunasched.transfer.crontab import CronFormat, CrontabSource
from lunasched.transfer.crontab.served import ENTRIES_MAX, FAULTS_MAX, Known, ServedCrontab, served

PATH = "/var/spool/cron/crontabs/alice"
OWN = CrontabSource(PATH, CronFormat.USER, prefix="crontab.alice", user="alice")
SYSTEM = CrontabSource(
    "/etc/cron.d/php", CronFormat.SYSTEM, prefix="cron.d-php", users={"root", "www-data"}
)


def serve(
    text: str,
    known: Known = (),
    source: CrontabSource = OWN,
    is_taken: Callable[[str], bool] = lambda name: False,
) -> ServedCrontab:
    return served(text.encode(), source, known, is_taken)


def one(text: str, source: CrontabSource = OWN) -> Job:
    found = serve(text, source=source)
    assert not found.faults and not found.notes
    ((job, _),) = found.jobs
    return job


def names(text: str, known: Known = ()) -> list[str]:
    return [job.name for job, _ in serve(text, known).jobs]


def told(job: Job) -> dict[str, Any]:
    return {
        event: [one.to_mapping() for one in channels]
        for event in ("on_output", "on_failure")
        if (channels := getattr(job.notifications, event))
    }


def test_an_entry_does_what_cron_does_with_it() -> None:
    job = one("A=b\nHOME=/srv\n30 4 * * 1-5  backup --all %in%put\n")
    assert (job.name, job.schedule) == ("crontab.alice-backup", "30 4 * * 1-5")
    assert (job.command, job.user, job.working_directory) == ("backup --all ", "alice", "-/srv")
    assert job.environment == (
        ("A", "b"), ("HOME", "/srv"), ("SHELL", "/bin/sh"), ("PATH", "/usr/bin:/bin"),
    )  # fmt: skip
    assert dict(job.directives) == {
        "StandardInput": "data", "StandardInputText": "in\\nput", "KillMode": "process",
    }  # fmt: skip
    assert (job.any_exit_code, job.mode, job.catch_up) == (True, ExecutionMode.PARALLEL, False)
    assert told(job) == {"on_output": [{"type": "sendmail", "to": "alice", "style": "cron"}]}
    assert job.tags == ()


def test_variables_of_the_machine_are_below_those_of_the_crontab() -> None:
    machine = {
        "PATH": "/opt", "A": "machine", "B": "b c", "HOME": "/", "LOGNAME": "x", "1X": "1",
        "BELL": "\a",
    }  # fmt: skip
    source = replace(OWN, environment=(*machine.items(),))
    ((job, origin),) = serve("A=crontab\n@daily x\n", source=source).jobs
    assert origin.inherited == ("B",)
    assert job.environment == (
        ("PATH", "/usr/bin:/bin"), ("A", "crontab"), ("B", "b c"), ("SHELL", "/bin/sh"),
    )  # fmt: skip


def test_what_systemd_takes_for_a_home_is_not_always_the_users() -> None:
    for user in ("nobody", "root"):
        source = replace(SYSTEM, users={user})
        job = one(f"@daily {user} x\n", source)
        home = user_home(user)
        own = (None, False) if home == "/root" else (f"-{home}", True)
        assert (job.working_directory, ("HOME", home) in job.environment) == own


def test_white_space_before_a_command_is_as_cron_has_it() -> None:
    """Of the system's crontabs cron takes one blank away, of a user's all."""
    assert one("@daily root \t x %in\n", SYSTEM).command == "\t x "
    assert one("@daily \t x\n").command == "x"


def test_an_entry_of_the_system_names_its_user() -> None:
    job = one("MAILTO=ops@example.org\n@reboot www-data /usr/bin/php -f x\n", SYSTEM)
    assert (job.user, job.mode) == ("www-data", ExecutionMode.SEQUENTIAL)
    assert told(job)["on_output"][0]["to"] == "ops@example.org"
    assert one("@daily root true\n", SYSTEM).user is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('MAILTO=""\n@daily x\n', {}),
        ("MAILTO=a,b@c\n@daily x\n", {"on_output": "a, b@c"}),
        # No mail of what succeeds: there an exit code counts.
        ("@daily -n x\n", {"on_failure": "alice"}),
    ],
)
def test_whom_it_mails(text: str, expected: dict[str, str]) -> None:
    job = one(text)
    assert {event: channels[0]["to"] for event, channels in told(job).items()} == expected
    assert job.any_exit_code is ("on_failure" not in expected)


def test_nobody_is_mailed_where_nothing_mails() -> None:
    found = serve("MAILTO=a b\n@daily x\n", source=replace(OWN, mails=False))
    assert [told(job) for job, _ in found.jobs] == [{}]
    assert found.faults == ()


def test_a_fault_is_of_its_line_alone() -> None:
    found = serve("@daily good\n61 * * * * bad\nMAILTO=a b\n@daily mails nobody\n@daily last")
    assert [(job.command, origin.line) for job, origin in found.jobs] == [
        ("good", 1), ("mails nobody", 4),
    ]  # fmt: skip
    assert told(found.jobs[1][0]) == {}
    assert [line for line, _ in found.faults] == [2, 5]
    said = [message for _, message in found.faults]
    assert "column 1" in said[0]
    assert "newline at the end of the last line is missing" in said[1]
    ((line, note),) = found.notes
    assert (line, "mailed to nobody" in note) == (3, True)


def test_a_user_has_so_many_jobs_and_no_more() -> None:
    text = "@daily x\n" * (ENTRIES_MAX + 2)
    found = serve(text)
    assert len(found.jobs) == ENTRIES_MAX
    assert [line for line, _ in found.faults] == [ENTRIES_MAX + 1]
    assert "this and all below are not run" in found.faults[0][1]
    of_system = serve("@daily root x\n" * (ENTRIES_MAX + 2), source=SYSTEM)
    assert (len(of_system.jobs), of_system.faults) == (ENTRIES_MAX + 2, ())


def test_so_many_faults_are_named_and_no_more() -> None:
    """Whoever may have a crontab could fill the journal otherwise."""
    found = serve("61 * * * * x\n" * (FAULTS_MAX + 300) + "# lunasched: x=1\n" * (FAULTS_MAX + 1))
    assert len(found.faults) == len(found.notes) == FAULTS_MAX + 1
    assert found.faults[0][0] == 1
    assert found.faults[-1] == (0, "there are 300 more lines that are not run")
    assert found.notes[-1] == (0, "there are 1 more lines of which a part has no effect")


def test_where_an_entry_comes_from() -> None:
    found = serve("# about it\n\n@daily  x  # y \n")
    assert [origin for _, origin in found.jobs] == [JobOrigin(PATH, 3, "@daily  x  # y ")]


FIRST = "1 1 * * * backup a\n2 2 * * * backup b\n3 3 * * * report\n"


def known_of(text: str) -> list[tuple[str, JobOrigin]]:
    return [(job.name, origin) for job, origin in serve(text).jobs]


def test_names_are_of_the_program_and_numbered() -> None:
    base = "crontab.alice"
    assert names(FIRST) == [f"{base}-backup", f"{base}-backup-2", f"{base}-report"]
    assert names("@daily x\n@daily x\n") == [f"{base}-x", f"{base}-x-2"]
    taken = {f"{base}-x", f"{base}-x-2"}
    found = serve("@daily x\n", is_taken=lambda name: name in taken)
    assert [job.name for job, _ in found.jobs] == [f"{base}-x-3"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Lines move, and others come.
        ("3 3 * * * report\n2 2 * * * backup b\n", ["report", "backup-2"]),
        ("0 0 * * * new\n" + FIRST, ["new", "backup", "backup-2", "report"]),
        # A time or an argument changes.
        ("9 9 * * * backup a\n2 2 * * * backup b\n", ["backup", "backup-2"]),
        ("1 1 * * * backup a\n2 2 * * * backup -v b\n", ["backup", "backup-2"]),
        ("2 2 * * * backup b\n1 1 * * * backup other\n", ["backup-2", "backup"]),
        # What is new takes no name that another job has left in the same change.
        ("1 1 * * * other\n", ["other"]),
        ("1 1 * * * backup c\n1 1 * * * backup d\n1 1 * * * backup e\n",
         ["backup", "backup-2", "backup-3"]),
    ],
)  # fmt: skip
def test_a_job_keeps_its_name(text: str, expected: list[str]) -> None:
    assert names(text, known_of(FIRST)) == [f"crontab.alice-{name}" for name in expected]


# Comments that set keys


def test_a_comment_gives_the_entry_below_it_keys() -> None:
    text = (
        "# lunasched: timeout=1h max_memory=512M tags=db,nightly\n"
        "# the copy of the night\n"
        "\n"
        "PATH=/opt/bin\n"
        "#lunasched: catch_up=yes overlap=skip execution_mode=Sequential jitter='90 s'\n"
        "0 3 * * * backup\n"
        "0 4 * * * other\n"
    )
    found = serve(text)
    assert not found.faults and not found.notes
    (job, origin), (other, _) = found.jobs
    assert (job.limits.timeout, job.limits.max_memory) == (3600, 512 << 20)
    assert (job.tags, job.catch_up, job.jitter) == (("db", "nightly"), True, 90)
    assert (job.mode, job.overlap) == (ExecutionMode.SEQUENTIAL, Overlap.SKIP)
    assert (origin.line, origin.text) == (6, "0 3 * * * backup")
    assert (other.limits.timeout, other.tags) == (None, ())


def test_the_keys_of_an_entry_that_is_a_comment_now_are_nobody_elses() -> None:
    for disabled in ("#0 3 * * * backup", "# @daily backup", "  ## */5 1-3 * * 1 backup"):
        job = one(f"# lunasched: timeout=1h\n{disabled}\n0 4 * * * other\n")
        assert job.limits.timeout is None, disabled


def test_retries_are_for_exit_codes() -> None:
    job = one("# lunasched: max_retries=2\n0 3 * * * backup\n")
    assert (job.retry.max_attempts, job.any_exit_code) == (3, False)
    job = one("# lunasched: max_retries=2 any_exit_code=yes\n0 3 * * * backup\n")
    assert (job.retry.max_attempts, job.any_exit_code) == (3, True)


@pytest.mark.parametrize(
    ("comment", "said"),
    [
        ("timeout=soon", "timeout=soon: "),
        ("timeout", "'timeout' is not KEY=VALUE"),
        ("timeout='1h", "a quote has no end"),
        ("", "it sets nothing"),
        ("command=id", "'command' is not a key for an entry of a crontab; these are: timeout, "),
        ("user=root", "'user' is not a key"),
        ("private=no", "'private' is not a key"),
        ("name=backup", "'name' is not a key"),
        ("notification_config={}", "'notification_config' is not a key"),
        ("systemd={}", "'systemd' is not a key"),
        ("priority=Critical", "priority takes from others"),
        ("io_weight=10000", "io_weight takes from others"),
        ("catch_up=perhaps", "catch_up=perhaps: 'perhaps' is neither true nor false"),
        ("tags=a,,b", "tags=a,,b: "),
        ("max_concurrent=2 execution_mode=Exclusive", "max_concurrent"),
    ],
)
def test_a_comment_with_a_fault_has_no_effect(comment: str, said: str) -> None:
    """Cron ignores it, and the backup of the night is worth more than its limits."""
    text = f"# lunasched: {comment} \n0 3 * * * backup\n"
    found = serve(text)
    ((line, message),) = found.notes
    assert (line, found.faults) == (1, ())
    assert said in message
    assert message.endswith("; this comment has no effect")
    assert found.jobs[0][0] == one("\n0 3 * * * backup\n")


def test_what_takes_from_others_is_for_crontabs_of_root() -> None:
    text = "# lunasched: priority=High io_weight=500\n0 3 * * * {}backup\n"
    own = replace(OWN, user="root")
    for source, user in ((SYSTEM, "www-data "), (own, "")):
        job = one(text.format(user), source)
        assert (job.priority, job.limits.io_weight) == (Priority.HIGH, 500)


def test_a_comment_without_an_entry_is_a_fault() -> None:
    assert serve("0 3 * * * backup\n# lunasched: timeout=1h\n").notes == (
        (2, "it is of the next entry, and there is none below"),
    )
