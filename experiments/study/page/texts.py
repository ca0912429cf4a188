"""Sentences of the pages: templates in texts/*.md, with numbers from the records in place of braces.

`{name argument ...}` is a value of `values.py`; `{check name argument ...}` leaves nothing and raises `UntrueText`
where the fact of `facts.py` does not hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
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
    """A template with its numbers, wrapped; `where` stands in errors."""

    def checked(match: re.Match[str]) -> str:
        name, *arguments = match[1].split()
        if not _known(FACTS, "fact of a text", name)(*arguments):
            raise UntrueText(f"{where}: {match[0].strip()} does not hold in the records; write what they say")
        return ""

    def value(match: re.Match[str]) -> str:
        name, *arguments = match[1].split()
        return _known(VALUES, "value of a text", name)(*arguments)

    return wrapped(re.sub(r"\{([^{}]+)\}", value, re.sub(r"\{check ([^{}]+)\}\n?", checked, template)))


def _known(members: Mapping[str, Callable[..., T]], kind: str, name: str) -> Callable[..., T]:
    if name not in members:
        raise UnknownName(kind, name, tuple(members))
    return members[name]
