"""Messages about jobs on a booted machine: who gets them, when, and what if nobody listens."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from inbox import Inbox, free_port

if TYPE_CHECKING:
    from installed import Lunasched
    from machine import Machine

pytestmark = pytest.mark.machine

CONFIG = "/etc/lunasched/config.yaml"
DATABASE = "/var/lib/lunasched/history/history.db"


@pytest.fixture
def inbox(booted: Machine) -> Iterator[Inbox]:
    made = Inbox(booted)
    yield made
    made.stop()
    # What this server did not take would be tried again during other tests.
    left = "DELETE FROM outbox WHERE state IN ('waiting', 'held')"
    booted.exec(["sqlite3", "-cmd", ".timeout 10000", DATABASE, left])


def add(luna: Lunasched, notifications: dict[str, Any], command: str = "true", **keys: Any) -> None:
    """A job of the test that tells somebody."""
    job = {
        "name": luna.name,
        "schedule": "every 1d",
        "command": command,
        "notification_config": notifications,
        **keys,
    }
    # JSON is YAML.
    luna.machine.write_file(f"/tmp/{luna.name}.yaml", json.dumps({"jobs": [job]}))
    luna("import-config", f"/tmp/{luna.name}.yaml", "--replace")


def webhook(inbox: Inbox, path: str, **keys: Any) -> dict[str, Any]:
    return {"type": "webhook", "url": inbox.url(path), **keys}


def run(luna: Lunasched, times: int = 1) -> None:
    for _ in range(times):
        luna("start", luna.name, "--wait", check=False)


def messages(luna: Lunasched) -> list[dict[str, Any]]:
    """Those about the job of the test, the oldest first."""
    newest_first: list[dict[str, Any]] = luna.json("notifications", luna.name, "--all")
    return newest_first[::-1]


def wait_for_messages(luna: Lunasched, *states: str) -> list[dict[str, Any]]:
    luna.machine.wait_for(
        lambda: [one["state"] for one in messages(luna)] == list(states),
        30,
        what=f"messages that are {states}, and not {messages(luna)}",
        interval=0.2,
    )
    return messages(luna)


def restart(machine: Machine) -> None:
    machine.run("systemctl restart lunasched")


@pytest.fixture
def configured(booted: Machine) -> Iterator[Any]:
    """Writes the configuration file, and takes it back."""

    def configure(settings: dict[str, Any]) -> None:
        booted.write_file(CONFIG, json.dumps(settings))
        restart(booted)

    yield configure
    booted.exec(["rm", "-f", CONFIG])
    restart(booted)


def test_a_flapping_job_is_told_as_such_and_keeps_no_other_from_it(
    luna: Lunasched, inbox: Inbox, configured: Any
) -> None:
    configured({"notifications": {"max_per_hour": 12}})
    name, other = luna.name, f"{luna.name}-other"
    add(luna, {"on_failure": webhook(inbox, name)}, f"test -e /tmp/{name}.ok")
    channel = {"on_failure": webhook(inbox, name)}
    add(luna, channel, "exit 5", name=other)
    for _ in range(5):
        luna("start", name, "--wait", check=False)
        luna.machine.run(f"touch /tmp/{name}.ok")
        luna("start", name, "--wait")
        luna.machine.run(f"rm /tmp/{name}.ok")
    luna("start", other, "--wait", check=False)
    bodies = [one["body"] for one in inbox.wait_for(name, 6)]
    luna.wait_for_runs(name, 10)
    told = [(body["kind"], body["job"]) for body in map(json.loads, bodies)]
    flaps = [(kind, name) for kind in ("failure", "recovery", "failure", "recovery", "failure")]
    assert told == [*flaps, ("failure", other)]
    assert "keeps failing and recovering" in json.loads(bodies[4])["subject"]
    assert len(inbox.requests(name)) == 6


def test_a_failure_is_told_once_and_its_end(luna: Lunasched, inbox: Inbox) -> None:
    """After the last attempt of a run alone, and not again before the reminder."""
    name = luna.name
    add(
        luna,
        {"on_failure": webhook(inbox, name), "remind_every": "1d"},
        f"[ -e /tmp/{name}.good ] || {{ echo broken; exit 3; }}",
        retry_policy={"max_attempts": 2, "initial_delay_seconds": 0},
    )
    for number in (2, 4):
        run(luna)
        luna.wait_for_runs(name, number)
    luna.machine.exec(f"touch /tmp/{name}.good")
    run(luna)
    failure, recovery = inbox.wait_for(name, 2)
    runs = luna.wait_for_runs(name, 5)[::-1]
    told = wait_for_messages(luna, "sent", "sent")
    assert [one["event"] for one in told] == ["on_failure", "on_recovery"]
    assert [one["id"] for one in told] == [failure["key"], recovery["key"]]
    # The second attempt of the first run, and the success.
    assert told[0]["execution_id"] == runs[1]["execution_id"]
    assert told[1]["execution_id"] == runs[4]["execution_id"]
    for text in ("exit code 3", "broken", name, runs[1]["execution_id"]):
        assert text in failure["body"]
    assert "2" in recovery["body"]


def test_that_there_is_no_mail_server_is_said_at_once(luna: Lunasched, configured: Any) -> None:
    """By whatever adds a job that mails, and by doctor; not where there is one."""
    machine, said = luna.machine, "there is no mail server: nothing listens at localhost:25"
    mail = ["--notify-email", "root", "--command", "true"]

    def added() -> str:
        done = luna("add", "--replace", "--name", luna.name, "--schedule", "@daily", *mail)
        return str(done.stderr)

    def found() -> list[str]:
        printed = luna("doctor", "--json", check=False).stdout
        return [
            one["what"]
            for one in json.loads(printed)["findings"]
            if one["check"] == "mail" and one["severity"] == "warning"
        ]

    assert said in added()
    assert said in found()[0]
    job = {"name": luna.name, "schedule": "@daily", "command": "false"}
    told = {"notification_config": {"on_missed": {"type": "email", "to": "root"}}}
    machine.write_file("/tmp/mail.yaml", json.dumps({"jobs": [job | told]}))
    assert said in luna("import-config", "/tmp/mail.yaml", "--replace").stderr
    server = "import socket, time; s = socket.create_server(('127.0.0.1', 25)); time.sleep(600)"
    machine.run(["systemd-run", "--quiet", "--collect", "--unit=mx", "python3", "-c", server])
    try:
        machine.wait_for("grep -q ':0019 .* 0A ' /proc/net/tcp", 20, what="the server")
        assert "mail server" not in added()
        assert found() == []
    finally:
        machine.run("systemctl stop mx")
    configured({"notifications": {"email": {"smtp_server": "mail.example.org"}}})
    assert "mail server" not in added()
    assert found() == []
    configured({"notifications": {"email": {"enabled": False}}})
    assert "email is turned off" in added()
    assert "email is turned off" in found()[0]


def test_reminders_of_a_job_that_goes_on_failing(luna: Lunasched, inbox: Inbox) -> None:
    # Longer than the two runs that are told as one take.
    every = 3 + round(8 * luna.pace())
    add(luna, {"on_failure": webhook(inbox, luna.name), "remind_every": every}, "exit 3")
    run(luna, 2)
    inbox.wait_for(luna.name, 1)
    luna.machine.exec(f"sleep {every}", timeout=60 + every)
    run(luna)
    wait_for_messages(luna, "sent", "sent")
    assert [one["kind"] for one in messages(luna)] == ["failure", "reminder"]


def test_all_events_of_a_run(luna: Lunasched, inbox: Inbox) -> None:
    here = webhook(inbox, luna.name)
    events = ("on_start", "on_success", "on_skipped", "on_failure", "on_missed", "on_recovery")
    add(luna, dict.fromkeys(events, here), "echo hello")
    run(luna)
    wait_for_messages(luna, "sent", "sent")
    assert [one["event"] for one in messages(luna)] == ["on_start", "on_success"]
    started, succeeded = inbox.requests(luna.name)
    assert "hello" not in started["body"]
    assert "hello" in succeeded["body"]


def test_a_skipped_run_is_told(luna: Lunasched, inbox: Inbox) -> None:
    other = f"{luna.name}-other"
    luna("add", "--name", other, "--schedule", "every 1d", "--command", "false")
    add(luna, {"on_skipped": webhook(inbox, luna.name)}, dependencies=[other])
    run(luna)
    wait_for_messages(luna, "sent")
    (message,) = messages(luna)
    assert message["event"] == "on_skipped"
    (told,) = inbox.requests(luna.name)
    assert f"dependency '{other}' has not succeeded" in json.loads(told["body"])["subject"]


def test_the_heartbeat_is_pinged_at_each_start_and_end(luna: Lunasched, inbox: Inbox) -> None:
    command = f"[ -e /tmp/{luna.name}.good ] || exit 3"
    add(luna, {"heartbeat": inbox.url(f"{luna.name}/uuid")}, command)
    run(luna)
    luna.machine.exec(f"touch /tmp/{luna.name}.good")
    inbox.wait_for(luna.name, 2)
    run(luna)
    pings = inbox.wait_for(luna.name, 4)
    assert [one["path"].partition("uuid")[2].partition("?")[0] for one in pings] == [
        *("/start", "/3"),
        *("/start", ""),
    ]


def test_too_many_requests_are_followed_by_a_pause(luna: Lunasched, inbox: Inbox) -> None:
    inbox.answer(luna.name, "429|Retry-After: 3", "200")
    add(luna, {"on_failure": webhook(inbox, luna.name)}, "exit 3")
    run(luna)
    first, second = inbox.wait_for(luna.name, 2)
    assert first["key"] == second["key"]
    assert second["at"] - first["at"] >= 3
    (message,) = wait_for_messages(luna, "sent")
    assert message["tries"] == 2


def test_what_is_refused_is_kept_and_shown(luna: Lunasched, inbox: Inbox) -> None:
    inbox.answer(luna.name, "404")
    add(luna, {"on_failure": webhook(inbox, luna.name)}, "exit 3")
    run(luna)
    wait_for_messages(luna, "failed")
    shown = luna("notifications", "--failed").stdout
    assert luna.name in shown
    assert "404" in shown
    assert [one["job"] for one in luna.json("notifications", "--failed", luna.name)] == [luna.name]


def test_a_server_that_hangs_delays_no_recording(luna: Lunasched, inbox: Inbox) -> None:
    inbox.answer(luna.name, "hang")
    add(luna, {"on_success": webhook(inbox, luna.name), "on_start": webhook(inbox, luna.name)})
    run(luna)
    inbox.wait_for(luna.name, 1)
    run(luna, 5)
    assert len(luna.wait_for_runs(luna.name, 6)) == 6
    waiting = [one["state"] for one in messages(luna)]
    assert waiting == ["waiting"] * 12
    # Stopping waits for nobody who does not answer: it need not be killed.
    luna.machine.run("systemctl stop lunasched", timeout=20)
    result = luna.machine.run("systemctl show -P Result -P ExecMainCode lunasched").stdout
    assert result.split() == ["success", "1"]


def test_what_is_over_the_limit_comes_as_a_digest(
    luna: Lunasched, inbox: Inbox, configured: Any
) -> None:
    configured({"notifications": {"max_per_hour": 2}})
    add(luna, {"on_success": webhook(inbox, luna.name)})
    run(luna, 5)
    luna.wait_for_runs(luna.name, 5)
    wait_for_messages(luna, "sent", "sent", "held", "held", "held")
    assert len(inbox.requests(luna.name)) == 2
    # Without a limit they are told at once, and together.
    configured({"notifications": {"max_per_hour": 0}})
    _, _, digest = inbox.wait_for(luna.name, 3)
    wait_for_messages(luna, "sent", "sent", "digested", "digested", "digested", "sent")
    assert luna.name in digest["body"]
    assert "3 x" in digest["body"]


def test_messages_of_a_removed_job_still_go_out(luna: Lunasched, inbox: Inbox) -> None:
    inbox.answer(luna.name, "429|Retry-After: 2", "200")
    add(luna, {"on_failure": webhook(inbox, luna.name)}, "exit 3")
    run(luna)
    inbox.wait_for(luna.name, 1)
    luna("remove", luna.name)
    inbox.wait_for(luna.name, 2)
    wait_for_messages(luna, "sent")


def test_messages_written_while_the_supervisor_was_down(luna: Lunasched, inbox: Inbox) -> None:
    add(luna, {"on_failure": webhook(inbox, luna.name)}, "exit 3")
    luna.machine.run("systemctl stop lunasched")
    run(luna, 3)
    luna.machine.run("systemctl start lunasched")
    inbox.wait_for(luna.name, 1)
    luna.wait_for_runs(luna.name, 3)
    wait_for_messages(luna, "sent")


def test_an_idle_supervisor_does_not_wake_up_after_a_message(luna: Lunasched, inbox: Inbox) -> None:
    add(luna, {"on_success": webhook(inbox, luna.name), "heartbeat": inbox.url(luna.name)})
    run(luna)
    wait_for_messages(luna, "sent", "sent", "sent")
    pid = luna.machine.run("systemctl show -P MainPID lunasched").stdout.strip()
    switches = f"cat /proc/{pid}/task/*/status | grep ctxt_switches"
    luna.machine.wait_for(
        f'a=$({switches}); sleep 4; [ "$a" = "$({switches})" ]',
        60,
        what="a supervisor that sleeps for four seconds",
    )


@dataclass(frozen=True)
class MailServer:
    """A mail server on a machine that takes mail from who logs in."""

    machine: Machine
    port: int
    password: str

    @property
    def settings(self) -> dict[str, Any]:
        """What the configuration says of it, but for the password."""
        return {
            "smtp_server": "127.0.0.1",
            "smtp_port": self.port,
            "smtp_username": "us",
            "tls": "none",
            "from_address": "cron@box.example",
        }

    def mails(self) -> list[str]:
        """What it took, in no order."""
        listed = self.machine.exec(f"cd {self.directory}/new && echo *").stdout.split()
        return [self.machine.read_file(f"{self.directory}/new/{name}") for name in listed]

    @property
    def directory(self) -> str:
        """The Maildir of all that it took."""
        return f"/tmp/mail-{self.port}"


@pytest.fixture
def mail_server(booted: Machine) -> Iterator[MailServer]:
    made = MailServer(booted, free_port(), secret())
    program = "/opt/lunasched/tests/support/mailserver.py"
    server = ["python3", program, str(made.port), made.directory, "us", made.password]
    booted.run(["systemd-run", "--quiet", "--collect", f"--unit=mail-{made.port}", *server])
    booted.wait_for(["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{made.port}"], 20)
    yield made
    booted.run(f"systemctl stop mail-{made.port}")


def test_all_that_each_run_prints_is_mailed(
    luna: Lunasched, configured: Any, mail_server: MailServer
) -> None:
    """Whatever its result, and however many runs there are; nothing of a run that is silent."""
    email = {**mail_server.settings, "smtp_password": mail_server.password}
    configured({"notifications": {"email": email, "max_per_hour": 1}})
    file = f"/tmp/{luna.name}.say"
    command = f"cat >{luna.name}.all; mv {luna.name}.all {luna.name}.$LUNASCHED_RESULT"
    told = [
        {"type": "email", "to": "ops@example.org", "style": "cron"},
        {"type": "exec", "command": f"cd /tmp; {command}"},
    ]
    add(luna, {"on_output": told}, f"seq $(cat {file}); ! grep -q 3000 {file}", env={"A": "b c"})
    for number in (3000, 2, 0):
        luna.machine.write_file(file, f"{number}\n")
        run(luna)
    luna.wait_for_runs(luna.name, 3)
    states = [one["state"] for one in wait_for_messages(luna, *["sent"] * 3, "held")]
    assert sorted(states) == ["held", "sent", "sent", "sent"]
    short, long = sorted(mail_server.mails(), key=len)
    for mail, last in (short, 2), (long, 3000):
        head, _, body = mail.partition("\n\n")
        assert "".join(f"{number}\n" for number in range(1, last + 1)) == body
        host = luna.machine.exec("uname -n").stdout.strip().partition(".")[0]
        assert f"\nSubject: Cron <root@{host}> seq $(cat {file}); ! grep -q 3000 {file}\n" in head
        assert "\nX-Cron-Env: <A=b c>" in head
    said = luna.machine.read_file(f"/tmp/{luna.name}.exit-code")
    assert "    1\n    2\n    3\n" in said
    assert "    2999\n    3000\n" in said


MSMTP = """\
account default
host 127.0.0.1
port {server.port}
auth plain
user us
password {server.password}
tls off
from cron@box.example
"""


def test_mail_goes_through_the_sendmail_of_the_machine_as_the_jobs_user(
    luna: Lunasched, mail_server: MailServer
) -> None:
    """No server is configured or listens where one would: the program knows where mail goes."""
    machine = luna.machine
    # Of the account of the job's user, and for that user alone.
    machine.write_file("/home/luna/.msmtprc", MSMTP.format(server=mail_server), mode=0o600)
    machine.run("chown luna: /home/luna/.msmtprc")
    mail = {"type": "sendmail", "to": "ops@example.org, root", "style": "cron"}
    command = "printf 'größe\\n.\\nend'; exit 3"
    add(luna, {"on_output": mail, "on_failure": mail}, command, user="luna")
    try:
        run(luna)
        wait_for_messages(luna, "sent", "sent")
    finally:
        machine.run("rm /home/luna/.msmtprc")
    # They come in any order; cron's has no header of ours.
    ours = "\nX-Lunasched-Event: on_failure\n"
    failure, output = sorted(mail_server.mails(), key=lambda mail: ours not in mail)
    assert ours in failure and ours not in output
    head, _, body = output.partition("\n\n")
    assert "\nFrom: root (Cron Daemon)\nTo: ops@example.org, root\n" in f"\n{head}\n"
    assert body.rstrip("\n") == "größe\n.\nend"
    assert "X-RcptTo: ops@example.org, root" in head
    # Without the file the program cannot tell where to, and that is final.
    run(luna)
    states = [one["state"] for one in wait_for_messages(luna, "sent", "sent", "failed")]
    assert states.count("failed") == 1


def test_email_reaches_a_server_whose_password_is_a_credential(
    luna: Lunasched, configured: Any, mail_server: MailServer
) -> None:
    machine, password = luna.machine, mail_server.password
    # As lunasched(1) says, with a file that root alone can read.
    machine.write_file("/etc/lunasched/smtp-password", password + "\n", mode=0o600)
    drop_in = "/etc/systemd/system/lunasched.service.d/password.conf"
    credential = "LoadCredential=smtp-password:/etc/lunasched/smtp-password"
    machine.write_file(drop_in, f"[Service]\n{credential}\n")
    machine.run("systemctl daemon-reload")
    try:
        configured({"notifications": {"email": mail_server.settings}})
        add(luna, {"on_failure": {"type": "email", "to": "ops@example.org"}}, "echo ouch; exit 3")
        run(luna)
        (message,) = wait_for_messages(luna, "sent")
        (mail,) = mail_server.mails()
        for text in (luna.name, "exit code 3", "ouch", "To: ops@example.org"):
            assert text in mail
        assert message["answer"].startswith("250")
        assert password not in machine.exec("journalctl --no-pager --all -u lunasched").stdout
    finally:
        machine.exec(["rm", "-f", drop_in, "/etc/lunasched/smtp-password"])
        machine.run("systemctl daemon-reload")


COMMAND = """\
{ id -un; pwd; env | grep ^LUNASCHED_ | sort; echo; cat; } > /tmp/$LUNASCHED_JOB.said.part
mv /tmp/$LUNASCHED_JOB.said.part /tmp/$LUNASCHED_JOB.said
"""


def said(luna: Lunasched) -> tuple[list[str], dict[str, str], str]:
    """What the command of a channel found: its user and directory, its variables, its input."""
    file = f"/tmp/{luna.name}.said"
    luna.machine.wait_for(f"[ -e {file} ]", 30, what="the command of the channel")
    head, _, text = luna.machine.exec(f"cat {file}").stdout.partition("\n\n")
    lines = head.splitlines()
    return lines[:2], dict(line.split("=", 1) for line in lines[2:]), text


def check_command(luna: Lunasched, user: str, directory: str) -> None:
    where, facts, text = said(luna)
    (run,) = luna.wait_for_runs(luna.name, 1)
    assert where == [user, directory]
    assert facts["LUNASCHED_EVENT"] == "on_failure"
    assert facts["LUNASCHED_JOB"] == luna.name
    assert facts["LUNASCHED_EXECUTION_ID"] == run["execution_id"]
    assert (facts["LUNASCHED_RESULT"], facts["LUNASCHED_EXIT_CODE"]) == ("exit-code", "3")
    assert luna.name in facts["LUNASCHED_SUBJECT"]
    assert "the last words" in text
    (message,) = wait_for_messages(luna, "sent")
    assert facts["LUNASCHED_NOTIFICATION_ID"] == message["id"]
    assert message["answer"] == "exit code 0"


def test_a_command_gets_the_message_as_the_jobs_user_and_nobody_else(luna: Lunasched) -> None:
    go = f"/tmp/{luna.name}.go"
    add(
        luna,
        {"on_failure": {"type": "exec", "command": f"{COMMAND}until [ -e {go} ]; do :; done"}},
        "echo the last words; exit 3",
        user="luna",
        working_directory="/usr",
    )
    run(luna)
    luna.machine.wait_for(f"[ -e /tmp/{luna.name}.said ]", 30, what="the command")
    about = f"/run/lunasched/supervisor/hooks/{luna.name}:exec-*.text"
    assert luna.machine.exec(f"cat {about}", user="luna").returncode == 0
    for other in ("bin", "daemon"):
        refused = luna.machine.exec(f"cat {about}", user=other, check=False)
        assert "Permission denied" in refused.stderr
    luna.machine.exec(f"touch {go}")
    check_command(luna, "luna", "/usr")
    luna.machine.wait_for(f"! ls {about}", 10, what="the message to be forgotten")


def test_a_command_of_root(luna: Lunasched) -> None:
    add(
        luna,
        {"on_failure": {"type": "exec", "command": ["/bin/sh", "-c", COMMAND]}},
        "echo the last words; exit 3",
    )
    run(luna)
    check_command(luna, "root", "/root")


def test_a_command_of_ones_own(own: Lunasched) -> None:
    add(
        own,
        {"on_failure": {"type": "exec", "command": COMMAND}},
        "echo the last words; exit 3",
    )
    run(own)
    check_command(own, "luna", "/home/luna")
    assert own.json("notifications", own.name)[0]["state"] == "sent"


@pytest.mark.parametrize(
    ("command", "limit", "state", "answer"),
    [
        ("exit 4", 600, "failed", "exit code 4"),
        ("kill -9 $$", 600, "failed", "signal 9"),
        ("sleep 60", 1, "failed", "timeout"),
        ("exit 75", 600, "waiting", "exit code 75"),
    ],
)
def test_what_becomes_of_a_command_becomes_of_its_message(
    luna: Lunasched, command: str, limit: int, state: str, answer: str
) -> None:
    add(luna, {"on_failure": {"type": "exec", "command": command, "timeout": limit}}, "exit 3")
    run(luna)
    luna.machine.wait_for(
        lambda: [one["answer"] for one in messages(luna)] == [answer], 30, what="the command's end"
    )
    (message,) = messages(luna)
    assert message["state"] == state
    if state == "waiting":
        assert message["tries"] == 1
        assert message["next_try_at"] > message["written_at"]


def test_the_units_of_commands_follow_the_job(luna: Lunasched) -> None:
    found = f"ls /etc/systemd/system | grep 'lunasched-hook@{luna.name}:exec-' | wc -l"
    commands = [{"type": "exec", "command": f"echo {number}"} for number in range(3)]
    add(luna, {"on_failure": commands[:2]})
    assert luna.machine.exec(found).stdout == "2\n"
    add(luna, {"on_failure": commands[1:2], "on_success": commands[2]})
    assert luna.machine.exec(found).stdout == "2\n"
    assert luna("sync").stdout == "Everything is as it should be.\n"
    luna("remove", luna.name)
    assert luna.machine.exec(found).stdout == "0\n"


def test_a_test_message_and_its_answer(luna: Lunasched, inbox: Inbox) -> None:
    inbox.answer(f"{luna.name}-bad", "403")
    add(
        luna,
        {
            "on_failure": [webhook(inbox, luna.name), {"type": "exec", "command": "cat; exit 9"}],
            "on_success": webhook(inbox, f"{luna.name}-bad"),
        },
    )
    done = luna("notify-test", luna.name, check=False)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 3
    for answer in ("sent: 200", "failed: ", "403", "failed: exit code 9"):
        assert answer in done.stdout
    assert len(inbox.requests(luna.name)) == 1
    assert luna("notify-test", "webhook", check=False).stdout.count("webhook") == 2
    nothing = luna("notify-test", "slack", check=False)
    assert (nothing.returncode, "slack" in nothing.stderr) == (2, True)
    assert luna("notify-test", "no such job", check=False).returncode == 3


def test_a_test_message_needs_the_supervisor(luna: Lunasched, inbox: Inbox) -> None:
    add(luna, {"on_failure": webhook(inbox, luna.name)})
    luna.machine.run("systemctl stop lunasched")
    done = luna("notify-test", luna.name, check=False)
    assert done.returncode == 1
    assert "systemctl start lunasched" in done.stderr
    assert inbox.requests(luna.name) == []


def test_notifications_of_ones_own_jobs(own: Lunasched, inbox: Inbox) -> None:
    add(own, {"on_failure": webhook(inbox, own.name)}, "exit 3")
    run(own)
    inbox.wait_for(own.name, 1)
    (message,) = wait_for_messages(own, "sent")
    assert message["job"] == own.name
    assert "sent: 200" in own("notify-test", own.name).stdout


def secret() -> str:
    return uuid.uuid4().hex


FETCH = "python3 -c 'import sys, urllib.request as r; " + (
    'print(r.urlopen("http://127.0.0.1:8080" + sys.argv[1]).read().decode())\''
)


def pages(luna: Lunasched) -> list[str]:
    """What the supervisor's server has on a job and its latest run."""
    run_id = luna.history(luna.name)[0]["execution_id"].replace("-", "")
    paths = ["/", "/metrics", "/api/v1/jobs", "/api/v1/runs", f"/runs/{run_id}"]
    return [*paths, *(f"{start}/jobs/{luna.name}" for start in ("", "/api/v1"))]


