"""The pages for people: HTML that needs nothing but itself, no script, and a style of its own."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import jinja2

from lunasched import __version__
from lunasched.errors import InvalidInput
from lunasched.formats import printable, quantities
from lunasched.formats.unittext import uuid
from lunasched.history import overrun, phrases, runvalues
from lunasched.history.jsonview import iso
from lunasched.history.overview import MarkKind, State, chosen, counts, standings
from lunasched.history.pendingstarts import in_turn, waits_for
from lunasched.history.run import Result, Run
from lunasched.history.slot import next_elapse
from lunasched.history.timerstate import Timers, Upcoming
from lunasched.jobs.model import Job
from lunasched.jobs.runfacts import RUN_FACTS, Medium, given
from lunasched.units import summary
from lunasched.web import api, plot, timeline
from lunasched.web.httpserver import Request, Response
from lunasched.web.storeview import Place, StoreView

if TYPE_CHECKING:
    from lunasched.web.site import Identity

JOBS_MAX = 100
"""Jobs on one page."""
RUNS_MAX = 50
"""Runs on one page of a job."""
PLOTTED_MAX = 300
"""Runs whose durations are drawn."""
QUEUE_MAX = 10
"""Starts to come that are listed before the rest is only counted."""
NOTIFICATIONS_MAX = 10
"""Messages about a job that are listed."""
REFRESH_SECONDS = 60

_HERE = Path(__file__).parent
_EVER = -(2**63)


class Pages:
    """The pages of one site."""

    def __init__(
        self,
        identity: Identity,
        now: Callable[[], int],
        timers: Callable[[], Timers] = Timers,
    ) -> None:
        self._identity = identity
        self._timers = timers
        self._now = now
        style = (_HERE / "templates" / "style.css").read_text(encoding="utf-8")
        self._environment = _environment()
        self._environment.globals |= {
            "State": State,
            "MarkKind": MarkKind,
            "identity": identity,
            "plot": plot,
            "refresh_seconds": REFRESH_SECONDS,
            "style": style,
            "run_facts": given(RUN_FACTS, Medium.PAGE),
            "timeline": timeline,
            "version": __version__,
        }
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        # Only what the pages have: their one style, the icon, and the form to search with.
        self._policy = (
            f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
            "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )

    def overview(self, source: StoreView, request: Request) -> Response:
        """All jobs, what needs an eye first."""
        now, query = self._now(), request.query
        starts = in_turn(source.starts.all(), now)
        lines = source.jobs.lines()
        outcomes = source.runs.outcomes_of(line.name for line in lines)
        found = standings(lines, outcomes, source.runs.in_progress(), starts)
        state = next((one for one in State if one.value == query.get("state")), None)
        tag = query.get("tag") or None
        listed = chosen(found, words=query.get("q", ""), tag=tag, state=state)
        pages = max(1, -(-len(listed) // JOBS_MAX))
        page = min(_whole(query.get("page")), pages)
        shown = listed[(page - 1) * JOBS_MAX : page * JOBS_MAX]
        names = [standing.job.name for standing in shown]
        jobs = source.jobs.some(names)
        latest = self._so_far(source, source.runs.latest_of(names))
        timers = self._timers()
        kept = {key: query[key] for key in ("q", "tag", "state", "refresh") if query.get(key)}
        return self._render(
            "overview.html.j2",
            request,
            now=now,
            counts=counts(found),
            total=len(found),
            standings=shown,
            listed=len(listed),
            jobs={name: job for name, (job, _) in jobs.items()},
            elapses={
                name: self._upcoming(timers, job, now, since, latest.get(name))
                for name, (job, since) in jobs.items()
            },
            overruns={name: run.overrun for name, run in latest.items() if run.result is None},
            marks=source.runs.marks(names, since=now - timeline.SPAN, step=timeline.STEP),
            queue=[(start, waits_for(start, starts, now)) for start in starts[:QUEUE_MAX]],
            queued=len(starts),
            tags=sorted({tag for one in found for tag in one.job.tags}),
            unknown_timers=0 if found else len(timers.loaded or ()),
            state=state,
            tag=tag,
            query=kept,
            is_filtered=any(key != "refresh" for key in kept),
            page=page,
            pages=pages,
        )

    def job(self, source: StoreView, request: Request, name: str, *, trusted: bool) -> Response:
        """One job: its definition, and how it has been."""
        now = self._now()
        found = source.jobs.some([name]).get(name)
        if found is None and not source.runs.exist_for(name):
            return self.missing(f"There is no job “{name}”.")
        before: Place | None = None
        if "before" in request.query:
            try:
                before = api.parse_place(request.query["before"])
            except InvalidInput:
                return self.missing("There is no such page.")
        starts = in_turn(source.starts.all(), now)
        latest = self._so_far(source, source.runs.latest_of([name])).get(name)
        history = source.runs.page(name, since=_EVER, before=before, count=RUNS_MAX + 1)
        shown = {run.execution_id: run for _, run in history[:RUNS_MAX]}
        runs = [*self._so_far(source, shown).values()]
        marks = source.runs.marks([name], since=now - timeline.SPAN, step=timeline.STEP)
        return self._render(
            "job.html.j2",
            request,
            now=now,
            name=name,
            job=found[0] if found else None,
            elapse=self._upcoming(self._timers(), found[0], now, found[1], latest)
            if found
            else Upcoming(None),
            **self._defined(found[0] if found else None),
            latest=latest,
            marks=marks.get(name, []),
            drawn=plot.plot(source.runs.recent(name, PLOTTED_MAX)),
            runs=runs,
            hooks=source.hooks.of(run.execution_id for run in runs),
            retries=api.retries(starts),
            waiting=[
                (start, waits_for(start, starts, now)) for start in starts if start.job == name
            ],
            notifications=source.outbox.entries(name, failed=False, count=NOTIFICATIONS_MAX),
            older=api.cursor(history[RUNS_MAX - 1][0]) if len(history) > RUNS_MAX else None,
            is_first=before is None,
            trusted=trusted,
        )

    def run(self, source: StoreView, request: Request, text: str, *, trusted: bool) -> Response:
        """One run, and what it printed."""
        execution_id = text.replace("-", "").lower()
        found = source.runs.get(execution_id)
        run = self._so_far(source, {execution_id: found})[execution_id] if found else None
        if run is None:
            return self.missing("There is no such run in the history.")
        return self._render(
            "run.html.j2",
            request,
            now=self._now(),
            run=run,
            hooks=source.hooks.of([execution_id]).get(execution_id, []),
            retry=api.retries(source.starts.all()).get(execution_id),
            trusted=trusted,
        )

    def missing(self, text: str) -> Response:
        """Return the answer for something that does not exist."""
        return self._respond("missing.html.j2", HTTPStatus.NOT_FOUND, text=text)

    def _so_far(self, source: StoreView, runs: Mapping[str, Run]) -> dict[str, Run]:
        """Runs, those in progress with the slots that have passed during them by now."""
        zone = self._identity.timezone
        found = overrun.so_far(runs.values(), source.jobs.some, now=self._now(), host_timezone=zone)
        return dict(zip(runs, found, strict=True))

    def _upcoming(
        self, timers: Timers, job: Job, now: int, deployed_at: int, latest: Run | None
    ) -> Upcoming:
        started = latest.started_at if latest else None
        at = next_elapse(job, now, deployed_at, started, self._identity.timezone)
        return timers.upcoming(job.name, at, latest)

    def _defined(self, job: Job | None) -> dict[str, Any]:
        """Return the definition of a job, in words and in units."""
        if job is None:
            return {"definition": {}, "units": []}
        zone, user = self._identity.timezone, self._identity.default_user
        rows = summary.rows(api.job_as_shown(job), host_timezone=zone, default_user=user)
        return {
            "definition": {key: text for key, text in rows.items() if text},
            "units": summary.units(job),
        }

    def _render(self, template: str, request: Request, **content: Any) -> Response:
        return self._respond(
            template, HTTPStatus.OK, refresh=request.query.get("refresh") == "on", **content
        )

    def _respond(self, template: str, status: HTTPStatus, **content: Any) -> Response:
        text = self._environment.get_template(template).render(content)
        policy = ("Content-Security-Policy", self._policy)
        return Response(status, "text/html; charset=utf-8", text.encode(), (policy,))


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "ago": _ago,
        "changed": _with,
        "day_time": _day_time,
        "duration": quantities.duration,
        "ended": phrases.run_ended,
        "hook_ended": phrases.hook_ended,
        "iso": iso,
        "job_url": job_url,
        "local": quantities.local_time,
        "look": _look,
        "notification_look": _notification_look,
        "one_line": printable.one_line,
        "printable": printable.printable,
        "quoted": _quoted,
        "run_url": run_url,
        "slots_passed": phrases.slots_passed,
        "said": timeline.said,
        "shapes": timeline.shapes,
        "fact": runvalues.fact_shown,
        "uuid": uuid,
    }
    return environment


def job_url(name: str) -> str:
    """Return the address of the page of a job."""
    if name in (".", ".."):
        # In a path these lead elsewhere, percent-encoded too.
        return f"/jobs/?{urlencode({'name': name})}"
    return f"/jobs/{quote(name, safe='')}"


def run_url(execution_id: str) -> str:
    """Return the address of the page of a run."""
    return f"/runs/{uuid(execution_id)}"


def _ago(at: int, now: int) -> str:
    """Return the distance of a moment from now."""
    if abs(now - at) < 1_000_000:
        return "now"
    span = quantities.duration(abs(now - at) // 1_000_000 * 1_000_000).replace(".0s", "s")
    return f"{span} ago" if at < now else f"in {span}"


def _day_time(at: int) -> str:
    """A moment on the host's clock, for who knows which year it is."""
    moment = datetime.fromtimestamp(at // 1_000_000, tz=timezone.utc).astimezone()
    return moment.strftime("%a %d %b %H:%M:%S")


def _look(result: Result | None) -> str:
    """Return the appearance of a result; without one, of a run in progress."""
    return str(MarkKind.of(result).value)


def _notification_look(state: str) -> str:
    """Return the appearance of a notification in a state, as that of a run."""
    looks = {"sent": "success", "failed": "failure", "waiting": "waiting", "held": "waiting"}
    return looks.get(state, "neutral")


def _with(query: Mapping[str, str], **changes: str | int | None) -> str:
    """A query with some fields set, or left out."""
    fields = {**query, **changes}
    given = {key: value for key, value in fields.items() if value is not None}
    return f"?{urlencode(given)}" if given else "?"


def _quoted(text: str) -> str:
    """A text as one word of a shell's."""
    return printable.command_text((text,))


def _whole(text: str | None) -> int:
    """A page's number."""
    if text is not None and text.isascii() and text.isdigit() and len(text) < 10:
        return max(1, int(text))
    return 1
