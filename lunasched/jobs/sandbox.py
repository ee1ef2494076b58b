"""The sandbox of a job: one table of options, each a directive of systemd.exec(5).

The table is what the job file reads, what the compiler writes and what lunasched(1) lists.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from enum import Enum

from lunasched.dataclass import dataclass
from lunasched.errors import InvalidInput
from lunasched.formats import unittext
from lunasched.formats.unittext import UnitText
from lunasched.paths import Mode

Value = bool | str | tuple[str, ...]

WORDS_FOR_BOOLEANS = {
    **dict.fromkeys(("yes", "true", "on", "1"), True),
    **dict.fromkeys(("no", "false", "off", "0"), False),
}


class UserMode(Enum):
    """The support for an option by the manager of an ordinary user, as tried with systemd 252."""

    WORKS = "works"
    """As for the system's jobs."""
    NAMESPACE = "namespace"
    """Silently nothing, unless ``PrivateUsers=`` gives it a namespace of its own."""
    NEEDLESS = "needless"
    """Refused or without effect, where it forbids what only root may do."""
    FAILS = "fails"
    """Without effect, where it would have been one."""


@dataclass(frozen=True, slots=True)
class ValueKind:
    """The values that an option takes: how one is read, and how a unit file says it."""

    read: Callable[[object], Value]
    write: Callable[[str], UnitText] = unittext.plain


@dataclass(frozen=True, slots=True)
class Option:
    """One row of the table."""

    directive: str
    kind: ValueKind
    user_mode: UserMode


def directives(
    sandbox: Iterable[tuple[str, Value]], mode: Mode
) -> tuple[list[tuple[UnitText, UnitText]], list[str]]:
    """The lines of ``[Service]`` for a job's options, and warnings.

    Raises ``InvalidInput`` where the mode cannot keep what an option promises.
    """
    chosen, warnings = dict(sandbox), []
    if mode is Mode.USER:
        warnings = _fit_user_mode(chosen)
    lines = []
    for key, option in OPTIONS.items():
        if key in chosen:
            name = UnitText(option.directive)
            lines += [(name, text) for text in _texts(option.kind, chosen[key])]
    return lines, warnings


def _fit_user_mode(chosen: dict[str, Value]) -> list[str]:
    """Leave out what an ordinary user may not do anyway, and add the namespace that others need."""
    warnings = []
    wanted = [key for key, value in chosen.items() if value is not False]
    for key in wanted:
        match OPTIONS[key].user_mode:
            case UserMode.FAILS:
                raise InvalidInput(
                    f"sandbox.{key}: systemd has it for the system's jobs only; "
                    "leave it out, or use --system as root"
                )
            case UserMode.NEEDLESS:
                del chosen[key]
                warnings.append(
                    f"sandbox.{key}: left out in user mode, where a job has no such rights anyway"
                )
            case UserMode.NAMESPACE if chosen.setdefault("private_users", True) is False:
                raise InvalidInput(f"sandbox.{key}: in user mode it needs private_users")
    return warnings


def _texts(kind: ValueKind, value: Value) -> list[UnitText]:
    if isinstance(value, bool):
        return [UnitText("yes" if value else "no")]
    return [kind.write(word) for word in ((value,) if isinstance(value, str) else value)]


def read_systemd_boolean(value: object) -> bool:
    """True or false, also as the words that systemd has for them."""
    if isinstance(value, str):
        value = WORDS_FOR_BOOLEANS.get(value.strip().lower(), value)
    if not isinstance(value, bool):
        raise InvalidInput(f"{value!r} is neither true nor false")
    return value


@dataclass(frozen=True, slots=True)
class Choice:
    """A reader of one of a few words, or of true and false, too."""

    words: tuple[str, ...]
    boolean: bool = True

    def __call__(self, value: object) -> Value:
        text = value.strip().lower() if isinstance(value, str) else value
        if isinstance(text, str) and text in self.words:
            return text
        if self.boolean and (isinstance(text, bool) or str(text) in WORDS_FOR_BOOLEANS):
            return read_systemd_boolean(text)
        known = ("true", "false", *self.words) if self.boolean else self.words
        raise InvalidInput(f"{value!r} is none of {', '.join(known)}")


def _list(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, (list, tuple)) and value and all(isinstance(each, str) for each in value):
        return tuple(dict.fromkeys(value))
    raise InvalidInput(f"{value!r} is neither a text nor a list of texts")


def read_paths(value: object) -> tuple[str, ...]:
    paths = _list(value)
    for path in paths:
        try:
            unittext.listed_path(path)
        except InvalidInput as error:
            raise InvalidInput(f"{path!r}: {error}") from None
    return paths


