"""Sentences of the pages: templates in texts/*.md, with numbers from the records in place of braces.

`{name argument ...}` is a value of `values.py`; `{check name argument ...}` leaves nothing and raises `UntrueText`
where the fact of `facts.py` does not hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from inspect import signature
from pathlib import Path
from typing import TypeVar

from experiments.study.page.facts import FACTS
from experiments.study.page.markdown import wrapped
from experiments.study.page.values import VALUES
from pynode.errors import UnknownName, UsageError

T = TypeVar("T")

TEXTS = Path(__file__).with_name("texts")


class UntrueText(UsageError):
    """A sentence of the page claims what the records don't say."""


def names() -> list[str]:
    """All templates."""
    return sorted(path.stem for path in TEXTS.glob("*.md"))


def text(name: str) -> str:
    """A template with its numbers; raises `UntrueText` for a fact that does not hold."""
    return filled((TEXTS / f"{name}.md").read_text(encoding="utf-8"), f"texts/{name}.md")


def filled(template: str, where: str) -> str:
    """A template with its numbers, wrapped; `where` stands in errors.

    Raises `UntrueText` for a fact that does not hold, `UnknownName`, and `UsageError` for other arguments than a value
    has, for what the records don't hold, and for a brace that is left alone.
    """

    def checked(match: re.Match[str]) -> str:
        if not _called(FACTS, "fact of a text", match, where):
            raise UntrueText(f"{where}: {match[0].strip()} does not hold in the records; write what they say")
        return ""

    def value(match: re.Match[str]) -> str:
        return _called(VALUES, "value of a text", match, where)

    made = re.sub(r"\{([^{}]+)\}", value, re.sub(r"\{check ([^{}]+)\}\n?", checked, template))
    if alone := re.search(r"[{}][^{}\n]*", made):
        raise UsageError(f"{where}: '{alone[0]}' has a brace alone; write {{name argument ...}} on one line or several")
    return wrapped(made)


def _called(members: Mapping[str, Callable[..., T]], kind: str, match: re.Match[str], where: str) -> T:
    """What the member that a pair of braces names gives for its arguments."""
    name, *arguments = match[1].split()
    if name not in members:
        raise UnknownName(kind, name, tuple(members))
    try:
        signature(members[name]).bind(*arguments)
    except TypeError as error:
        wanted = " ".join(signature(members[name]).parameters)
        raise UsageError(f"{where}: {match[0].strip()}: {error}; its arguments are: {wanted or 'none'}") from error
    return members[name](*arguments)
