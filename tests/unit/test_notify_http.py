"""Posting to servers on loopback, however they behave: what is sent, and what becomes of it."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import socket
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from peers import Authority, Conversation, HttpServer, Talk, answering

from lunasched.errors import NotifyError
from lunasched.files.settings import EmailSettings
from lunasched.history.report import Report, ReportKind
from lunasched.history.run import Result, Trigger
from lunasched.jobs.model import Channel, ChannelType
from lunasched.notify import heartbeat, httpclient, send, webhook
from lunasched.notify.message import compose

REPORT = Report(
    kind=ReportKind.FAILURE,
    job="backup",
    host="web1",
    at=1_764_000_184_000_000,
    timezone="Europe/Berlin",
    execution_id="0123456789abcdef" * 2,
    trigger=Trigger.TIMER,
    result=Result.EXIT_CODE,
    exit_code=3,
    started_at=1_764_000_000_000_000,
    ended_at=1_764_000_184_000_000,
    output="one\ntwo",
)
TIMEOUT = 30.0


def sent(channel: Channel, report: Report = REPORT, timeout: float = TIMEOUT) -> str:
    message = compose(report, channel)
    return send(channel, message, key="k-1", settings=EmailSettings(), timeout=timeout)


def failed(talk: Talk, timeout: float = TIMEOUT) -> NotifyError:
    """What a server's answer is made into."""
    with HttpServer(talk) as server, pytest.raises(NotifyError) as caught:
        sent(Channel(ChannelType.WEBHOOK, server.url("/SECRET/x")), timeout=timeout)
    assert "SECRET" not in str(caught.value)
    return caught.value


def test_what_is_posted_and_answered() -> None:
    with HttpServer(answering("200 OK", "accepted\r\nthanks")) as server:
        channel = Channel(ChannelType.WEBHOOK, server.url("/in?a=b"), headers=(("X-Own", "mine"),))
        assert sent(channel) == "200 OK: accepted thanks"
    (request,) = server.received
    assert (request.method, request.path) == ("POST", "/in?a=b")
    assert request.headers["Idempotency-Key"] == "k-1"
    assert request.headers["X-Own"] == "mine"
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["User-Agent"].startswith("lunasched/")
    assert "Authorization" not in request.headers
    told = json.loads(request.body)
    assert (told["version"], told["event"], told["job"], told["host"]) == (
        1, "on_failure", "backup", "web1",
    )  # fmt: skip
    assert told["run"]["execution_id"] == "01234567-89ab-cdef-0123-456789abcdef"
    assert (told["run"]["exit_code"], told["run"]["duration_ms"]) == (3, 184_000)
    assert told["run"]["output"] == "one\ntwo"
    assert "exit code 3" in told["text"]


def test_a_signature_covers_the_time_and_the_body() -> None:
    with HttpServer(answering("204 No Content")) as server:
        assert sent(Channel(ChannelType.WEBHOOK, server.url(), secret="s3")) == "204 No Content"
    (request,) = server.received
    when = int(request.headers["X-Lunasched-Timestamp"])
    expected = webhook.signature("s3", when, request.body)
    assert request.headers["X-Lunasched-Signature"] == f"sha256={expected}"
    # printf '1.{}' | openssl dgst -sha256 -hmac s3
    assert webhook.signature("s3", 1, b"{}") == (
        "9c4272a28008b3c30dc81d74fee3c74b9a5d05c7b0b2d3957c35491d6b03e5fe"
    )


def test_a_template_is_the_whole_body() -> None:
    with HttpServer(answering("200 OK")) as server:
        channel = Channel(
            ChannelType.WEBHOOK, server.url(), body='{"text": {{ subject | tojson }}}',
            headers=(("content-type", "text/x-own"),),
        )  # fmt: skip
        sent(channel)
    (request,) = server.received
    assert json.loads(request.body) == {"text": "backup failed on web1: exit code 3"}
    assert request.headers["content-type"] == "text/x-own"
    assert "Content-Type" not in request.headers


def test_a_name_and_password_in_the_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password other\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with HttpServer(answering("200 OK")) as server:
        sent(Channel(ChannelType.WEBHOOK, server.url("/", user="u:p%40s@")))
        sent(Channel(ChannelType.WEBHOOK, server.url("/")))
    first, second = server.received
    assert first.headers["Authorization"] == f"Basic {base64.b64encode(b'u:p@s').decode()}"
    assert "Authorization" not in second.headers


@pytest.mark.parametrize("status", ["400 Bad Request", "401 No", "403 No", "404 No", "410 Gone"])
def test_what_is_given_up(status: str) -> None:
    error = failed(answering(status, '{"message": "no /SECRET/x here"}', Retry_After="5"))
    assert error.permanent
    assert error.retry_after is None
    assert str(error) == f'the server answers {status}: {{"message": "no ... here"}}'


