"""Channels that are commands: as units of their job, beside those of its hooks."""

from __future__ import annotations

import hashlib
import json

from lunasched.formats import unittext
from lunasched.jobs.model import Channel, ChannelType, Command, Job, NotifyEvent

MARK = "exec-"
"""The prefix of the event part of their units' names."""

SENDMAIL = "/usr/sbin/sendmail"
"""The program that mail servers have there for who sends a mail (FHS 3.0, 4.10)."""
# As cron does: a line with a dot alone ends no mail, texts have eight bits, and errors come back by
# mail.
SENDMAIL_OPTIONS = ("-i", "-B8BITMIME", "-oem")


def command_channels(job: Job) -> dict[str, Channel]:
    """The commands that a job has among its channels, by what their units are called after."""
    found = (channel for event in NotifyEvent for channel in job.notifications.channels(event))
    return {event_name(channel): channel for channel in found if channel.is_command}


def command_of(channel: Channel) -> Command:
    """What the unit of a channel runs: the notification is its standard input."""
    if channel.type is ChannelType.SENDMAIL:
        addresses = (one.strip() for one in channel.where.split(","))
        return (SENDMAIL, *SENDMAIL_OPTIONS, "--", *addresses)
    return channel.target


def event_name(channel: Channel) -> str:
    """Return the event part of a command's unit name: derived from what it runs."""
    run = command_of(channel)
    identity = json.dumps([run if isinstance(run, str) else list(run), channel.timeout])
    return MARK + hashlib.sha256(identity.encode()).hexdigest()[:8]


def channel_unit_name(job: str, channel: Channel) -> str:
    """The service unit of a command."""
    return unittext.hook_name(job, event_name(channel))


def channel_unit_names(job: Job) -> list[str]:
    """The service units of all commands of a job."""
    return [unittext.hook_name(job.name, event) for event in command_channels(job)]


def is_unit(unit: str, job: str | None = None) -> bool:
    """Tell whether a unit is that of a command that a job has, or had; of any job: ``None``."""
    if job is None:
        # A ":" in a job's name is escaped.
        return unit.startswith(unittext.HOOK_PREFIX) and f":{MARK}" in unit
    return unit.startswith(f"{unittext.HOOK_PREFIX}{unittext.hook_instance(job, MARK)}")
