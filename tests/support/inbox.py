"""A server on a machine that notifications are sent to, and what it received."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

from machine import Machine

_PORTS = count(9000)


def free_port() -> int:
    """Return a port of the machine that no other test has."""
    return next(_PORTS)


class Inbox:
    """A server on the machine that answers as it is told to, and what it was sent."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.port = free_port()
        self.unit = f"receiver-{self.port}"
        self.directory = f"/tmp/{self.unit}"
        self.start()

    def start(self) -> None:
        server = ["python3", "/opt/lunasched/tests/support/receiver.py", str(self.port)]
        places = [f"{self.directory}.log", self.directory]
        self.machine.run(
            ["systemd-run", "--quiet", "--collect", f"--unit={self.unit}", *server, *places]
        )
        listening = f"exec 3<>/dev/tcp/127.0.0.1/{self.port}"
        self.machine.wait_for(["bash", "-c", listening], 20, what="the receiver")

    def stop(self) -> None:
        self.machine.run(["systemctl", "stop", self.unit], check=False)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    def answer(self, path: str, *replies: str) -> None:
        text = "".join(f"{reply}\n" for reply in replies)
        self.machine.write_file(f"{self.directory}/{path}", text)

    def requests(self, path: str) -> list[dict[str, Any]]:
        read = self.machine.exec(["cat", f"{self.directory}.log"], check=False).stdout
        found = [json.loads(line) for line in read.splitlines()]
        return [one for one in found if one["path"].lstrip("/").partition("/")[0] == path]

    def wait_for(self, path: str, number: int, timeout: float = 30) -> list[dict[str, Any]]:
        self.machine.wait_for(
            lambda: len(self.requests(path)) >= number,
            timeout,
            what=f"{number} messages at {path}",
            interval=0.2,
        )
        return self.requests(path)
