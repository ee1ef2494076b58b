"""The user's own crontab, for who has no rights to the spool: a service of systemd's has."""

from __future__ import annotations

import socket
from typing import Any

from lunasched.errors import LunaschedError
from lunasched.formats.printable import printable
from lunasched.paths import CRONTAB_SOCKET
from lunasched.usercrontab.exchange import (
    SpoolAnswer,
    SpoolRequest,
    receive_words,
    send_words,
)


class RemoteSpool:
    """The crontab of the user who calls; who that is, the service asks the kernel."""

    def read(self, user: str) -> bytes | None:
        """The text of the crontab; ``None`` if there is none."""
        answer, text = self._ask(SpoolRequest.READ, user)
        return text if answer is SpoolAnswer.DONE else None

    def write(self, user: str, text: bytes) -> None:
        """Replace the text of the crontab."""
        self._ask(SpoolRequest.WRITE, user, text)

    def remove(self, user: str) -> bool:
        """Remove the crontab; ``False`` if there is none."""
        answer, _ = self._ask(SpoolRequest.REMOVE, user)
        return answer is SpoolAnswer.DONE

    def _ask(
        self, request: SpoolRequest, user: str, text: bytes = b""
    ) -> tuple[SpoolAnswer, bytes]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            try:
                connection.connect(CRONTAB_SOCKET)
            except OSError as error:
                raise LunaschedError(
                    f"{CRONTAB_SOCKET}: {error.strerror}; "
                    "see: systemctl status lunasched-usercrontab.socket"
                ) from error
            send_words(connection, {"request": request.value, "user": user}, text)
            words, received = receive_words(connection)
        answer = _answer(words)
        if answer is SpoolAnswer.FAILED:
            raise LunaschedError(printable(str(words.get("message", ""))))
        return answer, received


def _answer(words: dict[str, Any]) -> SpoolAnswer:
    try:
        return SpoolAnswer(words.get("answer"))
    except ValueError:
        raise LunaschedError("the service gave an answer that is none") from None
