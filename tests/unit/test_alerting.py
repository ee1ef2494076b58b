"""Alerting by change of state: who hears of what, whatever becomes of a job."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from lunasched.history import alerting
from lunasched.history.alerting import CALM_USEC, Alert, Outage
from lunasched.jobs.model import Notifications

SECOND = 1_000_000
DAY = 86400 * SECOND
QUIET = Notifications()

POLICIES = st.builds(
    Notifications,
    remind_every=st.sampled_from([0, 0.5, 60, 3600, 86400]),
    every_failure=st.booleans(),
)
# What became of the runs of a job, each so long after the one before, and whether anybody listened.
RUNS = st.lists(
    st.tuples(st.booleans(), st.integers(0, 2 * DAY), st.just(True) | st.booleans()), max_size=40
)


def told(policy: Notifications, runs: list[tuple[bool, int, bool]]) -> list[tuple[int, Alert]]:
    """The alerts about runs (whether it failed, when after the last one, whether it is heard)."""
    outage, now, alerts = None, 0, []
    for failed, after, heard in runs:
        now += after
        if failed:
            decision = alerting.failed(policy, outage, now, heard=heard)
        else:
            decision = alerting.succeeded(policy, outage, now)
        outage = decision.outage
        if decision.alert is not None:
            alerts.append((now, decision.alert))
    return alerts


def test_the_first_failure_then_silence_then_the_recovery() -> None:
    runs = [(True, 0, True), (True, 60, True), (True, 60, True), (False, 60, True)]
    assert told(QUIET, runs) == [(0, Alert.FIRST), (180, Alert.RECOVERY)]


def test_a_job_that_is_well_is_not_told_of() -> None:
    assert told(QUIET, [(False, DAY, True)] * 10) == []


def test_a_reminder_once_the_last_alert_is_as_long_ago() -> None:
    runs = [(True, DAY // 4, True)] * 10
    assert [alert for _, alert in told(QUIET, runs)] == [
        Alert.FIRST,
        Alert.REMINDER,
        Alert.REMINDER,
    ]
    assert [alert for _, alert in told(Notifications(remind_every=0), runs)] == [Alert.FIRST]


def test_every_failure_for_who_wants_it() -> None:
    runs = [(True, 1, True)] * 3
    loud = Notifications(every_failure=True)
    assert [alert for _, alert in told(loud, runs)] == [Alert.FIRST, Alert.FAILURE, Alert.FAILURE]


def test_the_recovery_knows_how_long_it_was_and_how_many_failed() -> None:
    outage = None
    for now in (100, 200, 300):
        outage = alerting.failed(QUIET, outage, now, heard=True).outage
    decision = alerting.succeeded(QUIET, outage, 400)
    assert decision.about == Outage(since=100, failures=3, alerted_at=100)
    assert decision.outage == Outage(100, 3, 100, recovered_at=400)
    assert alerting.succeeded(QUIET, decision.outage, 400 + CALM_USEC).outage is None


def test_who_begins_to_listen_during_an_outage_hears_of_the_next_failure() -> None:
    runs = [(True, 0, False), (True, 60, False), (True, 60, True), (True, 60, True)]
    assert told(QUIET, runs) == [(120, Alert.FIRST)]


def test_a_clock_that_is_set_back_neither_silences_reminders_nor_sends_them_at_once() -> None:
    first = alerting.failed(QUIET, None, 400 * DAY, heard=True)
    back = alerting.failed(QUIET, first.outage, DAY, heard=True)
    assert back.alert is None
    soon = alerting.failed(QUIET, back.outage, 2 * DAY - 1, heard=True)
    assert soon.alert is None
    assert alerting.failed(QUIET, soon.outage, 2 * DAY, heard=True).alert is Alert.REMINDER


@given(POLICIES, RUNS)
def test_outages_begin_with_a_first_alert_and_end_with_one_recovery(
    policy: Notifications, runs: list[tuple[bool, int, bool]]
) -> None:
    # So far apart that none is a relapse.
    heard = [(failed, after + CALM_USEC, True) for failed, after, _ in runs]
    alerts = [alert for _, alert in told(policy, heard)]
    changes = [a != b for a, b in itertools.pairwise([False, *(r[0] for r in runs)])]
    expected = [
        Alert.FIRST if failed else Alert.RECOVERY
        for (failed, _, _), changed in zip(runs, changes, strict=True)
        if changed
    ]
    assert [one for one in alerts if one in (Alert.FIRST, Alert.RECOVERY)] == expected


@given(POLICIES, RUNS)
def test_reminders_are_at_least_so_far_apart(
    policy: Notifications, runs: list[tuple[bool, int, bool]]
) -> None:
    alerts = told(policy, runs)
    for (before, _), (at, alert) in itertools.pairwise(alerts):
        if alert is Alert.REMINDER:
            assert policy.remind_every
            assert not policy.every_failure
            assert at - before >= policy.remind_every * SECOND


@given(POLICIES, RUNS)
def test_with_every_failure_each_one_that_is_heard_is_told(
    policy: Notifications, runs: list[tuple[bool, int, bool]]
) -> None:
    loud = Notifications(remind_every=policy.remind_every, every_failure=True)
    failures = [at for at, alert in told(loud, runs) if alert is not Alert.RECOVERY]
    assert len(failures) == sum(failed and heard for failed, _, heard in runs)
    # Who wants less never hears of what they would not.
    assert {at for at, alert in told(policy, runs) if alert is not Alert.RECOVERY} <= set(failures)


@given(st.integers(0, 1 << 60), RUNS)
def test_when_the_outage_began_does_not_move(now: int, runs: list[tuple[bool, int, bool]]) -> None:
    outage, since, count = None, None, 0
    for failed, after, heard in runs:
        now += after + CALM_USEC
        decision = (
            alerting.failed(QUIET, outage, now, heard=heard)
            if failed
            else alerting.succeeded(QUIET, outage, now)
        )
        outage = decision.outage
        since = (now if since is None else since) if failed else None
        count = count + 1 if failed else 0
        going_on = outage if outage and outage.recovered_at is None else None
        assert (going_on.since if going_on else None) == since
        assert (going_on.failures if going_on else 0) == count


def test_keys_are_stable_and_their_own() -> None:
    parts = ("1" * 32, "on_failure", "c" * 16, 0)
    # Noted here for good: after an upgrade, what is sent again must have the key that it had.
    assert alerting.notification_key(*parts) == "04ddd649e0dda111d0a682f1ecfc4e0c"
    others = {
        alerting.notification_key("2" * 32, *parts[1:]),
        alerting.notification_key(parts[0], "on_recovery", *parts[2:]),
        alerting.notification_key(*parts[:2], "d" * 16, 0),
        alerting.notification_key(*parts[:3], 1),
    }
    assert len(others - {alerting.notification_key(*parts)}) == 4


# Flapping: runs that are minutes apart, and now and then hours
MINUTE = 60 * SECOND
FLAPS = st.lists(
    st.tuples(st.booleans(), st.integers(0, 20 * MINUTE) | st.integers(0, 3 * 3600 * SECOND)),
    max_size=80,
)


def test_a_job_that_flaps_is_told_as_such_and_then_left_alone_until_it_is_calm() -> None:
    flapping = [(failed, MINUTE, True) for failed in (True, False)] * 30
    well = [(False, 10 * MINUTE, True)] * 7
    told_of = told(QUIET, flapping + well)
    assert [(at // MINUTE, alert) for at, alert in told_of] == [
        (1, Alert.FIRST), (2, Alert.RECOVERY),
        (3, Alert.FIRST), (4, Alert.RECOVERY),
        (5, Alert.FIRST),
        (120, Alert.RECOVERY),
    ]  # fmt: skip
    # Well again, it is as any other.
    assert told(QUIET, [*flapping, *well, (True, 0, True)])[-1][1] is Alert.FIRST


def test_the_alert_says_that_a_job_flaps_and_the_recovery_is_of_all_of_it() -> None:
    outage, flapping = None, []
    for number in range(10):
        failed = alerting.failed(QUIET, outage, number * 2 * MINUTE, heard=True)
        assert failed.about is not None
        flapping.append(failed.about.is_flapping)
        outage = alerting.succeeded(QUIET, failed.outage, (number * 2 + 1) * MINUTE).outage
    assert flapping == [False, False, *[True] * 8]
    end = alerting.succeeded(QUIET, outage, 19 * MINUTE + CALM_USEC)
    assert end.alert is Alert.RECOVERY
    assert end.about is not None
    assert (end.about.since, end.about.failures) == (0, 10)


def test_a_job_that_flaps_is_reminded_of() -> None:
    policy = Notifications(remind_every=3600)
    alerts = told(policy, [(failed, MINUTE, True) for failed in (True, False)] * 100)
    assert [alert for _, alert in alerts][4:] == [Alert.FIRST, *[Alert.REMINDER] * 3]


@given(FLAPS)
def test_no_hour_has_many_alerts(runs: list[tuple[bool, int]]) -> None:
    alerts = told(Notifications(remind_every=0), [(*run, True) for run in runs])
    for at, _ in alerts:
        # The end of one time of flapping, and all that is told at the beginning of the next.
        assert sum(at <= other < at + CALM_USEC for other, _ in alerts) <= 6


@given(st.booleans(), FLAPS)
def test_nobody_believes_for_long_that_a_job_is_well_or_not(
    every_failure: bool, runs: list[tuple[bool, int]]
) -> None:
    policy = Notifications(every_failure=every_failure)
    alerts = told(policy, [(*run, True) for run in runs])
    last = alerts[-1][1] if alerts else None
    times = list(itertools.accumulate(after for _, after in runs))
    failures = [number for number, (failed, _) in enumerate(runs) if failed]
    if not failures:
        assert last is None
    elif runs[-1][0]:
        assert last not in (None, Alert.RECOVERY)
    elif times[-1] - times[failures[-1] + 1] >= CALM_USEC:
        assert last is Alert.RECOVERY


@given(FLAPS)
def test_with_every_failure_nothing_is_damped(runs: list[tuple[bool, int]]) -> None:
    loud = Notifications(every_failure=True)
    alerts = [alert for _, alert in told(loud, [(*run, True) for run in runs])]
    failures = [alert for alert in alerts if alert is not Alert.RECOVERY]
    assert len(failures) == sum(failed for failed, _ in runs)
    ends = sum(a[0] and not b[0] for a, b in itertools.pairwise(runs))
    assert alerts.count(Alert.RECOVERY) == ends
