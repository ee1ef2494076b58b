"""Comments that give an entry keys of a job: ``# lunasched: timeout=1h tags=db,nightly``.

Such a line is of the next entry below, and a comment to cron. It may set what takes nothing from
others: limits, retries, how runs meet each other. What gives an entry more than its user has
otherwise is for crontabs that root alone writes.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from lunasched.dataclass import dataclass
from lunasched.errors import InvalidInput
from lunasched.jobs.keys import KEYS
from lunasched.transfer.crontab.lines import Remark
from lunasched.transfer.crontab.source import CrontabSource

REMARK_KEYS = (
    "timeout", "max_memory", "cpu_quota", "tasks_max", "kill_after", "jitter", "tags", "catch_up",
    "any_exit_code", "max_retries", "backoff", "retry_delay", "retry_max_delay",
    "retry_on_exit_codes", "no_retry_on_exit_codes", "execution_mode", "overlap", "max_concurrent",
)  # fmt: skip
"""The keys that every crontab may set."""
ROOT_KEYS = ("priority", "io_weight")
"""Those that take from others what they give, so that root's crontabs alone may set them."""

_RETRIES = frozenset({"max_retries", "retry_on_exit_codes", "no_retry_on_exit_codes"})
_BOOLEANS = {"true": True, "yes": True, "false": False, "no": False}


@dataclass(frozen=True, slots=True)
class RemarkedKeys:
    """The keys that the comments above an entry set, as a job file has them."""

    values: dict[str, Any]
    line: int
    """The line of the first of the comments; 0 where there are none."""
    faults: tuple[tuple[int, str], ...]
    """The comments that set none: the line, and what is wrong with it."""


def remarked_keys(remarks: Sequence[Remark], source: CrontabSource) -> RemarkedKeys:
    """The keys that comments set for the entry below them."""
    is_roots = source.caller is not None or source.user in (None, "root")
    values: dict[str, Any] = {}
    faults = []
    for remark in remarks:
        try:
            values |= _read(remark.text, is_roots)
        except InvalidInput as error:
            faults.append((remark.line, str(error)))
    # A retry is for a failure, which an exit code is not to cron.
    if _RETRIES & values.keys():
        values.setdefault("any_exit_code", False)
    return RemarkedKeys(values, remarks[0].line if remarks else 0, tuple(faults))


def _read(text: str, is_roots: bool) -> dict[str, Any]:
    try:
        words = shlex.split(text)
    except ValueError:
        raise InvalidInput("a quote has no end") from None
    if not words:
        raise InvalidInput("it sets nothing; write KEY=VALUE after 'lunasched:'")
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise InvalidInput(f"{word!r} is not KEY=VALUE")
        if key in ROOT_KEYS and not is_roots:
            raise InvalidInput(f"{key} takes from others, and is for crontabs of root alone")
        if key not in REMARK_KEYS and key not in ROOT_KEYS:
            raise InvalidInput(
                f"{key!r} is not a key for an entry of a crontab; these are: "
                + ", ".join((*REMARK_KEYS, *(ROOT_KEYS if is_roots else ())))
            )
        found[key] = _value(key, value)
    return found


def _value(key: str, text: str) -> Any:
    """Return the value as a job file has it, checked."""
    value: Any = text
    if key == "tags":
        value = [tag.strip() for tag in text.split(",")]
    elif key in ("catch_up", "any_exit_code"):
        value = _BOOLEANS.get(text.lower(), text)
    try:
        KEYS[key].read(value)
    except InvalidInput as error:
        raise InvalidInput(f"{key}={text}: {error}") from None
    return value
