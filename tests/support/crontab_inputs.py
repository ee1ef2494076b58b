"""Crontabs for comparisons: each thing that is written in one, alone, and mixtures at random."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

_TIMES = """\
* * * * *|*/5 * * * *|0 3 * * *|1,2,3 4-6 * jan-mar mon|0 0 31 2 *|61 * * * *|* 24 * * *|* * 0 * *
* * * 13 *|* * * * 8|* * * * 7|*/0 * * * *|5/2 * * * *|1-5/2 * * * *|5-1 * * * *|* * * * sun-tue
* * * * fri-sun|@daily|@hourly|@reboot|@midnight|@DAILY|@foo|@every 5m|-5 * * * *|* * *|~ * * * *
1~5 * * * *|? * * * *|L * * * *|* * L * *|* * * * 1#2|0-59 * * * *|00 03 * * *|*,5 * * * *
1, * * * *|,1 * * * *|1,,2 * * * *|*/5,*/7 * * * *|*-5 * * * *|* * * JAN *|* * * january *
* * * * Monday|* * * * 0-7|* * * * 1-7|@ daily|  * * * * *|+1 * * * *|1.5 * * * *|*/60 * * * *
*/100 * * * *|0x5 * * * *|@annually|@yearly|@weekly|@monthly|4-4 * * * *|1-2-3 * * * *
* * * * 5-2|* * 31-1 * *|* * * nov-feb *|*/2/3 * * * *|1/5 * * * *|* * * * */2|mon * * * *
000000000000003 * * * *""".replace("\n", "|").split("|")
_COMMANDS = [
    "true", "/bin/x -a 'b c' \"d\"", "a%b%c", "a\\%b", "", "  ", "%stdin", "-q x", "root x",
    "x # c", "x" * 900, "x" * 1200, "é ü", "* x", "x\r", "&", "|x", ";", ")", "x\\", "$HOME/x",
    "@daily x", "-n x",
]  # fmt: skip
_VARIABLES = [
    "A=b", "A = b", "A='b c'", 'A="b', "A='b", '"A"=b', "'A'=b", "A=", 'A=""', "=b", "A b=c",
    "export A=b", "1A=b", "A-B=c", "A.B=c", "MAILTO=a@b", "MAILTO=", 'MAILTO=""', "MAILTO=a,b",
    "SHELL=bash", "SHELL=/bin/bash", "CRON_TZ=Nowhere", "CRON_TZ=Europe/Berlin", "RANDOM_DELAY=x",
    "LOGNAME=root", "HOME=/x", "PATH=/a:b", " A=b", "A=b # c", "A=b\r", "é=1", "A=é",
    "A=" + "x" * 600, "A=b=c", "A==b", "MAILTO=a b", "NAME=-x",
]  # fmt: skip
_OTHERS = [
    "# c", "", "   ", "\t", "#", "bad line", "x", "\ufeff* * * * * x", "\\", "* * * * * x\\",
    "\x0c", "\r", "# x\r", "\x01", "# lunasched: timeout=1h",
]  # fmt: skip
_WHOLE = [
    b"", b"\n", b"* * * * * x", b"# x", b"A=b", b"\n\n", b"* * * * * \xff\xfe\n",
    b"* * * * * a\0b\n", b"\0", bytes(range(256)), b"x" * 100_000 + b"\n",
    b"* * * * * x\n" * 1001, b"#" * 2000 + b"\n",
    b"* * * * * x\r\n* * * * * y\r\n", b"* * * * * x\n ", b"* * * * * x\n#", b"* * * * * x\n\t\n ",
]  # fmt: skip


def crontab_inputs(rng: random.Random, number: int) -> list[bytes]:
    """So many texts, valid and not; the same ones for the same random numbers."""
    alone = [
        *(f"{times} x\n" for times in _TIMES),
        *(f"* * * * * {command}\n" for command in _COMMANDS),
        *(f"{line}\n* * * * * x\n" for line in (*_VARIABLES, *_OTHERS)),
    ]
    found = [*_WHOLE, *(text.encode() for text in alone)]
    while len(found) < number:
        found.append("".join(_line(rng) for _ in range(rng.randint(1, 4))).encode())
    return found


def _line(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.55:
        between = rng.choice((" ", "\t", "  ", ""))
        return f"{rng.choice(_TIMES)}{between}{rng.choice(_COMMANDS)}\n"
    return f"{rng.choice(_VARIABLES if kind < 0.85 else _OTHERS)}\n"
