"""Output of a run that is not under its unit: of processes that have left it.

``su``, ``runuser -l`` and ``sudo -i`` open a session by PAM, and pam_systemd moves them into the
scope of that session; ``systemd-run --scope`` moves itself. journald then files what they print
under the scope. They print to the stdout of the run all the same, and journald gives each
connection to its stdout socket a number: the *stream*, ``_STREAM_ID``, which each line has that
came by it (seen in systemd 252 and 257). Two things make a stream the run's:

- The run's unit has printed by it, too. (journald also files under the unit what came from a
  process that had ended when it looked, because root opened the stream for the unit.)
- A user whom the run has entered prints by it in a session that was opened meanwhile, and by the
  run's identifier. That the run has entered a user says PAM, which logs it before pam_systemd moves
  the process, or the job's own command. Anybody can open a stream with any identifier, but to write
  into the output of a run it takes a process of the very user to whom the run has given it.
"""

from __future__ import annotations

import pwd
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any

from lunasched.dataclass import dataclass
from lunasched.formats.pattern import pattern

Fields = Mapping[str, str]

# So many of the first and of the last records are looked at for streams.
_RECORDS_MAX = 200
# What PAM logs under, of the programs that change the user.
_PROGRAMS = ("su", "runuser", "sudo", "doas", "pkexec")
_OPENED = pattern(r"pam_unix\([^)]*:session\): session opened for user ([^\s(]+)(?:\(uid=(\d+)\))?")
_SCOPE = pattern(r"session-[^.]+\.scope\Z")
_STARTED = "39f53479d3a045ac8e11786248231fbf"


def is_attributed(entry: Mapping[str, Any]) -> bool:
    """Tell whether journald could ask which run the writer of a record was of.

    Where the writer has ended, journald knows the unit by the stream, and takes the run that the
    unit has by then (seen in systemd 252): what a run printed before becomes the next one's.
    """
    return "_SYSTEMD_INVOCATION_ID" in entry and "_SYSTEMD_CGROUP" in entry


def own_streams(
    reader: Any, of_unit: Fields, since: int, until: int | None
) -> dict[str, Mapping[str, Any]]:
    """Return the streams by which a run's unit has printed from a time (µs, UTC) to another.

    Each with a record, that of a writer who was still there, if there is one. ``of_unit`` are the
    fields of what the run's processes write in its unit.
    """
    return _streams(reader, of_unit, since, until)


def stream_by_time(reader: Any, of_unit: Fields, since: int, until: int | None) -> list[str]:
    """Return the stream that a run's unit has printed by in its time, where there is only one.

    Of what journald takes in when its writer has ended, it does not know which run of the unit
    wrote it. A run has one stream, so what came by several is, in part, of another run. None of
    those counts by which a run printed that is known.
    """
    found = _streams(reader, of_unit, since, until)
    streams = [stream for stream, entry in found.items() if not is_attributed(entry)]
    if len(streams) != 1 or _at_first(reader, {"_STREAM_ID": streams[0]}) < since:
        return []
    is_anothers = any(
        is_attributed(entry) and of_unit.items() <= entry.items()
        for entry in _ends(reader, streams[0])
    )
    return [] if is_anothers else streams


def streams_of_user(
    reader: Any, user: int, identifier: str, since: int, until: int | None
) -> list[str]:
    """Return the streams that are a run's because a user prints by them whom it has entered.

    ``since`` (µs, UTC) is when the run may have entered them.
    """
    fields = {"_UID": str(user), "_SYSTEMD_OWNER_UID": str(user), "SYSLOG_IDENTIFIER": identifier}
    return [
        stream
        for stream, entry in _streams(reader, fields, since, until).items()
        if _SCOPE.match(str(entry.get("_SYSTEMD_UNIT", "")))
        and _at_first(reader, {"_STREAM_ID": stream}) >= since
        and _at_first(reader, _start_of(entry)) >= since
    ]


@dataclass(frozen=True, slots=True)
class UserEntry:
    """That a process has become a user, by its own account in the unit of a run."""

    user: int
    pid: int
    at: int
    """The time (µs, UTC)."""


