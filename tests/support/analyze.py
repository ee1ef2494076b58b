"""``systemd-analyze calendar`` as a function: what systemd itself makes of an expression."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

_TIME = re.compile(r"\w{3} (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (\S+)")
_ITERATION = re.compile(r"Iter(\.|ation) #")
"""It is spelled out from systemd 257 on."""
_BATCH = 200
HOST_TOOL = ("systemd-analyze",)


@dataclass
class Evaluation:
    """``normalized`` is None where systemd refused the expression."""

    normalized: str | None
    elapses: list[datetime]
    gave_up: bool = False


def evaluate(
    expressions: Sequence[str],
    *,
    base: datetime,
    iterations: int,
    host_zone: str = "UTC",
    tool: Sequence[str] = HOST_TOOL,
) -> list[Evaluation]:
    """The first elapses after ``base`` (UTC) of each expression on a host in ``host_zone``.

    ``tool`` is the systemd-analyze that is asked (``systemds.analyzer``).
    """
    found: list[Evaluation] = []
    for start in range(0, len(expressions), _BATCH):
        batch = list(expressions[start : start + _BATCH])
        found += _evaluate(batch, base, iterations, host_zone, tool)
    return found


def _evaluate(
    expressions: list[str], base: datetime, iterations: int, host_zone: str, tool: Sequence[str]
) -> list[Evaluation]:
    command = [*tool, "calendar", f"--iterations={iterations}"]
    command += [f"--base-time={base:%Y-%m-%d %H:%M:%S} UTC", "--", *expressions]
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": f":{host_zone}"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    blocks = [block for block in run.stdout.split("\n\n") if block.strip()]
    if "Failed" in run.stderr or len(blocks) != len(expressions):
        if len(expressions) == 1:
            normalized = re.search(r"Normalized form: (.*)", run.stdout)
            return [Evaluation(normalized and normalized[1], [], "determine" in run.stderr)]
        middle = len(expressions) // 2
        return [
            evaluation
            for part in (expressions[:middle], expressions[middle:])
            for evaluation in _evaluate(part, base, iterations, host_zone, tool)
        ]
    return [_parse(block) for block in blocks]


def _parse(block: str) -> Evaluation:
    normalized = ""
    elapses: list[datetime] = []
    for line in block.splitlines():
        label, _, value = line.strip().partition(": ")
        if label == "Normalized form":
            normalized = value
        elif label in ("Next elapse", "(in UTC)") or _ITERATION.match(label):
            match = _TIME.match(value)
            if match is None:
                continue
            moment = datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S")
            moment = moment.replace(tzinfo=timezone.utc)
            if label == "(in UTC)":
                elapses[-1] = moment  # the local time before it, in a zone that is not UTC
            else:
                elapses.append(moment)
    return Evaluation(normalized, elapses)
