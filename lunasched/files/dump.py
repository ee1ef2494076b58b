"""Jobs as the text of a file that reads back to the same jobs.

What a job has by default is left out, other than that for which the machine's own configuration
has a default, which would else take its place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import yaml

from lunasched import schedule
from lunasched.dataclass import dataclass
from lunasched.files.settings import JOBS
from lunasched.formats import measures
from lunasched.formats.document import Format
from lunasched.formats.pattern import pattern
from lunasched.formats.yamltext import meaning
from lunasched.jobs import directivelines
from lunasched.jobs.keys import ARGUMENTS, DIRECTIVES, GROUPS, KEYS, ROWS
from lunasched.jobs.model import Job
from lunasched.jobs.reading import NO_DEFAULTS, Defaults

_HEADER = "# Jobs of lunasched, see lunasched.yaml(5).\n"
_FIRST = (
    "name", "enabled", "schedule", "timezone", "dependencies", "command", ARGUMENTS, "user",
    "working_directory", "env", "tags", "priority", "execution_mode", "overlap", "max_concurrent",
    "catch_up", "jitter_seconds",
)  # fmt: skip
_ORDER = (
    *_FIRST,
    *(row.writes for row in ROWS if "." not in row.writes and row.writes not in _FIRST),
    *GROUPS,
    DIRECTIVES,
)
"""The keys of a job as people read them: what it is, what it runs, and how."""
_SHORT = 72
"""Characters in the texts of a list that is written in one line."""


@dataclass(frozen=True, slots=True)
class Dump:
    """A file's text, and what it cannot say."""

    text: str
    unsaid: tuple[str, ...]
    """The settings that the machine's own defaults would add to a job that lacks them."""


def dump(jobs: Iterable[Job], format_: Format, *, defaults: Defaults = NO_DEFAULTS) -> Dump:
    """The file of some jobs, for a machine whose configuration has ``defaults``."""
    jobs = list(jobs)
    write = _yaml if format_ is Format.YAML else _toml
    text = write([definition(job, defaults) for job in jobs])
    return Dump(_HEADER + text, tuple(line for job in jobs for line in _unsaid(job, defaults)))


def definition(job: Job, defaults: Defaults = NO_DEFAULTS) -> dict[str, Any]:
    """The keys of a job file that say what the job is, in the order in which they are written."""
    whole = job.to_mapping()
    whole["resource_limits"]["max_memory"] = _size(job.limits.max_memory)
    least = Job(name=job.name, schedule=job.schedule, command=job.command).to_mapping()
    found: dict[str, Any] = {}
    for key in _ORDER:
        if key == ARGUMENTS:
            if "arguments" in defaults.fields and "command" in found:
                found[key] = []
        elif key in GROUPS:
            fields = {inner: row.field for inner, row in GROUPS[key].items()}
            chosen = {
                inner: value
                for inner, value in whole[key].items()
                if value is not None
                and (value != least[key].get(inner) or fields[inner] in defaults.fields)
            }
            if chosen:
                found[key] = chosen
        elif _is_said(job, key, whole[key] != least[key], defaults):
            found[key] = whole[key]
    return found


def _size(number: int | None) -> int | str | None:
    """Bytes in the largest unit that says them exactly."""
    return number and (measures.exact_size(number, "GMK") or number)


def _is_said(job: Job, key: str, differs: bool, defaults: Defaults) -> bool:
    if key == "command":
        return directivelines.command(job.directives) is None
    if key == "name":
        return True
    if key == "schedule" and job.schedule != schedule.ON_DEMAND:
        return True
    if key == "schedule":
        return not job.dependencies or key in defaults.fields
    if differs or key == DIRECTIVES:
        return differs
    field = KEYS[key].field
    # Each variable is set or not; no syntax says that the others are absent.
    return field in defaults.fields and getattr(job, field) is not None and key != "env"


def _unsaid(job: Job, defaults: Defaults) -> Iterator[str]:
    """Yield what a job lacks and the machine's defaults would add."""
    for field, value in defaults.fields.items():
        label = defaults.labels[field]
        part, _, name = field.rpartition(".")
        if field in ("environment", "directives"):
            own = dict(getattr(job, field))
            missing = [key for key in dict(value) if key not in own]
        elif part == "sandbox":
            missing = [] if name in dict(job.sandbox) else [""]
        elif field == "arguments":
            missing = []
        else:
            owner = getattr(job, part) if part else job
            missing = [""] if getattr(owner, name) is None else []
        for key in missing:
            yield f"job {job.name!r} has no {'.'.join(filter(None, (label, key)))}"


