"""Channels of notifications as people write them: ``{type: email, to: ops@example.org}``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from lunasched import errors
from lunasched.dataclass import dataclass
from lunasched.errors import InvalidInput
from lunasched.formats import template
from lunasched.formats.pattern import pattern
from lunasched.jobs import values as values
from lunasched.jobs.model import TARGET_KEYS, Channel, ChannelType, MailStyle
from lunasched.jobs.runfacts import TEMPLATE_VARIABLES
from lunasched.jobs.values import InvalidParts, Part

# RFC 5322 allows more, but no real mailbox uses it.
_ADDRESS = pattern(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+(@[A-Za-z0-9.-]+)?\Z")
_HEADER = pattern(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
# The topics that ntfy accepts, at the end of a path.
_TOPIC = pattern(r"/[A-Za-z0-9_-]{1,64}\Z")
LENGTH_MAX = 2048
CHANNELS_MAX = 50


@dataclass(frozen=True, slots=True)
class ChannelKey:
    """A key of a channel, which becomes an argument of ``Channel``."""

    field: str
    read: Callable[[object], Any]
    about: str


def read_address(value: object) -> str:
    """One or more addresses, separated by commas; a name without a host is a local user."""
    addresses = [one.strip() for one in values.read_text(value).split(",")]
    for address in addresses:
        if not _ADDRESS.match(address) or len(address) > 254:
            raise InvalidInput(f"{address!r} is not an email address")
    return ", ".join(addresses)


def read_sender(value: object) -> str:
    """One address."""
    address = read_address(value)
    if "," in address:
        raise InvalidInput("there can be only one sender")
    return address


def read_url(value: object) -> str:
    """Read a URL of HTTP; errors do not repeat it, for it may be secret."""
    url = values.read_text(value).strip()
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidInput("it is not a URL that begins with https:// or http://")
    if len(url) > LENGTH_MAX:
        raise InvalidInput(f"a URL has at most {LENGTH_MAX} characters")
    return url


def read_line(value: object) -> str:
    """A text of one line."""
    text = values.read_text(value)
    if not text or not text.isprintable() or len(text) > LENGTH_MAX:
        raise InvalidInput("it must be one line of text")
    return text


def read_secret(value: object) -> str:
    """A text of one line that is not repeated in a message."""
    if not isinstance(value, str) or not value or not value.isprintable():
        raise InvalidInput("it must be one line of text, in quotes if it could be a number")
    return value


def read_headers(value: object) -> tuple[tuple[str, str], ...]:
    """Headers of an HTTP request (RFC 9110)."""
    if not isinstance(value, Mapping):
        raise InvalidInput("it must map names of headers to texts")
    problems = []
    for name, content in value.items():
        if not isinstance(name, str) or not _HEADER.match(name):
            problems.append(Part((str(name),), "it cannot be the name of a header"))
        elif not isinstance(content, str) or not _is_header_value(content):
            problems.append(Part((name,), "it must be one line of ASCII text"))
    if problems:
        raise InvalidParts(problems)
    return tuple(value.items())


def _is_header_value(text: str) -> bool:
    return text.isascii() and text.isprintable() and text == text.strip()


def read_subject(value: object) -> str:
    """A template of one line, see ``template``."""
    text = read_line(value)
    template.check_template(text, TEMPLATE_VARIABLES)
    return text


def read_body(value: object) -> str:
    """A template of any number of lines."""
    text = values.read_text(value)
    if not text.strip() or "\0" in text:
        raise InvalidInput("it must be a text")
    template.check_template(text, TEMPLATE_VARIABLES)
    return text


def read_token(value: object) -> str:
    """A text that stands in a header, and is not repeated in a message."""
    text = read_secret(value)
    if not _is_header_value(text) or " " in text or len(text) > LENGTH_MAX:
        raise InvalidInput("it must be ASCII text without spaces")
    return text


def read_ntfy_priority(value: object) -> str:
    """One of ntfy's five priorities, by its word or number."""
    text = str(value).strip().lower() if isinstance(value, (str, int)) else ""
    words = dict(zip("12345", NTFY_PRIORITIES, strict=True))
    if isinstance(value, bool) or (text not in words and text not in NTFY_PRIORITIES):
        raise InvalidInput(f"{value!r} is not a valid priority; use one of {_PRIORITIES}")
    return words.get(text, text)


def read_topic(value: object) -> str:
    """The URL of a topic of ntfy."""
    url = read_url(value)
    parts = urlsplit(url)
    if parts.query or parts.fragment or not _TOPIC.search(parts.path):
        raise InvalidInput("it is not a URL of a topic, such as https://ntfy.sh/TOPIC")
    return url


NTFY_PRIORITIES = ("min", "low", "default", "high", "max")
_PRIORITIES = ", ".join(NTFY_PRIORITIES)

_URL = ChannelKey("target", read_url, "URL to send notifications to; keep it secret.")
_SUBJECT = ChannelKey("subject", read_subject, "Template of the subject.")
_STYLE = values.OneOf(MailStyle, "style of email")
_BODY = ChannelKey("body", read_body, "Template of the text.")

