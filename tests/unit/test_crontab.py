"""Crontabs, read as cron reads them: entries into jobs, with what differs, and every fault."""

from __future__ import annotations

import base64
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import debian_crontabs
import pytest
from campaign import IS_FULL
from hypothesis import given
from hypothesis import strategies as st
from mutations import mutated

from lunasched.formats.shell import base_name, condition, leaves_behind
from lunasched.jobs.model import Channel, ChannelType, Job
from lunasched.paths import Mode
from lunasched.transfer.crontab import (
    CronFormat,
    Crontab,
    CrontabSource,
    format_by_content,
    read_crontab,
)
from lunasched.transfer.crontab.command import input_directives, split_percent
from lunasched.units import compiler

if TYPE_CHECKING:
    import random

TREE = Path(__file__).resolve().parent.parent.parent
USER = CrontabSource("mine", CronFormat.USER)
SYSTEM = CrontabSource("/etc/crontab", CronFormat.SYSTEM)
ANACRON = CrontabSource("/etc/anacrontab", CronFormat.ANACRON)
CONTEXT = compiler.Context(
    Mode.SYSTEM,
    "Europe/Berlin",
    "",
    datetime(2026, 1, 1, tzinfo=timezone.utc),
    TREE / "unit-templates",
    Path("/usr/libexec/lunasched"),
    Path("/etc/systemd/system"),
    Path("/var/lib/lunasched/slots"),
    Path("/run/lunasched"),
)


def found(text: str, source: CrontabSource = USER) -> Crontab:
    """A crontab without faults."""
    crontab = read_crontab(text.encode(), source)
    assert crontab.problems == ()
    return crontab


def jobs(text: str, source: CrontabSource = USER) -> list[Job]:
    return [entry.job for entry in found(text, source).entries]


def only_job(text: str, source: CrontabSource = USER) -> Job:
    (only,) = jobs(text, source)
    return only


def differences(text: str, source: CrontabSource = USER) -> str:
    (entry,) = found(text, source).entries
    return "\n".join(entry.differences)


def problems(text: str | bytes, source: CrontabSource = USER) -> list[str]:
    data = text if isinstance(text, bytes) else text.encode()
    return list(read_crontab(data, source).problems)


# Lines


def test_comments_blank_lines_and_leading_white_space() -> None:
    text = "# a\n\n \t# b\n \t \n\t 5 4 * * *  true x\n# last, without a newline"
    assert [(entry.line, entry.job.command) for entry in found(text).entries] == [(5, "true x")]


def test_a_comment_is_not_cut_from_a_command() -> None:
    assert only_job("@daily true # not a comment\n").command == "true # not a comment"


def test_a_comment_for_us_sets_keys() -> None:
    job = only_job("# lunasched: timeout=15m tags=db\n* * * * * backup\n")
    assert (job.limits.timeout, job.tags) == (900, ("crontab", "db"))
    (problem,) = problems("# lunasched: user=root\n* * * * * backup\n")
    assert ":1: 'user' is not a key for an entry of a crontab; " in problem


def test_white_space_at_the_end_of_a_command_stays() -> None:
    assert only_job("@daily echo a\\ \t \n").command == "echo a\\ \t "


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=b", "b"),
        ("  A = b c  ", "b c"),
        ('A="  b "', "  b "),
        ("A='b\"'  ", 'b"'),
        ("A=b'c", "b'c"),
        ('"A"=b', "b"),
        ('A=""', ""),
        ("A=$HOME/b", "$HOME/b"),
        ("A=b=c", "b=c"),
        ("A\t=\tb # c", "b # c"),
    ],
)
def test_variables(line: str, value: str) -> None:
    assert dict(only_job(f"{line}\n@daily true\n").environment)["A"] == value


@pytest.mark.parametrize(
    "line", ["A=", "A =", 'A="b', "A='b' c", "A=\"b'", "export A=b", '"A B"=c', "=b", "A-B=c"]
)
def test_variables_that_are_none(line: str) -> None:
    (problem,) = problems(f"@daily true\n{line}\n")
    assert problem.startswith("mine:2: ")


def test_a_variable_is_for_the_entries_below_it() -> None:
    first, second, third = jobs("@daily a\nA=1\n@daily b\nA=2\n@daily c\n")
    assert [dict(each.environment).get("A") for each in (first, second, third)] == [None, "1", "2"]


