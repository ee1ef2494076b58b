"""What cron logs when it starts an entry: ``(USER) CMD (COMMAND)``."""

from __future__ import annotations

import re
from pathlib import PurePath

from lunasched.errors import InvalidInput
from lunasched.formats.pattern import pattern
from lunasched.jobs.origin import JobOrigin
from lunasched.paths import CRONTAB_SPOOLS
from lunasched.transfer.crontab.command import split_percent
from lunasched.transfer.crontab.entrytimes import read_times

_MESSAGE = pattern(r"\((?P<user>.*?)\) CMD \((?P<command>.*)\)\Z", re.DOTALL)
# What is not plain is logged in some other form.
_PLAIN = pattern(r"[ -~]*")


def is_start_of(origin: JobOrigin, message: str) -> bool:
    """Tell whether a message is about the start of an entry, or of a script by run-parts."""
    match = _MESSAGE.match(message)
    if match is None:
        return False
    path = PurePath(origin.source)
    if not origin.line:
        return "run-parts" in match["command"] and str(path.parent) in match["command"]
    try:
        rest = read_times(origin.text).rest
    except InvalidInput:
        return False
    user = path.name
    if path.parent not in CRONTAB_SPOOLS:
        user, _, rest = rest.replace("\t", " ", 1).partition(" ")
    # What "%" says is taken out by then.
    run = split_percent(rest.lstrip(" \t"))[0].strip(" \t")
    plain = _PLAIN.match(run)
    wanted = plain[0] if plain else ""
    command = match["command"].strip(" \t")
    return match["user"] == user and (
        command == wanted if wanted == run else command.startswith(wanted)
    )
