"""The configuration file: what it may say, and what is told of what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from lunasched.config import Mode, Paths, Settings
from lunasched.errors import InvalidInput


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def test_without_a_file_everything_has_its_default(file: Path) -> None:
    assert Settings.load(file) == Settings(max_concurrent_jobs=0)


@pytest.mark.parametrize("text", ["", "# nothing\n", "global:\n", "global: {}\n"])
def test_an_empty_file_is_no_fault(file: Path, text: str) -> None:
    file.write_text(text)
    assert Settings.load(file) == Settings()


def test_the_limit(file: Path) -> None:
    file.write_text("global:\n  max_concurrent_jobs: 4\n")
    assert Settings.load(file).max_concurrent_jobs == 4


@pytest.mark.parametrize("value", ["-1", "true", "1.5", "many", "[]"])
def test_what_is_no_limit(file: Path, value: str) -> None:
    file.write_text(f"global:\n  max_concurrent_jobs: {value}\n")
    with pytest.raises(InvalidInput, match=r"global\.max_concurrent_jobs: .* is not a number"):
        Settings.load(file)


def test_all_that_is_wrong_is_told_at_once(file: Path) -> None:
    file.write_text("globl: {}\nglobal:\n  max_concurrent_jbos: 1\n  max_concurrent_jobs: x\n")
    with pytest.raises(InvalidInput) as raised:
        Settings.load(file)
    lines = str(raised.value).splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"{file}: glob") for line in lines)


@pytest.mark.parametrize("text", ["- a\n", "global: 3\n", "a: b: c\n", "\t", "global: [1"])
def test_what_is_no_configuration(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(InvalidInput, match=str(file)):
        Settings.load(file)


def test_what_is_no_text(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match="cannot be read"):
        Settings.load(file)


@pytest.mark.parametrize("variable", ["LUNASCHED_CONFIG_PATH", "LUNASCHED_DB_PATH"])
def test_files_are_named_by_absolute_paths(variable: str) -> None:
    with pytest.raises(InvalidInput, match=f"{variable} is a/b: it must be an absolute path"):
        Paths.of(Mode.SYSTEM, {variable: "a/b"})
    paths = Paths.of(Mode.SYSTEM, {variable: "/a/b"})
    assert Path("/a/b") in (paths.settings, paths.database)
