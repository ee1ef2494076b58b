"""The JSON Schema of a file of jobs and settings, for editors; made from the tables of its keys.

It refuses nothing that the readers take. What no schema can say, such as which time zones there
are, is left to them. One thing is outside of it: what config.yaml of a machine has under
``defaults`` may stand for a command or a schedule that a file of jobs lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any

from lunasched.files import settings
from lunasched.files.settings import DEFAULTS, EXTENSION, JOBS, OBSOLETE, SCHEMA, SECTIONS, Settings
from lunasched.formats import template
from lunasched.jobs import channels, directives, keys, sandbox
from lunasched.jobs import values as values
from lunasched.jobs.channels import CHANNEL_KEYS, MESSENGER_KEYS, ChannelKey
from lunasched.jobs.keys import (
    ARGUMENTS,
    ARGUMENTS_TEXT,
    CLAUSES,
    DIRECTIVES,
    DIRECTIVES_TEXT,
    GROUP_TEXTS,
    GROUPS,
    KEYS,
)
from lunasched.jobs.model import TARGET_KEYS, ChannelType, Job
from lunasched.jobs.reading import OF_ONE_JOB

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_JOB = Job(name="", schedule="", command="")
_NULL: Schema = {"type": "null"}
_TEXT: Schema = {"type": "string", "minLength": 1}
_TEXTS: Schema = {"type": "array", "items": {"type": "string"}}
_CLAUSE_VALUE: Schema = {
    "anyOf": [
        {"type": "string", "pattern": r"^[^;]*[^;\s][^;]*$"},
        {"type": "integer"},
    ]
}
_CLAUSE: Schema = {
    "anyOf": [
        _NULL,
        *_CLAUSE_VALUE["anyOf"],
        {"type": "array", "items": _CLAUSE_VALUE},
    ]
}
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_WHOLE = r"[0-9]{1,9}"
_YEARS = 10 * 366 * 86400


def _anything_of(*schemas: Schema) -> Schema:
    """One of some schemas, those that are such a choice themselves taken apart."""
    return {"anyOf": [part for one in schemas for part in one.get("anyOf", [one])]}


def _written(*patterns: str) -> Schema:
    """A text in one of some forms, with white space around it."""
    return {"type": "string", "pattern": rf"^\s*(?:{'|'.join(patterns)})\s*$"}


def _any_case(word: str) -> str:
    return "".join(
        f"[{letter.lower()}{letter.upper()}]" if letter.isalpha() else letter for letter in word
    )


def _words(words: Iterable[str]) -> Schema:
    """Words in any letter case; an editor offers them as they are."""
    words = list(words)
    return _anything_of({"enum": words}, _written(*map(_any_case, words)))


def _whole(reader: values.Whole) -> Schema:
    number = {"type": "integer", "minimum": reader.least, "maximum": reader.most}
    return _anything_of(number, _written(_WHOLE))


def _size(least: int, most: int) -> Schema:
    number = {"type": "integer", "minimum": least, "exclusiveMaximum": most}
    return _anything_of(number, _written(rf"{_NUMBER}\s*[KMGTkmgt]?(?:[iI]?[bB])?"))


def _duration(least: Schema) -> Schema:
    units = "|".join(map(_any_case, values.DURATION_UNITS))
    return _anything_of(
        {"type": "number", **least, "maximum": _YEARS},
        _written(_NUMBER, rf"(?:{_NUMBER}\s*(?:{units})\s*)+"),
    )


_NAME: Schema = {"type": "string", "pattern": r"^[^\s-]"}
_OWN_LINES: Schema = {
    "required": [DIRECTIVES],
    "properties": {
        DIRECTIVES: {
            "type": "object",
            "required": ["ExecStart"],
            "properties": {"ExecStart": {"not": {"type": "null"}}},
        }
    },
}
_BOOLEANS = _anything_of({"type": "boolean"}, _words(sandbox.WORDS_FOR_BOOLEANS))
_URL: Schema = {"type": "string", "pattern": rf"^\s*{_any_case('http')}[sS]?://"}
_LISTED: Schema = {"type": "array", "minItems": 1, "items": _TEXT}

_SHAPES: Mapping[Callable[[object], Any], tuple[str, Schema]] = {
    values.read_name: ("name", _NAME),
    values.read_schedule: (
        "schedule",
        _anything_of(
            {
                **_TEXT,
                "examples": [
                    "every 15m",
                    "at 02:30 on Mon-Fri",
                    "on 1st Mon at 09:00",
                    "0 3 * * *",
                ],
            },
            _LISTED,
        ),
    ),
    values.read_command: ("command", _anything_of(_TEXT, {**_TEXTS, "minItems": 1})),
    values.read_user: (
        "user",
        {"type": "string", "pattern": r"^(?:[A-Za-z_][A-Za-z0-9_.-]*\$?|0|[1-9][0-9]*)$"},
    ),
    values.read_timezone: ("timezone", {**_TEXT, "examples": ["UTC", "Europe/Berlin"]}),
    values.read_duration: ("duration", _duration({"minimum": 0})),
    values.read_time_limit: ("time_limit", _duration({"exclusiveMinimum": 0})),
    values.read_memory: ("memory", _size(1 << 20, 1 << 60)),
    values.read_mebibytes: (
        "mebibytes",
        _anything_of({"type": "number", "minimum": 1}, _size(1, 1 << 40)),
    ),
    values.read_cpu_quota: (
        "cpu_quota",
        _anything_of(
            {"type": "number", "minimum": 0.01, "maximum": 4096}, _written(rf"{_NUMBER}\s*%?")
        ),
    ),
    values.read_environment: (
        "environment",
        {
            "type": "object",
            "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
            "additionalProperties": {"type": "string"},
        },
    ),
    values.read_working_directory: (
        "working_directory",
        {"type": "string", "pattern": "^-?/"},
    ),
    values.read_tags: (
        "tags",
        {"type": "array", "items": {"type": "string", "pattern": r"^[^,]*[^,\s][^,]*$"}},
    ),
    values.read_boolean: ("boolean", {"type": "boolean"}),
    values.read_names: ("names", {"type": "array", "items": _NAME, "uniqueItems": True}),
    values.read_attempts: ("attempts", _whole(values.ATTEMPTS)),
    values.read_attempts_after: ("retries", _whole(values.RETRIES)),
    values.read_exit_codes: (
        "exit_codes",
        _anything_of(
            {"type": "array", "items": _whole(values.EXIT_CODE)},
            {"type": "integer", "minimum": 1, "maximum": 255},
            _written(rf"{_WHOLE}\s*(?:,\s*{_WHOLE}\s*)*"),
        ),
    ),
    sandbox.read_systemd_boolean: ("flag", _BOOLEANS),
    sandbox.read_paths: ("paths", _anything_of(_TEXT, _LISTED)),
    sandbox.read_mask: ("mask", {"type": "string", "pattern": "^0?[0-7]{3}$"}),
    channels.read_address: ("address", _TEXT),
    channels.read_sender: ("sender", _TEXT),
    channels.read_line: ("line", {**_TEXT, "maxLength": channels.LENGTH_MAX}),
    channels.read_secret: ("secret", _TEXT),
    channels.read_subject: ("subject", {**_TEXT, "maxLength": channels.LENGTH_MAX}),
    channels.read_body: ("body", {**_TEXT, "maxLength": template.LENGTH_MAX}),
    channels.read_token: ("token", {**_TEXT, "maxLength": channels.LENGTH_MAX}),
    channels.read_ntfy_priority: (
        "ntfy_priority",
        _anything_of(_words(channels.NTFY_PRIORITIES), _whole(values.Whole(1, 5))),
    ),
    channels.read_url: ("url", _URL),
    channels.read_heartbeat: ("heartbeat", _URL),
    channels.read_topic: ("topic", {**_URL, "examples": ["https://ntfy.sh/TOPIC"]}),
    settings.read_ip_address: ("ip_address", {**_TEXT, "examples": ["127.0.0.1", "::1"]}),
    settings.read_hosts: (
        "hosts",
        {"type": "array", "items": {**_TEXT, "pattern": r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"}},
    ),
    settings.read_textfile: ("textfile", {"type": "string", "pattern": r"^/.*\.prom$"}),
    channels.read_headers: (
        "headers",
        {
            "type": "object",
            "propertyNames": {"pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"},
            "additionalProperties": {"type": "string"},
        },
    ),
}
"""The values that each reader takes, and the name of their type."""


_OF_CHANNELS: Mapping[Callable[[object], Any], str] = {
    channels.read_channels: "channels",
    channels.read_messengers: "messengers",
}


def shape(read: Callable[[object], Any]) -> Schema:
    """Return the values that a reader takes; raises ``KeyError`` for one that is not known here."""
    match read:
        case values.OneOf():
            return _words(word.value for word in read.words)
        case values.Whole():
            return _whole(read)
        case sandbox.Choice():
            return _anything_of(*([_BOOLEANS] if read.boolean else []), _words(read.words))
        case sandbox.Words():
            word = {"type": "string", "pattern": f"^(?:{read.pattern})$"}
            listed = {"type": "array", "minItems": 1, "items": word}
            return _anything_of(*([_BOOLEANS] if read.boolean else []), word, listed)
    return _ref(_OF_CHANNELS.get(read) or _SHAPES[read][0])


def job_schema() -> Schema:
    """The schema of a whole file."""
    job_keys = _job_properties()
    definitions: Schema = dict(_SHAPES.values())
    definitions["channels"] = _channels(CHANNEL_KEYS)
    definitions["messengers"] = _channels(MESSENGER_KEYS)
    for group, rows in GROUPS.items():
        definitions[group] = _mapping(_rows(_JOB, rows), nullable=False)
    definitions["job"] = _mapping(job_keys, ["name"], nullable=False)
    definitions["defaults"] = _mapping(
        {key: content for key, content in job_keys.items() if key not in OF_ONE_JOB}
    )
    return {
        "$schema": DIALECT,
        "title": "lunasched",
        "description": "Jobs of lunasched(1), or its settings; see lunasched.yaml(5).",
        "type": ["object", "null"],
        "properties": {
            SCHEMA: {"description": "Where the schema of the file is, for editors."},
            DEFAULTS: _about("Values for jobs that do not set them.", _ref("defaults")),
            JOBS: {
                "description": "The jobs.",
                "type": ["array", "null"],
                "items": _ref("job"),
            },
            **_sections(),
        },
        "patternProperties": {f"^{EXTENSION}": {"description": "Ignored; for your own use."}},
        "additionalProperties": False,
        "allOf": [
            _unless_default("command", {"anyOf": [{"required": ["command"]}, _OWN_LINES]}),
            _unless_default(
                "schedule", {"anyOf": [{"required": ["schedule"]}, {"required": ["dependencies"]}]}
            ),
        ],
        "$defs": definitions,
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _about(text: str, content: Schema, default: object = None) -> Schema:
    """A key, which may be there without a value."""
    described: Schema = {"description": text}
    if default is not None and default != ():
        described["default"] = default.value if isinstance(default, Enum) else default
    return {**described, **_anything_of(content, _NULL)}


def _mapping(properties: Schema, required: Iterable[str] = (), *, nullable: bool = True) -> Schema:
    """A mapping with these keys and no others."""
    content: Schema = {
        "type": ["object", "null"] if nullable else "object",
        "properties": properties,
        "additionalProperties": False,
    }
    return {**content, "required": list(required)} if required else content


def _unless_default(key: str, needed: Schema) -> Schema:
    """The keys that each job of a file needs where the defaults of the file lack them."""
    default = {"type": "object", "required": [key]}
    return {
        "if": {"not": {"required": [DEFAULTS], "properties": {DEFAULTS: default}}},
        "then": {"properties": {JOBS: {"items": needed}}},
    }


def _rows(
    owner: object, rows: Mapping[str, keys.Key] | Mapping[str, settings.SettingKey]
) -> Schema:
    """The keys of a table, whose fields have the defaults that ``owner`` has."""
    return {
        key: _about(row.about, shape(row.read), _default(owner, row.field, row.read))
        for key, row in rows.items()
    }


def _job_properties() -> Schema:
    return {
        **_rows(_JOB, KEYS),
        **{clause: _about(text, _CLAUSE) for clause, text in CLAUSES.items()},
        ARGUMENTS: _about(ARGUMENTS_TEXT, _TEXTS),
        **{group: _about(text, _ref(group)) for group, text in GROUP_TEXTS.items()},
        DIRECTIVES: _directives(),
    }


def _default(owner: object, field: str, read: Callable[[object], Any]) -> Any:
    """Return the default of a field; ``None`` where that has no words."""
    found = owner
    for name in field.split("."):
        if isinstance(found, tuple):  # of the sandbox, by key
            return None
        found = getattr(found, name)
    if read is values.read_attempts_after and isinstance(found, int):
        return found - 1
    return found or None if isinstance(found, str) else found


def _directives() -> Schema:
    return {
        "description": DIRECTIVES_TEXT,
        "type": ["object", "null"],
        "propertyNames": {"pattern": "^[A-Za-z]+$", "not": {"enum": list(directives.REFUSED)}},
        "allOf": [
            {"properties": {name: _lines({"enum": list(accepted)})}}
            for name, (accepted, _) in directives.OF_SOME_VALUES.items()
        ],
        "additionalProperties": _lines({"type": ["string", "number", "boolean"]}),
    }


def _lines(line: Schema) -> Schema:
    return _anything_of(line, {"type": "array", "minItems": 1, "items": line}, _NULL)


def _channels(known: Mapping[ChannelType, Mapping[str, ChannelKey]]) -> Schema:
    kinds = []
    for kind, of_kind in known.items():
        properties = {"type": {"description": "Type of the channel.", **_words([kind.value])}}
        for key, row in of_kind.items():
            content = shape(row.read)
            properties[key] = (
                {"description": row.about, **content}
                if key == TARGET_KEYS[kind]
                else _about(row.about, content)
            )
        kinds.append(_mapping(properties, ["type", TARGET_KEYS[kind]], nullable=False))
    one = _anything_of(*kinds)
    listed = {"type": "array", "maxItems": channels.CHANNELS_MAX, "items": one}
    return _anything_of(listed, one)


def _sections() -> Schema:
    """The settings, those of ``notifications.email`` a mapping in a mapping."""
    found: Schema = {}
    for section, rows in SECTIONS.items():
        properties = _rows(Settings(), rows)
        for key, why in OBSOLETE.get(section, {}).items():
            properties[key] = {"description": f"Without effect: {why}.", "deprecated": True}
        outer, _, name = section.rpartition(".")
        where = found[outer]["properties"] if outer else found
        where[name] = _mapping(properties)
    return found
