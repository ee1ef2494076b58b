"""The filters of templates: few, and none that makes much of little."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from lunasched.errors import TemplateFailed

VALUE_MAX = 32768
"""Characters of a value in a template, and of what it gives."""


def _replace(value: object, old: str, new: str) -> str:
    text = str(value)
    check_length(len(text) + text.count(old) * len(new))
    return text.replace(old, new)


def _join(values: object, separator: str = "") -> str:
    texts = [text_of(one) for one in (values if isinstance(values, list) else [values])]
    check_length(sum(map(len, texts)) + len(texts) * len(separator))
    return separator.join(texts)


def _truncate(value: object, length: int = 255, end: str = "...") -> str:
    text = str(value)
    return text if len(text) <= length else text[: max(0, length - len(end))] + end


def check_length(length: int) -> None:
    if length > VALUE_MAX:
        raise TemplateFailed("a text in it becomes too long")


def text_of(value: object) -> str:
    """Return a value as text: empty for a fact that the run does not have."""
    return "" if value is None else str(value)


FILTERS: Mapping[str, Callable[..., Any]] = {
    "default": lambda value, other="": other if value is None or value == "" else value,
    "first": lambda values: next(iter(values), ""),
    "join": _join,
    "last": lambda values: next(iter(values[-1:]), ""),
    "length": len,
    "lower": lambda value: text_of(value).lower(),
    "replace": _replace,
    "round": round,
    "tojson": lambda value: json.dumps(value),
    "trim": lambda value: text_of(value).strip(),
    "truncate": _truncate,
    "upper": lambda value: text_of(value).upper(),
}
"""The filters that a template can use."""
