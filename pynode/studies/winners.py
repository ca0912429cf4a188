"""RQ5: where does which method win, and what does the backward solve do to Opt-Disc?"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, ClassVar

from pynode.figures import stability, winners
from pynode.records.cheapest import METHODS, TARGETS, Cell, cells
from pynode.records.results import Results
from pynode.records.winners import StabilityRecord, WinnerRecord
from pynode.studies.base import Study, Table, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Winners(Study):
    """The cheapest gradient of either method at equal accuracy, over stress problems."""

    name: ClassVar[str] = "winners"
    question: ClassVar[str] = "Where does which method win: tolerance, stiffness, dimension, horizon, width?"

    def tables(self, results: Results) -> list[Table]:
        found = cells(results.winners)
        tables = []
        if found:
            tables += [
                _ratios(found, "evaluations", "evaluations"),
                _ratios(found, "seconds", "time"),
                _cheapest(found),
            ]
        if results.stability:
            tables.append(_stability(results.stability))
        return tables

    def figures(self, results: Results) -> dict[str, Figure | None]:
        return {"winners": winners.draw(results), "stability": stability.draw(results)}

    def finding(self, results: Results) -> str | None:
        found = cells(results.winners)
        parts = []
        for target in TARGETS:
            ratios = [r for cell in found if (r := cell.ratio(target, "evaluations")) is not None]
            if not ratios:
                continue
            alone = {m: sum(cell.only(target) == m for cell in found) for m in METHODS}
            others = "".join(f", {n} by {m} alone" for m, n in alone.items() if n)
            times = [r for cell in found if (r := cell.ratio(target, "seconds")) is not None]
            quicker = f", less time in {sum(r > 1 for r in times)} of {len(times)}" if times else ""
            parts.append(
                f"{sum(r > 1 for r in ratios)} of {len(ratios)} cells at {target:.0e} (median ratio "
                f"{number(median(ratios), 2)}{quicker}{others})"
            )
        if not parts:
            return None
        return f"Disc-Opt needs fewer evaluations for a gradient of equal accuracy in {', '.join(parts)}."


def _ratios(found: list[Cell], quantity: str, what: str) -> Table:
    rows = [
        [f"{cell.problem}, {cell.axis} {cell.value:g}", *(_ratio(cell, target, quantity) for target in TARGETS)]
        for cell in found
    ]
    notes = [
        f"{what} of Opt-Disc over that of Disc-Opt for a gradient of at most this relative error; above 1 Disc-Opt is "
        "cheaper. At weights fitted to the dynamics without a solve; RK4 with 1, 2, 4, ... steps per interval against "
        "dopri5 at rtol 1e-1, 1e-2, ... (atol a hundredth)."
    ]
    return Table(f"RQ5 Who wins: {what}", ["", *(f"{t:.0e}" for t in TARGETS)], rows, notes)


def _ratio(cell: Cell, target: float, quantity: str) -> str:
    missing = [m for m, record in cell.cheapest[target].items() if record is None]
    if missing:
        return "neither" if len(missing) == len(METHODS) else f"no {missing[0]}"
    return number(cell.ratio(target, quantity), 2)


def _cheapest(found: list[Cell]) -> Table:
    rows = [
        [
            f"{cell.problem}, {cell.axis} {cell.value:g}",
            f"{target:.0e}",
            *(text for method in METHODS for text in _entry(cell.cheapest[target][method])),
        ]
        for cell in found
        for target in TARGETS
    ]
    columns = ["", "error", *(f"{m} {what}" for m in METHODS for what in ("setting", "evaluations", "ms"))]
    return Table("RQ5 The cheapest settings", columns, rows, long=True)


def _entry(record: WinnerRecord | None) -> list[str]:
    if record is None:
        return ["–", "–", "–"]
    setting = f"rtol {record.setting:.0e}" if record.adaptive else f"{record.setting:.0f} steps"
    return [setting, f"{record.evaluations:,}", number(None if record.seconds is None else 1e3 * record.seconds)]


def _stability(found: list[StabilityRecord]) -> Table:
    rows = []
    for name in dict.fromkeys(r.architecture for r in found):
        for horizon in sorted({r.horizon for r in found}):
            part = [r for r in found if r.architecture == name and r.horizon == horizon]
            if not part:
                continue
            failed = sum(r.failure is not None for r in part)
            rows.append(
                [
                    name,
                    f"{horizon:g}",
                    number(_middle([r.gradient_error for r in part]), 2),
                    number(_middle([r.reconstruction_error for r in part]), 2),
                    number(_middle([r.backward_ratio for r in part]), 2),
                    f"{failed} of {len(part)}" if failed else "0",
                ]
            )
    columns = ["field", "T", "gradient error", "error of y(0) re-solved", "NFE-B / NFE-F", "failed"]
    notes = [
        f"Opt-Disc (dopri5, rtol {found[0].rtol:.0e}) over one interval [0, T], nothing stored in between; fields with "
        "enlarged random weights, van der pol's fitted to its dynamics; medians over seeds, "
        "and none where a seed failed."
    ]
    return Table("RQ5 The backward solve by architecture", columns, rows, notes)


def _middle(values: list[float | None]) -> float | None:
    """None where one of the seeds has no value: its solve failed."""
    known = [v for v in values if v is not None]
    return median(known) if known and len(known) == len(values) else None
