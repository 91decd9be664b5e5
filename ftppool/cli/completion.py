"""Completion scripts, made of the argparse tree: static, so that completing starts no Python."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ftppool.cli.args import Parser, parsers, summaries

__all__ = ["script"]

_FILES = {"FILE", "PEM"}


class _Flag(NamedTuple):
    """One flag as a shell needs it."""

    names: tuple[str, ...]
    help: str
    valued: bool
    choices: tuple[str, ...]
    files: bool


def script(shell: str) -> str:
    """Write the script for a shell."""
    make = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]
    return "\n".join(make(parsers())) + "\n"


def _flags(parser: Parser) -> Iterator[_Flag]:
    for action in parser._actions:
        if action.option_strings:
            valued = action.nargs != 0
            words = action.help or ""
            yield _Flag(
                tuple(action.option_strings),
                words.partition(";")[0],
                valued,
                tuple(map(str, action.choices or ())),
                valued and action.metavar in _FILES,
            )


def _first(parser: Parser) -> tuple[str, ...]:
    """What the first argument can be that is no flag; () for a path or URL."""
    for action in parser._actions:
        if not action.option_strings:
            return tuple(map(str, action.choices or ()))
    return ()


def _bash(found: dict[str, Parser]) -> Iterator[str]:
    yield "# bash completion for ftppool"
    # mapfile is too new for the bash of macOS; names may hold blanks.
    yield "_ftppool_files() {"
    yield "  local name"
    yield '  while IFS= read -r name; do COMPREPLY+=("$name"); done < <(compgen -f -- "$1")'
    yield "}"
    yield "_ftppool() {"
    yield "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words="
    yield "  COMPREPLY=()"
    yield "  if ((COMP_CWORD == 1)); then"
    yield f"    COMPREPLY=($(compgen -W '{' '.join(found)} --help --version' -- \"$cur\"))"
    yield "    return"
    yield "  fi"
    yield '  case "${COMP_WORDS[1]} $prev" in'
    for command, parser in found.items():
        for flag in _flags(parser):
            if not flag.valued:
                continue
            patterns = "|".join(f"'{command} {name}'" for name in flag.names)
            if flag.files:
                yield f'    {patterns}) _ftppool_files "$cur"; return ;;'
            else:
                # Where nobody can know the value nothing is offered.
                offer = f"COMPREPLY=($(compgen -W '{' '.join(flag.choices)}' -- \"$cur\")); "
                yield f"    {patterns}) {offer if flag.choices else ''}return ;;"
    yield "  esac"
    yield '  case "${COMP_WORDS[1]}" in'
    for command, parser in found.items():
        names = " ".join(name for flag in _flags(parser) for name in flag.names)
        yield f"    {command}) words='{names}' ;;"
    yield "  esac"
    yield "  if [[ $cur == -* ]]; then"
    yield '    COMPREPLY=($(compgen -W "$words" -- "$cur"))'
    yield "    return"
    yield "  fi"
    yield '  case "${COMP_WORDS[1]}" in'
    for command, parser in found.items():
        if first := " ".join(_first(parser)):
            offer = f"COMPREPLY=($(compgen -W '{first}' -- \"$cur\"))"
            yield f"    {command}) {offer}; return ;;"
    yield "  esac"
    yield '  _ftppool_files "$cur"'
    yield "}"
    yield "complete -o filenames -F _ftppool ftppool"


def _zsh(found: dict[str, Parser]) -> Iterator[str]:
    yield "#compdef ftppool"
    yield "_ftppool() {"
    yield "  local -a commands"
    yield "  commands=("
    for command, words in summaries().items():
        yield f"    {_quoted(f'{command}:{words}')}"
    yield "  )"
    yield "  if (( CURRENT == 2 )); then"
    yield "    _describe command commands"
    yield "    return"
    yield "  fi"
    yield "  local command=$words[2]"
    yield "  shift words; (( CURRENT-- ))"
    yield "  case $command in"
    for command, parser in found.items():
        yield f"    {command})"
        yield "      _arguments \\"
        for flag in _flags(parser):
            for name in flag.names:
                yield f"        {_quoted(f'*{name}[{_bracketed(flag.help)}]{_zsh_value(flag)}')} \\"
        first = _first(parser)
        rest = f"({' '.join(first)})" if first else "_files"
        yield f"        {_quoted(f'*:argument:{rest}')}"
        yield "      ;;"
    yield "  esac"
    yield "}"
    yield '_ftppool "$@"'


def _zsh_value(flag: _Flag) -> str:
    if not flag.valued:
        return ""
    if flag.choices:
        return f":value:({' '.join(flag.choices)})"
    return ":file:_files" if flag.files else ":value: "


def _bracketed(text: str) -> str:
    return text.replace("[", "(").replace("]", ")").replace(":", "\\:")


def _fish(found: dict[str, Parser]) -> Iterator[str]:
    yield "# fish completion for ftppool"
    names = " ".join(found)
    none = f"not __fish_seen_subcommand_from {names}"
    yield f"complete -c ftppool -n {_quoted(none)} -f"
    for command, words in summaries().items():
        yield f"complete -c ftppool -n {_quoted(none)} -a {command} -d {_quoted(words)}"
    for command, parser in found.items():
        here = f"complete -c ftppool -n {_quoted(f'__fish_seen_subcommand_from {command}')}"
        if _first(parser):
            yield f"{here} -f -a {_quoted(' '.join(_first(parser)))}"
        for flag in _flags(parser):
            parts = [f"-l {n[2:]}" if n.startswith("--") else f"-s {n[1:]}" for n in flag.names]
            if flag.choices:
                parts.append(f"-x -a {_quoted(' '.join(flag.choices))}")
            elif flag.valued:
                parts.append("-r -F" if flag.files else "-x")
            yield f"{here} {' '.join(parts)} -d {_quoted(flag.help)}"


def _quoted(text: str) -> str:
    """Quote for zsh and fish; both take a closed, escaped and opened quote."""
    return "'" + text.replace("'", "'\\''") + "'"