def test_what_cron_sets_by_itself() -> None:
    assert only_job("@daily true\n").environment == (
        ("SHELL", "/bin/sh"),
        ("PATH", "/usr/bin:/bin"),
    )


def test_all_variables_reach_the_command_but_logname() -> None:
    text = "MAILTO=a\nCRON_TZ=UTC\nPATH=/x\nTZ=Asia/Tokyo\nLOGNAME=me\n@daily true\n"
    environment = dict(only_job(text).environment)
    assert environment == {
        "MAILTO": "a", "CRON_TZ": "UTC", "PATH": "/x", "TZ": "Asia/Tokyo", "SHELL": "/bin/sh"
    }  # fmt: skip
    assert "LOGNAME" in differences(text)


def test_what_debians_cron_does_to_a_value_and_its_manual_does_not_say() -> None:
    assert "white space at its end" in differences('A=" b "\n@daily true\n')
    assert "999 bytes" in differences(f"A={'b' * 999}\n@daily true\n")


def test_shell_home_and_zone() -> None:
    text = "SHELL=/bin/bash\nHOME=/srv\nCRON_TZ=Asia/Tokyo\n@daily true\n"
    only = only_job(text)
    assert only.command == ("/bin/bash", "-c", "true")
    assert (only.working_directory, only.timezone) == ("/srv", "Asia/Tokyo")
    assert "Debian's cron does not know CRON_TZ" in differences(text)
    assert "/srv" in differences(text)


def test_mail() -> None:
    none, to, nobody = jobs('@daily a\nMAILTO=x@y, z\n@daily b\nMAILTO=""\n@daily c\n')
    assert none.notifications.on_failure == ()
    assert to.notifications.on_failure == (Channel(ChannelType.EMAIL, "x@y, z"),)
    assert nobody.notifications.on_failure == ()
    assert "mails any output to root" in differences("@daily a\n")
    assert "mails any output to x" in differences("MAILTO=x\n@daily a\n")
    assert differences('MAILTO=""\n@daily a\n') == ""
    assert differences("MAILTO=x\n@daily -n a\n") == ""
    assert "mails any output to www" in differences("@daily www a\n", SYSTEM)


def test_random_delay() -> None:
    assert only_job("RANDOM_DELAY=45\n@daily a\n").jitter == 45 * 60
    assert "by the same time always" in differences("RANDOM_DELAY=45\n@daily a\n")
    assert problems("RANDOM_DELAY=x\n@daily a\n@daily b\n") == [
        "mine:1: RANDOM_DELAY=x is not a number of minutes from 0 to 1440"
    ]


# Times


@pytest.mark.parametrize(
    "times",
    [
        "*/5 * * * *", "0-59/7,3 1,2 1-31 jan-mar mon,Wed", "*/90 * * * *", "* * * * 5-7",
        "@reboot", "@midnight", "007 4 * * sun", "0 0 * * 7-7", "0 0 * * sun-sun/2",
    ],
)  # fmt: skip
def test_schedules(times: str) -> None:
    assert only_job(f"{times}\t true\n").schedule == times


@pytest.mark.parametrize(
    ("times", "about"),
    [
        ("5/15 * * * *", "column 1: '5/15': cron accepts no step after a single value"),
        ("1,60 * * * *", "column 3: 60 is out of range"),
        ("* \t 24 * * *", "column 5: 24 is out of range"),
        ("* * L * *", "column 5: 'L' is not a value"),
        ("* * * * 1#2", "column 9"),
        ("* * ? * *", "column 5"),
        ("* * * * monday", "column 9"),
        ("* * * * sat-sun", "write 6-7"),
        ("* * * * 5-0/2", "write 5-7/2"),
        ("* * * * 7-0", "write 7"),
        ("* * * * 7-sun", "write 7"),
        ("* * * * 7-3", "runs backwards; write 0-3"),
        ("* * * * fri-mon/2", "write 5,0"),
        ("10-5 * * * *", "runs backwards"),
        ("*/0 * * * *", "step of 0"),
        ("5* * * * *", "column 1"),
        ("5, * * * *", "column 3"),
        ("0 0 31 2 *", "No such date"),
        ("@Daily", "lower case"),
        ("@every_minute", "is not one of @annually"),
        ("60~70 * * * *", "not a random place"),
        ("5~1 * * * *", "not a random place"),
        ("5~10/2 * * * *", "not a random place"),
    ],
)
def test_times_that_cron_does_not_take_or_that_nobody_can_keep(times: str, about: str) -> None:
    (problem,) = problems(f"# x\n{times} true\n")
    assert problem.startswith("mine:2: ")
    assert about in problem


