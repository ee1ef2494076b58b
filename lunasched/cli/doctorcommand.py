"""The command that finds problems and names the commands that fix them."""

from __future__ import annotations

import os
import textwrap
from typing import TYPE_CHECKING, Any, Optional

import typer

from lunasched.cli import render
from lunasched.cli.app import JSON_OPTION, MODE_OPTION, app, chosen_mode
from lunasched.cli.session import Session
from lunasched.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lunasched.doctor.finding import Finding

_WIDTH = 100
_INDENT = " " * 9


@app.command()
def doctor(
    ctx: typer.Context,
    fix: Optional[str] = typer.Option(
        None,
        "--fix",
        metavar="CHECK",
        help="Repair a damaged database: definitions or history.",
        show_default=False,
    ),
    yes: bool = typer.Option(False, "--yes", "-y", help="Do not ask before --fix."),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Show checks that passed, too."),
    as_json: bool = JSON_OPTION,
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Find problems, and print the commands that fix them.

    Without --fix, nothing is changed. The exit status is 1 if a problem keeps jobs from running
    or from being recorded.
    """
    if fix is not None:
        from lunasched.cli.databasefix import fix_database

        fix_database(Session.choose(chosen_mode(ctx, system)), fix, ask=not yes)
        return
    from lunasched.doctor.diagnosis import diagnose
    from lunasched.doctor.examination import examine
    from lunasched.doctor.finding import Severity

    session = Session.choose(chosen_mode(ctx, system))
    facts = examine(
        session.mode,
        session.paths,
        session.context,
        now=session.now(),
        store=lambda: session.store_to_look_at,
    )
    findings = diagnose(facts)
    counts = dict.fromkeys(Severity, 0)
    for finding in findings:
        counts[finding.severity] += 1
    if as_json:
        render.print_json(
            {
                "mode": session.mode.value,
                **{_COUNTED[severity.value]: count for severity, count in counts.items()},
                "findings": [_finding_json(finding) for finding in findings],
            }
        )
    else:
        # The worst come last, because the end of a long output stays visible on a terminal.
        for severity in Severity:
            if severity is not Severity.OK or verbose:
                _print([finding for finding in findings if finding.severity is severity])
        print(
            f"{_counted(counts[Severity.ERROR], 'error')}, "
            f"{_counted(counts[Severity.WARNING], 'warning')}; "
            f"{_counted(counts[Severity.OK], 'check')} passed, "
            f"{counts[Severity.UNKNOWN]} could not be made."
        )
    if counts[Severity.ERROR]:
        raise typer.Exit(ExitCode.FAILED)


def _print(findings: Sequence[Finding]) -> None:
    for finding in findings:
        print(_wrapped(f"{finding.severity.value:<8} ", f"{finding.check}: {finding.what}"))
        if finding.why:
            print(_wrapped(_INDENT, f"{finding.why[0].upper()}{finding.why[1:]}."))
        if finding.fix:
            by_root = finding.as_root and os.geteuid() != 0
            print(f"{_INDENT}{'To fix it, as root:' if by_root else 'To fix it:'}")
            for command in finding.fix:
                print(f"{_INDENT}    {render.printable(command)}")


def _wrapped(before: str, text: str) -> str:
    return "\n".join(
        textwrap.wrap(
            render.printable(text).replace("\n", " "),
            _WIDTH,
            initial_indent=before,
            subsequent_indent=_INDENT,
            break_long_words=False,
            break_on_hyphens=False,
        )
    )


# Not the words of the severities: "ok" is not a noun.
_COUNTED = {"ok": "passed", "unknown": "unknown", "warning": "warnings", "error": "errors"}


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _finding_json(finding: Finding) -> dict[str, Any]:
    return {
        "check": finding.check,
        "severity": finding.severity.value,
        "what": finding.what,
        "why": finding.why,
        "fix": list(finding.fix),
        "as_root": finding.as_root,
    }
