"""A job's definition for people: what was asked for, and no default that was not."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter

from lunasched.formats import printable
from lunasched.jobs.model import (
    Channel,
    ExecutionMode,
    Hooks,
    Job,
    Notifications,
    NotifyEvent,
    Overlap,
    RetryPolicy,
)

_FIRST = (
    "Name", "Schedule", "Time zone", "Command", "User", "Directory", "Environment", "Timeout",
    "Kill after", "Memory limit", "CPU quota", "Task limit", "Disk weight", "Jitter", "Priority",
    "Retries", "Hooks", "Notifies", "Mode", "Depends on", "Sandbox", "systemd",
)  # fmt: skip
_LAST = ("Tags", "Catch-up", "Enabled")
"""The order in which people read them; a key without a place in it comes between these."""


def rows(
    job: Job, *, host_timezone: str, default_user: str, show_secrets: bool = False
) -> dict[str, str]:
    """Return the label and the text of each part; the text is empty for a default.

    ``default_user`` is the user of a job that names none.
    """
    # Imported here: the readers of keys are of no use to a list of jobs.
    from lunasched.jobs import keys

    found = {
        row.label: "" if (value := attrgetter(row.field)(job)) is None else row.show(value)
        for row in keys.ROWS
        if row.show is not None
    }
    found |= {
        "Name": job.name,
        "Schedule": job.schedule,
        "Time zone": job.timezone or f"{host_timezone} (the host's)",
        "Command": printable.command_text(job.command),
        "User": job.user or default_user,
        "Directory": job.working_directory or "the user's home",
        "Environment": _lines(dict(job.environment)),
        "Retries": _retries(job.retry),
        "Hooks": _hooks(job.hooks),
        "Notifies": _notifications(
            job.notifications if show_secrets else job.notifications.without_secrets()
        ),
        "Mode": _mode(job),
        "Sandbox": _lines(dict(job.sandbox)),
        "systemd": _lines(dict(job.directives)),
    }
    between = [label for label in found if label not in (*_FIRST, *_LAST)]
    return {label: found[label] for label in (*_FIRST, *between, *_LAST)}


def units(job: Job) -> list[str]:
    """The units of a job: its timer, if it has one, its service, a launcher, hooks and commands."""
    # Imported here, so that showing a definition costs no schedules' code.
    from lunasched.formats import unittext
    from lunasched.schedule import ON_DEMAND
    from lunasched.units import commandchannels, concurrency

    timer = [] if job.schedule == ON_DEMAND else [unittext.timer_name(job.name)]
    launcher = [concurrency.started_unit(job)] if concurrency.has_launcher(job) else []
    hooks = [unittext.hook_name(job.name, event.value) for event in job.hooks.events()]
    hooks += commandchannels.channel_unit_names(job)
    return [*timer, *launcher, unittext.service_name(job.name), *hooks]


def _retries(retry: RetryPolicy) -> str:
    if retry.max_attempts == 1:
        return ""
    said = f"up to {retry.max_attempts} attempts, {retry.backoff.value}"
    said += f", {retry.initial_delay:g}s to {retry.max_delay:g}s apart"
    for codes, which in ((retry.retry_on, "only after"), (retry.no_retry_on, "not after")):
        if codes:
            said += f", {which} exit code {', '.join(map(str, codes))}"
    return said


def _hooks(hooks: Hooks) -> str:
    commands = {event.value: hooks.command(event) for event in hooks.events()}
    said = _lines(
        {event: printable.command_text(command or "") for event, command in commands.items()}
    )
    return f"{said}\n(at most {hooks.timeout:g}s each)" if said else ""


def _notifications(notifications: Notifications) -> str:
    told = {event.value: getattr(notifications, event.value) for event in NotifyEvent}
    lines = [
        f"{event}: {_channel(channel)}"
        for event, channels in told.items()
        for channel in channels or ()
    ]
    lines += [
        f"{event.value}: nobody"
        for event in (NotifyEvent.ON_RECOVERY, NotifyEvent.ON_OVERRUN)
        if getattr(notifications, event.value) == ()
    ]
    if notifications.heartbeat is not None:
        lines.append(f"heartbeat: {notifications.heartbeat.where}")
    if notifications.overrun_after != Notifications().overrun_after:
        lines.append(f"(an overrun after {notifications.overrun_after:g}s)")
    if notifications.every_failure:
        lines.append("(each failure)")
    elif notifications.remind_every != Notifications().remind_every:
        often = f"every {notifications.remind_every:g}s" if notifications.remind_every else "never"
        lines.append(f"(reminds {often})")
    return "\n".join(lines)


def _channel(channel: Channel) -> str:
    parts = [channel.type.value, channel.where]
    parts += [f"{name}={value}" for name, value in channel.headers]
    for name in ("token", "secret"):
        value = getattr(channel, name)
        if value is not None:
            parts.append(f"{name}={value}")
    return " ".join(parts)


def _mode(job: Job) -> str:
    if job.mode is ExecutionMode.PARALLEL and job.max_concurrent:
        return f"{job.mode.value}, at most {job.max_concurrent} at a time"
    if job.overlap is not Overlap.QUEUE:
        return f"{job.mode.value}, overlap: {job.overlap.value}"
    return job.mode.value if job.mode is not ExecutionMode.SEQUENTIAL else ""


def _lines(values: Mapping[str, bool | str | tuple[str, ...]]) -> str:
    return "\n".join(f"{key}={_value(value)}" for key, value in values.items())


def _value(value: bool | str | tuple[str, ...]) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else " ".join(value)