@pytest.mark.parametrize("line", ["*", "* * * *", "* * * * *", "@daily", "@daily  ", "5 4 * * * "])
def test_a_line_without_a_command(line: str) -> None:
    (problem,) = problems(f"{line}\n")
    assert "no command" in problem


def test_random_places() -> None:
    text = "30~45 ~ * * 1,2~3 true\n"
    schedule = only_job(text).schedule
    minute, hour, weekday = re.fullmatch(r"(\d+) (\d+) \* \* 1,(\d)", schedule).groups()  # type: ignore[union-attr]
    assert 30 <= int(minute) <= 45 and 0 <= int(hour) <= 23 and 2 <= int(weekday) <= 3
    assert only_job(f"# moved\n\n{text}").schedule == schedule
    assert f"'30~45' is {minute} here" in differences(text)
    assert {only_job(f"~ 1 * * * c{number}\n").schedule for number in range(99)} != {schedule}


def test_the_dash_that_keeps_a_start_from_the_log() -> None:
    assert only_job("-*/5 * * * * true\n").schedule == "*/5 * * * *"
    assert "history" in differences("-@daily true\n")


# Percent signs


def reference(text: str) -> tuple[str, bytes | None]:
    """cron's rule, written down another way: by splitting instead of by a state machine."""
    match = re.match(r"((?:[^\\%]|\\.|\\\Z)*)(?:%(.*))?\Z", text, re.DOTALL)
    assert match
    command = re.sub(r"\\([\\%])", r"\1", match[1])
    if match[2] is None:
        return command, None
    # In the input every "%" behind a backslash, however many there are, takes the last of them.
    stdin = re.sub(r"(\\*)%", lambda m: f"{m[1][:-1]}%" if m[1] else "\n", match[2])
    tail = match[2].rstrip("\\")
    complete = not tail or (tail.endswith("%") and not tail.endswith("\\%"))
    return command, (stdin if complete else f"{stdin}\n").encode()


@given(st.text(alphabet="a \\%\t'é", max_size=14))
def test_percent_signs_are_those_of_cron(text: str) -> None:
    command, stdin = split_percent(text)
    assert (command, None if stdin is None else stdin.encode()) == reference(text)


@pytest.mark.parametrize(
    ("text", "command", "stdin"),
    # What Debian's cron 3.0pl1-162 was seen to do.
    [
        (r"p a%b", "p a", "b\n"),
        (r"p 'a\%b'", "p 'a%b'", None),
        (r"p 'a\\b' '\n'", r"p 'a\b' '\n'", None),
        (r"p 'a\\\%b'%c", r"p 'a\%b'", "c\n"),
        ("p x%", "p x", ""),
        ("p x%%", "p x", "\n"),
        (r"p x%a%%b\%c\\%d\x%", "p x", "a\n\nb%c\\%d\\x\n"),
        ("p x%a\\", "p x", "a\\\n"),
        ("p %\\", "p ", "\\"),
        ("p %a%\\", "p ", "a\n\\"),
        (r"p %\\", "p ", "\\\\"),
        (r"p %a\\%\\\ "[:-1], "p ", "a\\%\\\\\\\n"),
        ("p x  %  lead trail  ", "p x  ", "  lead trail  \n"),
        ("p x\\", "p x\\", None),
    ],
)
def test_percent_signs(text: str, command: str, stdin: str | None) -> None:
    assert split_percent(text) == (command, stdin)


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=30))
def test_the_input_survives_the_unit(text: str) -> None:
    """Read back as systemd.exec(5) reads StandardInputText= and StandardInputData=."""
    directives = input_directives(text)
    if not text:
        assert directives == {}
        return
    assert directives["StandardInput"] == "data"
    if data := directives.get("StandardInputData"):
        assert base64.b64decode(data).decode() == text
        return
    line = directives["StandardInputText"]
    assert line == line.strip() and "\n" not in line

    def unescaped(match: re.Match[str]) -> str:
        return {"n": "\n", "t": "\t"}.get(match[1]) or chr(int(match[1][1:], 16))

    body = re.sub(r"\\(n|t|x[0-9a-f]{2})", unescaped, line).replace("%%", "%")
    assert f"{body}\n" == text


