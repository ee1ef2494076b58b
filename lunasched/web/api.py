"""The same as JSON, with the keys of the commands' ``--json`` (lunasched-daemon(8), "API")."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timezone
from http import HTTPStatus
from typing import Any

from lunasched.dataclass import dataclass
from lunasched.errors import InvalidInput
from lunasched.formats.pattern import pattern
from lunasched.formats.printable import json_text
from lunasched.history import overrun
from lunasched.history.jsonview import job_json, run_json
from lunasched.history.pendingstarts import Start
from lunasched.history.run import Run
from lunasched.history.slot import next_elapse, to_usec
from lunasched.history.timerstate import Timers
from lunasched.jobs.model import HIDDEN, Job
from lunasched.jobs.origin import JobOrigin
from lunasched.web.httpserver import Request, Response
from lunasched.web.storeview import Place, StoreView

RUNS_DEFAULT, RUNS_MAX = 100, 1000
"""The number of runs in an answer."""
BYTES_MAX = 2 << 20
"""The length at which no more runs are added to an answer."""
PARAMETERS = ("job", "since", "limit", "cursor")
"""The parameters of a query for runs."""

_AT_ONCE = 100
_PLACE = pattern(r"(-?\d{1,18})\.(\d{1,18})\Z")
# The characters of a date and of what parts it from the time, which may be a space.
_DATE = 11
_CSP = ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")


@dataclass(frozen=True, slots=True)
class View:
    """The facts that an answer depends on besides the store."""

    now: int
    host_timezone: str
    trusted: bool
    """True if outputs are shown."""
    timers: Callable[[], Timers] = Timers
    """Asks the manager for the timers of jobs."""


def jobs_response(source: StoreView, view: View) -> Response:
    """Every job."""
    names, timers = source.jobs.names(), view.timers()
    # In parts: for many jobs, the whole document takes ten times the memory of its text.
    parts = (
        _encoded(job)
        for start in range(0, len(names), _AT_ONCE)
        for job in _jobs(source, view, timers, names[start : start + _AT_ONCE])
    )
    return _answer(b'{"jobs":[' + b",".join(parts) + b"]}")


def job(source: StoreView, view: View, name: str) -> Response:
    """One job."""
    for found in _jobs(source, view, view.timers(), [name]):
        return _json(found)
    return fault(HTTPStatus.NOT_FOUND, f"there is no job {name!r}")


def runs_response(source: StoreView, view: View, request: Request) -> Response:
    """Runs of a job or of all, the newest first, a part of them at a time."""
    try:
        since, before, count = _asked(request.query)
    except InvalidInput as error:
        return fault(HTTPStatus.BAD_REQUEST, str(error))
    job, parts, size = request.query.get("job"), [], 0
    # In parts and bounded, because outputs may be long.
    while count and size < BYTES_MAX:
        most = min(count, _AT_ONCE)
        found = source.runs.page(job, since=since, before=before, count=most)
        if found:
            parts += [_encoded(one) for one in _runs(source, view, [run for _, run in found])]
            size = sum(map(len, parts))
        before = found[-1][0] if len(found) == most else None
        count = 0 if before is None else count - most
    more = None if before is None else cursor(before)
    return _answer(
        b'{"runs":[' + b",".join(parts) + b'],"next_cursor":' + _encoded(more) + b"}",
    )


def run_response(source: StoreView, view: View, text: str) -> Response:
    """One run."""
    execution_id = text.replace("-", "").lower()
    found = source.runs.get(execution_id)
    if found is None:
        return fault(HTTPStatus.NOT_FOUND, f"there is no run {text!r}")
    return _json(_runs(source, view, [found])[0])


def fault(status: HTTPStatus, text: str) -> Response:
    """Return the answer to a bad request."""
    return _json({"error": text}, status)


def job_as_shown(job: Job) -> Job:
    """A job as it may be shown: without values that may be secrets.

    What a job runs is no secret on the machine: every user can ask systemd for it, unless it is
    private.
    """
    if job.private:
        commands: dict[str, Any] = {event.value: HIDDEN for event in job.hooks.events()}
        job = job.evolve(
            command=HIDDEN,
            hooks=replace(job.hooks, **commands),
            notifications=job.notifications.without_commands(),
        )
    return job.evolve(
        notifications=job.notifications.without_secrets(),
        environment=tuple((name, HIDDEN) for name, _ in job.environment),
        directives=tuple((name, HIDDEN) for name, _ in job.directives),
    )


def _line_as_shown(job: Job, origin: JobOrigin | None) -> JobOrigin | None:
    """The line of a crontab that a job is, as far as it may be shown."""
    return replace(origin, text=HIDDEN) if origin is not None and job.private else origin


def cursor(place: Place) -> str:
    """A run's place as a text."""
    return f"{place[0]}.{place[1]}"