# YAML


def _yaml(mappings: Sequence[dict[str, Any]]) -> str:
    if not mappings:
        return f"{JOBS}: []\n"
    dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    listed = [
        yaml.serialize(_node([mapping]), Dumper=dumper, allow_unicode=True, width=1 << 30)
        for mapping in mappings
    ]
    return f"{JOBS}:\n\n" + "\n".join(listed)


def _node(value: Any) -> yaml.Node:
    """A value as YAML's emitter wants it; a text that our reader takes for another is quoted."""
    if isinstance(value, dict):
        items = [(_node(key), _node(inner)) for key, inner in value.items()]
        return yaml.MappingNode(f"{_TAG}map", items, flow_style=not items)
    if isinstance(value, list):
        return yaml.SequenceNode(
            f"{_TAG}seq", [_node(one) for one in value], flow_style=_is_short(value)
        )
    if isinstance(value, bool):
        return yaml.ScalarNode(f"{_TAG}bool", "true" if value else "false")
    if isinstance(value, int):
        return yaml.ScalarNode(f"{_TAG}int", str(value))
    if isinstance(value, float):
        # YAML 1.1 wants the point.
        text = repr(value) if "." in repr(value) else repr(value).replace("e", ".0e")
        return yaml.ScalarNode(f"{_TAG}float", text)
    return yaml.ScalarNode(f"{_TAG}str", value, style=_style(value))


def _style(text: str) -> str | None:
    if "\n" in text:
        # Blank lines at the end of a block would be joined by the one that follows the job.
        return '"' if text.endswith("\n\n") or not text.strip() else "|"
    return None if isinstance(meaning(text), str) else "'"


_TAG = "tag:yaml.org,2002:"


def _is_short(values: list[Any]) -> bool:
    texts = [one for one in values if isinstance(one, str)]
    plain_ones = not any(isinstance(one, (dict, list)) for one in values)
    return plain_ones and not any("\n" in one for one in texts) and sum(map(len, texts)) <= _SHORT


# TOML, which the standard library does not write (toml.io, v1.0.0)


def _toml(mappings: Sequence[dict[str, Any]]) -> str:
    if not mappings:
        return f"{JOBS} = []\n"
    return "".join(f"\n{_table(mapping)}" for mapping in mappings)


def _table(mapping: dict[str, Any]) -> str:
    pairs = {key: value for key, value in mapping.items() if not isinstance(value, dict)}
    tables = {key: value for key, value in mapping.items() if isinstance(value, dict)}
    text = f"[[{JOBS}]]\n{_pairs(pairs)}"
    return text + "".join(f"\n[{JOBS}.{key}]\n{_pairs(inner)}" for key, inner in tables.items())


def _pairs(mapping: dict[str, Any]) -> str:
    return "".join(f"{_key(key)} = {_value(value)}\n" for key, value in mapping.items())


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _basic(key)


def _value(value: Any) -> str:
    if isinstance(value, list):
        if _is_short(value):
            return _inline(value)
        return "[\n" + "".join(f"    {_inline(one)},\n" for one in value) + "]"
    return _lines(value) if isinstance(value, str) and "\n" in value else _inline(value)


def _inline(value: Any) -> str:
    """A value in one line."""
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{_key(key)} = {_inline(one)}' for key, one in value.items())} }}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        as_it_is = "'" not in value and value.isprintable() and re.search(r'["\\]', value)
        return f"'{value}'" if as_it_is else _basic(value)
    return repr(value)


def _basic(text: str) -> str:
    return f'"{_escaped(text, _NOT_IN_LINE)}"'


def _lines(text: str) -> str:
    """A text of several lines; the line break after the opening quotes is not part of it."""
    body = _escaped(text, _NOT_IN_LINES).replace('"""', '""\\"')
    return f'"""\n{body[:-1]}\\""""' if body.endswith('"') else f'"""\n{body}"""'


_NOT_IN_LINE = pattern(r'[\x00-\x1f\x7f\\"]')
_NOT_IN_LINES = pattern(r"[\x00-\x08\x0b-\x1f\x7f\\]")


def _escaped(text: str, pattern: re.Pattern[str]) -> str:
    return pattern.sub(
        lambda match: "\\u007f" if match[0] == "\x7f" else json.dumps(match[0])[1:-1], text
    )
