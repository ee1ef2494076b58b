"""Debian's cron and lunasched with the same crontabs, on two machines with one clock.

Whatever reaches a command, and whatever is mailed, is compared: of each entry in each minute, and
of those of Debian's packages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import debian_crontabs
import pytest
from campaign import IS_FULL
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
HOME=/missing
* * * * * root /opt/probe cron.d-4
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
# What PAM gives cron's commands beside the crontab.
FILES_OF_PAM = {
    "/etc/environment": (
        'http_proxy="http://p:3128/?a=\\$b" # for all\nPATH=/snap/bin\nHOME=/srv\nFOO=1\nOLD=1\n'
    ),
    "/etc/default/locale": "LC_TIME=C.UTF-8\nOLD\n",
}
TAGS = {
    *(f"system-{number}" for number in (1, 3, 4, 5)),
    *(f"cron.d-{number}" for number in (1, 2, 3, 4)),
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
    for path, text in FILES_OF_PAM.items():
        machine.write_file(path, text, mode=0o644)
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


def start(cron: Machine, luna: Machine) -> None:
    """Have both serve their crontabs from now on."""
    luna.run("systemctl enable --now lunasched-crontabs.path lunasched-crontabs.service")
    luna.wait_for(
        "systemctl show -P ActiveState lunasched-crontabs.service | grep -qx inactive",
        what="the crontabs to be read",
    )
    cron.run("systemctl start cron.service")


def seen(machine: Machine) -> Seen:
    """What has been written so far.

    Where there is no home, cron's run in its own directory, and ours in /.
    """
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
            for place in "cwd: ", "env: PWD=":
                text = text.replace(f"\n{place}/var/spool/cron\n", f"\n{place}/\n")
            facts = [line for line in text.splitlines() if not BESIDES.match(line[5:])]
            runs.setdefault(tag, set()).add("\n".join(facts))
    return Seen(runs, mails)


def is_complete(machine: Machine) -> bool:
    found = seen(machine)
    return set(found.runs) >= TAGS and len(found.mails) >= MAILS


def test_all_that_reaches_a_command_and_is_mailed(cron: Machine, luna: Machine) -> None:
    start(cron, luna)
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


# A shell that writes down what cron and lunasched give it, and runs nothing of that.
SHELL = """\
#!/bin/bash -p
read -r parent </proc/$PPID/comm
if [ "$1" != -c ] || { [ "$parent" != cron ] && ! grep -q lunasched-job@ /proc/self/cgroup; }; then
    exec /bin/dash "$@"