def test_the_input_is_readable_in_the_unit() -> None:
    only = only_job('0 22 * * 1-5 mail -s "It\'s 10pm" joe%Joe,%%Where are your kids?%\n')
    assert only.command == 'mail -s "It\'s 10pm" joe'
    assert only.directives == (
        ("StandardInput", "data"),
        ("StandardInputText", r"Joe,\n\nWhere are your kids?"),
    )


# Names


LINES = [
    "5 4 * * * /usr/local/bin/backup.sh --full",
    "5 5 * * * /usr/local/bin/backup.sh --fast",
    "17 * * * * cd / && run-parts --report /etc/cron.hourly",
    "@daily FOO=bar nice -n 10 /opt/x/run",
    "@weekly [ -x /usr/bin/a ] && /usr/bin/a >/dev/null",
    "*/5 * * * * echo a%b",
    "@reboot sleep 10",
    "0 1 * * * twice",
    "0 2 * * * twice",
    "0 3 * * * twice",
]


def names(lines: list[str]) -> dict[str, str]:
    """The name of each line's job."""
    entries = found("".join(f"{line}\n" for line in lines)).entries
    return {lines[entry.line - 1]: entry.job.name for entry in entries}


@given(st.permutations(LINES))
def test_the_order_of_lines_changes_no_name(lines: list[str]) -> None:
    assert names(lines) == names(LINES)


@given(st.lists(st.sampled_from(LINES), unique=True))
def test_other_lines_change_no_name(lines: list[str]) -> None:
    # Of the same command, cron's other line has to tell them apart.
    lines = [*lines, *(line for line in LINES if "twice" in line and line not in lines)]
    assert names(lines).items() <= names(LINES).items()


def test_a_name_stays_when_the_schedule_or_a_variable_changes() -> None:
    before = only_job("@daily /bin/backup x\n")
    after = only_job("PATH=/x\n@weekly /bin/backup x\n")
    assert before.name == after.name
    assert before != after


def test_names_tell_users_apart() -> None:
    first, second = jobs("@daily www a\n@daily root a\n", SYSTEM)
    assert first.name != second.name
    assert second.name == only_job("@daily a\n").name


def test_the_same_entry_twice() -> None:
    first, second = jobs("@daily a\n@daily a\n")
    assert second.name == f"{first.name}-2"


def test_the_name_of_a_file_in_cron_d_is_a_part_of_the_names() -> None:
    source = CrontabSource("/etc/cron.d/php", CronFormat.SYSTEM, prefix="php")
    assert re.fullmatch(
        r"php-sessionclean-\w{6}", only_job("@daily root /lib/sessionclean\n", source).name
    )
    assert re.fullmatch(r"php-\w{6}", only_job("@daily root php -r x\n", source).name)
    assert re.fullmatch(r"php-x\.py-\w{6}", only_job("@daily root python3 -u x.py\n", source).name)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("/usr/local/bin/backup.sh --full", "backup.sh"),
        ("cd / && run-parts --report /etc/cron.hourly", "cron.hourly"),
        ("test -x /x || { cd / && run-parts --report /etc/cron.daily; }", "cron.daily"),
        ("command -v debian-sa1 > /dev/null && debian-sa1 1 1", "debian-sa1"),
        ("[ -x /x ] && if [ ! -d /y ]; then /usr/lib/php/sessionclean; fi", "sessionclean"),
        ("if [ -x /x ] && [ $(date +%d) -le 7 ]; then /x/checkarray; fi", "checkarray"),
        ("test -x /x && perl -e 'sleep int(rand(43200))' && certbot -q renew", "certbot"),
        ("FOO='a b' nice -n 10 /opt/x/run", "run"),
        ("sudo -n timeout 10m flock-wrapper", "flock-wrapper"),
        ("/usr/bin/python3 -u '/srv/my job.py' x", "my-job.py"),
        ("sleep 10", "sleep"),
        ("'", "job"),
        (": ", "job"),
        ("(a; b)", "a"),
        ("sleep $((RANDOM%30)); /x/backup", "backup"),
        ("sleep $(( (RANDOM % 30) * 2 )) && /x/backup", "backup"),
        ("sleep $(expr $(od -An -N1 /dev/urandom) % (3)) && /x/backup", "backup"),
        ("sleep ${RANDOM:0:2} ; cd $(dirname $(which x)); /x/backup", "backup"),
        ("[ $(($(date +%s) / 86400 % 2)) = 0 ] && /x/backup", "backup"),
        ("--", "job"),
    ],
)  # fmt: skip
def test_what_a_job_is_called_after(command: str, name: str) -> None:
    assert base_name(command) == name


