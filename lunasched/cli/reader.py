"""The system's jobs and history for those who may read them and not the database.

The database holds secrets of jobs beside the history, so nobody but root and the supervisor's user
opens it. Members of the group ``lunasched-history`` may connect to a socket of systemd's, which
starts this program as the supervisor's user for one of a few commands that only read; what it
prints goes straight to the caller's own output, which is passed along. ::

    lunasched --system list          lunasched-history@.service
        arguments, stdout, stderr ──►  the same command, as the user lunasched
                      exit status ◄──
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

import typer

from lunasched.cli.app import app
from lunasched.errors import ExitCode, InvalidInput, LunaschedError, PermissionDenied
from lunasched.formats.pattern import pattern
from lunasched.machine.turns import (
    NO_CONNECTION,
    TURNS_MAX,
    accepted_connection,
    caller_of,
    takes_turn,
)
from lunasched.paths import HISTORY_SOCKET, is_supervisor

GROUP = "lunasched-history"
COMMANDS = ("list", "get", "history", "logs", "graph", "queue", "next")
"""The commands that a reader may call."""

_BYTES_MAX = 1 << 16
# A program sends the request at once.
_REQUEST_SECONDS = 5.0
# The answer beyond the limit: MaxConnectionsPerSource= of systemd 252 does not count users.
_BUSY = b"busy"
# The variables of the caller that change the output.
_VARIABLES = ("TZ", "NO_COLOR", "COLUMNS")
_ZONE = pattern(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*\Z")
_SECRETS = "--show-secrets"


def is_for(arguments: Sequence[str]) -> bool:
    """Tell whether the command is one for readers, of somebody who is one."""
    return (
        "--system" in arguments
        and os.geteuid() != 0
        and _command(arguments) in COMMANDS
        and os.path.exists(HISTORY_SOCKET)  # noqa: PTH110 - pathlib is slower to be loaded than this
        and not _owns_database()
    )


def ask(arguments: Sequence[str]) -> int:
    """Have the command run for us; its exit status. Raises ``PermissionDenied``."""
    environment = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    request = json.dumps({"arguments": list(arguments), "environment": environment}) + "\n"
    sys.stdout.flush()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(HISTORY_SOCKET)
        except PermissionError:
            raise PermissionDenied(
                "the system's jobs are root's, and readable for members of the group "
                f"{GROUP} (usermod --append --groups {GROUP} USER); for your own jobs, use --user"
            ) from None
        except OSError as error:
            raise LunaschedError(
                f"{HISTORY_SOCKET}: {error.strerror}; "
                "see: systemctl status lunasched-history.socket"
            ) from error
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        answer = b""
        with suppress(ConnectionError):
            # The output goes along with the first byte.
            sent = socket.send_fds(connection, [request.encode()], [1, 2])
            connection.sendall(request.encode()[sent:])
            answer = connection.recv(16)
    if not answer:
        raise LunaschedError(
            "the answer was cut off: it may take an hour and 256 MiB at most; "
            "see: journalctl -u 'lunasched-history@*'"
        )
    if answer == _BUSY:
        raise LunaschedError(
            f"{TURNS_MAX} of your commands are running, which is the limit for a user; "
            "end one of them"
        )
    return int(answer) if answer.isdigit() and len(answer) < 4 else ExitCode.FAILED


@app.command("serve-reader", hidden=True)
def serve_reader() -> None:
    """Run one command for who is connected to standard input (lunasched-history@.service)."""
    connection = accepted_connection()
    if connection is None:
        raise InvalidInput(NO_CONNECTION)
    if not takes_turn(caller_of(connection)):
        connection.sendall(_BUSY)
        raise typer.Exit(ExitCode.DONE)
    connection.settimeout(_REQUEST_SECONDS)
    request, outputs = _received(connection)
    if len(outputs) != 2:
        raise InvalidInput("the caller passed no output along")
    child = os.fork()
    if child == 0:
        status: int = ExitCode.FAILED
        try:
            for number, output in enumerate(outputs, start=1):
                os.dup2(output, number)
            connection.close()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            status = _run(request)
        finally:
            os._exit(status)
    for output in outputs:
        os.close(output)
    status = _wait(child, connection)
    with suppress(OSError):
        connection.sendall(str(status).encode())
    raise typer.Exit(ExitCode.DONE)


def _run(request: str) -> int:
    """Run the command that is asked for, if it may be."""
    from lunasched.cli import main

    arguments, environment = _checked(json.loads(request))
    os.environ.update(environment)
    time.tzset()
    sys.argv[1:] = arguments
    try:
        return main()
    finally:
        sys.stdout.flush()


def _checked(request: object) -> tuple[list[str], dict[str, str]]:
    """The arguments and variables of a request; refuses what is not for readers."""
    arguments = request.get("arguments") if isinstance(request, dict) else None
    given = request.get("environment") if isinstance(request, dict) else None
    if (
        not isinstance(arguments, list)
        or not all(isinstance(word, str) for word in arguments)
        or _command(arguments) not in COMMANDS
        or _SECRETS in arguments
        or "--user" in arguments
        or "--system" not in arguments
    ):
        print(
            f"lunasched: members of {GROUP} can ask for {', '.join(COMMANDS)}, with --system",
            file=sys.stderr,
        )
        os._exit(ExitCode.PERMISSION)
    environment = {
        name: value
        for name, value in (given if isinstance(given, dict) else {}).items()
        if name in _VARIABLES and isinstance(value, str)
    }
    # A path would let the caller read a file with another user's rights.
    if not _ZONE.match(environment.get("TZ", "UTC")):
        del environment["TZ"]
    return arguments, environment


def _received(connection: socket.socket) -> tuple[str, list[int]]:
    """Receive the caller's request: a line, and open files."""
    data, outputs = b"", list[int]()
    deadline = time.monotonic() + _REQUEST_SECONDS
    while not data.endswith(b"\n"):
        if time.monotonic() > deadline:
            raise InvalidInput("the caller was too slow to send a command")
        more, files, _, _ = socket.recv_fds(connection, _BYTES_MAX, 2)
        outputs += files
        data += more
        if not more or len(data) > _BYTES_MAX:
            raise InvalidInput("the caller sent no command")
    return data.decode(errors="replace"), outputs


def _wait(child: int, connection: socket.socket) -> int:
    """The exit status of the child, which ends with the caller: nobody else would stop it."""
    ended = os.pidfd_open(child)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(connection, select.POLLHUP)
    if all(descriptor != ended for descriptor, _ in poll.poll()):
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) & 0xFF


def _command(arguments: Sequence[str]) -> str | None:
    return next((word for word in arguments if not word.startswith("-")), None)


def _owns_database() -> bool:
    """Tell whether we are the supervisor's user, who needs no help."""
    return is_supervisor(os.geteuid())
