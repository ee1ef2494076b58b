"""What can be typed, what it means, and where an error points."""

from __future__ import annotations

import pytest

from lunasched.errors import InvalidInput, ScheduleError
from lunasched.schedule import (
    ON_DEMAND,
    Calendar,
    Every,
    OnDemand,
    Reboot,
    ScheduleKind,
    Several,
    SystemdCalendar,
    check_timezone,
    describe,
    doubt,
    parse,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("every 30s", 30),
        ("every 15m", 900),
        ("every 1h", 3600),
        ("every 2d", 172_800),
        ("every 1w", 604_800),
        ("every 1h30m", 5400),
        ("Every 1H 30M", 5400),
        ("every 1w2d3h4m5s", 788_645),
        ("every 90s", 90),
        ("every 5min", 300),
        ("every 5 minutes", 300),
        ("every 1 hour and 30 minutes", 5400),
        ("every 1 day, and 2 hrs 3 secs", 93_603),
        ("Every Hour", 3600),
        ("every minute", 60),
        ("@every 5m", 300),
        ("@every 1h30m", 5400),
    ],
)
def test_an_interval_is_a_number_of_seconds(text: str, seconds: int) -> None:
    schedule = parse(text)
    assert isinstance(schedule, Every)
    assert (schedule.seconds, schedule.kind) == (seconds, ScheduleKind.EVERY)


def test_white_space_is_normalised_and_case_kept() -> None:
    schedule = parse("  AT   09:05\ton  Mon,Wed ")
    assert schedule.text == "AT 09:05 on Mon,Wed"
    assert isinstance(schedule, Calendar)
    assert (schedule.hours, schedule.minutes, schedule.days.weekdays) == (
        (9,),
        (5,),
        frozenset({0, 2}),
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("at 09:00 on Mon-Fri", "on Mon,Tue,Wed,Thu,Fri at 9:00"),
        ("at 09:00 on Monday", "on mon at 09:00:00"),
        ("on Sat-Mon at 09:00", "on Mon,Sat,Sun at 09:00"),
        ("cron:5 4 * * sun", "5 4 * * 7"),
        ("5 4 * * 0", "5 4 * * 7"),
        ("0 0 * * 5-7", "0 0 * * fri,sat,sun"),
        ("0 0 * * 0-2", "0 0 * * sun-tue"),
        *((f"0 0 * * {one}", "0 0 * * 7") for one in ("7-7", "0-0", "sun-sun", "0-sun", "7-sun")),
        *((f"0 0 * * {one}/2", "0 0 * * 0") for one in ("7-7", "0-0", "Sun-Sunday", "0-sun")),
        ("0 0 * * fri-sun", "0 0 * * 5-7"),
        ("0 0 * * sun-7", "0 0 * * *"),
        ("0 0 * * 0-7/3", "0 0 * * 0,3,6"),
        ("0 0 * * 3-3/4", "0 0 * * wed"),
        ("0 0 * JAN-mar *", "0 0 * 1,2,3 *"),
        ("0 0 * * FRI#2", "0 0 * * 5#2"),
        ("0 0 * * Lfri", "0 0 * * L5"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "cron: @daily"),
        ("@hourly", "0 * * * *"),
        ("@weekly", "0 0 * * sun"),
        ("@monthly", "0 0 1 * *"),
        ("@Yearly", "@annually"),
        ("0 0 ? * ?", "0 0 * * *"),
        ("10/20 * * * 1", "10,30,50 * * * 1"),
        ("on 1st Mon at 09:00", "0 9 * * 1#1"),
        ("on last Fri at 09:00", "0 9 * * L5"),
        ("on 1st,3rd Mon,Tue at 9:00", "0 9 * * 1#1,2#1,1#3,2#3"),
        ("0 9 * * 1 0", "0 9 * * 1"),
        ("Daily", "@daily"),
        ("weekly", "@weekly"),
        ("hourly", "@hourly"),
        ("daily at 02:30", "at 02:30"),
        ("every day at 02:30", "at 02:30"),
        ("weekdays at 9am", "at 09:00 on Mon-Fri"),
        ("weekends at 9:30pm", "at 21:30 on Sat,Sun"),
        ("every weekday at 09:00:30", "on Mon-Fri at 9:00:30"),
        ("every monday", "at 00:00 on Mon"),
        ("every mon, wed and fri at noon", "at 12:00 on Mon,Wed,Fri"),
        ("mondays and thursdays at 12 am", "at 00:00 on Mon,Thu"),
        ("mon-fri at 09:00", "at 09:00 on Mon-Fri"),
        ("every last Fri at 17:00", "on last Fri at 17:00"),
        ("1st,3rd Mon at 9am", "on 1st,3rd Mon at 09:00"),
        ("noon", "at 12:00"),
        ("midnight on Sun", "at 00:00 on Sun"),
        ("at 12:30 am on Mon", "at 00:30 on Mon"),
        ("at 9 PM", "at 21:00"),
        ("at 09:00,17:00", "0 9,17 * * *"),
        ("on Mon at 17:00 and 9am, noon", "0 9,12,17 * * 1"),
        ("at 09:00, 09:30, 10:00, 10:30", "0,30 9,10 * * *"),
    ],
)
def test_two_ways_to_say_the_same(one: str, other: str) -> None:
    first, second = parse(one), parse(other)
    assert isinstance(first, Calendar)
    assert isinstance(second, Calendar)
    for name in ("hours", "minutes", "fractions", "months", "days"):
        assert getattr(first, name) == getattr(second, name), name


