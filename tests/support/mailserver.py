"""A mail server that takes mail from who logs in, on a test machine: PORT DIRECTORY NAME PASSWORD.

Each message becomes a file of the directory (Maildir).
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from aiosmtpd.handlers import Mailbox
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


async def serve(port: int, directory: str, name: str, password: str) -> None:
    """Take mail until killed."""

    expected = LoginPassword(name.encode(), password.encode())

    def login(*about: Any) -> AuthResult:
        return AuthResult(success=about[-1] == expected)

    def connected() -> SMTP:
        return SMTP(
            Mailbox(Path(directory)),
            hostname="mail.example",
            authenticator=login,
            auth_required=True,
            auth_require_tls=False,
        )

    server = await asyncio.get_running_loop().create_server(connected, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), *sys.argv[2:]))
