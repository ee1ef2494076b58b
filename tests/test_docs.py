"""The man pages and the README say what the code does, and all of it."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import re
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer

from lunasched import cli
from lunasched.cli import render
from lunasched.cli.app import app
from lunasched.errors import ExitCode
from lunasched.model import Result, Run, Trigger

if TYPE_CHECKING:
    from collections.abc import Iterator

for module in pkgutil.iter_modules(cli.__path__, "lunasched.cli."):
    importlib.import_module(module.name)  # registers its commands

TREE = Path(__file__).resolve().parent.parent
PAGES = sorted(TREE.glob("man/*.[1-9]"))
MODE_OPTIONS = {"--system", "--user"}
HELP_OPTIONS = {"-h", "--help"}


# The typer application and the man page, read into the same form


@dataclasses.dataclass
class Command:
    """One command: its options, and its arguments as the usage shows them."""

    options: set[str]
    arguments: list[str]


def command_line() -> tuple[set[str], dict[str, Command]]:
    """The options before a command, and the commands, of the code."""
    root: Any = typer.main.get_command(app)
    commands = {
        name: _parameters(command) for name, command in root.commands.items() if not command.hidden
    }
    return _parameters(root).options | HELP_OPTIONS, commands


def _parameters(command: Any) -> Command:
    found = Command(set(), [])
    for parameter in command.params:
        if parameter.param_type_name == "option":
            found.options |= {*parameter.opts, *parameter.secondary_opts}
        else:
            name = parameter.name.upper()
            found.arguments.append(name if parameter.required else f"[{name}]")
    return found


class Page:
    """The source of one man page in mdoc(7)."""

    def __init__(self, path: Path) -> None:
        self.text = path.read_text()

    def part(self, macro: str, title: str) -> str:
        """The source below ``.Sh TITLE`` or ``.Ss TITLE``."""
        parts = dict(self.parts(macro))
        assert title in parts, f"there is no .{macro} {title}"
        return parts[title]

    def parts(self, macro: str) -> Iterator[tuple[str, str]]:
        """Every part that begins with ``macro``, to the next that is as high or higher."""
        ends = r"^\.Sh " if macro == "Sh" else r"^\.S[hs] "
        for match in re.finditer(rf"^\.{macro} (.+)\n", self.text, re.MULTILINE):
            end = re.search(ends, self.text[match.end() :], re.MULTILINE)
            stop = match.end() + end.start() if end else len(self.text)
            yield match[1], self.text[match.end() : stop]


def flags(text: str) -> set[str]:
    """The options that the ``Fl`` macros of ``text`` name."""
    found = set()
    for line in text.splitlines():
        if line.startswith("."):
            found |= {f"-{flag}" for flag in re.findall(r"\bFl (-?[A-Za-z][\w-]*)", line)}
            # `Fl -a | -b` and `Fl -a , -b`: one macro, two options.
            found |= {
                f"-{flag}" for flag in re.findall(r"\bFl -?[\w-]+ [|,] (-[A-Za-z][\w-]*)", line)
            }
    return found


def defined(text: str) -> set[str]:
    """The options that list items define."""
    items = [line for line in text.splitlines() if re.match(r"\.It Fl ", line)]
    return flags("\n".join(items))


def synopsis(text: str) -> str:
    """The usage at the top of a command's part."""
    return text.partition(".Pp\n")[0]


def arguments(text: str) -> list[str]:
    """The arguments in a usage, those of options left out."""
    words = text.replace("\n.", " ").lstrip(".").split()
    found = []
    for number, word in enumerate(words):
        if word == "Ar" and words[number - 2] != "Fl":
            optional = words[number - 1] in ("Oo", "Op", "--")
            name = words[number + 1]
            if name != "options":
                found.append(f"[{name}]" if optional else name)
    return found


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(TREE / "man/lunasched.1")


@pytest.fixture(scope="module")
def documented(page: Page) -> dict[str, str]:
    """The source that each command has in the page."""
    return dict(Page.parts(_only(page, "COMMANDS"), "Ss"))


def _only(page: Page, section: str) -> Page:
    narrowed = object.__new__(Page)
    narrowed.text = page.part("Sh", section)
    return narrowed


OPTIONS, COMMANDS = command_line()


def test_every_command_is_documented_and_no_other(documented: dict[str, str]) -> None:
    assert set(documented) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_options_of_a_command(name: str, documented: dict[str, str]) -> None:
    text = documented[name]
    assert defined(text) == COMMANDS[name].options - MODE_OPTIONS
    assert flags(synopsis(text)) <= COMMANDS[name].options


@pytest.mark.parametrize("name", COMMANDS)
def test_arguments_of_a_command(name: str, documented: dict[str, str]) -> None:
    assert arguments(synopsis(documented[name])) == COMMANDS[name].arguments


def test_options_before_the_command(page: Page) -> None:
    assert defined(page.part("Sh", "OPTIONS")) == OPTIONS
    assert flags(page.part("Sh", "SYNOPSIS")) == OPTIONS


def test_every_command_takes_the_mode() -> None:
    jobless = {"explain"}
    for name in COMMANDS.keys() - jobless:
        assert COMMANDS[name].options >= MODE_OPTIONS, name


