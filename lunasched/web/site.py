"""The routes: which request gets which answer."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from http import HTTPStatus
from threading import Lock
from typing import TYPE_CHECKING
from urllib.parse import unquote

from lunasched.dataclass import dataclass
from lunasched.errors import LunaschedError
from lunasched.history.timerstate import Timers
from lunasched.web import api
from lunasched.web.access import Access
from lunasched.web.httpserver import Request, Response, plain_response
from lunasched.web.storeview import StoreView

if TYPE_CHECKING:
    from lunasched.web.pages import Pages

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_API = "/api/v1/"


@dataclass(frozen=True, slots=True)
class Identity:
    """The machine and user of these jobs."""

    host: str
    timezone: str
    """The host's own, in which schedules are that name none."""
    default_user: str
    """The user of a job that names none."""
    command: str
    """The command that calls lunasched for these jobs: with ``--user``, or without."""


class Site:
    """All that can be asked for, by many threads at once."""

    def __init__(
        self,
        *,
        open_source: Callable[[], AbstractContextManager[StoreView]],
        metrics: Callable[[], bytes],
        access: Access,
        identity: Identity,
        now: Callable[[], int],
        timers: Callable[[], Timers] = Timers,
    ) -> None:
        """``metrics`` gives the text for Prometheus; ``now`` is µs since the epoch, UTC.

        ``timers`` asks the manager for those of the jobs.
        """
        self._timers = timers
        self._open_source = open_source
        self._metrics = metrics
        self._access = access
        self._identity = identity
        self._now = now
        self._lock = Lock()
        self._made: Pages | None = None

    def answer(self, request: Request) -> Response:
        """Answer a request; the details of an error go to the journal, not to the client."""
        try:
            # One at a time: two take as long together as one after the other, and twice the memory.
            with self._lock:
                return self._answer(request)
        except LunaschedError as error:
            print(f"<4>the status page could not be made: {error}", file=sys.stderr)
            return plain_response(
                HTTPStatus.SERVICE_UNAVAILABLE, "the history cannot be read right now"
            )
        except Exception as error:
            # A bug of ours must not affect more than this answer.
            print(f"<3>the status page: {type(error).__name__}: {error}", file=sys.stderr)
            return plain_response(HTTPStatus.INTERNAL_SERVER_ERROR, "this page could not be made")

    def _answer(self, request: Request) -> Response:
        if not self._access.knows(request.host):
            text = "this server does not answer to that name; see web.hosts in lunasched.yaml(5)"
            return plain_response(HTTPStatus.MISDIRECTED_REQUEST, text)
        if not self._access.admits(request):
            return plain_response(HTTPStatus.FORBIDDEN, "these are another user's jobs")
        path = request.path
        if path == "/metrics":
            return Response(HTTPStatus.OK, METRICS_TYPE, self._metrics())
        if path == "/calendar.ics":
            return self._calendar()
        if path.startswith(_API):
            return self._api(path.removeprefix(_API), request)
        return self._page(path, request)

    def _calendar(self) -> Response:
        """The starts of the next weeks, as a calendar to subscribe to."""
        from lunasched.history.agenda import agenda
        from lunasched.history.slot import Past
        from lunasched.web.calendarfeed import CALENDAR_TYPE, SPAN_USEC, calendar_text

        now, zone = self._now(), self._identity.timezone
        with self._open_source() as source:
            names = source.jobs.names()
            jobs = source.jobs.some(names)
            latest = source.runs.latest_of(names)
        pasts = (
            (job, Past(since, latest[name].started_at if name in latest else None, None))
            for name, (job, since) in jobs.items()
        )
        planned = agenda(pasts, now=now, until=now + SPAN_USEC, host_timezone=zone)
        known = {name: job for name, (job, _) in jobs.items()}
        text = calendar_text(planned, known, host=self._identity.host, now=now)
        return Response(HTTPStatus.OK, CALENDAR_TYPE, text)

    def _api(self, path: str, request: Request) -> Response:
        kind, _, rest = path.partition("/")
        name = unquote(rest)
        trusted = self._access.trusts(request)
        view = api.View(self._now(), self._identity.timezone, trusted, self._timers)
        with self._open_source() as source:
            if kind == "jobs":
                if not rest:
                    return api.jobs_response(source, view)
                return api.job(source, view, name)
            if kind == "runs":
                return (
                    api.run_response(source, view, name)
                    if rest
                    else api.runs_response(source, view, request)
                )
        return api.fault(HTTPStatus.NOT_FOUND, f"there is no {request.path} here")

    def _page(self, path: str, request: Request) -> Response:
        pages = self._pages()
        kind, _, rest = path.removeprefix("/").partition("/")
        if path == "/":
            with self._open_source() as source:
                return pages.overview(source, request)
        # A name such as ".." does not survive in a path, even percent-encoded.
        name = unquote(rest) or request.query.get("name", "")
        if kind in ("jobs", "runs") and name:
            trusted = self._access.trusts(request)
            with self._open_source() as source:
                page = pages.job if kind == "jobs" else pages.run
                return page(source, request, name, trusted=trusted)
        return pages.missing("There is no such page.")

    def _pages(self) -> Pages:
        # Imported here, because scraping metrics needs no templates.
        from lunasched.web.pages import Pages

        if self._made is None:
            self._made = Pages(self._identity, self._now, self._timers)
        return self._made
