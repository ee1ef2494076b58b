"""Reading unit files: as systemd.syntax(7) has it, and whatever the text is."""

from __future__ import annotations

import contextlib
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lunasched.errors import InvalidInput
from lunasched.formats import unitfile, unittext
from lunasched.formats.unitfile import INFINITY, UnitFile

ANY = st.text(
    st.characters(blacklist_categories=["Cs"]) | st.sampled_from("[]=%$\\\"';#\n \tx0"), max_size=80
)


def read(text: str) -> list[tuple[str, str, str, int]]:
    found, problems = unitfile.assignments([UnitFile("a.service", text)])
    assert not problems
    return [(each.section, each.directive, each.value, each.line) for each in found]


def test_sections_comments_and_continued_lines() -> None:
    text = (
        "# one\n; two\n\n[Unit]\nDescription = a b \n[Service]\nExecStart=/bin/echo \\\n"
        "# within\n  x \\\n\ty\nNice=1\n[X-Other]\nA=b\n[Service]\nX-Key=1\nUser=\n"
    )
    assert read(text) == [
        ("Unit", "Description", "a b", 5),
        ("Service", "ExecStart", "/bin/echo    x  \ty", 7),
        ("Service", "Nice", "1", 11),
        ("Service", "User", "", 16),
    ]


def test_what_systemd_would_ignore_is_a_problem() -> None:
    _, problems = unitfile.assignments([UnitFile("f", "A=b\n[Unit]\noops\n=x\n[Unit\n")])
    assert [problem.partition(": ")[0] for problem in problems] == ["f:1", "f:3", "f:4", "f:5"]


def test_drop_ins_come_after_the_file_with_places_of_their_own() -> None:
    files = [UnitFile("a", "[Service]\nUser=x\n"), UnitFile("b", "[Service]\nUser=y\n")]
    found, _ = unitfile.assignments(files)
    assert [each.place for each in found] == ["a:2: [Service] User=", "b:2: [Service] User="]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a  b\tc", ["a", "b", "c"]),
        ("'a b' \"c d\" e'f'g", ["a b", "c d", "efg"]),
        (r"\x41 \101 \u00e9 \s \n", ["A", "A", "é", " ", "\n"]),
        (r'"\"" \\', ['"', "\\"]),
        ("'' x", ["", "x"]),
        (r"\xc3\xa9", ["é"]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert unitfile.words(text) == words


@pytest.mark.parametrize("text", ["'a", r"\y", "a\\", r"\x0", r"\000", r"\xff", r"\U00110000"])
def test_words_that_cannot_be_read(text: str) -> None:
    with pytest.raises(InvalidInput):
        unitfile.words(text)


def test_a_backslash_protects_what_follows_in_paths() -> None:
    assert unitfile.words(r'"a\"b" c\\d', escapes=False) == ['a"b', "c\\d"]


@pytest.mark.parametrize(
    ("line", "argv"),
    [
        ("/bin/echo $$HOME a$b 50%%", ("/bin/echo", "$HOME", "a$b", "50%")),
        (r"/bin/find / -exec rm {} \;", ("/bin/find", "/", "-exec", "rm", "{}", ";")),
        (r"/bin/echo \; a \\; '\x3b' ';' b;", ("/bin/echo", ";", "a", "\\;", ";", ";", "b;")),
        ("/bin/sh -c 'echo $HOME; x'", ("/bin/sh", "-c", "echo $HOME; x")),
        ("find . \";\" '$$'", ("find", ".", ";", "$")),
    ],
)
def test_command_lines(line: str, argv: tuple[str, ...]) -> None:
    assert unitfile.argv(line) == argv


@pytest.mark.parametrize(
    "line",
    ["", "-/bin/x", "@/bin/x y", "+/bin/x", "/bin/x $HOME", "/bin/x ${HOME}", "/bin/x a${B}c",
     "/bin/x ; /bin/y", "/bin/x %n", "/bin/x %", "/bin/$x", "/bin/x '", "/bin/x $"],
)  # fmt: skip
def test_command_lines_that_mean_more_than_they_say(line: str) -> None:
    with pytest.raises(InvalidInput):
        unitfile.argv(line)


@settings(max_examples=300, deadline=None, print_blob=True)
@given(st.lists(st.text(st.characters(blacklist_categories=["Cs"]), max_size=20)))
def test_what_is_escaped_for_a_unit_is_read_back(arguments: list[str]) -> None:
    try:
        text = unittext.command_line(["/bin/echo", *arguments]).text
    except InvalidInput:
        return
    assert unitfile.argv(text) == ("/bin/echo", *arguments)


@settings(max_examples=500, deadline=None, print_blob=True)
@given(ANY)
def test_any_text_is_read_or_refused(text: str) -> None:
    unitfile.assignments([UnitFile("a", text)])
    for read_value in (
        unitfile.words,
        unitfile.argv,
        unitfile.timespan,
        unitfile.boolean,
        unitfile.without_specifiers,
    ):
        with contextlib.suppress(InvalidInput):
            read_value(text)


@pytest.mark.parametrize(
    "text", ["90", "5min", "1h 30min", "1.5h", "250ms", "2w1d", "1month", "1y", "3us", "1M", "1m"]
)
def test_spans_are_systemds(text: str) -> None:
    said = subprocess.run(
        ["systemd-analyze", "timespan", text], capture_output=True, text=True, check=True
    ).stdout
    microseconds = int(said.split("μs:")[1].split()[0])
    assert round(unitfile.timespan(text) * 1e6) == microseconds


def test_spans_without_an_end_and_none_at_all() -> None:
    assert unitfile.timespan("infinity") == INFINITY
    for text in ("", "x", "5 parsecs", "-1s"):
        with pytest.raises(InvalidInput):
            unitfile.timespan(text)


@pytest.mark.parametrize(
    "line", [r"\; a", "/bin/a ; /bin/b", r"/bin/a b\;", r"/bin/a \;b", r"/a '\;'"]
)
def test_the_escape_of_a_semicolon_is_for_a_whole_word_of_arguments(line: str) -> None:
    with pytest.raises(InvalidInput):
        unitfile.argv(line)


@pytest.mark.parametrize("name", ["a.service", r"a\x20b@c:d.timer", "x@a.socket"])
def test_names_of_units(name: str) -> None:
    assert unitfile.checked_unit_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "a.service # note",
        "a",
        "a b.service",
        "a.x",
        "é.service",
        "a/b.timer",
        "",
        "%p.service",
        "a@.timer",
    ],
)
def test_what_cannot_be_the_name_of_a_unit(name: str) -> None:
    with pytest.raises(InvalidInput):
        unitfile.checked_unit_name(name)
