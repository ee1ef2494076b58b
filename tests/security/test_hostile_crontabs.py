"""Crontabs of a hostile user: nothing in them runs as root, or reaches what others have.

The user speaks to the service without crontab(1), which would refuse most of this. A program of
theirs that ran left a file in /tmp that its user ID names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import crontab_machine
import pytest
from installed import INSTALL, Lunasched, boot
from machine import Machine

pytestmark = [pytest.mark.machine, pytest.mark.slow]

UNITS = "lunasched-crontabs.path lunasched-crontabs.service"
EVIL = """\
#!/bin/sh
id -u >"/tmp/ran-by-$(id -u)"
"""
ASK = """
import json, socket, sys
text = sys.stdin.buffer.read()
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect("/run/lunasched-usercrontab.socket")
    request = {"user": "luna", "request": "write", "size": len(text)}
    connection.sendall(json.dumps(request).encode() + b"\\n" + text)
    connection.shutdown(socket.SHUT_WR)
    print(connection.makefile(errors="replace").read())
"""
# What could have a program of the user's run: a shell, a library, a file at the start, a mailer.
VARIABLES = """\
LD_PRELOAD=/tmp/evil.so
LD_LIBRARY_PATH=/tmp
BASH_ENV=/tmp/evil
ENV=/tmp/evil
PYTHONPATH=/tmp
PYTHONSTARTUP=/tmp/evil
PATH=/tmp:/usr/bin:/bin
HOME=/tmp
IFS=/
SYSTEMD_EDITOR=/tmp/evil
PAGER=/tmp/evil
EDITOR=/tmp/evil
LUNASCHED_DB_PATH=/tmp/evil.db
LUNASCHED_CONFIG_PATH=/tmp/evil.yaml
"""
LINES = (
    "SHELL=/tmp/evil\n* * * * * x\n",
    "* * * * * evil\n",
    "MAILTO=-oQ/tmp/evil\n* * * * * echo printed\n",
    "MAILTO=|/tmp/evil\n61 * * * * x\n",
    "CRON_TZ=../../../../tmp/evil\n* * * * * x\n",
    "CRON_TZ=/tmp/evil\n* * * * * x\n",
    "* * * * * root /tmp/evil\n",
    "* * * * * x\\\nExecStartPre=+/tmp/evil\n",
    "* * * * * x\rExecStartPre=+/tmp/evil\r\n",
    "# lunasched: user=root\n* * * * * /tmp/evil\n",
    '# lunasched: timeout=1h" max_memory="1M\n* * * * * /tmp/evil\n',
    "# lunasched: tags=\n* * * * * %n%%i${PATH}$(/tmp/evil)`/tmp/evil`\n",
    "@reboot /tmp/evil\n",
    "* * * * * /usr/bin/../../etc/cron.d/../crontab\n",
    "* * * * * run-parts --report /etc/cron.daily\n",
    "test -x /usr/sbin/anacron || { run-parts /etc/cron.daily; }\n",
    "* * * * * crontab.root-x\n",
)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine without cron, where an ordinary user can have a crontab."""
    with boot("hostile") as booted:
        booted.run(INSTALL)
        crontab_machine.with_crontabs(booted, tmp_path_factory.mktemp("cron"))
        booted.exec(f"rm -f /etc/crontab /etc/cron.d/*; systemctl enable --quiet --now {UNITS}")
        booted.write_file("/tmp/evil", EVIL, mode=0o755, owner="luna")
        booted.write_file("/srv/ask.py", ASK)
        yield booted


def install(machine: Machine, text: str) -> str:
    """Make a text the user's crontab, past crontab(1); what the service answers."""
    machine.exec("cat >/srv/text", input=text)
    return machine.run("python3 /srv/ask.py </srv/text", user="luna").stdout


def settle(machine: Machine) -> None:
    """Wait until the crontabs are as they are served."""
    idle = "systemctl show -P ActiveState lunasched-crontabs.service"
    machine.wait_for(
        f"{idle} | grep -Eqx 'inactive|failed' && ! systemctl list-jobs | grep -q crontabs",
        what="the crontabs to be read",
    )


@pytest.mark.parametrize("line", LINES)
def test_nothing_of_it_runs_as_root(machine: Machine, line: str) -> None:
    machine.exec("rm -f /tmp/ran-by-*")
    luna = Lunasched(machine)
    assert '"done"' in install(machine, VARIABLES + line)
    settle(machine)
    mine = [job for job in luna.json("list") if job["name"].startswith("crontab")]
    for job in mine:
        assert job["name"].startswith("crontab.luna-")
        assert luna.json("get", job["name"])["user"] == "luna"
        luna("start", job["name"], "--wait", check=False)
        luna("get", job["name"])
    # Root looks at all that there is, in each way that there is.
    for command in ("list", "history --all", "doctor", "sync", "next", "crontabs", "export-config"):
        machine.run(f"lunasched {command}", check=False)
    machine.run("systemctl daemon-reload")
    ran = machine.exec("ls /tmp/ran-by-* 2>/dev/null", check=False).stdout.split()
    # An entry of theirs runs, as them.
    least = ["/tmp/ran-by-1000"] if line == "@reboot /tmp/evil\n" else []
    assert ran in (least, ["/tmp/ran-by-1000"]), ran
    assert machine.exec("find /etc/systemd/system -name '*evil*.d'").stdout == ""


def test_what_is_not_a_crontab_is_bounded(machine: Machine) -> None:
    """A megabyte of lines that are none: the journal, the mails and the notes stay small."""
    luna = Lunasched(machine)
    begun = machine.exec("date +%s.%N").stdout.strip()
    assert '"done"' in install(machine, "61 * * * * x\n" * 80_000)
    settle(machine)
    machine.run("systemctl start lunasched-crontabs.service")
    said = f"journalctl --since=@{begun} -o cat -u lunasched-crontabs.service | wc -l"
    assert int(machine.exec(said).stdout) < 1500
    kept = machine.exec("du -sk /var/lib/lunasched/crontab-mails 2>/dev/null || echo 0").stdout
    assert int(kept.split()[0]) < 1000
    # Another's crontab is served all the same, and so is that of the system.
    machine.write_file("/etc/cron.d/other", "1 1 * * * root true\n")
    machine.wait_for(
        lambda: "cron.d-other-true" in {job["name"] for job in luna.json("list")},
        what="the entry of another to be a job",
    )
    assert '"failed"' in install(machine, "x" * ((1 << 20) + 1))
    install(machine, "")


def test_names_of_others_are_not_to_be_had(machine: Machine) -> None:
    """A job of root's with the name that an entry would have keeps it, and its units."""
    luna = Lunasched(machine)
    install(machine, "")
    settle(machine)
    luna("add", "--name", "crontab.luna-mine", "--schedule", "@yearly", "--command", "true")
    before = machine.exec("cat /etc/systemd/system/lunasched-job@crontab.luna-mine.service").stdout
    install(machine, "* * * * * mine\n* * * * * crontab.luna-mine\n")
    settle(machine)
    names = {job["name"] for job in luna.json("list")}
    assert {"crontab.luna-mine", "crontab.luna-mine-2"} <= names
    after = machine.exec("cat /etc/systemd/system/lunasched-job@crontab.luna-mine.service").stdout
    assert after == before
    shown = json.loads(luna("get", "crontab.luna-mine", "--json").stdout)
    assert (shown["command"], shown["origin"]) == ("true", None)
    luna("remove", "crontab.luna-mine")