@pytest.mark.parametrize(
    ("text", "wildcard"),
    [
        ("*/15 * * * *", True),
        ("0 * * * *", True),
        ("*/5 3 * * *", True),
        ("0 */2 * * *", True),
        ("0-59/15 0-23 * * *", False),
        ("30 2 * * *", False),
        ("@hourly", True),
        ("@daily", False),
        ("at 02:30", False),
        ("0 0 * * * */5", False),
    ],
)
def test_the_text_of_minute_and_hour_makes_a_wildcard_job(text: str, wildcard: bool) -> None:
    schedule = parse(text)
    assert isinstance(schedule, Calendar)
    assert schedule.wildcard is wildcard


@pytest.mark.parametrize("text", ["on demand", "On  Demand", " ON DEMAND "])
def test_a_job_may_have_no_schedule(text: str) -> None:
    assert parse(text) == OnDemand()
    assert (OnDemand().text, OnDemand().kind) == (ON_DEMAND, ScheduleKind.ON_DEMAND)


def test_reboot_and_systemd_expressions_have_their_own_kinds() -> None:
    assert parse("@reboot") == Reboot("@reboot")
    systemd = parse("calendar: Mon *-*~07/1 9:00 Europe/Berlin")
    assert isinstance(systemd, SystemdCalendar)
    assert (systemd.kind, systemd.zone) == (ScheduleKind.SYSTEMD, "Europe/Berlin")
    assert systemd.expression == "Mon *-*~07/1 09:00:00"


def test_some_time_after_a_boot() -> None:
    assert parse("@Boot + 1h30m") == Reboot("@Boot + 1h30m", 5400, of_machine=True)
    assert parse("@reboot+15m") == Reboot("@reboot+15m", 900)
    assert parse("@boot") == Reboot("@boot", of_machine=True)
    assert describe(parse("@boot+1h30m")) == "Once 1 hour and 30 minutes after every boot."
    assert describe(parse("@reboot+2m")) == "Once 2 minutes after every start of systemd."


def test_several_schedules() -> None:
    rule = parse("at 09:00 ;at 17:30  on Mon-Fri;@boot+15m")
    assert isinstance(rule, Several)
    assert rule.text == "at 09:00; at 17:30 on Mon-Fri; @boot+15m"
    assert [one.text for one in rule.rules] == ["at 09:00", "at 17:30 on Mon-Fri"]
    assert (rule.kind, rule.boot) == (ScheduleKind.SEVERAL, parse("@boot+15m"))
    assert parse(rule.text) == rule
    assert describe(rule) == (
        "At 09:00 every day. At 17:30 on every day from Monday to Friday. "
        "Once 15 minutes after every boot."
    )
    assert doubt(parse("at 09:00; 0 0 12 * * *")) == doubt(parse("0 0 12 * * *"))


def test_an_interval_from_a_boot_on() -> None:
    rule = parse("@boot+15m; every 1d")
    assert rule == Every("@boot+15m; every 1d", 86_400, Reboot("@boot+15m", 900, of_machine=True))
    assert describe(rule) == (
        "Every day, counted from the last start. Once 15 minutes after every boot."
    )


