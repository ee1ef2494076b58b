"""Dependencies without a systemd: the graph, the check in a service, and `lunasched graph`."""

from __future__ import annotations

import json
import shutil
import subprocess
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from commandline import Cli
from compiling import SYSTEM, USER, directives
from hypothesis import given
from hypothesis import strategies as st
from samples import backup

from lunasched.errors import ExitCode
from lunasched.formats import unittext
from lunasched.jobs import dependencies
from lunasched.jobs.model import Job
from lunasched.schedule import ON_DEMAND
from lunasched.units import compiler

if TYPE_CHECKING:
    from pathlib import Path

    from lunasched.units.compiler import Context

NAMES = st.text("abcdef", min_size=1, max_size=1)
GRAPHS = st.dictionaries(NAMES, st.lists(NAMES, unique=True, max_size=4), max_size=6)


def node(name: str, *needs: str, schedule: str = ON_DEMAND) -> Job:
    return backup(name=name, schedule=schedule, dependencies=needs)


def service(
    made: Job, context: Context = SYSTEM, *, depended_on: bool = False
) -> dict[str, list[str]]:
    """The directives of a job's service."""
    found: dict[str, list[str]] = {}
    text = compiler.compile(made, context, depended_on=depended_on).service.text
    for _, directive, value in directives(text):
        found.setdefault(directive, []).append(value)
    return found


# Cycles and trees


def test_a_cycle_is_told_from_the_job_to_itself() -> None:
    graph = {"a": ["b", "x"], "b": ["c"], "c": [], "x": []}
    assert dependencies.cycle("c", ["a"], graph.__getitem__) == ["c", "a", "b", "c"]
    assert dependencies.cycle("c", ["c"], graph.__getitem__) == ["c", "c"]
    assert dependencies.cycle("x", ["b", "c"], graph.__getitem__) is None


@given(graph=GRAPHS, name=NAMES, needs=st.lists(NAMES, unique=True, max_size=3))
def test_a_cycle_is_found_where_there_is_one(
    graph: dict[str, list[str]], name: str, needs: list[str]
) -> None:
    def of(one: str) -> list[str]:
        return needs if one == name else graph.get(one, [])

    reachable: set[str] = set()
    waiting = list(needs)
    while waiting:
        if (one := waiting.pop()) not in reachable:
            reachable.add(one)
            waiting += of(one)
    found = dependencies.cycle(name, needs, of)
    assert (found is not None) == (name in reachable)
    if found is not None:
        assert found[0] == found[-1] == name
        assert all(second in of(first) for first, second in pairwise(found))


def test_a_deep_chain_is_no_trouble() -> None:
    def of(name: str) -> list[str]:
        return [str(int(name) + 1)] if int(name) < 20_000 else []

    assert dependencies.cycle("x", ["0"], of) is None
    assert sum(1 for _ in dependencies.tree(["0"], of)) == 20_001


def test_each_subtree_is_shown_once() -> None:
    graph = {"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": ["e"], "e": []}
    nodes = list(dependencies.tree(["a"], graph.__getitem__))
    assert [(node.name, node.depth, node.again) for node in nodes] == [
        ("a", (), False),
        ("b", (False,), False),
        ("d", (False, True), False),
        ("e", (False, True, True), False),
        ("c", (True,), False),
        ("d", (True, True), True),
    ]


# What a service says


def test_without_a_schedule_there_is_no_timer() -> None:
    compiled = compiler.compile(node("a"), SYSTEM)
    assert compiled.timer is None
    assert compiled.units == (compiled.service,)
    assert not compiled.guarded


def test_a_job_that_others_depend_on_is_oneshot_and_notes_its_success() -> None:
    limited = Job.from_mapping(
        {**node("a b").to_mapping(), "resource_limits": {
            **node("a b").to_mapping()["resource_limits"], "timeout_seconds": 5, "cpu_quota": 0.5,
        }}
    )  # fmt: skip
    plain, needed = service(limited), service(limited, depended_on=True)
    assert plain["Type"] == ["exec"]
    assert plain["RuntimeMaxSec"] == ["5s"]
    assert not plain.keys() & {"ExecStartPre", "ExecStartPost", "TimeoutStartSec"}
    assert needed["Type"] == ["oneshot"]
    assert needed["TimeoutStartSec"] == ["5s"]
    assert "RuntimeMaxSec" not in needed
    file = '"/var/lib/lunasched/slots/succeeded:a\\\\x20b"'
    say = '/bin/bash -p -c "[[ ! -e $$0 ]] || printf %%s \\"$$1\\" 1<>\\"$$0\\""'
    assert needed["ExecStartPre"] == [f"{say} {file} 0", f"-/bin/sync {file}"]
    assert needed["ExecStartPost"] == [f"-{say} {file} 1"]
    changed = {"Type", "RuntimeMaxSec", "TimeoutStartSec", "ExecStartPre", "ExecStartPost"}
    assert {key: value for key, value in plain.items() if key not in changed} == {
        key: value for key, value in needed.items() if key not in changed
    }
    for depended_on in (False, True):
        text = compiler.compile(limited, SYSTEM, depended_on=depended_on).service.text
        assert dependencies.keeps_success(text) is depended_on
    assert not dependencies.keeps_success(None)


