"""The man pages, the README and the guide say what the code does, and all of it."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import json
import os
import pkgutil
import re
import shlex
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer
import yaml

from lunasched import cli, notify, paths
from lunasched.cli.app import app
from lunasched.doctor.diagnosis import CHECKS
from lunasched.doctor.finding import Finding, Severity
from lunasched.errors import ExitCode
from lunasched.files import configfile
from lunasched.files.settings import (
    DEFAULTS,
    EXTENSION,
    JOBS,
    OBSOLETE,
    SCHEMA,
    SECTIONS,
    SURROUNDINGS,
    Settings,
)
from lunasched.formats import document, template
from lunasched.formats.limits import BYTES_MAX, DEPTH_MAX, VALUES_MAX
from lunasched.history import jsonview, pendingstarts, retry
from lunasched.history.report import Report, ReportKind
from lunasched.history.run import HookRun, Result, Run, Trigger
from lunasched.jobs import keys, sandbox
from lunasched.jobs.channels import CHANNEL_KEYS
from lunasched.jobs.model import (
    Backoff,
    Channel,
    ChannelType,
    ExecutionMode,
    HookEvent,
    Hooks,
    Job,
    NotifyEvent,
    Overlap,
    RetryPolicy,
)
from lunasched.jobs.runfacts import TEMPLATE_VARIABLES
from lunasched.jobs.sandbox import UserMode
from lunasched.jobs.values import OneOf
from lunasched.notify import ntfy, webhook
from lunasched.notify.message import compose, output
from lunasched.paths import Mode, Paths
from lunasched.store import NotificationState, Store
from lunasched.supervisor import variables
from lunasched.supervisor.consequences import Consequences
from lunasched.supervisor.notificationqueue import Origin
from lunasched.transfer.crontab.remarks import REMARK_KEYS, ROOT_KEYS
from lunasched.units.compiler import GATE_NAME
from lunasched.web.access import JOURNAL_GROUPS
from lunasched.web.api import PARAMETERS, RUNS_DEFAULT, RUNS_MAX
from lunasched.web.metrics import METRICS
from lunasched.web.pages import PLOTTED_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

for module in pkgutil.iter_modules(cli.__path__, "lunasched.cli."):
    importlib.import_module(module.name)  # registers its commands

TREE = Path(__file__).resolve().parent.parent.parent
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
    commands = {name: _parameters(command) for name, command in _commands(root)}
    return _parameters(root).options | HELP_OPTIONS, commands


def _commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """The commands of a group, those of the groups in it by both names."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{before}{name} ")
        elif not command.hidden:
            yield f"{before}{name}", command


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
        # "Ns Ar": the rest of an option's argument, such as K=V.
        if word == "Ar" and words[number - 2] != "Fl" and words[number - 1] != "Ns":
            optional = words[number - 1] in ("Oo", "Op", "--")
            name = words[number + 1]
            if name != "options":
                found.append(f"[{name}]" if optional else name)
    return found


def tables(text: str) -> list[list[str]]:
    """What each column list of ``text`` has in its first column, the header left out."""
    return [
        re.findall(r'^\.It Li "?(.+?)"? Ta ', table, re.MULTILINE)
        for table in re.findall(r"^\.Bl -column.*?^\.El$", text, re.MULTILINE | re.DOTALL)
    ]


def items(text: str, macro: str) -> list[str]:
    """What the items of the tagged lists of ``text`` are about, where ``macro`` marks it up."""
    found = re.findall(rf"^\.It {macro} (.+)$", text, re.MULTILINE)
    return [word for item in found for word in item.split(" , ")]


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(TREE / "man/lunasched.1")


@pytest.fixture(scope="module")
def concepts() -> Page:
    return Page(TREE / "man/lunasched-concepts.7")


@pytest.fixture(scope="module")
def files_page() -> Page:
    return Page(TREE / "man/lunasched.yaml.5")


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
    text, own = documented[name], COMMANDS[name].options - MODE_OPTIONS
    if name in ("at", "run"):
        # Their other options are those of add.
        assert defined(text) <= own
        assert own - defined(text) <= defined(documented["add"])
        return
    assert defined(text) == own
    assert flags(synopsis(text)) <= COMMANDS[name].options


