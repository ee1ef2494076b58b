"""Email, handed to real mail servers on loopback: how it looks, how it is encrypted, what fails."""

from __future__ import annotations

import dataclasses
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.header import decode_header
from email.message import EmailMessage
from email.policy import compat32, default
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peers import Authority, Mailbox, mail_server
from reports import REPORT

from lunasched import notify
from lunasched.errors import NotifyError
from lunasched.files.settings import EmailSettings, Tls
from lunasched.history.report import Report, ReportKind
from lunasched.jobs.model import Channel, ChannelType, MailStyle
from lunasched.notify import email as emails
from lunasched.notify import send
from lunasched.notify.message import compose

TIMEOUT = 30.0
TO = Channel(ChannelType.EMAIL, "ops@example.org")


def server(port: int, **changes: Any) -> EmailSettings:
    return EmailSettings(smtp_server="127.0.0.1", smtp_port=port, **changes)


def sent(
    settings: EmailSettings,
    channel: Channel = TO,
    report: Report = REPORT,
    timeout: float = TIMEOUT,
) -> str:
    message = compose(report, channel)
    return send(channel, message, key="k-1", settings=settings, timeout=timeout)


def text_of(mail: EmailMessage) -> str:
    return str(mail.get_content()).replace("\r\n", "\n")


def failed(settings: EmailSettings, channel: Channel = TO, timeout: float = TIMEOUT) -> NotifyError:
    with pytest.raises(NotifyError) as caught:
        sent(settings, channel, timeout=timeout)
    assert "SECRET" not in str(caught.value)
    return caught.value


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """An authority that the system trusts."""
    made = Authority.make(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.file))
    return made


def test_how_an_email_looks() -> None:
    box = Mailbox()
    channel = Channel(ChannelType.EMAIL, "ops@example.org, root")
    report = dataclasses.replace(REPORT, job="größe\N{PILE OF POO}", output="x" * 3000 + "\né")
    with mail_server(box) as port:
        assert sent(server(port), channel, report) == "250 queued"
        sent(server(port, from_address="cron@example.org"), channel, report)
    first, second = box.mails
    assert first.envelope.rcpt_tos == ["ops@example.org", "root"]
    assert first.envelope.mail_from == f"lunasched@{socket.getfqdn()}"
    head = (first.envelope.original_content or b"").partition(b"\r\n\r\n")[0]
    assert head.isascii()
    mail = first.message
    assert str(mail["Subject"]) == "größe\N{PILE OF POO} failed on web1: exit code 3"
    assert str(mail["To"]) == "ops@example.org, root"
    assert str(mail["From"]) == f"lunasched <lunasched@{socket.getfqdn()}>"
    assert mail["Date"] == "Mon, 24 Nov 2025 16:03:04 +0000"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["X-Lunasched-Job"] == "größe\N{PILE OF POO}"
    assert mail["X-Lunasched-Event"] == "on_failure"
    assert mail["X-Lunasched-Host"] == "web1"
    assert mail["X-Lunasched-Execution-Id"] == "01234567-89ab-cdef-0123-456789abcdef"
    assert mail.get_content_type() == "text/plain"
    assert "Result:       exit code 3\n" in text_of(mail)
    assert mail["Message-ID"]
    assert second.message["Message-ID"] == mail["Message-ID"]
    assert str(second.message["From"]) == "lunasched <cron@example.org>"
    assert second.envelope.mail_from == "cron@example.org"


READABLE = ["größe", "Пример", "naïve café", "表示", "plain", "a=b =C3", ".", "From here on"]


