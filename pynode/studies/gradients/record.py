"""Records of the gradient tools: Taylor tests and gradient errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec

from pynode.records.schema import Count, NonNegative, PositiveNumber, Seconds

STEADY = 0.2
"""Repeated times whose interquartile range is at most this share of their median agree."""

UNTRAINED = "untrained"
"""The weights that training begins with."""

Range = Annotated[list[Count], msgspec.Meta(min_length=2, max_length=2)]


def agree(scatter: float | None) -> bool:
    """Whether repeated times of this scatter agree, as far as is known."""
    return scatter is None or scatter <= STEADY


@dataclass(frozen=True)
class TaylorRecord:
    """One Taylor test: remainders E0, E1 at sizes h, slopes fitted to indices `fitted[0]:fitted[1]`, the verdict.

    `outside` says that the method is not pynode's own, so that its name need not be known here.  `rows` is what has to
    be said of the problem's rows, such as "part: 2.1 % of rows".
    """

    problem: str
    method: str
    label: str
    h: list[PositiveNumber]
    e0: list[NonNegative | None]
    e1: list[NonNegative | None]
    slope_e0: float | None
    slope_e1: float | None
    fitted: Range
    passes: bool
    bound: NonNegative | None
    verdict: str
    outside: bool = False
    rows: str = ""

    def __post_init__(self) -> None:
        if not len(self.h) == len(self.e0) == len(self.e1):
            raise ValueError(f"h, e0 and e1 have {len(self.h)}, {len(self.e0)} and {len(self.e1)} entries")
        if not 0 <= self.fitted[0] <= self.fitted[1] <= len(self.h):
            raise ValueError(f"fitted = {self.fitted} is no range of the {len(self.h)} entries of h")


@dataclass(frozen=True)
class GradientErrorRecord:
    """The gradient of one method at one accuracy, and what it cost.

    `error` is the relative error (2-norm over all parameters) against the gradient of the continuous problem, which is
    itself known to `reference_uncertainty`.  `error_discrete` is that against the gradient of the loss as this method
    computed it, from directional finite differences (about 1e-10 at best); null for adaptive methods, whose computed
    loss jumps.  `setting` is rtol (adaptive) or steps per output interval.  Costs are of one loss and gradient; seconds
    are medians, `engine` what ran the solves.  `drift` is how far a state that was solved backwards left the stored one
    at an output time, in units of the tolerances; null where none is.  `outside` says that the method is not pynode's
    own, so that its name need not be known here.  `rows` is what has to be said of the problem's rows, such as "part:
    2.1 % of rows".

    `scatter` is the interquartile range of the repeated times over their median, null where it is not known, and `load`
    the machine's load average over the minute before.  `weights` names the weights: "untrained", or the run
    whose best ones they are; empty in records of earlier versions.  `samples` is the size of the batch (0: not
    known), `n_params` the number of weights.
    """

    problem: str
    method: str
    label: str
    family: str
    adaptive: bool
    setting: NonNegative
    reference_uncertainty: NonNegative
    error: NonNegative | None = None
    error_discrete: NonNegative | None = None
    loss: float | None = None
    nfe_forward: Count = 0
    nfe_backward: Count = 0
    n_vjp: Count = 0
    seconds: Seconds | None = None
    failure: str | None = None
    engine: str = ""
    drift: NonNegative | None = None
    outside: bool = False
    rows: str = ""
    scatter: NonNegative | None = None
    load: NonNegative | None = None
    weights: str = ""
    samples: Count = 0
    n_params: Count = 0

    @property
    def is_steady(self) -> bool:
        """Whether the repeated times agree, as far as is known."""
        return agree(self.scatter)

    @property
    def evaluations(self) -> int:
        """Field evaluations and vector-Jacobian products."""
        return self.nfe_forward + self.nfe_backward + self.n_vjp


@dataclass(frozen=True)
class PrecisionErrorRecord:
    """The gradient of one method by fixed steps in float32, with products in `precision`, against float64.

    `error` is relative (2-norm over all parameters) to the gradient of the same discrete loss in float64, products in
    full.  Seconds are the median of repeats, `engine` what ran the solves in float32.  The rest is as in
    `GradientErrorRecord`.
    """

    problem: str
    method: str
    label: str
    family: str
    setting: NonNegative
    precision: str
    device: str
    error: NonNegative | None = None
    seconds: Seconds | None = None
    failure: str | None = None
    engine: str = ""
    rows: str = ""
    weights: str = ""
    samples: Count = 0
    n_params: Count = 0
