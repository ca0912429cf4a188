"""The protocol of studies: tables, figures, and the finding in one sentence."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table as RichTable

from pynode.records.runs import Run
from pynode.studies.results import Results
from pynode.wording import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pynode.studies.page.vector import Drawing


SHORT = 16
"""Letters of a cell that is not wrapped: a number with its unit."""
INDENT = "&emsp;"
"""Two spaces before the name of a row, in Markdown."""


@dataclass(frozen=True)
class Table:
    """A table of strings with notes below it; `long` tables go to files, and to the terminal only on request.

    Cells of the columns `code` are text to paste.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)
    long: bool = False
    code: tuple[str, ...] = ()

    def markdown(self) -> str:
        """The table in Markdown: first column left, the others right."""
        rule = "|---" + "|--:" * (len(self.columns) - 1) + "|"
        pasted = [column in self.code for column in self.columns]
        cells = [[f"`{cell}`" if code else cell for cell, code in zip(row, pasted, strict=True)] for row in self.rows]
        named, *body = ["| " + " | ".join(map(_in_markdown, row)) + " |" for row in (self.columns, *cells)]
        return "\n".join([f"**{self.title}**", "", named, rule, *body, *(f"\n{note}" for note in self.notes)]) + "\n"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table for a terminal; columns that have no room beside the others follow in a table of their own.

        So no word is broken, but those that are longer than a line.
        """
        widths = [self._least_width(k, options.max_width) for k in range(len(self.columns))]
        groups = _side_by_side(widths, options.max_width)
        for shown in groups:
            first, last = shown is groups[0], shown is groups[-1]
            table = RichTable(
                title=self.title if first else None,
                title_justify="left",
                caption="\n".join(self.notes) if last else None,
                caption_justify="left",
            )
            for k in shown:
                table.add_column(self.columns[k], justify="right" if k else "left", overflow="fold")
            for row in self.rows:
                table.add_row(*(row[k] for k in shown))
            if table.__rich_measure__(console, options.update(max_width=10_000)).maximum > options.max_width:
                for k, column in zip(shown[1:], table.columns[1:], strict=True):
                    column.width = widths[k]
            yield table

    def _least_width(self, k: int, most: int) -> int:
        """The width of a column that breaks no word and no number, at most half of `most`."""
        cells = [row[k] for row in self.rows]
        words = [word for text in (self.columns[k], *cells) for word in re.findall(r"^\s*\S+|\S+", text)]
        short = [cell for cell in cells if k and cell_len(cell) <= SHORT]
        return min(max(map(cell_len, (*words, *short)), default=1), most // 2)


def _in_markdown(cell: str) -> str:
    """A cell whose indentation stays, which Markdown would trim, and whose bars don't end it."""
    text = cell.lstrip(" ")
    return INDENT * ((len(cell) - len(text)) // 2) + text.replace("|", r"\|")


def _side_by_side(widths: list[int], most: int) -> list[list[int]]:
    """Columns of these widths in groups that have room beside the first column, which each group begins with."""
    groups: list[list[int]] = [[0]]
    for k in range(1, len(widths)):
        taken = sum(widths[j] + 3 for j in (*groups[-1], k)) + 1  # with borders and spaces
        if taken > most and len(groups[-1]) > 1:
            groups.append([0])
        groups[-1].append(k)
    return groups


@dataclass
class Answer:
    """What a study says of one results directory; `figures` as pages show them, once they are drawn."""

    study: str
    question: str
    tables: list[Table]
    finding: str | None
    figures: dict[str, Drawing] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether the study has nothing to say."""
        return not (self.tables or self.finding or self.figures)


class Study(ABC):
    """One research question, answered from records alone; whatever lacks records is None or empty."""

    name: ClassVar[str]
    question: ClassVar[str]

    @abstractmethod
    def tables(self, results: Results) -> list[Table]:
        """The study's tables."""

    @abstractmethod
    def figures(self, results: Results) -> dict[str, Figure | None]:
        """The study's figures by file name."""

    @abstractmethod
    def finding(self, results: Results) -> str | None:
        """What was found, in one sentence with its numbers."""


def over_seeds(runs: list[Run], value: Callable[[Run], float | None]) -> float | None:
    """Median over runs of a value that some may lack."""
    values = [v for v in map(value, runs) if v is not None]
    return median(values) if values else None


def complete_median(values: Iterable[float | None]) -> float | None:
    """Median of values of which none may be missing; None where one is."""
    every = list(values)
    known = [v for v in every if v is not None]
    return median(known) if known and len(known) == len(every) else None


def number(value: float | None, digits: int = 3) -> str:
    """A number for a table: `digits` significant ones at least, a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return f"{value:,.0f}" if abs(value) >= 10 ** (digits - 1) else f"{value:.{digits}g}"
    return f"{value:.{digits - 1}e}"


def percent(value: float | None) -> str:
    """A reduction for a table."""
    return "–" if value is None else f"{100 * value:.1f} %"


def accuracy(setting: float, *, adaptive: bool) -> str:
    """What a method's accuracy is set to, in words: its rtol, or its steps per interval."""
    return f"rtol {setting:.0e}" if adaptive else counted(round(setting), "step")