# What differs


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("a & b", "&"),
        ("(sleep 5; b) &", "&"),
        ("a && b || c", None),
        ("a >/x 2>&1; c >&2 |& d; e <&3", None),
        ("b &> /x", "&>"),
        ("b &>>/x", "&>>"),
        ("true && b arg &>/x </y", "&>"),
        ("echo '&>' \"&>x\" $((1&1)) ${A:-&}", None),
        ("echo 'a & b' \"c & d\" e\\&f # &", None),
        ("nohup a", "nohup"),
        ("x; /usr/bin/setsid -f b", "/usr/bin/setsid"),
        ("a; disown", "disown"),
        ("wget 'http://x/?a=b&c=d'", None),
        ("wget http://x/?a=b&c=d", "&"),
    ],
)
def test_what_may_stay_in_the_background(command: str, what: str | None) -> None:
    assert leaves_behind(command) == what
    assert ("KillMode=control-group" in differences(f"@daily {command}\n")) == bool(what)


@pytest.mark.parametrize(
    ("command", "test"),
    [
        ('[ "$(date -d tomorrow +%d)" = 01 ] && billing', '[ "$(date -d tomorrow +%d)" = 01 ]'),
        ("test -x /x && { a; b; }", "test -x /x"),
        ("cd / && [ -e x ] && (a; b)", "[ -e x ]"),
        ("! grep -q x /y && a | b", "! grep -q x /y"),
        ("a; /usr/bin/test -e x && b;", "/usr/bin/test -e x"),
        ("command -v x >/dev/null && x 1", "command -v x"),
        ("[ -x /x ] && if [ -e y ]; then z; fi", "[ -x /x ]"),
        ("[[ $((1+1)) = 2 ]] && a || b && [ -e c ] && d", "[ -e c ]"),
        ("[ -x /x ] && a || true", None),
        ("[ -x /x ] || a", None),
        ("[ -x /x ] && a; b", None),
        ("[ -x /x ] && a & b", None),
        ("if [ -x /x ] && [ -e y ]; then a; fi", None),
        ("while [ -x /x ] && a; do b; done", None),
        ("{ [ -x /x ] && a; } || true", None),
        ("([ -x /x ] && a) || true", None),
        ("cd /x && a", None),
        ("echo '[ -x /x ] && a'", None),
        ("a && [ -e x ]", None),
    ],
)
def test_a_condition_that_does_not_hold_is_a_failure_here(command: str, test: str | None) -> None:
    assert condition(command) == test
    line = command.replace("%", "\\%")
    assert ("SuccessExitStatus=1" in differences(f"@daily {line}\n")) == (test is not None)


@pytest.mark.parametrize(
    ("shell", "behind"),
    [
        ("/bin/bash", None),
        ("/usr/bin/zsh", None),
        ("/bin/dash", "&>"),
        ("/bin/sh", "&>"),
        ("/bin/busybox", "&>"),
    ],
)
def test_both_outputs_at_once_is_the_background_but_to_bash(shell: str, behind: str | None) -> None:
    assert leaves_behind("/bin/job a &>/x", shell) == behind
    said = differences(f"SHELL={shell}\n@daily /bin/job a &>/x\n")
    assert (f"to {shell} it is '&' and '>'" in said) == bool(behind)


@pytest.mark.parametrize(
    ("line", "source"),
    [
        ("* * * * * * echo x", USER),
        ("* * * * * * echo x", SYSTEM),
        ("*/5 0 * * * *", USER),
        ("1 2 3 4 5 */2 x", USER),
        ("1 2 3 4 5 -n *x", USER),
        ("@daily *", USER),
        ("* * * * * root * echo x", SYSTEM),
    ],
)
def test_no_cron_takes_a_command_that_begins_with_a_star(line: str, source: CrontabSource) -> None:
    (problem,) = problems(f"{line}\n", source)
    assert "begins with '*', which no cron accepts" in problem


@pytest.mark.parametrize(
    ("line", "about"),
    [
        ("@daily a >/dev/stderr", "socket of the journal"),
        ("@daily [ -d /run/systemd/system ] || a", "timer of its own"),
        ("@daily a '\\\\'", "double backslash"),
        (f"@daily {'a' * 999}", "998 bytes"),
    ],
)
def test_other_differences(line: str, about: str) -> None:
    assert about in differences(f"{line}\n")


