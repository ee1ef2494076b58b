"""What local users write into the journal about runs that are not theirs changes nothing of them.

Each record is written through journald's native protocol, with the fields that the genuine one has
and the run's own invocation ID, which is public.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from installed import Lunasched

pytestmark = pytest.mark.machine

YEARLY = ("--schedule", "@yearly")

FORGE = r"""
import socket, sys
unit, run, *rest = sys.argv[1:]
prefix = "USER_" if "USER_" in rest else ""
def send(*fields):
    data = b""
    for name, value in fields:
        value = value if isinstance(value, bytes) else value.encode()
        data += name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.sendto(data, "/run/systemd/journal/socket")
about = [(prefix + "UNIT", unit), (prefix + "INVOCATION_ID", run)]
trusted = [("_SYSTEMD_UNIT", unit), ("_SYSTEMD_USER_UNIT", unit), ("_UID", "0"), ("_PID", "1"),
           ("_SYSTEMD_INVOCATION_ID", run), ("_TRANSPORT", "stdout")]
failed = "Failed at step EXEC spawning /FORGED: No such file or directory"
for message_id, *more in (
    ("641257651c1b4ec9a8624d7a40a9e1e7",),
    ("641257651c1b4ec9a8624d7a40a9e1e7", (prefix + "UNIT", unit), (prefix + "INVOCATION_ID", run)),
    ("641257651c1b4ec9a8624d7a40a9e1e7", ("MESSAGE_ID", "d" * 32)),
    ("641257651c1b4ec9a8624d7a40a9e1e7", (prefix + "UNIT", "x"), (prefix + "INVOCATION_ID", "y")),
    ("641257651c1b4ec9a8624d7a40a9e1e7", (prefix + "UNIT", b"lunasched-job@\xff.service")),
    ("d9b373ed55a64feb8242e02dbe79a49c", ("UNIT_RESULT", "oom-kill")),
    ("98e322203f7a4ed290d09fe03c09fe15", ("EXIT_CODE", "exited"), ("EXIT_STATUS", "203")),
    ("7ad2d189f7e94e70a38c781354912448",),
    ("fc2e22bc6ee647b6b90729ab34a250b1", ("COREDUMP_UNIT", unit), ("COREDUMP_USER_UNIT", unit)),
    ("0", ("OBJECT_PID", "1"), ("OBJECT_SYSTEMD_UNIT", unit)),
):
    send(("MESSAGE", unit + ": " + failed), ("MESSAGE_ID", message_id), *about, *trusted, *more,
         ("SYSLOG_IDENTIFIER", unit[14:-8]))
if rest and rest[0].startswith("/"):
    open(rest[0]).read()
"""

# A user's own manager says which invocation a user's unit is, in a link that is the user's. The
# unit stays until journald has looked at it.
IMPOSTOR = """
mkdir -p ~/.config/systemd/user
printf '%s\\n' '[Service]' \\
    "ExecStart=/bin/sh -c 'read go <%h/go; exec python3 /tmp/forge.py $1 $2 %h/go'" \\
    >~/.config/systemd/user/$1