def parse_place(text: str) -> Place:
    """A run's place from its text; raises ``InvalidInput``."""
    match = _PLACE.match(text)
    if match is None:
        raise InvalidInput(f"cursor: {text!r} is not a cursor; use an earlier answer's next_cursor")
    return int(match[1]), int(match[2])


def retries(starts: Iterable[Start]) -> dict[str, Start]:
    """The pending retries, by the execution ID of the run that failed."""
    return {start.failed_id: start for start in starts if start.failed_id}


def _jobs(
    source: StoreView, view: View, timers: Timers, names: list[str]
) -> Iterable[dict[str, Any]]:
    stored = source.runs.latest_of(names)
    latest = dict(zip(stored, _so_far(source, view, stored.values()), strict=True))
    hooks = source.hooks.of(run.execution_id for run in latest.values())
    pending = retries(source.starts.all())
    origins = source.jobs.origins(names)
    for found, deployed_at in source.jobs.some(names).values():
        last = latest.get(found.name)
        yield job_json(
            job_as_shown(found),
            timers.upcoming(
                found.name,
                next_elapse(
                    found,
                    view.now,
                    deployed_at,
                    last.started_at if last else None,
                    view.host_timezone,
                ),
                last,
            ),
            last,
            hooks.get(last.execution_id, ()) if last else (),
            pending.get(last.execution_id) if last else None,
            origin=_line_as_shown(found, origins.get(found.name)),
        )


def _so_far(source: StoreView, view: View, runs: Iterable[Run]) -> list[Run]:
    zone = view.host_timezone
    return overrun.so_far(runs, source.jobs.some, now=view.now, host_timezone=zone)


def _runs(source: StoreView, view: View, found: list[Run]) -> list[dict[str, Any]]:
    hooks = source.hooks.of(run.execution_id for run in found)
    pending = retries(source.starts.all())
    return [
        run_json(
            run if view.trusted else replace(run, output=None),
            hooks.get(run.execution_id, ()),
            pending.get(run.execution_id),
        )
        for run in _so_far(source, view, found)
    ]


def _asked(query: dict[str, str]) -> tuple[int, Place | None, int]:
    unknown = [name for name in query if name not in PARAMETERS]
    if unknown:
        raise InvalidInput(f"{unknown[0]!r} is not a parameter; use {', '.join(PARAMETERS)}")
    since = _time(query["since"]) if "since" in query else -(2**63)
    limit = query.get("limit", str(RUNS_DEFAULT))
    digits = limit.isascii() and limit.isdigit() and len(limit) < 10
    if not digits or not 1 <= int(limit) <= RUNS_MAX:
        raise InvalidInput(f"limit: {limit!r} is not a whole number from 1 to {RUNS_MAX}")
    return since, (parse_place(query["cursor"]) if "cursor" in query else None), int(limit)


def _time(text: str) -> int:
    """ISO 8601; a plus sign that came as the space that it means in a query is one again."""
    try:
        zone = text[_DATE:].replace(" ", "+").replace("Z", "+00:00")
        moment = datetime.fromisoformat(text[:_DATE] + zone)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        return to_usec(moment)
    except (ValueError, OverflowError):
        raise InvalidInput(
            f"since: {text!r} is not a time in ISO 8601, such as 2026-11-24T06:00:00Z"
        ) from None


def _encoded(value: Any) -> bytes:
    return json_text(json.dumps(value, ensure_ascii=False, separators=(",", ":"))).encode()


def _json(value: Any, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return _answer(_encoded(value), status)


def _answer(text: bytes, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(status, "application/json; charset=utf-8", text + b"\n", (_CSP,))
