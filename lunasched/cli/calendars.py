"""Commands about named sets of days: calendar list, calendar show, calendar next."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Optional

import typer

from lunasched.cli import render
from lunasched.cli.app import JSON_OPTION, MODE_OPTION, TIMES_MAX, app, chosen_mode
from lunasched.cli.session import Session
from lunasched.errors import InvalidInput
from lunasched.formats import daycalendar

if TYPE_CHECKING:
    from collections.abc import Iterator

_calendar = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Named sets of days, for schedules."
)
app.add_typer(_calendar, name="calendar")

_NAME = typer.Argument(..., help="Name of the calendar.", show_default=False)


@_calendar.command("list")
def list_calendars(
    ctx: typer.Context, as_json: bool = JSON_OPTION, system: Optional[bool] = MODE_OPTION
) -> None:
    """List the calendars."""
    session = Session.choose(chosen_mode(ctx, system))
    found = [_summary(session, name) for name in daycalendar.calendar_names()]
    if as_json:
        render.print_json(found)
        return
    rows = [
        (
            str(one["name"]),
            "" if one["problem"] else str(one["days_this_year"]),
            str(one["next"] or ""),
            str(one["last"] or ("" if one["problem"] else "no end")),
            str(one["problem"] or one["description"]),
        )
        for one in found
    ]
    render.print_table(("NAME", "DAYS THIS YEAR", "NEXT", "LAST", "DESCRIPTION"), rows)
    if not found:
        print(f"Calendars are files in {session.paths.calendars}.")


@_calendar.command("show")
def show_calendar(
    ctx: typer.Context,
    name: str = _NAME,
    year: Optional[int] = typer.Option(
        None,
        "--year",
        min=daycalendar.FIRST_YEAR,
        max=daycalendar.LAST_YEAR,
        help="Year to show.  [default: this one]",
        show_default=False,
    ),
    as_json: bool = JSON_OPTION,
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Show the days of a calendar in a year."""
    session = Session.choose(chosen_mode(ctx, system))
    days = daycalendar.calendar_days(name, _today(session).year if year is None else year)
    _print_days(sorted(days), as_json=as_json)


@_calendar.command("next")
def next_days(
    ctx: typer.Context,
    name: str = _NAME,
    count: int = typer.Option(
        10, "-n", "--count", min=1, max=TIMES_MAX, help="Number of days to show."
    ),
    as_json: bool = JSON_OPTION,
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Show the next days of a calendar, today included."""
    session = Session.choose(chosen_mode(ctx, system))
    days = [day for day, _ in zip(_from(name, _today(session)), range(count), strict=False)]
    _print_days(days, as_json=as_json)


def _summary(session: Session, name: str) -> dict[str, object]:
    today = _today(session)
    try:
        calendar = daycalendar.read_calendar(name)
        days = len(daycalendar.calendar_days(name, today.year))
        following = next(_from(name, today), None)
    except InvalidInput as error:
        return {
            "name": name, "description": "", "file": None, "days_this_year": None, "next": None,
            "last": None, "problem": str(error),
        }  # fmt: skip
    return {
        "name": name,
        "description": calendar.description,
        "file": str(calendar.path),
        "days_this_year": days,
        "next": None if following is None else date.fromordinal(following).isoformat(),
        "last": date.fromordinal(calendar.last).isoformat() if calendar.last else None,
        "problem": None,
    }


def _from(name: str, today: date) -> Iterator[int]:
    """The days of a calendar from one on."""
    last = daycalendar.read_calendar(name).last
    end = daycalendar.LAST_YEAR if last is None else date.fromordinal(last or 1).year
    for year in range(today.year, end + 1):
        for day in sorted(daycalendar.calendar_days(name, year)):
            if day >= today.toordinal():
                yield day


def _today(session: Session) -> date:
    """The day on the host's clock."""
    from lunasched.formats.tzdatabase import rules_of
    from lunasched.history.slot import to_datetime

    return to_datetime(session.now()).astimezone(rules_of(session.host_timezone)).date()


def _print_days(days: list[int], *, as_json: bool) -> None:
    found = [date.fromordinal(day) for day in days]
    if as_json:
        render.print_json([day.isoformat() for day in found])
        return
    for day in found:
        print(f"{day:%a} {day.isoformat()}")
