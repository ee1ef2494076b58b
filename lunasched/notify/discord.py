"""Discord, by an incoming webhook: an embed (discord.com/developers/docs/resources/message)."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from lunasched.history.jsonview import iso
from lunasched.history.report import ReportKind
from lunasched.jobs.model import Channel
from lunasched.notify.httpclient import Post
from lunasched.notify.message import Message
from lunasched.notify.secrets import of_channel
from lunasched.notify.text import beginning, code, text_end, utf16

TITLE_MAX, DESCRIPTION_MAX, NAME_MAX, VALUE_MAX, FIELDS_MAX, TOTAL_MAX = (
    256,
    4096,
    256,
    1024,
    25,
    6000,
)
_OUR_VALUE_MAX = 200

_RED, _GREEN, _BLUE, _YELLOW = 0xD92D20, 0x079455, 0x1570EF, 0xDC6803
_COLOURS = {
    ReportKind.START: _BLUE,
    ReportKind.SUCCESS: _GREEN,
    ReportKind.FAILURE: _RED,
    ReportKind.REMINDER: _RED,
    ReportKind.RECOVERY: _GREEN,
    ReportKind.SKIPPED: _YELLOW,
    ReportKind.MISSED: _YELLOW,
    ReportKind.OVERRUN: _YELLOW,
    ReportKind.OUTPUT: _BLUE,
    ReportKind.DIGEST: _YELLOW,
    ReportKind.TEST: _BLUE,
}


def request(channel: Channel, message: Message, now: int) -> Post:
    """Return the request that is posted."""
    content = {"embeds": [embed(message)], "allowed_mentions": {"parse": []}}
    headers = {"Content-Type": "application/json"}
    return Post(_waiting(channel.where), json.dumps(content).encode(), headers, of_channel(channel))


def embed(message: Message) -> dict[str, Any]:
    """The message within Discord's limits."""
    report = message.report
    made: dict[str, Any] = {
        "title": beginning(message.subject, TITLE_MAX, _escaped_length),
        "color": _COLOURS[report.kind],
        "timestamp": iso(report.at),
        "fields": [],
    }
    made["title"] = _escaped(made["title"])
    if not message.custom and message.facts:
        said = [*message.facts, *([("Note", message.note)] if message.note else [])]
        for label, text in said[: FIELDS_MAX - 1]:
            value = _escaped(beginning(text, _OUR_VALUE_MAX, _escaped_length))
            made["fields"].append({"name": label, "value": value, "inline": label != "Note"})
        if message.commands:
            value = code(beginning("\n".join(message.commands), VALUE_MAX, _code_length))
            made["fields"].append({"name": "To see more", "value": value, "inline": False})
        room = min(DESCRIPTION_MAX, TOTAL_MAX - _total(made))
        if message.output:
            made["description"] = code(text_end(message.output, room, _code_length))
        return made
    room = min(DESCRIPTION_MAX, TOTAL_MAX - _total(made))
    made["description"] = _escaped(beginning(_text(message), room, _escaped_length))
    return made


def _text(message: Message) -> str:
    return message.text if message.custom else message.text.partition("\n\n")[2]


def _total(made: dict[str, Any]) -> int:
    """Return the size that counts for the limit of a whole embed."""
    fields = sum(utf16(one["name"]) + utf16(one["value"]) for one in made["fields"])
    return fields + utf16(made["title"])


def _escaped(text: str) -> str:
    """Text without Markdown and mentions in it."""
    return re.sub(r"([\\*_~`|>#\[\]<@])", r"\\\1", text)


def _escaped_length(text: str) -> int:
    return utf16(_escaped(text))


def _code_length(text: str) -> int:
    return utf16(code(text))


def _waiting(url: str) -> str:
    """The URL with ``wait=true``, by which Discord says whether it took the message."""
    parts = urlsplit(url)
    query = {**dict(parse_qsl(parts.query)), "wait": "true"}
    return parts._replace(query=urlencode(query)).geturl()
