"""A test that fails beside the others runs once more, alone, and what came of that is said."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TESTS_HERE = Path(__file__).parent.parent
SUPPORT = ("everything", "machine", "anymachine", "bytecode", "campaign")
TESTS = """
from pathlib import Path

def test_always(): pass

def test_sometimes():
    print("as it was")
    seen = Path("seen")
    if not seen.exists():
        seen.touch()
        raise AssertionError("the first time")
"""
NEVER = "\ndef test_never(): raise AssertionError('each time')\n"
INI = """
[pytest]
pythonpath = tests/support
markers =
    machine: x
    vm: x
    slow: x
"""
CHOSEN = "def tests(): return ['tests/test_suite.py']"
OF_SUITE = """
import os
from pathlib import Path

def test_suite():
    suite = os.environ["LUNASCHED_SUITE"]
    with Path("suites").open("a") as file:
        print(suite, file=file)
    assert suite == "bookworm" or Path("suites").read_text().count(suite) > 1
"""

NOTE = """
@pytest.fixture(scope="module")
def note(request):
    def say(what):
        with open("noted", "a") as file:
            print(os.getpid(), what, request.module.__name__, file=file)
    say("begins")
    yield say
    say("ends")
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A project of a few tests, with our own way to run them."""
    (tmp_path / "tests/support").mkdir(parents=True)
    for name in (*(f"support/{name}.py" for name in SUPPORT), "conftest.py"):
        shutil.copy(TESTS_HERE / name, tmp_path / "tests" / name)
    (tmp_path / "tests/support/chosen.py").write_text(CHOSEN)
    (tmp_path / "pytest.ini").write_text(INI)
    return tmp_path


def run(tree: Path, tests: str) -> subprocess.CompletedProcess[str]:
    (tree / "tests/test_few.py").write_text(tests)
    # The parts without a test in them end with an exit status of their own.
    (tree / "tests/vm").mkdir(exist_ok=True)
    for mark, place in (("machine", "."), ("vm", "vm"), ("slow", ".")):
        text = f"import pytest\n@pytest.mark.{mark}\ndef test_{mark}(): pass\n"
        (tree / f"tests/{place}/test_{mark}.py").write_text(text)
    slow = (tree / "tests/test_slow.py").read_text()
    for place in ("packages", "security"):
        (tree / "tests" / place).mkdir(exist_ok=True)
        (tree / f"tests/{place}/test_of_{place}.py").write_text(slow)
    of_suite = tree / "tests/test_suite.py"
    if not of_suite.exists():
        of_suite.write_text("def test_suite(): pass\n")
    second = (tree / "tests/test_machine.py").read_text()
    (tree / "tests/test_second_machine.py").write_text(second)
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "tests/support/everything.py"],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_one_that_passes_alone_is_unsteady(tree: Path) -> None:
    done = run(tree, TESTS)
    assert done.returncode == 0, done.stdout
    assert "unsteady: tests/test_few.py::test_sometimes (" in done.stdout
    kept = tree / "build/unsteady/tests-test_few.py-test_sometimes"
    assert "the first time" in kept.with_name(f"{kept.name}.failed").read_text()
    assert "as it was" in kept.with_name(f"{kept.name}.failed").read_text()
    assert "1 passed" in kept.with_name(f"{kept.name}.passed").read_text()


def test_one_of_the_next_debian_runs_there_again(tree: Path) -> None:
    (tree / "tests/test_suite.py").write_text(OF_SUITE)
    done = run(tree, "")
    assert done.returncode == 0, done.stdout
    assert "unsteady: --suite trixie tests/test_suite.py::test_suite (" in done.stdout
    assert sorted((tree / "suites").read_text().split()) == ["bookworm", "trixie", "trixie"]


def test_one_that_fails_again_fails_all(tree: Path) -> None:
    done = run(tree, TESTS + NEVER)
    assert done.returncode == 1
    assert "unsteady: tests/test_few.py::test_sometimes (" in done.stdout
    assert "tests/test_few.py::test_never, alone:" in done.stdout


def test_many_failures_are_those_of_the_code(tree: Path) -> None:
    many = "".join(f"\ndef test_{n}(): assert False\n" for n in range(11))
    done = run(tree, many)
    assert done.returncode == 1
    assert "unsteady" not in done.stdout
    assert "alone" not in done.stdout


def test_what_is_no_failure_of_a_test_is_not_tried_again(tree: Path) -> None:
    done = run(tree, "import no_such_module\n")
    assert done.returncode not in (0, 1)
    assert "alone" not in done.stdout


def test_a_pool_runs_each_test_once_and_the_longest_files_first(tree: Path) -> None:
    for number in range(7):
        text = "".join(f"def test_{n}(note): note('ran')\n" for n in range(number + 1))
        # Some files are followed by one of their directory, and some are not.
        directory = tree / f"tests/of_{number // 2 % 2}"
        directory.mkdir(exist_ok=True)
        (directory / f"test_{number}.py").write_text(text)
    tests = {**{f"test_{number}": number + 1 for number in range(7)}, "test_9": 1}
    (tree / "tests/test_9.py").write_text(
        "import pytest\n@pytest.mark.machine\ndef test_it(note): note('ran')\n"
    )
    with (tree / "tests/conftest.py").open("a") as file:
        file.write(NOTE)
    pool = tree / "pool"
    pool.mkdir()
    command = [sys.executable, "-m", "pytest", "-q", f"--pool={pool}"]
    runs = [subprocess.Popen(command, cwd=tree, stdout=subprocess.PIPE) for _ in range(3)]
    printed = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], printed
    by_run: dict[str, list[list[str]]] = {}
    for line in (tree / "noted").read_text().splitlines():
        process, *noted = line.split()
        by_run.setdefault(process, []).append(noted)
    files: list[str] = []
    for each in by_run.values():
        mine = [file for what, file in each if what == "begins"]
        assert mine == sorted(mine, reverse=True)
        # What a file has of its own is taken down before the next one begins.
        whole = [["begins", *["ran"] * tests[file], "ends"] for file in mine]
        assert [what for what, _ in each] == [what for one in whole for what in one]
        files += mine
    assert sorted(files) == sorted(tests)
