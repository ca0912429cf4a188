"""Blocks on the suites `scaling` and `memory`: how time and memory grow."""

from __future__ import annotations

from experiments.benchmarks.page.made import benchmark
from experiments.benchmarks.tables import tables
from experiments.study.page.markdown import table

FAMILY = "Scaling: "


def scaling() -> str:
    """Exponents of the time in steps and batch."""
    published = benchmark("bench-scaling")
    made = [t for t in tables(published) if t.title.startswith(FAMILY)] if published is not None else []
    rows = [[t.title.removeprefix(FAMILY), *cells] for t in made for cells in t.rows]
    return table(["", "", "range", "ms per gradient", "exponent", "upper part"], rows)


def memory() -> str:
    """Peak memory of one gradient, by way of keeping states."""
    published = benchmark("bench-memory")
    made = [t for t in tables(published) if "MB" in t.columns] if published is not None else []
    return table(["", "steps", "MB", "exponent"], [row[:4] for t in made for row in t.rows])
