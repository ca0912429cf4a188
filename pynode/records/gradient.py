"""Records of the gradient tools: Taylor tests and gradient errors."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TaylorRecord:
    """One Taylor test: remainders E0, E1 at sizes h, slopes fitted to indices `fitted[0]:fitted[1]`, the verdict."""

    problem: str
    method: str
    label: str
    h: list[float]
    e0: list[float | None]
    e1: list[float | None]
    slope_e0: float | None
    slope_e1: float | None
    fitted: list[int]
    passes: bool
    bound: float | None
    verdict: str


@dataclass(frozen=True)
class GradientErrorRecord:
    """The gradient of one method at one accuracy, and what it cost.

    `error` is the relative error (2-norm over all parameters) against the gradient of the continuous problem, which is
    itself known to `reference_uncertainty`.  `error_discrete` is that against the gradient of the loss as this method
    computed it, from directional finite differences (about 1e-10 at best); null for adaptive methods, whose computed
    loss jumps.  `setting` is rtol (adaptive) or steps per output interval.  Costs are of one loss and gradient; seconds
    are medians, `engine` what ran the solves.
    """

    problem: str
    method: str
    label: str
    family: str
    adaptive: bool
    setting: float
    reference_uncertainty: float
    error: float | None = None
    error_discrete: float | None = None
    loss: float | None = None
    nfe_forward: int = 0
    nfe_backward: int = 0
    n_vjp: int = 0
    seconds: float | None = None
    failure: str | None = None
    engine: str = ""

    @property
    def evaluations(self) -> int:
        """Field evaluations and vector-Jacobian products."""
        return self.nfe_forward + self.nfe_backward + self.n_vjp