def test_no_option_is_mentioned_that_does_not_exist(page: Page) -> None:
    known = OPTIONS.union(*(command.options for command in COMMANDS.values()))
    assert flags(page.text) <= known


def test_options_of_the_supervisor(capsys: pytest.CaptureFixture[str]) -> None:
    from lunasched import supervisor

    with pytest.raises(SystemExit):
        supervisor.main(["--help"])
    shown = capsys.readouterr().out
    existing = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", shown.partition("options:")[2]))
    daemon = Page(TREE / "man/lunasched-daemon.8")
    assert defined(daemon.text) == existing
    assert flags(daemon.part("Sh", "SYNOPSIS")) == existing


def test_exit_codes(page: Page) -> None:
    listed = re.findall(r"^\.It (\d+)$", page.part("Sh", "EXIT STATUS"), re.MULTILINE)
    assert [int(code) for code in listed] == [code.value for code in ExitCode]


@pytest.mark.parametrize(("title", "kind"), [("Results", Result), ("Triggers", Trigger)])
def test_words_of_the_history(page: Page, title: str, kind: Any) -> None:
    items = re.findall(r"^\.It Cm (.+)$", page.part("Ss", title), re.MULTILINE)
    words = [word for item in items for word in item.split(" , ")]
    assert sorted(words) == sorted(member.value for member in kind)


def test_json_keys_of_a_run(page: Page) -> None:
    run = Run(
        execution_id="0" * 32,
        job="x",
        unit="lunasched-job@x.service",
        trigger=Trigger.TIMER,
        scheduled_at=None,
        started_at=0,
    )
    keys = re.findall(r"^\.It Li (\w+) Ta ", page.part("Ss", "JSON"), re.MULTILINE)
    assert keys == list(render.run_json(run))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_man_pages_are_clean(path: Path) -> None:
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", path], capture_output=True, text=True, check=False
    )
    assert done.stdout + done.stderr == ""


# What is shown as an example


def examples(text: str) -> list[list[str]]:
    """The ``lunasched`` commands in a text, as words: lines that begin with one."""
    joined = re.sub(r"\\\n\s*", "", text)
    found = []
    for match in re.finditer(r"^(?:lunasched|lunasched-daemon) .*$", joined, re.MULTILINE):
        # A quoted argument may go on in the next lines.
        words = _words(joined[match.start() :])
        if words[1] in COMMANDS or words[1].startswith("-"):
            found.append(words)
    return found


def _words(text: str) -> list[str]:
    """The words of the first simple command in ``text``."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars="|&;<>\n")
    lexer.whitespace = " \t"
    lexer.whitespace_split = True
    words = []
    while (word := lexer.get_token()) and word[0] not in "|&;<>\n":
        words.append(word)
    return words


def readme_code() -> str:
    blocks = re.findall(r"^```sh\n(.*?)^```$", (TREE / "README.md").read_text(), re.M | re.S)
    assert blocks
    return "\n".join(blocks)


def manual_code() -> str:
    source = (TREE / "man/lunasched.1").read_text()
    blocks = re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed$", source, re.M | re.S)
    return "\n".join(block.replace("\\e", "\\") for block in blocks)


@pytest.mark.parametrize(
    "words", examples(readme_code()) + examples(manual_code()), ids=lambda words: " ".join(words)
)
def test_examples_are_accepted(words: list[str]) -> None:
    """The parser of the command takes them; a name and a schedule are read as they would be."""
    before = [word for word in words[1:2] if word in MODE_OPTIONS | {"--version", "--help"}]
    rest = words[1 + len(before) :]
    if not rest:
        return
    root: Any = typer.main.get_command(app)
    command = root.commands[rest[0]]
    # Parses and converts, and calls nothing.
    context = command.make_context(rest[0], rest[1:])
    if rest[0] == "add":
        from lunasched import schedule
        from lunasched.jobfile import read_name

        read_name(context.params["name"])
        schedule.parse(context.params["schedule"])
        assert context.params["command"] or context.params["argv"]


def test_there_are_examples() -> None:
    assert examples(readme_code())
    assert examples(manual_code())


def test_paths_in_the_readme_exist() -> None:
    text = (TREE / "README.md").read_text()
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    named = re.findall(r"`([\w./*-]+)`", outside) + re.findall(r"\]\(([^)#]+)\)", outside)
    layout = re.search(r"^## Layout.*?^```text\n(.*?)^```$", text, re.M | re.S)
    assert layout
    named += [line.split()[0] for line in layout[1].splitlines() if line.strip()]
    paths = [name for name in named if "/" in name or re.search(r"\.(py|md|toml)\Z", name)]
    # Directories of the layout may stand in the package.
    bases = (TREE, TREE / "lunasched")
    missing = [path for path in paths if not any((base / path).exists() for base in bases)]
    assert paths
    assert not missing


def test_make_targets_in_the_readme_exist() -> None:
    makefile = (TREE / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    text = (TREE / "README.md").read_text()
    named = re.findall(r"`make ([a-z-]+)", text) + re.findall(r"^make ([a-z-]+)", text, re.M)
    assert {"demo", "test"} <= set(named) <= targets
