"""All tables and figures of a results directory, from its records alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pynode.errors import StorageError
from pynode.records.files import write_atomically
from pynode.studies import STUDIES
from pynode.studies.base import Answer, Study, Table
from pynode.studies.page.document import Part, page
from pynode.studies.page.vector import inline_svg
from pynode.studies.results import Results
from pynode.studies.style import save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = (
    "advice",
    "forecast",
    "quality",
    "reduction",
    "gradients",
    "crosscheck",
    "invertibility",
    "winners",
    "suite",
)
"""The order of the studies in a report; others follow by name."""

PAGE = "report.html"
"""The page of a results directory."""


@dataclass
class Rendered:
    """Tables to print, files written, findings in a sentence each."""

    tables: list[Table] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)


@dataclass
class RenderedResults(Rendered):
    """What is made of a results directory, and the same by study, which is what its page shows."""

    results: Results = field(kw_only=True)
    answers: list[Answer] = field(default_factory=list)


def render_all(results: Results, directory: Path) -> RenderedResults:
    """Draws every study for which there are records; writes `directory`/figures/, tables.md and report.html."""
    rendered = read_off(results)
    rendered.paths += write_all(rendered, directory)
    return rendered


def read_off(results: Results) -> RenderedResults:
    """Tables and findings of every study; writes nothing."""
    rendered = RenderedResults(results=results)
    for study in _studies():
        answer = Answer(study.name, study.question, study.tables(results), study.finding(results) or None)
        rendered.answers.append(answer)
        rendered.tables += answer.tables
        if answer.finding:
            rendered.findings.append(answer.finding)
    return rendered


def draw(rendered: RenderedResults) -> dict[str, Figure]:
    """The figures of every study by name; the answers of `rendered` have them as SVG from then on."""
    figures = {}
    for study, answer in zip(_studies(), rendered.answers, strict=True):
        drawn = {name: figure for name, figure in study.figures(rendered.results).items() if figure is not None}
        answer.figures = {name: inline_svg(figure, name.replace("_", " ")) for name, figure in drawn.items()}
        figures.update(drawn)
    return figures


def page_of(rendered: RenderedResults, parts: Mapping[str, RenderedResults] | None = None) -> bytes:
    """The page of a directory whose figures are drawn.

    `parts` are those results directories inside it that are drawn already; the others are drawn now.
    """
    inside = {}
    for name, results in rendered.results.parts.items():
        earlier = (parts or {}).get(name)
        part = earlier if earlier is not None and earlier.results == results else read_off(results)
        if part is not earlier:
            draw(part)
        inside[name] = Part(results, part.answers)
    return page(rendered.results, rendered.answers, inside)


def write_all(
    rendered: RenderedResults, directory: Path, parts: Mapping[str, RenderedResults] | None = None
) -> list[Path]:
    """Writes the tables of `rendered`, the figures of every study, and the page; the paths of the figures."""
    paths = write(rendered.tables, draw(rendered), directory)
    write_atomically(directory / PAGE, page_of(rendered, parts))
    return paths


def write(tables: list[Table], figures: Mapping[str, Figure | None], directory: Path) -> list[Path]:
    """Writes `tables` to `directory`/tables.md and the `figures` to `directory`/figures/; the paths of these."""
    drawn = {name: figure for name, figure in figures.items() if figure is not None}
    folder = directory / "figures"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise StorageError(folder, error) from error
    write_atomically(directory / "tables.md", "\n".join(table.markdown() for table in tables).encode())
    return [path for name, figure in drawn.items() for path in save(figure, folder, name)]


def _studies() -> list[Study]:
    names = sorted(STUDIES.names(), key=lambda n: (ORDER.index(n) if n in ORDER else len(ORDER), n))
    return [STUDIES.load(name)() for name in names]
