"""Blocks on adaptive solves in the suite `cpu`: continuous adjoints, and gradients through the steps taken."""

from __future__ import annotations

from experiments.benchmarks.page.fixed_steps import FOLDER
from experiments.benchmarks.page.made import benchmark, threads_text
from experiments.benchmarks.tables import tables
from experiments.study.page.markdown import table

COLUMNS = ("ms", "ratio", "turns won", "off by", "f/back/vjp")
"""Columns of a race that the page shows."""


def set_up() -> str:
    """Problem, tolerances, number type and threads."""
    published = benchmark(FOLDER)
    workloads = [] if published is None else [w for w in published.workloads if w.method == "opt-disc"]
    problems = [(w.title.partition(",")[0], w.title.partition(": ")[2], w) for w in workloads]
    return " ".join(
        f"{problem.capitalize()} at {tolerances}, {w.dtype}, {threads_text(w.threads)} (same command)."
        for problem, tolerances, w in problems
    )


def times(kind: str) -> str:
    """Milliseconds of loss and gradient by entrants that differentiate the same."""
    published = benchmark(FOLDER)
    shown = next((t for t in tables(published) if t.title.endswith(kind)), None) if published is not None else None
    if shown is None:
        return table(COLUMNS, [])
    picked = [shown.columns.index(column) for column in COLUMNS]
    base = next(row[0] for row in shown.rows if row[shown.columns.index("turns won")] == "–")
    over = "over the fastest" if base == shown.rows[0][0] else f"over {base}"
    rows = [[row[0], *(row[k] for k in picked)] for row in shown.rows]
    return table(["", "ms", over, "turns won", "error", "f / back / products"], rows)