@pytest.mark.parametrize("name", COMMANDS)
def test_arguments_of_a_command(name: str, documented: dict[str, str]) -> None:
    assert arguments(synopsis(documented[name])) == COMMANDS[name].arguments


@pytest.mark.parametrize("name", COMMANDS)
def test_no_option_of_a_synopsis_needs_another(name: str, documented: dict[str, str]) -> None:
    """Brackets side by side: `Op` ends with its line, so that a second one on it is inside."""
    for line in synopsis(documented[name]).splitlines():
        depth = 0
        words = line.lstrip(".").split()
        for number, word in enumerate(words):
            depth += {"Oo": 1, "Op": 1, "Oc": -1}.get(word, 0)
            # `--sandbox KEY[=VALUE]` and the like: the bracket of a value, not of an option.
            nested = depth > 1 and words[number + 1 :][:1] == ["Fl"]
            assert not nested, f"{name}: {line}"
        assert depth - words.count("Op") == 0, f"{name}: {line}"


def test_the_cross_references_of_the_manual_exist() -> None:
    """Each page of ours that is named is there, and has the part that is named with it."""
    for path in PAGES:
        text = path.read_text()
        for name, number in re.findall(r"\bXr (lunasched[\w.-]*) (\d)", text):
            assert (TREE / f"man/{name}.{number}").exists(), f"{path.name}: {name}({number})"
        named = re.findall(
            r"^\.Em (.+)\n(?:in|of)\n\.Xr (lunasched[\w.-]*) (\d)", text, re.MULTILINE
        )
        for titles, name, number in named:
            there = (TREE / f"man/{name}.{number}").read_text()
            for title in re.split(r" , | [.,;:)]", titles):
                assert re.search(rf'^\.S[hs] "?{title}"?$', there, re.M), f"{path.name}: {title}"


def test_options_before_the_command(page: Page) -> None:
    assert defined(page.part("Sh", "OPTIONS")) == OPTIONS
    assert flags(page.part("Sh", "SYNOPSIS")) == OPTIONS


def test_every_command_takes_the_mode() -> None:
    jobless = {"explain", "schema"}
    for name in COMMANDS.keys() - jobless:
        assert COMMANDS[name].options >= MODE_OPTIONS, name


def test_no_option_is_mentioned_that_does_not_exist(page: Page, concepts: Page) -> None:
    known = OPTIONS.union(*(command.options for command in COMMANDS.values()))
    assert flags(page.text) <= known
    assert flags(concepts.text) <= known


def test_options_of_the_supervisor(capsys: pytest.CaptureFixture[str]) -> None:
    from lunasched import supervisor

    with pytest.raises(SystemExit):
        supervisor.main(["--help"])
    shown = capsys.readouterr().out
    existing = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", shown.partition("options:")[2]))
    daemon = Page(TREE / "man/lunasched-daemon.8")
    assert defined(daemon.text) == existing
    assert flags(daemon.part("Sh", "SYNOPSIS")) == existing


def test_parameters_of_the_api() -> None:
    daemon = Page(TREE / "man/lunasched-daemon.8")
    text = daemon.part("Sh", "API")
    assert re.findall(r"^\.It Li (\w+) Ns = Ns Ar \w+$", text, re.MULTILINE) == list(PARAMETERS)
    assert f"from 1 to {RUNS_MAX}; {RUNS_DEFAULT} if not given" in text
    for name in JOURNAL_GROUPS:
        assert re.search(rf"\b{name}\b", daemon.part("Ss", "Who sees what"))
    assert f"{PLOTTED_MAX} runs" in daemon.part("Sh", "STATUS PAGE")


def test_exit_codes(page: Page) -> None:
    listed = re.findall(r"^\.It (\d+)$", page.part("Sh", "EXIT STATUS"), re.MULTILINE)
    assert [int(code) for code in listed] == [code.value for code in ExitCode]


def test_options_of_the_sandbox(concepts: Page) -> None:
    rows = re.findall(r"^\.It Li (\w+) Pq Va (\w+)=$", concepts.part("Ss", "Sandbox"), re.MULTILINE)
    assert rows == [(key, option.directive) for key, option in sandbox.OPTIONS.items()]