@pytest.mark.parametrize(
    ("status", "header", "wait"),
    [
        ("429 Slow Down", "7", 7),
        ("429 Slow Down", "0.25", 0.25),
        ("429 Slow Down", "9999999999", 86400),
        ("429 Slow Down", "-5", 0),
        ("429 Slow Down", "soon", None),
        ("429 Slow Down", "nan", None),
        ("429 Slow Down", None, None),
        ("503 Unavailable", "120", 120),
        ("500 Broken", None, None),
        ("502 Bad Gateway", None, None),
        ("408 Request Timeout", None, None),
        ("599 Odd", None, None),
    ],
)
def test_what_is_tried_again(status: str, header: str | None, wait: float | None) -> None:
    headers = {} if header is None else {"Retry_After": header}
    error = failed(answering(status, "busy", **headers))
    assert not error.permanent
    assert error.retry_after == wait
    assert str(error) == f"the server answers {status}: busy"


def test_a_date_to_try_again_at() -> None:
    now = datetime(2026, 11, 25, 12, 0, tzinfo=timezone.utc)
    later = format_datetime(now + timedelta(seconds=90), usegmt=True)
    assert httpclient.retry_after(later, now.timestamp()) == 90
    assert (
        httpclient.retry_after(format_datetime(now - timedelta(1), usegmt=True), now.timestamp())
        == 0
    )
    error = failed(answering("429 Slow", Retry_After="Fri, 31 Dec 2100 23:59:59 GMT"))
    assert error.retry_after == 86400


@given(text=st.text() | st.sampled_from(["inf", "-inf", "1e999", "Mon, 99 Foo 2026", "\x00"]))
def test_any_header_is_a_time_or_none(text: str) -> None:
    wait = httpclient.retry_after(text, 0)
    assert wait is None or 0 <= wait <= 86400


@pytest.mark.parametrize(
    ("status", "permanent"),
    [("301 Moved", True), ("308 Moved", True), ("302 Found", False), ("307 For now", False)],
)
def test_a_redirect_is_not_followed(status: str, permanent: bool) -> None:
    with HttpServer(answering("200 OK")) as other:
        target = f"http://127.0.0.1:{other.port}/SECRET"
        error = failed(answering(status, Location=target))
        assert other.received == []
    assert error.permanent == permanent
    assert f"answers {status.split()[0]}, a redirect to 127.0.0.1;" in str(error)


def nothing(talk: Conversation) -> None:
    talk.over.wait()


def slow_status(talk: Conversation) -> None:
    talk.drip(b"H")


def slow_headers(talk: Conversation) -> None:
    talk.send("HTTP/1.1 500 Broken\r\nX-A: ")
    talk.drip(b"a")


@pytest.mark.parametrize("talk", [nothing, slow_status])
def test_the_time_limit_is_for_all_of_it(talk: Talk) -> None:
    """The server goes on until the test ends, which it would not without the limit."""
    error = failed(talk, timeout=0.5)
    assert not error.permanent
    assert str(error) == "127.0.0.1: no answer within 0.5 s"


def given_time(attempt: Callable[[float], str]) -> str:
    """What comes of an attempt with a time limit that is long enough to begin with it."""
    for timeout in (0.25, 1, 4, 16):
        said = attempt(timeout)
        if "no answer within" not in said:
            return said
    pytest.fail(said)


def test_a_status_is_an_answer_though_nothing_follows() -> None:
    said = given_time(lambda timeout: str(failed(slow_headers, timeout)))
    assert said == "the server answers 500 Broken"


def test_the_time_limit_is_for_an_encrypted_connection_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority.make(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    with HttpServer(slow_status, authority.server) as server, pytest.raises(NotifyError) as caught:
        sent(Channel(ChannelType.WEBHOOK, server.url()), timeout=0.5)
    assert "no answer within" in str(caught.value)
    listener = socket.create_server(("127.0.0.1", 0))  # takes connections, and says nothing
    with listener, pytest.raises(NotifyError, match="no answer within"):
        port = listener.getsockname()[1]
        sent(Channel(ChannelType.WEBHOOK, f"https://127.0.0.1:{port}/"), timeout=0.5)


def slow_body(talk: Conversation) -> None:
    talk.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    talk.drip(b"a")


def test_a_message_is_taken_when_the_status_says_so() -> None:
    def attempt(timeout: float) -> str:
        try:
            return sent(channel, timeout=timeout)
        except NotifyError as error:
            return str(error)

    for body in (slow_body, answering("200 OK", Content_Length="1000")):
        with HttpServer(body) as server:
            channel = Channel(ChannelType.WEBHOOK, server.url())
            assert given_time(attempt).startswith("200 OK")


def test_of_a_huge_answer_the_beginning_is_read() -> None:
    def huge(talk: Conversation) -> None:
        talk.send("HTTP/1.1 200 OK\r\n\r\n")
        while True:  # until the other side closes
            talk.send(b"x" * 65536)

    with HttpServer(huge) as server:
        answer = sent(Channel(ChannelType.WEBHOOK, server.url()))
    assert answer.startswith("200 OK: xxx")
    assert len(answer) <= 300


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (b"garbage garbage\r\n\r\n", "the answer is not HTTP"),
        (b"\x00\xff\x00\xff" * 1000, "the answer is not HTTP"),
        (b"HTTP/1.1 abc OK\r\n\r\n", "the answer is not HTTP"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "the answer is not HTTP",
        ),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 1000 + b"\r\n", "the answer is not HTTP"),
        (b"", "it closed the connection without an answer"),
    ],
)
def test_what_is_no_answer(parts: bytes, message: str) -> None:
    error = failed(lambda talk: talk.send(parts))
    assert not error.permanent
    assert str(error) == f"127.0.0.1: {message}"