@pytest.mark.parametrize("seven_bits", [False, True])
def test_who_reads_a_spool_can_read_it(seven_bits: bool) -> None:
    """In 8 bits as it is; where the server takes 7, all but single characters."""
    box = Mailbox(seven_bits=seven_bits)
    output = "\n".join(READABLE)
    long = ("x" * 3000, f"{'ü' * 600}")
    with mail_server(box) as port:
        for text in (output, "plain"):
            sent(server(port), report=dataclasses.replace(REPORT, output=text))
        for text in long:
            sent(server(port), Channel(ChannelType.EMAIL, "a@b", body=text))
    mails = [(mail.envelope.original_content or b"", mail.message) for mail in box.mails]
    for raw, mail in mails:
        assert mail["Content-Transfer-Encoding"] != "base64"
        assert max(map(len, raw.splitlines())) <= 998
        assert raw.isascii() or not seven_bits
    (raw, mail), (plain, _), *folded = mails
    assert b"Result:       exit code 3\r\n" in raw
    assert [text_of(one).strip() for _, one in folded] == [*long]
    assert {one["Content-Transfer-Encoding"] for _, one in folded} == {"quoted-printable"}
    if seven_bits:
        assert mail["Content-Transfer-Encoding"] == "quoted-printable"
        assert b"gr=C3=B6=C3=9Fe" in raw
    else:
        assert mail["Content-Transfer-Encoding"] == "8bit"
        # A line that begins with a dot has one more on its way, which the server takes off.
        assert all(f"    {line}".encode() in raw for line in READABLE)
        assert box.mails[0].envelope.smtp_utf8 is False
    assert all(f"    {line}" in text_of(mail).splitlines() for line in READABLE)
    assert plain.isascii()


CRON = dataclasses.replace(
    REPORT,
    kind=ReportKind.OUTPUT,
    output="größe\n50%\r100%\n\n  end",
    user="alice",
    command="cd /srv && " + "x" * 200 + "  %n\r\nBcc: x@y",
    environment=(("SHELL", "/bin/sh"), ("MAILTO", "ops")),
)


@pytest.mark.parametrize("seven_bits", [False, True])
def test_what_cron_would_mail(seven_bits: bool) -> None:
    box = Mailbox(seven_bits=seven_bits)
    channel = Channel(ChannelType.EMAIL, "ops, root@b.example", style=MailStyle.CRON)
    with mail_server(box) as port:
        sent(server(port), channel, CRON)
        sent(server(port, from_address="cron@example.org"), channel, CRON)
    first, second = box.mails
    assert first.envelope.rcpt_tos == ["ops", "root@b.example"]
    assert first.envelope.mail_from == f"root@{socket.getfqdn()}"
    head, _, body = (first.envelope.original_content or b"").partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith((b"Date", b"Message-ID"))]
    about = [
        b"From: root (Cron Daemon)",
        b"To: ops, root@b.example",
        b"Subject: Cron <alice@web1> cd /srv && " + b"x" * 200 + b"  %n Bcc: x@y",
        b"MIME-Version: 1.0",
    ]
    text = [b"Content-Type: text/plain; charset=UTF-8", b"Content-Transfer-Encoding: 8bit"]
    variables = [b"X-Cron-Env: <SHELL=/bin/sh>", b"X-Cron-Env: <MAILTO=ops>"]
    if seven_bits:
        assert lines[:4] == about
        assert lines[4:6] == variables
    else:
        assert lines == [*about, *text, *variables]
        assert body.decode() == "größe\r\n50%\r\n100%\r\n\r\n  end\r\n"
    assert text_of(first.message) == "größe\n50%\n100%\n\n  end\n"
    assert second.envelope.mail_from == "cron@example.org"
    assert (second.envelope.original_content or b"").startswith(
        b"From: cron@example.org (Cron Daemon)\r\n"
    )


def test_what_a_sendmail_is_given() -> None:
    channel = Channel(ChannelType.SENDMAIL, "ops, root@b.example", style=MailStyle.CRON)
    report = dataclasses.replace(CRON, output="größe\n.\n" + "x" * 2000 + "\n")
    for told, encoding in (CRON, "8bit"), (report, "quoted-printable"):
        mail = notify.input_of(channel, compose(told, channel), key="1", settings=EmailSettings())
        assert "\r" not in mail
        assert mail.startswith("From: root (Cron Daemon)\nTo: ops, root@b.example\n")
        assert f"\nContent-Transfer-Encoding: {encoding}\n" in mail
        read = message_from_bytes(mail.encode(), policy=default)
        assert isinstance(read, EmailMessage)
        assert text_of(read).rstrip("\n") == told.output.replace("\r", "\n").rstrip("\n")
    other = Channel(ChannelType.EXEC, "cat")
    composed = compose(CRON, other)
    assert notify.input_of(other, composed, key="1", settings=EmailSettings()) == composed.text


