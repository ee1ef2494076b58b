"""Messages: what is kept of what happened, and what people read of it."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from lunasched.message import Held, Kind, Report
from lunasched.model import NotifyEvent, Result, Trigger

TIMES = st.none() | st.integers(0, 2**52)
REPORTS = st.builds(
    Report,
    kind=st.sampled_from(Kind),
    job=st.text(max_size=20),
    host=st.text(max_size=20),
    at=st.integers(0, 2**52),
    timezone=st.sampled_from(["UTC", "Europe/Berlin"]),
    execution_id=st.none() | st.just("0123456789abcdef" * 2),
    trigger=st.none() | st.sampled_from(Trigger),
    result=st.none() | st.sampled_from(Result),
    exit_code=st.none() | st.integers(0, 255),
    signal=st.none() | st.integers(1, 64),
    started_at=TIMES,
    ended_at=TIMES,
    failing_since=TIMES,
    output=st.text(),
    held=st.lists(
        st.builds(
            Held,
            st.sampled_from(Kind), st.text(max_size=5), st.integers(1, 9), st.integers(0, 2**52),
            st.text(max_size=5),
        ),
        max_size=3,
    ).map(tuple),
)  # fmt: skip


@given(report=REPORTS)
def test_a_report_is_read_back_from_its_json(report: Report) -> None:
    assert Report.from_mapping(json.loads(json.dumps(report.to_mapping()))) == report


def test_every_event_has_a_kind() -> None:
    assert {kind.event for kind in Kind} == {*NotifyEvent, None}