def test_times_of_which_a_calendar_cannot_hold_all_are_several() -> None:
    rule = parse("at 09:00,17:30, 10:00 on Mon-Fri")
    assert isinstance(rule, Several)
    assert rule.rules == (parse("at 09:00,10:00 on Mon-Fri"), parse("at 17:30 on Mon-Fri"))
    both = parse("at 09:00,17:30; @daily")
    assert isinstance(both, Several)
    assert both.rules == (*parse("at 09:00,17:30").rules, parse("@daily"))  # type: ignore[union-attr]
    assert describe(rule) == (
        "At 09:00 and 10:00 on every day from Monday to Friday. "
        "At 17:30 on every day from Monday to Friday."
    )


def test_a_zone_in_front() -> None:
    rule = parse("TZ=Europe/Berlin 0 9 * * *")
    assert isinstance(rule, Calendar)
    assert (rule.zone, rule.hours) == ("Europe/Berlin", (9,))
    assert describe(rule) == "At 09:00 every day in Europe/Berlin."
    systemd = parse("cron_tz=Asia/Tokyo calendar:Mon 09:00")
    assert isinstance(systemd, SystemdCalendar)
    assert (systemd.zone, systemd.expression) == ("Asia/Tokyo", "Mon *-*-* 09:00:00")
    several = parse("TZ=UTC at 09:00,17:30; at 12:00")
    assert isinstance(several, Several)
    assert [one.zone for one in several.rules] == ["UTC", "UTC", None]
    assert [parse(one.text) for one in several.rules] == list(several.rules)


