"""The user at the other end of a connection on this machine.

The kernel lists the owner of every TCP socket (proc(5), ``/proc/net/tcp``). A socket that no
process holds any more is listed as root's, but nobody could read an answer from it: it has no
inode, and counts as nobody's.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_TABLES = ("tcp", "tcp6")
_NET = Path("/proc/self/net")

# The columns of a line, counted from 0.
_LOCAL, _REMOTE, _UID, _INODE = 1, 2, 7, 9


def owner(client: Any, server: Any, net: Path = _NET) -> int | None:
    """The user ID of the process behind ``client``, connected to ``server``.

    Both are addresses as a socket has them. ``None`` if it is not on this machine, or gone.
    """
    wanted = {(local, remote) for local in _written(client) for remote in _written(server)}
    return next((uid for ends, uid in _sockets(net) if ends in wanted), None)


def owners(connections: list[tuple[Any, Any]], net: Path = _NET) -> list[int | None]:
    """The same of several connections, in one look: each a client and a server."""
    found = dict(_sockets(net))
    return [
        next(
            (
                uid
                for local in _written(client)
                for remote in _written(server)
                if (uid := found.get((local, remote))) is not None
            ),
            None,
        )
        for client, server in connections
    ]


def _sockets(net: Path) -> Iterator[tuple[tuple[str, str], int]]:
    """Yield the ends of each socket that a process holds, as in the tables, and its owner."""
    for table in _TABLES:
        try:
            with (net / table).open(encoding="ascii") as lines:
                next(lines, "")
                for line in lines:
                    columns = line.split()
                    if columns[_INODE] != "0":
                        yield (columns[_LOCAL], columns[_REMOTE]), int(columns[_UID])
        except OSError:
            continue


def _written(address: Any) -> tuple[str, ...]:
    """An address and port as the tables have them: words in the order of the machine's bytes."""
    host = ipaddress.ip_address(address[0].partition("%")[0])
    port = f"{address[1]:04X}"
    if isinstance(host, ipaddress.IPv6Address) and host.ipv4_mapped is None:
        return (f"{_words(host.packed)}:{port}",)
    four = host.ipv4_mapped if isinstance(host, ipaddress.IPv6Address) else host
    assert four is not None
    mapped = ipaddress.IPv6Address(b"\0" * 10 + b"\xff\xff" + four.packed)
    return (f"{_words(four.packed)}:{port}", f"{_words(mapped.packed)}:{port}")


def _words(packed: bytes) -> str:
    words = (packed[start : start + 4] for start in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)
