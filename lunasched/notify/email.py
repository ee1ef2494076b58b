"""Email (RFC 5322)."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta, timezone
from email.header import Header
from email.headerregistry import Address, HeaderRegistry
from email.message import EmailMessage
from email.policy import EmailPolicy
from email.utils import format_datetime

from lunasched import __version__
from lunasched.files.settings import EmailSettings
from lunasched.formats.unittext import uuid
from lunasched.history.report import ReportKind
from lunasched.jobs.model import Channel, MailStyle
from lunasched.notify.message import SUBJECT_MAX, Message
from lunasched.notify.message.output import clean, subject_line

# Bytes of a line without its end (RFC 5321, 4.5.3.1.6).
_LINE_MAX = 998
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

# Headers that are texts of people.
_TEXTS = ("Subject", "X-Cron-Env", "X-Lunasched-Host", "X-Lunasched-Job")


class _Policy(EmailPolicy):
    """SMTP's, with texts in words of RFC 2047 that hold the spaces between them.

    The library's own folding loses a space where it begins a line (seen with Python 3.11).
    """

    def fold_binary(self, name: str, value: str) -> bytes:
        """Return the lines of a header."""
        text = str(value)
        if name not in _TEXTS or (text.isascii() and "=?" not in text):
            return super().fold_binary(name, value)
        words = Header(text, "utf-8", header_name=name).encode(linesep=self.linesep)
        return f"{name}: {words}{self.linesep}".encode("ascii")


_POLICY = _Policy(linesep="\r\n")


# Its headers are kept as they are written: cron's have comments in addresses.
_CRON_POLICY = _Policy(
    linesep="\r\n",
    header_factory=HeaderRegistry(use_default_map=False),
    max_line_length=_LINE_MAX,
)


def build(
    channel: Channel, message: Message, *, key: str, settings: EmailSettings, host: str
) -> EmailMessage:
    """The message as an email; ``host`` is the machine's full name."""
    report = message.report
    if channel.style is MailStyle.CRON and report.kind is ReportKind.OUTPUT:
        return _as_cron(channel, message, key=key, settings=settings, host=host)
    mail = EmailMessage(policy=_POLICY)
    mail["From"] = _address(settings.from_address or f"lunasched@{host}", "lunasched")
    mail["To"] = [_address(one) for one in recipients(channel)]
    mail["Subject"] = subject_line(message.subject, SUBJECT_MAX)
    mail["Date"] = format_datetime(_EPOCH + timedelta(microseconds=report.at))
    mail["Message-ID"] = _message_id(key, host)
    # No machine answers to it (RFC 3834).
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    mail["X-Mailer"] = f"lunasched {__version__}"
    mail["X-Lunasched-Host"] = subject_line(report.host, SUBJECT_MAX)
    mail["X-Lunasched-Event"] = report.kind.event.value if report.kind.event else report.kind.value
    if report.job:
        mail["X-Lunasched-Job"] = subject_line(report.job, SUBJECT_MAX)
    if report.execution_id:
        mail["X-Lunasched-Execution-Id"] = uuid(report.execution_id)
    mail.set_content(message.text, cte=_encoding(message.text))
    return mail


def _as_cron(
    channel: Channel, message: Message, *, key: str, settings: EmailSettings, host: str
) -> EmailMessage:
    """The mail that cron(8) of Debian sends: the output, and the job in the headers."""
    report = message.report
    variables = dict(report.environment)
    mail = EmailMessage(policy=_CRON_POLICY)
    sender = f"{settings.from_address or 'root'} (Cron Daemon)"
    mail["From"] = _one_line(variables.get("MAILFROM") or sender)
    mail["To"] = ", ".join(recipients(channel))
    named = f"Cron <{report.user}@{report.host.partition('.')[0]}> {report.command}"
    mail["Subject"] = message.subject if channel.subject else _one_line(named)
    mail["Date"] = format_datetime(_EPOCH + timedelta(microseconds=report.at))
    mail["Message-ID"] = _message_id(key, host)
    mail["MIME-Version"] = "1.0"
    text = message.text if message.custom else report.output
    mail.set_content(text, cte="8bit" if _encoding(text) == "7bit" else _encoding(text))
    # A command that says what it prints.
    kind = _one_line(variables.get("CONTENT_TYPE", ""))
    mail.replace_header("Content-Type", kind or "text/plain; charset=UTF-8")
    if kind and (encoding := _one_line(variables.get("CONTENT_TRANSFER_ENCODING", ""))):
        mail.replace_header("Content-Transfer-Encoding", encoding)
    for name, value in report.environment:
        mail["X-Cron-Env"] = _one_line(f"<{name}={value}>")
    return mail


def _one_line(text: str) -> str:
    """A text as a header can hold it: all of it, with a space for what would end the line."""
    return " ".join(clean(text).splitlines())


def _message_id(key: str, host: str) -> str:
    """The same for the same notification, so that a copy can be recognised."""
    return f"<{hashlib.sha256(key.encode()).hexdigest()[:32]}@lunasched.{host}>"


def for_seven_bits(mail: EmailMessage) -> None:
    """Make a mail one that every server takes, as readable as that can be."""
    if mail["Content-Transfer-Encoding"] == "8bit":
        mail.set_content(mail.get_content(), cte="quoted-printable")


def _encoding(text: str) -> str:
    """Return the encoding for a mail that people read in a spool: none, where that is allowed.

    Left to choose for itself, the library writes all of it in base64.
    """
    if any(len(line) > _LINE_MAX for line in text.encode().splitlines()):
        return "quoted-printable"
    return "7bit" if text.isascii() else "8bit"


def _address(text: str, name: str = "") -> Address:
    """An address; a user of the mail server's own has no host."""
    user, _, host = text.rpartition("@") if "@" in text else (text, "", "")
    return Address(name, user, host)


def recipients(channel: Channel) -> list[str]:
    """The addresses of a channel."""
    return [one.strip() for one in channel.where.split(",")]
