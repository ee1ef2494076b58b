"""Sending notifications: one module a channel, one way to HTTP and one to SMTP.

Everything here blocks, for at most the time limit; the supervisor calls it from threads.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping

from lunasched.errors import NotifyError
from lunasched.files.settings import EmailSettings
from lunasched.jobs.model import Channel, ChannelType
from lunasched.notify import discord, email, heartbeat, httpclient, ntfy, slack, smtp, webhook
from lunasched.notify.message import Message

TIMEOUT = 30.0
"""Seconds that sending a notification may take, the server's answer included."""

_REQUESTS: Mapping[ChannelType, Callable[[Channel, Message, int], httpclient.Post]] = {
    ChannelType.WEBHOOK: webhook.request,
    ChannelType.DISCORD: discord.request,
    ChannelType.SLACK: slack.request,
    ChannelType.NTFY: ntfy.request,
    ChannelType.HEARTBEAT: heartbeat.request,
}


def send(
    channel: Channel,
    message: Message,
    *,
    key: str,
    settings: EmailSettings,
    timeout: float = TIMEOUT,
) -> str:
    """Send a notification, and return what the server answered, in one line.

    ``key`` is the same each time the same notification is sent, so that a copy can be recognised.
    Raises ``NotifyError``; neither it nor the answer holds a secret. A command is not run here: it
    is a unit, and ``input_of`` is for it.
    """
    if channel.type is ChannelType.EMAIL:
        mail = email.build(channel, message, key=key, settings=settings, host=socket.getfqdn())
        return smtp.deliver(mail, email.recipients(channel), settings, timeout)
    if channel.type not in _REQUESTS:
        raise NotifyError(f"{channel.type.value}: nothing is sent to it", permanent=True)
    request = _REQUESTS[channel.type](channel, message, int(time.time()))
    answer = httpclient.post(request, key=key, timeout=timeout)
    if channel.type is ChannelType.HEARTBEAT:
        heartbeat.check_counted(answer)
    return answer


def input_of(channel: Channel, message: Message, *, key: str, settings: EmailSettings) -> str:
    """The text that a command finds on its standard input; of ``sendmail``, the whole mail."""
    if channel.type is not ChannelType.SENDMAIL:
        return message.text
    mail = email.build(channel, message, key=key, settings=settings, host=socket.getfqdn())
    return mail.as_bytes(policy=mail.policy.clone(linesep="\n")).decode()
