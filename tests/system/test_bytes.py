"""What reaches a program through a generated unit is what `sh -c` would be given, byte for byte."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from machine import Machine

pytestmark = pytest.mark.machine

# Whatever means something to a shell, to systemd's parser, or to nobody.
PIECES = [
    "'", '"', "\\", "$", "$$", "${X}", "$HOME", "%", "%%", "%n", "%i", "\n", "\t", " ", "  ", ";",
    " ; ", "\\\\", "\\n", "\\x41", "#", "=", "@", "-", "+", "!", ":", "|", "&", "(", ")", "`",
    "é", "€", "𝄞", "\u200b", "\x01", "\x1b", "\x7f", "\r", "a", "B", "0", "~",
    "{", "}", "[x]", "*", "?", "\x85", "\u2028", '\\"', "\\$", " \\\n ",
]  # fmt: skip
FIXED = [
    "date +%m", "echo $$HOME ${HOME} $HOME %h", "a;b", "; x", ";", "#x", "\\", '"', "'", "%",
    "$", " lead", "trail ", "trail\\", "two\nlines\n", "\t", "x" * 10_000, "é\\\n" * 2000,
]  # fmt: skip

# Runs in the machine: deploys a unit a text, starts all, and returns what the programs got.
SCRIPT = r"""
import json, subprocess, sys, os, glob
sys.path.insert(0, "/opt/lunasched")
from datetime import datetime, timezone
from pathlib import Path
from lunasched.units import compiler; from lunasched.formats import unittext
from lunasched.paths import Mode
from lunasched.jobs.model import Job

texts = json.load(sys.stdin)
context = compiler.Context(
    Mode.SYSTEM, "UTC", "", datetime(2026, 1, 1, tzinfo=timezone.utc),
    Path("/opt/lunasched/unit-templates"), Path("/no/guard"),
    Path("/etc/systemd/system"), Path("/var/lib/lunasched/slots"),
    Path("/run/lunasched"),
)
def shell_of(file, text):
    quoted = text.replace("'", "'\\''")
    return f"python3 /tmp/show {file} \"$V\" '{quoted}'"

out = Path("/tmp/bytes"); out.mkdir(exist_ok=True)
Path("/tmp/show").write_text(
    "import sys, os; open(sys.argv[1], 'wb').write(b'\\0'.join(map(os.fsencode, sys.argv[2:])))")
def value_of(text):
    try:
        unittext.assignment("V", text)
    except unittext.Unrepresentable:
        return ""
    return text

units = []
for number, text in enumerate(texts):
    shell = shell_of(f"{out}/shell-{number}", text)
    for kind, command in (
        ("argv", ("/usr/bin/python3", "/tmp/show", f"{out}/argv-{number}", text, "", text)),
        ("shell", shell),
        ("private argv", ("/usr/bin/python3", "/tmp/show", f"{out}/private argv-{number}",
                          text, "", text)),
        ("private shell", shell_of(f"'{out}/private shell-{number}'", text)),
    ):
        name = f"bytes-{kind}-{number}"
        value = value_of(text) if kind.endswith("shell") else ""
        job = Job(name=name, schedule="every 1d", command=command, environment=(("V", value),),
                  private=kind.startswith("private"))
        compiled = compiler.compile(job, context)
        if compiled.private is not None:
            Path("/etc/systemd/system", compiled.private.name).write_text(compiled.private.text)
        Path("/run/systemd/system", compiled.service.name).write_text(compiled.service.text)
        units.append(compiled.service.name)
paths = ["/run/systemd/system/" + unit for unit in units]
verify = subprocess.run(
    ["systemd-analyze", "verify", "--man=no", *paths], capture_output=True, text=True
)
for start in range(0, len(units), 20):
    some = units[start:start + 20]
    subprocess.run(["systemctl", "start", *some])
    while subprocess.run(["systemctl", "is-active", "-q", *some]).returncode == 0:
        pass
got = []
for number, text in enumerate(texts):
    row = {}
    for kind in ("argv", "shell", "private argv", "private shell"):
        file = out / f"{kind}-{number}"
        row[kind] = file.read_bytes().hex() if file.exists() else None
    value = value_of(text)
    expected = out / f"expected-{number}"
    subprocess.run(["sh", "-c", shell_of(expected, text)], env={**os.environ, "V": value})
    row["expected"] = expected.read_bytes().hex()
    got.append(row)
for unit in units:
    Path("/run/systemd/system", unit).unlink()
for file in Path("/etc/systemd/system").glob("lunasched-job@bytes-*.env"):
    file.unlink()
json.dump({"verify": verify.stderr, "code": verify.returncode, "got": got}, sys.stdout)
"""


def random_text(rng: random.Random) -> str:
    return "".join(rng.choice(PIECES) for _ in range(rng.randint(1, 12)))


def test_any_text_arrives_as_it_is(booted: Machine, rng: random.Random) -> None:
    texts = FIXED + [random_text(rng) for _ in range(80)]
    done = booted.run(["python3", "-c", SCRIPT], input=json.dumps(texts), timeout=300)
    answer = json.loads(done.stdout)
    assert answer["verify"] == ""
    for text, row in zip(texts, answer["got"], strict=True):
        raw = text.encode()
        assert row["argv"] == row["private argv"] == (raw + b"\0\0" + raw).hex(), text
        assert row["shell"] == row["private shell"] == row["expected"], text
