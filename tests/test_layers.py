"""Imports point downwards only (ARCHITECTURE.md), and each outside thing has one importer."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "lunasched"

LAYERS = {
    "errors": 0,
    "schedule": 1,
    "model": 1,
    "retry": 1,
    "alerting": 1,
    "delivery": 1,
    "unittext": 1,
    "numerals": 1,
    "slot": 1,
    "starts": 1,
    "missed": 1,
    "overrun": 1,
    "snapshot": 1,
    "sandbox": 2,
    "directives": 2,
    "jobvalues": 2,
    "document": 2,
    "template": 2,
    "channels": 2,
    "message": 2,
    "jobkeys": 2,
    "jobfile": 2,
    "crontab": 2,
    "jobschema": 2,
    "jobdump": 2,
    "settings": 2,
    "mailserver": 2,
    "configfile": 2,
    "config": 2,
    "dependencies": 2,
    "compiler": 2,
    "confinement": 2,
    "compilation": 2,
    "diagnosis": 2,
    "ejection": 2,
    "adoption": 2,
    "unitfile": 2,
    "definition": 2,
    "jsonview": 2,
    "words": 2,
    "timerstate": 2,
    "overview": 2,
    "concurrency": 2,
    "commands": 2,
    "elsewhere": 2,
    "leftover": 2,
    "userswitch": 2,
    "needs": 2,
    "systemd": 3,
    "systemctl": 3,
    "unitdir": 3,
    "verify": 3,
    "journal": 3,
    "slotfile": 3,
    "deploylock": 3,
    "runtimedir": 3,
    "store": 3,
    "web": 3,
    "metrics": 3,
    "notify": 3,
    "host": 3,
    "processes": 3,
    "surroundings": 3,
    "terminal": 3,
    "deploy": 4,
    "examination": 4,
    "supervisor": 4,
    "cli": 5,
}
# Within a layer, adapters and use cases do not know each other; pure modules may.
MAY_IMPORT_THEIR_OWN_LAYER = {1, 2}
IMPURE = {"gi", "pydbus", "systemd", "sqlite3", "subprocess", "requests"}
ONLY_IMPORTER = {
    "gi": {"systemd", "supervisor"},
    "pydbus": {"systemd"},
    "systemd": {"journal"},
    "sqlite3": {"store"},
    "requests": {"notify"},
    "smtplib": {"notify"},
}
CLOCKS = {"time", "time_ns", "now", "utcnow", "today", "monotonic"}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem)


def module_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> list[tuple[str, ...]]:
    """Every import as its dotted parts, `from lunasched import x` counting as `lunasched.x`."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the layer"
            parts = tuple(str(node.module).split("."))
            found += [(*parts, alias.name) for alias in node.names]
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path: Path) -> None:
    importer = module_of(path)
    if importer == "__init__":
        return
    layer = LAYERS[importer]
    for parts in imports(ast.parse(path.read_text())):
        top = parts[0]
        if top == "lunasched":
            imported = parts[1] if len(parts) > 1 else ""
            if imported in ("", "__version__") or imported == importer:
                continue
            allowed = LAYERS[imported] < layer or (
                LAYERS[imported] == layer and layer in MAY_IMPORT_THEIR_OWN_LAYER
            )
            # How the supervisor is found to be running is its own knowledge.
            assert allowed, f"{importer} (layer {layer}) imports {imported}"
            continue
        if layer <= 2:
            assert top not in IMPURE, f"{importer} is pure and imports {top}"
        if top in ONLY_IMPORTER:
            assert importer in ONLY_IMPORTER[top], f"{importer} imports {top}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_pure_layers_do_not_read_the_clock(path: Path) -> None:
    importer = module_of(path)
    if LAYERS.get(importer, 9) > 2:
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            receiver = ast.unparse(node.func.value)
            reads = node.func.attr in CLOCKS and receiver in ("time", "datetime", "date")
            assert not reads, f"{importer}: {ast.unparse(node)}"


def test_every_module_has_a_layer() -> None:
    assert {module_of(path) for path in modules()} - {"__init__"} == set(LAYERS)
