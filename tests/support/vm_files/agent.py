"""Runs inside a test VM, as root: executes what the host asks for on a virtio-serial port.

One JSON object a line, answered by one with the same ``id``. Bytes are base64. Nothing here
depends on the wall clock, which is what the host steps.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

PORT = "lunasched.agent"


def main() -> None:
    with _port().open("r+b", buffering=0) as port:
        pending = b""
        while received := port.read(1 << 16):
            *lines, pending = (pending + received).split(b"\n")
            for line in lines:
                request = json.loads(line)
                try:
                    answer = _answer(request)
                except Exception as error:
                    answer = {"error": f"{type(error).__name__}: {error}"}
                reply = json.dumps({"id": request["id"], **answer}).encode() + b"\n"
                while reply:
                    reply = reply[port.write(reply) :]


def _port() -> Path:
    for name in Path("/sys/class/virtio-ports").glob("*/name"):
        if name.read_text().strip() == PORT:
            return Path("/dev", name.parent.name)
    raise SystemExit(f"no virtio-serial port is named {PORT}")


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    if "set_clock" in request:
        time.clock_settime_ns(time.CLOCK_REALTIME, request["set_clock"])
        return {}
    if "argv" in request:
        return _run(request)
    return {"now": time.time_ns()}


def _run(request: dict[str, Any]) -> dict[str, Any]:
    """Run a command; the exit code is null if it was killed at its timeout."""
    user = request["user"]
    process = subprocess.Popen(
        request["argv"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=request["env"],
        cwd=request["cwd"],
        user=user,
        group=user,
        extra_groups=None if user is None else os.getgrouplist(user, _group(user)),
        start_new_session=True,
    )
    code: int | None
    try:
        out, err = process.communicate(base64.b64decode(request["input"]), request["timeout"])
        code = process.returncode
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        code = None
    return {
        "code": code,
        "stdout": base64.b64encode(out).decode(),
        "stderr": base64.b64encode(err).decode(),
    }


def _group(user: str) -> int:
    import pwd  # here alone: nearly every command is root's, and an import is slow in a VM

    return pwd.getpwnam(user).pw_gid


if __name__ == "__main__":
    main()
