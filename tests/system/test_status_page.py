"""The status page of a real supervisor: in its sandbox, for other users, in a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from browser import Browser
from installed import PAGE

if TYPE_CHECKING:
    from installed import Lunasched
    from machine import Machine

pytestmark = pytest.mark.machine

NASTY = """<script>alert("1")</script><img src=x onerror='alert(2)'> & "q" 'a'"""
CONFIGURATION = "/etc/lunasched/config.yaml"
ASK = """
import http.client, json, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=30)
connection.request("GET", sys.argv[2])
answer = connection.getresponse()
print(json.dumps([answer.status, answer.read().decode()]))
"""


def ask(machine: Machine, path: str, *, user: str | None = None, port: int = 8080) -> Any:
    """The status and the text of a path, asked for by a user of the machine."""
    done = machine.exec(["python3", "-c", ASK, str(port), path], user=user)
    return json.loads(done.stdout)


@pytest.fixture
def configured(luna: Lunasched) -> Iterator[Lunasched]:
    """A supervisor whose configuration a test may write; without one again after it."""
    yield luna
    luna.machine.exec(["rm", "-f", CONFIGURATION])
    luna.machine.run(["systemctl", "restart", "lunasched.service"])


def configure(luna: Lunasched, text: str) -> None:
    luna.machine.write_file(CONFIGURATION, text)
    luna.machine.run(["systemctl", "restart", "lunasched.service"])


def test_the_page_in_a_browser(page: Lunasched) -> None:
    """A job that holds what must not run, as the supervisor shows it to who looks."""
    luna = page
    name = f"{luna.name} {NASTY}"
    print_it = ["/usr/bin/printf", "%s\\n</pre>", NASTY]
    luna("add", "--name", name, "--schedule", "@yearly", "--", *print_it)
    luna("start", name, "--wait")
    (run,) = luna.wait_for_runs(name, 1)
    leader = luna.machine._pid()
    with Browser(Path(f"/proc/{leader}/ns/net")) as browser:
        for width, dark in ((1280, False), (390, True)):
            browser.look(width=width, dark=dark)
            for path in ("/", f"/jobs/{quote(name, safe='')}", f"/runs/{run['execution_id']}"):
                assert browser.open(f"http://127.0.0.1:8080{path}") == 200
                assert browser.complaints() == []
                assert len(browser.requests()) == 1
                assert browser.run("document.documentElement.scrollWidth") <= width
                assert name in browser.run("document.body.textContent")
        # Chromium runs as root here.
        shown = browser.run("document.querySelector('pre').textContent")
        assert shown == f"{NASTY}\n</pre>"


def test_outputs_are_for_who_may_read_the_journal(page: Lunasched) -> None:
    luna = page
    luna("add", "--name", luna.name, "--schedule", "@yearly", "--command", "echo the output")
    luna("start", luna.name, "--wait")
    (run,) = luna.wait_for_runs(luna.name, 1)
    paths = (f"/jobs/{luna.name}", f"/runs/{run['execution_id']}", f"/api/v1/runs?job={luna.name}")

    def sees(user: str | None) -> set[bool]:
        answers = [ask(luna.machine, path, user=user) for path in paths]
        assert {status for status, _ in answers} == {200}
        return {"the output" in text.replace("echo the output", "") for _, text in answers}

    assert sees(None) == {True}
    assert sees("lunasched") == {True}
    assert sees("luna") == {False}
    luna.machine.run(["usermod", "--append", "--groups", "systemd-journal", "luna"])
    try:
        assert sees("luna") == {True}
    finally:
        luna.machine.run(["gpasswd", "--delete", "luna", "systemd-journal"])
    assert sees("luna") == {False}


def test_what_the_configuration_says(configured: Lunasched) -> None:
    luna = configured
    luna("add", "--name", luna.name, "--schedule", "@yearly", "--command", "echo the output")
    luna("start", luna.name, "--wait")
    (run,) = luna.wait_for_runs(luna.name, 1)
    assert "8080" not in luna.machine.exec(LISTENING).stdout.split()
    configure(luna, 'web: {enabled: true, address: "::1", port: 8090, show_output: true}\n')
    script = ASK.replace('"127.0.0.1"', '"::1"')
    path = f"/runs/{run['execution_id']}"
    done = luna.machine.exec(["python3", "-c", script, "8090", path], user="luna")
    assert "the output" in json.loads(done.stdout)[1]
    configure(luna, "web: {enabled: false}\n")
    assert {"8080", "8090"}.isdisjoint(luna.machine.exec(LISTENING).stdout.split())


# Of the sockets in state 0A, LISTEN, the ports.
LISTENING = (
    "cat /proc/net/tcp /proc/net/tcp6 | while read -r _ local _ state _; do "
    '[ "$state" != 0A ] || echo $((0x${local##*:})); done'
)


def test_a_port_that_others_need_is_left_to_them(luna: Lunasched) -> None:
    """Where nobody asked for a page, and where one did and came too late."""
    machine = luna.machine
    machine.run("systemctl restart lunasched")
    machine.run(
        "systemd-run --quiet --unit=taker python3 -m http.server --bind 127.0.0.1 8080 "
        "--directory /usr/share/empty-nothing"
    )
    machine.wait_for(f"{LISTENING} | grep -qx 8080", what="the other server")
    machine.run(PAGE)
    said = machine.run("journalctl -u lunasched -o cat -p warning -n 5").stdout
    assert "there is no status page: 127.0.0.1:8080: Address already in use" in said
    luna("add", "--name", luna.name, "--schedule", "@yearly", "--command", "true")
    luna("start", luna.name, "--wait")
    luna.wait_for_runs(luna.name, 1)
    machine.run("systemctl stop taker; systemctl restart lunasched")
    status, text = ask(machine, "/")
    assert status == 200
    assert luna.name in text
    machine.run(f"rm {CONFIGURATION}; systemctl restart lunasched")


def test_a_user_has_a_page_on_demand_and_alone(own: Lunasched) -> None:
    own("add", "--name", own.name, "--schedule", "@yearly", "--command", "true")
    machine = own.machine
    configuration = "/home/luna/.config/lunasched/config.yaml"
    machine.run(["mkdir", "-p", "/home/luna/.config/lunasched"], user="luna")
    machine.write_file(configuration, "web: {enabled: true, port: 8081}\n", owner="luna")
    machine.run("systemctl --user restart lunasched", user="luna")
    try:
        status, text = ask(machine, "/", user="luna", port=8081)
        assert status == 200
        assert own.name in text
        assert ask(machine, "/", port=8081)[0] == 200
        assert ask(machine, "/", user="daemon", port=8081)[0] == 403
        assert ask(machine, "/metrics", user="daemon", port=8081)[0] == 403
    finally:
        machine.exec(["rm", configuration])
        machine.run("systemctl --user restart lunasched", user="luna")
    assert "8081" not in machine.exec(LISTENING).stdout


SLOW = """
import select, socket, sys, time
# Each is made again when it is closed: silent ones, and ones that send a byte at a time.
head = b"GET / HTTP/1.1\\r\\nHost: localhost\\r\\nX: " + b"x" * 10000
def connect():
    one = socket.create_connection(("127.0.0.1", 8080))
    one.setblocking(False)
    return one
