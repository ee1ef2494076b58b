"""The program crontab(1) beside Debian's own: what it takes, what it does, and to whom."""

from __future__ import annotations

import json
import random
import re
from typing import TYPE_CHECKING

import debian_crontabs
import pytest
from campaign import rounds
from crontab_inputs import crontab_inputs
from crontab_machine import SPOOL, with_crontabs

from lunasched.usercrontab.syntax import check

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from installed import Lunasched
    from machine import Machine

pytestmark = pytest.mark.machine

ENTRY = "0 3 * * * backup\n"


@pytest.fixture(scope="module")
def machine_with_both(booted: Machine, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine with our ``crontab``, and Debian's as ``crontab.debian``."""
    with_crontabs(booted, tmp_path_factory.mktemp("cron"))
    return booted


@pytest.fixture
def both(machine_with_both: Machine, luna: Lunasched) -> Iterator[Machine]:
    """The machine, whose crontabs are gone after the test."""
    yield machine_with_both
    machine_with_both.exec(f"rm -rf {SPOOL}/* /etc/cron.allow /etc/cron.deny")


# What cron takes and would not do: it passes over a part of it, or never runs it.
REFUSED = re.compile(
    "No such date exists|runs backwards|never runs this|is not a value, range or step"
    "|has no command|no command begins with|fields of a time and no command"
    "|cannot be the name of an environment variable|is not an absolute path"
    "|is not a time zone|takes no such value|not valid UTF-8|NUL byte|more than 1000 entries"
)
# What cronie has and Debian's cron has not, and commands longer than its buffer.
TAKEN = re.compile(rb"^[ \t]*-[0-9*]|^[^#\n]*~|[^\n]{999}", re.MULTILINE)


def test_the_same_crontabs_are_taken(both: Machine, rng: random.Random, tmp_path: Path) -> None:
    inputs = crontab_inputs(rng, 330)
    directory = tmp_path / "in"
    directory.mkdir()
    for number, text in enumerate(inputs):
        (directory / str(number)).write_bytes(text)
    both.copy(directory, "/tmp/in")
    both.exec("chmod 755 /tmp/in; chmod 644 /tmp/in/*")
    script = (
        "cd /tmp/in; for each in *; do"
        " crontab.debian $each </dev/null >/dev/null 2>&1; echo $each $?; done; crontab.debian -r"
    )
    printed = both.exec(script, user="luna", timeout=300).stdout
    both.exec("rm -r /tmp/in")
    taken = {int(number): code == "0" for number, code in map(str.split, printed.splitlines())}
    assert len(taken) == len(inputs)
    for number, text in enumerate(inputs):
        faults = check(text, "luna", "-").faults
        if taken[number] and faults:
            assert all(REFUSED.search(fault) for fault in faults), (text, faults)
        elif not taken[number]:
            assert faults or TAKEN.search(text), text


STEPS = (
    "crontab -l",
    "crontab -r",
    "crontab </dev/null",
    "crontab -l",
    f"printf '{ENTRY}' | crontab -",
    "crontab -l",
    "crontab -n /etc/passwd",
    "crontab /nonexistent",
    "printf '# a\\n\\n\\t* * * * *  x # y\\n' >/tmp/ct; crontab -n /tmp/ct; crontab -l",
    "crontab /tmp/ct; crontab -l; rm /tmp/ct",
    "printf '61 * * * * x\\n' | crontab -",
    "crontab -l",
    "crontab -u luna -l",
    "crontab -u nobody -l",
    "crontab -u nosuch -l",
    "echo n | crontab -ri",
    "crontab -l",
    "echo y | crontab -ri",
    "crontab -l",
    f"printf '{ENTRY}' | crontab -",
    "EDITOR=true crontab -e",
    "EDITOR=false crontab -e",
    # Debian's program goes by the time of the file, in whole seconds.
    "EDITOR=\"sh -c 'sleep 1.1; echo 5 4 \\* \\* \\* z >>\\$1' -\" crontab -e; crontab -l",
    "crontab -x",
    "crontab -l -e",
    "crontab -l x",
    "crontab -n",
)


@pytest.mark.parametrize("user", ["root", "luna"])
def test_the_same_is_done(user: str, both: Machine) -> None:
    """Exit status, what is printed, what is in the file, and whose it is with which mode."""
    found = {}
    for program in ("crontab.debian", "crontab"):
        both.exec(f"rm -f {SPOOL}/*")
        found[program] = [outcome(both, step, program, user) for step in STEPS]
    for step, debians, ours in zip(STEPS, found["crontab.debian"], found["crontab"], strict=True):
        assert ours == debians, step


def outcome(machine: Machine, step: str, program: str, user: str) -> tuple[object, ...]:
    script = step.replace("crontab ", f"{program} ")
    done = machine.exec(script, user=user, check=False)
    after = machine.exec(
        f"stat -c '%n %U %G %a' {SPOOL}/*; sed '/^# DO NOT EDIT/,+2d' {SPOOL}/*", check=False
    ).stdout
    return done.returncode, done.stdout.replace(program, "crontab"), after


def test_a_users_crontab_becomes_jobs(both: Machine, luna: Lunasched) -> None:
    units = "lunasched-crontabs.path lunasched-crontabs.service"
    both.exec(f"mkdir -p /etc/cron.d; systemctl enable --quiet --now {units}")
    try:
        both.run(f"printf '{ENTRY}' | crontab -", user="luna")
        both.wait_for(lambda: "crontab.luna-backup" in luna("list", "--names").stdout)
        both.run("crontab -r", user="luna")
        both.wait_for(lambda: "crontab.luna-backup" not in luna("list", "--names").stdout)
    finally:
        both.exec(f"systemctl disable --quiet --now {units}; lunasched crontabs --release")


def test_a_user_is_told_what_is_not_run(both: Machine) -> None:
    """The doctor of a user's own jobs tells of the crontab that the machine's root can change."""
    both.write_file(f"{SPOOL}/luna", f"{ENTRY}61 * * * * x\n", mode=0o600)
    both.exec(f"chown luna {SPOOL}/luna; systemctl start lunasched-usercrontab.socket")
    doctor = "lunasched --user doctor --json"
    done = both.run(doctor, user="luna", check=False)
    said = [one for one in json.loads(done.stdout)["findings"] if one["check"] == "crontabs"]
    assert [(one["what"].partition(": ")[0], one["severity"]) for one in said] == [
        ("crontab -l:2 is not run", "warning")
    ]
    both.run("crontab -r", user="luna")
    done = both.run(doctor, user="luna", check=False)
    assert [one for one in json.loads(done.stdout)["findings"] if one["check"] == "crontabs"] == []


def test_the_service_is_sandboxed_and_bounded(both: Machine) -> None:
    unit = "lunasched-usercrontab@.service"
    said = both.run(f"systemd-analyze security --no-pager {unit}").stdout
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert level and float(level[1]) <= 1.8, said
    instance = unit.replace("@.", "@x.")
    shown = both.exec(f"systemctl show -p MemoryMax,TasksMax,RuntimeMaxUSec {instance}").stdout
    assert "infinity" not in shown


def test_who_may_not_has_none(both: Machine) -> None:
    both.write_file("/etc/cron.deny", "luna\n")
    done = both.exec("crontab -l", user="luna", check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "You (luna) are not allowed to use this program (crontab)\n"
        "See crontab(1) for more information\n",
    )
    # The program is the user's to change; the service is not.
    assert "not allowed to have a crontab" in asked(both, '{"request": "read", "user": "luna"')
    both.exec("rm /etc/cron.deny")


ATTACKS = (
    '{"request": "read", "user": "root"',
    '{"request": "write", "user": "root"',
    '{"request": "remove", "user": "nobody"',
    '{"request": "write", "user": "../../../etc/cron.d/x"',
    '{"request": "write", "user": "tmp.luna"',
    '{"request": "execute", "user": "luna"',
    '{"user": "luna"',
)


def asked(machine: Machine, words: str, text: str = "* * * * * id") -> str:
    """The answer to a request that the ordinary user sends without the program."""
    script = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX);"
        "s.connect('/run/lunasched-usercrontab.socket');"
        "s.sendall(sys.stdin.buffer.read()); s.shutdown(socket.SHUT_WR);"
        "print(s.makefile().read())"
    )
    request = f'{words}, "size": {len(text)}}}\n{text}'
    command = ["python3", "-c", script]
    return machine.exec(command, user="luna", input=request, timeout=60).stdout