def test_variables_say_who_sends_crons_mail_and_what_is_in_it() -> None:
    channel = Channel(ChannelType.SENDMAIL, "ops", style=MailStyle.CRON)
    said = (
        ("MAILFROM", "Alice <alice@b.example>\nBcc: x@y"),
        ("CONTENT_TYPE", "text/html; charset=utf-16\nX-Y: z"),
        ("CONTENT_TRANSFER_ENCODING", "base64"),
    )
    mails = []
    for variables in said, said[2:]:
        report = dataclasses.replace(CRON, output="PGI+\n", environment=variables)
        composed = compose(report, channel)
        mails.append(notify.input_of(channel, composed, key="1", settings=EmailSettings()))
    assert mails[0].startswith("From: Alice <alice@b.example> Bcc: x@y\nTo: ops\n")
    assert "\nContent-Type: text/html; charset=utf-16 X-Y: z\n" in mails[0]
    assert "\nContent-Transfer-Encoding: base64\n" in mails[0]
    assert mails[0].partition("\n\n")[2] == "PGI+\n"
    # The encoding of a text that has no other type is none.
    assert "\nContent-Type: text/plain; charset=UTF-8\n" in mails[1]
    assert "\nContent-Transfer-Encoding: 8bit\n" in mails[1]


def test_the_style_of_cron_is_for_output_alone() -> None:
    box = Mailbox()
    with mail_server(box) as port:
        sent(server(port), Channel(ChannelType.EMAIL, "ops", style=MailStyle.CRON))
    assert box.mails[0].message["X-Lunasched-Event"] == "on_failure"


def test_all_of_the_output_is_in_a_mail_about_it() -> None:
    output = "".join(f"line {number}\n" for number in range(100)) + "x" * 900 + "\n"
    report = dataclasses.replace(REPORT, kind=ReportKind.OUTPUT, output=output)
    text = compose(report).text
    assert "Its output:\n\n    line 0\n    line 1\n" in text
    assert f"    line 99\n    {'x' * 900}\n" in text


