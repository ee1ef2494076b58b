"""Imports point downwards only (ARCHITECTURE.md), and each outside thing has one importer."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent.parent / "lunasched"

# Each room with those that it imports, from the ground up: nobody imports a room that comes later,
# and every arrow is one that some module needs.
ROOMS: dict[str, str] = {
    "dataclass": "",
    "errors": "",
    "paths": "dataclass errors",
    "formats": "dataclass errors",
    "schedule": "dataclass errors formats",
    "jobs": "dataclass errors paths formats schedule",
    "files": "dataclass errors formats schedule jobs",
    "history": "dataclass errors formats schedule jobs",
    "units": "dataclass errors paths formats schedule jobs",
    "transfer": "dataclass errors paths formats schedule jobs units",
    "state": "errors paths formats history",
    "machine": "dataclass paths formats units transfer",
    "systemd": "dataclass errors paths formats jobs history units",
    "store": "dataclass errors paths formats schedule jobs history",
    "notify": "dataclass errors formats jobs files history",
    "web": "dataclass errors formats jobs history units",
    "deploy": "dataclass errors paths formats schedule jobs files history units transfer"
    " state systemd store",
    "doctor": "dataclass errors paths formats schedule jobs files history units transfer"
    " state machine systemd store",
    "supervisor": "dataclass errors paths formats schedule jobs files history units"
    " state machine systemd store notify web",
    "usercrontab": "dataclass errors paths formats transfer machine",
    "cli": "dataclass errors paths formats schedule jobs files history units transfer"
    " state machine systemd store web deploy doctor supervisor usercrontab",
}
# Text in, text out: they import nothing of the machine, and never read the clock.
PURE = (
    "dataclass", "errors", "paths", "formats", "schedule", "jobs", "files", "history", "units",
    "transfer", "doctor", "notify.message", "systemd.elsewhere",
)  # fmt: skip
IMPURE = {"gi", "pydbus", "systemd", "sqlite3", "subprocess", "requests"}
ONLY_IMPORTER = {
    "gi": ("systemd", "supervisor.loop", "supervisor.zones", "supervisor.killedchanges"),
    "pydbus": ("systemd",),
    "systemd": ("systemd.journal",),
    "sqlite3": ("store",),
    "requests": ("notify",),
    "smtplib": ("notify",),
}
CLOCKS = {"time", "time_ns", "now", "utcnow", "today", "monotonic"}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem)


def module_of(path: Path) -> str:
    """The module below the package, with dots; empty for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def is_in(module: str, rooms: Iterable[str]) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def imports(tree: ast.AST) -> list[tuple[str, ...]]:
    """Every import as its dotted parts, `from lunasched import x` counting as `lunasched.x`."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the room"
            parts = tuple(str(node.module).split("."))
            found += [(*parts, alias.name) for alias in node.names]
    return found


def arrows(path: Path) -> set[tuple[str, str]]:
    """Which room imports which, as far as one module does."""
    room = module_of(path).partition(".")[0]
    named = {parts[1] for parts in imports(ast.parse(path.read_text())) if parts[0] == "lunasched"}
    return {(room, other) for other in named - {room, "__version__"}}


def test_the_drawing_points_downwards() -> None:
    below: set[str] = set()
    for room, others in ROOMS.items():
        assert set(others.split()) <= below, room
        below.add(room)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_are_in_the_drawing(path: Path) -> None:
    module = module_of(path)
    if not module:
        return
    for room, other in arrows(path):
        assert other in ROOMS[room].split(), f"{module} imports {other}"
    for parts in imports(ast.parse(path.read_text())):
        top = parts[0]
        if is_in(module, PURE):
            assert top not in IMPURE, f"{module} is pure and imports {top}"
        if top in ONLY_IMPORTER:
            assert is_in(module, ONLY_IMPORTER[top]), f"{module} imports {top}"


def test_every_arrow_of_the_drawing_is_real() -> None:
    drawn = {(room, other) for room, others in ROOMS.items() for other in others.split()}
    assert drawn == set().union(*map(arrows, modules())) - {("", "lunasched")}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_pure_rooms_do_not_read_the_clock(path: Path) -> None:
    module = module_of(path)
    if not is_in(module, PURE):
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            receiver = ast.unparse(node.func.value)
            reads = node.func.attr in CLOCKS and receiver in ("time", "datetime", "date")
            assert not reads, f"{module}: {ast.unparse(node)}"


def test_the_package_holds_rooms_and_nothing_else() -> None:
    assert {module_of(path).partition(".")[0] for path in modules()} - {""} == set(ROOMS)


@pytest.mark.parametrize("room", [room for room in ROOMS if (PACKAGE / room).is_dir()])
def test_every_room_says_what_lives_there(room: str) -> None:
    said = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text()))
    assert said and len(said.splitlines()) > 1


def test_no_two_modules_have_one_name() -> None:
    """A newcomer who reads the name of a module knows which one is meant."""
    found: dict[str, list[str]] = {}
    for module in map(module_of, modules()):
        found.setdefault(module.rpartition(".")[2], []).append(module)
    assert {name: places for name, places in found.items() if len(places) > 1} == {}


# What each module of a room has, as the methods of a protocol are in several classes.
PROTOCOLS = {
    "doctor": {"look", "judge"},  # a check
    "notify": {"request"},  # a channel over HTTP
    "formats": {"load", "lines"},  # a syntax of files
}
ENTRY_POINT = "main"
"""The function that a program begins with."""


def test_no_two_public_functions_have_one_name() -> None:
    found: dict[str, list[str]] = {}
    for path in modules():
        module = module_of(path)
        for name in functions_of(ast.parse(path.read_text())):
            shared = name in PROTOCOLS.get(module.partition(".")[0], ()) or name == ENTRY_POINT
            if not name.startswith("_") and not shared:
                found.setdefault(name, []).append(module)
    assert {name: places for name, places in found.items() if len(places) > 1} == {}


def test_no_two_classes_have_one_name() -> None:
    """A private one may not look like another's public one, either."""
    found: dict[str, list[str]] = {}
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name.lstrip("_"), []).append(module_of(path))
    assert {name: places for name, places in found.items() if len(places) > 1} == {}


