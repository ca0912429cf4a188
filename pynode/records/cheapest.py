"""From the records of the map: the cheapest gradient of each method at a given accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pynode.records.winners import WinnerRecord

TARGETS = (1e-1, 1e-2, 1e-4, 1e-6)
"""Gradient accuracies at which methods are compared."""

METHODS = ("disc-opt", "opt-disc")


@dataclass(frozen=True)
class Cell:
    """One axis at one value: by target accuracy and method the cheapest record that is accurate enough, or None."""

    axis: str
    value: float
    problem: str
    cheapest: dict[float, dict[str, WinnerRecord | None]]
    failure: str | None

    def ratio(self, target: float, quantity: str) -> float | None:
        """Opt-Disc's cost over Disc-Opt's: above 1 Disc-Opt wins.  None where either never is accurate enough."""
        disc, opt = (self.cheapest[target][m] for m in METHODS)
        if disc is None or opt is None:
            return None
        a, b = getattr(disc, quantity), getattr(opt, quantity)
        return float(b) / float(a) if a and b else None

    def only(self, target: float) -> str | None:
        """The method that alone is accurate enough, if it is one."""
        able = [m for m, record in self.cheapest[target].items() if record is not None]
        return able[0] if len(able) == 1 else None


def cells(records: Sequence[WinnerRecord], targets: Sequence[float] = TARGETS) -> list[Cell]:
    """All cells in the order of the records."""
    found: dict[tuple[str, float], list[WinnerRecord]] = {}
    for record in records:
        found.setdefault((record.axis, record.value), []).append(record)
    return [
        Cell(
            axis,
            value,
            part[0].problem,
            {t: {m: _cheapest(part, m, t) for m in METHODS} for t in targets},
            next((r.failure for r in part if r.method == "none"), None),
        )
        for (axis, value), part in found.items()
    ]


def _cheapest(records: Sequence[WinnerRecord], method: str, target: float) -> WinnerRecord | None:
    # a reference that is not ten times better than what is asked for can't tell who meets it
    known = [r for r in records if r.method == method and r.reference_uncertainty <= target / 10]
    enough = [r for r in known if r.error is not None and r.error <= target]
    return min(enough, key=lambda r: r.evaluations, default=None)
