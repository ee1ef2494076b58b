"""An HTTP server that answers as it is told to, and notes what it was sent.

In a test as a thread; on a test machine as a program: ``receiver.py PORT LOG REPLIES``. What is
answered is in a file of REPLIES that is called as the first part of the path: a status a line,
with headers after it, or ``hang``, or ``drop`` for no answer. Each line is for one request, and the
last one for all that follow; without a file the answer is 200. LOG gets a line of JSON for each
request.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Receiver(ThreadingHTTPServer):
    """The server, listening at a port of the loopback interface (0: any that is free)."""

    daemon_threads = True
    request_queue_size = 100

    def __init__(self, port: int, log: Path, replies: Path) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.log = log
        self.replies = replies
        self.lock = threading.Lock()

    def url(self, path: str) -> str:
        """A URL of it."""
        return f"http://127.0.0.1:{self.server_port}/{path}"

    def requests(self, path: str = "") -> list[dict[str, Any]]:
        """What it was sent, of one first part of a path or of all."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        found = [json.loads(line) for line in lines]
        return [one for one in found if not path or first_part(one["path"]) == path]

    def answer(self, path: str, *replies: str) -> None:
        """What to answer to the requests of a first part of a path."""
        (self.replies / path).write_text("".join(f"{reply}\n" for reply in replies))

    def next_reply(self, path: str) -> str:
        file = self.replies / path
        with self.lock:
            lines = file.read_text().splitlines() if file.exists() else []
            if len(lines) > 1:
                file.write_text("".join(f"{line}\n" for line in lines[1:]))
        return lines[0] if lines else "200"

    def note(self, request: dict[str, Any]) -> None:
        with self.lock, self.log.open("a") as file:
            file.write(json.dumps(request) + "\n")


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        reply = self.server.next_reply(first_part(self.path))
        status, *headers = reply.split("|")
        self.server.note(
            {
                "path": self.path,
                "key": self.headers.get("Idempotency-Key"),
                "headers": dict(self.headers),
                "body": body.decode(errors="replace"),
                "status": status,
                "at": time.time(),
                "uptime": time.monotonic(),
            }
        )
        if status == "hang":
            time.sleep(3600)
        if status == "drop":
            self.close_connection = True
            return
        self.send_response(int(status))
        for header in headers:
            name, _, value = header.partition(":")
            self.send_header(name.strip(), value.strip())
        text = f"said {status}\n".encode()
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_HEAD = do_PUT = do_POST  # noqa: N815

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """Nothing on standard error."""


def first_part(path: str) -> str:
    return path.lstrip("/").partition("/")[0].partition("?")[0]


if __name__ == "__main__":
    port, log, replies = sys.argv[1:]
    Path(replies).mkdir(parents=True, exist_ok=True)
    Receiver(int(port), Path(log), Path(replies)).serve_forever()