@pytest.mark.parametrize("context", [SYSTEM, USER], ids=["system", "user"])
def test_a_job_is_ordered_after_what_it_depends_on(context: Context) -> None:
    found = service(node("a", "b", "c d", schedule="@daily"), context)
    boot = [" ".join(compiler.BOOT_ORDER)] if context is SYSTEM else []
    assert found["After"] == [
        *boot, "lunasched-job@b.service", r"lunasched-job@c\x20d.service",
    ]  # fmt: skip
    launched = compiler.compile(node("a", "b", "c"), context, launched=["c"]).service.text
    assert [value for _, key, value in directives(launched) if key == "After"] == [
        *boot,
        "lunasched-job@b.service",
        "lunasched-launch@c.service",
        "lunasched-job@c.service",
    ]
    slot_guard, check = found["ExecCondition"]
    assert "slot-guard" in slot_guard
    assert check.startswith("/bin/bash -p -c ")
    assert str(context.slots) in check


@pytest.mark.parametrize(
    ("timeout", "depended_on", "wait"),
    [(None, True, 20_000), (600, True, 20_000), (5, True, 1250), (5, False, 20_000)],
)
def test_a_guard_waits_for_the_manager_within_the_time_of_the_start(
    timeout: float | None, depended_on: bool, wait: int
) -> None:
    """Which is that of the run where others depend on it: two answers leave half of it."""
    limited = node("a", schedule="@daily").to_mapping()
    limits = {**limited["resource_limits"], "timeout_seconds": timeout}
    changed = {**limited, "overlap": "skip", "resource_limits": limits}
    compiled = compiler.compile(Job.from_mapping(changed), SYSTEM, depended_on=depended_on)
    guards = [
        value for _, key, value in directives(compiled.service.text) if key == "ExecCondition"
    ]
    found = [word for guard in guards for word in guard.split() if word.endswith("ms")]
    assert found == [f"{wait}ms", f"{wait}ms"]


def test_the_check_names_all_that_have_not_succeeded(tmp_path: Path) -> None:
    names = ["good", 'it\'s $HOME `x` "q" %s\\n', "-n", "also good", "* ~"]
    for name, said in zip(names, ("1", "0", "", "1"), strict=False):
        (tmp_path / unittext.success_name(name)).write_text(said)

    def check(*asked: str) -> subprocess.CompletedProcess[str]:
        pairs = [word for name in asked for word in (tmp_path / unittext.success_name(name), name)]
        return subprocess.run(
            ["/bin/bash", "-p", "-c", dependencies._CHECK, "lunasched", *pairs],
            capture_output=True,
            text=True,
            check=False,
        )

    done = check(*names)
    assert done.returncode == dependencies.REFUSED
    assert done.stdout == "".join(
        f"dependency '{name}' has not succeeded\n" for name in (names[1], names[2], names[4])
    )
    assert done.stderr == ""
    passed = check(names[0], names[3])
    assert (passed.returncode, passed.stdout) == (0, "")


# lunasched graph


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    made = Cli(tmp_path)
    odd = 'say "a\\b" 100%'
    made.put(
        *(node("report", "load", odd), node("load", "backup"), node(odd, "backup")),
        *(node("backup", schedule="@daily"), node("alone", schedule="@daily")),
    )
    made.put_run()
    return made


def test_the_graph_as_text(cli: Cli) -> None:
    done = cli("graph")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "report  never ran",
        "├─ load  never ran",
        "│  └─ backup  exit-code (3)",
        '└─ say "a\\b" 100%  never ran',
        "   └─ backup  exit-code (3)",
    ]
    assert cli("graph", "load").stdout.splitlines()[0] == "load  never ran"
    assert cli("graph", "alone").stdout == "alone  never ran\n"
    assert cli.fails(ExitCode.NO_SUCH_JOB, "graph", "nobody")
    assert cli.fails(ExitCode.USAGE, "graph", "--dot", "--json")


def test_the_graph_as_json(cli: Cli) -> None:
    nodes = {node["job"]: node for node in json.loads(cli("graph", "--json").stdout)}
    assert nodes.keys() == {"report", "load", "backup", 'say "a\\b" 100%'}
    assert nodes["report"]["dependencies"] == ["load", 'say "a\\b" 100%']
    assert nodes["report"]["last_run"] is None
    assert nodes["backup"]["last_run"]["result"] == "exit-code"


def test_the_graph_for_dot(cli: Cli) -> None:
    printed = cli("graph", "--dot").stdout
    assert '    "load" -> "report";' in printed
    assert r'    "say \"a\\b\" 100%" -> "report";' in printed
    assert r'[label="backup\nexit-code (3)", fillcolor=lightpink];' in printed
    assert "alone" not in printed
    if shutil.which("dot"):
        done = subprocess.run(["dot", "-Tplain"], input=printed, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
