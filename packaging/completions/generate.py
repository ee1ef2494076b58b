#!/usr/bin/python3
"""Writes the completion of lunasched's command line for bash, zsh and fish.

    packaging/completions/generate.py [--destdir DIR] [--prefix /usr/local] [--zsh site-functions]

It is made from the commands themselves, so that it knows each of them. typer's own completion
starts Python at every press of the key; here only the names of jobs are asked for.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

FILES, DIRECTORIES, JOBS, USERS = "files", "directories", "jobs", "users"
"""What a value may be, besides one of some words; other values are not completed."""

# By parameter; those of an argument with the name of a job are JOBS.
_KINDS = {
    "working_directory": DIRECTORIES,
    "output": FILES,
    "file": FILES,
    "files": FILES,
    "run_as": USERS,
    "depends_on": JOBS,
}
_HEADER = "lunasched(1) in {}; made by packaging/completions/generate.py of its sources."


@dataclass(frozen=True)
class Option:
    """One option in its spellings, and what follows it."""

    names: tuple[str, ...]
    about: str
    metavar: str | None = None
    """``None``: it takes no value."""
    kind: str | tuple[str, ...] = ""
    many: bool = False


@dataclass(frozen=True)
class Command:
    """One command, by its words."""

    words: tuple[str, ...]
    about: str
    options: tuple[Option, ...]
    argument: str
    """The kind of its arguments."""

    @property
    def name(self) -> str:
        return " ".join(self.words)


def main() -> None:
    """Write the three files below the prefix."""
    parser = argparse.ArgumentParser(description="Write the completion files of lunasched.")
    parser.add_argument("--destdir", default="")
    parser.add_argument("--prefix", default="/usr/local")
    parser.add_argument("--zsh", default="site-functions", help="zsh's directory for functions")
    options = parser.parse_args()
    share = Path(options.destdir + options.prefix, "share")
    for name, text in completions().items():
        path = share / name.replace("ZSH", options.zsh)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def completions() -> dict[str, str]:
    """The text of each file, by its path below ``share``."""
    root, commands = command_line()
    return {
        "bash-completion/completions/lunasched": bash(root, commands),
        "zsh/ZSH/_lunasched": zsh(root, commands),
        "fish/vendor_completions.d/lunasched.fish": fish(root, commands),
    }


# The commands


def command_line() -> tuple[tuple[Option, ...], list[Command]]:
    """The options that stand before a command, and the commands."""
    import typer

    from lunasched.cli.app import app, load_commands

    load_commands()
    group: Any = typer.main.get_command(app)
    return (*_options(group), _HELP), list(_commands(group))


def _commands(group: Any, before: tuple[str, ...] = ()) -> Iterator[Command]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, (*before, name))
        elif not command.hidden:
            arguments = [one.name for one in command.params if one.param_type_name == "argument"]
            first = arguments[0] if arguments else ""
            yield Command(
                (*before, name),
                command.help.partition("\n")[0],
                (*_options(command), _HELP),
                JOBS if first == "name" else _KINDS.get(first, ""),
            )


_HELP = Option(("-h", "--help"), "Print a summary.")


def _options(command: Any) -> Iterator[Option]:
    for parameter in command.params:
        if parameter.param_type_name != "option" or parameter.name == "help":
            continue
        about = (parameter.help or "").partition("  [")[0]
        if parameter.is_flag or parameter.secondary_opts:
            yield Option(tuple(parameter.opts), about)
            if parameter.secondary_opts:
                yield Option(tuple(parameter.secondary_opts), about)
        else:
            yield Option(
                tuple(parameter.opts),
                about,
                parameter.metavar or parameter.name.upper(),
                _words(parameter.name) or _KINDS.get(parameter.name, ""),
                bool(parameter.multiple),
            )


def _words(name: str) -> tuple[str, ...]:
    """The words that an option takes, where its value is one of some."""
    from lunasched.formats.document import Format
    from lunasched.jobs import keys
    from lunasched.jobs.values import OneOf

    if name == "format_":
        return tuple(one.value for one in Format)
    row = {**keys.GROUPS["retry_policy"], **keys.KEYS}.get(
        {"backoff": "backoff_strategy"}.get(name, name)
    )
    if row is None or not isinstance(row.read, OneOf):
        return ()
    return tuple(word.value for word in row.read.words)


# bash

_BASH = r"""# {header}

_lunasched_offer() # WORD...: what of them may stand here
{{
    local word
    for word; do
        if [[ $word == "$current"* ]]; then
            COMPREPLY+=("$(printf %q "$word")")
        fi
    done
}}

