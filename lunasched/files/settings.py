"""The configuration file: what lunasched itself is to do, and what jobs have in common.

Its sections are those of Lunasched 1.x in both of its layouts, ``global:`` of the YAML and
``[server]`` of the TOML. Settings without effect are accepted, with a warning that says what
took its place.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from enum import Enum
from pathlib import Path
from typing import Any

from lunasched import errors
from lunasched.dataclass import dataclass
from lunasched.errors import InvalidInput, InvalidJob, PermissionDenied
from lunasched.formats.document import BYTES_MAX, Document, Format, read_document
from lunasched.formats.pattern import pattern
from lunasched.jobs import channels
from lunasched.jobs import values as values
from lunasched.jobs.reading import NO_DEFAULTS, Defaults, defaults_from_mapping, dotted

_DAYS_MAX = 36500
_ROWS_MAX = 1_000_000_000
_HOST = pattern(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?\Z")


@dataclass(frozen=True, slots=True)
class Retention:
    """The limits of the history that is kept; 0 is no limit."""

    history_days: int = 90
    max_history_per_job: int = 10_000


class Tls(Enum):
    """The encryption of the connection to the mail server."""

    NONE = "none"
    STARTTLS = "starttls"
    TLS = "tls"


@dataclass(frozen=True, slots=True)
class EmailSettings:
    """The settings for sending email."""

    enabled: bool = True
    smtp_server: str | None = None
    smtp_port: int | None = None
    smtp_username: str | None = None
    smtp_password: str | None = None
    from_address: str | None = None
    tls: Tls | None = None
    """``None``: by the port, and by what the server offers."""


@dataclass(frozen=True, slots=True)
class WebSettings:
    """The address of the status page, and the rules for who may see it."""

    enabled: bool = False
    """Off unless it is turned on: another program of the machine may need the port."""
    address: str = "127.0.0.1"
    port: int = 8080
    hosts: tuple[str, ...] = ()
    """Names of the machine, or of a proxy, that browsers use."""
    show_output: bool = False
    """True if everyone who sees the page sees outputs, not only those who may read the journal."""


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """The destinations of metrics besides the status page's server."""

    textfile: Path | None = None
    """For the textfile collector of Prometheus's node_exporter."""
    duration_ms: bool = True
    """True if the one metric of 1.x that is not as Prometheus wants it is among them."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The content of the configuration file."""

    max_concurrent_jobs: int = 0
    """The most runs of jobs in progress at the same time; 0 is no limit."""
    default_timezone: str | None = None
    """The zone of jobs that name none; ``None`` is the host's."""
    retention: Retention = Retention()
    email: EmailSettings = EmailSettings()
    max_notifications_per_hour: int = 30
    """Notifications to a channel within an hour, at most; 0 means no limit."""
    web: WebSettings = WebSettings()
    metrics: MetricsSettings = MetricsSettings()
    defaults: Defaults = NO_DEFAULTS
    """The keys of jobs that do not set them, the time zone included."""

    @classmethod
    def load(cls, path: Path, environ: Mapping[str, str]) -> Settings:
        """Read the file; where there is none, everything has its default.

        What ``environ`` has takes the place of what is in a credential of the unit
        (``CREDENTIALS_DIRECTORY``, systemd.exec(5)), and that of what the file says.
        Raises ``InvalidInput`` with all that is wrong in it.
        """
        try:
            with path.open("rb") as file:
                content = file.read(BYTES_MAX + 1)
        except FileNotFoundError:
            return _with_surroundings(cls(), environ)
        except PermissionError:
            raise PermissionDenied(
                f"{path} cannot be read by this user; run as root, or use --user for your own jobs"
            ) from None
        except OSError as error:
            raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
        found = of_document(read_document(content, str(path), Format.YAML)).settings
        return _with_surroundings(found, environ)


@dataclass(frozen=True, slots=True)
class SettingKey:
    """The target of a setting: a field of ``Settings``, or after a dot of one of its parts."""

    field: str
    read: Callable[[object], Any]
    about: str


def read_ip_address(value: object) -> str:
    """An address to listen at."""
    try:
        return str(ipaddress.ip_address(values.read_text(value).strip()))
    except ValueError:
        raise InvalidInput(f"{value!r} is not an IP address, such as 127.0.0.1 or ::1") from None


def read_hosts(value: object) -> tuple[str, ...]:
    """Names of a host, without a port."""
    if not isinstance(value, (list, tuple)):
        raise InvalidInput("it must be a list of names of this host")
    names = tuple(values.read_text(name).strip().lower().rstrip(".") for name in value)
    for name in names:
        if not _HOST.match(name):
            raise InvalidInput(f"{name!r} is not a name of a host, such as cron.example.org")
    return names


def read_textfile(value: object) -> Path:
    """A file that node_exporter reads: its suffix must be ``.prom``."""
    path = Path(values.read_text(value))
    if not path.is_absolute() or path.suffix != ".prom" or "\0" in str(path):
        raise InvalidInput(f"{value!r} is not an absolute path that ends in .prom")
    return path


