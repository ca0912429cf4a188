"""Records of the map of who wins and of the backward solve's stability; the cheapest gradient of each accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pynode.records.schema import Count, NonNegative, PositiveNumber, Seconds
from pynode.settings.known import rivals

METHODS = rivals()[0][::-1]
"""The methods that the map compares."""

NO_METHOD = "none"
"""Stands in the record of a cell that has no reference gradient."""

TARGETS = (1e-1, 1e-2, 1e-4, 1e-6)
"""Gradient accuracies at which methods are compared."""


@dataclass(frozen=True)
class WinnerRecord:
    """Error and cost of one gradient in one cell: `problem` with the option `axis` at `value`.

    `setting` is rtol (adaptive) or steps per output interval; `error` is relative to the gradient of the continuous
    problem, which is known to `reference_uncertainty`; `evaluations` are field evaluations and vector-Jacobian
    products of one loss and gradient, `seconds` a median, `engine` what ran the solves.
    """

    axis: str
    value: float
    problem: str
    seed: Count
    method: str
    family: str
    adaptive: bool
    setting: NonNegative
    reference_uncertainty: NonNegative
    error: NonNegative | None
    evaluations: Count
    nfe_forward: Count
    nfe_backward: Count
    seconds: Seconds | None
    failure: str | None
    engine: str = ""

    def __post_init__(self) -> None:
        known = (*METHODS, NO_METHOD)
        if self.method not in known:
            raise ValueError(f'method: unknown value "{self.method}", not one of {", ".join(known)}')


@dataclass(frozen=True)
class StabilityRecord:
    """One pure backward solve: Opt-Disc over one interval [0, horizon], nothing stored in between.

    `gradient_error` is relative to the gradient of the continuous problem; `reconstruction_error` is
    |y(0) re-solved from y(T) - y(0)| / |y(0)|.  Values are null where a solve failed, and `failure` says how.
    """

    problem: str
    architecture: str
    horizon: PositiveNumber
    seed: Count
    rtol: PositiveNumber
    gradient_error: NonNegative | None
    reconstruction_error: NonNegative | None
    nfe_forward: Count
    nfe_backward: Count
    failure: str | None

    @property
    def backward_ratio(self) -> float | None:
        """NFE-B / NFE-F; None where a solve failed: its counts only say how far it came."""
        return self.nfe_backward / self.nfe_forward if self.failure is None and self.nfe_forward else None


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
    by_cell: dict[tuple[str, float], list[WinnerRecord]] = {}
    for record in records:
        by_cell.setdefault((record.axis, record.value), []).append(record)
    return [
        Cell(
            axis,
            value,
            part[0].problem,
            {t: {m: _cheapest(part, m, t) for m in METHODS} for t in targets},
            next((r.failure for r in part if r.method == NO_METHOD), None),
        )
        for (axis, value), part in by_cell.items()
    ]


def _cheapest(records: Sequence[WinnerRecord], method: str, target: float) -> WinnerRecord | None:
    # a reference that is not ten times better than what is asked for can't tell who meets it
    known = [r for r in records if r.method == method and r.reference_uncertainty <= target / 10]
    enough = [r for r in known if r.error is not None and r.error <= target]
    return min(enough, key=lambda r: r.evaluations, default=None)