def functions_of(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def names_in(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def imported_names(tree: ast.AST) -> dict[str, str]:
    """Every name that an import binds, with the module or the room that it is of."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            parts = f"{node.module}".split(".")
            for alias in node.names:
                room = [*parts, alias.name][1] if parts[0] == "lunasched" else parts[0]
                found[alias.asname or alias.name] = room
        elif isinstance(node, ast.Import):
            found |= {(alias.asname or alias.name): alias.name for alias in node.names}
    return found


LOOKING = {"machine", "state", "systemd", "store", "os", "pwd", "subprocess", "socket", "pathlib"}
CHECKS = sorted((PACKAGE / "doctor").glob("*check.py"))


def reached_from(functions: dict[str, ast.FunctionDef], start: str) -> set[str]:
    """The functions that are called from those whose names begin so, these among them."""
    reached: set[str] = set()
    further = {name for name in functions if name.startswith(start)}
    while further:
        reached |= further
        called = set().union(*(names_in(functions[one]) for one in further))
        further = called & set(functions) - reached
    return reached


@pytest.mark.parametrize("path", CHECKS, ids=lambda path: path.stem)
def test_a_check_judges_by_the_facts_alone(path: Path) -> None:
    """One file looks and judges; nothing that is called from its judgement looks, too."""
    tree = ast.parse(path.read_text())
    functions, origin = functions_of(tree), imported_names(tree)
    reached = reached_from(functions, "judge")
    assert reached, "a check has a judgement"
    for name in reached:
        # Without the types of its parameters, which use nothing.
        names = set().union(*map(names_in, functions[name].body))
        used = {one for one in names if origin.get(one) in LOOKING}
        assert not used | names & {"open", "seen", "file_seen"}, name


def test_no_test_imports_another() -> None:
    """What tests share is in tests/support."""
    for path in PACKAGE.parent.glob("tests/**/test_*.py"):
        for parts in imports(ast.parse(path.read_text())):
            assert not parts[0].startswith("test_"), f"{path} imports {parts[0]}"
