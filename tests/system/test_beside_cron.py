"""Debian's cron and lunasched with the same crontabs, on two machines with one clock.

Whatever reaches a command, and whatever is mailed, is compared: of each entry in each minute.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import debian_crontabs
import pytest
from installed import INSTALL, boot

if TYPE_CHECKING:
    from machine import Machine

pytestmark = [pytest.mark.machine, pytest.mark.slow]

SEEN = "/var/seen"
SPOOL = "/var/spool/cron/crontabs"
PROBE = f"""\
#!/bin/sh
# Writes what reaches it to a file of its own.
now=$(date +%s)
name=run.$1.$$.$now
exec 3>"{SEEN}/.$name"
{{
    echo "argv:"; for each; do printf '<%s>\\n' "$each"; done
    echo "id: $(id -u) $(id -g) $(id -G)"
    echo "cwd: $(pwd -P)"
    echo "umask: $(umask)"
    echo "nice: $(nice)"
    bash -c 'ulimit -a' | sed 's/^/limit: /'
    echo "input: $(od -An -c | tr -d '\\n')"
    echo "ignored: $(grep -E '^Sig(Ign|Blk)' /proc/$$/status | tr '\\n\\t' '  ')"
    tr '\\0\\n' '\\n\\1' </proc/$$/environ | sort | sed 's/^/env: /'
}} >&3 2>&1
mv "{SEEN}/.$name" "{SEEN}/$name"
"""
SENDMAIL = f"""\
#!/bin/sh
now=$(date +%s)
name=mail.$$.$now
exec >"{SEEN}/.$name"
echo "user: $(id -un)"
echo "argv: $*"
cat
mv "{SEEN}/.$name" "{SEEN}/$name"
"""
SYSTEM = """\
# /etc/crontab
SHELL=/bin/sh
PATH=/usr/local/sbin:/usr/local/bin:/sbin:/bin:/usr/sbin:/usr/bin
* * * * * root /opt/probe system-1
*/1 * * * * luna cd /tmp && /opt/probe system-2 "a  b" 'c%'
MAILTO=root
0-59 */1 * * * root	/opt/probe system-3; echo printed
* * * * * root /opt/probe system-4 100\\% '\\%' %input 1%input 2\\%
MAILTO=""
* * * * * root /opt/probe system-5; echo not mailed
"""
CRON_D = """\
MAILTO=ops@example.org,luna
HOME=/var/tmp
QUOTED = "  a b"
SINGLE='x'
EMPTY=""
SPACED =  un quoted
* * * * * nobody /opt/probe cron.d-1; printf 'gr\\303\\274\\303\\237e\\n'; echo error >&2
* * * * * daemon umask; /opt/probe cron.d-2; exit 3
* * * * * root test -e /nonexistent && /opt/probe never
* * * * * root (sleep 1; /opt/probe cron.d-3) & exit 0
* * * * * root kill -9 $$
@daily root /opt/probe not-now
"""
USER = """\
SHELL=/bin/bash
PATH=/opt:/usr/bin:/bin
FOO=$HOME/x
* * * * * probe luna-1 $FOO "$FOO" ~
* * * * *   probe luna-2 $0 $BASH_VERSINFO
MAILTO=luna
* * * * * echo mail for luna; probe luna-3
* * * * * printf 'no newline'
* * * * * seq 20000
LOGNAME=nobody
* * * * * probe luna-4 $LOGNAME
CRON_TZ=Asia/Kolkata
* * * * * probe luna-5 a%b%%c
MAILFROM=sender@example.org
* * * * * echo from
CONTENT_TYPE="text/html; charset=utf-16"
CONTENT_TRANSFER_ENCODING=base64
* * * * * echo encoded
"""
# What systemd sets besides; the last are those of a crontab that not every user may read.
BESIDES = re.compile(
    "(USER|INVOCATION_ID|JOURNAL_STREAM|SYSTEMD_EXEC_PID|TRIGGER_TIMER_REALTIME_USEC"
    "|MEMORY_PRESSURE_[A-Z]+|LUNASCHED_ARGUMENT_[A-Z0-9_]+)="
)
# Who sends, and when, and the number of a mail; the machine's name is put in order below.
OF_A_MAIL = re.compile(r"^(argv|Date|Message-ID): .*\n", re.MULTILINE)
TAGS = {
    *(f"system-{number}" for number in (1, 3, 4, 5)),
    *(f"cron.d-{number}" for number in (1, 2, 3)),
    *(f"luna-{number}" for number in (1, 2, 3, 4, 5)),
}
MAILS = 9
"""The entries that print something, and do not say that nobody is to be mailed."""


@dataclass(frozen=True)
class Seen:
    """What was written on a machine: the facts of runs, by tag, and the mails, each once."""

    runs: dict[str, set[str]]
    mails: set[str]


def prepared(machine: Machine) -> None:
    """Put the probe, a mail program and the crontabs in their places."""
    machine.run(f"mkdir -m 1777 {SEEN}; groupadd -f crontab; mkdir -p {SPOOL}; chmod 1730 {SPOOL}")
    machine.run(f"chgrp crontab {SPOOL}; rm -rf /etc/cron.d; mkdir -p /etc/cron.d")
    machine.write_file("/opt/probe", PROBE, mode=0o755)
    machine.run("rm -f /usr/sbin/sendmail")
    machine.write_file("/usr/sbin/sendmail", SENDMAIL, mode=0o755)


def with_crontabs(machine: Machine) -> None:
    machine.write_file("/etc/crontab", SYSTEM, mode=0o644)
    machine.write_file("/etc/cron.d/some", CRON_D, mode=0o644)
    machine.run(
        f"cat >{SPOOL}/luna; chown luna:crontab {SPOOL}/luna; chmod 600 {SPOOL}/luna", input=USER
    )


@pytest.fixture(scope="module")
def cron(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine with Debian's cron, which does not run yet."""
    root = tmp_path_factory.mktemp("cron")
    debian_crontabs.extracted(debian_crontabs.debs(("cron",))["cron"], root)
    with boot("cron") as machine:
        prepared(machine)
        for path in ("usr/sbin/cron", "lib/systemd/system/cron.service", "etc/pam.d/cron"):
            found = root / path if (root / path).exists() else root / "usr" / path
            machine.copy(found, f"/{path}")
        machine.run("systemctl daemon-reload")
        with_crontabs(machine)
        yield machine


