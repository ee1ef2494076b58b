"""One version everywhere, and what `make release-check` refuses."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lunasched import __version__

TREE = Path(__file__).resolve().parent.parent.parent


def git(tree: Path, *arguments: str) -> str:
    who = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgSign=false")
    return subprocess.run(
        ["git", "-C", tree, *who, *arguments], capture_output=True, text=True, check=True
    ).stdout


def refusal(tree: Path) -> str:
    """What the check says of a tree that is not in order."""
    done = subprocess.run(
        [tree / "packaging/release-check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A repository that is ready as far as its files say."""
    for name in ("packaging/release-check", "lunasched/__init__.py", "NEWS.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(TREE / name, tmp_path / name)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message=x")
    return tmp_path


def test_the_news_begin_with_the_version() -> None:
    headings = re.findall(r"^## (\S+) \((\d{4}-\d\d-\d\d)\)$", (TREE / "NEWS.md").read_text(), re.M)
    assert headings[0][0] == __version__
    assert headings == sorted(headings, key=lambda heading: heading[1], reverse=True)


def test_the_version_stands_in_one_place() -> None:
    """What builds takes it from there."""
    files = [
        path
        for name in ("packaging", "pyproject.toml", "Makefile")
        for path in ([TREE / name] if (TREE / name).is_file() else (TREE / name).rglob("*"))
        if path.is_file() and path.suffix != ".pyc"
    ]
    assert len(files) > 20
    assert [path for path in files if f"{__version__}" in path.read_text()] == []


def test_what_is_not_committed_is_not_released(release: Path) -> None:
    (release / "new").touch()
    assert "not committed" in refusal(release)


def test_a_release_without_news_is_refused(release: Path) -> None:
    init = release / "lunasched/__init__.py"
    init.write_text(init.read_text().replace(__version__, "99.0"))
    git(release, "commit", "--quiet", "--all", "--message=x")
    said = refusal(release)
    assert f"begins with {__version__}" in said
    assert "99.0" in said


def test_a_release_says_where_its_source_is(release: Path) -> None:
    project = release / "pyproject.toml"
    for urls, missing in (
        ("", "Source"),
        ('[project.urls]\nSource = "https://x.example"\n[other]\nIssues = "https://x"\n', "Issues"),
    ):
        project.write_text(f"[project]\n{urls}")
        git(release, "add", ".")
        git(release, "commit", "--quiet", "--message=x")
        assert f"no https address as {missing}" in refusal(release)


def test_a_version_is_released_once(release: Path) -> None:
    git(release, "tag", f"v{__version__}")
    git(release, "commit", "--quiet", "--allow-empty", "--message=x")
    assert "is the tag of another commit" in refusal(release)