ERRORS = [
    ("", 0, "A schedule is one of"),
    ("hourly on Mon", 0, "A schedule is one of"),
    ("every", 5, "An interval follows"),
    ("every 5", 7, "whole number with a unit"),
    ("every 5x", 7, "whole number with a unit"),
    ("every 1.5h", 7, "whole number with a unit"),
    ("every", 5, "An interval follows"),
    ("every minute 5", 6, "whole number with a unit"),
    ("every month", 6, "Months and years have no length"),
    ("every 3 months", 8, "Months and years have no length"),
    ("every 500ms", 9, "whole seconds"),
    ("every day", 6, "daily, which is at 00:00"),
    ("daily 09:00", 6, "After 'daily' comes 'at'"),
    ("every Monday at", 15, "After 'at' comes"),
    ("at 09:00,", 9, "A time is missing"),
    ("at 09:00,,10:00", 9, "A time is missing"),
    ("at 09:00 and 25:00", 13, "hour goes from 0 to 23"),
    ("Mon *-*-* 09:00", 4, "'*' is not a weekday"),
    ("every 1m2h", 9, "largest to the smallest"),
    ("every 0s", 6, "at least one second"),
    ("every 4000d", 6, "at most ten years"),
    ("at 24:00", 3, "hour goes from 0 to 23"),
    ("at 12:60", 6, "minute goes from 0 to 59"),
    ("at 12:00:60", 9, "second goes from 0 to 59"),
    ("at 9", 3, "HH:MM"),
    ("at 09:00 Mon", 9, "Nothing but 'on'"),
    ("at 09:00 on", 11, "After 'on' comes"),
    ("on Mon", 6, "A time is missing"),
    ("on Foo at 09:00", 3, "'foo' is not a weekday"),
    ("on 6th Mon at 09:00", 3, "'6th' is not a weekday"),
    ("on Mon- at 09:00", 7, "'' is not a weekday"),
    ("on -Mon at 09:00", 3, "'' is not a weekday"),
    ("on 1st at 09:00", 6, "A weekday is missing"),
    ("at 09:00 at 10:00", 9, "given twice"),
    ("60 * * * *", 0, "60 is out of range"),
    ("0 24 * * *", 2, "24 is out of range"),
    ("0 0 0 * *", 4, "0 is out of range"),
    ("0 0 * 13 *", 6, "13 is out of range"),
    ("0 0 * * 1,8", 10, "8 is out of range"),
    ("cron:0 0 * foo *", 11, "'foo' is not a name or number for the month"),
    ("*/0 * * * *", 2, "step of 0"),
    ("0 22-2 * * *", 2, "22-23,0-2"),
    ("0 22-2/2 * * *", 2, "write 22,0,2."),
    ("0 0 30-3/2 * *", 4, "write 30,1,3."),
    ("0 0 * 11-2 *", 6, "write 11-12,1-2."),
    ("0 0 * * 7-3", 8, "write 0-3."),
    ("0 0 * * 7-0", 8, "write 7."),
    ("0 0 * * 7-3/2", 8, "write 0-3/2."),
    ("0 0 * * 5-0/2", 8, "write 5-7/2."),
    ("0 0 * * thu-tue/2", 8, "write 4,6,1."),
    ("0 0 * * sat-mon", 8, "write 6,0-1."),
    ("0 0 * * 1/2", 8, "Programs disagree"),
    ("0,,5 * * * *", 2, "A value is missing"),
    ("* * * *", 7, "4 fields"),
    ("* * * * * * 2030", 12, "year field"),
    ("0 0 W15 * *", 4, "is 15W."),
    ("0 0 29-L * *", 4, "is 29-31"),
    ("0 0 1-5W * *", 4, "Of L and W"),
    ("0 0 L5 * *", 4, "Of L and W"),
    ("every fortnight", 6, "as in 1h30m."),
    ("reboot", 0, "Write @reboot."),
    ("at 13pm", 3, "9:30 pm"),
    ("TZ=Europe/Berln 0 9 * * *", 3, "did you mean Europe/Berlin"),
    ("TZ=UTC 61 * * * *", 7, "61 is out of range"),
    ("TZ=UTC every 5m", 0, "Only times of day"),
    ("TZ=UTC calendar:09:00 UTC", 0, "given twice"),
    ("TZ=UTC", 6, "A schedule is one of"),
    ("H/15", 0, "a number that job and host choose"),
    ("0 0 * * FRIL", 8, "written Lfri."),
    ("0 0 * * 6L", 8, "6L is L5."),
    ("0 0 12 ? * 1-5 *", 15, "this is '0 12 ? * 1-5'"),
    ("0 0 32W * *", 4, "32 is out of range"),
    ("0 0 L-28 * *", 6, "L-1 to L-27"),
    ("0 0 31W 4 *", 4, "No such date"),
    ("0 0 * * L", 8, "Write L5"),
    ("0 0 * * 5#6", 10, "#1 to #5"),
    ("H * * * *", 0, "A schedule is one of"),
    ("0 R * * *", 2, "R (a number at random)"),
    ("0 0 30 2 *", 4, "No such date"),
    ("0 0 31 4,6,9,11 *", 4, "No such date"),
    ("@fortnightly", 0, "is not one of @hourly"),
    ("calendar:", 9, "A calendar expression follows"),
    ("calendar:*-*-* 25:00", 20, "hour goes from 0 to 23"),
    ("calendar:*-*-* 12:00:00:00", 23, "The form is"),
    ("calendar:Mon..", 14, "last weekday of the range"),
    ("calendar:Fri..Mon", 14, "not backwards"),
    ("calendar:*-02-30", 9, "No such date"),
    ("calendar:*:0/0", 13, "step of 0"),
    ("calendar:12:00 Europe/Berln", 15, "did you mean Europe/Berlin"),
    ("@boot+", 6, "An interval is missing"),
    ("@reboot + 5x", 11, "whole number with a unit"),
    ("@boot+4000d", 7, "at most ten years"),
    ("at 09:00;", 9, "A schedule is missing"),
    ("at 09:00; ; @boot", 10, "A schedule is missing"),
    ("at 09:00; at 09:60", 16, "minute goes from 0 to 59"),
    ("at 09:00; every 5 lightyears", 18, "as in 1h30m."),
    ("at 09:00; on demand", 10, "cannot be one of several"),
    ("@boot+1m; at 09:00; @reboot", 20, "One start after a boot"),
    ("@boot+1m; @reboot", 10, "One start after a boot"),
    ("every 1h; at 09:00", 0, "make a job of each"),
    ("every 1h; every 2h", 10, "make a job of each"),
    ("at 09:00 except", 15, "After 'except' comes what is left out"),
    ("at 09:00 except Sat,", 20, "Days are missing"),
    ("at 09:00 except Sat,Foo Bar", 20, "'Foo Bar' is not a weekday, a date"),
    ("at 09:00 except 2026-02-30", 16, "is not a date, YYYY-MM-DD"),
    ("at 09:00 except 2026-02-03..2026-02-01", 16, "run backwards"),
    ("at 09:00 except 13-01", 16, "not a day of each year"),
    ("at 09:00 except at 03:00", 19, "has a begin and an end"),
    ("at 09:00 except at 03:00-03:00", 19, "begins when it ends"),
    ("at 09:00 except at 03:00-25:00", 25, "hour goes from 0 to 23"),
    ("at 09:00 except at 08:00-10:00", 0, "Nothing is left"),
    ("at 09:00 on Mon except Mon", 0, "Nothing is left"),
    ("at 09:00 only at 22:00-02:00 on Sat", 17, "of two days"),
    ("at 09:00 shift tomorrow", 15, "next-business-day or previous-business-day"),
    ("at 09:00 from Monday", 14, "is not a date"),
    ("at 09:00 from 2026-12-01 25:00", 25, "hour goes from 0 to 23"),
    ("at 09:00 from 2026-12-01 from 2026-12-02", 25, "given twice"),
    ("at 09:00 from 2026-12-02 until 2026-12-01", 31, "ends before it begins"),
    ("at 09:00 count 5", 9, "add 'from' and a date"),
    ("at 09:00 from 2026-12-01 count 0", 31, "from 1 to 10000"),
    ("at 09:00,17:30 from 2026-12-01 count 3", 31, "these are several; write 'until'"),
    ("every 15m except Sat", 10, "An interval counts from the last start"),
    ("@boot except Sat", 6, "Only what has times of day"),
    ("calendar:*:*:0/0.5 except at 03:00-04:00", 0, "parts of a second"),
    ("every 2 weeks on Mon", 8, "Every 2 weeks from when?"),
    ("every 2 weeks on Foo from 2026-12-01", 8, "'foo' is not a weekday"),
    ("every 2 days on Mon from 2026-12-01", 16, "'on' has no place here"),
    ("every 2 months from 2026-12-31", 8, "add 'on last day'"),
    ("every 2 months on day 32 from 2026-12-01", 18, "from 1 to 31"),
    ("TZ=UTC at 09:00 except Foo!", 23, "is not a weekday, a date"),
    ("except Sat", 0, "A schedule is one of"),
]


