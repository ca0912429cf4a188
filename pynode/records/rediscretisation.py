"""The record of one trained flow used with one discretisation."""

from __future__ import annotations

from dataclasses import dataclass


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
    seed: int
    scheme: str
    adaptive: bool
    setting: float
    samples: int
    bound: float
    nll: float | None = None
    inverse_data: float | None = None
    inverse_data_frobenius: float | None = None
    inverse_base: float | None = None
    inverse_base_frobenius: float | None = None
    nfe: int | None = None
    seconds: float | None = None
    failure: str | None = None

    @property
    def inverse(self) -> float | None:
        """The worse of both directions, mean 2-norm per sample."""
        if self.inverse_data is None or self.inverse_base is None:
            return None
        return max(self.inverse_data, self.inverse_base)