# Formats


def test_the_user_of_a_system_crontab() -> None:
    www, root = jobs("17 *\t* * *\twww-data\ta b\n@daily root  c\n", SYSTEM)
    assert (www.user, www.command) == ("www-data", "a b")
    assert (root.user, root.command) == (None, "c")


def test_a_user_that_does_not_exist() -> None:
    source = CrontabSource("/etc/crontab", CronFormat.SYSTEM, users={"root"})
    (problem,) = problems("@daily root a\n@daily echo b\n", source)
    assert problem.startswith("/etc/crontab:2: there is no user 'echo'")
    assert "--user-format" in problem
    assert "no command" in problems("@daily root\n", source)[0]


@pytest.mark.parametrize(
    "text", ["@daily root a\n@daily b\n", "5 4 * * * news a\n5 5 * * * mail b\n"]
)
def test_a_system_crontab_that_was_taken_for_a_users(text: str) -> None:
    source = CrontabSource("x", CronFormat.USER, users={"root", "news", "mail"}, is_guess=True)
    (problem,) = problems(text, source)
    assert "--system-format" in problem and "--user-format" in problem
    told = CrontabSource("x", CronFormat.USER, users={"root", "news", "mail"})
    assert len(jobs(text, told)) == 2


@pytest.mark.parametrize(
    ("text", "is_refused"),
    [
        ("@daily web /srv/a\n5 4 * * * pg.1 /srv/b -x\n", True),
        ("@daily news /srv/a\n5 4 * * * web /srv/b -x\n", True),
        ("@daily web /srv/a\n5 4 * * * php /srv/b\n", False),
        ("PATH=/opt\n@daily web /srv/a\n", False),
        ("@daily cd /srv\n", False),
        ("@daily nice /srv/a\n", False),
        ("@daily ./web /srv/a\n", False),
        ("@daily web srv\n", False),
    ],
)
def test_users_of_another_machine_are_not_taken_for_programs(text: str, is_refused: bool) -> None:
    def finds(word: str, path: str | None) -> bool:
        return word == "php" or path == "/opt"

    source = CrontabSource("x", CronFormat.USER, users={"root", "news"}, finds=finds, is_guess=True)
    found = read_crontab(text.encode(), source).problems
    assert ["--system-format" in one and "'web'" in one for one in found] == [True] * is_refused
    assert not read_crontab(
        text.encode(), CrontabSource("x", CronFormat.USER, finds=finds)
    ).problems


def test_a_command_that_has_the_name_of_a_user() -> None:
    source = CrontabSource("x", CronFormat.USER, users={"root", "mail"}, is_guess=True)
    assert only_job("@daily mail -s x y\n", source).command == "mail -s x y"
    assert len(jobs("@daily mail x y\n@daily true\n", source)) == 2


@pytest.mark.parametrize(
    ("text", "is_system"),
    [
        ("@daily mail -s hi root\n", False),
        ("@daily mail && true\n", False),
        ("@daily mail | true\n@daily news x\n", False),
        ("@daily mail >/x\n", False),
        ("@daily true\n", False),
        ("@daily news x\n@daily true\n", False),
        ("@daily root x\n@daily nosuch /bin/x\n", True),
        ("5 4 * * * news a\n5 5 * * * mail b\n", True),
        ("A=b\n5 4 * * * mail /bin/x -s\n", True),
        ("no crontab\n", False),
        ("", False),
    ],
)
def test_the_format_is_guessed_by_the_lines(text: str, is_system: bool) -> None:
    guess = format_by_content(text.encode(), {"root", "news", "mail"})
    assert guess is (CronFormat.SYSTEM if is_system else CronFormat.USER)


@pytest.mark.parametrize("command", ["-s hi root", "&& true", "& x", "| y", "; z", ") x"])
def test_no_command_begins_with_an_option_or_an_operator(command: str) -> None:
    (problem,) = problems(f"@daily {command}\n")
    assert "no command begins with" in problem
    (problem,) = problems(f"@daily mail {command}\n", SYSTEM)
    assert "is 'mail' the command" in problem and "--user-format" in problem


def test_the_crontab_of_a_user_in_system_mode() -> None:
    assert only_job("@daily a\n", CrontabSource("x", CronFormat.USER, user="luna")).user == "luna"