def test_nobody_reaches_the_crontab_of_another(both: Machine) -> None:
    both.run(f"printf '{ENTRY}' | crontab -; printf '{ENTRY}' | crontab -u nobody -")
    others = both.exec("ls /etc/cron.d").stdout
    for attack in ATTACKS:
        assert '"failed"' in asked(both, attack), attack
    assert '"failed"' in asked(both, '{"request": "write", "user": "luna"', "x" * (1 << 21))
    seen = both.exec(
        f"cd {SPOOL}; for each in *; do stat -c '%n %U %a' $each; cat $each; done"
    ).stdout
    assert seen == f"nobody nobody 600\n{ENTRY}root root 600\n{ENTRY}"
    assert both.exec("ls /etc/cron.d").stdout == others


@pytest.mark.parametrize("user", ["root", "luna"])
def test_a_full_disk_leaves_the_crontab_as_it_was(user: str, both: Machine) -> None:
    """The program says so, an edit is kept, and with room again all is as ever."""
    both.exec(f"crontab -u {user} -", input=ENTRY)
    both.exec(f"mkdir -p /root/kept; cp -a {SPOOL}/. /root/kept")
    mount = f"mount -t tmpfs -o size=64k,mode=1730,gid=crontab crowded {SPOOL}"
    both.exec(f"{mount}; cp -a /root/kept/. {SPOOL}; head -c 1M /dev/zero >{SPOOL}/.filler || true")
    try:
        new = f"{ENTRY}{'# a comment' * 2000}\n"
        done = both.run("crontab -", user=user, input=new, check=False)
        assert (done.returncode, "No space left on device" in done.stderr) == (1, True)
        editor = {"EDITOR": "sh -c 'sleep 1.1; yes \"# more\" | head -n 5000 >>$1' -"}
        done = both.run("crontab -e", user=user, env=editor, check=False)
        kept = re.search(r"edits left in (\S+)$", done.stderr.strip())
        assert done.returncode == 1 and kept, done.stderr
        assert both.exec(f"grep -c more {kept[1]}").stdout == "5000\n"
        assert both.run("crontab -l", user=user).stdout == ENTRY
        assert sorted(both.exec(f"ls {SPOOL}").stdout.split()) == [user]
        both.exec(f"rm {SPOOL}/.filler")
        both.run("crontab -", user=user, input=new)
        assert both.run("crontab -l", user=user).stdout == new
    finally:
        both.exec(f"umount {SPOOL}; rm -rf /root/kept /tmp/crontab.*")