def user_entries(reader: Any, of_unit: Fields, since: int) -> list[UserEntry]:
    """Return how processes in a unit became users since a time (µs, UTC), the newest first."""
    _match(reader, {**of_unit, "_UID": "0", "_TRANSPORT": "syslog"})
    for program in _PROGRAMS:
        reader.add_match(f"SYSLOG_IDENTIFIER={program}")
    reader.seek_tail()
    found = []
    for entry in islice(iter(reader.get_previous, {}), _RECORDS_MAX):
        at = entry["__REALTIME_TIMESTAMP"]
        if at < since:
            break
        said = _OPENED.match(_text(entry))
        user = None if said is None else _user_id(said[1], said[2])
        if user is not None:
            found.append(UserEntry(user, int(entry["_PID"]), at))
    return found


def scopes(reader: Any, streams: Iterable[str], field: str) -> list[str]:
    """Return the scopes from which something came by streams, at their beginning or end.

    ``field`` is the one that has the unit.
    """
    found: dict[str, None] = {}
    for stream in streams:
        for entry in _ends(reader, stream):
            unit = str(entry.get(field, ""))
            if unit.endswith(".scope"):
                found[unit] = None
    return list(found)


def has_left(reader: Any, stream: str, of_unit: Fields) -> bool:
    """Tell if something came by a stream that is not under a unit, at its beginning or its end."""
    return any(
        str(entry.get(name, "")) != value
        for entry in _ends(reader, stream)
        for name, value in of_unit.items()
    )


def _ends(reader: Any, stream: str) -> Iterator[dict[str, Any]]:
    """The first and the last records of a stream."""
    _match(reader, {"_STREAM_ID": stream, "_TRANSPORT": "stdout"})
    reader.seek_head()
    yield from islice(iter(reader.get_next, {}), _RECORDS_MAX // 4)
    reader.seek_tail()
    yield from islice(iter(reader.get_previous, {}), _RECORDS_MAX // 4)


def user_ids(names: Iterable[str]) -> list[int]:
    """Return the IDs of the users of these names that there are."""
    return [user for name in names if (user := _user_id(name, None)) is not None]


def _user_id(name: str, number: str | None) -> int | None:
    if number is not None:
        return int(number)
    with suppress(KeyError):
        return pwd.getpwnam(name).pw_uid
    return None


def _streams(
    reader: Any, fields: Fields, since: int, until: int | None
) -> dict[str, Mapping[str, Any]]:
    """The streams of the first and the last records with some fields, each with one of those.

    That is one of a writer whom journald could ask, if there is one.

    Not of all: a run can print for hours, mostly by one stream.
    """
    _match(reader, {**fields, "_TRANSPORT": "stdout"})
    found: dict[str, Mapping[str, Any]] = {}
    reader.seek_realtime(since)
    for entry in islice(iter(reader.get_next, {}), _RECORDS_MAX):
        if until is not None and entry["__REALTIME_TIMESTAMP"] >= until:
            return found
        _keep(found, entry)
    if until is None:
        reader.seek_tail()
    else:
        reader.seek_realtime(until)
    for entry in islice(iter(reader.get_previous, {}), _RECORDS_MAX):
        if entry["__REALTIME_TIMESTAMP"] < since:
            break
        _keep(found, entry)
    return found


def _keep(found: dict[str, Mapping[str, Any]], entry: Mapping[str, Any]) -> None:
    kept = found.setdefault(entry["_STREAM_ID"], entry)
    if is_attributed(entry) and not is_attributed(kept):
        found[entry["_STREAM_ID"]] = entry


def _start_of(entry: Mapping[str, Any]) -> dict[str, str]:
    """The fields of the manager's record of when a session of the system began."""
    scope, scope_id = entry["_SYSTEMD_UNIT"], entry.get("_SYSTEMD_INVOCATION_ID", "")
    return {"_PID": "1", "MESSAGE_ID": _STARTED, "UNIT": scope, "INVOCATION_ID": scope_id}


def _at_first(reader: Any, fields: Fields) -> int:
    """Return when the first record with some fields was taken in (µs, UTC); 0 if there is none."""
    _match(reader, fields)
    reader.seek_head()
    entry = reader.get_next()
    return int(entry["__REALTIME_TIMESTAMP"]) if entry else 0


def _match(reader: Any, fields: Fields) -> None:
    reader.flush_matches()
    for name, value in fields.items():
        reader.add_match(f"{name}={value}")


def _text(entry: Mapping[str, Any]) -> str:
    message = entry.get("MESSAGE", b"")
    return message.decode(errors="replace") if isinstance(message, bytes) else ""
