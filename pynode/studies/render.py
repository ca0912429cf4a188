"""All tables and figures of a results directory, from its records alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pynode.errors import StorageError
from pynode.records.files import write_atomically
from pynode.studies import STUDIES
from pynode.studies.base import Study, Table
from pynode.studies.results import Results
from pynode.studies.style import save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = ("quality", "reduction", "gradients", "crosscheck", "invertibility", "winners", "suite")
"""The order of the studies in a report; others follow by name."""


@dataclass
class Rendered:
    """Tables to print, files written, findings in a sentence each."""

    tables: list[Table] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)


def render_all(results: Results, directory: Path) -> Rendered:
    """Draws every study for which there are records; writes `directory`/figures/ and `directory`/tables.md."""
    rendered = read_off(results)
    rendered.paths += write_all(results, rendered, directory)
    return rendered


def read_off(results: Results) -> Rendered:
    """Tables and findings of every study; writes nothing."""
    rendered = Rendered()
    for study in _studies():
        rendered.tables += study.tables(results)
        if finding := study.finding(results):
            rendered.findings.append(finding)
    return rendered


def write_all(results: Results, rendered: Rendered, directory: Path) -> list[Path]:
    """Writes the tables of `rendered` and the figures of every study; the paths of these."""
    figures = {name: figure for study in _studies() for name, figure in study.figures(results).items()}
    return write(rendered.tables, figures, directory)


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
