"""Mails about entries of crontabs that are not run, to whom cron mails what they print.

Each fault is mailed once, by a unit of its own, as the user of the crontab. ::

    crontab-mails/told          the faults that were mailed, and are still there
    crontab-mails/NAME:UID      a letter, until sendmail(8) has taken it

A letter is written first, then what it tells is noted, then it is sent: whoever is killed in
between, each fault is mailed, and none twice.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from lunasched.dataclass import dataclass
from lunasched.formats.printable import printable
from lunasched.paths import CRONTAB_MAILS
from lunasched.units.commandchannels import SENDMAIL, SENDMAIL_OPTIONS

_TOLD = "told"
_LINES_MAX = 50
"""Of more lines in one letter, the rest is counted."""


@dataclass(frozen=True, slots=True)
class UnrunEntry:
    """An entry that is not run, or a whole crontab."""

    source: str
    """The path of the crontab."""
    line: int
    """0 for all that the crontab says, or all that no other entry tells of."""
    text: str
    reason: str
    user: str
    """Whose crontab it is."""
    mailed_to: str
    """The addresses, with commas between."""

    @property
    def digest(self) -> str:
        """What tells it from others, wherever its line moves."""
        words = (self.source, self.text, self.reason, self.mailed_to)
        return hashlib.sha256("\0".join(words).encode(errors="replace")).hexdigest()


def mail(entries: Iterable[UnrunEntry], host: str, directory: Path = CRONTAB_MAILS) -> None:
    """Mail what has not been mailed; ``entries`` are all that are not run now.

    Raises ``OSError`` where the letters cannot be written.
    """
    now = {entry.digest: entry for entry in entries}
    told = _told(directory)
    if not now and not told:
        return
    directory.mkdir(mode=0o700, exist_ok=True)
    letters: dict[tuple[str, str, str], list[UnrunEntry]] = defaultdict(list)
    for digest, entry in now.items():
        if digest not in told:
            letters[entry.source, entry.user, entry.mailed_to].append(entry)
    for each in letters.values():
        _write_letter(each, host, directory)
    if told != now.keys():
        _replace(directory / _TOLD, "".join(f"{digest}\n" for digest in now).encode())
    for path in directory.iterdir():
        if ":" in path.name:
            _send(path)


def forget_letters(directory: Path = CRONTAB_MAILS) -> None:
    """Mail nothing more of crontabs that somebody else runs from now on."""
    shutil.rmtree(directory, ignore_errors=True)


def _told(directory: Path) -> set[str]:
    try:
        return set((directory / _TOLD).read_text().split())
    except FileNotFoundError:
        return set()


def _write_letter(entries: Sequence[UnrunEntry], host: str, directory: Path) -> None:
    first = entries[0]
    with suppress(KeyError):  # a user who is gone meanwhile
        uid = pwd.getpwnam(first.user).pw_uid
        name = hashlib.sha256("".join(entry.digest for entry in entries).encode()).hexdigest()[:16]
        _replace(directory / f"{name}:{uid}", _letter(entries, host))


def _letter(entries: Sequence[UnrunEntry], host: str) -> bytes:
    from email.message import EmailMessage
    from email.policy import SMTP

    first = entries[0]
    letter = EmailMessage(policy=SMTP.clone(linesep="\n", max_line_length=998))
    letter["From"] = "root (Cron Daemon)"
    letter["To"] = first.mailed_to
    subject = f"Cron <{first.user}@{host}> {first.source}: {_counted(entries)} not run"
    letter["Subject"] = "".join(char if char.isprintable() else " " for char in subject)
    letter["Auto-Submitted"] = "auto-generated"
    said = [_described(entry) for entry in entries[:_LINES_MAX]]
    if len(entries) > _LINES_MAX:
        said.append(f"and {len(entries) - _LINES_MAX} more\n")
    letter.set_content(
        "lunasched, which runs the crontabs of this machine in the place of cron, does not run:\n\n"
        + "\n".join(said)
        + "\nThis is mailed once."
        + (" See: lunasched crontabs --dry-run\n" if first.user == "root" else "\n"),
        cte="8bit",
    )
    return letter.as_bytes()


def _described(entry: UnrunEntry) -> str:
    # Who reads it may not be who wrote the line.
    reason, text = printable(entry.reason), printable(entry.text)
    if not entry.line:
        return f"{entry.source}: {reason}\n"
    return f"{entry.source}:{entry.line}: {reason}\n    {text}\n"


def _send(path: Path) -> None:
    """Have a letter sent, and sent again where that fails; systemd does so once at a time."""
    name, _, uid = path.name.partition(":")
    unit = f"lunasched-crontab-mail-{name}"
    properties = (
        # One that was sent meanwhile is gone.
        f"ConditionPathExists={path}", f"StandardInput=file:{path}", "Type=oneshot",
        "Restart=on-failure", "RestartSec=15min", "CollectMode=inactive-or-failed",
        f"ExecStartPost=+/bin/rm -f {path}",
    )  # fmt: skip
    asked = ["systemd-run", "--quiet", "--no-block", f"--unit={unit}", f"--uid={uid}"]
    asked += [f"--property={one}" for one in properties]
    # For whom it is stands in its header.
    subprocess.run([*asked, SENDMAIL, *SENDMAIL_OPTIONS, "-t"], capture_output=True, check=False)


def _replace(path: Path, data: bytes) -> None:
    partial = path.with_name(".new")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


def _counted(entries: Sequence[UnrunEntry]) -> str:
    number = sum(1 for entry in entries if entry.line)
    if not number:
        return "it is"
    more = "more than " if number < len(entries) else ""
    lines = "line is" if number == 1 and not more else "lines are"
    return f"{more}{number} {lines}"
