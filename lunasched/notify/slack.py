"""Slack, by an incoming webhook: blocks (docs.slack.dev/reference/block-kit/blocks)."""

from __future__ import annotations

import json
from typing import Any

from lunasched.history.report import ReportKind
from lunasched.jobs.model import Channel
from lunasched.notify.httpclient import Post
from lunasched.notify.message import Message
from lunasched.notify.secrets import of_channel
from lunasched.notify.text import beginning, code, compact, facts, text_end, utf16

HEADER_MAX, TEXT_MAX, BLOCKS_MAX = 150, 3000, 50

_SIGNS = {
    ReportKind.SUCCESS: "\N{LARGE GREEN CIRCLE}",
    ReportKind.RECOVERY: "\N{LARGE GREEN CIRCLE}",
    ReportKind.FAILURE: "\N{LARGE RED CIRCLE}",
    ReportKind.REMINDER: "\N{LARGE RED CIRCLE}",
    ReportKind.SKIPPED: "\N{LARGE YELLOW CIRCLE}",
    ReportKind.MISSED: "\N{LARGE YELLOW CIRCLE}",
    ReportKind.OVERRUN: "\N{LARGE YELLOW CIRCLE}",
    ReportKind.DIGEST: "\N{LARGE YELLOW CIRCLE}",
}


def request(channel: Channel, message: Message, now: int) -> Post:
    """Return the request; ``text`` is for notifications, and for programs that know no blocks."""
    content = {"text": _cut(message.subject, TEXT_MAX), "blocks": blocks(message)}
    headers = {"Content-Type": "application/json"}
    return Post(channel.where, json.dumps(content).encode(), headers, of_channel(channel))


def blocks(message: Message) -> list[dict[str, Any]]:
    """The message within Slack's limits."""
    sign = _SIGNS.get(message.report.kind)
    title = f"{sign} {message.subject}" if sign else message.subject
    made = [{"type": "header", "text": _plain(title, HEADER_MAX)}]
    if message.custom or not message.facts:
        return [*made, _section(_plain(compact(message, TEXT_MAX, utf16), TEXT_MAX))]
    made.append(_section(_plain(facts(message), TEXT_MAX)))
    if message.output:
        # As a block of code; verbatim: no names and links are looked for in it.
        text = code(
            _escaped(text_end(message.output, TEXT_MAX, lambda one: utf16(code(_escaped(one)))))
        )
        made.append(_section({"type": "mrkdwn", "text": text, "verbatim": True}))
    for part in ("\n".join(message.commands), message.note):
        if part:
            made.append(_section(_plain(part, TEXT_MAX)))
    return made


def _section(text: dict[str, Any]) -> dict[str, Any]:
    return {"type": "section", "text": text}


def _plain(text: str, limit: int) -> dict[str, Any]:
    """A text in which nothing is markup."""
    return {"type": "plain_text", "text": beginning(text, limit), "emoji": False}


def _cut(text: str, limit: int) -> str:
    return _escaped(beginning(text, limit, lambda one: utf16(_escaped(one))))


def _escaped(text: str) -> str:
    """Text in which nothing is a mention or a link, as ``<!channel>`` is."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