_lunasched_values() # KIND
{{
    local -a names
    case $1 in
        jobs)
            mapfile -t names < <(lunasched "${{mode[@]}}" list --names 2>/dev/null)
            _lunasched_offer "${{names[@]}}"
            ;;
        users) mapfile -t COMPREPLY < <(compgen -u -- "$current") ;;
        files | directories)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -"${{1:0:1}}" -- "$current")
            ;;
    esac
}}

_lunasched()
{{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD - 1]}}
    local command='' group='' word i
    local -a mode=()
    COMPREPLY=()
    # readline takes "--option=value" for three words.
    if [[ $current == = ]]; then
        current=''
    elif [[ $previous == = ]]; then
        previous=${{COMP_WORDS[COMP_CWORD - 2]}}
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${{COMP_WORDS[i]}}
        case $word in
            --system | --user) mode=("$word") ;;
            --) return ;;
            -*) ;;
            *)
                if [[ ! $command ]]; then
                    case $word in
                        {groups}) [[ $group ]] && command="$group $word" || group=$word ;;
                        *) command=${{group:+$group }}$word ;;
                    esac
                fi
                ;;
        esac
    done
    if [[ ! $command && $group && $current != -* ]]; then
        case $group in
{members}
        esac
        return
    fi
    case $command:$previous in
{values}
    esac
    case $command in
{commands}
        '')
            if [[ $current == -* ]]; then
                _lunasched_offer {root}
            else
                _lunasched_offer {names}
            fi
            ;;
    esac
}}

complete -F _lunasched lunasched
"""


def bash(root: tuple[Option, ...], commands: list[Command]) -> str:
    """The file for bash."""
    groups: dict[str, list[str]] = {}
    for command in commands:
        if len(command.words) > 1:
            groups.setdefault(command.words[0], []).append(command.words[1])
    values = []
    cases = []
    for command in commands:
        for option in command.options:
            if option.metavar is None:
                continue
            patterns = " | ".join(f"'{command.name}':{name}" for name in option.names)
            if isinstance(option.kind, tuple):
                action = f"_lunasched_offer {shlex.join(option.kind)}; "
            else:
                action = f"_lunasched_values {option.kind}; " if option.kind else ""
            values.append(f"        {patterns}) {action}return ;;")
        names = shlex.join(name for option in command.options for name in option.names)
        cases += [
            f"        '{command.name}')",
            "            if [[ $current == -* ]]; then",
            f"                _lunasched_offer {names}",
            *(
                ["            else", f"                _lunasched_values {command.argument}"]
                if command.argument
                else []
            ),
            "            fi",
            "            ;;",
        ]
    return _BASH.format(
        header=_HEADER.format("bash"),
        groups=" | ".join(groups),
        members="\n".join(
            f"            {group}) _lunasched_offer {shlex.join(members)} ;;"
            for group, members in groups.items()
        ),
        values="\n".join(values),
        commands="\n".join(cases),
        root=shlex.join(name for option in root for name in option.names),
        names=shlex.join(dict.fromkeys(command.words[0] for command in commands)),
    )


# zsh

_ZSH = r"""#compdef lunasched
# {header}

_lunasched_jobs() {{
    local -a names=(${{(f)"$(_call_program jobs lunasched $mode list --names 2>/dev/null)"}})
    local expl
    _wanted jobs expl job compadd -a names
}}

_lunasched_commands() {{
    local -a commands=(
{names}
    )
    _describe -t commands command commands
}}