def test_ones_own_jobs() -> None:
    own = CrontabSource("x", CronFormat.SYSTEM, caller="luna")
    assert only_job("@daily luna a\n", own).user is None
    (problem,) = problems("@daily luna a\n@daily root b\n", own)
    assert problem.startswith("x:2: it runs as root")
    assert "if you linger" in differences(
        "@reboot a\n", CrontabSource("x", CronFormat.USER, caller="luna")
    )


# anacron

ANACRONTAB = """\
SHELL=/bin/sh
PATH=/usr/sbin:/usr/bin
LOGNAME=root
1	5	cron.daily	run-parts --report /etc/cron.daily
7 10 cron.weekly run-parts \\
  /etc/cron.weekly
@monthly	15	cron.monthly	echo 50% | x
3 0 third c
"""


def test_anacrontab() -> None:
    daily, weekly, monthly, third = jobs(ANACRONTAB, ANACRON)
    assert [each.name for each in (daily, weekly, monthly, third)] == [
        "cron.daily", "cron.weekly", "cron.monthly", "third"
    ]  # fmt: skip
    assert [each.schedule for each in (daily, weekly, monthly, third)] == [
        "35 7 * * *", "40 7 * * 0", "45 7 1 * *", "every 3d"
    ]  # fmt: skip
    assert weekly.command == "run-parts   /etc/cron.weekly"
    assert monthly.command == "echo 50% | x"
    assert daily.environment == (("SHELL", "/bin/sh"), ("PATH", "/usr/sbin:/usr/bin"))
    assert (daily.catch_up, third.catch_up, daily.working_directory) == (True, False, "/")


def test_the_hours_and_the_delay_of_cronies_anacron() -> None:
    only = only_job("START_HOURS_RANGE=3-22\nRANDOM_DELAY=45\n@daily 65 x y\n", ANACRON)
    assert (only.schedule, only.jitter) == ("5 4 * * *", 45 * 60)


@pytest.mark.parametrize(
    ("line", "about"),
    [
        ("1 5 cron.daily", "an entry here is"),
        ("x 5 a b", "not a period"),
        ("0 5 a b", "not a period"),
        ("1 5 a/b c", "'/'"),
        ("1 5000 a b", "next day"),
        ("1 5 ok b\n1 5 ok c", "used already"),
    ],
)
def test_faults_of_an_anacrontab(line: str, about: str) -> None:
    (problem,) = problems(f"{line}\n", ANACRON)
    assert about in problem


def test_an_anacrontab_is_roots() -> None:
    (problem,) = problems("1 5 a b\n", CrontabSource("x", CronFormat.ANACRON, caller="luna"))
    assert "as root" in problem


# Faults of files


@pytest.mark.parametrize(
    ("data", "about"),
    [
        (b"@daily a", "newline at the end"),
        (b"@daily a\n\r\n@daily b\n", "carriage return"),
        (b"A=b\r\n@daily a\n", "sed -i"),
        (b'A="b"\r\n@daily a\n', "sed -i"),
        (b"@daily a\0b\n", "NUL"),
        (b"@daily a\xff\n", "UTF-8"),
        (b"\xef\xbb\xbf@daily a\n", "byte order mark"),
        (b"#" * (1 << 20) + b"\n", "1 MiB"),
        (b"SHELL=bash\n@daily a\n", "absolute path"),
        (b"MAILTO=a b c\n@daily a\n", "not an email address"),
        (b"CRON_TZ=No/Where\n@daily a\n", "No/Where"),
        (b"HOME=srv\n@daily a\n", "absolute path"),
        (b"@daily %a\n", "no command"),
    ],
)
def test_faults(data: bytes, about: str) -> None:
    assert [about in problem for problem in problems(data)] == [True]


def test_a_command_keeps_its_carriage_return_as_with_cron() -> None:
    crontab = read_crontab(
        b"# a\r\n@daily x y\r\n@daily x%y\r\n", CrontabSource("mine", CronFormat.USER)
    )
    assert crontab.problems == ()
    assert [entry.job.command for entry in crontab.entries] == ["x y\r", "x"]
    for entry in crontab.entries:
        assert [("CRLF" in told) and ("sed -i" in told) for told in entry.differences].count(
            True
        ) == 1


def test_a_fault_of_a_variable_is_told_once_and_where_it_is() -> None:
    assert problems("# x\nMAILTO=a b\n@daily a\nHOME=x\n@daily b\n") == [
        "mine:2: MAILTO=a b: 'a b' is not an email address",
        "mine:4: HOME=x: it is not an absolute path",
    ]
    (problem,) = problems("A=\x01\n@daily a\n@daily b\n")
    assert problem.startswith("mine:1: A=")