_TIMEOUT = ChannelKey("timeout", values.read_time_limit, "Time limit of the command.")
_MAIL: Mapping[str, ChannelKey] = {
    "to": ChannelKey("target", read_address, "Addresses, separated by commas."),
    "subject": _SUBJECT,
    "body": _BODY,
    "style": ChannelKey(
        "style", _STYLE, "Form of what on_output sends: cron is that of cron's mail."
    ),
}

CHANNEL_KEYS: Mapping[ChannelType, Mapping[str, ChannelKey]] = {
    ChannelType.EMAIL: _MAIL,
    ChannelType.WEBHOOK: {
        "url": _URL,
        "headers": ChannelKey("headers", read_headers, "Headers of the request."),
        "secret": ChannelKey("secret", read_secret, "Key to sign the request with."),
        "body": ChannelKey("body", read_body, "Template of the request's body."),
    },
    ChannelType.DISCORD: {"webhook_url": _URL, "subject": _SUBJECT, "body": _BODY},
    ChannelType.SLACK: {"webhook_url": _URL, "subject": _SUBJECT, "body": _BODY},
    ChannelType.NTFY: {
        "url": ChannelKey("target", read_topic, "Server and topic; keep it secret."),
        "token": ChannelKey("token", read_token, "Access token of an account."),
        "priority": ChannelKey(
            "priority", read_ntfy_priority, "Priority, if not that of the event."
        ),
        "subject": _SUBJECT,
        "body": _BODY,
    },
    ChannelType.SENDMAIL: {**_MAIL, "timeout": _TIMEOUT},
    ChannelType.EXEC: {
        "command": ChannelKey("target", values.read_command, "Command that gets the notification."),
        "timeout": _TIMEOUT,
    },
    ChannelType.HEARTBEAT: {
        "url": ChannelKey("target", read_url, "URL to ping; keep it secret."),
    },
}
"""The keys of each type of channel, apart from ``type``."""

_TYPE = values.OneOf(ChannelType, "type of channel")


def read_channels(value: object) -> tuple[Channel, ...]:
    """A list of channels, or one alone; raises ``InvalidParts`` with all that is wrong."""
    return _listed(value, CHANNEL_KEYS)


def read_messengers(value: object) -> tuple[Channel, ...]:
    """The same without heartbeats, which have no word for what happened."""
    return _listed(value, MESSENGER_KEYS)


def read_heartbeat(value: object) -> Channel:
    """The URL of a heartbeat."""
    return Channel(ChannelType.HEARTBEAT, read_url(value))


MESSENGER_KEYS: Mapping[ChannelType, Mapping[str, ChannelKey]] = {
    type_: keys for type_, keys in CHANNEL_KEYS.items() if type_ is not ChannelType.HEARTBEAT
}


def _listed(
    value: object, allowed: Mapping[ChannelType, Mapping[str, ChannelKey]]
) -> tuple[Channel, ...]:
    listed = value if isinstance(value, (list, tuple)) else [value]
    if len(listed) > CHANNELS_MAX:
        raise InvalidInput(f"there can be {CHANNELS_MAX} channels at most")
    problems: list[Part] = []
    found = []
    for number, one in enumerate(listed):
        try:
            found.append(_channel(one, allowed))
        except InvalidParts as error:
            prefix = (number,) if isinstance(value, (list, tuple)) else ()
            problems += [Part((*prefix, *part.path), part.message) for part in error.parts]
    if problems:
        raise InvalidParts(problems)
    return tuple(dict.fromkeys(found))


def _channel(value: object, allowed: Mapping[ChannelType, Mapping[str, ChannelKey]]) -> Channel:
    if not isinstance(value, Mapping):
        raise InvalidParts([Part((), "it must be a mapping such as {type: email, to: ADDRESS}")])
    try:
        type_: ChannelType = _TYPE(value.get("type"))
    except InvalidInput as error:
        raise InvalidParts([Part(("type",), str(error))]) from error
    if type_ not in allowed:
        raise InvalidParts(
            [Part(("type",), "a heartbeat is for on_start, on_success and on_failure")]
        )
    keys, problems, fields = allowed[type_], [], {}
    for key, content in value.items():
        if key == "type":
            continue
        if key not in keys:
            hint = errors.near(key, ("type", *keys))
            problems.append(Part((str(key),), f"this type has no such key{hint}"))
            continue
        if content is None:
            continue
        try:
            fields[keys[key].field] = keys[key].read(content)
        except InvalidParts as error:
            problems += [Part((key, *part.path), part.message) for part in error.parts]
        except InvalidInput as error:
            problems.append(Part((key,), str(error)))
    target = TARGET_KEYS[type_]
    if "target" not in fields and not any(part.path[0] == target for part in problems):
        problems.append(Part((target,), f"it is missing; {type_.value} needs it"))
    if problems:
        raise InvalidParts(problems)
    return Channel(type_, **fields)
