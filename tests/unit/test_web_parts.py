"""What the status page is made of: timelines, plots, whose a connection is, what is read."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from samples import own_history
from web_server import HOUR, SECOND, History

from lunasched.history.overview import Mark, MarkKind
from lunasched.history.run import Result, Run, Trigger
from lunasched.store import Store
from lunasched.web import peer, plot, timeline
from lunasched.web.access import Access
from lunasched.web.httpserver import Request

NOW = 1_800_000_000 * SECOND
MINUTE = 60 * SECOND


@pytest.fixture
def history(store: Store) -> History:
    return History(store)


# Timelines


def mark(kind: MarkKind, ago: float, took: float | None) -> Mark:
    """A run that began so many hours ago and took so many."""
    started = NOW - int(ago * HOUR)
    return Mark(kind, started, None if took is None else started + int(took * HOUR), 1)


def boxes(marks: list[Mark]) -> dict[MarkKind, list[tuple[int, int]]]:
    """The left and right of what is drawn."""
    return {
        shape.kind: [
            (int(left), int(left) + int(width))
            for left, width in re.findall(r"M(-?\d+) \d+h(\d+)v", shape.path)
        ]
        for shape in timeline.shapes(marks, NOW)
    }


def test_a_run_is_drawn_where_it_was_and_as_long_as_it_took() -> None:
    assert boxes([mark(MarkKind.SUCCESS, 12, 6)]) == {MarkKind.SUCCESS: [(720, 1080)]}
    assert boxes([mark(MarkKind.RUNNING, 6, None)]) == {MarkKind.RUNNING: [(1080, 1440)]}


def test_a_run_that_began_before_the_day_is_cut() -> None:
    assert boxes([mark(MarkKind.SUCCESS, 30, 12)]) == {MarkKind.SUCCESS: [(0, 360)]}


def test_the_shortest_run_can_be_seen_wherever_it_was() -> None:
    for ago in (24, 12, 0.001):
        ((left, right),) = boxes([mark(MarkKind.FAILURE, ago, 0)])[MarkKind.FAILURE]
        assert 0 <= left < right <= timeline.WIDTH
        assert right - left >= 5


def test_runs_that_touch_are_one_shape_and_failures_are_on_top() -> None:
    marks = [mark(MarkKind.FAILURE, 3, 0.1)]
    marks += [mark(MarkKind.SUCCESS, n / 60, 1 / 60) for n in range(120, 0, -1)]
    drawn = timeline.shapes(marks, NOW)
    assert [shape.kind for shape in drawn] == [MarkKind.SUCCESS, MarkKind.FAILURE]
    assert boxes(marks)[MarkKind.SUCCESS] == [(1320, 1440)]


def test_kinds_differ_in_more_than_their_colour() -> None:
    assert len({timeline.legend_mark(kind) for kind in MarkKind}) == len(MarkKind)


def test_a_timeline_in_words() -> None:
    assert timeline.said([]) == "no runs"
    assert timeline.said([mark(MarkKind.SUCCESS, 1, 0)]) == "1 run"
    many = [Mark(MarkKind.SUCCESS, 0, 0, 40), Mark(MarkKind.FAILURE, 0, 0, 2)]
    assert timeline.said(many) == "42 runs, 2 failed"


def test_every_sixth_hour_is_named() -> None:
    ticks = timeline.ticks(NOW)
    assert 3 <= len(ticks) <= 5
    assert all(0 <= tick.at <= 100 for tick in ticks)
    assert [tick.at for tick in ticks] == sorted(tick.at for tick in ticks)
    assert all(re.match(r"(00|06|12|18):00\Z", tick.label) for tick in ticks)


# Plots


def run(ago: float, took: float | None, result: Result | None = Result.SUCCESS) -> Run:
    """A run that began so many seconds ago."""
    started = NOW - int(ago * SECOND)
    return Run(
        execution_id=f"{int(ago):032x}",
        job="x",
        unit="u",
        trigger=Trigger.TIMER,
        scheduled_at=None,
        started_at=started,
        ended_at=None if took is None else started + int(took * SECOND),
        result=result,
    )


def test_points_are_within_the_axes_and_in_proportion() -> None:
    drawn = plot.plot([run(300, 10), run(200, 20), run(100, 40), run(0, 5, Result.EXIT_CODE)])
    assert drawn
    for point in drawn.points:
        assert plot.LEFT <= point.x <= plot.WIDTH - plot.RIGHT
        assert plot.TOP <= point.y <= plot.HEIGHT - plot.BOTTOM
    floor = plot.HEIGHT - plot.BOTTOM
    ten, twenty, forty = (floor - point.y for point in drawn.points[:3])
    assert (round(twenty / ten, 1), round(forty / ten, 1)) == (2, 4)
    assert [point.failed for point in drawn.points] == [False, False, False, True]
    assert "exit-code, took 5.0s" in drawn.points[3].title


def test_what_has_no_duration_is_not_drawn() -> None:
    none = [run(1, None, None), run(2, None, Result.LOST), run(3, 0, Result.SKIPPED)]
    assert plot.plot([]) is None
    assert plot.plot(none) is None
    drawn = plot.plot([*none, run(4, -5)])
    assert drawn
    assert len(drawn.points) == 1
    assert drawn.points[0].y == plot.HEIGHT - plot.BOTTOM


@pytest.mark.parametrize(
    ("longest", "labels"),
    [
        (0.0009, ["0", "1 ms"]),
        (0.42, ["0", "100 ms", "200 ms", "300 ms", "400 ms", "500 ms"]),
        (55, ["0", "15 s", "30 s", "45 s", "1 min"]),
        (100, ["0", "30 s", "1 min", "90 s", "2 min"]),
        (7300, ["0", "30 min", "1 h", "90 min", "2 h", "150 min"]),
        (3 * 86_400, ["0", "1 d", "2 d", "3 d"]),
    ],
)
def test_durations_are_labelled_with_round_numbers(longest: float, labels: list[str]) -> None:
    drawn = plot.plot([run(60, longest), run(0, longest / 2)])
    assert drawn
    assert [row.text for row in drawn.rows] == labels


@pytest.mark.parametrize("span", [0, 1, 90, 3600, 86_400, 90_000, 86_400 * 40, 86_400 * 4000])
def test_times_are_few_and_do_not_overlap(span: float) -> None:
    drawn = plot.plot([run(span, 1), run(0, 2)])
    assert drawn
    named = [column for column in drawn.columns if column.text]
    assert len(drawn.columns) <= 5
    for column, following in pairwise(named):
        # At the size that letters have on a phone.
        assert following.at - column.at >= 12 * len(column.text)


# Whose connection it is


@pytest.mark.parametrize(
    ("family", "bound", "connected"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET6, "::1", "::1"),
        (socket.AF_INET6, "::", "127.0.0.1"),
        (socket.AF_INET6, "::", "::ffff:127.0.0.1"),
    ],
)
def test_the_owner_of_a_connection(family: int, bound: str, connected: str) -> None:
    with socket.socket(family) as listening:
        if bound == "::":
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listening.bind((bound, 0))
        listening.listen()
        client = socket.create_connection((connected, listening.getsockname()[1]))
        connection, address = listening.accept()
        with connection:
            assert peer.owner(address, connection.getsockname()) == os.getuid()
            # Of a socket that nobody holds any more, the kernel says that it is root's.
            client.close()
            assert peer.owner(address, connection.getsockname()) is None


def test_a_connection_of_another_machine_is_nobodys() -> None:
    assert peer.owner(("192.0.2.1", 1), ("192.0.2.2", 2)) is None


def test_a_table_of_the_kernel(tmp_path: Path) -> None:
    """As Linux writes it on a little-endian machine."""
    header = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid"
    line = "   {}: {} {} 01 00000000:00000000 00:00000000 00000000  {:4}        0 7{} 1\n"
    ends = ("0100007F:1F90", "0100007F:A1B2")
    (tmp_path / "tcp").write_text(
        f"{header}  timeout inode\n"
        + line.format(0, *ends, 998, 7)
        + line.format(1, *reversed(ends), 1000, 8)
    )
    client, server = ("127.0.0.1", 0xA1B2), ("127.0.0.1", 8080)
    assert peer.owner(client, server, tmp_path) == 1000
    assert peer.owner(server, client, tmp_path) == 998
    assert peer.owner(("127.0.0.1", 1), server, tmp_path) is None
    several = [(client, server), (("127.0.0.1", 1), server), (server, client)]
    assert peer.owners(several, tmp_path) == [1000, None, 998]


@pytest.mark.parametrize(
    ("uid", "fields", "admitted", "trusted"),
    [
        (0, {}, True, True),
        (990, {}, True, True),
        (1000, {}, True, False),
        (None, {}, True, False),
        (1000, {"show_output": True}, True, True),
        (None, {"show_output": True}, True, True),
        (1000, {"group": "nobodys"}, True, False),
        (0, {"private": True}, True, True),
        (990, {"private": True}, True, True),
        (1000, {"private": True}, False, False),
        (None, {"private": True}, False, False),
    ],
)
def test_who_may_see_what(
    monkeypatch: pytest.MonkeyPatch,
    uid: int | None,
    fields: dict[str, bool],
    admitted: bool,
    trusted: bool,
) -> None:
    """A user who is in no group; with groups it is tried on a machine."""
    monkeypatch.setattr(peer, "owner", lambda client, server: uid)
    rules = {"private": False, "show_output": False, **fields}
    access = Access(names=frozenset(), uid=990, **rules)  # type: ignore[arg-type]
    request = Request("/", {}, None, None, None)
    assert access.admits(request) is admitted
    assert access.trusts(request) is trusted


# What the store finds


def test_marks_are_runs_close_to_each_other_that_ended_alike(
    store: Store, history: History
) -> None:
    for name in ("a", "b"):
        history.job(name)
    base = 7200
    history.run("a", base + 30, took=10)
    history.run("a", base + 20, took=25)
    history.run("a", base + 10, Result.EXIT_CODE)
    history.run("a", 60, Result.STOPPED)
    history.run("a", 50, Result.SKIPPED)
    history.run("a", 5, None)
    history.run("b", 30, Result.LOST)
    since = history.now - 24 * HOUR
    marks = store.runs.marks(["a", "b", "none"], since=since, step=600 * SECOND)
    found = {name: [(one.kind.value, one.count) for one in of] for name, of in marks.items()}
    assert found == {
        "a": [("success", 2), ("failure", 1), ("neutral", 2), ("running", 1)],
        "b": [("failure", 1)],
    }
    first = marks["a"][0]
    assert first.ended_at == history.now - (base - 5) * SECOND
    assert marks["a"][3].ended_at is marks["b"][0].ended_at is None


def test_the_run_that_reaches_into_the_day_is_a_mark_too(store: Store, history: History) -> None:
    history.run("a", 40 * 3600, took=10 * 3600)
    history.run("a", 26 * 3600, took=3 * 3600)
    history.run("b", 30 * 3600, took=3600)
    history.run("c", 90 * 3600, None)
    since = history.now - 24 * HOUR
    marks = store.runs.marks(["a", "b", "c"], since=since, step=600 * SECOND)
    assert {name: [one.kind.value for one in of] for name, of in marks.items()} == {
        "a": ["success"],
        "c": ["running"],
    }


def test_a_timeline_takes_no_look_at_rows(store: Store) -> None:
    """Or a page of jobs that run often would take seconds where the history is long."""
    from lunasched.store import HISTORY

    plan = (
        own_history(store)
        .connection.execute(
            "EXPLAIN QUERY PLAN " + HISTORY.query("marks"),
            {"jobs": '["a"]', "since": 0, "step": 1},
        )
        .fetchall()
    )
    used = [row["detail"] for row in plan if row["detail"].startswith("SEARCH runs ")]
    assert any("COVERING INDEX runs_by_time (job=? AND started_at>?)" in one for one in used)


def test_jobs_in_progress_are_found_by_themselves(store: Store) -> None:
    """And not by a look at all runs that ever were."""
    from lunasched.store import HISTORY

    for query in ("running_jobs", "latest_outcomes", "page_of_job", "page_of_all"):
        names = {"job": "a", "jobs": '["a"]', "since": 0, "at": 0, "before": 0, "count": 1}
        plan = (
            own_history(store)
            .connection.execute("EXPLAIN QUERY PLAN " + HISTORY.query(query), names)
            .fetchall()
        )
        for row in plan:
            is_whole = re.match(r"SCAN runs\b", row["detail"])
            assert not is_whole or "runs_open" in row["detail"], (query, row["detail"])


def test_a_job_is_a_line_of_what_it_takes_to_find_it(store: Store, history: History) -> None:
    history.job("a", command="echo '[1]'", tags=["x", "y"])
    history.job("b", command=["echo", "a b"], enabled=False)
    lines = [(one.name, one.enabled, one.tags, one.command) for one in store.jobs.lines()]
    assert lines == [
        ("a", True, ("x", "y"), "echo '[1]'"),
        ("b", False, (), "echo 'a b'"),
    ]


def test_nobody_who_only_records_pays_for_the_page() -> None:
    """The supervisor imports neither templates nor a web server until somebody asks."""
    code = "import sys, lunasched.supervisor.service; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "lunasched.supervisor.pageserver" in loaded
    assert not loaded & {"jinja2", "http.server", "lunasched.web.site", "lunasched.web.httpserver"}
