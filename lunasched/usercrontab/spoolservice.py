"""The service behind crontab(1): one request of the user who is connected to standard input.

systemd starts it as root for a connection (lunasched-usercrontab@.service). It asks the kernel
whose that is, and becomes the user, in the group of the spool, before it reads a byte of the
request: it has the rights of cron's set-group-ID program, and nothing of its environment is theirs.
"""

from __future__ import annotations

import os
import pwd
import socket

from lunasched.errors import InvalidInput, LunaschedError
from lunasched.machine.turns import (
    NO_CONNECTION,
    TURNS_MAX,
    accepted_connection,
    caller_of,
    takes_turn,
)
from lunasched.usercrontab.exchange import (
    SECONDS_MAX,
    SpoolAnswer,
    SpoolRequest,
    end_answer,
    receive_words,
    send_words,
)
from lunasched.usercrontab.permission import may_have_crontab
from lunasched.usercrontab.spool import Spool, spool_group


def main() -> int:
    """SpoolAnswer one request; the exit status says whether the user has an answer."""
    connection = accepted_connection()
    if connection is None:
        raise InvalidInput(NO_CONNECTION)
    try:
        answer, text = _answered(connection)
        words = {"answer": answer.value}
    except LunaschedError as error:
        words, text = {"answer": SpoolAnswer.FAILED.value, "message": str(error)}, b""
    try:
        connection.settimeout(SECONDS_MAX)
        send_words(connection, words, text)
        end_answer(connection)
    except OSError:
        return 1
    return 0


def _answered(connection: socket.socket) -> tuple[SpoolAnswer, bytes]:
    user = _become_caller(connection)
    words, text = receive_words(connection)
    if words.get("user") != user:
        # Two names of one user ID: the kernel knows no names.
        raise LunaschedError(f"your crontab is that of {user}")
    spool = Spool()
    request = words.get("request")
    if request == SpoolRequest.READ.value:
        found = spool.read(user)
        return (SpoolAnswer.NONE, b"") if found is None else (SpoolAnswer.DONE, found)
    if request == SpoolRequest.WRITE.value:
        spool.write(user, text)
        return SpoolAnswer.DONE, b""
    if request == SpoolRequest.REMOVE.value:
        return (SpoolAnswer.DONE if spool.remove(user) else SpoolAnswer.NONE), b""
    raise LunaschedError("a request is to read, to write or to remove a crontab")


def _become_caller(connection: socket.socket) -> str:
    """Give up the rights of root for those of the user who is connected; the user's name."""
    uid = caller_of(connection)
    if not takes_turn(uid):
        raise LunaschedError(f"{TURNS_MAX} of your requests are being answered; try again")
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        raise LunaschedError(f"there is no user with the ID {uid}") from None
    if not may_have_crontab(user):
        raise LunaschedError(f"you ({user}) are not allowed to have a crontab")
    group = spool_group()
    os.setgroups([])
    os.setresgid(group, group, group)
    os.setresuid(uid, uid, uid)
    os.umask(0o077)
    return user
