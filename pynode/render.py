"""All tables and figures of a results directory, from its records alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pynode.figures.style import save
from pynode.records.files import make_directory, write_atomically
from pynode.records.results import Results
from pynode.studies import STUDIES
from pynode.studies.base import Study, Table

ORDER = ("quality", "reduction", "gradients", "crosscheck", "invertibility", "winners", "suite")
"""The order of the studies in a report; others follow by name."""


@dataclass
class Rendered:
    """What was made: tables to print, files written, findings in a sentence each."""

    tables: list[Table] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)


def render_all(results: Results, directory: Path) -> Rendered:
    """Draws every study for which there are records; writes `directory`/figures/ and `directory`/tables.md."""
    rendered = Rendered()
    figures = make_directory(directory / "figures")
    for study in _studies():
        rendered.tables += study.tables(results)
        for file, figure in study.figures(results).items():
            if figure is not None:
                rendered.paths += save(figure, figures, file)
        finding = study.finding(results)
        if finding:
            rendered.findings.append(finding)
    write_atomically(directory / "tables.md", "\n".join(t.markdown() for t in rendered.tables).encode())
    return rendered


def tables_of(results: Results) -> list[Table]:
    """The tables of every study for which there are records; nothing is written."""
    return [table for study in _studies() for table in study.tables(results)]


def _studies() -> list[Study]:
    names = sorted(STUDIES.names(), key=lambda n: (ORDER.index(n) if n in ORDER else len(ORDER), n))
    return [STUDIES.load(name)() for name in names]
