"""Completion as a person meets it: real shells, the installed files, and the key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from machine import Machine

pytestmark = [pytest.mark.machine, pytest.mark.slow]

# A terminal with a shell in it. Each line is typed up to where the key is pressed; then "echo" is
# put in front of it, so that the shell itself prints what became of it.
TERMINAL = r"""
import os, pty, re, select, sys, time
shell, setup, *lines = sys.argv[1:]
pid, terminal = pty.fork()
if pid == 0:
    os.environ.update(TERM="dumb", PS1="$ ", LC_ALL="C.UTF-8", COLUMNS="200")
    os.execvp(shell.split()[0], shell.split())
seen = ""
def wait_for(pattern):
    global seen
    end = time.monotonic() + 300
    while not (found := re.search(pattern, seen)):
        if time.monotonic() > end:
            sys.exit(f"{pattern!r} is not in {seen!r}")
        if select.select([terminal], [], [], 0.1)[0]:
            seen += os.read(terminal, 65536).decode(errors="replace")
    seen = seen[found.end():]
    return found
def enter(text):
    os.write(terminal, text.encode() + b"\r")
enter(setup + "; echo re''ady")
wait_for("ready\r?\n")
for number, line in enumerate(lines):
    # The key, to the beginning of the line, and to its end: the shell takes them in their order.
    os.write(terminal, line.encode() + b"\t\x01echo 'begin" + str(number).encode() + b"' '<'\x05")
    enter("'>'")
    print(wait_for(f"(?:\n|\r)begin{number} < ?(.*?)>")[1])
enter("exit")
os.waitpid(pid, 0)
"""

SHELLS = {
    "bash": ("bash --norc -i", ". /usr/share/bash-completion/bash_completion"),
    "zsh": ("zsh -f -i", "autoload -Uz compinit; compinit -u; unsetopt prompt_sp prompt_cr"),
}

# What is typed, and what it becomes.
COMPLETED = {
    "lunasched expl": "lunasched explain ",
    "lunasched add --sched": "lunasched add --schedule",
    "lunasched --user add --priority Cri": "lunasched --user add --priority Critical ",
    "lunasched get back": "lunasched get backup ",
    "lunasched history --json wi": "lunasched history --json with space ",
    "lunasched retry canc": "lunasched retry cancel ",
    "lunasched retry cancel back": "lunasched retry cancel backup ",
    "lunasched apply /etc/lunasched/conf": "lunasched apply /etc/lunasched/config.yaml ",
    "lunasched add --depends-on back": "lunasched add --depends-on backup ",
}


@pytest.fixture(scope="module")
def installed(clean: Machine) -> Iterator[Machine]:
    """The machine, with the package and two jobs."""
    package = "/srv/built/dist/lunasched_*.deb"
    clean.run(f"apt-get install --no-install-recommends {package}", timeout=300)
    for name in ("backup", "with space"):
        clean.run(["lunasched", "add", "--name", name, "--schedule", "@daily", "--", "true"])
    yield clean
    clean.run("apt-get purge lunasched", timeout=300)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_key_completes(installed: Machine, shell: str) -> None:
    argv = ["python3", "-c", TERMINAL, *SHELLS[shell], *COMPLETED]
    done = installed.run(argv, check=False, timeout=300)
    assert done.stderr == ""
    shown = [line.rstrip() for line in done.stdout.splitlines()]
    assert shown == [line.rstrip() for line in COMPLETED.values()]


def test_fish_completes(installed: Machine) -> None:
    script = "for line in $argv; complete --do-complete $line; end"
    done = installed.run(["fish", "-c", script, *COMPLETED], check=False)
    assert done.stderr == ""
    shown = [line.partition("\t")[0] for line in done.stdout.splitlines()]
    assert shown == [
        "explain", "--schedule", "Critical", "backup", "with space", "cancel", "backup",
        "/etc/lunasched/config.yaml", "backup",
    ]  # fmt: skip


def test_nothing_is_offered_for_the_command_of_a_job(installed: Machine) -> None:
    script = (
        "source /usr/share/bash-completion/completions/lunasched;"
        "COMP_WORDS=(lunasched add --name x -- ba); COMP_CWORD=5; _lunasched; echo ${#COMPREPLY[@]}"
    )
    assert installed.run(["bash", "-c", script]).stdout == "0\n"