def test_no_secret_is_shown_anywhere(page: Lunasched, inbox: Inbox) -> None:
    luna = page
    name, secrets = luna.name, [secret() for _ in range(7)]
    path, query, header, signed, token, ping, discord = secrets
    bad = f"{name}-bad"
    inbox.answer(bad, "403")
    channels = [
        webhook(inbox, f"{name}/{path}?x={query}", headers={"X-Key": header}, secret=signed),
        webhook(inbox, f"{bad}/{path}?x={query}", headers={"X-Key": header}, secret=signed),
        {"type": "ntfy", "url": inbox.url(f"{bad}/{path}"), "token": token},
        {"type": "discord", "webhook_url": inbox.url(f"{bad}/{discord}")},
        {"type": "slack", "webhook_url": "http://127.0.0.1:1/" + path},
    ]
    add(luna, {"on_failure": channels, "heartbeat": inbox.url(f"{name}/{ping}")}, "exit 3")
    run(luna)
    inbox.wait_for(name, 3)
    tested = luna("notify-test", name, check=False)
    shown = [
        tested.stdout + tested.stderr,
        luna("list").stdout + luna("list", "--json").stdout,
        luna("get", name).stdout + luna("get", name, "--json").stdout,
        luna("notifications").stdout + luna("notifications", "--json", "--all").stdout,
        luna("history", name).stdout + luna("history", name, "--json").stdout,
        luna.machine.exec("journalctl --no-pager --all -o export").stdout,
        luna.machine.exec("cat /etc/systemd/system/lunasched-*").stdout,
        luna.machine.exec("systemctl show 'lunasched*' --all").stdout,
        luna.machine.exec("grep -r . /run/lunasched; ps axeww").stdout,
        *(luna.machine.exec(f"{FETCH} {path}").stdout for path in pages(luna)),
    ]
    for text in shown:
        for word in secrets:
            assert word not in text
    assert all(word in luna("get", name, "--show-secrets").stdout for word in secrets)
    assert all(word in luna("get", name, "--show-secrets", "--json").stdout for word in secrets)
    refused = luna.machine.run(
        ["lunasched", "--system", "get", name, "--show-secrets"], user="luna", check=False
    )
    assert refused.returncode == 4
    # What was sent, or given up, is kept without them.
    luna.machine.wait_for(
        lambda: all(one["state"] != "waiting" for one in messages(luna) if "slack" not in str(one)),
        30,
        what="all but one message to be settled",
    )
    kept = "SELECT * FROM outbox WHERE state <> 'waiting'"
    dump = luna.machine.exec(["sqlite3", DATABASE, kept]).stdout
    assert name in dump
    assert not any(word in dump for word in secrets)