@pytest.mark.parametrize(("text", "position", "message"), ERRORS)
def test_an_error_points_at_what_is_wrong(text: str, position: int, message: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        parse(text)
    assert message in caught.value.message
    assert caught.value.position == position
    assert str(caught.value).splitlines()[-1] == "    " + " " * position + "^"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("every 15m", "Every 15 minutes, counted from the last start."),
        ("every 1h30m", "Every 1 hour and 30 minutes, counted from the last start."),
        ("every 1d", "Every day, counted from the last start."),
        ("at 02:30", "At 02:30 every day."),
        ("at 09:00 on Mon-Fri", "At 09:00 on every day from Monday to Friday."),
        ("on last Fri at 18:00", "At 18:00 on the last Friday of the month."),
        ("*/15 * * * *", "Every 15 minutes."),
        ("* * * * *", "Every minute."),
        ("@hourly", "At minute 0 of every hour."),
        ("0 0 13 * 5", "At 00:00 on day 13 of the month and on every Friday."),
        (
            "0 0 15W * *",
            "At 00:00 on the working day (Monday to Friday) nearest to day 15 of the month.",
        ),
        ("0 0 LW * *", "At 00:00 on the last working day (Monday to Friday) of the month."),
        ("0 0 L-3 * *", "At 00:00 3 days before the last day of the month."),
        ("0 0 L 2 *", "At 00:00 on the last day of the month in February."),
        (
            "0 0 */10 * 1",
            "At 00:00 on days 1, 11, 21 and 31 of the month if that is a Monday.",
        ),
        ("@reboot", "Once at every boot."),
        ("on demand", "When it is started or its dependencies have succeeded."),
        ("calendar:daily", "At 00:00 every day."),
        (
            "calendar:Mon..Fri 09:00 Europe/Berlin",
            "At 09:00 on every day from Monday to Friday in Europe/Berlin.",
        ),
        ("calendar:*-*~01 12:00", "At 12:00 on the last day of the month."),
        (
            "calendar:Mon *-05~07/1 12:00",
            "At 12:00 on the last 7 days of the month if that is a Monday in May.",
        ),
        ("calendar:*-*~03 12:00", "At 12:00 2 days before the last day of the month."),
        (
            "calendar:2027,2028,2029-01,07-01 06:00",
            "At 06:00 on day 1 of the month in January and July in 2027 to 2029.",
        ),
        ("calendar:*:0/15", "Every 15 minutes."),
        ("calendar:*:*:0/10", "Every 10 seconds."),
        ("calendar:*:*:0.5", "Whenever systemd's calendar event *-*-* *:*:00.500000 elapses."),
        ("at 02:30 except Sat,Sun", "At 02:30 on every day from Monday to Friday."),
        (
            "at 02:30 except last Fri, 2026-12-24..2027-01-02, 12-31",
            "At 02:30 every day, except on the last Friday of the month, from 24 December 2026 to "
            "2 January 2027 and on 31 December.",
        ),
        (
            "*/15 * * * * only business-days except at 22:00-06:00 on Fri",
            "Every 15 minutes, only on business days (Monday to Friday), except from 22:00 to "
            "24:00 on every Friday and from 00:00 to 06:00 on every Saturday.",
        ),
        (
            "0 9 L * * shift previous-business-day from 2026-12-01 until 2027-12-31 18:00",
            "At 09:00 on the last day of the month, and otherwise on the last business day before "
            "(Monday to Friday), from 1 December 2026, until 31 December 2027 18:00.",
        ),
        (
            "every 2 weeks on Mon,Thu at 09:00 from 2026-11-30 count 10",
            "At 09:00 on every Monday and every Thursday, every 2 weeks, from 30 November 2026, "
            "10 times.",
        ),
        (
            "every 3 months on last day from 2026-12-01 06:30",
            "At 06:30 on the last day of the month, every 3 months, from 1 December 2026 06:30.",
        ),
    ],
)
def test_a_schedule_reads_as_one_sentence(text: str, sentence: str) -> None:
    assert describe(parse(text)) == sentence