def test_an_answer_in_any_bytes_is_told_in_one_line() -> None:
    body = b"\xff\x1b[31m\r\nline\xe2\x80\xae\x00" * 3
    answer = str(failed(answering("400 \x1b[31mno", body)))
    assert answer.isprintable()
    with HttpServer(answering("200 OK", body, Content_Encoding="gzip")) as server:
        assert sent(Channel(ChannelType.WEBHOOK, server.url())).isprintable()


def test_a_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with HttpServer(answering("200 OK", "by proxy")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url())
        assert sent(Channel(ChannelType.WEBHOOK, "http://far.invalid/SECRET")) == "200 OK: by proxy"
    assert proxy.received[0].path == "http://far.invalid/SECRET"
    with HttpServer(slow_status) as proxy, pytest.raises(NotifyError) as caught:
        url = proxy.url(user="user:SECRET@")
        monkeypatch.setenv("http_proxy", url)
        sent(Channel(ChannelType.WEBHOOK, "http://far.invalid/SECRET"), timeout=0.5)
    assert str(caught.value) == "far.invalid: no answer within 0.5 s"
    # Nobody listens any more.
    with pytest.raises(NotifyError) as caught:
        sent(Channel(ChannelType.WEBHOOK, "http://far.invalid/SECRET"))
    assert str(caught.value) == "far.invalid, by the proxy: Connection refused"


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NotifyError, match=r"^127\.0\.0\.1: Connection refused$") as caught:
        sent(Channel(ChannelType.WEBHOOK, f"http://127.0.0.1:{port}/SECRET"))
    assert not caught.value.permanent


def test_nobody_takes_the_connection() -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = listener.getsockname()
        # Its queue is full, so the kernel does not answer.
        waiting = socket.create_connection(address)
        stack.enter_context(waiting)
        with pytest.raises(NotifyError, match=r"no (connection|answer) within 0\.5 s$") as caught:
            sent(Channel(ChannelType.WEBHOOK, f"http://127.0.0.1:{address[1]}/"), timeout=0.5)
    assert not caught.value.permanent


def test_a_name_that_does_not_exist() -> None:
    with pytest.raises(
        NotifyError, match=r"^nowhere\.invalid: its name cannot be resolved"
    ) as caught:
        sent(Channel(ChannelType.WEBHOOK, "http://nowhere.invalid/SECRET"))
    assert not caught.value.permanent


@pytest.mark.parametrize("url", [f"http://{'a' * 70}.example/SECRET", "http://*.example/SECRET"])
def test_a_url_that_cannot_be_used(url: str) -> None:
    with pytest.raises(NotifyError) as caught:
        sent(Channel(ChannelType.WEBHOOK, url))
    assert "SECRET" not in str(caught.value)