def test_what_becomes_of_the_sandbox_in_user_mode(concepts: Page) -> None:
    """Which options are left out or refused there is named, each of them."""
    text = concepts.part("Ss", "Sandbox")
    for macro, fate in (("NEEDLESS", UserMode.NEEDLESS), ("FAILS", UserMode.FAILS)):
        part = re.search(rf'^\.\\" {macro}\n((?:\.Li .*\n)+)', text, re.MULTILINE)
        assert part
        keys = [key for key, option in sandbox.OPTIONS.items() if option.user_mode is fate]
        assert re.findall(r"\w+_\w+", part[1]) == keys


@pytest.mark.parametrize(("title", "kind"), [("Results", Result), ("Triggers", Trigger)])
def test_words_of_the_history(concepts: Page, title: str, kind: Any) -> None:
    words = items(concepts.part("Ss", title), "Cm")
    assert sorted(words) == sorted(member.value for member in kind)


RUN = Run(
    execution_id="0" * 32,
    job="x",
    unit="lunasched-job@x.service",
    trigger=Trigger.TIMER,
    scheduled_at=None,
    started_at=0,
)
RETRIED = Job(
    name="x",
    schedule="every 1d",
    command="true",
    retry=RetryPolicy(max_attempts=2),
    hooks=Hooks(on_start="true", on_retry="true"),
)


CHANNEL = Channel(ChannelType.EXEC, "true")
FAILED = Report(kind=ReportKind.FAILURE, job="retried", host="box", at=0, timezone="UTC")


