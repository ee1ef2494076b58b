"""`make test-fast` loads every module of lunasched: none is left to the slow tests alone.

Read from the sources: the modules that unit tests import, the modules of commands, each of which
test_terminal.py runs, and what all these import. What only the supervisor's process imports, when
it starts, is not among that: it is loaded here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

from lunasched.cli.app import _MODULES
from lunasched.formats.document import Format

TREE = Path(__file__).resolve().parents[2]
MODULES = {
    ".".join(path.relative_to(TREE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in TREE.glob("lunasched/**/*.py")
}


def named(nodes: Iterable[ast.AST]) -> set[str]:
    """The modules of lunasched that import statements load, with the packages around each."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{each.name}" for each in node.names)}
    around = {".".join(name.split(".")[:end]) for name in found for end in range(1, 9)}
    return around & MODULES.keys()


def loaded(first: set[str]) -> set[str]:
    """Those modules and all that come with them."""
    found, pending = set(first), list(first)
    while pending:
        name = pending.pop()
        # Its functions import what the process of a supervisor needs; no unit test calls them.
        if name == "lunasched.supervisor":
            continue
        new = named(ast.walk(ast.parse(MODULES[name].read_text()))) - found
        found |= new
        pending += new
    return found


def test_every_module_is_loaded() -> None:
    # These are imported by a name that is put together; test_configfile.py reads each format.
    commands = {f"lunasched.cli.{module}" for module in _MODULES.values()}
    readers = {f"lunasched.formats.{format_.value}text" for format_ in Format}
    trees = [ast.parse(path.read_text()) for path in TREE.glob("tests/unit/**/*.py")]
    first = {name for tree in trees for name in named(ast.walk(tree))}
    assert sorted(MODULES.keys() - loaded(first | commands | readers)) == []


def test_the_supervisor_is_loaded_whole() -> None:
    from lunasched.supervisor.service import Supervisor

    assert isinstance(Supervisor, type)


def test_one_that_no_test_loads_would_be_seen() -> None:
    tree = ast.parse("def later():\n    import lunasched.paths")
    assert named(ast.walk(tree)) == {"lunasched", "lunasched.paths"}
    assert "lunasched.supervisor.service" not in loaded({"lunasched.supervisor"})
