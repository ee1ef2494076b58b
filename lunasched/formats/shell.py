"""A reading of command lines without a shell: an approximation of sh(1), for hints."""

from __future__ import annotations

import itertools
import os.path
import re
import shlex
from collections.abc import Iterable, Iterator

from lunasched.formats.pattern import pattern

_TOKENS = pattern(
    r"""(?P<quoted>'[^']*'|"(?:[^"\\]|\\.)*"|\\.|`[^`]*`
        |\$\(\((?:[^()]|\([^()]*\))*\)\)|\$\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)|\$\{[^{}]*\})
      | (?P<redirect>[0-9]{0,9}(?:&>>?|>&|<&|>>|<<|>\||<>|>|<))
      | (?P<operator>&&|\|\||\|&|;;|[;&|()\n])
      | (?P<space>[ \t\r\f\v]+)
      | (?P<comment>(?<![^ \t\n;&|()])\#[^\n]*)
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_BASH_LIKE = frozenset(("bash", "zsh"))
"""The shells to which ``&>`` redirects both outputs; to any other it is ``&`` and ``>``."""
_LEAVES_BEHIND = frozenset(
    ("nohup", "setsid", "disown", "daemonize", "daemon", "start-stop-daemon", "tmux", "screen")
)
_RESERVED = frozenset(("if", "then", "else", "elif", "do", "while", "until", "!", "{", "time"))
_WRAPPERS = frozenset(
    (
        "sudo", "nice", "ionice", "env", "exec", "command", "nohup", "setsid", "chronic",
        "eatmydata", "timeout", "flock", "chrt", "taskset", "stdbuf", "systemd-cat", "nocache",
        "cronic", "savelog", "su", "runuser",
    )
)  # fmt: skip
_CHANGE_USER = frozenset(("sudo", "su", "runuser"))
_GUARDS = frozenset(
    (
        "[", "[[", "test", "cd", "true", "false", ":", ".", "source", "export", "umask", "set",
        "ulimit", "sleep", "exit", "fi", "done", "esac", "}", "for", "case", "which", "type",
        "wait", "pidof", "pgrep", "return",
    )
)  # fmt: skip
_TESTS = frozenset(
    (
        "[", "[[", "test", "which", "type", "hash", "grep", "egrep", "fgrep", "zgrep", "pgrep",
        "pidof", "mountpoint", "cmp", "diff", "false",
    )
)  # fmt: skip
_OPENING = frozenset(("if", "case", "for", "while", "until", "select", "{"))
_CLOSING = frozenset(("fi", "esac", "done", "}"))
_GRAMMAR = _OPENING | _CLOSING | _RESERVED
_INTERPRETERS = pattern(
    r"(?:perl|python|python[0-9.]+|php|php[0-9.]+|ruby|node|bash|sh|dash|zsh|java|Rscript)\Z"
)
_NAME_LENGTH_MAX = 40


def simple_commands(command: str, shell: str = "/bin/bash") -> Iterator[tuple[list[str], str]]:
    """The simple commands of a command line, as words, each with the operator that ends it.

    Quotes are kept in the words, and redirections are left out. An approximation of sh(1): it is
    for names and for hints.
    """
    words: list[str] = []
    word, skip = "", False
    for match in _TOKENS.finditer(command):
        kind, text = match.lastgroup, match[0]
        in_background = kind == "redirect" and text.lstrip("0123456789").startswith("&>")
        if in_background and not _knows_both(shell):
            # The word after it is then the file of a redirection without a command.
            if word and not skip:
                words.append(word)
            yield words, text
            words, word, skip = [], "", True
            continue
        if kind in ("quoted", "other"):
            word += text
            continue
        if word and not (kind == "redirect" and word.isdigit()):
            if not skip:
                words.append(word)
            skip = False
        word = ""
        if kind == "redirect":
            skip = True
        elif kind == "operator":
            yield words, text
            words, skip = [], False
    if word and not skip:
        words.append(word)
    if words:
        yield words, ""


def plain_words(commands: Iterable[tuple[list[str], str]]) -> Iterator[list[str]]:
    """The words of simple commands without their quotes, from the program on that is run.

    What is before it (variables, ``if``, ``nice``) is left away, but not ``sudo`` and ``su``.
    """
    for words, _ in commands:
        plain = [_plain(word) for word in words]
        while plain and (plain[0] in _RESERVED or re.match(r"[A-Za-z_][A-Za-z0-9_]*=", plain[0])):
            del plain[0]
        names = [word.rpartition("/")[2] for word in plain]
        if names and names[0] in _WRAPPERS:
            behind = (place for place, name in enumerate(names) if name in _CHANGE_USER)
            plain = plain[next(behind, 0) :]
        yield plain


def _knows_both(shell: str) -> bool:
    return shell.rpartition("/")[2] in _BASH_LIKE


def leaves_behind(command: str, shell: str = "/bin/sh") -> str | None:
    """Return what in the command may leave a process in the background, or ``None``."""
    for words, operator in simple_commands(command, shell):
        for word in words:
            if os.path.basename(word) in _LEAVES_BEHIND:  # noqa: PTH119 - a word, not a path
                return word
        if operator == "&" or operator.lstrip("0123456789").startswith("&>"):
            return operator
    return None


def condition(command: str, shell: str = "/bin/sh") -> str | None:
    """Return the test that makes the whole command fail where it does not hold, or ``None``.

    In ``[ … ] && job`` the exit status of the test is that of the command line; in ``if``, before
    ``||`` and before a further command it is not.
    """
    chain = _last_list(command, shell)
    for position, (words, operator) in enumerate(chain):
        holds_to_the_end = all(after != "||" for _, after in chain[position:])
        if operator == "&&" and holds_to_the_end and is_test(words):
            return " ".join(words)
    return None


def _last_list(command: str, shell: str) -> list[tuple[list[str], str]]:
    """The last list with ``&&``, ``||`` and ``|`` in it, without what is grouped."""
    chain: list[tuple[list[str], str]] = []
    depth, has_ended = 0, False
    for words, operator in simple_commands(command, shell):
        if has_ended and (words or operator == "("):
            chain, has_ended = [], False
        for word in itertools.takewhile(is_grammar, words):
            depth += (word in _OPENING) - (word in _CLOSING)
        if depth == 0:
            chain.append((words, operator))
        depth += (operator == "(") - (operator == ")")
        has_ended = has_ended or (depth == 0 and operator in (";", "\n", "&"))
    return chain


def is_grammar(word: str) -> bool:
    """Tell if a word, where a command could stand, is one of the shell's own."""
    return word in _GRAMMAR


def is_test(words: list[str]) -> bool:
    """Tell if a simple command is there for its exit status."""
    words = words[words[:1] == ["!"] :]
    name = words[0].rpartition("/")[2] if words else ""
    return name in _TESTS or words[:2] in (["command", "-v"], ["systemctl", "is-active"])


def base_name(command: str) -> str:
    """Return the program that the command runs, as a word that can be a part of a job's name."""
    others: list[str] = []
    for words, _ in simple_commands(command):
        name, is_program = _program([_plain(word) for word in words])
        if is_program:
            return _slug(name)
        if name:
            others.append(name)
    return _slug(others[0]) if others else "job"


def _program(words: list[str]) -> tuple[str, bool]:
    """The name of the program of a simple command, and whether it says what the job is about."""
    position = 0
    while position < len(words):
        word = words[position]
        name = word.rstrip("/").rpartition("/")[2]
        if re.match(r"[A-Za-z_][A-Za-z0-9_]*=", word) or word in _RESERVED:
            position += 1
        elif name in _WRAPPERS:
            position = _after_options(words, position + 1)
        elif name in _GUARDS or not re.search(r"[A-Za-z0-9]", name):
            return name, False
        elif name == "run-parts" or _INTERPRETERS.match(name):
            return _argument(name, words[position + 1 :])
        else:
            return name, True
    return "", False


def _after_options(words: list[str], position: int) -> int:
    """Return the position of the program that a wrapper runs: after its options and numbers."""
    while position < len(words) and re.match(r"[-+]|[0-9.]+[smhd]?\Z", words[position]):
        position += 1
    return position


def _argument(name: str, words: list[str]) -> tuple[str, bool]:
    """``run-parts /etc/cron.daily`` is about cron.daily, and ``perl x.pl`` about x.pl."""
    if name != "run-parts" and any(re.match(r"-[a-zA-Z]*[ecr]\Z", word) for word in words):
        return name, False
    for word in words:
        if not word.startswith("-"):
            return word.rstrip("/").rpartition("/")[2] or name, True
    return name, True


def is_of_the_shell(word: str) -> bool:
    """Tell whether a first word is the shell's own, such as ``cd``, and names no program."""
    return word in _GUARDS or word in _GRAMMAR or word in _WRAPPERS


def _plain(word: str) -> str:
    try:
        return "".join(shlex.split(word))
    except ValueError:
        return word


def _slug(text: str) -> str:
    slug = re.sub(r"[^A-Za-z0-9_.]+", "-", text)[:_NAME_LENGTH_MAX].strip("-.")
    return slug or "job"