@pytest.fixture
def failed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """The database of user mode: a run failed, and its retry and two hooks are to follow."""
    database = tmp_path / "lunasched.db"
    monkeypatch.setenv("LUNASCHED_DB_PATH", str(database))
    with Store.open(database, durable=False) as store:
        with store.transaction():
            store.jobs.put(RETRIED, 0)
            store.runs.begin(RUN, "1" * 32)
            store.runs.running(RUN.execution_id)
            store.runs.process_ended(RUN.execution_id, exit_code=1, signal=None)
            store.runs.end(RUN.execution_id, Result.EXIT_CODE, 1)
            Consequences(store, Origin.here(Mode.USER), lambda: 0).settled(RUN.execution_id)
        yield store


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command prints in user mode."""
    with pytest.raises(SystemExit) as end:
        app(["--user", *words])
    assert not end.value.code
    return capsys.readouterr().out


def test_json_keys(page: Page, failed_once: Store, capsys: pytest.CaptureFixture[str]) -> None:
    of_runs, of_hooks, of_starts, of_messages = tables(page.part("Sh", "JSON"))
    hook = HookRun(HookEvent.ON_START, None, None, None, None)
    run = jsonview.run_json(RUN, [hook])
    assert of_runs == list(run)
    assert of_hooks == list(run["hooks"][0])
    (start,) = json.loads(printed(capsys, "queue", "--json"))
    assert of_starts == list(start)
    with failed_once.transaction():
        failed_once.outbox.put(FAILED, CHANNEL, job=RUN.job, key="k", cause="", now=0)
    (message,) = json.loads(printed(capsys, "notifications", "--json"))
    assert of_messages == list(message)


def test_columns_and_reasons_of_the_queue(
    documented: dict[str, str], failed_once: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    text = documented["queue"]
    header, _, total = printed(capsys, "queue").splitlines()
    assert total == "1 waiting for their turn, 0 for their time."
    assert tables(text) == [re.split(r"\s{2,}", header)]
    reason = ast.parse(inspect.getsource(pendingstarts.waits_for))
    returned = [node.value for node in ast.walk(reason) if isinstance(node, ast.Return)]
    said = [node.value for node in returned if isinstance(node, ast.Constant)]
    assert len(said) == len(returned)
    assert sorted(items(text, "Cm")) == sorted(map(str, said))


def test_columns_that_are_mentioned_exist(
    documented: dict[str, str], failed_once: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("history", "list"):
        header, row = printed(capsys, command).splitlines()
        mentioned = set(re.findall(r"^\.Li ([A-Z]{3,})$", documented[command], re.MULTILINE))
        assert mentioned <= set(re.split(r"\s{2,}", header))
        assert ", retry " in row
    assert {"ATTEMPT", "RESULT"} <= set(re.findall(r"[A-Z]{3,}", documented["history"]))


def test_checks_of_the_doctor(documented: dict[str, str]) -> None:
    text = documented["doctor"]
    part = re.search(r'^\.\\" CHECKS\n(.*?)^\.\\" END$', text, re.MULTILINE | re.DOTALL)
    assert part
    assert items(part[1], "Cm") == list(CHECKS)
    for severity in Severity:
        assert re.search(rf"\bCm\b.*\b{severity.value}\b", text)
    for key in (field.name for field in dataclasses.fields(Finding)):
        assert re.search(rf"^\.Li {key}\b", text, re.MULTILINE)


def test_results_that_are_tried_again(concepts: Page) -> None:
    part = re.search(r'^\.\\" TRIED AGAIN\n\.Cm (.*) \.\n\.\\" END$', concepts.text, re.MULTILINE)
    assert part
    assert part[1].split(" , ") == [
        result.value for result in Result if result in retry._TRIED_AGAIN
    ]


def test_how_the_delays_of_retries_grow(concepts: Page) -> None:
    rows = re.findall(r"^\.It Cm (\w+) Ta (.*)$", concepts.part("Sh", "RETRIES"), re.MULTILINE)
    assert {word for word, _ in rows} == {backoff.value for backoff in Backoff}
    meanings: dict[str, Callable[[int], int]] = {
        "D": lambda n: 3,
        "D*n": lambda n: 3 * n,
        "D*2^(n-1)": lambda n: 3 * 2 ** (n - 1),
    }
    for word, text in rows:
        meaning = meanings[re.sub(r"\b(Ar|No|Ns) ?| ", "", text)]
        policy = RetryPolicy(backoff=Backoff(word), initial_delay=3, max_delay=1000)
        for attempt in range(1, 6):
            assert retry.retry_delay(policy, attempt) == meaning(attempt)


def test_events_of_hooks(concepts: Page) -> None:
    listed = items(concepts.part("Sh", "HOOKS"), "Cm")
    assert listed == [event.value for event in HookEvent]


def test_variables_of_hooks(concepts: Page, failed_once: Store) -> None:
    lists = re.findall(r"^\.Bl -tag.*?^\.El$", concepts.part("Sh", "HOOKS"), re.M | re.S)
    always, ended, retried = [names for part in lists if (names := items(part, "Ev"))]
    shown = {hook.facts["LUNASCHED_EVENT"]: sorted(hook.facts) for hook in failed_once.hooks.next()}
    assert shown == {"on_start": sorted(always), "on_retry": sorted(always + ended + retried)}


def test_events_and_states_of_messages(concepts: Page) -> None:
    part = concepts.part("Sh", "NOTIFICATIONS")
    events, states = (
        [event.value for event in NotifyEvent],
        [state.value for state in NotificationState],
    )
    assert [item for item in items(part, "Cm") if item in {*events, *states}] == events + states


def test_variables_of_commands(concepts: Page, failed_once: Store) -> None:
    for kind in (ReportKind.FAILURE, ReportKind.MISSED, ReportKind.OVERRUN):
        report = dataclasses.replace(
            FAILED, kind=kind, execution_id=RUN.execution_id, failures=1, missed=1, overrun=1
        )
        failed_once.outbox.put(report, CHANNEL, job=RUN.job, key=kind.value, cause="", now=0)
    found = failed_once.outbox.ready(())
    shown = variables.of_notification(found[0], compose(found[0].report))
    part = concepts.part("Sh", "NOTIFICATIONS")
    assert set(re.findall(r"\bLUNASCHED_[A-Z_]+", part)) == set(shown)


def test_execution_modes(concepts: Page) -> None:
    text = concepts.part("Sh", "EXECUTION MODES")
    titles = re.findall(r"^\.Ss (\w+)$", text, re.MULTILINE)
    assert titles == [mode.value for mode in ExecutionMode]
    assert items(text, "Cm") == [overlap.value for overlap in Overlap]
    assert GATE_NAME in text


def keys_of(text: str) -> list[str]:
    """The keys that a tagged list is about."""
    return re.findall(r"^\.It Li (\w+)(?: :| *$)", text, re.MULTILINE)


def test_keys_of_a_job(files_page: Page) -> None:
    text = files_page.part("Sh", "KEYS OF A JOB").partition("\n.Ss ")[0]
    assert keys_of(text) == [
        *keys.KEYS, *keys.CLAUSES, keys.ARGUMENTS, *keys.GROUPS, keys.DIRECTIVES,
    ]  # fmt: skip
    for group in keys.GROUPS.keys() - {"sandbox"}:
        assert keys_of(files_page.part("Ss", group)) == list(keys.GROUPS[group])


def test_keys_of_an_entry_of_a_crontab(concepts: Page) -> None:
    shown = re.search(r"comment may set\n(.*?)\nSeveral keys", concepts.text, re.DOTALL)
    assert shown
    lines = [line for line in shown[1].splitlines() if not line.startswith("in crontabs")]
    named = re.findall(
        r"[a-z]+(?:_[a-z]+)*", "\n".join(lines).replace("\nand\n", "\n").replace(".Li", "")
    )
    assert tuple(named) == (*REMARK_KEYS, *ROOT_KEYS)


def test_words_of_a_job(files_page: Page) -> None:
    """Each key whose value is one of some words names all of them."""
    text = files_page.part("Sh", "KEYS OF A JOB")
    rows = {**keys.KEYS, **keys.GROUPS["retry_policy"]}
    named = 0
    for key, row in rows.items():
        if isinstance(row.read, OneOf):
            item = re.search(rf"^\.It Li {key} : Ar WORD\n(.*?)^\.(?:It|El)", text, re.M | re.S)
            assert item
            if "The same as" in item[1]:
                continue
            words = re.findall(
                r"\b[A-Za-z]+\b", " ".join(re.findall(r"^\.Cm (.*)$", item[1], re.M))
            )
            assert words == [word.value for word in row.read.words]
            named += 1
    assert named == 4


def test_keys_of_channels(files_page: Page) -> None:
    rows = re.findall(r"^\.It Cm (\w+) Ta Li (\w+) Ta ", files_page.part("Ss", "Channels"), re.M)
    assert rows == [(kind.value, key) for kind, keys in CHANNEL_KEYS.items() for key in keys]


def test_settings(files_page: Page) -> None:
    text = files_page.part("Sh", "SETTINGS")
    titles = re.findall(r"^\.Ss (\S+)$", text, re.MULTILINE)
    assert titles == [section for section, keys in SECTIONS.items() if keys]
    for section in titles:
        assert keys_of(files_page.part("Ss", section)) == list(SECTIONS[section])
    listed = re.findall(r"^\.Li (\S+)$", files_page.part("Ss", "Obsolete settings"), re.MULTILINE)
    assert listed == [f"{section}.{key}" for section, keys in OBSOLETE.items() for key in keys]


def test_what_is_at_the_beginning_of_a_file(files_page: Page) -> None:
    listed = " , ".join(re.findall(r"^\.It Li (.*)$", files_page.part("Sh", "STRUCTURE"), re.M))
    sections = {section.partition(".")[0] for section in SECTIONS}
    assert set(listed.split(" , ")) == {JOBS, DEFAULTS, SCHEMA, f"{EXTENSION}...", *sections}


def test_limits_of_a_file(files_page: Page) -> None:
    text = files_page.part("Sh", "LIMITS")
    assert re.findall(r"[\d,]+\d", text) == [
        f"{BYTES_MAX >> 20}", f"{DEPTH_MAX}", f"{VALUES_MAX:,}",
    ]  # fmt: skip


def test_examples_of_files(files_page: Page, tmp_path: Path) -> None:
    literal = re.findall(
        r"^\.Bd -literal.*?\n(.*?)^\.Ed$", files_page.part("Sh", "EXAMPLES"), re.M | re.S
    )
    of_yaml, of_toml, configuration = (text.replace(r"\e", "\\") for text in literal)
    read = [
        configfile.read_config(document.read_document(text.encode(), "x", format_))
        for text, format_ in ((of_yaml, document.Format.YAML), (of_toml, document.Format.TOML))
    ]
    by_yaml, by_toml = ([entry.job for entry in file.entries] for file in read)
    assert by_yaml == by_toml
    assert len(by_yaml) == 3
    (tmp_path / "config.yaml").write_text(configuration)
    assert Settings.load(tmp_path / "config.yaml", {}).max_concurrent_jobs == 8


def test_our_environment_variables(page: Page) -> None:
    read = set(re.findall(r'"(LUNASCHED_\w+)"', inspect.getsource(paths)))
    listed = items(page.part("Sh", "ENVIRONMENT"), "Ev")
    assert {name for name in listed if name.startswith("LUNASCHED_")} == read | set(SURROUNDINGS)


def test_variables_and_credentials_of_email(files_page: Page) -> None:
    text = files_page.part("Ss", "notifications.email")
    rows = re.findall(r"^\.It Ev (\w+) Ta (\S+) Ta Li (\w+)$", text, re.MULTILINE)
    assert rows == [(name, *rest) for name, rest in SURROUNDINGS.items()]


def test_keys_of_a_webhook(files_page: Page) -> None:
    report = Report(
        kind=ReportKind.FAILURE, job="x", host="h", at=0, timezone="UTC", execution_id="0" * 32
    )
    told = webhook.payload(compose(report))
    text = files_page.part("Ss", "webhook")
    assert tables(text) == [list(told), list(told["run"])]
    kinds = re.search(r"^\.It Li kind Ta (.*)$", text, re.MULTILINE)
    assert kinds
    assert re.findall(r"\w+", kinds[1].replace(" or ", " ")) == [kind.value for kind in ReportKind]
    code = re.search(r"^\.Bd -literal.*?\n(.*?)^\.Ed$", text, re.M | re.S)
    assert code
    names: dict[str, Any] = {}
    exec(code[1], names)
    channel = Channel(ChannelType.WEBHOOK, "https://x", secret="s")
    request = webhook.request(channel, compose(report), int(time.time()))
    assert names["is_genuine"](b"s", request.headers, request.body)
    assert not names["is_genuine"](b"s", request.headers, request.body + b" ")
    old = webhook.request(channel, compose(report), int(time.time()) - 301)
    assert not names["is_genuine"](b"s", old.headers, old.body)


def test_limits_of_messages(files_page: Page) -> None:
    text = files_page.part("Sh", "MESSAGES")
    for number in (output.LINES, output.LINE_MAX, int(notify.TIMEOUT), ntfy.MESSAGE_MAX):
        assert re.search(rf"\b{number}\b", text), number


def test_every_channel_is_described(files_page: Page) -> None:
    text = files_page.part("Sh", "MESSAGES")
    assert re.findall(r"^\.Ss (\w+)$", text, re.MULTILINE) == [kind.value for kind in ChannelType]


def test_what_templates_have(files_page: Page) -> None:
    text = files_page.part("Ss", "Templates")
    (listed,) = tables(text)
    assert sorted(listed) == sorted(TEMPLATE_VARIABLES)
    filters = re.search(r"^and these filters:\n\.Cm (.*) \.$", text, re.MULTILINE)
    assert filters
    assert filters[1].split(" , ") == list(template.FILTERS)


def test_paths(page: Page) -> None:
    files = page.part("Sh", "FILES")
    listed = [path for item in items(files, "Pa") for path in item.split()]
    system = Paths.of(Mode.SYSTEM, {})
    for path in (
        system.database, system.slots, system.runtime, system.settings, system.job_files
    ):  # fmt: skip
        assert str(path) in listed
    environ = {
        "XDG_STATE_HOME": "/s",
        "XDG_CONFIG_HOME": "/c",
        "XDG_RUNTIME_DIR": "/r",
        "HOME": "/h",
    }
    own = Paths.of(Mode.USER, environ)
    for path in (own.database, own.slots, own.runtime, own.settings):
        said = str(path)
        for name, value in environ.items():
            said = re.sub(rf"^{value}/", f"${name}/", said)
        assert said in listed


OF_CRON = sorted((TREE / "man/cron").iterdir())


@pytest.mark.parametrize("path", [*PAGES, *OF_CRON], ids=lambda path: path.name)
def test_man_pages_are_clean(path: Path) -> None:
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", path], capture_output=True, text=True, check=False
    )
    assert done.stdout + done.stderr == ""


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_man_shows_the_pages_without_a_warning(path: Path) -> None:
    done = subprocess.run(
        ["man", "--warnings", "--local-file", path],
        env={**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "100"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout
    assert done.stderr == ""


# What is shown as an example


def examples(text: str) -> list[list[str]]:
    """The ``lunasched`` commands in a text, as words: lines that begin with one."""
    joined = re.sub(r"\\\n\s*", "", text)
    found = []
    for match in re.finditer(r"^(?:lunasched|lunasched-daemon) .*$", joined, re.MULTILINE):
        # A quoted argument may go on in the next lines.
        words = _words(joined[match.start() :])
        if words[1] in {name.split()[0] for name in COMMANDS} or words[1].startswith("-"):
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
    return "\n".join(shell("README.md") + shell("man/guide.md"))


def shell(page: str) -> list[str]:
    """The blocks of shell commands in a page of the tree."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", (TREE / page).read_text(), re.M | re.S)
    assert blocks
    return blocks


