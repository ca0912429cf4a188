"""Tables and the figure of a cost model, from its records alone."""

from __future__ import annotations

from pathlib import Path

from experiments.scale.figures import draw
from experiments.scale.records import Model, read
from experiments.scale.tables import spread_of_ratios, tables
from pynode.records.files import make_directory, write_atomically
from pynode.studies.base import number
from pynode.studies.render import Rendered
from pynode.studies.style import save


def render(directory: Path, *, write: bool = True) -> Rendered:
    """Writes `directory`/tables.md and `directory`/figures/; raises `NoCostModel` where there are no records.

    Writes nothing with `write=False`.
    """
    found = read(directory)
    rendered = Rendered(tables=tables(found), findings=findings(found))
    if not write:
        return rendered
    text = "\n".join(table.markdown() for table in rendered.tables)
    write_atomically(directory / "tables.md", text.encode())
    rendered.paths += save(draw(found), make_directory(directory / "figures"), "scale")
    return rendered


def findings(found: Model) -> list[str]:
    """What it comes to, a sentence for each number of GPUs, and how well the model did here."""
    sentences = []
    for n in dict.fromkeys(p.gpus for p in found.plans):
        low, central, high = (
            {p.scenario: p for p in found.plans if p.gpus == n}[s] for s in ("low", "central", "high")
        )
        sentences.append(
            f"{n} GPU{'s' * (n > 1)}: {number(central.single_hours)} h "
            f"({number(low.single_hours)} to {number(high.single_hours)}), "
            f"${number(central.single_cost)} (${number(low.single_cost)} to ${number(high.single_cost)})"
            + (f"; with gangs {number(central.makespan_hours)} h, ${number(central.cost)}." if n > 1 else ".")
        )
    held_out = [t for t in found.trials if t.held_out]
    if held_out:
        middle, least, most = spread_of_ratios(held_out)
        sentences.append(
            f"Seconds of {len(held_out)} held-out iterations, predicted over measured: median {middle:.2f}, "
            f"{least:.2f} to {most:.2f}."
        )
    return sentences