_lunasched() {{
    local curcontext=$curcontext state line ret=1
    local -a mode=(${{(M)words:#--(system|user)}})
    typeset -A opt_args
    _arguments -C \
{root}
        '1:command:_lunasched_commands' \
        '*::argument:->arguments' && ret=0
    [[ $state == arguments ]] || return ret
    curcontext=${{curcontext%:*:*}}:lunasched-$words[1]:
    local command=$words[1]
    case $command in
{groups}
    esac
    case $command in
{commands}
    esac
    return ret
}}

_lunasched "$@"
"""
_ZSH_ACTIONS = {
    FILES: "_files",
    DIRECTORIES: "_files -/",
    JOBS: "_lunasched_jobs",
    USERS: "_users",
    "": " ",
}


def zsh(root: tuple[Option, ...], commands: list[Command]) -> str:
    """The file for zsh."""
    groups: dict[str, list[Command]] = {}
    for command in commands:
        if len(command.words) > 1:
            groups.setdefault(command.words[0], []).append(command)
    group_cases = []
    for group, members in groups.items():
        listed = " ".join(
            shlex.quote(f"{one.words[1]}:{_zsh_text(one.about, ':')}") for one in members
        )
        group_cases += [
            f"        {group})",
            "            if (( CURRENT == 2 )); then",
            f"                local -a members=({listed})",
            "                _describe -t commands command members && ret=0",
            "                return ret",
            "            fi",
            '            command="$words[1] $words[2]"',
            "            shift words",
            "            (( CURRENT-- ))",
            "            ;;",
        ]
    cases = []
    for command in commands:
        specifications = [
            spec for option in command.options for spec in _zsh_specifications(option)
        ]
        if command.argument:
            specifications.append(f"*:{command.argument}:{_ZSH_ACTIONS[command.argument]}")
        cases += [f"        '{command.name}')", "            _arguments -S \\"]
        cases += [f"                {shlex.quote(spec)} \\" for spec in specifications]
        cases += ["                && ret=0", "            ;;"]
    abouts = {command.words[0]: command.about for command in commands if len(command.words) == 1}
    abouts |= {group: f"See lunasched {group} --help." for group in groups}
    return _ZSH.format(
        header=_HEADER.format("zsh"),
        names="\n".join(
            "        " + shlex.quote(name + ":" + _zsh_text(about, ":"))
            for name, about in abouts.items()
        ),
        root="\n".join(
            f"        {shlex.quote(spec)} \\"
            for option in root
            for spec in _zsh_specifications(option)
        ),
        groups="\n".join(group_cases),
        commands="\n".join(cases),
    )


def _zsh_specifications(option: Option) -> Iterator[str]:
    for name in option.names:
        value = ""
        if option.metavar is not None:
            action = (
                f"({' '.join(option.kind)})"
                if isinstance(option.kind, tuple)
                else _ZSH_ACTIONS[option.kind]
            )
            value = f":{_zsh_text(option.metavar, ':')}:{action}"
        # A long option takes its value after "=", too.
        equals = "=" if value and name.startswith("--") else ""
        yield f"{'*' * option.many}{name}{equals}[{_zsh_text(option.about, '[]')}]{value}"


def _zsh_text(text: str, special: str) -> str:
    return "".join("\\" + char if char in special + "\\" else char for char in text)


# fish

_FISH = r"""# {header}

function __lunasched_jobs
    set -l mode (string match -r -- '^--(?:system|user)$' (commandline -opc))
    lunasched $mode list --names 2>/dev/null
end

complete -c lunasched -f
{lines}
"""
_FISH_VALUES = {
    FILES: ["-r", "-F"],
    DIRECTORIES: ["-x", "-a", "(__fish_complete_directories)"],
    JOBS: ["-x", "-a", "(__lunasched_jobs)"],
    USERS: ["-x", "-a", "(__fish_complete_users)"],
    "": ["-x"],
}


def fish(root: tuple[Option, ...], commands: list[Command]) -> str:
    """The file for fish."""
    lines = [_fish_option("__fish_use_subcommand", option) for option in root]
    for command in commands:
        *before, name = command.words
        condition = (
            f"__fish_seen_subcommand_from {before[0]}; and not __fish_seen_subcommand_from {name}"
            if before
            else "__fish_use_subcommand"
        )
        if before:
            lines.append(_fish(["-n", "__fish_use_subcommand", "-a", before[0]]))
        lines.append(_fish(["-n", condition, "-a", name, "-d", command.about]))
        seen = f"__fish_seen_subcommand_from {name}"
        lines += [_fish_option(seen, option) for option in command.options]
        if command.argument == FILES:
            lines.append(_fish(["-n", seen, "-F"]))
        elif command.argument:
            lines.append(_fish(["-n", seen, "-a", "(__lunasched_jobs)"]))
    return _FISH.format(header=_HEADER.format("fish"), lines="\n".join(lines))


def _fish_option(condition: str, option: Option) -> str:
    words = ["-n", condition]
    for name in option.names:
        words += ["-l", name[2:]] if name.startswith("--") else ["-s", name[1:]]
    if isinstance(option.kind, tuple):
        words += ["-x", "-a", " ".join(option.kind)]
    elif option.metavar is not None:
        words += _FISH_VALUES[option.kind]
    return _fish([*words, "-d", option.about])


def _fish(words: list[str]) -> str:
    """A command of fish: its quotes know two escapes."""

    def quoted(word: str) -> str:
        if word.startswith("-") or word.isalnum():
            return word
        return "'" + word.replace("\\", "\\\\").replace("'", "\\'") + "'"

    return " ".join(["complete", "-c", "lunasched", *map(quoted, words)])


if __name__ == "__main__":
    main()
