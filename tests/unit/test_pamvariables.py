"""The variables of /etc/environment, beside what pam_env itself makes of them."""

from __future__ import annotations

import ctypes
import random
import re
from itertools import takewhile
from pathlib import Path

import pytest

from lunasched.machine.pamvariables import PAM_FILES, pam_variables, read_variables

PIECES = [
    "A", "B", "C1", "_d", "=", "=", "=", "\n", "\n", "\n", "#", " ", "\t", '"', "'", "export ",
    "\\", "\\\n", "x", "y z", "$A", "-", "ü", "\r", "K=v",
]  # fmt: skip

UNEQUAL = re.compile(r"\\[ \t]*\n\s*(?:\n|#|\Z)")
"""A line that goes on in an empty one: the versions of PAM differ in what becomes of it."""


class _Conversation(ctypes.Structure):
    _fields_ = (("function", ctypes.c_void_p), ("data", ctypes.c_void_p))


def of_pam(directory: Path, texts: list[str]) -> dict[str, str]:
    """The variables of a PAM session for which pam_env has read these files."""
    pam = ctypes.CDLL("libpam.so.0")
    pam.pam_getenvlist.restype = ctypes.POINTER(ctypes.c_char_p)
    (directory / "empty").write_text("")
    service = ""
    for number, text in enumerate(texts):
        file = directory / str(number)
        file.write_text(text, newline="")
        service += f"session required pam_env.so conffile={directory}/empty envfile={file}\n"
    (directory / "service").write_text(service)
    handle = ctypes.c_void_p()
    given = (b"service", b"root", ctypes.byref(_Conversation()), bytes(directory))
    assert pam.pam_start_confdir(*given, ctypes.byref(handle)) == 0
    assert pam.pam_open_session(handle, 0) == 0
    found = takewhile(lambda one: one is not None, pam.pam_getenvlist(handle))
    pairs = [one.decode().partition("=") for one in found]
    pam.pam_end(handle, 0)
    return {name: value for name, _, value in pairs}


def test_it_is_what_pam_env_reads(rng: random.Random, tmp_path: Path) -> None:
    for _ in range(400):
        texts = ["".join(rng.choices(PIECES, k=rng.randrange(25))) for _ in PAM_FILES]
        if any(UNEQUAL.search(text) for text in texts):
            continue
        ours: dict[str, str] = {}
        for text in texts:
            read_variables(text, ours)
        # The order, too: mails of cron name them.
        assert list(ours.items()) == list(of_pam(tmp_path, texts).items()), texts


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("http_proxy=http://proxy:3128", {"http_proxy": "http://proxy:3128"}),
        ('PATH="/usr/local/bin:/usr/bin"', {"PATH": "/usr/local/bin:/usr/bin"}),
        ("export A='x y' # why", {"A": "x y' "}),
        ("A=a\\\nb", {"A": "ab"}),
        ("K-L=1\n=x\n# A=1\n", {}),
        ("OLD", {}),
    ],
)
def test_a_line_in_the_manner_of_pam_env(line: str, expected: dict[str, str]) -> None:
    known = {"OLD": "1"} if line == "OLD" else {}
    read_variables(line, known)
    assert known == expected


def test_what_cannot_be_read_sets_nothing(tmp_path: Path) -> None:
    for path in PAM_FILES:
        (tmp_path / path.lstrip("/")).parent.mkdir(parents=True)
    (tmp_path / "etc/environment").write_bytes(b"A=\xff\n")
    (tmp_path / "etc/default/locale").write_text("LANG=C.UTF-8\n")
    assert pam_variables(tmp_path) == {"LANG": "C.UTF-8"}
