"""The programs that a shell command is certain to run, as far as they can be read without a
shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from posixpath import basename, join, normpath

from lunasched.dataclass import dataclass
from lunasched.formats.pattern import pattern
from lunasched.formats.shell import is_grammar, is_test, simple_commands

SHELLS = frozenset(("sh", "bash", "dash", "zsh", "ksh", "ash"))
_ASSIGNMENT = pattern(r"[A-Za-z_][A-Za-z0-9_]*\+?=")
_BUILTINS = frozenset(
    (
        ":", "bg", "cd", "command", "declare", "disown", "echo", "enable", "export", "false", "fc",
        "fg", "getopts", "hash", "jobs", "kill", "let", "local", "mapfile", "printf", "popd",
        "pushd", "pwd", "read", "readarray", "readonly", "set", "shift", "shopt", "suspend",
        "time", "times", "trap", "true", "type", "typeset", "ulimit", "umask", "unset", "wait",
    )
)  # fmt: skip
_ENDS = frozenset(
    (
        ".",
        "source",
        "alias",
        "unalias",
        "eval",
        "exit",
        "return",
        "builtin",
        "break",
        "continue",
        "function",
        "coproc",
    )
)
"""After these nothing is known of what follows: other commands may be meant, or none are run."""
_RUN_THE_REST = frozenset(("exec", "nohup", "setsid", "nice", "chronic", "cronic", "eatmydata"))


@dataclass(frozen=True, slots=True)
class Step:
    """One command that is run: its words, and where, if that is known."""

    words: tuple[str, ...]
    directory: str | None


def sets_path(text: str) -> bool:
    """Tell if a text may set ``PATH`` for what follows in it."""
    return "PATH=" in text


def steps(text: str, shell: str, directory: str | None) -> Iterator[Step]:
    """The commands of a text, up to where it depends on something whether more are run.

    ``directory`` is where it begins. A ``cd`` is among the steps, builtins otherwise are not.
    """
    if "<<" in text:
        return
    for written, operator in simple_commands(text.replace("\\\n", " "), shell):
        words = _without_assignments(written)
        if operator == "(" or (words and (is_grammar(words[0]) or is_test(words))):
            return
        plain = _plain(words)
        while plain and plain[0] in _RUN_THE_REST:
            if plain[0] != "exec":
                yield Step((plain[0],), directory)
            # Options may take arguments, so the following words are not checked.
            plain = plain[1:] if plain[1:] and not plain[1].startswith("-") else ()
        if plain and plain[0] == "cd":
            directory = _changed(directory, plain[1]) if len(plain) == len(words) == 2 else None
            if directory is not None:
                yield Step(("cd", directory), directory)
        elif plain and plain[0] not in _BUILTINS | _ENDS:
            yield Step(plain, directory)
        if operator in ("||", ")") or (words and words[0] in _ENDS):
            return


def _without_assignments(words: list[str]) -> list[str]:
    position = 0
    while position < len(words) and _ASSIGNMENT.match(words[position]):
        position += 1
    return words[position:]


def _plain(words: list[str]) -> tuple[str, ...]:
    """The words up to the first that the shell would make something else of."""
    found = []
    for word in words:
        if re.search(r"[$`*?\[{~]", word):
            break
        try:
            found += shlex.split(word)
        except ValueError:
            break
    return tuple(found)


def _changed(directory: str | None, to: str) -> str | None:
    # As the shell does, by the text and not by where links lead.
    if to.startswith("/"):
        return normpath(to)
    return None if directory is None or to == "-" else normpath(join(directory, to))


def script(words: tuple[str, ...]) -> str | None:
    """The file that an interpreter is given to read, its first argument."""
    is_interpreter = re.fullmatch(
        r"(?:perl|python|python[0-9.]+|php|php[0-9.]+|ruby|node|bash|sh|dash|zsh|ksh|Rscript)",
        basename(words[0]),
    )
    if is_interpreter and len(words) > 1 and not words[1].startswith("-"):
        return words[1]
    return None
