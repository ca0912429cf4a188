"""Records of the map of who wins and of the backward solve's stability, and the cells of the map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeAlias

from pynode.records.schema import Count, NonNegative, PositiveNumber, Seconds
from pynode.settings.known import rivals
from pynode.studies.gradients.record import agree

Quantity: TypeAlias = str
"""What a gradient costs: "evaluations" or "seconds", entries of a record."""

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
    products of one loss and gradient, `seconds` a median, `engine` what ran the solves.  `scatter` is the interquartile
    range of the repeated times over their median, `load` the machine's load average over the minute before; null where
    they are not known.
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
    scatter: NonNegative | None = None
    load: NonNegative | None = None

    @property
    def is_steady(self) -> bool:
        """Whether the repeated times agree, as far as is known."""
        return agree(self.scatter)

    def __post_init__(self) -> None:
        known = (*METHODS, NO_METHOD)
        if self.method not in known:
            raise ValueError(f'method: unknown value "{self.method}", not one of {", ".join(known)}')


@dataclass(frozen=True)
class StabilityRecord:
    """One pure backward solve: Opt-Disc over one interval [0, horizon], nothing stored in between.

    `gradient_error` is relative to the gradient of the continuous problem; `reconstruction_error` is
    |y(0) re-solved from y(T) - y(0)| / |y(0)|.  Values are null where a solve failed, and `failure` says how.  `engine`
    is what ran the solves.
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
    engine: str = ""

    @property
    def backward_ratio(self) -> float | None:
        """NFE-B / NFE-F; None where a solve failed: its counts only say how far it came."""
        return self.nfe_backward / self.nfe_forward if self.failure is None and self.nfe_forward else None


@dataclass(frozen=True)
class SeedCell:
    """What was measured in a cell at the weights of one seed."""

    seed: int
    records: tuple[WinnerRecord, ...]

    def reaching(self, method: str, target: float) -> list[WinnerRecord]:
        """The records of `method` whose gradient's error is at most `target`.

        Empty where the reference is not ten times better than that: it can't tell.
        """
        known = [r for r in self.records if r.method == method and r.reference_uncertainty <= target / 10]
        return [r for r in known if r.error is not None and r.error <= target]

    def cheapest(self, method: str, target: float, quantity: Quantity = "evaluations") -> WinnerRecord | None:
        """The record of `method` that reaches `target` with least of `quantity`; None where none does."""
        reaching = [r for r in self.reaching(method, target) if getattr(r, quantity) is not None]
        return min(reaching, key=lambda r: float(getattr(r, quantity)), default=None)

    def ratio(self, target: float, quantity: Quantity) -> float | None:
        """Least `quantity` of Opt-Disc over that of Disc-Opt, each at its own best setting: above 1 Disc-Opt wins.

        None where one of them never reaches `target`, or where times are compared that scatter too much.
        """
        pair = [self.cheapest(m, target, quantity) for m in METHODS]
        if quantity == "seconds" and not all(r is None or r.is_steady for r in pair):
            return None
        disc, opt = (float(getattr(r, quantity)) if r is not None else 0.0 for r in pair)
        return opt / disc if disc and opt else None


@dataclass(frozen=True)
class Cell:
    """One axis at one value, over all seeds."""

    axis: str
    value: float
    problem: str
    seeds: tuple[SeedCell, ...]

    @property
    def failure(self) -> str | None:
        """Why a seed has no reference gradient, so that neither method reaches anything; None where all have one."""
        reasons = (r.failure for seed in self.seeds for r in seed.records if r.method == NO_METHOD)
        return next(reasons, None)

    def lacking(self, method: str, target: float) -> int:
        """The number of seeds in which no setting of `method` reaches `target`."""
        return sum(not seed.reaching(method, target) for seed in self.seeds)

    def ratios(self, target: float, quantity: Quantity) -> list[float]:
        """The ratio of every seed that has one: Opt-Disc's cost over Disc-Opt's."""
        return [r for seed in self.seeds if (r := seed.ratio(target, quantity)) is not None]

    def ratio(self, target: float, quantity: Quantity) -> float | None:
        """The median of the seeds' ratios: above 1 Disc-Opt wins.

        None where a method does not reach `target` in every seed: the median of the others would flatter it.  Seeds
        whose times scatter are left out.
        """
        if any(self.lacking(m, target) for m in METHODS):
            return None
        ratios = self.ratios(target, quantity)
        return median(ratios) if ratios else None

    def agreeing(self, target: float, quantity: Quantity) -> int:
        """The number of seeds whose ratio is on the same side of 1 as the median."""
        middle = self.ratio(target, quantity)
        if middle is None:
            return 0
        return sum((r > 1) is (middle > 1) and (r < 1) is (middle < 1) for r in self.ratios(target, quantity))

    def only(self, target: float) -> str | None:
        """The method that reaches `target` in every seed where the other does in none, if there is one."""
        every = len(self.seeds)
        first, second = ((m, self.lacking(m, target)) for m in METHODS)
        for (able, missing), (_, other) in ((first, second), (second, first)):
            if missing == 0 and other == every:
                return able
        return None


def cells(records: Sequence[WinnerRecord]) -> list[Cell]:
    """All cells in the order of the records, each with its seeds in ascending order."""
    by_cell: dict[tuple[str, float], dict[int, list[WinnerRecord]]] = {}
    for record in records:
        by_cell.setdefault((record.axis, record.value), {}).setdefault(record.seed, []).append(record)
    return [
        Cell(axis, value, next(iter(parts.values()))[0].problem, _by_seed(parts))
        for (axis, value), parts in by_cell.items()
    ]


def _by_seed(parts: dict[int, list[WinnerRecord]]) -> tuple[SeedCell, ...]:
    return tuple(SeedCell(seed, tuple(records)) for seed, records in sorted(parts.items()))
