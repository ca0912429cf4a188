"""Commands whose help pages fill their lines: typer keeps the line breaks of a docstring, which suit another width."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import typer


class App(typer.Typer):
    """An app that shows the docstrings of its commands as paragraphs."""

    def command(  # type: ignore[override]  # all other options are passed on as they are
        self, name: str | None = None, **options: Any
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Adds a command, with its docstring for help unless `help` is given."""

        def add(function: Callable[..., Any]) -> Callable[..., Any]:
            told = options.get("help") or flowing(inspect.getdoc(function) or "")
            return typer.Typer.command(self, name, **{**options, "help": told})(function)

        return add


def flowing(text: str) -> str:
    """`text` with each of its paragraphs, which empty lines part, in one line; what is indented stays."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(part if part.startswith(" ") else " ".join(part.split()) for part in paragraphs)
