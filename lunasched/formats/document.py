"""Files in YAML or TOML: what they say, and on which line.

Both forms give the same plain values: mappings with keys that are texts, lists, texts, numbers,
true, false and null. What a file could do to its reader is bounded: its size, its depth, and what
aliases make of it.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from importlib import import_module
from typing import Any

from lunasched.dataclass import dataclass
from lunasched.errors import InvalidInput
from lunasched.formats.limits import BYTES_MAX, InvalidDocument

__all__ = ["BYTES_MAX", "Document", "Format", "InvalidDocument", "read_document"]

Path = tuple[str | int, ...]


class Format(Enum):
    """The syntax of a file."""

    YAML = "yaml"
    TOML = "toml"

    @classmethod
    def of(cls, name: str) -> Format:
        """The format that a file's name tells by its suffix; raises ``InvalidInput``."""
        suffix = name.rpartition(".")[2].lower() if "." in name else ""
        found = {"yaml": cls.YAML, "yml": cls.YAML, "toml": cls.TOML, "json": cls.YAML}
        if suffix not in found:
            raise InvalidInput(
                f"{name}: its name ends neither with .yaml, .yml, .json nor .toml; "
                "say what it is: --format yaml or --format toml"
            )
        return found[suffix]


@dataclass(frozen=True, slots=True)
class Document:
    """One file that could be read."""

    source: str
    """The name of the document in messages."""
    value: Any
    _lines: Callable[[], dict[Path, int]]

    def line(self, path: Path) -> int:
        """The line, from 1, on which what the path leads to begins; else what is above it."""
        lines = self._lines()
        while path and path not in lines:
            path = path[:-1]
        return lines.get(path, 1)


def read_document(content: bytes, source: str, format_: Format) -> Document:
    """Read a file; raises ``InvalidDocument`` with ``source:line: what is wrong``."""
    text = _decoded(content, source)
    # Lines are looked up on demand: a valid file needs none.
    reader = import_module(f"lunasched.formats.{format_.value}text")
    value = reader.load(text, source)
    found: list[dict[Path, int]] = []

    def lines() -> dict[Path, int]:
        if not found:
            found.append(reader.lines(text, source))
        return found[0]

    return Document(source, value, lines)


def _decoded(content: bytes, source: str) -> str:
    if len(content) > BYTES_MAX:
        raise InvalidDocument(
            f"{source}: the file is larger than {BYTES_MAX >> 20} MiB, the most that is read"
        )
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InvalidDocument(f"{source}: the file is UTF-16; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidDocument(
            f"{source}:{line}: the byte 0x{content[error.start]:02x} is not UTF-8; "
            "save the file as UTF-8"
        ) from error
