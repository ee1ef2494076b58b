"""Whole files: what jobs they give, what is told of what is wrong, and nothing else, ever.

`LUNASCHED_UPDATE_GOLDEN=1` rewrites what is expected of the files in `golden/files/`; read the
difference.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from campaign import rounds
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from mutations import mutated

from lunasched.errors import InvalidInput
from lunasched.files import configfile, settings
from lunasched.formats.document import Format, read_document
from lunasched.jobs import keys

TREE = Path(__file__).resolve().parent.parent.parent
GOLDEN = TREE / "tests" / "golden" / "files"
FILES = sorted(path for path in GOLDEN.iterdir() if path.suffix in (".yaml", ".toml"))
EXAMPLES = sorted(TREE.glob("packaging/examples/*.*"))


def said(content: bytes, name: str) -> Any:
    """What a file says, ready for JSON; raises ``InvalidInput``."""
    found = configfile.read_config(read_document(content, name, Format.of(name)))
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


@pytest.mark.slow
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


TWICE = "; a key or a table is defined twice"
BYTES: list[tuple[str, bytes, str]] = [
    ("yaml", b"\xef\xbb\xbfjobs: []\r\n", ""),
    ("toml", b"\xef\xbb\xbfjobs = []\r\n", ""),
    ("yaml", "jobs: []".encode("utf-16"), " the file is UTF-16"),
    ("toml", "jobs = []".encode("utf-16"), " the file is UTF-16"),
    ("yaml", b"jobs: []\n\n# \xff", "3: the byte 0xff is not UTF-8"),
    ("toml", b"\nx-a = '\xed\xa0\x80'", "2: the byte 0xed is not UTF-8"),
    ("yaml", b"\nx-a: \0", "2: "),
    ("toml", b"\nx-a = '\0'", "2: not valid TOML"),
    ("yaml", b"x-a: \x1b[31m", "1: "),
    ("yaml", b"\njobs:\n\t- a", "3: not valid YAML: "),
    ("yaml", b"x-a: " + b"[" * 60 + b"]" * 60, "1: more than 50 levels"),
    ("toml", b"\nx-a = " + b"[" * 60 + b"]" * 60, "2: more than 50 levels"),
    ("toml", b"\nx-a." + b"a." * 60 + b"a = 1", "2: more than 50 levels"),
    ("toml", b"x-a = " + b"[" * 100_000, " more than 50 levels"),
    ("yaml", b"x-a: " + b"[" * 100_000, "1: more than 50 levels"),
    ("yaml", b"x-a: " + b"- " * 100_000, "1: "),
    ("yaml", b"x-a: " + b"9" * 5000, ""),
    ("toml", b"x-a = " + b"9" * 5000, "1: not valid TOML: a number has too many digits"),
    ("toml", b"\nx-a = [1, 0x" + b"f" * 5000 + b"]", "2: a number has too many digits"),
    ("yaml", b"x-a: &a [*a]", "1: *a stands inside of &a"),
    ("yaml", b"x-a: {<<: {<<: 3}}", "1: << takes a mapping"),
    ("yaml", b"? [a]\n: 1", "1: a key must be a text"),
    ("yaml", b"a: 1\n'a': 2", "2: the key 'a' is defined twice"),
    ("toml", b"a = 1\n'a' = 2", f"2: not valid TOML: Cannot overwrite a value{TWICE}"),
    ("toml", b"a.b = 1\n[a]\n[a]", f"2: not valid TOML: Cannot declare ('a',) twice{TWICE}"),
    ("toml", b"[a]\n[a]", f"2: not valid TOML: Cannot declare ('a',) twice{TWICE}"),
    ("toml", b"a = {b = 1, b = 2}", f"1: not valid TOML: Duplicate inline table key 'b'{TWICE}"),
    ("yaml", b"#" * (32 << 20) + b"\n", " the file is larger than 32 MiB"),
    ("yaml", b"x-a: [" + b"1," * 2_000_001 + b"]", "1: there are more than 2,000,000 values"),
]


@pytest.mark.parametrize(("suffix", "content", "message"), BYTES, ids=range(len(BYTES)))
def test_what_is_in_a_file(suffix: str, content: bytes, message: str) -> None:
    if not message:
        assert check(content, f"x.{suffix}")
        return
    with pytest.raises(InvalidInput) as caught:
        said(content, f"x.{suffix}")
    assert str(caught.value).startswith(f"x.{suffix}:{message}")


NUMBERS = ("inf", "-inf", "nan", "1e999", "-1e999", "1" * 400, "-" + "1" * 400, "0x" + "f" * 400)


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_beyond_all_measure_for_every_key(number: str) -> None:
    """None makes a job of it, none a traceback."""
    of_yaml = "." + number if number.endswith(("inf", "nan")) else number
    of_yaml = of_yaml.replace(".-", "-.")
    of_toml = number.replace("1e999", "1.0e999")
    paths = [(key,) for key in keys.KEYS] + [
        (group, key) for group, rows in keys.GROUPS.items() for key in rows
    ]
    for path in paths:
        start = "jobs: [{name: a, schedule: '@daily', command: b, "
        nested = "".join(f"{{{part}: " for part in path)[1:]
        content = f"{start}{nested}{of_yaml}{'}' * len(path)}]"
        if path[0] in ("name", "schedule", "command"):
            content = f"jobs: [{{{path[0]}: {of_yaml}}}]"
        assert not check(content.encode(), "x.yaml"), content
        # Twice is a fault of its own.
        head = {"name": "'a'", "schedule": "'@daily'", "command": "'b'", ".".join(path): of_toml}
        lines = "".join(f"{key} = {value}\n" for key, value in head.items())
        assert not check(f"[[jobs]]\n{lines}".encode(), "x.toml"), path
    for section, rows in settings.SECTIONS.items():
        for key in rows:
            assert not check(f"[{section}]\n{key} = {of_toml}\n".encode(), "x.toml")


# Values, and on which line they are


TEXTS = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from(":#-?*&!%@'\"[]{},|> \n\t\\"),
    max_size=12,
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | TEXTS
    | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(TEXTS.filter(lambda key: key != "<<"), inner, max_size=4)
    ),
    max_leaves=12,
)  # fmt: skip


def paths(value: Any, above: tuple[str | int, ...] = ()) -> dict[tuple[str | int, ...], Any]:
    """All that is in a value, by what leads to it."""
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    found: dict[tuple[str | int, ...], Any] = {}
    for key, inner in items:
        path = (*above, key)
        found[path] = inner
        found |= paths(inner, path)
    return found


@given(value=VALUES, flow=st.sampled_from([None, True, False]), width=st.integers(10, 100))
def test_yaml_is_read_as_others_read_it(value: Any, flow: bool | None, width: int) -> None:
    """All that is a text is in quotes, so that YAML 1.1 and 1.2 agree."""
    text = yaml.dump(
        value, default_style='"', default_flow_style=flow, width=width, sort_keys=False
    )
    text = re.sub(r'!!(?:int|float|bool|null) "([^"]*)"', r"\1", text)
    found = read_document(text.encode(), "x", Format.YAML)
    assert found.value == value
    assert repr(found.value) == repr(value)
    assert found._lines().keys() == paths(value).keys()


@given(value=VALUES)
def test_json_is_read_as_yaml(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=True)
    if re.search(r"\\ud[89ab]", text):
        # Escapes of two halves are no YAML; nor are these line breaks to JSON, as they are to it.
        text = json.dumps(value, ensure_ascii=False)
        text = re.sub("[\x7f\x85\u2028\u2029]", lambda one: f"\\u{ord(one[0]):04x}", text)
    try:
        found = read_document(text.encode(), "x", Format.YAML).value
    except InvalidInput:
        # What JSON lets stand as it is and YAML does not.
        assert yaml.reader.Reader.NON_PRINTABLE.search(text) or "Infinity" in text
        return
    if "Infinity" not in text:
        assert found == value


GOOD_VALUES = st.sampled_from(
    ["every 1h", "@daily", "*/5 * * * *", "on 1st Mon at 09:00", "30m", "2G", "50%", "1,75",
     "High", "Parallel", "fixed", "root", "Europe/Berlin", "echo a", ["/bin/echo", "%h"], 0, 1, 3,
     0.5, True,
     ["a"], {"A": "b"}, {"type": "email", "to": "a@b"}, [{"type": "SLACK", "webhook_url": "x"}]]
)  # fmt: skip


def mappings(*keys: str) -> st.SearchStrategy[dict[str, Any]]:
    """Some of these keys, now and then one that there is not, with values good and bad."""
    known = st.sampled_from([*keys * 4, "nam", "timeouts", "x", ""])
    return st.dictionaries(known, GOOD_VALUES | VALUES, max_size=4)


def whole_jobs() -> st.SearchStrategy[dict[str, Any]]:
    """Jobs that would be right but for a few keys."""
    right = st.fixed_dictionaries(
        {
            "name": st.integers(0, 30).map(lambda number: f"job-{number}"),
            "schedule": st.sampled_from(["@daily", "every 1h", "at 02:30"]),
            "command": st.just("true"),
        }
    )
    groups = st.sampled_from(sorted(keys.GROUPS)).flatmap(
        lambda group: st.fixed_dictionaries({group: mappings(*keys.GROUPS[group])})
    )
    others = mappings(*keys.KEYS, *keys.GROUPS, "args", "systemd")
    return st.tuples(right, groups | st.just({}), others | st.just({})).map(
        lambda parts: {**parts[0], **parts[1], **parts[2]}
    )


def whole_files() -> st.SearchStrategy[dict[str, Any]]:
    """What may be at the beginning of a file."""
    sections = {
        name: mappings(*rows) | VALUES
        for name, rows in settings.SECTIONS.items()
        if "." not in name and name
    }
    return st.fixed_dictionaries(
        {"jobs": st.lists(whole_jobs(), max_size=3) | st.lists(VALUES, max_size=2)},
        optional={"defaults": mappings(*keys.KEYS, *keys.GROUPS), **sections},
    )


@pytest.mark.slow
@pytest.mark.campaign
@hypothesis_settings(max_examples=rounds(500, 2_000))
@given(content=whole_files(), flow=st.sampled_from([None, True, False]))
def test_files_of_any_values_are_read_or_refused(content: Any, flow: bool | None) -> None:
    text = yaml.dump(content, default_flow_style=flow, allow_unicode=True, sort_keys=False)
    check(text.encode(), "x.yaml")


KEYS = st.sampled_from(["a", "b-1", "1", "a b", "ü", 'c"', "x.y", "#", ""])
LEAVES = st.integers(100, 10**6) | st.sampled_from(
    ["x", "a\n#b\n", "]", "'''", '"', "}\\", "= 1", 'a"""b\'']
)
TABLES: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(KEYS, inner, max_size=3)
        | st.lists(st.dictionaries(KEYS, inner, max_size=2), min_size=1, max_size=3)
    ),
    max_leaves=12,
)


