"""The one way to SMTP: a message is handed to the mail server, within a time limit."""

from __future__ import annotations

import base64
import smtplib
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from email.message import EmailMessage
from email.utils import parseaddr

from lunasched.errors import NotifyError
from lunasched.files import mailserver
from lunasched.files.settings import EmailSettings, Tls
from lunasched.notify import trust
from lunasched.notify.deadline import Deadline
from lunasched.notify.email import for_seven_bits
from lunasched.notify.message.output import subject_line
from lunasched.notify.secrets import hidden


def deliver(
    mail: EmailMessage, recipients: Sequence[str], settings: EmailSettings, timeout: float
) -> str:
    """Hand a message over, and return what the server answered, in one line.

    It is delivered if a recipient is taken; the answer says which are not. Raises ``NotifyError``.
    """
    if not settings.enabled:
        raise NotifyError("email is turned off: notifications.email.enabled", permanent=True)
    host, port, tls = mailserver.server_address(settings)
    with Deadline(timeout) as deadline:
        try:
            return _delivered(mail, recipients, settings, deadline)
        except (smtplib.SMTPException, OSError, ValueError, AttributeError) as error:
            # AttributeError: a connection that the deadline ended in the middle of a call.
            if deadline.is_over:
                raise NotifyError(
                    f"{host}:{port}: no answer within {timeout:g} s", unreachable=True
                ) from None
            if isinstance(error, AttributeError):
                raise
            raise _failed(f"{host}:{port}", error, settings, tls) from None


class _DeadlineSmtp(smtplib.SMTP):
    """A connection that the deadline ends, encrypted from the beginning with a context."""

    def __init__(
        self, host: str, port: int, deadline: Deadline, context: ssl.SSLContext | None
    ) -> None:
        self._deadline, self._context = deadline, context
        super().__init__(host, port, local_hostname=socket.gethostname(), timeout=deadline.seconds)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        made = socket.create_connection((host, port), timeout)
        self._deadline.watch(made)
        if self._context is None:
            return made
        return self._context.wrap_socket(made, server_hostname=host)


def _delivered(
    mail: EmailMessage, recipients: Sequence[str], settings: EmailSettings, deadline: Deadline
) -> str:
    host, port, tls = mailserver.server_address(settings)
    server = _DeadlineSmtp(host, port, deadline, trust.context() if tls is Tls.TLS else None)
    try:
        server.ehlo_or_helo_if_needed()
        encrypted = tls is Tls.TLS
        if tls is Tls.STARTTLS or (tls is None and server.has_extn("starttls")):
            if not server.has_extn("starttls"):
                raise NotifyError(f"{host}:{port} offers no STARTTLS", permanent=True)
            server.starttls(context=trust.context())
            server.ehlo()
            encrypted = True
        if settings.smtp_username:
            if not encrypted and tls is not Tls.NONE:
                raise NotifyError(
                    f"{host}:{port} offers no encryption, without which no password is sent; "
                    "to send it nevertheless, set notifications.email.tls to none",
                    permanent=True,
                )
            server.login(settings.smtp_username, settings.smtp_password or "")
        return _handed_over(server, mail, recipients)
    finally:
        with suppress(smtplib.SMTPException, OSError):
            server.quit()
        server.close()


def _handed_over(server: _DeadlineSmtp, mail: EmailMessage, recipients: Sequence[str]) -> str:
    sender = parseaddr(str(mail["From"]))[1]
    if "@" not in sender:
        # Not every server takes one without, as it stands in cron's mail.
        sender = f"{sender}@{socket.getfqdn()}"
    options = []
    if server.has_extn("8bitmime"):
        options = ["BODY=8BITMIME"]
    else:
        for_seven_bits(mail)
    code, said = server.mail(sender, options)
    if code != 250:
        raise smtplib.SMTPSenderRefused(code, said, sender)
    refused = {}
    for recipient in recipients:
        code, said = server.rcpt(recipient)
        if code not in (250, 251):
            refused[recipient] = (code, said)
    if len(refused) == len(recipients):
        raise smtplib.SMTPRecipientsRefused(refused)
    code, said = server.data(mail.as_bytes())
    if code != 250:
        raise smtplib.SMTPDataError(code, said)
    return "; ".join([_reply(code, said), *_refusals(refused)])


def _refusals(refused: dict[str, tuple[int, bytes]]) -> list[str]:
    return [f"{recipient} was refused: {_reply(*reply)}" for recipient, reply in refused.items()]


def _reply(code: int, said: bytes | str) -> str:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    return subject_line(f"{code} {text}", 200)


def _is_no_reply(error: smtplib.SMTPResponseException) -> bool:
    """Tell whether a server's answer is no SMTP; smtplib calls too long a line an error 500."""
    return error.smtp_code < 200 or error.smtp_error == "Line too long."


def _failed(
    place: str, error: BaseException, settings: EmailSettings, tls: Tls | None
) -> NotifyError:
    """Return the error in words; one that the server calls permanent is not retried."""
    password = settings.smtp_password or ""
    login = f"\0{settings.smtp_username}\0{password}"
    secrets = [password, *(base64.b64encode(one.encode()).decode() for one in (password, login))]
    match error:
        case smtplib.SMTPRecipientsRefused():
            said = "; ".join(_refusals(error.recipients))
            permanent = all(code >= 500 for code, _ in error.recipients.values())
        case smtplib.SMTPResponseException() if _is_no_reply(error):
            said, permanent = "the answer is not SMTP", False
        case smtplib.SMTPResponseException():
            said = _reply(error.smtp_code, error.smtp_error)
            permanent = error.smtp_code >= 500
        case smtplib.SMTPNotSupportedError():
            said, permanent = "it offers no supported way to log in", True
        case smtplib.SMTPServerDisconnected():
            said, permanent = "the connection was closed", False
        case ssl.SSLError():
            said, permanent = trust.refused(error), False
        case socket.gaierror():
            said, permanent = f"its name cannot be resolved: {error.strerror}", False
        case OSError():
            said, permanent = error.strerror or "no answer", False
        case _:
            said, permanent = "the answer is not SMTP", False
    unset = "" if settings.smtp_server else " (notifications.email.smtp_server is not set)"
    # smtplib's own exceptions carry the server's answer.
    unreachable = not isinstance(error, smtplib.SMTPException) and isinstance(error, OSError)
    return NotifyError(
        f"{place}: {hidden(said, secrets)}{unset}", permanent=permanent, unreachable=unreachable
    )