fi
name=$(mktemp -u /var/shell/XXXXXXXXXX)
{
    printf 'argv:'; printf ' <%s>' "$0" "$@"; echo
    echo "id: $(id -u) $(id -g) $(id -G)"
    echo "cwd: $(pwd -P)"
    echo "umask: $(umask)"
    echo "input: $(od -An -c | tr -d '\\n')"
    tr '\\0\\n' '\\n\\1' </proc/$$/environ | sort | sed 's/^/env: /'
} >"$name.new" 2>&1
mv "$name.new" "$name"
"""
WRITTEN = r"""
backup
/usr/local/bin/backup --all >/dev/null 2>&1
cd / && run-parts --report /etc/cron.elsewhere
test -x /usr/sbin/anacron || ( cd / && run-parts --report /etc/cron.elsewhere )
[ -x /usr/lib/php/sessionclean ] && if [ ! -d /run/systemd/x ]; then /usr/lib/php/sessionclean; fi
command -v debian-sa1 > /dev/null && debian-sa1 1 1
perl -e 'sleep int(rand(43200))' && certbot -q renew --no-random-sleep-on-renew
if [ -x /usr/share/mdadm/checkarray ] && [ $(date +\%d) -le 7 ]; then checkarray --cron --all; fi
tar czf "/backup/home-$(date +\%Y\%m\%d-\%H\%M).tgz" /home
mysqldump --all-databases | gzip -c > /var/backups/db_`date +\%u`.sql.gz
pg_dump -U postgres app | ssh -o BatchMode=yes backup@host 'cat > app-$(date +%F).sql'
pg_dump -U postgres app | ssh -o BatchMode=yes backup@host 'cat > app-$(date +\%F).sql'
mail -s "It's 10pm" joe%Joe,%%Where are your kids?%
flock -n /run/lock/job.lock -c "nice -n 19 ionice -c3 rsync -a --delete '/srv/a b/' /mnt/"
/usr/bin/env python3 -c 'import sys; print("a\tb", sys.argv[1:])' "$HOME" '$HOME' \$HOME
for f in /tmp/*.tmp; do [ -e "$f" ] && rm -- "$f"; done
while read -r line; do echo "$line"; done%one%two%three
sleep 30; wget -qO- "https://example.org/cron.php?key=a&b=c#frag" | tee -a ~/log
(sleep 5; echo late) & exit 0
{ echo a; echo b; } 2>&1 | logger -t cron
find /var/tmp -mtime +7 -name '*.[ch]' -exec rm {} \; -o -name "x y" -print
echo "tab	and  two  spaces   "
echo 'single "double" `back` \\ $(no)'
echo trailing backslash \
echo é ü ß € 𝄞 "日本"
X=1 Y="2 3" command with=assignment
:
true # not a comment to cron
test $(id -u) -eq 0 && echo root || echo other
export PATH=$PATH:/opt/bin; . /etc/default/x; exec x
[ "$(cat /proc/loadavg | cut -d. -f1)" -lt 4 ] && /bin/heavy
a%
a%%
a\%b%c\%d
a%b\%c%%d e
""".strip("\n").splitlines()
VARIABLES = """\
MAILTO=""
FOO=bar baz
QUOTED = "  a b"
EMPTY=''
PATH=/usr/local/bin:/usr/bin:/bin
"""
HERS = """\
MAILTO=luna
HOME=/tmp
TZ=Asia/Tokyo
# The same again, by another name of the shell.
SHELL=/opt/sh
"""
_ENTRY = re.compile(r"^[ \t]*(?:@\w+|(?:[^ \t#=]+[ \t]+){4}[^ \t]+)[ \t]+(?=[^ \t=])")
_USER_OF = re.compile(r"^\* \* \* \* \* ([^ \t]+)")


def each_minute(crontab: str) -> str:
    """The crontab with all entries due each minute, and all else as it was."""
    return "".join(
        line if line.lstrip().startswith("#") else _ENTRY.sub("* * * * * ", line)
        for line in crontab.splitlines(keepends=True)
    )


def shells(machine: Machine) -> set[str]:
    """What each command that ran was given, each once.

    Where there is no home, cron's run in its own directory, and ours in /.
    """
    printed = machine.exec(
        "cd /var/shell; for each in *; do case $each in *.new|'*') ;; *)"
        " echo; echo '==> '; cat $each;; esac; done",
        timeout=300,
    ).stdout
    printed = printed.replace("\ncwd: /var/spool/cron\n", "\ncwd: /\n")
    return {
        "\n".join(line for line in part.strip().splitlines() if not BESIDES.match(line[5:]))
        for part in printed.split("\n==> \n")[1:]
    }


@pytest.mark.campaign
def test_the_cron_files_of_packages_and_more(cron: Machine, luna: Machine) -> None:
    """All but their times, which are each minute here; what they run is not run."""
    names = debian_crontabs.PACKAGES + (debian_crontabs.MORE_PACKAGES if IS_FULL else ())
    packages = debian_crontabs.debs(names)
    files = {
        path: each_minute(data.decode())
        for deb in packages.values()
        for path, data in debian_crontabs.cron_files(deb).items()
        if path.startswith("/etc/cron.d/")
    }
    system = [f"* * * * * {user} {text}\n" for user in ("root", "nobody") for text in WRITTEN]
    files["/etc/cron.d/written"] = VARIABLES + "".join(system)
    lines = [line for text in files.values() for line in text.splitlines()]
    found = {match[1] for line in lines if (match := _USER_OF.match(line))}
    users = " ".join(sorted(found - {"root", "nobody"}))
    own = HERS + "".join(f"* * * * * {text}\n" for text in WRITTEN)
    files[f"{SPOOL}/luna"] = own
    entries = sum(line.startswith("* ") for line in [*lines, *own.splitlines()])
    for machine in cron, luna:
        machine.exec(f"rm -rf /etc/crontab /etc/cron.d/* {SPOOL}/*; install -d -m 1777 /var/shell")
        machine.exec(f"for each in {users}; do id $each || useradd -m $each; done >/dev/null 2>&1")
        for path in "/opt/sh", "/bin/sh.new":
            machine.write_file(path, SHELL, mode=0o755)
        machine.exec("mv /bin/sh.new /bin/sh")
        for path, text in files.items():
            machine.write_file(path, text, mode=0o644)
        machine.exec(f"chown luna:crontab {SPOOL}/luna; chmod 600 {SPOOL}/luna")
    start(cron, luna)
    # A minute that is not over when the next begins is complete after that.
    for machine in cron, luna:
        machine.wait_for(
            f"[ $(ls /var/shell | wc -l) -ge {2 * entries} ]",
            what=f"two runs of {entries} entries",
            timeout=180,
            interval=2,
        )
    of_cron, of_luna = shells(cron), shells(luna)
    assert sorted(of_luna - of_cron)[:3] == sorted(of_cron - of_luna)[:3] == []
    assert len(of_cron) > len(names) + 2 * len(WRITTEN)
