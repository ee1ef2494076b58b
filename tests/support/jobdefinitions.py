"""Definitions of jobs that say everything, or anything, with the keys of the table."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from lunasched.jobs.keys import ARGUMENTS, CLAUSES, DIRECTIVES, GROUPS
from lunasched.jobs.keys import KEYS as FLAT
from lunasched.jobs.model import (
    Backoff,
    Channel,
    ChannelType,
    ExecutionMode,
    Hooks,
    Job,
    MailStyle,
    Notifications,
    Priority,
    ResourceLimits,
    RetryPolicy,
)

NESTED: dict[str, tuple[str, ...]] = {group: tuple(keys) for group, keys in GROUPS.items()}
"""The mappings that a job can have, each with its keys."""
KEYS: tuple[str, ...] = (*FLAT, *CLAUSES, ARGUMENTS, *GROUPS, DIRECTIVES)
"""The keys of a job that are in none of them, and the names of these."""

EVERY_KEY: dict[str, Any] = {
    "command": ["/bin/echo", "a b"],
    "user": "alice",
    "timezone": "Europe/Berlin",
    "timeout": "15m",
    "max_memory": "512M",
    "cpu_quota": "50%",
    "tasks_max": "20",
    "io_weight": 50,
    "kill_after": "250ms",
    "jitter": 30,
    "accuracy": 5,
    "env": {"A": "1", "B": "two words"},
    "working_directory": "/srv",
    "priority": "high",
    "tags": ["db", "night"],
    "enabled": False,
    "catch_up": True,
    "max_retries": 3,
    "backoff": "linear",
    "retry_delay": "30s",
    "retry_max_delay": "5m",
    "retry_on_exit_codes": "1,75",
    "no_retry_on_exit_codes": [2],
    "on_start": "logger started",
    "on_success": ["/bin/true", "a b"],
    "on_failure": "logger failed",
    "on_retry": "logger again",
    "hook_timeout": "2m",
    "notification_config": {
        "on_failure": [
            {"type": "EMAIL", "to": "ops@example.org", "subject": "broken", "body": "{{ what }}\n"},
            {"type": "Slack", "webhook_url": "https://hooks.example.org/s/1"},
        ],
        "on_success": {
            "type": "webhook",
            "url": "http://[::1]:80/x",
            "headers": {"X-A": "b"},
            "secret": "s3",
        },
        "on_start": [{"type": "discord", "webhook_url": "https://discord.example.org/d/1"}],
        "on_recovery": [],
        "on_skipped": {
            "type": "ntfy",
            "url": "https://ntfy.example.org/t",
            "token": "tk_1",
            "priority": 5,
        },
        "on_missed": [
            {"type": "exec", "command": ["/bin/mail", "a b"], "timeout": "10s"},
            {"type": "exec", "command": "wall < /dev/stdin"},
        ],
        "on_overrun": {"type": "email", "to": "night@example.org"},
        "on_output": {"type": "email", "to": "root", "style": "Cron"},
        "remind_every": "12h",
        "every_failure": True,
        "overrun_after": "1h",
        "heartbeat": "https://hc.example.org/ping/1",
    },
    "execution_mode": "PARALLEL",
    "overlap": "Queue",
    "max_concurrent": 4,
    "dependencies": ["dump", "mount"],
    "after": ["warm-up"],
    "sandbox": {"umask": "027", "private_tmp": True, "read_only_paths": ["/etc", "-/srv"]},
    "systemd": {"LimitNOFILE": 1024, "BindPaths": ["/a", "/b:/c"], "PrivateMounts": True},
}
EVERY_FIELD = Job(
    name="backup",
    schedule="every 1h",
    command=("/bin/echo", "a b"),
    user="alice",
    timezone="Europe/Berlin",
    limits=ResourceLimits(
        timeout=900,
        max_memory=512 << 20,
        cpu_quota=0.5,
        tasks_max=20,
        io_weight=50,
        kill_after=0.25,
    ),
    jitter=30,
    accuracy=5,
    environment=(("A", "1"), ("B", "two words")),
    working_directory="/srv",
    priority=Priority.HIGH,
    tags=("db", "night"),
    enabled=False,
    catch_up=True,
    retry=RetryPolicy(
        max_attempts=4,
        backoff=Backoff.LINEAR,
        initial_delay=30,
        max_delay=300,
        retry_on=(1, 75),
        no_retry_on=(2,),
    ),
    hooks=Hooks(
        on_start="logger started",
        on_success=("/bin/true", "a b"),
        on_failure="logger failed",
        on_retry="logger again",
        timeout=120,
    ),
    notifications=Notifications(
        on_start=(Channel(ChannelType.DISCORD, "https://discord.example.org/d/1"),),
        on_success=(
            Channel(ChannelType.WEBHOOK, "http://[::1]:80/x", headers=(("X-A", "b"),), secret="s3"),
        ),
        on_failure=(
            Channel(ChannelType.EMAIL, "ops@example.org", subject="broken", body="{{ what }}\n"),
            Channel(ChannelType.SLACK, "https://hooks.example.org/s/1"),
        ),
        on_recovery=(),
        on_skipped=(
            Channel(ChannelType.NTFY, "https://ntfy.example.org/t", token="tk_1", priority="max"),
        ),
        on_missed=(
            Channel(ChannelType.EXEC, ("/bin/mail", "a b"), timeout=10),
            Channel(ChannelType.EXEC, "wall < /dev/stdin"),
        ),
        on_overrun=(Channel(ChannelType.EMAIL, "night@example.org"),),
        on_output=(Channel(ChannelType.EMAIL, "root", style=MailStyle.CRON),),
        remind_every=43200,
        every_failure=True,
        overrun_after=3600,
        heartbeat=Channel(ChannelType.HEARTBEAT, "https://hc.example.org/ping/1"),
    ),
    mode=ExecutionMode.PARALLEL,
    max_concurrent=4,
    dependencies=("dump", "mount"),
    after=("warm-up",),
    sandbox=(("read_only_paths", ("/etc", "-/srv")), ("private_tmp", True), ("umask", "027")),
    directives=(
        ("BindPaths", ("/a", "/b:/c")),
        ("LimitNOFILE", "1024"),
        ("PrivateMounts", "yes"),
    ),
)

# What a parser of YAML can come up with.
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters() | st.sampled_from("0123456789.,:%KMGT \n-*/@"), max_size=20)
    | st.binary(max_size=3)
    | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3)
    ),
    max_leaves=4,
)


def definitions() -> st.SearchStrategy[dict[str, Any]]:
    """Any values for some keys, and for some keys of their mappings."""
    flat = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4)
    inner = st.one_of(
        [
            st.tuples(st.just(group), st.dictionaries(st.sampled_from(keys), VALUES, max_size=3))
            for group, keys in NESTED.items()
        ]
    )
    nested = st.lists(inner, max_size=2).map(dict)
    return st.tuples(flat, nested).map(lambda both: {**both[0], **both[1]})
