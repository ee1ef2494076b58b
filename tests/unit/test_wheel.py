"""What is installed: the wheel holds every file that the code reads, and works without the tree."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lunasched import __version__

TREE = Path(__file__).resolve().parent.parent.parent
RUN = "import sys; from lunasched.cli import program; sys.exit(program())"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, built by the hatchling of the development environment."""
    target = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    build = ["--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(target)]
    done = subprocess.run([*pip, *build, str(TREE)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = target.iterdir()
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def test_every_file_of_the_package_is_in_it(names: set[str]) -> None:
    package = TREE / "lunasched"
    files = {
        str(path.relative_to(TREE))
        for path in package.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert any(name.endswith(".sql") for name in files)
    assert files <= names


def test_the_unit_templates_are_in_it(names: set[str]) -> None:
    templates = {f"lunasched/unit-templates/{path.name}" for path in TREE.glob("unit-templates/*")}
    assert templates
    assert templates <= names


def test_the_man_pages_are_in_it(names: set[str]) -> None:
    pages = {path.name for path in TREE.glob("man/*.[1-9]")}
    shared = {f"lunasched-{__version__}.data/data/share/man/man{page[-1]}/{page}" for page in pages}
    assert shared <= names


def test_nothing_else_is_in_it(names: set[str]) -> None:
    tops = {name.partition("/")[0] for name in names}
    release = f"lunasched-{__version__}"
    assert tops == {"lunasched", f"{release}.dist-info", f"{release}.data"}
    assert not [name for name in names if "__pycache__" in name]


def test_both_commands_are_in_it(unpacked: Path) -> None:
    (entry_points,) = unpacked.glob("*.dist-info/entry_points.txt")
    lines = entry_points.read_text().splitlines()
    assert "lunasched = lunasched.cli:program" in lines
    assert "lunasched-daemon = lunasched.supervisor:main" in lines


def test_it_works_without_the_tree(unpacked: Path, tmp_path: Path) -> None:
    """Units come from the templates in the wheel, the empty list from its SQL."""
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "LUNASCHED_DB_PATH": str(tmp_path / "jobs.db"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(unpacked),
    }

    def run(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    source = run("-c", "import lunasched.paths; print(lunasched.paths.unit_templates())")
    assert Path(source.strip()) == unpacked / "lunasched" / "unit-templates"
    job = ["--name", "backup", "--schedule", "every 1h", "--command", "true"]
    units = run("-c", RUN, "--user", "add", *job, "--dry-run")
    assert "# lunasched-job@backup.service" in units
    assert "OnUnitActiveSec=3600s" in units
    assert run("-c", RUN, "--user", "list", "--json").strip() == "[]"
