"""Debian's Chromium, driven over its own protocol on a pair of pipes.

What a page did is kept: requests, messages of the console, breaches of its policy. A browser can be
run inside a test machine's network, with the host's files.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-default-apps", "--disable-extensions", "--hide-scrollbars", "--mute-audio"),
    *("--disable-dev-shm-usage", "--no-proxy-server", "--remote-debugging-pipe"),
)


class Browser:
    """One Chromium with one page; ``network`` is a file of a network namespace to run it in."""

    def __init__(self, network: Path | None = None) -> None:
        program = shutil.which("chromium")
        assert program, "run tests/support/setup.sh"
        self._profile = tempfile.mkdtemp(prefix="lunasched-browser-")
        commands, self._commands = _pipe()
        self._answers, answers = _pipe()
        # It takes its pipes as 3 and 4.
        redirected = f'exec "$@" 3<&{commands} 4>&{answers} {commands}<&- {answers}>&-'
        enter = [] if network is None else ["nsenter", f"--net={network}"]
        argv = [program, *FLAGS, f"--user-data-dir={self._profile}", "about:blank"]
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", redirected, "bash", *enter, *argv],
            pass_fds=(commands, answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "HOME": self._profile},
        )
        os.close(commands)
        os.close(answers)
        self._unread = b""
        self._number = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Audits"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in (self._commands, self._answers):
            os.close(descriptor)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        shutil.rmtree(self._profile, ignore_errors=True)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol; what it returns."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            said = self._next()
            if said.get("id") == self._number:
                assert "error" not in said, (method, said["error"])
                result: dict[str, Any] = said["result"]
                return result
            self.events.append(said)

    def open(self, url: str) -> int:
        """Load a page, and forget those before it; its status."""
        self.events.clear()
        self.call("Page.navigate", url=url)
        self.wait_for_load()
        answers = self.named("Network.responseReceived")
        return next(
            int(answer["response"]["status"])
            for answer in reversed(answers)
            if answer["type"] == "Document"
        )

    def wait_for_load(self) -> None:
        """Wait until the page is there, since the events were cleared."""
        self._wait_for("Page.loadEventFired")
        # What the page does beside its load, such as reports of its policy, has been told then.
        self.run("new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")

    def named(self, method: str) -> list[dict[str, Any]]:
        """What the events of a kind said since the page was opened."""
        return [event["params"] for event in self.events if event.get("method") == method]

    def requests(self) -> list[str]:
        """The URLs that were asked for since then."""
        return [event["request"]["url"] for event in self.named("Network.requestWillBeSent")]

    def complaints(self) -> list[str]:
        """What the console, the policy and the browser's own audits had to say."""
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [
            json.dumps(said)
            for kind in (*kinds, "Audits.issueAdded", "Network.loadingFailed")
            for said in self.named(kind)
        ]

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        done = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def look(self, *, width: int, dark: bool, height: int = 900) -> None:
        """Have a screen of this width, and prefer one of the two themes."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path: Path) -> None:
        """Save the whole page as a PNG."""
        taken = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(taken["data"]))

    def _wait_for(self, method: str, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not self.named(method):
            self.events.append(self._next(deadline - time.monotonic()))

    def _next(self, seconds: float = 30) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while b"\0" not in self._unread:
            left = max(0, deadline - time.monotonic())
            ready, _, _ = select.select([self._answers], [], [], left)
            if not ready:
                raise TimeoutError("Chromium does not answer")
            received = os.read(self._answers, 1 << 20)
            if not received:
                raise RuntimeError("Chromium has ended")
            self._unread += received
        message, _, self._unread = self._unread.partition(b"\0")
        said: dict[str, Any] = json.loads(message)
        return said


def _pipe() -> tuple[int, int]:
    """A pipe whose ends have numbers that nothing else wants."""
    ends = os.pipe()
    moved = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 20) for end in ends]
    for end in ends:
        os.close(end)
    return moved[0], moved[1]
