"""Events in words, for subjects and texts."""

from __future__ import annotations

from signal import Signals

from lunasched.formats import measures, quantities
from lunasched.history import phrases
from lunasched.history.report import Report, ReportKind
from lunasched.history.run import Result

# Exit statuses of the manager itself, when it could not execute a program (systemd.exec(5)).
_NOT_STARTED = {
    200: "its working directory cannot be entered",
    203: "its program does not exist or cannot be executed",
    205: "a limit of its resources cannot be set",
    208: "its standard input cannot be set up",
    209: "its output cannot be set up",
    216: "its group does not exist",
    217: "its user does not exist",
    218: "its capabilities cannot be set",
    219: "its control group cannot be set up",
    226: "its sandbox cannot be set up",
    228: "its filter of system calls cannot be set up",
}


def what_happened(report: Report) -> str:
    """Describe the end of the run, as it stands behind a colon: ``exit code 3``."""
    result = report.result
    if report.kind in (ReportKind.FAILURE, ReportKind.REMINDER) or result is Result.STOPPED:
        return _failure(report)
    if result is not None and result.is_failure:
        return _failure(report)
    if report.kind is ReportKind.OVERRUN and report.result is None:
        return f"{_goes_on(report)}, {slots_passed_during(report)}"
    if report.kind is ReportKind.MISSED:
        return f"{_counted(report.missed, 'run')} missed"
    if report.kind is ReportKind.SKIPPED or report.result is Result.SKIPPED:
        return report.reason or "skipped"
    return {ReportKind.START: "started", ReportKind.TEST: "a test"}.get(report.kind, "success")


def headline(report: Report) -> str:
    """The subject of a notification, and its first sentence."""
    job, host = report.job, report.host
    match report.kind:
        case ReportKind.START:
            return f"{job} started on {host}"
        case ReportKind.SUCCESS:
            return f"{job} succeeded on {host}"
        case ReportKind.FAILURE:
            failed = "keeps failing and recovering" if report.flapping else "failed"
            return f"{job} {failed} on {host}: {what_happened(report)}"
        case ReportKind.REMINDER:
            fails = "keeps failing and recovering" if report.flapping else "fails"
            return f"{job} still {fails} on {host}: {what_happened(report)}"
        case ReportKind.RECOVERY:
            after = f" after {outage(report)}" if outage(report) else ""
            return f"{job} works again on {host}{after}"
        case ReportKind.SKIPPED:
            because = f": {report.reason}" if report.reason else ""
            return f"{job} was skipped on {host}{because}"
        case ReportKind.MISSED:
            return f"{job} missed {_counted(report.missed, 'run')} on {host}"
        case ReportKind.OVERRUN if report.result is None:
            return f"{job} {_goes_on(report)} on {host}: {slots_passed_during(report)}"
        case ReportKind.OVERRUN:
            end = f"{what_happened(report)}, {slots_passed_during(report)}"
            return f"{job} is over on {host} after {ran_for(report)}: {end}"
        case ReportKind.OUTPUT:
            return f"output of {job} on {host}: {what_happened(report)}"
        case ReportKind.DIGEST:
            held = sum(one.count for one in report.held)
            return f"{_counted(held, 'notification')} of {host}, held back until now"
    return (
        f"test notification of {job} on {host}"
        if job
        else f"test notification of lunasched on {host}"
    )


def outage(report: Report) -> str:
    """Return how long a job has failed, and how often: ``2 h 10 min and 3 failures``."""
    if report.failing_since is None:
        return ""
    seconds = max(0, report.at - report.failing_since) / 1_000_000
    failures = f" and {_counted(report.failures, 'failure')}" if report.failures else ""
    return f"{span(seconds)}{failures}"


def _goes_on(report: Report) -> str:
    if report.waiting_since is None:
        return f"has been running for {ran_for(report)}"
    return f"has been waiting for its turn for {span(_seconds(report.waiting_since, report.at))}"


def _seconds(start: int, end: int) -> int:
    return max(0, end - start) // 1_000_000


def ran_for(report: Report) -> str:
    """Return the time that a run took until it ended, or has taken until now."""
    end = report.at if report.ended_at is None else report.ended_at
    start = end if report.started_at is None else report.started_at
    return span(_seconds(start, end))


def slots_passed_during(report: Report) -> str:
    """Return the number of slots that passed during the run: ``60 slots passed``."""
    return phrases.slots_passed(report.overrun)


def span(seconds: float) -> str:
    """A time in its two largest units: ``1 h 30 min``."""
    if seconds < 60:
        return (
            f"{seconds:.0f} s" if seconds >= 10 or seconds == int(seconds) else f"{seconds:.1f} s"
        )
    parts = list(measures.split(int(seconds), measures.DAYS_TO_SECONDS))
    return " ".join(f"{count} {unit.symbol}" for count, unit in parts[:2] if count)


def short_size(count: int) -> str:
    """Bytes in the unit that makes them short: ``2 GiB``."""
    letter = next((one for one in "TGMK" if count >= measures.SIZES[one]), "")
    number = f"{count / measures.SIZES[letter]:.1f}".removesuffix(".0")
    return f"{number} {letter}iB" if letter else f"{number} bytes"


def moment(usec: int | None, zone: str) -> str:
    """A point in time on the clock of a zone; in UTC where there is no such zone any more."""
    if usec is None:
        return ""
    try:
        return quantities.zone_time(usec, zone)
    except (LookupError, ValueError, OSError):
        return quantities.zone_time(usec, "UTC")


def signal_name(number: int) -> str:
    """The name of a signal, or its number where it has none."""
    try:
        return Signals(number).name
    except ValueError:
        return f"signal {number}"


def _failure(report: Report) -> str:
    match report.result:
        case Result.EXIT_CODE if report.exit_code is not None:
            return f"exit code {report.exit_code}"
        case Result.SIGNAL if report.signal is not None:
            return f"killed by {signal_name(report.signal)}"
        case Result.CORE_DUMP:
            by = f" by {signal_name(report.signal)}" if report.signal is not None else ""
            return f"crashed{by}, core dumped"
        case Result.TIMEOUT:
            limit = f"{span(report.time_limit)} " if report.time_limit else ""
            return f"ran into its {limit}time limit"
        case Result.OOM_KILL if report.memory_limit:
            return f"killed at its {short_size(report.memory_limit)} memory limit"
        case Result.OOM_KILL:
            return "killed as the machine ran out of memory"
        case Result.EXEC_ERROR:
            why = _NOT_STARTED.get(report.exit_code or 0)
            return f"could not be started: {why}" if why else "could not be started"
        case Result.STOPPED:
            return "stopped by hand"
        case Result.LOST:
            return "the machine went down while it ran"
    return "failed"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
