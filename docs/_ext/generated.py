"""Parts of pages that are made from the code, so that they are never stale.

A line ``% generated: NAME`` in a page is replaced by what the function ``NAME`` below gives.
"""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import cycle
from textwrap import dedent

from pygments.lexers.shell import BashLexer
from sphinx.application import Sphinx

from ftppool import errors, events
from ftppool.cli import args
from ftppool.cli.exits import Exit
from ftppool.cli.settings import flags_of, twins
from ftppool.refusals import RULES, Kind, Rule, Scope
from tests.unit.test_refusals import CASES, Case

LINE = re.compile(r"^% generated: (\w+)$", re.MULTILINE)
HIDDEN = re.compile(r"^<!-- (setup|check|background|shell)\b.*?-->\n", re.MULTILINE | re.DOTALL)

DEEDS = {
    Kind.BUSY: "waits",
    Kind.STALE: "opens another session at once",
    Kind.AUTH: "raises `AuthError`",
    Kind.TRANSIENT: "tries again after a pause",
    Kind.PERMANENT: "does not try again",
    Kind.BANNED: "leaves the address alone",
}
SCOPES = {
    Scope.ADDRESS: "may lower the cap of the address",
    Scope.USER: "may lower the cap of this user",
    Scope.SERVER: "lowers no cap",
    Scope.CONNECTION: "fewer channels on this connection",
}


def refusals() -> str:
    """The table of refusals, in its order, with words of real servers."""
    head = ["", "Row", "During", "Words of real servers", "What ftppool does"]
    rows = [_refusal(number, rule) for number, rule in enumerate(RULES, 1)]
    return _table(head, rows, "5 17 12 44 22")


def _refusal(number: int, rule: Rule) -> list[str]:
    cases = [case for case in CASES if case.rule == rule.name]
    phases = "any phase" if len(rule.phases) > 6 else ", ".join(sorted(rule.phases))
    deeds = [DEEDS[rule.kind]]
    if rule.kind is Kind.BUSY:
        deeds.append(SCOPES[rule.scope])
    if rule.few_tries:
        deeds.append("gives up after one or two tries")
    if rule.stops_batch:
        deeds.append("ends the batch")
    words = [_example(case) for case in cases[:2]]
    if conditions := "; ".join(_conditions(rule)):
        words.append(f"*({conditions})*")
    kind = f"*{rule.kind}*: {'; '.join(deeds)}"
    return [str(number), f"`{rule.name}`", phases, "<br>".join(words), kind]


def _example(case: Case) -> str:
    words = f"`{_plain(case.text)}`" if case.text else "the connection ends without a word"
    return f"{words} ({_plain(case.server)})"


def _plain(text: str) -> str:
    return " ".join(text.replace("|", "/").replace("`", "'").split())


def _conditions(rule: Rule) -> Iterator[str]:
    if rule.alone is True:
        yield "no session of ours is open"
    if rule.alone is False:
        yield "sessions of ours are open"
    if rule.proven:
        yield "the login has worked before"


def exits() -> str:
    """The exit codes, from the enumeration and the sentence below each of its members."""
    source = inspect.getsource(Exit)
    found = re.findall(r'^    (\w+) = \d+\n    """(.*?)"""', source, re.MULTILINE | re.DOTALL)
    meanings = {name: " ".join(words.split()) for name, words in found}
    rows = [[f"`{int(code)}`", meanings[code.name]] for code in sorted(Exit)]
    return _table(["Code", "Meaning"], rows, "12 88")


def errors_() -> str:
    """The tree of errors as its module draws it, and every error with its documentation."""
    tree = dedent((errors.__doc__ or "").partition("::\n\n")[2]).strip().replace("``", "")
    names = [name for name in errors.__all__ if name != "FTPPoolError"]
    return f"```text\n{tree}\n```\n\n" + _autoclasses("errors", names, "FTPPoolError")


def events_() -> str:
    """Every event with its documentation."""
    return _autoclasses("events", [name for name in events.__all__ if name != "Event"], "Event")