@dataclass(frozen=True, slots=True)
class Words:
    """A reader of a list of words, each a line of its own, so that each can be negated."""

    pattern: str
    what: str
    boolean: bool = False
    """True if it may be true or false instead."""

    def __call__(self, value: object) -> Value:
        if self.boolean and (isinstance(value, bool) or str(value).lower() in WORDS_FOR_BOOLEANS):
            return read_systemd_boolean(value)
        words = _list(value)
        for word in words:
            known = re.fullmatch(self.pattern, word, re.ASCII)
            if not known or (word == "none" and len(words) > 1):
                raise InvalidInput(f"{word!r} is not {self.what}")
        return words


def read_mask(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"0?[0-7]{3}", value, re.ASCII):
        raise InvalidInput(f"{value!r} is not a mask; write three octal digits in quotes: '027'")
    return value


def _capability(word: str) -> UnitText:
    return UnitText("") if word == "none" else unittext.plain(word)


_BOOLEAN = ValueKind(read_systemd_boolean)
_PATHS = ValueKind(read_paths, unittext.listed_path)
_CAPABILITIES = ValueKind(
    Words(r"~?CAP_[A-Z_]+|none", "a capability such as CAP_CHOWN or ~CAP_SYS_ADMIN, or none"),
    _capability,
)

OPTIONS: Mapping[str, Option] = {
    "read_only_paths": Option("ReadOnlyPaths", _PATHS, UserMode.NAMESPACE),
    "read_write_paths": Option("ReadWritePaths", _PATHS, UserMode.NAMESPACE),
    "inaccessible_paths": Option("InaccessiblePaths", _PATHS, UserMode.NAMESPACE),
    "no_exec_paths": Option("NoExecPaths", _PATHS, UserMode.NAMESPACE),
    "exec_paths": Option("ExecPaths", _PATHS, UserMode.NAMESPACE),
    "private_tmp": Option("PrivateTmp", _BOOLEAN, UserMode.NAMESPACE),
    "private_devices": Option("PrivateDevices", _BOOLEAN, UserMode.NAMESPACE),
    "private_network": Option("PrivateNetwork", _BOOLEAN, UserMode.NAMESPACE),
    "private_ipc": Option("PrivateIPC", _BOOLEAN, UserMode.NAMESPACE),
    "private_users": Option("PrivateUsers", _BOOLEAN, UserMode.WORKS),
    "protect_home": Option(
        "ProtectHome", ValueKind(Choice(("read-only", "tmpfs"))), UserMode.NAMESPACE
    ),
    "protect_system": Option(
        "ProtectSystem", ValueKind(Choice(("full", "strict"))), UserMode.NAMESPACE
    ),
    "protect_proc": Option(
        "ProtectProc",
        ValueKind(Choice(("noaccess", "invisible", "ptraceable", "default"), boolean=False)),
        UserMode.FAILS,
    ),
    "protect_kernel_tunables": Option("ProtectKernelTunables", _BOOLEAN, UserMode.NEEDLESS),
    "protect_kernel_modules": Option("ProtectKernelModules", _BOOLEAN, UserMode.NEEDLESS),
    "protect_kernel_logs": Option("ProtectKernelLogs", _BOOLEAN, UserMode.NEEDLESS),
    "protect_control_groups": Option("ProtectControlGroups", _BOOLEAN, UserMode.NAMESPACE),
    "protect_clock": Option("ProtectClock", _BOOLEAN, UserMode.NEEDLESS),
    "protect_hostname": Option("ProtectHostname", _BOOLEAN, UserMode.NEEDLESS),
    "no_new_privileges": Option("NoNewPrivileges", _BOOLEAN, UserMode.WORKS),
    "restrict_suid_sgid": Option("RestrictSUIDSGID", _BOOLEAN, UserMode.WORKS),
    "restrict_realtime": Option("RestrictRealtime", _BOOLEAN, UserMode.WORKS),
    "restrict_namespaces": Option(
        "RestrictNamespaces",
        ValueKind(Words(r"~?(?:cgroup|ipc|net|mnt|pid|user|uts)", "a namespace", boolean=True)),
        UserMode.WORKS,
    ),
    "restrict_address_families": Option(
        "RestrictAddressFamilies",
        ValueKind(Words(r"~?AF_[A-Z0-9]+|none", "a family of addresses such as AF_UNIX, or none")),
        UserMode.WORKS,
    ),
    "lock_personality": Option("LockPersonality", _BOOLEAN, UserMode.WORKS),
    "memory_deny_write_execute": Option("MemoryDenyWriteExecute", _BOOLEAN, UserMode.WORKS),
    "system_call_filter": Option(
        "SystemCallFilter",
        ValueKind(
            Words(r"~?@?[a-z0-9_-]+(?::(?:[A-Z0-9]+|[0-9]+))?", "a system call or a group of them")
        ),
        UserMode.WORKS,
    ),
    "capability_bounding_set": Option("CapabilityBoundingSet", _CAPABILITIES, UserMode.NEEDLESS),
    "umask": Option("UMask", ValueKind(read_mask), UserMode.WORKS),
}
"""Key of a job file, directive, kind of value, and what becomes of it in user mode."""
