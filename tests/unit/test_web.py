"""The status page and its JSON over real connections: what is shown and what is refused."""

from __future__ import annotations

import base64
import gc
import hashlib
import json
import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from web_server import NASTY, Answer, History, Server, free_port, received, served

from lunasched.files.settings import Settings, WebSettings
from lunasched.formats.unittext import uuid
from lunasched.history.jsonview import job_json, run_json
from lunasched.history.run import Result, Trigger
from lunasched.history.timerstate import Upcoming
from lunasched.jobs.model import HIDDEN, ExecutionMode
from lunasched.jobs.origin import JobOrigin
from lunasched.paths import Mode
from lunasched.store import Store
from lunasched.supervisor import pageserver
from lunasched.supervisor.connections import AT_ONCE_MAX, CONNECTIONS_MAX, PEER_MAX
from lunasched.supervisor.consequences import Consequences
from lunasched.supervisor.loop import Loop
from lunasched.supervisor.notificationqueue import Origin
from lunasched.web import httpserver as web_http
from lunasched.web.api import RUNS_DEFAULT, RUNS_MAX
from lunasched.web.pages import JOBS_MAX, job_url
from lunasched.web.pages import RUNS_MAX as RUNS_ON_A_PAGE

SAFE = {
    "Cache-Control": "no-store",
    "Connection": "close",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "lunasched.db"


@pytest.fixture
def history(store: Store) -> History:
    return History(store)


@pytest.fixture
def server(store: Store, database: Path) -> Iterator[Server]:
    with served(database) as running:
        yield running


class Page(HTMLParser):
    """A page taken apart: tags with their attributes, the text, and the rows of its table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def links(self, kind: str = "name") -> list[str]:
        """Where the links of a class lead, in order."""
        return [
            attributes["href"] or ""
            for tag, attributes in self.tags
            if tag == "a" and kind in (attributes.get("class") or "").split()
        ]


def page(answer: Answer) -> Page:
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    return Page(answer.text)


def listed(server: Server, **query: str) -> list[str]:
    """The jobs on the page, by where they lead."""
    return page(server.get(f"/?{urlencode(query)}")).links()


# Requests


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get"])
def test_nothing_but_looking_is_allowed(server: Server, method: str) -> None:
    answer = server.get("/", method)
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/", "/api/v1/jobs", "/metrics", "/no/such/page"])
def test_head_is_get_without_the_body(server: Server, path: str) -> None:
    got, asked = server.get(path), server.get(path, "HEAD")
    assert (asked.status, asked.body) == (got.status, b"")
    assert asked.headers["Content-Length"] == got.headers["Content-Length"] == str(len(got.body))


@pytest.mark.parametrize(
    "path", ["/", "/jobs/x", "/runs/x", "/metrics", "/api/v1/jobs", "/api/v1/runs?limit=x", "//"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_every_answer_is_safe(server: Server, path: str, method: str) -> None:
    answer = server.get(path, method)
    assert {name: answer.headers[name] for name in SAFE} == SAFE
    assert "Server" not in answer.headers


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: other\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"x: y\r\n" * 200 + b"\r\n", 431),
        (b"GET /" + b"x" * (20 << 10) + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 431),
        (b"GET /?" + b"a=b&" * 99 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\n\r\n", 200),
        (b"GET / HTTP/1.1\nHost: localhost\n\n", 200),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nwhatever!", 200),
    ],
    ids=lambda value: repr(value[:30]) if isinstance(value, bytes) else None,
)
def test_what_is_no_request(server: Server, said: bytes, status: int) -> None:
    head = server.say(said).partition(b"\r\n")[0]
    assert head.split()[:2] == [b"HTTP/1.1", str(status).encode()]


def test_a_client_that_ends_in_the_middle_is_told_so(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: local")
        connection.shutdown(socket.SHUT_WR)
        assert b" 400 " in received(connection).partition(b"\r\n")[0]


def test_a_slow_client_has_its_time_and_no_more(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_http, "HEAD_SECONDS", 0.3)
    with server.connect() as connection, server.connect() as silent:
        stop = threading.Event()

        def trickle() -> None:
            while not stop.wait(0.05):
                try:
                    connection.send(b"x")
                except OSError:
                    return

        thread = threading.Thread(target=trickle)
        thread.start()
        answer = connection.recv(65536)
        stop.set()
        thread.join()
        assert b" 408 " in answer.partition(b"\r\n")[0]
        assert received(silent) == b""


def test_what_waits_for_its_client_makes_room(server: Server) -> None:
    """However many say nothing, whoever asks is answered, and the latest of them can still ask."""
    holding = [server.connect() for _ in range(3 * CONNECTIONS_MAX)]
    for _ in range(5):
        assert server.get("/metrics").status == 200
    assert received(holding[0]) == b""
    holding[-1].sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
    assert b" 200 " in received(holding[-1])
    for connection in holding:
        connection.close()


MANY = """
import socket, sys
held = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(int(sys.argv[2]))]
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(os.getuid() != 0, reason="needs two users")
def test_another_users_many_connections_leave_time_for_a_request(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As long as the other one takes: on a busy machine longer than a client has by itself.
    monkeypatch.setattr(web_http, "HEAD_SECONDS", 600)
    address = server.pages.address
    assert address is not None
    slow = server.connect()
    command = ["/usr/bin/python3", "-c", MANY, str(address[1]), str(3 * CONNECTIONS_MAX)]
    with subprocess.Popen(
        command,
        user=65534,
        group=65534,
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        slow.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert b" 200 " in received(slow)
        other.communicate(b"")


def test_another_machine_has_some_of_the_connections(store: Store, database: Path) -> None:
    """By its address; here it is one of this machine that is none of the loopback."""
    gate = threading.Event()

    def metrics(_: Store) -> bytes:
        assert gate.wait(30)
        return b"# TYPE x gauge\n"

    with served(database, metrics=metrics) as server:
        take = server.pages._connections.take
        pairs = [socket.socketpair() for _ in range(PEER_MAX + 4)]
        for ours, theirs in pairs:
            theirs.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            server.loop.soon(partial(take, ours, "192.0.2.7"))
        for _, theirs in pairs[PEER_MAX:]:
            with pytest.raises(ConnectionResetError):
                received(theirs)
        gate.set()
        for _, theirs in pairs[:PEER_MAX]:
            assert b" 200 " in received(theirs)


def test_answers_that_nobody_takes_hold_nobody_up(store: Store, database: Path) -> None:
    with served(database, metrics=lambda _: b"x" * (8 << 20)) as server:
        stalled = [server.connect() for _ in range(2 * AT_ONCE_MAX)]
        for connection in stalled:
            connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        # Each has its answer, as far as it fits into the sockets between.
        for connection in stalled:
            assert connection.recv(9) == b"HTTP/1.1 "
        assert server.get("/").status == 200
        for connection in stalled:
            connection.close()


def test_what_is_too_much_at_once_waits(store: Store, database: Path) -> None:
    """Requests, and not connections, are what a thread is busy with."""
    gate = threading.Event()

    def metrics(_: Store) -> bytes:
        assert gate.wait(30)
        return b"# TYPE x gauge\n"

    with served(database, metrics=metrics) as server:
        asked = []
        for _ in range(CONNECTIONS_MAX + 4):
            asked.append(server.connect())
            asked[-1].sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        gate.set()
        for connection in asked:
            assert b" 200 " in received(connection)
            connection.close()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8080", 200),
        ("LOCALHOST.", 200),
        ("127.0.0.1:8080", 200),
        ("[::1]:8080", 200),
        ("192.0.2.7", 200),
        (f"{socket.gethostname()}:80", 200),
        ("cron.example.org", 200),
        ("Cron.Example.ORG:443", 200),
        ("evil.example.org", 421),
        ("localhost.evil.example.org", 421),
        ("127.0.0.1.evil.example.org", 421),
        ("", 421),
    ],
)
def test_names_that_the_server_answers_to(
    store: Store, database: Path, host: str, status: int
) -> None:
    """A name that leads here by rebinding is not one of ours, whatever it is."""
    with served(database, hosts=("cron.example.org",)) as server:
        for path in ("/", "/metrics", "/api/v1/jobs"):
            assert server.get(path, host=host).status == status