def test_an_authority_that_nobody_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority.make(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    with HttpServer(answering("200 OK", "hello"), authority.server) as server:
        channel = Channel(ChannelType.WEBHOOK, server.url("/SECRET"))
        monkeypatch.setenv("SSL_CERT_FILE", str(Authority.make(other).file))
        with pytest.raises(NotifyError, match="its certificate is not trusted: ") as caught:
            sent(channel)
        assert not caught.value.permanent
        assert "SECRET" not in str(caught.value)
        assert server.received == []
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        assert sent(channel) == "200 OK: hello"


def test_a_certificate_of_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority.make(tmp_path, "elsewhere.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    server = HttpServer(answering("200 OK"), authority.server)
    with server, pytest.raises(NotifyError, match=r"its certificate is not trusted: .*127"):
        sent(Channel(ChannelType.WEBHOOK, server.url()))


def test_a_server_without_encryption() -> None:
    server = HttpServer(answering("200 OK"))
    with server, pytest.raises(NotifyError, match="no encrypted connection") as caught:
        sent(Channel(ChannelType.WEBHOOK, server.url().replace("http:", "https:")))
    assert not caught.value.permanent


def echo(status: str) -> Talk:
    """A server that repeats what it was sent, as some do to explain what is wrong with it."""

    def talk(conversation: Conversation) -> None:
        request = conversation.request
        said = [request.path, *request.headers.values(), request.body.decode()]
        conversation.answer(f"{status} {request.path}", "\n".join(reversed(said))[:4000])

    return talk


@pytest.mark.parametrize("status", ["200", "400", "500"])
def test_a_server_that_repeats_secrets(status: str) -> None:
    texts = ["SECRETPATH", "SECRETQUERY", "SECRETHEADER", "SECRETHMAC", "SECRETTOKEN", "SECRETPASS"]
    with HttpServer(echo(status)) as server:
        url = server.url("/SECRETPATH/t?key=SECRETQUERY", user="user:SECRETPASS@")
        channels = [
            Channel(
                ChannelType.WEBHOOK, url, headers=(("X-Key", "SECRETHEADER"),), secret="SECRETHMAC"
            ),
            Channel(ChannelType.DISCORD, url),
            Channel(ChannelType.SLACK, url),
            Channel(ChannelType.NTFY, server.url("/SECRETPATH"), token="SECRETTOKEN"),
            Channel(ChannelType.HEARTBEAT, url),
        ]
        for channel in channels:
            try:
                said = sent(channel)
            except NotifyError as error:
                said = str(error)
            assert status in said
            for secret in (*texts, base64.b64encode(b"user:SECRETPASS").decode()):
                assert secret not in said, channel.type


BROKEN: list[tuple[Talk, float]] = [
    (nothing, 0.2),
    (slow_headers, 0.2),
    (lambda talk: talk.send(b"SECRET garbage\r\n\r\n"), TIMEOUT),
    (lambda talk: None, TIMEOUT),
    (answering("302 Found", Location="https://SECRET@x/SECRET"), TIMEOUT),
]


@pytest.mark.parametrize(("talk", "timeout"), BROKEN)
@pytest.mark.parametrize("kind", ["webhook", "discord", "slack", "ntfy", "heartbeat"])
def test_no_error_holds_a_secret(kind: str, talk: Talk, timeout: float) -> None:
    with HttpServer(talk) as server, pytest.raises(NotifyError) as caught:
        url = server.url("/SECRET", user="SECRET:SECRET@")
        sent(Channel(ChannelType(kind), url, token="SECRET", secret="SECRET"), timeout=timeout)
    assert "SECRET" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


# Heartbeats


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"kind": ReportKind.START}, "/ping/1/start"),
        ({"kind": ReportKind.SUCCESS, "result": Result.SUCCESS, "exit_code": 0}, "/ping/1"),
        ({"kind": ReportKind.RECOVERY, "result": Result.SUCCESS, "exit_code": 0}, "/ping/1"),
        ({"kind": ReportKind.FAILURE}, "/ping/1/3"),
        ({"kind": ReportKind.REMINDER}, "/ping/1/3"),
        ({"result": Result.TIMEOUT, "exit_code": None, "signal": 15}, "/ping/1/fail"),
        ({"result": Result.EXEC_ERROR, "exit_code": 203}, "/ping/1/fail"),
        ({"kind": ReportKind.TEST, "result": None}, "/ping/1/log"),
    ],
)
def test_pings(changes: dict[str, object], path: str) -> None:
    report = dataclasses.replace(REPORT, **changes)  # type: ignore[arg-type]
    with HttpServer(answering("200 OK", "OK")) as server:
        assert sent(Channel(ChannelType.HEARTBEAT, server.url("/ping/1/?create=1")), report)
    (request,) = server.received
    rid = "01234567-89ab-cdef-0123-456789abcdef"
    assert request.path == f"{path}?create=1&rid={rid}"
    assert request.body.decode().endswith("\n\none\ntwo")


def test_pings_that_do_not_count() -> None:
    for said, permanent, wait in (("not found", True, None), ("rate limited", False, 60)):
        server = HttpServer(answering("200 OK", f"OK ({said})"))
        with server, pytest.raises(NotifyError) as caught:
            sent(Channel(ChannelType.HEARTBEAT, server.url("/ping/1")))
        assert (caught.value.permanent, caught.value.retry_after) == (permanent, wait)
    heartbeat.check_counted("200 OK: OK")


def test_a_command_is_not_sent() -> None:
    with pytest.raises(NotifyError, match="exec: nothing is sent to it") as caught:
        sent(Channel(ChannelType.EXEC, "true"))
    assert caught.value.permanent
