"""Texts in the lengths that services take, as each of them counts."""

from __future__ import annotations

import re
from collections.abc import Callable

from lunasched.notify.message import Message

Measure = Callable[[str], int]


def utf16(text: str) -> int:
    """Length in the units in which services written in JavaScript count: an emoji has two."""
    return len(text) + sum(character > "\uffff" for character in text)


def utf8(text: str) -> int:
    """Length in bytes."""
    return len(text.encode())


def beginning(text: str, limit: int, measure: Measure = utf16) -> str:
    """As much of the beginning of a text as fits, with a mark where something is left out."""
    if measure(text) <= limit:
        return text
    return f"{text[: _most(len(text), lambda n: measure(f'{text[:n]}…') <= limit)]}…"


def text_end(text: str, limit: int, measure: Measure = utf16) -> str:
    """As much of the end of a text as fits."""
    if measure(text) <= limit:
        return text
    size = len(text)
    return f"…{text[size - _most(size, lambda n: measure('…' + text[size - n :]) <= limit) :]}"


def _most(most: int, fits: Callable[[int], bool]) -> int:
    """The largest number up to ``most`` that fits, where all that are smaller do."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def code(output: str) -> str:
    """A block of code of Discord and Slack; no backticks in it are next to each other."""
    return "```\n" + re.sub("`(?=`)", "`\u200b", output) + "\n```"


def facts(message: Message) -> str:
    """The facts, a line each."""
    return "\n".join(f"{label}: {text}" for label, text in message.facts)


def compact(message: Message, limit: int, measure: Measure) -> str:
    """The message without its subject, of which the beginning of the output is cut off first."""
    if message.custom or not message.facts:
        return beginning(_without_subject(message), limit, measure)
    outer = [facts(message), "\n".join(message.commands), message.note]
    frame = "\n\n".join(part for part in outer if part)
    room = limit - measure(frame) - 2
    if not message.output or room < 20:
        return beginning(frame, limit, measure)
    parts = [outer[0], text_end(message.output, room, measure), *outer[1:]]
    return "\n\n".join(part for part in parts if part)


def _without_subject(message: Message) -> str:
    return message.text if message.custom else message.text.partition("\n\n")[2].strip("\n")
