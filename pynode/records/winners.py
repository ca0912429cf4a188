"""Records of the map of who wins, and of the backward solve's stability."""

from __future__ import annotations

from dataclasses import dataclass

from pynode.records.schema import Count, NonNegative, PositiveNumber, Seconds

METHODS = ("disc-opt", "opt-disc", "none")
"""The methods of the map; "none" where a cell has no reference gradient."""


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
        if self.method not in METHODS:
            raise ValueError(f'method: unknown value "{self.method}", not one of {", ".join(METHODS)}')


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