@pytest.fixture(scope="module")
def luna() -> Iterator[Machine]:
    """A machine with lunasched in the place of cron, which does not serve the crontabs yet."""
    with boot("luna") as machine:
        machine.run(INSTALL)
        prepared(machine)
        with_crontabs(machine)
        yield machine


def seen(machine: Machine) -> Seen:
    """What has been written so far."""
    each = 'for each in *; do echo; echo "==> $each"; cat "$each"; done; true'
    printed = machine.exec(f"cd {SEEN}; {each}")
    host = machine.exec("uname -n").stdout.strip()
    runs: dict[str, set[str]] = {}
    mails = set()
    for part in printed.stdout.split("\n==> ")[1:]:
        name, _, text = part.partition("\n")
        if name.startswith("mail."):
            # A list of addresses is one with and without spaces.
            text = text.replace("To: ops@example.org, luna\n", "To: ops@example.org,luna\n")
            lines = OF_A_MAIL.sub("", text).replace(host, "HOST").splitlines()
            # The place of LOGNAME is not kept, where a crontab sets it in vain.
            variables = sorted(line for line in lines if line.startswith("X-Cron-Env:"))
            others = [line for line in lines if not line.startswith("X-Cron-Env:")]
            mails.add("\n".join((*variables, *others)).rstrip("\n"))
        else:
            tag = name.removeprefix("run.").rpartition(".")[0].rpartition(".")[0]
            facts = [line for line in text.splitlines() if not BESIDES.match(line[5:])]
            runs.setdefault(tag, set()).add("\n".join(facts))
    return Seen(runs, mails)


def is_complete(machine: Machine) -> bool:
    found = seen(machine)
    return set(found.runs) >= TAGS and len(found.mails) >= MAILS


def test_all_that_reaches_a_command_and_is_mailed(cron: Machine, luna: Machine) -> None:
    luna.run("systemctl enable --now lunasched-crontabs.path lunasched-crontabs.service")
    luna.wait_for(
        "systemctl show -P ActiveState lunasched-crontabs.service | grep -qx inactive",
        what="the crontabs to be read",
    )
    cron.run("systemctl start cron.service")
    for machine in cron, luna:
        machine.wait_for(
            partial(is_complete, machine),
            what="all entries to run, and their mails",
            timeout=180,
            interval=2,
        )
    of_cron, of_luna = seen(cron), seen(luna)
    assert set(of_luna.runs) == set(of_cron.runs) == TAGS
    for tag in sorted(TAGS):
        assert of_luna.runs[tag] == of_cron.runs[tag], tag
        assert len(of_cron.runs[tag]) == 1, tag
    assert of_luna.mails == of_cron.mails