@pytest.mark.parametrize("name", ["Europe/Berlin", "UTC", "America/Argentina/Ushuaia", "Etc/GMT+5"])
def test_zones_of_the_tz_database_are_taken(name: str) -> None:
    check_timezone(name)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Europe/Berln", "Europe/Berlin"),
        ("europe/berlin", "Europe/Berlin"),
        ("berlin", "Europe/Berlin"),
        ("New York", "America/New_York"),
        ("posixrules", ""),
        ("localtime", ""),
        ("posix/Europe/Berlin", ""),
        ("../etc/passwd", ""),
        ("/usr/share/zoneinfo/UTC", ""),
        ("", ""),
        ("tzdata.zi", ""),
        ("Europe", ""),
    ],
)
def test_other_names_are_refused_with_a_near_miss(name: str, hint: str) -> None:
    with pytest.raises(InvalidInput, match="is not a time zone") as caught:
        check_timezone(name)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("0 0 12 * * *", "0 12 * * *"),
        ("cron:0 */5 * * * *", "*/5 * * * *"),
        ("30 0 12 * * *", "0 12 * * * 30"),
        ("0 0 9 * * 1-5", "0 9 * * 1-5"),
        ("0 15 10 * * 1,3", "15 10 * * 1,3"),
        ("0 0 12 1 1 */2", "0 12 1 1 */2"),
    ],
)
def test_seconds_that_seem_to_come_first_are_told_with_the_reading(text: str, instead: str) -> None:
    schedule = parse(text)
    said = doubt(schedule)
    assert said is not None
    assert describe(schedule) in said
    assert f"it is {instead!r} here" in said
    assert doubt(parse(instead)) is None or instead.count(" ") == 5


@pytest.mark.parametrize(
    "text",
    [
        "0 12 * * *", "*/5 * * * * 0", "* * * * * *", "*/2 * * * * */10", "0 9 * * 1 0",
        "0 9 * * * 30", "0 9 * * * 0,30", "@daily", "every 5m", "at 09:00", "calendar:daily",
    ],
)  # fmt: skip
def test_seconds_at_the_end_are_taken_as_they_are(text: str) -> None:
    assert doubt(parse(text)) is None


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("0 0 12 ? * MON-FRI", "0 12 ? * mon-fri"),
        ("0 0 12 * * ?", "0 12 * * ?"),
        ("15 0 9 * * sun", "0 9 * * sun 15"),
        ("0 15 10 ? * 5#3", "15 10 ? * 5#3"),
    ],
)
def test_weekdays_in_the_field_of_seconds_are_refused_with_the_way_out(
    text: str, instead: str
) -> None:
    with pytest.raises(ScheduleError, match="Seconds are the last of six fields") as caught:
        parse(text)
    assert repr(instead) in caught.value.message


def test_one_wrong_zone_of_many_jobs_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[None] = []

    def available() -> set[str]:
        looked.append(None)
        return {"Europe/Berlin"}

    monkeypatch.setattr("zoneinfo.available_timezones", available)
    for _ in range(100):
        with pytest.raises(InvalidInput, match="did you mean Europe/Berlin"):
            check_timezone("Europe/Berlinn")
    assert len(looked) == 1
