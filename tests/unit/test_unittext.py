"""What `unittext` writes is what systemd reads.

systemd's side is written here a second time, from systemd.syntax(7), systemd.service(5) "COMMAND
LINES" and systemd.unit(5) "SPECIFIERS": strict, so that whatever systemd would change, expand or
complain about is an error of the reader.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lunasched.errors import InvalidInput
from lunasched.formats import unittext
from lunasched.formats.unittext import UnitText, Unrepresentable

# Whatever means something to systemd's parser, to a shell, or to Python.
PIECES = [
    "'", '"', "\\", "$", "$$", "${X}", "$HOME", "%", "%%", "%n", "%i", "\n", "\t", " ", "  ", ";",
    " ; ", "\\\\", "\\n", "\\x41", "\\;", "#", "=", "@", "-", "+", "!", ":", "|", "~", "/", "..",
    "é", "€", "𝄞", "\u200b", "\ufdd0", "\uffff", "\U0010fffe", "\x01", "\x1b", "\x7f", "\r", "a",
    "0", "\x85", "\u2028", "\xa0", '\\"', "\\$", " \\\n ", "[Service]", "ExecStart=", "\x00",
    "\ud800", "\udcff",
]  # fmt: skip
ANY_TEXT = st.lists(st.sampled_from(PIECES) | st.characters(), max_size=12).map("".join)
ESCAPES = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", '"': '"', "'": "'", "s": " ",
}  # fmt: skip


class BadLine(Exception):
    """systemd would read something else than was meant."""


def value_of_line(text: str) -> str:
    """The value as systemd has it after reading the line `Key=TEXT`."""
    if set(text) & {"\n", "\r", "\0"}:
        raise BadLine(f"{text!r} ends the line")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadLine(f"{text!r} is not UTF-8") from None
    for char in text:
        if 0xFDD0 <= ord(char) <= 0xFDEF or ord(char) & 0xFFFE == 0xFFFE:
            raise BadLine(f"{text!r} holds a noncharacter: systemd ignores the line")
    if (len(text) - len(text.rstrip("\\"))) % 2:
        raise BadLine(f"{text!r} continues on the next line")
    return text.strip(" \t")


def words_of(line: str) -> list[str]:
    """Split, unquoted and C-unescaped, as for `ExecStart=` and `Environment=`."""
    words: list[bytes] = []
    position = 0
    while position < len(line):
        if line[position] in " \t":
            position += 1
            continue
        if line[position] == ";" and line[position + 1 : position + 2] in ("", " ", "\t"):
            raise BadLine("a lone ';' separates commands")
        word, quote = b"", ""
        while position < len(line):
            char = line[position]
            position += 1
            if char == "\\":
                raw, position = unescape(line, position)
                word += raw
            elif quote:
                if char == quote:
                    quote = ""
                else:
                    word += char.encode()
            elif char in "\"'":
                quote = char
            elif char in " \t":
                break
            else:
                word += char.encode()
        if quote:
            raise BadLine("a quote is not closed")
        words.append(word)
    return [word.decode() for word in words]


def unescape(line: str, position: int) -> tuple[bytes, int]:
    """The bytes of the escape whose letter is at `position`, and where it ends."""
    letter = line[position : position + 1]
    if letter in ESCAPES and letter:
        return ESCAPES[letter].encode(), position + 1
    if letter == "x":
        value = int(line[position + 1 : position + 3], 16)
        if not value:
            raise BadLine("\\x00 is refused")
        return bytes([value]), position + 3
    raise BadLine(f"\\{letter} is no escape")


def halved(text: str, char: str) -> str:
    """`%%` as `%` or `$$` as `$`, where one that is not doubled would be expanded."""
    parts = text.split(char * 2)
    if any(char in part for part in parts):
        raise BadLine(f"a {char} of {text!r} would be expanded")
    return char.join(parts)


def exec_start(text: str) -> list[str]:
    """The argument vector that the program gets."""
    program, *arguments = (halved(word, "%") for word in words_of(value_of_line(text)))
    if program[0] in "@-:+!|":
        raise BadLine(f"{program[0]} is a prefix")
    if set(program) & set("\"'\\\x7f") or min(program) < " ":
        raise BadLine(f"systemd refuses to run {program!r}")
    return [program, *(halved(argument, "$") for argument in arguments)]


def environment(text: str) -> list[str]:
    return [halved(word, "%") for word in words_of(value_of_line(text))]


def unquoted(text: str) -> str:
    """`Description=` and `WorkingDirectory=`."""
    return halved(value_of_line(text), "%")


def paths_of(text: str) -> list[str]:
    """`ReadOnlyPaths=`: unquoted, but a backslash only keeps the meaning of what follows it."""
    line = value_of_line(text)
    word = re.fullmatch(r'"((?:[^"\\]|\\.)*)"|([^\s"\'\\]+)', line, re.DOTALL)
    if not word:
        raise BadLine(f"{text!r} is not one word")
    quoted, bare = word.groups()
    return [halved(bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted), "%")]


def accepted(make: Callable[[], UnitText]) -> str | None:
    """The text, or `None` where it was refused."""
    try:
        return make().text
    except Unrepresentable as error:
        assert str(error), "a refusal says why"
        return None


def noncharacters(text: str) -> bool:
    """What no message of D-Bus carries, as escape or not."""
    return any(0xFDD0 <= ord(char) <= 0xFDEF or ord(char) & 0xFFFE == 0xFFFE for char in text)


@pytest.mark.parametrize(
    "char", ["\ufdd0", "\ufdef", "\ufffe", "\uffff", "\U0001fffe", "\U0010ffff"]
)
def test_a_command_that_no_message_of_the_bus_can_carry_is_refused(char: str) -> None:
    refused: list[Callable[[], object]] = [
        lambda: unittext.shell_command_line(f"echo {char}"),
        lambda: unittext.command_line(["/bin/echo", char]),
        lambda: unittext.command_line([f"/bin/{char}"]),
    ]
    for make in refused:
        with pytest.raises(Unrepresentable, match="noncharacter"):
            make()


@given(argv=st.lists(ANY_TEXT, max_size=4), program=st.sampled_from(["/bin/echo", "echo"]))
@example(argv=["a;", ";", "", "$", "%", "\\", "x\\"], program="/bin/echo")
def test_arguments_arrive_as_they_are(argv: list[str], program: str) -> None:
    text = accepted(lambda: unittext.command_line([program, *argv]))
    if text is None:
        assert any("\0" in word or surrogates(word) or noncharacters(word) for word in argv)
    else:
        assert exec_start(text) == [program, *argv]


@given(program=ANY_TEXT)
@example("/opt/50% $HOME/a b")
@example("/opt/ü\\x")
def test_a_program_of_any_name_is_run_or_refused(program: str) -> None:
    text = accepted(lambda: unittext.command_line([program, "x"]))
    if text is not None:
        assert exec_start(text) == [program, "x"]


@given(command=ANY_TEXT)
@example("date +%m; echo \"$HOME\" '$$' \\\n\ttwo")
@example("trailing\\")
def test_a_shell_command_reaches_the_shell_as_it_is(command: str) -> None:
    text = accepted(lambda: unittext.shell_command_line(command))
    if text is None:
        lost = "\0" in command or surrogates(command) or noncharacters(command)
        assert lost or not command.strip()
    else:
        assert exec_start(text) == ["/bin/sh", "-c", command]


@given(value=ANY_TEXT)
@example("a\nb\tc")
@example("$HOME %h \\ ' \"")
def test_a_variable_has_its_value_as_it_is(value: str) -> None:
    text = accepted(lambda: unittext.assignment("NAME", value))
    if text is not None:
        assert environment(text) == [f"NAME={value}"]


@given(text=ANY_TEXT)
@example("100 % of it")
def test_a_sentence_reads_as_it_is(text: str) -> None:
    written = accepted(lambda: unittext.sentence(text))
    if written is not None:
        assert unquoted(written) == text


@given(path=ANY_TEXT.map("/".__add__) | ANY_TEXT)
@example("/srv/100% of $it/")
@example("/ends with a space ")
@example("/ends with a backslash\\")
@example("/\ufdd0")
def test_a_directory_is_the_one_that_was_named(path: str) -> None:
    written = accepted(lambda: unittext.directory(path))
    if written is None:
        return
    read = unquoted(written)
    # With a slash at its end a directory is the same one.
    assert read in (path, path + "/")
    assert read.startswith("/")


@given(
    path=st.builds("{}{}{}".format, st.sampled_from(["", "-", "+", "-+"]), st.just("/"), ANY_TEXT)
    | ANY_TEXT
)
@example('/50% of "$it" \\')
@example("-+/it's\\")
def test_a_listed_path_is_the_one_that_was_named(path: str) -> None:
    written = accepted(lambda: unittext.listed_path(path))
    if written is not None:
        assert paths_of(written) == [path]
        assert path.lstrip("-+").startswith("/")


@given(text=ANY_TEXT)
def test_raw_text_is_not_changed(text: str) -> None:
    written = accepted(lambda: unittext.raw(text))
    if written is not None:
        assert written == text == value_of_line(written) != ""


@given(text=ANY_TEXT)
@settings(max_examples=200)
def test_nothing_that_is_accepted_ends_its_line(text: str) -> None:
    makers: list[Callable[[], UnitText]] = [
        lambda: unittext.plain(text),
        lambda: unittext.sentence(text),
        lambda: unittext.directory(text),
        lambda: unittext.listed_path(text),
        lambda: unittext.listed_path(f"/{text}"),
        lambda: unittext.raw(text),
        lambda: unittext.assignment("A", text),
        lambda: unittext.command_line(["/bin/echo", text]),
        lambda: unittext.command_line([text]),
        lambda: unittext.shell_command_line(text),
    ]
    for make in makers:
        written = accepted(make)
        if written is not None:
            value_of_line(written)
            assert written.splitlines()[1:] == [] or not set(written) & set("\n\r\0")


@given(value=ANY_TEXT)
def test_a_plain_value_means_itself(value: str) -> None:
    written = accepted(lambda: unittext.plain(value))
    if written is not None:
        assert written == value
        assert value_of_line(written) == value.strip(" ")
        assert not set(written) & set("%$\"'")


@given(name=ANY_TEXT.filter(lambda text: not surrogates(text)))
@example("daily-backup")
@example("a:b@c.d/e f\\x20")
@example(".")
@example("ü" * 50)
def test_a_name_comes_back_from_its_units(name: str) -> None:
    for unit in (unittext.service_name(name), unittext.timer_name(name)):
        assert unittext.job_name(unit) == name
    run = unittext.service_name(name).replace(".service", ":0123456789abcdef.service")
    if ".service" not in name:
        assert unittext.job_name(run) == name


@given(name=ANY_TEXT.filter(lambda text: not surrogates(text)))
def test_an_instance_holds_only_what_a_unit_name_may(name: str) -> None:
    instance = unittext.instance_name(name)
    assert set(instance) <= set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-\\"
    )


@given(first=ANY_TEXT, second=ANY_TEXT)
def test_two_names_are_two_instances(first: str, second: str) -> None:
    if surrogates(first + second) or first == second:
        return
    assert unittext.instance_name(first) != unittext.instance_name(second)


@pytest.mark.parametrize(
    ("name", "instance"),
    [
        ("daily-backup", "daily-backup"),
        ("a b", r"a\x20b"),
        ("a:b", r"a\x3ab"),
        ("a/b", r"a\x2fb"),
        ("a@b", r"a\x40b"),
        ("50%", r"50\x25"),
        ("ü", r"\xc3\xbc"),
        (r"\x20", r"\x5cx20"),
        ("v1.2_3", "v1.2_3"),
    ],
)
def test_instance_names(name: str, instance: str) -> None:
    assert unittext.instance_name(name) == instance
    assert unittext.service_name(name) == f"lunasched-job@{instance}.service"
    assert unittext.timer_name(name) == f"lunasched-job@{instance}.timer"


@pytest.mark.parametrize(
    ("unit", "job"),
    [
        ("lunasched-job@backup.service", "backup"),
        ("lunasched-job@backup.timer", "backup"),
        ("lunasched-job@v1.2.service", "v1.2"),
        ("lunasched-job@backup:0123.service", "backup"),
        (r"lunasched-job@a\x3ab:0123.service", "a:b"),
        (r"lunasched-job@\xff.service", None),
        ("lunasched-hook@backup.service", None),
        ("lunasched.service", None),
        ("cron.service", None),
    ],
)
def test_the_job_of_a_unit(unit: str, job: str | None) -> None:
    assert unittext.job_name(unit) == job


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["/bin/true"], "/bin/true"),
        (["true"], "true"),
        (["/bin/echo", "a", "b c", ""], '/bin/echo a "b c" ""'),
        (["/bin/echo", "$HOME", "50%"], '/bin/echo "$$HOME" "50%%"'),
        (["/opt/$x/50%"], '"/opt/$x/50%%"'),
        (["/bin/echo", ";"], '/bin/echo ";"'),
        (["/bin/echo", "a\nb\tc\\"], r'/bin/echo "a\nb\tc\\"'),
        (["/bin/echo", "\x01\x7f"], r'/bin/echo "\x01\x7f"'),
        (["/bin/echo", "it's", '"'], r'/bin/echo "it' + "'s\" " + r'"\""'),
        (["/bin/echo", "ü"], '/bin/echo "ü"'),
    ],
)
def test_command_lines(argv: list[str], text: str) -> None:
    assert unittext.command_line(argv).text == text


def test_a_shell_command_line() -> None:
    assert unittext.shell_command_line("date +%m > $X").text == '/bin/sh -c "date +%%m > $$X"'


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/", "/"),
        ("/srv/a b", "/srv/a b"),
        ("/srv/50%", "/srv/50%%"),
        ("/srv/$x", "/srv/$x"),
        ("/srv/a ", "/srv/a /"),
        ("/srv/a\\", "/srv/a\\/"),
        ("/srv/..a", "/srv/..a"),
    ],
)
def test_directories(path: str, text: str) -> None:
    assert unittext.directory(path).text == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", "A="),
        ("b", "A=b"),
        ("b c", '"A=b c"'),
        ("$b %c", '"A=$b %%c"'),
        ("a\nb", r'"A=a\nb"'),
        ("\\", r'"A=\\"'),
    ],
)
def test_assignments(value: str, text: str) -> None:
    assert unittext.assignment("A", value).text == text


@pytest.mark.parametrize(
    "value", [0, 17, "1s", "*-*-* 02:30:00", "Mon..Fri *-*~1", "lunasched.slice"]
)
def test_plain_values(value: str | int) -> None:
    assert unittext.plain(value).text == str(value)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: unittext.command_line([]), "no program"),
        (lambda: unittext.command_line([""]), "no program"),
        (lambda: unittext.command_line(["bin/true"]), "absolute"),
        (lambda: unittext.command_line(["./true"]), "absolute"),
        (lambda: unittext.command_line(["-true"]), "absolute"),
        (lambda: unittext.command_line(["@true"]), "absolute"),
        (lambda: unittext.command_line([".."]), "absolute"),
        (lambda: unittext.command_line(["p" * 256]), "255"),
        (lambda: unittext.command_line(["/bin/" + "p" * 256]), "255"),
        (lambda: unittext.directory("/" + "ü" * 128), "255"),
        (lambda: unittext.command_line(["/bin/"]), "'/' end"),
        (lambda: unittext.command_line(["/bin/a\nb"]), "control"),
        (lambda: unittext.command_line(["/bin/it's"]), "quotes"),
        (lambda: unittext.command_line(["/bin/a\\b"]), "backslashes"),
        (lambda: unittext.command_line(["/bin/" + "d/" * 2046]), "'/' end"),
        (lambda: unittext.command_line(["/bin/" + "d/" * 2045 + "x"]), "4095"),
        (lambda: unittext.command_line(["/bin/echo", "a\0b"]), "NUL"),
        (lambda: unittext.command_line(["/bin/echo", "\ud800"]), "UTF-8"),
        (lambda: unittext.shell_command_line(""), "empty"),
        (lambda: unittext.shell_command_line(" \n "), "empty"),
        (lambda: unittext.shell_command_line("a\0"), "NUL"),
        (lambda: unittext.directory(""), "absolute"),
        (lambda: unittext.directory("srv"), "absolute"),
        (lambda: unittext.directory("~"), "absolute"),
        (lambda: unittext.directory("/a/../b"), r"\.\."),
        (lambda: unittext.directory("/a\nExecStart=/bin/false"), "control"),
        (lambda: unittext.directory("/\ufdd0"), "noncharacter"),
        (lambda: unittext.directory("/" + "d/" * 2048), "4095"),
        (lambda: unittext.listed_path(""), "absolute"),
        (lambda: unittext.listed_path("+-/a"), "absolute"),
        (lambda: unittext.listed_path("--/a"), "absolute"),
        (lambda: unittext.listed_path("-/a/../b"), r"\.\."),
        (lambda: unittext.listed_path("/a\nUser=root"), "control"),
        (lambda: unittext.listed_path("/\ufdd0"), "noncharacter"),
        (lambda: unittext.listed_path("/" + "d/" * 2048), "4095"),
        (lambda: unittext.raw(""), "empty"),
        (lambda: unittext.raw("a\nUser=root"), "control"),
        (lambda: unittext.raw("a\rUser=root"), "control"),
        (lambda: unittext.raw("a\\"), "backslash"),
        (lambda: unittext.raw(" a"), "white space"),
        (lambda: unittext.raw("\uffff"), "noncharacter"),
        (lambda: unittext.raw("x" * (1 << 20)), "1 MiB"),
        (lambda: unittext.sentence("a\nb"), "control"),
        (lambda: unittext.sentence("a\rb"), "control"),
        (lambda: unittext.sentence(" a"), "white space"),
        (lambda: unittext.sentence("a\\"), "backslash"),
        (lambda: unittext.sentence("\uffff"), "noncharacter"),
        (lambda: unittext.assignment("A", "\x01"), "control"),
        (lambda: unittext.assignment("A", "\ufdd0"), "noncharacter"),
        (lambda: unittext.assignment("A", "a\0"), "NUL"),
        (lambda: unittext.plain("50%"), "means something"),
        (lambda: unittext.plain("a\nb"), "means something"),
        (lambda: unittext.plain("a\\"), "means something"),
        (lambda: unittext.plain('"'), "means something"),
        # MAX_ARG_STRLEN of the kernel, and the longest line that systemd reads.
        (lambda: unittext.shell_command_line("x" * (1 << 17)), "128 KiB"),
        (lambda: unittext.command_line(["/bin/echo", "x" * (1 << 17)]), "128 KiB"),
        (lambda: unittext.assignment("A", "x" * (1 << 17)), "128 KiB"),
        (lambda: unittext.command_line(["/bin/echo", *["\x01" * 100_000] * 3]), "1 MiB"),
    ],
)  # fmt: skip
def test_refusals(make: Callable[[], UnitText], reason: str) -> None:
    with pytest.raises(Unrepresentable, match=reason):
        make()


def test_a_refusal_is_invalid_input() -> None:
    assert issubclass(Unrepresentable, InvalidInput)


def test_the_longest_name_leaves_room_in_a_unit_name() -> None:
    longest = "x" * unittext.NAME_BYTES_MAX
    run = f"lunasched-hook@{longest}:{'0' * 32}.service"
    assert len(run) <= 255


def surrogates(text: str) -> bool:
    return any(0xD800 <= ord(char) <= 0xDFFF for char in text)