rm -f ~/go; mkfifo ~/go
systemctl --user daemon-reload
systemctl --user start $1
units=$XDG_RUNTIME_DIR/systemd/units
ln -s $2 $units/new
mv -fT $units/new $units/invocation:$1
echo >~/go
"""
# Again if it is not read: what is written while the shell has it open still goes with that.
LEAVE = """
while systemctl --user is-active --quiet $1; do timeout 5 sh -c 'echo >~/go'; done
rm ~/go ~/.config/systemd/user/$1
! systemctl --user is-failed --quiet $1
"""


def forge(luna: Lunasched, who: str, unit: str, run: str, prefix: str = "") -> None:
    luna.machine.write_file("/tmp/forge.py", FORGE)
    luna.machine.run(
        f"runuser -u {who} -- python3 /tmp/forge.py {shlex.quote(unit)} {run} {prefix}"
    )


def begun(luna: Lunasched) -> tuple[str, str]:
    """A run that waits for its end: its unit and its invocation."""
    unit = f"lunasched-job@{luna.name}.service"
    luna("start", luna.name)
    luna.machine.wait_for(lambda: bool(luna.history(luna.name)), what="the run")
    return unit, luna.history(luna.name)[0]["execution_id"].replace("-", "")


def only_run(luna: Lunasched) -> dict[str, Any]:
    luna.machine.run("journalctl --sync")
    (run,) = luna.wait_for_runs(luna.name, 1)
    return run


@pytest.mark.parametrize("oneshot", [False, True], ids=["exec", "oneshot"])
@pytest.mark.parametrize("when", ["during", "after"])
def test_a_local_user_writes_nothing_into_a_run(luna: Lunasched, when: str, oneshot: bool) -> None:
    """Neither the user of the job does, outside of it, nor any other."""
    machine, gate = luna.machine, f"/run/{luna.name}.gate"
    machine.run(f"mkfifo -m 666 {gate}")
    user = ("--run-as", "luna")
    luna("add", "--name", luna.name, *YEARLY, *user, "--command", f"echo real; cat {gate}; exit 3")
    if oneshot:
        luna(
            "add",
            "--name",
            f"{luna.name}-next",
            *YEARLY,
            "--depends-on",
            luna.name,
            "--command",
            "id",
        )
    unit, run = begun(luna)
    restarts = machine.run("systemctl show -P NRestarts lunasched").stdout
    if when == "after":
        machine.run(f"echo gate >{gate}")
        only_run(luna)
    for who in ("luna", "nobody"):
        forge(luna, who, unit, run)
    machine.write_file("/tmp/impostor", IMPOSTOR, mode=0o755)
    machine.run(["bash", "/tmp/impostor", unit, run], user="luna")
    machine.run("journalctl --sync")
    machine.run(["bash", "-c", LEAVE, "leave", unit], user="luna")
    taken = machine.run(f"journalctl -q _SYSTEMD_INVOCATION_ID={run} -g FORGED -o cat", check=False)
    assert taken.stdout, "journald did not take the user's word for the invocation"
    if when == "during":
        machine.run(f"echo gate >{gate}")
    found = only_run(luna)
    assert (found["result"], found["exit_code"]) == ("exit-code", 3)
    assert found["output"] == "real\ngate\n"
    for shown in (("logs", luna.name), ("logs", luna.name, "--execution", found["execution_id"])):
        text = luna(*shown).stdout
        assert "real" in text
        assert "FORGED" not in text
    assert machine.run("journalctl -q -n 1 -g FORGED -o cat").stdout, "nothing was forged at all"
    assert machine.run("systemctl show -P NRestarts lunasched").stdout == restarts


def test_who_waits_for_a_run_sees_nothing_else(luna: Lunasched) -> None:
    machine, gate = luna.machine, f"/run/{luna.name}.gate"
    machine.run(f"mkfifo -m 666 {gate}")
    luna("add", "--name", luna.name, *YEARLY, "--command", f"echo real; cat {gate}; exit 3")
    unit = f"lunasched-job@{luna.name}.service"
    with machine.popen(["lunasched", "start", luna.name, "--wait"]) as waiting:
        machine.wait_for(
            lambda: machine.run(f"systemctl is-active {unit}", check=False).stdout == "active\n",
            what="the run",
        )
        run = machine.run(f"systemctl show -P InvocationID {unit}").stdout.strip()
        forge(luna, "nobody", unit, run)
        machine.run(f"journalctl --sync; echo gate >{gate}")
        out, _ = waiting.communicate(timeout=300)
    text = out.decode() if isinstance(out, bytes) else out
    assert waiting.returncode == 3
    assert "gate" in text
    assert "FORGED" not in text


@pytest.mark.parametrize("when", ["during", "after"])
def test_another_user_writes_nothing_into_ones_own_runs(own: Lunasched, when: str) -> None:
    machine = own.machine
    gate = f"/tmp/{own.name}.gate"
    machine.run(f"mkfifo -m 600 {gate}", user="luna")
    own("add", "--name", own.name, *YEARLY, "--command", f"echo real; cat {gate}; exit 3")
    unit, run = begun(own)
    if when == "after":
        machine.run(f"echo gate >{gate}", user="luna")
        only_run(own)
    forge(own, "nobody", unit, run, "USER_")
    if when == "during":
        machine.run(f"echo gate >{gate}", user="luna")
    found = only_run(own)
    assert (found["result"], found["exit_code"]) == ("exit-code", 3)
    assert found["output"] == "real\ngate\n"
    text = own("logs", own.name, "--execution", found["execution_id"]).stdout
    assert "real" in text
    assert "FORGED" not in text


@pytest.mark.parametrize(
    ("definition", "code"),
    [
        (("--command-program", "/nonexistent/program"), 203),
        (("--command-program", "/run/not-a-program"), 203),
        (("--command", "id", "--run-as", "nobody-here"), 217),
        (("--command", "id", "--working-directory", "/nonexistent"), 200),
        (("--command", "id", "--run-as", "luna", "--working-directory", "/nonexistent"), 200),
    ],
    ids=["program", "format", "user", "directory", "directory-of-user"],
)
def test_what_could_not_be_executed_is_still_told(
    luna: Lunasched, definition: tuple[str, ...], code: int
) -> None:
    """The genuine record, whether or not journald was in time to look its writer up."""
    luna.machine.run("printf '\\177ELFbad' >/run/not-a-program; chmod 755 /run/not-a-program")
    options = [*YEARLY, *definition]
    arguments: list[str] = []
    if "--command-program" in options:
        at = options.index("--command-program")
        arguments = ["--", options[at + 1]]
        del options[at : at + 2]
    luna("add", "--name", luna.name, *options, *arguments)
    for _ in range(8):
        luna("start", luna.name, "--wait", check=False)
    for run in luna.wait_for_runs(luna.name, 8):
        assert (run["result"], run["exit_code"]) == ("exec-error", code)


ESCAPES = r"printf 'a\033]0;owned\007\033[31m\302\2331m\342\200\256\tb\n'"
ON_TERMINAL = """
import os, pty, sys
def read(descriptor):
    data = os.read(descriptor, 65536)
    os.write(3, data)
    return data
os.dup2(1, 3)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:], read)))
"""


@pytest.mark.parametrize("reader", [None, "reader"])
def test_output_steers_no_terminal_and_is_exact_in_a_pipe(
    luna: Lunasched, reader: str | None
) -> None:
    machine = luna.machine
    machine.run("id reader || useradd -m reader; usermod -aG lunasched-history reader")
    luna("add", "--name", luna.name, *YEARLY, "--command", ESCAPES)
    luna("start", luna.name, "--wait")
    (run,) = luna.wait_for_runs(luna.name, 1)
    commands = [
        ["logs", luna.name],
        ["logs", luna.name, "--execution", run["execution_id"]],
        *([] if reader else [["start", luna.name, "--wait"]]),
    ]
    for command in commands:
        words = ["lunasched", "--system", *command]
        shown = machine.run(["python3", "-c", ON_TERMINAL, *words], user=reader).stdout
        assert r"a\x1b]0;owned\x07\x1b[31m\x9b1m\u202e" in shown
        assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202e]", shown)
        assert "a\x1b]0;owned\x07" in machine.run(words, user=reader).stdout