def test_all_faults_are_told_in_the_order_of_the_lines() -> None:
    lines = [
        problem.split(":")[1] for problem in problems("60 * * * * a\n@x b\nA=\n* * * * * c\n@y z\n")
    ]
    assert lines == ["1", "2", "3", "5"]


PIECES = [
    "@daily", "@reboot", "*", "5/15", "1~3", "~", "\n", " ", "\t", "=", "%", "\\", "root", "A", "'",
    '"', "&", "#", "1", "-", "\0", "\r", "MAILTO=", "HOME", "SHELL", "CRON_TZ", "RANDOM_DELAY=",
    "\ufeff",
]  # fmt: skip


@given(
    st.one_of(
        st.binary(), st.lists(st.sampled_from(PIECES), max_size=40).map("".join).map(str.encode)
    ),
    st.sampled_from([USER, SYSTEM, ANACRON]),
    st.booleans(),
)
def test_no_text_breaks_it(data: bytes, source: CrontabSource, guessed: bool) -> None:
    crontab = read_crontab(
        data, CrontabSource(source.label, source.format, users={"root"}, is_guess=guessed)
    )
    for entry in crontab.entries:
        assert entry.job.name


# What Debian ships, and what is nearly that

REFUSED: dict[str, str] = {}
"""The files with an entry that cannot be imported, and why."""


@pytest.fixture(scope="module")
def shipped() -> dict[str, dict[str, bytes]]:
    """The cron files of Debian's packages, by package and path."""
    names = debian_crontabs.PACKAGES + (debian_crontabs.MORE_PACKAGES if IS_FULL else ())
    try:
        files = {
            name: debian_crontabs.cron_files(deb)
            for name, deb in debian_crontabs.debs(names).items()
        }
    except debian_crontabs.NoPackages as error:
        pytest.fail(f"the packages of Debian are needed here, from a cache or by apt: {error}")
    return {name: found for name, found in files.items() if found}


def source_of(path: str) -> CrontabSource:
    if path == "/etc/anacrontab":
        return CrontabSource(path, CronFormat.ANACRON)
    prefix = Path(path).name if path.startswith("/etc/cron.d/") else ""
    return CrontabSource(path, CronFormat.SYSTEM, prefix=prefix)


def entry_lines(path: str, data: bytes) -> list[int]:
    """The lines that are neither empty, nor comments, nor begin as a variable does."""
    found = []
    for number, line in enumerate(data.decode().splitlines(), start=1):
        if re.match(r"\s*(?:[0-9*@-])", line):
            found.append(number)
    return found


@pytest.mark.slow
@pytest.mark.campaign
def test_every_cron_file_of_debian(shipped: dict[str, dict[str, bytes]]) -> None:
    assert len(shipped) >= 25
    imported: dict[str, Any] = {}
    for files in shipped.values():
        for path, data in files.items():
            crontab = read_crontab(data, source_of(path))
            if path in REFUSED:
                assert REFUSED[path] in "\n".join(crontab.problems)
                continue
            assert crontab.problems == (), path
            assert [entry.line for entry in crontab.entries] == entry_lines(path, data)
            for entry in crontab.entries:
                compiled = compiler.compile(entry.job, CONTEXT)
                assert compiled.timer is not None
                assert entry.job.name not in imported
                imported[entry.job.name] = path


@pytest.mark.slow
def test_changed_crontabs_are_read_or_refused(
    shipped: dict[str, dict[str, bytes]], rng: random.Random
) -> None:
    """No traceback, every fault with its place, and units of all that is taken."""
    texts = [data for files in shipped.values() for data in files.values()]
    taken = 0
    for _ in range(10_000):
        data = mutated(rng, texts)
        source = rng.choice([USER, SYSTEM, SYSTEM, ANACRON])
        try:
            crontab = read_crontab(data, source)
            for problem in crontab.problems:
                assert re.match(rf"{source.label}(:\d+)?: ", problem), problem
            if not crontab.problems:
                names = [entry.job.name for entry in crontab.entries]
                assert len(set(names)) == len(names)
                for entry in crontab.entries[:3]:
                    compiler.compile(entry.job, CONTEXT)
                taken += 1
        except BaseException:
            print(data)
            raise
    assert 500 < taken < 9500
