"""YAML, by its core schema (YAML 1.2, chapter 10.3): only ``true`` and ``false`` are booleans,
``02:30`` and ``2026-01-01`` are texts, ``0644`` is a decimal number.

PyYAML's own loader reads YAML 1.1, in which ``on``, ``no``, ``1:30`` and dates are traps, keeps
the last of several equal keys, and gives values of an alias without end. Here its parser gives the
events and the values are put together from them, without recursion.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from typing import Any

import yaml

from lunasched.dataclass import dataclass
from lunasched.formats.limits import DEPTH_MAX, VALUES_MAX, InvalidDocument
from lunasched.formats.pattern import pattern

_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Path = tuple[str | int, ...]

_TOO_DEEP = f"more than {DEPTH_MAX} levels of nesting"
_NULL = {"", "~", "null", "Null", "NULL"}
_BOOLEAN = {
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_INTEGER = pattern(r"[-+]?[0-9]{1,400}\Z")
_BASED = pattern(r"0(?:o[0-7]{1,400}|x[0-9a-fA-F]{1,400})\Z")
_FLOAT = pattern(
    r"[-+]?(?:\.[0-9]{1,400}|[0-9]{1,400}(?:\.[0-9]{0,400})?)(?:[eE][-+]?[0-9]{1,18})?\Z"
)
_WORD_FLOAT = pattern(r"(?:([-+]?)\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z")
_STRING_TAGS = {"!", "tag:yaml.org,2002:str"}
_COLLECTION_TAGS = {"!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}


def load(text: str, source: str) -> Any:
    """The value of the one document in ``text``; raises ``InvalidDocument``."""
    return _Builder(source, None).build(text)


def lines(text: str, source: str) -> dict[_Path, int]:
    """On which line each value begins; ``text`` could be loaded."""
    found: dict[_Path, int] = {}
    _Builder(source, found).build(text)
    return found


_UNSET: Any = object()


@dataclass(slots=True)
class _Frame:
    """A mapping or list that is being read."""

    value: Any
    anchor: str | None
    line: int
    path: _Path = ()
    key: Any = _UNSET
    """Of a mapping, what the next value belongs to."""
    size: int = 1
    merges: list[tuple[Any, int]] = field(default_factory=list)
    """The values that ``<<`` merges, each with its line."""


@dataclass(slots=True)
class _Builder:
    source: str
    found: dict[_Path, int] | None
    stack: list[_Frame] = field(default_factory=list)
    anchors: dict[str, tuple[Any, int]] = field(default_factory=dict)
    """The value of each, and how many there are in it."""
    open_anchors: set[str] = field(default_factory=set)
    size: int = 0
    result: Any = None

    def build(self, text: str) -> Any:
        documents = 0
        for event in self._events(text):
            if isinstance(event, yaml.ScalarEvent):
                self._scalar(event)
            elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                self._begin(event)
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                self._end()
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event)
            elif isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._fault(event, "there is a second document ('---'); use a file each")
        return self.result

    def _events(self, text: str) -> Iterator[Any]:
        loader = None
        try:
            loader = _Parser(text)
            while loader.check_event():
                yield loader.get_event()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 1
            if "maximum nesting depth" in str(error.problem):
                # libyaml 0.2.6 has a limit of its own, and reads ahead.
                raise InvalidDocument(f"{self.source}:{line}: {_TOO_DEEP}") from error
            raise InvalidDocument(
                f"{self.source}:{line}: not valid YAML: {_explained(error, text, line)}"
            ) from error
        except yaml.reader.ReaderError as error:
            raise InvalidDocument(
                f"{self.source}:{_line_of_character(text)}: not valid YAML: "
                "a control character stands there"
            ) from error
        finally:
            if loader is not None:
                loader.dispose()

    def _fault(self, event: Any, message: str) -> InvalidDocument:
        return InvalidDocument(f"{self.source}:{event.start_mark.line + 1}: {message}")

    def _begin(self, event: Any) -> None:
        if event.tag is not None and event.tag not in _COLLECTION_TAGS:
            raise self._fault(event, f"tags such as {event.tag!r} are not supported")
        if len(self.stack) >= DEPTH_MAX:
            raise self._fault(event, _TOO_DEEP)
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        if self.stack and self._needs_key():
            raise self._fault(event, "a key must be a text")
        frame = _Frame({} if is_mapping else [], event.anchor, event.start_mark.line + 1)
        frame.path = self._path()
        if event.anchor is not None:
            self.open_anchors.add(event.anchor)
        self.stack.append(frame)

    def _end(self) -> None:
        frame = self.stack.pop()
        for merged, line in frame.merges:
            self._merge(frame, merged, line)
        if frame.anchor is not None:
            self.open_anchors.discard(frame.anchor)
            self.anchors[frame.anchor] = (frame.value, frame.size)
        self._put(frame.value, frame.line, frame.size)

    def _alias(self, event: Any) -> None:
        if event.anchor in self.open_anchors:
            raise self._fault(event, f"*{event.anchor} stands inside of &{event.anchor}")
        if event.anchor not in self.anchors:
            raise self._fault(event, f"there is no &{event.anchor} above; {_QUOTE}")
        if self._needs_key():
            raise self._fault(event, "a key must be a text")
        value, size = self.anchors[event.anchor]
        self._put(value, event.start_mark.line + 1, size, event)

    def _scalar(self, event: Any) -> None:
        if self._needs_key():
            self._key(event)
            return
        value = self._resolved(event)
        if event.anchor is not None:
            self.anchors[event.anchor] = (value, 1)
        self._put(value, event.start_mark.line + 1, 1, event)

    def _resolved(self, event: Any) -> Any:
        if event.tag in _STRING_TAGS:
            return event.value
        if event.tag is not None:
            raise self._fault(event, f"tags such as {event.tag!r} are not supported")
        return meaning(event.value) if event.implicit[0] else event.value

    def _needs_key(self) -> bool:
        return (
            bool(self.stack)
            and isinstance(self.stack[-1].value, dict)
            and self.stack[-1].key is _UNSET
        )

    def _key(self, event: Any) -> None:
        frame = self.stack[-1]
        if event.value == "<<" and event.implicit[0]:
            frame.key = None
            return
        if event.value in frame.value:
            raise self._fault(event, f"the key {event.value!r} is defined twice")
        frame.key = event.value
        frame.value[event.value] = None
        self._note(frame, event.value, event.start_mark.line + 1)

    def _note(self, frame: _Frame, key: str | int, line: int) -> None:
        if self.found is not None:
            path = (*frame.path, key)
            self.found[path] = line

    def _path(self) -> _Path:
        if not self.stack:
            return ()
        frame = self.stack[-1]
        return (*frame.path, len(frame.value) if isinstance(frame.value, list) else frame.key or "")

    def _put(self, value: Any, line: int, size: int, event: Any = None) -> None:
        self.size += 1 if event is None else size
        if self.size > VALUES_MAX:
            raise InvalidDocument(
                f"{self.source}:{line}: there are more than {VALUES_MAX:,} values up to here, "
                "those of each alias counted each time"
            )
        if not self.stack:
            self.result = value
            return
        frame = self.stack[-1]
        frame.size += size
        if isinstance(frame.value, list):
            self._note(frame, len(frame.value), line)
            frame.value.append(value)
        elif frame.key is None:
            frame.merges.append((value, line))
            frame.key = _UNSET
        else:
            frame.value[frame.key] = value
            frame.key = _UNSET

    def _merge(self, frame: _Frame, merged: Any, line: int) -> None:
        for one in merged if isinstance(merged, list) else [merged]:
            if not isinstance(one, dict):
                raise InvalidDocument(
                    f"{self.source}:{line}: << takes a mapping, or a list of them"
                )
            for key, value in one.items():
                if key not in frame.value:
                    frame.value[key] = value
                    self._note(frame, key, line)


def meaning(text: str) -> Any:
    """Return the meaning of a text without quotes."""
    if text in _NULL:
        return None
    if text in _BOOLEAN:
        return _BOOLEAN[text]
    if text[0] not in "+-.0123456789":
        return text
    if _INTEGER.match(text):
        return int(text)
    if _BASED.match(text):
        return int(text, 0)
    if _FLOAT.match(text):
        return float(text)
    if match := _WORD_FLOAT.match(text):
        return float(f"{match[1] or ''}inf" if text[1].lower() != "n" else "nan")
    return text


_QUOTE = "a value that begins with * needs quotes, as in schedule: '*/15 * * * *'"


def _explained(error: Any, text: str, line: int) -> str:
    said = " ".join(str(part) for part in (error.context, error.problem) if part)
    rows = text.splitlines()
    row = rows[line - 1] if line <= len(rows) else ""
    value = row.partition(": ")[2].strip() or row.strip().removeprefix("- ").strip()
    if value.startswith("*"):
        return f"{said}; {_QUOTE}"
    if value.startswith(("@", "%", "`")):
        return f"{said}; a value that begins with {value[0]} needs quotes"
    if "\t" in row[: len(row) - len(row.lstrip())]:
        return f"{said}; YAML is indented by spaces, not tabs"
    if "mapping values are not allowed" in said:
        return f"{said}; a text with ': ' in it needs quotes"
    return said


def _line_of_character(text: str) -> int:
    """Return the line of the first character that YAML does not allow."""
    for number, line in enumerate(text.split("\n"), 1):
        if yaml.reader.Reader.NON_PRINTABLE.search(line):
            return number
    return 1
