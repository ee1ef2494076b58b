"""The secrets of a channel, which must not be repeated: a server's answer may quote its request."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from urllib.parse import parse_qsl, unquote, urlsplit

from lunasched.jobs.model import HIDDEN, Channel

_SHORTEST = 4
"""Shorter parts of a URL are not worth hiding, and would hide what else is said."""


def of_channel(channel: Channel) -> tuple[str, ...]:
    """The secrets of a channel, and how they look on their way."""
    found = set(of_url(channel.where))
    found |= {text for _, text in channel.headers}
    found |= {text for text in (channel.secret, channel.token) if text}
    return tuple(found)


def of_url(url: str) -> Iterator[str]:
    """A URL, and the parts of it beside its host."""
    yield url
    parts = urlsplit(url)
    user, password = (unquote(text or "") for text in (parts.username, parts.password))
    if user or password:
        yield password or user
        yield base64.b64encode(f"{user}:{password}".encode()).decode()
    values = [value for _, value in parse_qsl(parts.query)]
    for text in (parts.path, parts.query, *parts.path.split("/"), *values):
        for one in (text, unquote(text)):
            if len(one) >= _SHORTEST:
                yield one


def hidden(text: str, secrets: Iterable[str]) -> str:
    """A text without the secrets."""
    for secret in sorted(set(secrets), key=len, reverse=True):
        if secret:
            text = text.replace(secret, HIDDEN)
    return text
