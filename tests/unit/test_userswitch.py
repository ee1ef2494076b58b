"""Commands by which a job leaves its unit, and what is said of them."""

from __future__ import annotations

import pytest

from lunasched.jobs import userswitch
from lunasched.jobs.model import Job

Found = list[tuple[str | None, str | None]]


def job(command: str | tuple[str, ...], user: str | None = None) -> Job:
    return Job(name="a", schedule="@daily", command=command, user=user)


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ('su - web -c "pg_dump; exit 3"', [("web", "pg_dump; exit 3")]),
        ("su web -c id", [("web", "id")]),
        ("su -c id web", [("web", "id")]),
        ("su -lc id web", [("web", "id")]),
        ("su -l web -s /bin/bash -c 'a b'", [("web", "a b")]),
        ("su --login web --command='a b'", [("web", "a b")]),
        ("su --shell /bin/sh -c id web", [("web", "id")]),
        ("su - -c id", [("root", "id")]),
        ("/bin/su - web -c id", [("web", "id")]),
        ("runuser -l web -c id", [("web", "id")]),
        ("/usr/sbin/runuser - web -c id", [("web", "id")]),
        ("sudo -iu web id -u", [("web", "id -u")]),
        ("sudo -n -i -u web -- sh -c 'a b'", [("web", "sh -c 'a b'")]),
        ("sudo --login --user=web id", [("web", "id")]),
        # The job does more than that.
        ('cd / && su - web -c "id"', [("web", None)]),
        ("if true; then su - web -c id; fi", [("web", None)]),
        ("su - web -c id >/dev/null 2>&1", [("web", None)]),
        ("nice -n 5 su - web -c id", [("web", None)]),
        ("A=b timeout 1h flock -n /run/x su - web -c id | tee x", [("web", None)]),
        ("sudo su - web -c id", [("web", None)]),
        ('su - "$OWNER" -c id', [(None, "id")]),
        ("su - web -c a; su - db -c b", [("web", None), ("db", None)]),
        (("su", "-", "web", "-c", "a b"), [("web", "a b")]),
        (("/bin/bash", "-c", "su - web -c 'a b'"), [("web", "a b")]),
        # These stay where they are.
        ("runuser web -c id", []),
        ("runuser -u web -- id", []),
        ("sudo -u web id", []),
        ("echo su - web", []),
        ("grep su /etc/passwd", []),
        ("/usr/local/bin/su-report - web", []),
        (("echo", "su", "-", "web"), []),
        ("summary; sudoku -i", []),
        ("su 'unfinished", [("'unfinished", None)]),
    ],
)
def test_what_becomes_another_user_in_a_session(
    command: str | tuple[str, ...], found: Found
) -> None:
    switches = userswitch.of_job(job(command))
    assert [(one.user, one.command) for one in switches] == found


def test_a_job_of_another_user_than_root_is_not_warned_of() -> None:
    """There, su asks for a password."""
    assert userswitch.of_job(job("su - web -c id", user="web")) == []
    assert userswitch.of_job(job("su - web -c id", user="root"))


def test_users_are_named_once_and_variables_are_none() -> None:
    command = 'su - web -c a; su - "$X" -c b; su db -c c; su web -c d'
    assert userswitch.users(job(command)) == ("web", "db")


def test_the_warning_says_what_to_write() -> None:
    said = userswitch.switch_warning(job("su - web -c 'a b'")) or ""
    assert "--run-as web" in said
    assert "'a b'" in said
    assert "stop" in said
    assert "time limit" in said
    assert "output" in said
    assert "--run-as web" in (userswitch.switch_warning(job("su - web -c a; id")) or "")
    assert "--run-as USER" in (userswitch.switch_warning(job('su - "$X" -c a')) or "")
    assert "runs as root" in (userswitch.switch_warning(job("sudo -i id")) or "")
    assert userswitch.switch_warning(job("id")) is None
