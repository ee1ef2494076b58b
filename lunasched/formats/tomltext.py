"""TOML, read by the standard library, and the lines that it does not tell."""

from __future__ import annotations

import re
import sys
from datetime import date, datetime, time
from typing import Any

from lunasched.formats.limits import DEPTH_MAX, InvalidDocument
from lunasched.formats.pattern import pattern

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_Path = tuple[str | int, ...]
_BITS_MAX = 2000
# The words of tomllib for a duplicate.
_TWICE = (
    "Cannot overwrite", "Cannot declare", "Cannot mutate", "Cannot redefine", "Duplicate inline",
)  # fmt: skip
_PLACE = pattern(r" \(at line (\d+), column \d+\)$")


def load(text: str, source: str) -> dict[str, Any]:
    """The value of ``text``; raises ``InvalidDocument``."""
    _check_keys(text, source)
    try:
        value = tomllib.loads(text)
    except RecursionError:
        raise InvalidDocument(f"{source}: more than {DEPTH_MAX} levels of nesting") from None
    except ValueError as error:
        said = str(error)
        place = _PLACE.search(said)
        line = place[1] if place else str(text.count("\n") + 1)
        said = _PLACE.sub("", said).removesuffix(" (at end of document)")
        if "integer string conversion" in said:
            said = "a number has too many digits"
        elif said.startswith(_TWICE):
            said += "; a key or a table is defined twice"
        raise InvalidDocument(f"{source}:{line}: not valid TOML: {said}") from error
    try:
        plain: dict[str, Any] = _plain(value, ())
    except _UnfitError as error:
        line = str(lines(text, source).get(error.path, 1))
        raise InvalidDocument(f"{source}:{line}: {error}") from None
    return plain


# What a line is made of; a string can have several of them. Each string ends somewhere, if only
# with the line or the text, so that no other string begins inside of one.
_TOKEN = pattern(
    r'"""(?:[^"\\]|\\.|"(?!""))*(?:"{3,5}|\Z)'
    r"|'''(?:[^']|'(?!''))*(?:'{3,5}|\Z)"
    r'|"(?:[^"\\\n]|\\.)*"?'
    r"|'[^'\n]*'?"
    r"|\#[^\n]*|[A-Za-z0-9_+-]+|[ \t]+|\.|[^.]",
    re.DOTALL,
)


def _check_keys(text: str, source: str) -> None:
    """Refuse keys of too many parts: tomllib's memory grows with the square of their number."""
    # Most files have no such line, and this is all that they need.
    if all(line.count(".") < DEPTH_MAX for line in text.split("\n")):
        return
    parts = 1
    for token in _TOKEN.finditer(text):
        word = token[0]
        if word == ".":
            parts += 1
        elif word[0] in "=,[]{}#\n" or (word.isspace() and "\n" in word):
            parts = 1
        if parts > DEPTH_MAX:
            line = text.count("\n", 0, token.start()) + 1
            raise InvalidDocument(f"{source}:{line}: more than {DEPTH_MAX} levels of nesting")


class _UnfitError(Exception):
    """A value that TOML has and we do not take."""

    def __init__(self, path: _Path, message: str) -> None:
        super().__init__(message)
        self.path = path


def _plain(value: Any, path: _Path) -> Any:
    """Dates and times as texts, which is what their author meant where none are expected."""
    if len(path) > DEPTH_MAX:
        raise _UnfitError(path[:DEPTH_MAX], f"more than {DEPTH_MAX} levels of nesting")
    if isinstance(value, dict):
        return {key: _plain(inner, (*path, key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner, (*path, index)) for index, inner in enumerate(value)]
    if isinstance(value, int) and value.bit_length() > _BITS_MAX:
        # Python prints no number of more than 4,300 digits; 0x... can be one.
        raise _UnfitError(path, "a number has too many digits")
    return value.isoformat() if isinstance(value, (date, datetime, time)) else value


def lines(text: str, source: str) -> dict[_Path, int]:
    """On which line each value begins; ``text`` could be loaded."""
    return _TomlScanner(text).scan()


_SPACE = pattern(r"[ \t]*")
_BLANK = pattern(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE = pattern(r"[A-Za-z0-9_-]+")
_STRING = pattern(
    r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}'
    r"|'''(?:[^']|'(?!''))*'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_OTHER = pattern(r"[^,\]\}#\n]*")


class _TomlScanner:
    """Walks through valid TOML and notes where its values are (toml.io, v1.0.0)."""

    def __init__(self, text: str) -> None:
        self._text = text.replace("\r\n", "\n")
        self._at = 0
        self._counted, self._line = 0, 1
        self._found: dict[_Path, int] = {}
        self._counts: dict[_Path, int] = {}
        """The number of tables that each array of tables has so far."""

    def scan(self) -> dict[_Path, int]:
        table: _Path = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._text.startswith("[[", self._at):
                table = self._header("[[")
            elif self._text[self._at] == "[":
                table = self._header("[")
            else:
                self._pair(table)
            self._skip(_BLANK)
        return self._found

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        assert match is not None
        self._at = match.end()
        return match[0]

    def _note(self, path: _Path) -> None:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        self._found.setdefault(path, self._line)

    def _header(self, opening: str) -> _Path:
        start = self._at
        self._at += len(opening)
        keys = self._keys()
        after, self._at = self._at + len(opening), start
        path = self._resolved(keys[:-1])
        if opening == "[[":
            array = (*path, keys[-1])
            self._note(array)
            self._counts[array] = self._counts.get(array, 0) + 1
            path = (*array, self._counts[array] - 1)
        else:
            path = (*path, keys[-1])
        self._note(path)
        self._at = after
        return path

    def _resolved(self, keys: list[str]) -> _Path:
        """A path in which each array of tables stands for its last one."""
        path: _Path = ()
        for key in keys:
            path = (*path, key)
            if path in self._counts:
                path = (*path, self._counts[path] - 1)
        return path

    def _keys(self) -> list[str]:
        """A dotted key."""
        keys = []
        while True:
            self._skip(_SPACE)
            quoted = self._text[self._at] in "\"'"
            word = self._skip(_STRING if quoted else _BARE)
            keys.append(next(iter(tomllib.loads(f"{word}=0"))))
            self._skip(_SPACE)
            if self._text[self._at] != ".":
                return keys
            self._at += 1

    def _pair(self, table: _Path) -> None:
        start = self._at
        keys = self._keys()
        after, self._at = self._at + 1, start
        for length in range(1, len(keys) + 1):
            self._note((*table, *keys[:length]))
        self._at = after
        self._skip(_SPACE)
        self._value((*table, *keys))

    def _value(self, path: _Path) -> None:
        opening = self._text[self._at]
        if opening in "\"'":
            self._skip(_STRING)
        elif opening == "[":
            self._at += 1
            index = 0
            while self._skip(_BLANK) is not None and self._text[self._at] != "]":
                self._note((*path, index))
                self._value((*path, index))
                index += 1
                self._comma()
            self._at += 1
        elif opening == "{":
            self._at += 1
            while self._skip(_BLANK) is not None and self._text[self._at] != "}":
                self._pair(path)
                self._comma()
            self._at += 1
        else:
            self._skip(_OTHER)

    def _comma(self) -> None:
        self._skip(_BLANK)
        if self._text[self._at] == ",":
            self._at += 1
