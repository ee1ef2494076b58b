"""Files with something wrong in them, made from good ones."""

from __future__ import annotations

import random
import re

WORDS = re.compile(rb"[A-Za-z0-9_.@-]+|\s+|.", re.DOTALL)
MARKS = [
    b"\0", b"\t", b"\r", b"\r\n", b"\n", b"  ", b"- ", b": ", b"&a ", b"*a ", b"<<: ", b"!!int ",
    b"'", b'"', b'"""', b"'''", b"[", b"]", b"{", b"}", b"[[", b"]]", b"#", b"|\n", b">-\n",
    b"---\n", b"...\n", b"? ", b"%", b"\\", b"\\u0000", b"\\uD800", b"\xff", b"\xed\xa0\x80",
    b"\xef\xbb\xbf", b"\xc2\x85", b"\xe2\x80\xa8", b"\x1b[31m", b".inf", b"nan", b"-1", b"1e999",
    b"9" * 5000, b"0x" + b"f" * 500, b"0x" + b"f" * 5000, b"null", b"true", b"02:30",
    b"2026-01-01", b"1_000",
    b"[" * 60, b"{a: " * 60, b"a." * 60, b"", b"-", b",", b"/", b"*", b"Mon",
]  # fmt: skip


def mutated(rng: random.Random, sources: list[bytes]) -> bytes:
    """One of some texts with a few changes: of bytes, of lines, of words of another one."""
    content = rng.choice(sources)
    for _ in range(rng.randint(1, 4)):
        lines = content.splitlines(keepends=True) or [b"\n"]
        number = rng.randrange(len(lines))
        at = rng.randrange(len(content) + 1)
        match rng.randrange(9):
            case 0:
                content = content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :]
            case 1:
                del lines[number]
                content = b"".join(lines)
            case 2:
                lines.insert(rng.randrange(len(lines)), lines[number])
                content = b"".join(lines)
            case 3:
                other = rng.randrange(len(lines))
                lines[number], lines[other] = lines[other], lines[number]
                content = b"".join(lines)
            case 4:
                words = WORDS.findall(content) or [b""]
                others = WORDS.findall(rng.choice(sources)) or [b""]
                words[rng.randrange(len(words))] = rng.choice(others)
                content = b"".join(words)
            case 5:
                lines[number] = rng.choice(rng.choice(sources).splitlines(keepends=True) or [b""])
                content = b"".join(lines)
            case 6:
                words = WORDS.findall(content) or [b""]
                words[rng.randrange(len(words))] = rng.choice(MARKS)
                content = b"".join(words)
            case 7:
                content = content[:at] + rng.choice(MARKS) + content[at:]
            case 8:
                content = content[:at]
    return content