_LIMIT = SettingKey(
    "max_concurrent_jobs",
    values.Whole(0, 1 << 20),
    "Concurrent runs of all jobs, at most; 0 means no limit.",
)

SECTIONS: Mapping[str, Mapping[str, SettingKey]] = {
    "global": {
        "max_concurrent_jobs": _LIMIT,
        "default_timezone": SettingKey(
            "default_timezone", values.read_timezone, "Time zone of jobs that name none."
        ),
    },
    "server": {"max_concurrent_jobs": _LIMIT},
    "retention": {
        "history_days": SettingKey(
            "retention.history_days",
            values.Whole(0, _DAYS_MAX),
            "Days to keep runs in the history; 0 keeps them for ever.",
        ),
        "max_history_per_job": SettingKey(
            "retention.max_history_per_job",
            values.Whole(0, _ROWS_MAX),
            "Runs of a job to keep in the history, at most; 0 means no limit.",
        ),
    },
    "logging": {},
    "notifications": {
        "max_per_hour": SettingKey(
            "max_notifications_per_hour",
            values.Whole(0, 100_000),
            "Notifications to a channel within an hour, at most; 0 means no limit.",
        ),
    },
    "notifications.email": {
        "enabled": SettingKey("email.enabled", values.read_boolean, "Send email."),
        "smtp_server": SettingKey(
            "email.smtp_server", channels.read_line, "Host of the mail server."
        ),
        "smtp_port": SettingKey("email.smtp_port", values.Whole(1, 65535), "Its port."),
        "smtp_username": SettingKey(
            "email.smtp_username", channels.read_line, "Name to log in with."
        ),
        "smtp_password": SettingKey("email.smtp_password", channels.read_secret, "Password."),
        "from_address": SettingKey("email.from_address", channels.read_sender, "Sender."),
        "tls": SettingKey("email.tls", values.OneOf(Tls, "kind of encryption"), "Encryption."),
    },
    "web": {
        "enabled": SettingKey("web.enabled", values.read_boolean, "Serve the status page."),
        "address": SettingKey("web.address", read_ip_address, "IP address that it listens at."),
        "port": SettingKey("web.port", values.Whole(1, 65535), "Its port."),
        "hosts": SettingKey("web.hosts", read_hosts, "Further host names that it answers to."),
        "show_output": SettingKey(
            "web.show_output",
            values.read_boolean,
            "Show the output of jobs to everybody who can open the page.",
        ),
    },
    "metrics": {
        "textfile": SettingKey(
            "metrics.textfile",
            read_textfile,
            "File to write metrics to as well, for node_exporter's textfile collector.",
        ),
        "duration_ms": SettingKey(
            "metrics.duration_ms",
            values.read_boolean,
            "Include lunasched_job_duration_ms of Lunasched 1.x.",
        ),
    },
}
"""The settings of each section."""

SURROUNDINGS: Mapping[str, tuple[str, str]] = {
    "LUNASCHED_SMTP_SERVER": ("smtp-server", "smtp_server"),
    "LUNASCHED_SMTP_PORT": ("smtp-port", "smtp_port"),
    "LUNASCHED_SMTP_USERNAME": ("smtp-username", "smtp_username"),
    "LUNASCHED_SMTP_PASSWORD": ("smtp-password", "smtp_password"),
    "LUNASCHED_EMAIL_FROM": ("email-from", "from_address"),
}
"""Variables of the environment, the credentials that say the same, and the settings of email."""


def _with_surroundings(settings: Settings, environ: Mapping[str, str]) -> Settings:
    chosen = {}
    directory = environ.get("CREDENTIALS_DIRECTORY")
    for variable, (credential, name) in SURROUNDINGS.items():
        text, source = environ.get(variable), variable
        if not text and directory:
            text, source = _credential(Path(directory, credential)), f"credential {credential}"
        if text:
            try:
                chosen[name] = SECTIONS["notifications.email"][name].read(text)
            except InvalidInput as error:
                raise InvalidInput(f"{source}: {error}") from None
    return replace(settings, email=replace(settings.email, **chosen)) if chosen else settings


def _credential(path: Path) -> str | None:
    """Return the content of a credential, without the line break that an editor leaves."""
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidInput(f"credential {path.name} cannot be read: {reason}") from None


_NO_SOCKET = "there is no socket any more; commands use the database and systemd"
_THE_LOG = "the log is the journal: journalctl -u lunasched"
_THE_DATABASE = "the database is where LUNASCHED_DB_PATH says, see lunasched(1)"

