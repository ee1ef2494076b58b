"""The figures of `make bench`, each beside its goal, its limit and its last value.

They are in ``bench.json``, by name: the goal is what is wanted, the limit what is not to be passed,
and the last value that of the measurement before. All of a figure are in its unit.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

FILE = Path(__file__).resolve().parent.parent.parent / "bench.json"
_WORSE = 1.1
"""A figure that is worse than the last time by more than this is told of."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure; ``None`` for what is not set."""

    unit: str
    """``ms``, ``MB``, ``ratio``, or ``/s``, of which more is better."""
    goal: float | None = None
    limit: float | None = None
    last: float | None = None

    def is_worse(self, value: float, than: float | None, share: float = 1.0) -> bool:
        """Tell if a value is worse than another one by more than a share of it."""
        if than is None:
            return False
        return value * share < than if self.unit == "/s" else value > than * share

    def shown(self, value: float | None) -> str:
        """Write a value of the figure with its unit."""
        if value is None:
            return ""
        if self.unit == "ratio":
            return f"{value:.2f}"
        digits = 1 if value < 10 else 0
        return f"{value:.{digits}f}{'' if self.unit == '/s' else ' '}{self.unit}"


@dataclass(slots=True)
class Figures:
    """All figures, and what became worse while they were measured."""

    path: Path = FILE
    known: dict[str, Figure] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path = FILE) -> Figures:
        """Read what is known; nothing is where there is no file."""
        found = json.loads(path.read_text()) if path.exists() else {}
        return cls(path, {name: Figure(**entry) for name, entry in found.items()})

    @staticmethod
    def header() -> str:
        """The line above the figures."""
        return f"{'':<50}" + "".join(f"{word:>10}" for word in ("now", "goal", "limit", "last"))

    def line(self, name: str, value: float, unit: str) -> str:
        """Take a value in; return its line."""
        figure = self.known.get(name, Figure(unit))
        if figure.unit != unit:
            raise ValueError(f"{name}: measured in {unit}, known in {figure.unit}")
        if figure.is_worse(value, figure.last, _WORSE):
            was = figure.shown(figure.last)
            self.told.append(
                f"worse by more than a tenth: {name}, {figure.shown(value)} after {was}"
            )
        if figure.is_worse(value, figure.limit):
            self.told.append(f"over its limit: {name}, {figure.shown(value)}")
        self.known[name] = replace(figure, last=round(value, 2))
        columns = (value, figure.goal, figure.limit, figure.last)
        return f"{'  ' + name:<50}" + "".join(f"{figure.shown(one):>10}" for one in columns)

    def save(self) -> None:
        """Keep the values for the next time."""
        entries = {
            name: {
                key: value
                for key in ("unit", "goal", "limit", "last")
                if (value := getattr(figure, key)) is not None
            }
            for name, figure in self.known.items()
        }
        lines = (f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in entries.items())
        self.path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