def test_the_quick_start_is_five_commands_that_the_guide_has() -> None:
    """The guide's are run on a machine, word for word."""
    _, quick_start, _ = shell("README.md")
    lines = quick_start.splitlines()
    assert len(lines) == 5
    assert set(lines) <= set("".join(shell("man/guide.md")).splitlines())


def test_the_readme_is_one_screen_of_words() -> None:
    assert len((TREE / "README.md").read_text().split()) < 1000


def manual_code() -> str:
    pages = ("man/lunasched.1", "man/lunasched-concepts.7")
    source = "".join((TREE / page).read_text() for page in pages)
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
    command: Any = typer.main.get_command(app)
    name = rest[0]
    while hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    # Parses and converts, and calls nothing.
    context = command.make_context(name, rest)
    if name == "add":
        from lunasched import schedule
        from lunasched.jobs.values import read_name, schedule_text

        read_name(context.params["name"])
        if not context.params["depends_on"]:
            schedule.parse(schedule_text(context.params["schedule"]))
        own = [text for text in context.params["systemd"] if text.startswith("ExecStart=")]
        assert context.params["command"] or context.params["argv"] or own


def test_there_are_examples() -> None:
    assert examples(readme_code())
    assert examples(manual_code())


PAGES_OF_THE_TREE = (
    "README.md",
    "man/guide.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
)


