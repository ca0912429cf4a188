"""The page itself: what it shows, put into its template, with its style and script inside.

A content security policy allows these two by their hashes, images inside the page, and nothing else: no other script,
no network.  The template escapes everything but the drawings, which pynode/studies/page/vector.py has escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from pynode.studies.base import Answer, Table
from pynode.studies.page.configurations import SWEEP, run_tables, sweep_tables
from pynode.studies.page.machines import read_starts, start_tables
from pynode.studies.page.sorting import sort_keys
from pynode.studies.page.troubles import event_tables, troubles
from pynode.studies.results import Results
from pynode.wording import counted

KINDS = {
    # study: what a directory is called whose records are its own
    "crosscheck": "Cross-check",
    "gradients": "Gradient study",
    "invertibility": "Evaluation of flows",
    "winners": "Map",
}

LONG = 48
"""Letters of a cell that is given room for a sentence."""

_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(9), 11, 12, *range(14, 32), *range(127, 160))}


@dataclass(frozen=True)
class Figure:
    """A figure of the page: its name, its SVG element, and whether it keeps its colours in the dark."""

    name: str
    svg: Markup
    is_on_paper: bool


@dataclass(frozen=True)
class Section:
    """What a study says, with ids of its own."""

    id: str
    answer: Answer
    figures: list[Figure]

    @property
    def short(self) -> list[Table]:
        """Tables that are shown at once."""
        return [table for table in self.answer.tables if not table.long]

    @property
    def long(self) -> list[Table]:
        """Tables that open on request."""
        return [table for table in self.answer.tables if table.long]


@dataclass(frozen=True)
class Chapter:
    """A results directory inside that of the page, or this one itself."""

    id: str
    name: str
    title: str
    kind: str
    extent: str
    sections: list[Section]
    facts: list[Table]

    @property
    def findings(self) -> list[Section]:
        """The sections that have something to say in a sentence."""
        return [section for section in self.sections if section.answer.finding]


@dataclass(frozen=True)
class Part:
    """A results directory inside another one, with what its studies say."""

    results: Results
    answers: Sequence[Answer] = field(default_factory=list)


def page(results: Results, answers: Sequence[Answer], parts: Mapping[str, Part] | None = None) -> bytes:
    """The page of `results`; `answers` with their figures drawn, `parts` those of its parts.

    Equal records give equal bytes.
    """
    starts, damaged = read_starts(results)
    each = enumerate((parts or {}).items())
    inside = [_chapter(f"p{k}", name, part.results, part.answers) for k, (name, part) in each]
    top = _chapter("t", results.directory.resolve().name, results, answers)
    style, script = _source("page.css"), _source("page.js")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_visible
    )
    text = environment.from_string(_source("page.html")).render(
        top=top,
        parts=inside,
        troubles=[*troubles(results), *(f"Damaged, and left out: {message}" for message in damaged)],
        origins=start_tables(starts),
        rows=_rows,
        heads=_heads,
        counted=counted,
        style=Markup(style),
        script=Markup(script),
        policy=_policy(style, script),
        version=_version(),
    )
    return text.lstrip().encode("utf-8", errors="backslashreplace")


def _chapter(prefix: str, name: str, results: Results, answers: Sequence[Answer]) -> Chapter:
    told = [answer for answer in answers if not answer.is_empty]
    return Chapter(
        id=prefix,
        name=name,
        title=name if results.parts else _title(results),
        kind=_kind(results, told),
        extent=_extent(results),
        sections=[Section(f"{prefix}-{a.study}", a, list(_figures(f"{prefix}-{a.study}", a))) for a in told],
        facts=[*sweep_tables(results.directory), *run_tables(results.runs), *event_tables(results)],
    )


def _figures(prefix: str, answer: Answer) -> Iterator[Figure]:
    for k, (name, drawing) in enumerate(answer.figures.items()):
        yield Figure(name.replace("_", " "), drawing.markup(f"{prefix}-{k}"), drawing.is_map)


def _title(results: Results) -> str:
    """The problem, with the file that its rows are in."""
    named = not results.file or results.title.startswith(results.file)
    return results.title if named else f"{results.title}: {results.file}"


def _kind(results: Results, answers: Sequence[Answer]) -> str:
    """What a results directory is, in a word or two."""
    if results.parts:
        return "Sweep" if (results.directory / SWEEP).is_file() else "Suite"
    if results.runs:
        return "Comparison" if len({run.method for run in results.runs}) > 1 else "Training"
    first = next((answer.study for answer in answers), "results")
    return KINDS.get(first, first.capitalize())


def _extent(results: Results) -> str:
    """How much a results directory holds."""
    if results.parts:
        runs = sum(len(part.runs) for part in results.parts.values())
        return f"{counted(len(results.parts), 'part')}, {counted(runs, 'run')}"
    if not results.runs:
        return ""
    methods, seeds = {run.method for run in results.runs}, {run.seed for run in results.runs}
    several = [counted(len(methods), "method"), counted(len(seeds), "seed")]
    return f"{counted(len(results.runs), 'run')}: {', '.join(several)}"


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, whether it stands in a column of numbers, and the number by which it is sorted."""

    text: str
    is_number: bool
    number: float | None
    is_long: bool


def _rows(table: Table) -> list[list[Cell]]:
    """The cells of a table."""
    keys = sort_keys(table)
    return [
        [
            Cell(text, keys[k] is not None, column[row] if (column := keys[k]) else None, len(text) > LONG)
            for k, text in enumerate(cells)
        ]
        for row, cells in enumerate(table.rows)
    ]


def _heads(table: Table) -> list[Cell]:
    """The heads of a table's columns."""
    return [
        Cell(head, numbers is not None, None, is_long=False)
        for head, numbers in zip(table.columns, sort_keys(table), strict=True)
    ]


def _policy(style: str, script: str) -> str:
    """The content security policy: this style and this script, images inside the page, nothing from elsewhere."""
    return (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _source(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _visible(value: object) -> object:
    """Text with its control characters as escapes; all else as it is."""
    return value.translate(_CONTROLS) if type(value) is str else value


def _version() -> str:
    try:
        return version("pynode")
    except PackageNotFoundError:  # a clone that is not installed
        return ""