# Where /bin and /lib are links, dpkg would make directories of them.
UNPACK = """
dpkg -x /root/package.deb /root/package
for part in bin lib usr/bin usr/lib usr/share; do
    [ ! -d /root/package/$part ] || cp -a /root/package/$part/. /usr/${part#usr/}/
done
rm -rf /root/package /root/package.deb
"""
TERMINAL = ("tmux", "libevent-core-2.1-7", "libutempter0", "nano", "libncursesw6")


def test_a_session_in_a_terminal(both: Machine) -> None:
    """As a person edits: with nano, in tmux, with a fault in the first try."""
    for deb in debian_crontabs.debs(TERMINAL).values():
        both.copy(deb, "/root/package.deb")
        both.exec(UNPACK)
    both.exec("ldconfig")
    server = both.popen(["tmux", "-L", "cron", "-D"], user="luna")

    def tmux(*arguments: str) -> str:
        # -N: whoever comes before the server would start one that ends as soon as it has nobody.
        return str(both.run(["tmux", "-N", "-L", "cron", *arguments], user="luna").stdout)

    def wait_for(text: str) -> None:
        both.wait_for(lambda: text in tmux("capture-pane", "-p"), what=text, interval=0.3)

    def edit(*keys: str) -> None:
        wait_for("GNU nano")
        tmux("send-keys", *keys)
        # Write the file by the name that it has, and leave.
        tmux("send-keys", "C-o", "Enter", "C-x")

    try:
        both.wait_for("tmux -N -L cron list-commands", user="luna", what="the server of tmux")
        start = "crontab -e; echo status $?; sleep 1000"
        tmux("new-session", "-d", "-x", "110", "-y", "30", "-e", "EDITOR=nano", start)
        edit("61 3 * * * backup", "Enter")
        wait_for("Do you want to retry the same edit? (y/n)")
        said = tmux("capture-pane", "-p")
        assert ":1: " in said and "61 is out of range" in said
        assert both.run("crontab -l", user="luna", check=False).returncode == 1
        tmux("send-keys", "y", "Enter")
        edit("C-k", "1 3 * * * backup", "Enter")
        wait_for("status 0")
    finally:
        both.run("tmux -N -L cron kill-server", user="luna", check=False)
        server.wait()
    text = both.run("crontab -l", user="luna").stdout
    assert text.startswith("1 3 * * * backup\n") and "61 3" not in text
    assert both.exec("ls -d /tmp/crontab.*", check=False).stdout == ""