def test_a_taken_port_is_a_warning_and_tried_again(
    store: Store,
    database: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = free_port()
    monkeypatch.setattr(pageserver, "_RETRY_SECONDS", 0)
    with socket.create_server(("127.0.0.1", port)):
        pages = pageserver.PageServer(
            Loop(),
            WebSettings(enabled=True, port=port),
            mode=Mode.SYSTEM,
            database=database,
            host_timezone="UTC",
            metrics=lambda store: b"",
        )
        pages.listen()
        pages.listen()
        assert pages.address is None
        said = capsys.readouterr().err
        assert said.startswith(f"<4>there is no status page: 127.0.0.1:{port}: Address already in")
        assert said.count("\n") == 1
    pages.listen()
    assert pages.address == ("127.0.0.1", port)
    assert capsys.readouterr().err == f"<5>the status page is at 127.0.0.1:{port} now\n"
    pages.close()


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize(
    ("text", "listens"),
    [
        ("", False),
        ("web: {enabled: false}", False),
        ("web: {show_output: true}", False),
        ("web: {enabled: true}", True),
    ],
)
def test_there_is_a_page_where_it_is_asked_for(
    database: Path, tmp_path: Path, mode: Mode, text: str, listens: bool
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"{text}\n")
    settings = Settings.load(file, {}).web
    assert settings.port == 8080
    pages = pageserver.PageServer(
        Loop(),
        replace(settings, port=free_port()),
        mode=mode,
        database=database,
        host_timezone="UTC",
        metrics=lambda store: b"",
    )
    pages.listen()
    assert (pages.address is not None) is listens
    pages.close()


def test_a_fault_ends_one_answer_and_no_more(
    store: Store, database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(store: Store) -> bytes:
        raise ZeroDivisionError("a fault")

    with served(database, metrics=broken) as server:
        assert server.get("/metrics").status == 500
        assert "a fault" not in server.get("/metrics").text
        assert server.get("/").status == 200
    assert "<3>the status page: ZeroDivisionError: a fault\n" in capsys.readouterr().err


def test_a_database_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with served(tmp_path / "nowhere.db") as server:
        answer = server.get("/")
    assert answer.status == 503
    assert str(tmp_path) not in answer.text
    assert "nowhere.db" in capsys.readouterr().err


def test_looking_and_recording_do_not_wait_for_each_other(
    store: Store, history: History, server: Server, database: Path
) -> None:
    history.job("backup")
    with Store.open_to_read(database) as reading:
        assert reading.jobs.names() == ["backup"]
        # Root does not wait for a reader for long.
        with store.changing_jobs():
            history.job("added-meanwhile")
        assert reading.jobs.names() == ["backup"], "one answer, one state"
        with store.transaction():
            store.set_cursor("not there yet")
            assert listed(server) == ["/jobs/added-meanwhile", "/jobs/backup"]
            assert reading.cursor() is None


def test_what_reads_cannot_write(store: Store, database: Path) -> None:
    from lunasched.errors import LunaschedError

    with Store.open_to_read(database) as reading, pytest.raises(LunaschedError):
        reading.execute("set_cursor", cursor="x")


# The list of jobs


def test_what_failed_is_first_then_what_runs_and_waits(
    history: History, server: Server, store: Store
) -> None:
    for name in ("calm", "failed-long-ago", "failed-now", "runs", "waits", "off", "off-failed"):
        history.job(name, enabled=not name.startswith("off"))
    history.run("calm", 7200, Result.EXIT_CODE, exit_code=1)
    history.run("calm", 3600)
    history.run("calm", 60, Result.SKIPPED)
    history.run("failed-long-ago", 90_000, Result.TIMEOUT)
    history.run("failed-now", 30, Result.EXIT_CODE, exit_code=3)
    history.run("failed-now", 10, Result.SKIPPED)
    history.run("runs", 5000)
    history.run("runs", 60, None)
    history.run("off-failed", 20, Result.SIGNAL)
    waiting = history.job("waits", execution_mode="Exclusive")
    assert waiting.mode is ExecutionMode.EXCLUSIVE
    store.starts.put(
        waiting, unit="u", trigger=Trigger.TIMER, slot=None, due_at=history.now, now=history.now
    )
    order = ["failed-now", "failed-long-ago", "off-failed", "runs", "waits", "calm", "off"]
    assert listed(server) == [f"/jobs/{name}" for name in order]
    shown = page(server.get("/")).text
    assert "exit-code (3)" in shown
    assert "waits for all other jobs to end" in shown
    by_state = {
        "failed": ["failed-now", "failed-long-ago", "off-failed"],
        "running": ["runs"],
        "waiting": ["waits"],
        "succeeded": ["runs", "calm"],
        "never run": ["off"],
        "disabled": ["off-failed", "off"],
    }
    for state, names in by_state.items():
        assert listed(server, state=state) == [f"/jobs/{name}" for name in names]


def test_jobs_are_found_by_words_and_tags(history: History, server: Server) -> None:
    history.job("backup", command="pg_dump -Fc", tags=["db", "nightly"])
    history.job("feed", command="php cron.php", tags=["web"])
    history.job("vacuum", command=["vacuumdb", "--all"], tags=["db"])
    assert listed(server, tag="db") == ["/jobs/backup", "/jobs/vacuum"]
    assert listed(server, q="PHP") == ["/jobs/feed"]
    assert listed(server, q="nightly pg_dump") == ["/jobs/backup"]
    assert listed(server, q="--all", tag="db") == ["/jobs/vacuum"]
    assert listed(server, q="php", tag="db") == []
    assert "No job is like that." in page(server.get("/?q=php&tag=db")).text
    # What is no state, or no number, asks for nothing.
    assert len(listed(server, state="nonsense", page="x")) == 3


def test_many_jobs_are_on_several_pages(history: History, server: Server, store: Store) -> None:
    with store.transaction():
        for number in range(2 * JOBS_MAX + 5):
            history.job(f"job-{number:04}")
    pages = [listed(server, page=str(number), q="job") for number in (1, 2, 3)]
    assert [len(names) for names in pages] == [JOBS_MAX, JOBS_MAX, 5]
    assert len({name for names in pages for name in names}) == 2 * JOBS_MAX + 5
    assert listed(server, page="99", q="job") == pages[2]
    first = page(server.get("/?q=job"))
    following = [link for tag, link in first.tags if tag == "a" and link.get("rel") == "next"]
    assert listed_at(server, following[0]["href"] or "") == pages[1]


def listed_at(server: Server, href: str) -> list[str]:
    return page(server.get(f"/{href}")).links()


def test_without_jobs_it_says_how_to_add_one(server: Server) -> None:
    assert "lunasched add --name" in page(server.get("/")).text


def test_many_runs_within_a_day_are_few_marks(
    history: History, server: Server, store: Store
) -> None:
    history.job("often")
    with store.transaction():
        for number in range(3000):
            failed = number % 100 == 7
            history.run(
                "often", number * 28, Result.EXIT_CODE if failed else Result.SUCCESS, took=1
            )
    shown = page(server.get("/"))
    paths = [values["d"] or "" for tag, values in shown.tags if tag == "path" and "d" in values]
    assert sum(path.count("M") for path in paths) < 400
    assert "3000 runs, 30 failed" in shown.text


def test_it_refreshes_only_for_who_asks(server: Server) -> None:
    assert ("meta", {"http-equiv": "refresh", "content": "60"}) not in page(server.get("/")).tags
    assert ("meta", {"http-equiv": "refresh", "content": "60"}) in page(
        server.get("/?refresh=on")
    ).tags


# One job, one run


@pytest.mark.parametrize(
    "name",
    ["backup", "a b", "a/b", "/", "..", ".", "%2F", "50%", "a?b=c#d", "ü☃", "a+b&c", "x;y", NASTY],
)
def test_a_job_of_any_name_has_a_page(history: History, server: Server, name: str) -> None:
    history.job(name, command=NASTY)
    history.run(name, 60, Result.EXIT_CODE, exit_code=3, output=NASTY)
    (link,) = listed(server)
    assert link == job_url(name)
    shown = page(server.get(link))
    assert ("h1", {"class": "name"}) in shown.tags
    assert name in shown.text
    assert json.loads(server.get(f"/api/v1/jobs/{quote(name, safe='')}").text)["name"] == name


def test_every_string_is_escaped(history: History, server: Server, store: Store) -> None:
    job = history.job(
        NASTY,
        command=NASTY,
        tags=["<b>'\"</b>"],
        env={"X": NASTY},
        hooks={"on_failure": NASTY},
        notification_config={"on_failure": [{"type": "email", "to": "x@example.org"}]},
    )
    failed = history.run(
        NASTY, 60, Result.EXIT_CODE, exit_code=3, output=f"{NASTY}\n</pre>\x1b[31m\n{NASTY}"
    )
    store.starts.put(
        job, unit=NASTY, trigger=Trigger.TIMER, slot=None, due_at=history.now, now=history.now
    )
    queries = f"/?{urlencode({'q': 'script', 'tag': chr(60) + 'b>', 'state': NASTY})}"
    for path in ("/", queries, job_url(NASTY), f"/runs/{failed.execution_id}", "/jobs/<script>"):
        answer = server.get(quote(path, safe="/?&=%+"))
        shown = Page(answer.text)
        tags = {tag for tag, _ in shown.tags}
        assert not tags & {"script", "img", "iframe", "object"}, path
        for tag, attributes in shown.tags:
            assert not [name for name in attributes if name.startswith("on")], path
            assert "style" not in attributes, path
            for name in ("href", "src", "action"):
                target = attributes.get(name) or "/"
                inner = tag == "use" or (tag == "link" and target.startswith("data:"))
                assert inner or target.startswith(("/", "?", "#")), (path, target)
        if answer.status == 200 and path != queries:
            assert NASTY in shown.text, path
    assert r"</pre>\x1b[31m" in page(server.get(f"/runs/{failed.execution_id}")).text


def test_the_policy_allows_the_style_of_the_page_and_nothing_else(
    history: History, server: Server
) -> None:
    history.job("backup")
    history.run("backup", 60)
    for path in ("/", "/jobs/backup", "/runs/" + "0" * 31 + "1", "/nowhere"):
        answer = server.get(path)
        (style,) = re.findall(r"<style>(.*?)</style>", answer.text, re.S)
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        policy = answer.headers["Content-Security-Policy"]
        assert policy == (
            f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
            "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )


def test_the_page_of_a_job_shows_its_definition_without_secrets(
    history: History, server: Server
) -> None:
    history.job(
        "backup",
        command="pg_dump",
        env={"PGPASSWORD": "hunter2"},
        systemd={"SetCredential": "token:hunter3"},
        hooks={"on_failure": "logger failed"},
        retry_policy={"max_attempts": 3},
        notification_config={
            "on_failure": [{"type": "slack", "webhook_url": "https://hooks.example/hunter4"}]
        },
    )
    shown = page(server.get("/jobs/backup")).text
    for text in ("pg_dump", "PGPASSWORD=...", "logger failed", "up to 3 attempts", "never run"):
        assert text in shown
    assert "lunasched-job@backup.timer" in shown
    assert "lunasched-hook@backup:on_failure.service" in shown
    said = shown + server.get("/api/v1/jobs/backup").text + server.get("/").text
    assert "hunter" not in said


def test_the_page_of_a_job_shows_its_messages_without_secrets(
    history: History, server: Server, store: Store
) -> None:
    url = "https://hooks.example/hunter5"
    history.job("backup", notification_config={"on_failure": [{"type": "webhook", "url": url}]})
    failed = history.run("backup", 60, Result.EXIT_CODE, exit_code=3)
    origin = Origin("host", "UTC", Mode.SYSTEM)
    with store.transaction():
        Consequences(store, origin, lambda: history.now).settled(failed.execution_id)
    shown = page(server.get("/jobs/backup")).text
    assert "Notifications" in shown
    assert "webhook https://hooks.example/..." in shown
    assert "waiting" in shown
    assert "hunter" not in shown


def test_the_page_of_a_job_shows_how_long_its_runs_took(history: History, server: Server) -> None:
    history.job("backup")
    for day in range(20):
        result = Result.EXIT_CODE if day == 3 else Result.SUCCESS
        history.run("backup", day * 86_400 + 60, result, took=60 * (10 + day), exit_code=1)
    shown = page(server.get("/jobs/backup"))
    points = [attributes for tag, attributes in shown.tags if tag == "circle"]
    assert len(points) == 19
    crosses = [one for tag, one in shown.tags if tag == "path" and one.get("class") == "failure"]
    assert len([one for one in crosses if "l8 8m0-8l-8 8" in (one["d"] or "")]) == 1
    for label in ("0", "10 min", "20 min", "30 min"):
        assert label in shown.text


def test_the_history_of_a_job_goes_back_page_by_page(
    history: History, server: Server, store: Store
) -> None:
    history.job("backup")
    with store.transaction():
        # Several began at the same moment, as far as the clock says.
        for number in range(2 * RUNS_ON_A_PAGE + 7):
            history.run("backup", 60 * (number // 3))
    seen: list[str] = []
    href = "/jobs/backup"
    for _ in range(3):
        shown = page(server.get(href))
        rows = [one["href"] or "" for tag, one in shown.tags if tag == "a" and "href" in one]
        newest = seen[:]
        seen += [
            link
            for link in re.findall(
                r'<th scope="row"><a href="(/runs/[^"]+)"', server.get(href).text
            )
            if link not in newest
        ]
        href = next((link for link in rows if "before=" in link), "")
    assert not href
    assert len(seen) == len(set(seen)) == 2 * RUNS_ON_A_PAGE + 7


def test_a_removed_job_still_has_its_history(
    history: History, server: Server, store: Store
) -> None:
    history.job("backup")
    history.run("backup", 60)
    store.jobs.delete("backup")
    shown = page(server.get("/jobs/backup")).text
    assert "removed" in shown
    assert "success" in shown


@pytest.mark.parametrize("path", ["/jobs/nope", "/runs/nope", "/nope", "/jobs/", "/runs/", "/jobs"])
def test_what_is_not_there(server: Server, path: str) -> None:
    answer = server.get(path)
    assert answer.status == 404
    assert answer.headers["Content-Type"].startswith("text/html")


def test_the_page_of_a_run(history: History, server: Server) -> None:
    history.job("backup")
    first = history.run("backup", 120, Result.EXIT_CODE, exit_code=3, output="one\ntwo\n")
    second = history.run("backup", 60, attempt=2, first=first.execution_id)
    shown = page(server.get(f"/runs/{uuid(first.execution_id)}")).text
    assert "one\ntwo\n" in shown
    assert f"lunasched logs backup --execution {uuid(first.execution_id)}" in shown
    shown_second = page(server.get(f"/runs/{second.execution_id}")).text
    assert f"the first was {uuid(first.execution_id)}" in shown_second
    assert "It printed nothing." in shown_second


# Who sees outputs


def test_the_owner_of_the_supervisor_sees_outputs(history: History, server: Server) -> None:
    history.job("backup")
    failed = history.run("backup", 60, output="the secret output")
    for path in ("/jobs/backup", f"/runs/{failed.execution_id}", "/api/v1/runs"):
        assert "the secret output" in server.get(path).text
    assert "the secret output" not in server.get("/").text


def test_outputs_of_a_user_are_for_that_user(
    store: Store, history: History, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.job("backup")
    history.run("backup", 60, output="the secret output")
    with served(database, mode=Mode.USER, enabled=True) as server:
        assert "the secret output" in server.get("/api/v1/runs").text
        shown = page(server.get("/jobs/backup")).text
    assert "yourself" in shown


# JSON


def test_nothing_shows_what_a_private_job_runs(
    history: History, server: Server, store: Store
) -> None:
    """Not even who searches for it learns whether it is there."""
    told = {"on_failure": [{"type": "exec", "command": "tell hush"}]}
    history.job(
        "secret", private=True, command="run hush", env={"A": "hush"}, on_success="echo hush",
        notification_config=told,
    )  # fmt: skip
    with store.changing_jobs():
        store.jobs.put_origin("secret", JobOrigin("/spool/x", 3, "@daily run hush"))
    (job,) = json.loads(server.get("/api/v1/jobs").text)["jobs"]
    assert (job["command"], job["hooks"]["on_success"]) == (HIDDEN, HIDDEN)
    assert job["origin"] == {"file": "/spool/x", "line": 3, "text": HIDDEN}
    for path in ("/api/v1/jobs", "/api/v1/jobs/secret", "/", "/jobs/secret"):
        assert "hush" not in server.get(path).text
    nothing = "No job is like that."
    assert nothing not in page(server.get("/?q=secret")).text
    assert nothing in page(server.get("/?q=hush")).text


def test_jobs_are_those_of_the_commands(history: History, server: Server, store: Store) -> None:
    history.job("backup", env={"A": "b"}, tags=["x"])
    run = history.run("backup", 600, Result.EXIT_CODE, exit_code=3)
    history.job("feed", schedule="@yearly")
    (backup, feed) = json.loads(server.get("/api/v1/jobs").text)["jobs"]
    last = store.runs.latest_of(["backup"])["backup"]
    job = store.jobs.get("backup")
    assert job
    expected = job_json(job, Upcoming(None), last)
    assert list(backup) == list(expected)
    assert backup["env"] == {"A": HIDDEN}
    assert backup["last_run"] == expected["last_run"]
    assert backup["last_run"]["execution_id"] == uuid(run.execution_id)
    assert backup["next_elapse"] is not None
    assert feed["last_run"] is None
    assert json.loads(server.get("/api/v1/jobs/feed").text) == feed
    assert server.get("/api/v1/jobs").headers["Content-Type"] == "application/json; charset=utf-8"


def runs(server: Server, **query: str) -> dict[str, Any]:
    answer = server.get(f"/api/v1/runs?{urlencode(query)}")
    assert answer.status == 200
    found: dict[str, Any] = json.loads(answer.text)
    return found


def test_runs_are_those_of_the_commands(history: History, server: Server, store: Store) -> None:
    run = history.run("backup", 600, Result.EXIT_CODE, exit_code=3, output="tail\n")
    (found,) = runs(server)["runs"]
    recorded = store.runs.get(run.execution_id)
    assert recorded
    assert found == run_json(recorded)
    assert found["output"] == "tail\n"
    assert json.loads(server.get(f"/api/v1/runs/{found['execution_id']}").text) == found


def test_runs_come_in_parts_each_once(history: History, server: Server, store: Store) -> None:
    with store.transaction():
        for number in range(250):
            # As many as seven at the same moment; those of two jobs take turns.
            history.run(f"job-{number % 2}", 60 * (number // 7))
    everything = runs(server, limit=str(RUNS_MAX))
    assert len(everything["runs"]) == 250
    assert everything["next_cursor"] is None
    times = [run["started_at"] for run in everything["runs"]]
    assert times == sorted(times, reverse=True)
    for query in ({}, {"job": "job-1"}):
        expected = [
            run["execution_id"]
            for run in everything["runs"]
            if "job" not in query or run["job"] == query["job"]
        ]
        seen: list[str] = []
        cursor: dict[str, str] = {}
        for _ in range(100):
            part = runs(server, limit="9", **query, **cursor)
            seen += [run["execution_id"] for run in part["runs"]]
            if part["next_cursor"] is None:
                break
            cursor = {"cursor": part["next_cursor"]}
        assert seen == expected
    assert len(runs(server)["runs"]) == RUNS_DEFAULT


def test_long_outputs_make_an_answer_shorter(
    history: History, server: Server, store: Store
) -> None:
    with store.transaction():
        for number in range(300):
            history.run("backup", number, output="\1" * 8192)
    seen: list[str] = []
    part = runs(server, limit="1000")
    assert len(part["runs"]) == 100
    while True:
        seen += [run["execution_id"] for run in part["runs"]]
        if part["next_cursor"] is None:
            break
        part = runs(server, limit="1000", cursor=part["next_cursor"])
    assert len(seen) == len(set(seen)) == 300


def test_runs_since_a_time(history: History, server: Server) -> None:
    for hours in range(10):
        history.run("backup", hours * 3600 + 1)
    since = runs(server, limit="4")["runs"][3]["started_at"]
    assert len(runs(server, since=since)["runs"]) == 4
    with_offset = since.replace("Z", "+00:00")
    assert len(runs(server, since=with_offset)["runs"]) == 4
    # A plus sign that nobody encoded means a space.
    answer = server.get(f"/api/v1/runs?since={with_offset}")
    assert len(json.loads(answer.text)["runs"]) == 4
    assert len(runs(server, since=since.replace("T", " "))["runs"]) == 4


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("runs?limit=0", 400, "limit: '0'"),
        ("runs?limit=1001", 400, "1 to 1000"),
        ("runs?limit=" + "0" * 5000, 400, "limit"),
        ("runs?limit=-1", 400, "limit"),
        ("runs?since=yesterday", 400, "ISO 8601"),
        ("runs?cursor=x", 400, "cursor"),
        ("runs?names=backup", 400, "'names' is not a parameter"),
        ("jobs/nope", 404, "there is no job 'nope'"),
        ("runs/nope", 404, "there is no run 'nope'"),
        ("nope", 404, "there is no /api/v1/nope"),
    ],
)
def test_faults_are_json_too(server: Server, path: str, status: int, text: str) -> None:
    answer = server.get(f"/api/v1/{path}")
    assert answer.status == status
    assert text in json.loads(answer.text)["error"]


def test_metrics_are_what_they_are_given_as(store: Store, database: Path) -> None:
    with served(database, metrics=lambda store: f"jobs {len(store.jobs.names())}\n".encode()) as on:
        answer = on.get("/metrics")
    assert answer.body == b"jobs 0\n"
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_descriptors_and_threads_are_given_back(history: History, server: Server) -> None:
    history.job("backup")
    server.get("/")

    def held() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    def wait_for(most: tuple[int, int] | None) -> tuple[int, int]:
        """What is held once the threads are gone."""
        for _ in range(200):
            if threading.active_count() == 2 and (most is None or held() <= most):
                break
            threading.Event().wait(0.05)
        return held()

    gc.collect()  # what earlier tests held would go in between
    before = wait_for(None)
    for _ in range(30):
        server.get("/")
        server.say(b"nonsense\r\n\r\n")
    assert wait_for(before) == before