@given(
    st.text(st.sampled_from("abc =?_äßжя表\N{PILE OF POO}"), min_size=1, max_size=90),
    st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_subjects_are_read_by_every_program(job: str, long: bool) -> None:
    """By RFC 2047, with the library's old reader, which knows no more than others do."""
    message = compose(dataclasses.replace(REPORT, job=f"{job} {'very ' * 30 * long}end"))
    mail = emails.build(TO, message, key="k", settings=EmailSettings(), host="box")
    raw = mail.as_bytes()
    head = raw.partition(b"\r\n\r\n")[0]
    assert head.isascii()
    assert max(map(len, head.splitlines())) <= 998
    subject = message_from_bytes(raw, policy=compat32)["Subject"].replace("\r\n", "")
    parts = [
        part.decode(charset or "ascii") if isinstance(part, bytes) else part
        for part, charset in decode_header(subject)
    ]
    assert "".join(parts) == message.subject
    if len(job) < 20 and job.isascii() and not long and "=?" not in job:
        assert f"Subject: {message.subject}\r\n".encode() in head


def test_no_header_can_be_added() -> None:
    box = Mailbox()
    hostile = "a\r\nBcc: evil@example.org\r\n\r\nbody"
    report = dataclasses.replace(REPORT, job=hostile, host=hostile, output=f"{hostile}\n.\n.\r\n..")
    with mail_server(box) as port:
        sent(server(port), report=report)
        sent(server(port), Channel(ChannelType.EMAIL, "a@b", subject="{{ job }}\r\nBcc: e"), report)
    for mail in box.mails:
        assert "Bcc" not in mail.message
        assert len(mail.envelope.rcpt_tos) == 1
        assert "To see more:" in mail.message.get_content()


def test_templates() -> None:
    box = Mailbox()
    channel = Channel(
        ChannelType.EMAIL, "a@b", subject="[{{ host }}] {{ job }}", body="{{ output }}\n"
    )
    broken = Channel(ChannelType.EMAIL, "a@b", subject="{{ job + 1 }}", body="{{ exit_code / 0 }}")
    with mail_server(box) as port:
        sent(server(port), channel)
        sent(server(port), broken)
    own, ours = (mail.message for mail in box.mails)
    assert (str(own["Subject"]), text_of(own)) == ("[web1] backup", "one\ntwo\n")
    assert str(ours["Subject"]) == "backup failed on web1: exit code 3"
    assert "exit code 3" in ours.get_content()
    assert "The template of the subject was left out: + is for numbers" in ours.get_content()
    assert "The template of the body was left out: division by zero" in ours.get_content()


def test_every_kind_of_message() -> None:
    box = Mailbox()
    with mail_server(box) as port:
        for kind in ReportKind:
            sent(server(port), report=dataclasses.replace(REPORT, kind=kind))
    assert len({str(mail.message["Subject"]) for mail in box.mails}) == len(ReportKind)


# Encryption and login


def test_starttls_and_login(authority: Authority) -> None:
    box = Mailbox()
    options = {"tls_context": authority.server, "authenticator": box.authenticate}
    with mail_server(box, **options, auth_required=True, require_starttls=True) as port:
        right = server(port, tls=Tls.STARTTLS, smtp_username="cron", smtp_password="right")
        assert sent(right) == "250 queued"
        # On a server elsewhere it is taken where it is offered.
        error = failed(dataclasses.replace(right, smtp_password="SECRET"))
    assert error.permanent
    assert str(error).startswith(f"127.0.0.1:{port}: 535 ")
    assert box.users == ["cron"]
    assert len(box.mails) == 1


def test_tls_from_the_beginning(authority: Authority) -> None:
    box = Mailbox()
    options = {"authenticator": box.authenticate, "auth_require_tls": False}
    with mail_server(box, ssl_context=authority.server, **options) as port:
        assert sent(server(port, tls=Tls.TLS)) == "250 queued"
        sent(server(port, tls=Tls.TLS, smtp_username="cron", smtp_password="right"))
        # A name that the certificate does not have.
        other = EmailSettings(smtp_server="127.0.0.2", smtp_port=port, tls=Tls.TLS)
        assert "Connection refused" in str(failed(other))
    assert box.users == ["cron"]
    assert len(box.mails) == 2


def test_login_without_encryption_where_it_is_asked_for() -> None:
    box = Mailbox()
    options = {"authenticator": box.authenticate, "auth_require_tls": False}
    with mail_server(box, **options) as port:
        sent(server(port, tls=Tls.NONE, smtp_username="cron", smtp_password="right"))
        error = failed(server(port, tls=Tls.NONE, smtp_username="cron", smtp_password="SECRET"))
    assert error.permanent
    assert box.users == ["cron"]


def test_a_server_without_a_login() -> None:
    with mail_server(Mailbox()) as port:
        error = failed(server(port, smtp_username="cron", smtp_password="SECRET"))
    assert error.permanent
    assert str(error) == f"127.0.0.1:{port}: it offers no supported way to log in"


def test_starttls_that_is_not_offered() -> None:
    with mail_server(Mailbox()) as port:
        error = failed(server(port, tls=Tls.STARTTLS))
    assert error.permanent
    assert str(error) == f"127.0.0.1:{port} offers no STARTTLS"


def test_an_authority_that_nobody_knows(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setenv("SSL_CERT_FILE", str(Authority.make(other).file))
    box = Mailbox()
    with mail_server(box, tls_context=authority.server) as port:
        error = failed(server(port, tls=Tls.STARTTLS, smtp_username="a", smtp_password="SECRET"))
        assert "its certificate is not trusted: " in str(error)
        assert not error.permanent
    with mail_server(box, ssl_context=authority.server) as port:
        assert "its certificate is not trusted: " in str(failed(server(port, tls=Tls.TLS)))
    assert box.mails == []


def test_how_to_encrypt_if_nothing_is_said(authority: Authority) -> None:
    """On this machine not at all, elsewhere if it is offered, and no password is sent without."""
    # The host's own address is not loopback's, so it is a server elsewhere.
    elsewhere = socket.gethostbyname(socket.gethostname())
    if not elsewhere.startswith("127."):
        check_elsewhere(elsewhere)


def check_elsewhere(address: str) -> None:
    box = Mailbox()
    options = {"authenticator": box.authenticate, "auth_require_tls": False}
    with mail_server(box, hostname=address, **options) as port:
        settings = EmailSettings(smtp_server=address, smtp_port=port)
        assert sent(settings) == "250 queued"
        error = failed(dataclasses.replace(settings, smtp_username="a", smtp_password="SECRET"))
    assert error.permanent
    assert "offers no encryption, without which no password is sent" in str(error)


# What servers refuse


def test_recipients_that_are_refused() -> None:
    box = Mailbox({"b@example.org": "550 5.1.1 no such user", "c@example.org": "450 later"})
    with mail_server(box) as port:
        both = sent(server(port), Channel(ChannelType.EMAIL, "a@example.org,b@example.org"))
        assert both == "250 queued; b@example.org was refused: 550 5.1.1 no such user"
        none = failed(server(port), Channel(ChannelType.EMAIL, "b@example.org"))
        later = failed(server(port), Channel(ChannelType.EMAIL, "b@example.org,c@example.org"))
    assert none.permanent
    assert "b@example.org was refused: 550 5.1.1 no such user" in str(none)
    assert not later.permanent
    assert [mail.envelope.rcpt_tos for mail in box.mails] == [["a@example.org"]]


@pytest.mark.parametrize(
    ("answer", "permanent"),
    [("451 4.3.0 busy", False), ("552 5.3.4 too big", True), ("554 5.7.1 spam", True)],
)
def test_messages_that_are_refused(answer: str, permanent: bool) -> None:
    with mail_server(Mailbox(answer=answer)) as port:
        error = failed(server(port))
    assert error.permanent == permanent
    assert str(error) == f"127.0.0.1:{port}: {answer}"


def test_email_that_is_turned_off() -> None:
    error = failed(EmailSettings(enabled=False))
    assert error.permanent
    assert "notifications.email.enabled" in str(error)


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = failed(server(port))
    assert not error.permanent
    assert str(error) == f"127.0.0.1:{port}: Connection refused"
    unset = failed(EmailSettings(smtp_port=port))
    assert str(unset).endswith("Connection refused (notifications.email.smtp_server is not set)")


@contextmanager
def talking(talk: Callable[[socket.socket, threading.Event], None]) -> Iterator[int]:
    """A server that does with each connection what it likes."""
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        try:
            while True:
                connection, _ = listener.accept()
                with connection:
                    talk(connection, over)
        except OSError:
            return

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def silent(connection: socket.socket, over: threading.Event) -> None:
    over.wait()


def slow(connection: socket.socket, over: threading.Event) -> None:
    while not over.wait(0.05):
        connection.sendall(b"2")


def slow_lines(connection: socket.socket, over: threading.Event) -> None:
    while not over.wait(0.05):
        connection.sendall(b"220-hello\r\n")


@pytest.mark.parametrize("talk", [silent, slow, slow_lines])
@pytest.mark.parametrize("tls", [Tls.NONE, Tls.TLS])
def test_the_time_limit_is_for_all_of_it(
    talk: Callable[[socket.socket, threading.Event], None], tls: Tls
) -> None:
    with talking(talk) as port:
        error = failed(server(port, tls=tls), timeout=0.5)
    assert not error.permanent
    ended = (f"127.0.0.1:{port}: no answer within 0.5 s", "no encrypted connection")
    assert any(one in str(error) for one in ended)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (b"", "the connection was closed"),
        (b"garbage\r\n", "the answer is not SMTP"),
        (b"\xff\x00\x1b[31m\r\n", "the answer is not SMTP"),
        (b"421 4.3.2 going down\r\n", "421 4.3.2 going down"),
        (b"554 5.7.1 not you\r\n", "554 5.7.1 not you"),
        (b"2" * 100_000, "the answer is not SMTP"),
    ],
)
def test_what_is_no_mail_server(said: bytes, message: str) -> None:
    def talk(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(said)

    with talking(talk) as port:
        error = failed(server(port))
    assert message in str(error)
    assert str(error).isprintable()
    assert error.permanent == message.startswith("554")
