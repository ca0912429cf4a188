"""The one way to the terminal: text is printed as it is.

A path, a name, a cell of a table or a message may hold brackets, which rich takes for markup: `print` of a path called
`a[/b]` would end in an error.  So every command prints through a `PlainConsole`, and complaints through `complain`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import MutableMapping
from typing import Any

from rich.console import Console, RenderableType
from rich.status import Status
from rich.text import Text

NARROWEST, WIDEST = 20, 1_000
"""Columns of a terminal that COLUMNS may claim."""

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class PlainConsole(Console):
    """A console that knows no markup, no emoji codes and no highlighting, and shows control characters as escapes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def say(self, text: object = "", *, style: str | None = None) -> None:
        """Prints one line that is not wrapped, so that a path in it can be copied."""
        self.print(visible(str(text)), style=style, soft_wrap=True)

    def status(self, status: RenderableType, **options: Any) -> PlainStatus:
        """A spinner with a text, while the block runs."""
        return PlainStatus(status, console=self, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """The text of a cell or a title, with nothing in it taken for more than text."""
        return super().render_str(visible(text), **options)


class PlainStatus(Status):
    """A spinner whose text is printed as it is."""

    def __init__(self, status: RenderableType, **options: Any) -> None:
        super().__init__(_as_text(status), **options)

    def update(self, status: RenderableType | None = None, **options: Any) -> None:
        """Changes the text."""
        super().update(None if status is None else _as_text(status), **options)


def visible(text: str) -> str:
    """`text` with control characters as escapes; newlines and tabs stay."""
    return _CONTROLS.sub(lambda match: f"\\x{ord(match.group()):02x}", text)


def complain(message: str) -> None:
    """Prints `message` to stderr, in one line.

    In one write: several ranks share a pipe, without a buffer under torchrun, and their lines must not mix.
    """
    sys.stderr.write(visible(" ".join(message.split())) + "\n")
    sys.stderr.flush()


def tidy_environment(environment: MutableMapping[str, str]) -> None:
    """Removes variables that would break the output: a width that no terminal has, and a window system for figures.

    Figures are saved, never shown, so MPLBACKEND has no use here; matplotlib refuses to start with an unknown one.
    """
    for name in ("COLUMNS", "LINES", "TERMINAL_WIDTH"):
        value = environment.get(name)
        if value is not None and not (re.fullmatch("[0-9]{1,4}", value) and NARROWEST <= int(value) <= WIDEST):
            del environment[name]
    environment.pop("MPLBACKEND", None)


def _as_text(content: RenderableType) -> RenderableType:
    return Text(visible(content)) if isinstance(content, str) else content


def new_console(*, quiet: bool = False) -> PlainConsole:
    """The console of a command, on stdout; a `quiet` one prints nothing."""
    from pynode.cli.streams import SteadyStream

    out = sys.stdout if isinstance(sys.stdout, SteadyStream) else SteadyStream(sys.stdout)
    return PlainConsole(file=out, quiet=quiet)
