"""Messages name only options that whoever reads them can give: Python's arguments, or those of the very command."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pynode.cli.as_typed import KNOWN, NAMES, OFFERED, as_typed
from tests.cli.test_options import GROUP, flags

ROOT = Path(__file__).resolve().parents[2] / "pynode"
READING = ("datasets", "trajectories", "problems", "table_flows", "flows")
"""Parts of the library whose messages both Python and the command line show."""
OF_ONE_COMMAND = ("datasets/cache.py",)
"""Files whose messages only `data` shows."""
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
OTHERS = re.compile(r"\b(density|series|compare|data fetch|data import|predict|score|sample|its command) [^;,:]*--")
"""What names another command, or is a line of it to paste."""


def texts(path: Path) -> Iterator[str]:
    """The strings in a file that are no docstrings, with X in place of what is filled in."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside | alone:
            yield node.value


MESSAGES = {
    (path.relative_to(ROOT).as_posix(), text)
    for part in READING
    for path in sorted((ROOT / part).rglob("*.py"))
    for text in texts(path)
    if " " in text
}


def test_the_library_names_arguments() -> None:
    assert len(MESSAGES) > 300
    own = {(path, text) for path, text in MESSAGES if path not in OF_ONE_COMMAND and not OTHERS.search(text)}
    assert [(path, text) for path, text in own if FLAG.search(text)] == []


def test_options_are_offered_where_the_command_line_sees_them() -> None:
    loose = re.compile(rf"(?<![\w./'\"-])({NAMES})=(?=\S)")
    offering = {(path, text) for path, text in MESSAGES if loose.search(text)}
    assert len(offering) > 20
    wrong = [(path, text) for path, text in offering if len(loose.findall(text)) != len(OFFERED.findall(text))]
    assert wrong == []


@pytest.mark.parametrize("command", sorted(GROUP.commands))
def test_a_command_offers_what_it_takes(command: str) -> None:
    taken = flags(command) if hasattr(GROUP.commands[command], "params") else set()
    offered = 0
    for path, text in MESSAGES:
        typed = as_typed(text, command)
        added = set(FLAG.findall(typed)) - set(FLAG.findall(text))
        assert added <= taken, (path, text)
        assert OFFERED.search(typed) is None, (path, text)
        offered += len(added)
    assert offered or command not in ("density", "series", "score", "predict", "compare")


def test_the_known_options_are_those_of_some_command() -> None:
    every = {flag for command in ("density", "series", "score", "predict") for flag in flags(command)}
    assert {f"--{name.replace('_', '-')}" for name in KNOWN} <= every


@pytest.mark.parametrize("path", sorted((ROOT / "cli").glob("*.py")), ids=lambda path: path.stem)
def test_messages_of_a_command_name_its_own_options(path: Path) -> None:
    if path.stem not in GROUP.commands:
        return
    if not hasattr(GROUP.commands[path.stem], "params") or getattr(GROUP.commands[path.stem], "commands", None):
        return  # a group, whose commands each have options of their own
    own = flags(path.stem) | {"--help"}
    said = [text for text in texts(path) if " " in text and not OTHERS.search(text)]
    named = {(flag, text) for text in said for flag in FLAG.findall(text)}
    assert [(flag, text) for flag, text in sorted(named) if flag not in own] == []
