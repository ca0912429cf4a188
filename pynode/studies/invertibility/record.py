"""The record of one trained flow used with one discretisation."""

from __future__ import annotations

from dataclasses import dataclass

from pynode.records.schema import Count, NonNegative, Positive, PositiveNumber, Seconds


@dataclass(frozen=True)
class RediscretisationRecord:
    """A trained flow under a scheme with `setting` steps per block (fixed), or a solver at rtol `setting` (adaptive).

    `nll` in nats over `samples` test rows, exact trace; inverse errors as in `flows.metrics.inverse_errors`; `bound`
    is the inverse error that the study allows; `nfe` field evaluations of one log-likelihood.  Values are null where
    the solve failed, and `failure` says how.
    """

    problem: str
    run: str
    trained_by: str
    seed: Count
    scheme: str
    adaptive: bool
    setting: PositiveNumber
    samples: Positive
    bound: PositiveNumber
    nll: float | None = None
    inverse_data: NonNegative | None = None
    inverse_data_frobenius: NonNegative | None = None
    inverse_base: NonNegative | None = None
    inverse_base_frobenius: NonNegative | None = None
    nfe: Count | None = None
    seconds: Seconds | None = None
    failure: str | None = None

    @property
    def inverse(self) -> float | None:
        """The worse of both directions, mean 2-norm per sample."""
        if self.inverse_data is None or self.inverse_base is None:
            return None
        return max(self.inverse_data, self.inverse_base)
