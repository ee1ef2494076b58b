"""Pointers to documentation, for errors that do not name it themselves."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lunasched.errors import InvalidInput, LunaschedError
from lunasched.formats.pattern import pattern

# A command, an option or a page: the message already says what to do next.
_SAID = pattern(
    r"\b(lunasched [a-z]|systemctl|loginctl|journalctl|usermod|apt-get|install |upgrade |set [A-Z])"
    r"|\(\d\)|(?<!^)(?<!\n)--[a-z]"
)
_ABOUT_SCHEDULES = pattern(r"(^|[ .])(--)?schedule: ", re.MULTILINE)
_IN_A_FILE = pattern(r"^[^ ]+:\d+: ", re.MULTILINE)

_SCHEDULES = "lunasched-schedule(5); lunasched explain SCHEDULE"
_FILES = "lunasched.yaml(5)"
_CRON = "lunasched-concepts(7), MOVING FROM CRON"
_DOCTOR = "lunasched doctor"


def pointer(error: LunaschedError, arguments: Sequence[str]) -> str | None:
    """The command or page that helps with an error of a command; ``None`` where it names one."""
    text = str(error)
    if _SAID.search(text):
        return None
    command = next((word for word in arguments if not word.startswith("-")), "")
    if not isinstance(error, InvalidInput):
        return _DOCTOR
    if _ABOUT_SCHEDULES.search(text) or command in ("explain", "next"):
        return _SCHEDULES
    if command == "import-crontab":
        return _CRON
    if _IN_A_FILE.search(text):
        return _FILES
    return f"lunasched {command} --help; lunasched(1)" if command else "lunasched(1)"
