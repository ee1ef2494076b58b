"""The command of an entry: what cron's ``%`` makes of it, and what can be seen in it."""

from __future__ import annotations

import base64
import re

from lunasched.errors import InvalidInput
from lunasched.formats import unittext


def split_percent(text: str) -> tuple[str, str | None]:
    """The command for the shell, and its standard input if it has a ``%`` (crontab(5)).

    In the command ``\\%`` is a ``%`` and, with Debian's cron, ``\\\\`` a backslash. In the input,
    a ``%`` is a newline and ``\\%`` a ``%``, all else stays, and a newline is added where the last
    is missing (not where nothing but backslashes follows the last one).
    """
    command, position = "", 0
    while position < len(text):
        char, after = text[position], text[position + 1 : position + 2]
        if char == "%":
            return command, _input(text[position + 1 :])
        if char == "\\" and after:
            command += after if after in ("%", "\\") else char + after
            position += 2
        else:
            command += char
            position += 1
    return command, None


def _input(text: str) -> str:
    found, escaped, needs_newline = "", False, False
    for char in text:
        if escaped:
            found += "" if char == "%" else "\\"
        elif char == "%":
            char = "\n"
        # A backslash after a backslash still escapes what follows it.
        escaped = char == "\\"
        if not escaped:
            found += char
            needs_newline = char != "\n"
    if escaped:
        found += "\\"
    return f"{found}\n" if needs_newline else found


def input_directives(text: str) -> dict[str, str]:
    """The directives of systemd.exec(5) by which a command is given this standard input."""
    if not text:
        # systemd's own default: /dev/null.
        return {}
    # systemd ends StandardInputText= with a newline of its own; an empty one would reset it.
    body = text.removesuffix("\n")
    escaped = "".join(map(_escaped, body))
    escaped = re.sub(r"\A | \Z", r"\\x20", escaped)
    if body and body != text:
        try:
            unittext.raw(escaped)
        except InvalidInput:
            pass
        else:
            return {"StandardInput": "data", "StandardInputText": escaped}
    data = base64.b64encode(text.encode()).decode()
    return {"StandardInput": "data", "StandardInputData": data}


def _escaped(char: str) -> str:
    # C escapes are read before specifiers.
    if char in "\n\t":
        return {"\n": "\\n", "\t": "\\t"}[char]
    if char == "%":
        return "%%"
    if char == "\\":
        return "\\x5c"
    return f"\\x{ord(char):02x}" if ord(char) < 0x20 or ord(char) == 0x7F else char
