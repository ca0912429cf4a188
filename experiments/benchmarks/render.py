"""Tables and figures of a run directory, from its records alone."""

from __future__ import annotations

from pathlib import Path

from experiments.benchmarks import figures
from experiments.benchmarks.records import Benchmark, read
from experiments.benchmarks.summary import ratios
from experiments.benchmarks.tables import base_of, tables
from pynode.records.files import make_directory, write_atomically
from pynode.studies.base import number
from pynode.studies.render import Rendered
from pynode.studies.style import save


def render(directory: Path, *, write: bool = True) -> Rendered:
    """Writes `directory`/tables.md and `directory`/figures/; raises `NoBenchmark` where there are no records.

    Writes nothing with `write=False`.
    """
    found = read(directory)
    rendered = Rendered(tables=tables(found), findings=findings(found))
    if not write:
        return rendered
    text = "\n".join(table.markdown() for table in rendered.tables)
    write_atomically(directory / "tables.md", text.encode())
    drawings = {name: figure for name, figure in figures.draw(found).items() if figure is not None}
    if drawings:
        folder = make_directory(directory / "figures")
        for name, figure in drawings.items():
            rendered.paths += save(figure, folder, name)
    return rendered


def findings(found: Benchmark) -> list[str]:
    """How much longer others take than the fused engine, a sentence a workload."""
    sentences = []
    for workload in (w for w in found.workloads if not w.axis):
        seconds = found.seconds(workload.name)
        base = base_of(seconds)
        if base is None:
            continue
        others = [
            f"{name} {number(ratio.middle)} times"
            for name in seconds
            if name.split()[0] != base.split()[0] and (ratio := ratios(seconds[name], seconds[base])) is not None
        ]
        if others:
            sentences.append(f"{workload.name}: against {base}, {', '.join(others)} as long.")
    return sentences
