"""The names of jobs: of what an entry runs, and never of where it stands."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import field
from typing import Any

from lunasched.dataclass import dataclass
from lunasched.transfer.crontab.lines import Problems, RawEntry


@dataclass
class CrontabDraft:
    """A job in the making: the keys of a job file, and what will differ."""

    entry: RawEntry
    definition: dict[str, Any]
    identity: str
    """The facts that the name stands for besides its readable part: the user and the command."""
    stem: str
    """The readable part of the name."""
    differences: list[str] = field(default_factory=list)

    def fingerprint(self) -> str:
        """Of all of the definition, which tells apart entries with the same command."""
        return repr(sorted(self.definition.items()))


def names(drafts: list[CrontabDraft]) -> list[str]:
    """A name for each, which depends on nothing but the entry itself.

    Only where several have the same command (and user) does all of the entry count, so that
    neither the order of lines nor other commands change a name.
    """
    plain = [f"{draft.stem}-{_digest(draft.identity)}" for draft in drafts]
    shared = Counter(plain)
    found: list[str] = []
    seen: Counter[str] = Counter()
    for draft, name in zip(drafts, plain, strict=True):
        if shared[name] > 1:
            name = f"{draft.stem}-{_digest(draft.identity + draft.fingerprint())}"
        seen[name] += 1
        if seen[name] > 1:
            draft.differences.append("it appears more than once, and each becomes a job")
            name = f"{name}-{seen[name]}"
        found.append(name)
    return found


def identifiers(drafts: list[CrontabDraft], problems: Problems) -> list[str]:
    """The names that an anacrontab gives."""
    seen: set[str] = set()
    for draft in drafts:
        if draft.stem in seen:
            problems.add(draft.entry.line, f"the job identifier {draft.stem!r} is used already")
        seen.add(draft.stem)
    return [draft.stem for draft in drafts]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def stem(prefix: str, base: str) -> str:
    """Return the prefix of a name: the file in /etc/cron.d, unless the command says the same."""
    prefix = re.sub(r"[^A-Za-z0-9_.-]+", "-", prefix)[:60].strip("-.")
    if not prefix or base.startswith(prefix):
        return base
    return prefix if base in prefix else f"{prefix}-{base}"