class Toml:
    """One of the many ways to write a value, and on which line each part of it is."""

    def __init__(self, choose: Callable[[int], int]) -> None:
        self.choose = choose
        self.text = ""
        self.lines: dict[tuple[str | int, ...], int] = {}

    def note(self, path: tuple[str | int, ...]) -> None:
        self.lines.setdefault(path, self.text.count("\n") + 1)

    def blank(self) -> None:
        self.text += ["", " ", "\n", "# ] } ' \" = \n", "\t\n\n"][self.choose(5)]

    def key(self, key: str) -> str:
        if re.fullmatch(r"[A-Za-z0-9_-]+", key) and self.choose(2):
            return key
        forms = [json.dumps(key), json.dumps(key, ensure_ascii=False), f"'{key}'"]
        return forms[self.choose(3)]

    def leaf(self, value: int | str) -> None:
        if isinstance(value, int):
            self.text += [str(value), hex(value), f"{value:_}"][self.choose(3)]
            return
        quoted = json.dumps(value)
        forms = [quoted, f'""{quoted}""', f'"""\n{quoted[1:-1]}"""']
        if "'" not in value:
            forms.append(f"'''\n{value}'''")
        self.text += forms[self.choose(len(forms))]

    def inline(self, value: Any, path: tuple[str | int, ...]) -> None:
        if isinstance(value, list):
            self.text += "["
            for index, one in enumerate(value):
                self.blank()
                self.note((*path, index))
                self.inline(one, (*path, index))
                self.blank()
                self.text += "," if index < len(value) - 1 or self.choose(2) else ""
            self.blank()
            self.text += "]"
        elif isinstance(value, dict):
            self.text += "{"
            for index, (key, one) in enumerate(value.items()):
                self.text += ", " if index else " "
                self.note((*path, key))
                self.text += f"{self.key(key)} = "
                self.inline(one, (*path, key))
            self.text += "}"
        else:
            self.leaf(value)

    def table(self, value: dict[str, Any], path: tuple[str | int, ...], header: str) -> None:
        """The pairs of a table first, then the tables below it."""
        below = []
        for key, one in value.items():
            tables = isinstance(one, list) and one and all(isinstance(each, dict) for each in one)
            if (isinstance(one, dict) or tables) and self.choose(3):
                below.append((key, self.key(key), one))
            else:
                self.pair(key, one, path)
        for key, name, one in below:
            full = f"{header}.{name}" if header else name
            for index, each in enumerate(one if isinstance(one, list) else [one]):
                here = (*path, key, index) if isinstance(one, list) else (*path, key)
                self.blank()
                self.text += "\n"
                self.note((*path, key))
                self.note(here)
                self.text += f"[[{full}]]\n" if isinstance(one, list) else f"[ {full} ] # x\n"
                self.table(each, here, full)

    def pair(self, key: str, value: Any, path: tuple[str | int, ...]) -> None:
        """A key, dotted where the value has one key only, and its value."""
        self.blank()
        self.text += "\n"
        path, name = (*path, key), self.key(key)
        self.note(path)
        while isinstance(value, dict) and len(value) == 1 and self.choose(2):
            ((key, value),) = value.items()
            path, name = (*path, key), f"{name} . {self.key(key)}"
            self.note(path)
        self.text += f"{name} = "
        self.inline(value, path)
        self.text += "\n"


@given(value=st.dictionaries(KEYS, TABLES, max_size=4), data=st.data())
def test_where_the_values_of_toml_are(value: dict[str, Any], data: st.DataObject) -> None:
    writer = Toml(lambda count: data.draw(st.integers(0, count - 1)))
    writer.table(value, (), "")
    for ending in ("\n", "\r\n"):
        document = read_document(writer.text.replace("\n", ending).encode(), "x", Format.TOML)
        if ending == "\n":
            assert document.value == value
        assert document._lines() == writer.lines
        assert document._lines().keys() == paths(value).keys()