held = [connect() for _ in range(300)]
print("held", flush=True)
said = [0] * 300
while not select.select([sys.stdin], [], [], 0.2)[0]:
    for number in range(0, 300, 2):
        try:
            held[number].send(head[said[number] : said[number] + 1])
            said[number] += 1
        except OSError:
            held[number].close()
            held[number], said[number] = connect(), 0
"""


def test_slow_clients_keep_nobody_from_the_metrics(page: Lunasched) -> None:
    """300 connections held by another user, who makes new ones for those that are closed.

    Prometheus gives up after 10 s: each of these requests has less, but on a busy machine.
    """
    luna = page
    machine = luna.machine
    machine.wait_for(lambda: ask(machine, "/metrics")[0] == 200, what="the page")
    limit = max(9, round(10 * luna.pace()))
    slow = machine.popen(["python3", "-c", SLOW], user="nobody")
    assert slow.stdout is not None
    assert b"held" in bytes(slow.stdout.readline())
    prompt = ASK.replace("timeout=30", f"timeout={limit}")
    for path in ("/metrics", "/", "/metrics", "/api/v1/jobs", "/metrics"):
        done = machine.exec(["python3", "-c", prompt, "8080", path])
        assert json.loads(done.stdout)[0] == 200
    slow.communicate(b"\n")
    assert slow.returncode == 0
    assert ask(machine, "/metrics")[0] == 200