def _autoclasses(module: str, names: Iterable[str], base: str) -> str:
    where = "ftppool" if module == "errors" else f"ftppool.{module}"
    signature = "()" if module == "errors" else ""  # nobody else makes errors
    parts = [
        "```{eval-rst}\n"
        f".. autoclass:: {where}.{name}{signature}\n   :members:\n   :show-inheritance:\n"
        "```\n"
        for name in (base, *names)
    ]
    return "\n".join(parts)


def commands() -> str:
    """The whole command line, from its argparse tree."""
    tree, _ = args._tree(list(args.COMMANDS))
    parts = [_usage(tree), tree.description or "", tree.epilog or ""]
    parts += _options(tree)
    for name, parser in _subcommands(tree):
        parts.append(f"## ftppool {name}\n")
        parts += _command(parser)
    return "\n\n".join(parts)


def _subcommands(tree: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in tree._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def _command(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield _markdown(parser.description or "")
    yield _usage(parser)
    yield from _options(parser)
    nested = list(_subcommands(parser))
    for name, sub in nested:
        yield f"### {parser.prog} {name}"
        yield from _command(sub)
    if parser.epilog:
        yield f"```text\n{parser.epilog.rstrip()}\n```"


def _usage(parser: argparse.ArgumentParser) -> str:
    return f"```text\n{parser.format_usage().strip()}\n```"


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for group in parser._action_groups:
        rows = [
            [_names(action), _help(action, parser)]
            for action in group._group_actions
            if action.help is not argparse.SUPPRESS
            and "--help" not in action.option_strings
            and not isinstance(action, argparse._SubParsersAction)
        ]
        if rows:
            title = (group.title or "").capitalize()
            yield f"**{title}**" + (
                f": {_markdown(group.description)}" if group.description else ""
            )
            yield _table(["", ""], rows, "34 66")


def settings() -> str:
    """The flags of put and get with their twins, each once."""
    rows: dict[str, list[str]] = {}
    for parser in args.parsers(["put", "get"]).values():
        for name, action in flags_of(parser).items():
            flag, twin = next(twins(action))
            key = "" if name in {"config", "profile"} else f"`{name}`"
            rows.setdefault(name, [f"`{flag}`", f"`{twin}`", key, _help(action, parser)])
    return _table(["Flag", "Environment", "Profile", ""], list(rows.values()), "22 26 18 34")


def _names(action: argparse.Action) -> str:
    value = action.metavar or (action.dest.upper() if action.nargs != 0 else "")
    if action.choices is not None and action.metavar is None:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    if not action.option_strings:
        return f"`{value}`"
    tail = f" {value}" if action.nargs != 0 and value else ""
    return ", ".join(f"`{name}{tail}`" for name in action.option_strings)


def _help(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    return _markdown((action.help or "") % {**vars(action), "prog": parser.prog})


def _markdown(text: str) -> str:
    """Let no character of a plain text mean anything, and show flags as code."""
    parts = re.split(r"((?<![\w-])--?[A-Za-z0-9][\w-]*)", text)
    shown = [
        f"`{part}`" if odd else re.sub(r"([\\`*_{}\[\]<>#|$])", r"\\\1", part)
        for odd, part in zip(cycle((False, True)), parts, strict=False)
    ]
    return " ".join("".join(shown).split())


def _table(head: list[str], rows: list[list[str]], widths: str) -> str:
    lines = ["````{list-table}", f":widths: {widths}", ":header-rows: 1", ":class: generated", ""]
    if not any(head):
        lines.remove(":header-rows: 1")
    for row in [head, *rows] if any(head) else rows:
        lines += [f"{'  ' if n else '* '}- {cell}" for n, cell in enumerate(row)]
    return "\n".join([*lines, "````"])


PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "errors": errors_,
    "events": events_,
    "exits": exits,
    "refusals": refusals,
    "settings": settings,
}


def fill(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put the generated parts in, and leave out what only the tests of the examples read."""
    text = HIDDEN.sub("", source[0])
    source[0] = LINE.sub(lambda found: PARTS[found[1]](), text)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", fill)
    app.add_lexer("cron", BashLexer)  # comments, variables and commands: near enough
    return {"parallel_read_safe": True, "parallel_write_safe": True}