KILLS = rounds(8, 200)
# Whatever runs of it: the program, and the service that changes the file of a user.
KILL = """
for number in $(seq {kills}); do
    touch /tmp/changing
    crontab /tmp/new.$((number % 2)) >/dev/null 2>&1 &
    sleep "0.$(shuf -i 0-250 -n 1 --random-source=<(yes {seed}.$number) | xargs printf %03d)"
    {kill} 2>/dev/null
    wait
    rm /tmp/changing
    until crontab -l >/tmp/seen 2>/dev/null; do :; done
    cmp -s /tmp/seen /tmp/new.0 || cmp -s /tmp/seen /tmp/new.1 || echo "not whole after $number"
done
"""
# A change only: what is killed as often as it lasts would never show the crontab.
KILLER = """
while sleep 0.37; do
    [ ! -e /tmp/changing ] || systemctl kill -s KILL 'lunasched-usercrontab@*.service'
done
"""


@pytest.mark.campaign
@pytest.mark.parametrize("user", ["root", "luna"])
def test_a_killed_change_is_whole_or_none(user: str, both: Machine, rng: random.Random) -> None:
    """And hinders no other."""
    for number in (0, 1):
        both.write_file(f"/tmp/new.{number}", f"0 {number} * * * x\n" * 500, mode=0o644)
    both.run("crontab /tmp/new.0", user=user)
    kill = "kill -KILL $!" if user == "root" else ":"
    script = KILL.format(kills=KILLS, seed=rng.randrange(1000), kill=kill)
    if user == "luna":
        both.exec(["systemd-run", "--quiet", "--collect", "--unit=killer", "sh", "-c", KILLER])
    try:
        seen = both.run(["bash", "-c", script], user=user, timeout=60 + KILLS * 5).stdout
    finally:
        both.exec("systemctl stop killer; rm -f /tmp/changing /tmp/seen", check=False)
    assert seen == ""
    both.run("crontab /tmp/new.1", user=user)
    assert both.exec(f"ls {SPOOL}").stdout.split() == [user]
    assert both.run("crontab -l", user=user).stdout == both.read_file("/tmp/new.1")