@pytest.mark.parametrize("page", PAGES_OF_THE_TREE)
def test_paths_in_the_pages_of_the_tree_exist(page: str) -> None:
    text = (TREE / page).read_text()
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    named = re.findall(r"`([\w./*-]+)`", outside) + re.findall(r"\]\(([^)#]+)\)", outside)
    # What a project has of a package or a job is no file of the tree.
    paths = [
        name
        for name in named
        if ("/" in name and not name.startswith(("/etc/", "/dev/")))
        or re.search(r"\.(py|md|toml)\Z", name)
    ]
    # The rooms stand in the package.
    bases = (TREE, TREE / "lunasched", (TREE / page).parent)
    system = Paths.of(Mode.SYSTEM, {})
    installed = {str(getattr(system, field.name)) for field in dataclasses.fields(system)}
    missing = [
        path
        for path in paths
        if not path.startswith(tuple(installed))
        and not any((base / path).exists() or list(base.glob(path.lstrip("/"))) for base in bases)
    ]
    assert paths
    assert not missing


@pytest.mark.parametrize("page", PAGES_OF_THE_TREE)
def test_make_targets_in_the_pages_of_the_tree_exist(page: str) -> None:
    makefile = (TREE / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    text = (TREE / page).read_text()
    named = re.findall(r"`make ([a-z-]+)", text) + re.findall(r"^make ([a-z-]+)", text, re.M)
    assert set(named) <= targets
    if page == "README.md":
        assert {"demo", "test"} <= set(named)


def test_make_targets_of_the_workflows_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (TREE / "Makefile").read_text(), re.MULTILINE))
    for workflow in (TREE / ".github/workflows").glob("*.yml"):
        jobs = yaml.safe_load(workflow.read_text())["jobs"]
        steps = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
        named = {name for step in steps for name in re.findall(r"\bmake ([a-z-]+)\Z", step)}
        assert named
        assert named <= targets


def test_metrics() -> None:
    """Every metric is in the manual, and the setting that leaves one out."""
    text = Page(TREE / "man/lunasched-daemon.8").part("Sh", "METRICS")
    listed = re.findall(r"^\.It Li (lunasched_\w+)$", text, re.MULTILINE)
    assert sorted(listed) == sorted(metric.name for metric in METRICS)
    assert set(re.findall(r"\blunasched_[a-z_]+\b", text)) == set(listed)
    settings = re.findall(r"^\.Li metrics\.(\w+)$", text, re.MULTILINE)
    assert set(settings) == set(SECTIONS["metrics"])
