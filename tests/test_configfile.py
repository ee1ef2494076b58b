"""Whole files: what jobs they give, what is told of what is wrong, and nothing else, ever.

`LUNASCHED_UPDATE_GOLDEN=1` rewrites what is expected of the files in `golden/files/`; read the
difference.
"""

from __future__ import annotations

import json
import os
import random
import re
from pathlib import Path
from typing import Any

import pytest

from lunasched import configfile
from lunasched.document import Format, read
from lunasched.errors import InvalidInput

TREE = Path(__file__).resolve().parent.parent
GOLDEN = TREE / "tests" / "golden" / "files"
FILES = sorted(path for path in GOLDEN.iterdir() if path.suffix in (".yaml", ".toml"))
EXAMPLES = sorted(TREE.glob("packaging/examples/*.*"))


def said(content: bytes, name: str) -> Any:
    """What a file says, ready for JSON; raises ``InvalidInput``."""
    found = configfile.read(read(content, name, Format.of(name)))
    return {
        "jobs": [entry.job.to_mapping() for entry in found.entries],
        "present": list(found.present),
        "warnings": list(found.warnings),
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_a_file_says(path: Path) -> None:
    try:
        value = said(path.read_bytes(), path.name)
    except InvalidInput as error:
        suffix, text = ".errors", f"{error}\n"
    else:
        suffix, text = ".json", json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    expected = path.with_name(path.name + suffix)
    if os.environ.get("LUNASCHED_UPDATE_GOLDEN"):
        expected.write_text(text, encoding="utf-8")
    assert text == expected.read_text(encoding="utf-8")


def test_there_is_no_expectation_without_a_file() -> None:
    names = {path.name.removesuffix(".json").removesuffix(".errors") for path in GOLDEN.iterdir()}
    assert names == {path.name for path in FILES}
    assert len(list(GOLDEN.iterdir())) == 2 * len(FILES)


def test_the_examples_in_both_layouts_say_the_same() -> None:
    of_yaml, of_toml = (
        said((TREE / f"packaging/examples/jobs.{suffix}").read_bytes(), f"x.{suffix}")
        for suffix in ("yaml", "toml")
    )
    assert of_yaml["jobs"] == of_toml["jobs"]
    assert len(of_yaml["jobs"]) == 3


# Whatever is in a file


def check(content: bytes, name: str) -> bool:
    """Whether a file can be read; where not, each line of what is told names the file."""
    try:
        said(content, name)
    except InvalidInput as error:
        for problem in getattr(error, "problems", [str(error)]):
            first, *others = problem.split("\n")
            assert first.startswith((f"{name}:", f"{name}: ")), problem
            assert first.isprintable(), problem
            # A schedule is shown below its problem, with a caret.
            assert len(others) in (0, 2), problem
            assert all(line.startswith("    ") and line.isprintable() for line in others), problem
        return False
    return True


WORDS = re.compile(rb"[A-Za-z0-9_.@-]+|\s+|.", re.DOTALL)
MARKS = [
    b"\0", b"\t", b"\r", b"\r\n", b"\n", b"  ", b"- ", b": ", b"&a ", b"*a ", b"<<: ", b"!!int ",
    b"'", b'"', b'"""', b"'''", b"[", b"]", b"{", b"}", b"[[", b"]]", b"#", b"|\n", b">-\n", b"---\n",
    b"...\n", b"? ", b"%", b"\\", b"\\u0000", b"\\uD800", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf",
    b"\xc2\x85", b"\xe2\x80\xa8", b"\x1b[31m", b".inf", b"nan", b"-1", b"1e999", b"9" * 5000,
    b"0x" + b"f" * 500, b"0x" + b"f" * 5000, b"null", b"true", b"02:30", b"2026-01-01", b"1_000",
    b"[" * 60, b"{a: " * 60, b"a." * 60, b"", b"-", b",", b"/", b"*", b"Mon",
]  # fmt: skip


def mutated(rng: random.Random, sources: list[bytes]) -> bytes:
    """One of some texts with a few changes: of bytes, of lines, of words of another one."""
    content = rng.choice(sources)
    for _ in range(rng.randint(1, 4)):
        lines = content.splitlines(keepends=True) or [b"\n"]
        number = rng.randrange(len(lines))
        at = rng.randrange(len(content) + 1)
        match rng.randrange(9):
            case 0:
                content = content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :]
            case 1:
                del lines[number]
                content = b"".join(lines)
            case 2:
                lines.insert(rng.randrange(len(lines)), lines[number])
                content = b"".join(lines)
            case 3:
                other = rng.randrange(len(lines))
                lines[number], lines[other] = lines[other], lines[number]
                content = b"".join(lines)
            case 4:
                words = WORDS.findall(content) or [b""]
                others = WORDS.findall(rng.choice(sources)) or [b""]
                words[rng.randrange(len(words))] = rng.choice(others)
                content = b"".join(words)
            case 5:
                lines[number] = rng.choice(rng.choice(sources).splitlines(keepends=True) or [b""])
                content = b"".join(lines)
            case 6:
                words = WORDS.findall(content) or [b""]
                words[rng.randrange(len(words))] = rng.choice(MARKS)
                content = b"".join(words)
            case 7:
                content = content[:at] + rng.choice(MARKS) + content[at:]
            case 8:
                content = content[:at]
    return content


@pytest.mark.parametrize("suffix", ["yaml", "toml"])
def test_changed_files_are_read_or_refused(suffix: str, rng: random.Random) -> None:
    paths = [path for path in (*FILES, *EXAMPLES) if path.suffix == f".{suffix}"]
    good = [path for path in paths if not path.with_name(path.name + ".errors").exists()]
    sources = [path.read_bytes() for path in (*paths, *good * 3) if path.stem != "bomb"]
    read_well = 0
    for _ in range(10_000):
        content = mutated(rng, sources)
        try:
            read_well += check(content, f"x.{suffix}")
        except BaseException:
            print(content)
            raise
    # Many are still good, and many are not.
    assert 500 < read_well < 9500
