"""Records of the cross-check: every gradient against every other, and the verdict on each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pynode.records.schema import NonNegative

Verdict = Literal["agrees", "broken", "failed", "not available", "not judged"]

AGREES: Verdict = "agrees"
BROKEN: Verdict = "broken"
FAILED: Verdict = "failed"
UNAVAILABLE: Verdict = "not available"
UNJUDGED: Verdict = "not judged"
"""The verdicts: within the bound; outside it; the solve failed; nothing here can run it; nothing to judge it by."""


@dataclass(frozen=True)
class CrosscheckRecord:
    """One loss and gradient of one case: how far from the continuous problem's, from its twins, from all others.

    `entry` is the label of the gradient within its case, `group` what it shares with others that differ in accuracy
    alone, `setting` its rtol (adaptive) or steps per output interval.  Relative errors `error_loss`, `error_theta`,
    `error_y0` are against refined RK4; `error` and `bound` are those of the `quantity` ("loss", "theta", "y0") that
    comes nearest to its bound, or farthest beyond.  `twin` is the same discrete program run by other code, and
    `twin_difference` the distance from it, where there is one.  `order` is the observed order in the step size.
    `differences` are the largest of the pairwise relative differences of loss and gradients to every entry of the case,
    in the order of the records, null where there is no number.  `files` are the case files that were written for it.
    """

    problem: str
    case: str
    entry: str
    method: str
    backend: str
    group: str
    adaptive: bool
    setting: NonNegative
    verdict: Verdict
    reason: str | None = None
    quantity: str | None = None
    error: NonNegative | None = None
    bound: NonNegative | None = None
    error_loss: NonNegative | None = None
    error_theta: NonNegative | None = None
    error_y0: NonNegative | None = None
    order: float | None = None
    twin: str | None = None
    twin_difference: NonNegative | None = None
    differences: list[NonNegative | None] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    @property
    def ratio(self) -> float | None:
        """Error over bound: above 1 the bound is broken."""
        return None if self.error is None or not self.bound else self.error / self.bound
