"""The letters about entries that are not run: one for each crontab, and each fault in one alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lunasched.machine import faultmails
from lunasched.machine.faultmails import UnrunEntry

FAULT = UnrunEntry("/etc/crontab", 3, "61 * * * * root \x1b[31mx", "61 is no minute", "root", "ops")


def test_a_fault_is_in_one_letter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    monkeypatch.setattr(faultmails, "_send", lambda path: sent.append(path.read_text()))
    directory = tmp_path / "mails"
    other = replace(FAULT, text="62 * * * * root y")
    faultmails.mail([FAULT], "host", directory)
    (letter,) = sent
    assert "\nTo: ops\n" in letter and "/etc/crontab:3: 61 is no minute\n" in letter
    assert "\x1b" not in letter
    # It moves, and another comes; what was not taken yet is sent again, and not written again.
    faultmails.mail([replace(FAULT, line=9), other], "host", directory)
    assert sorted(set(sent), key=sent.index)[0] == letter
    assert sum("62 *" in one for one in sent) == 1
    for path in directory.glob("*:*"):
        path.unlink()
    faultmails.mail([FAULT, other], "host", directory)
    assert len(sent) == 3
    # One that is mended is told of again when it comes back.
    faultmails.mail([], "host", directory)
    faultmails.mail([FAULT], "host", directory)
    assert len(sent) == 4
    faultmails.forget_letters(directory)
    assert not directory.exists()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((3,), "1 line is not run"),
        ((3, 4), "2 lines are not run"),
        ((0,), "it is not run"),
        ((0, 3, 4), "more than 2 lines are not run"),
    ],
)
def test_the_subject_counts_lines(
    lines: tuple[int, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(faultmails, "_send", lambda path: sent.append(path.read_text()))
    faults = [replace(FAULT, line=line, text=f"{line}") for line in lines]
    faultmails.mail(faults, "host", tmp_path / "mails")
    assert f"\nSubject: Cron <root@host> /etc/crontab: {said}\n" in sent[0]
