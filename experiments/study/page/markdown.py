"""Markdown of the pages: tables, and paragraphs wrapped to the width of the pages."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence

WIDTH = 128

EMPTY = "No record yet."
"""Stands for a table without rows."""


def row(*cells: str) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, its first column to the left and the others to the right; a sentence where it has no row."""
    body = [row(*cells) for cells in rows]
    if not body:
        return EMPTY
    return "\n".join([row(*columns), "|---" + "|--:" * (len(columns) - 1) + "|", *body])


def wrapped(text: str) -> str:
    """Paragraphs and items of lists, each wrapped by itself; the lines of an item are indented under its first word."""
    items = [part for paragraph in text.strip().split("\n\n") for part in [*_items(paragraph), ""]][:-1]
    return "\n".join(_filled(item) if item else "" for item in items)


def _items(paragraph: str) -> list[str]:
    """The items of a list, each on one line, or the paragraph as the only one."""
    items: list[str] = []
    for line in paragraph.splitlines():
        if items and not _mark(line):
            items[-1] += f" {line.strip()}"
        else:
            items.append(line.strip())
    return items


def _mark(line: str) -> str:
    match = re.match(r"(- |\d+\. )", line)
    return match[0] if match else ""


def _filled(item: str) -> str:
    return textwrap.fill(
        item,
        WIDTH,
        subsequent_indent=" " * len(_mark(item)),
        break_long_words=False,
        break_on_hyphens=False,
    )