OBSOLETE: Mapping[str, Mapping[str, str]] = {
    "global": {
        "database_path": _THE_DATABASE,
        "daemon_log": _THE_LOG,
        "jobs_log": "the output of jobs is in the journal: journalctl -u lunasched-job@NAME",
        "socket_path": _NO_SOCKET,
    },
    "server": {
        "tick_interval_ms": "systemd's timers elapse by themselves, nothing looks for jobs",
        "data_dir": _THE_DATABASE,
        "socket_path": _NO_SOCKET,
    },
    "logging": dict.fromkeys(("level", "format", "output"), _THE_LOG),
}
"""Settings of Lunasched 1.x that have no meaning any more, and why."""

DEFAULTS = "defaults"
JOBS = "jobs"
SCHEMA = "$schema"
"""The key by which editors find the schema of a file; lunasched ignores it."""
EXTENSION = "x-"
"""The prefix of keys that are for the file's author alone, such as those that hold anchors."""


@dataclass(frozen=True, slots=True)
class Read:
    """The content of a file apart from its jobs."""

    settings: Settings
    present: tuple[str, ...] = ()
    """The settings that it has, other than those for its own jobs."""
    warnings: tuple[str, ...] = ()


def of_document(document: Document, base: Defaults = NO_DEFAULTS) -> Read:
    """The settings in a file, and ``defaults`` on top of ``base``.

    Raises ``InvalidJob`` with all that is wrong, each as ``file:line: section.key: message``.
    """
    reader = _Reader(document)
    reader.take_all(document.value)
    settings = reader.settings()
    zone = settings.default_timezone
    if zone is not None:
        base = Defaults(
            {**base.fields, "timezone": zone}, {**base.labels, "timezone": "default_timezone"}
        )
    defaults = base
    content = document.value if isinstance(document.value, Mapping) else {}
    try:
        defaults = defaults_from_mapping(
            content.get(DEFAULTS),
            base=base,
            label=lambda path: dotted((DEFAULTS, *path)),
            place=lambda path: reader.place((DEFAULTS, *path)),
        )
    except InvalidJob as error:
        reader.problems += error.problems
    if reader.problems:
        raise InvalidJob(reader.problems)
    return Read(replace(settings, defaults=defaults), tuple(reader.present), tuple(reader.warnings))


@dataclass
class _Reader:
    document: Document
    fields: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    present: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def place(self, path: tuple[str | int, ...]) -> str:
        return f"{self.document.source}:{self.document.line(path)}: "

    def _blame(self, path: tuple[str, ...], message: str) -> None:
        self.problems.append(f"{self.place(path)}{dotted(path)}: {message}")

    def take_all(self, content: object) -> None:
        if content is not None and not isinstance(content, Mapping):
            self.problems.append(
                f"{self.place(())}a file has keys such as jobs: and defaults: at its beginning"
            )
            return
        top = {section.partition(".")[0] for section in SECTIONS}
        for key, value in (content or {}).items():
            if key in (DEFAULTS, JOBS, SCHEMA) or key.startswith(EXTENSION):
                continue
            if key in top:
                self._take(key, value, (key,))
                continue
            hint = errors.near(key, (DEFAULTS, JOBS, *top))
            self._blame((key,), f"there is no such section{hint}")

    def _take(self, section: str, value: object, path: tuple[str, ...]) -> None:
        if value is None:
            return
        if not isinstance(value, Mapping):
            self._blame(path, "it must be a mapping of keys to values")
            return
        for key, content in value.items():
            inner = f"{section}.{key}"
            if any(known == inner or known.startswith(f"{inner}.") for known in SECTIONS):
                self._take(inner, content, (*path, key))
            elif key in OBSOLETE.get(section, {}):
                why = OBSOLETE[section][key]
                self.warnings.append(
                    f"{self.place((*path, key))}{inner}: it no longer has an effect: {why}"
                )
            else:
                self._take_one(section, key, content, (*path, key))

    def _take_one(self, section: str, key: str, value: object, path: tuple[str, ...]) -> None:
        known = SECTIONS.get(section, {})
        if key not in known:
            inside = [name.rpartition(".")[2] for name in SECTIONS if name.startswith(section)]
            hint = errors.near(key, (*known, *OBSOLETE.get(section, {}), *inside))
            self._blame(path, f"there is no such setting{hint}")
            return
        if value is None:
            return
        target = known[key].field
        try:
            read = known[key].read(value)
        except InvalidInput as error:
            self._blame(path, str(error))
            return
        if target in self.fields and self.fields[target] != read:
            self._blame(path, f"{self.labels[target]} has another value; keep one")
            return
        self.fields[target], self.labels[target] = read, dotted(path)
        if target != "default_timezone":
            self.present.append(dotted(path))

    def settings(self) -> Settings:
        parts: dict[str, dict[str, Any]] = {
            "retention": {}, "email": {}, "web": {}, "metrics": {}, "": {}
        }  # fmt: skip
        for target, value in self.fields.items():
            part, _, name = target.rpartition(".")
            parts[part][name] = value
        return Settings(
            retention=Retention(**parts["retention"]),
            email=EmailSettings(**parts["email"]),
            web=WebSettings(**parts["web"]),
            metrics=MetricsSettings(**parts["metrics"]),
            **parts[""],
        )
