"""The record of one trained flow used with one discretisation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from pynode.records.schema import Count, NonNegative, Positive, PositiveNumber, Seconds

Use = Literal["other", "training", "evaluation", "mixed"]
"""Which discretisation a record is about: any other, the training's own, dopri5 at the tolerances of the evaluation, or
there by the training's and back by the evaluation's."""


@dataclass(frozen=True)
class RediscretisationRecord:
    """A trained flow under a scheme with `setting` steps per block (fixed), or a solver at rtol `setting` (adaptive).

    `nll` in nats over `samples` test rows, exact trace; inverse errors as in `flows.metrics.inverse_errors`; `bound`
    is the inverse error that the study allows; `nfe` field evaluations of one log-likelihood (of the chunk of rows that
    needed most).  Values are null where the solve failed, and `failure` says how.

    `trained_scheme` with `trained_steps` or `trained_rtol` is the discretisation that the flow was trained with;
    records of earlier versions don't have it.  Records of the use "mixed" name the scheme of the way there, and have no
    `nll`.

    `engine` is what ran the solves, `load_average` the machine's over the minute before they ended, `commit` that of
    pynode's checkout and `changed` whether its code had changes.  These are empty or null in records of earlier
    versions, and the commit outside of a checkout.
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
    use: Use = "other"
    atol: NonNegative | None = None
    trained_scheme: str = ""
    trained_steps: Positive | None = None
    trained_rtol: PositiveNumber | None = None
    engine: str = ""
    load_average: NonNegative | None = None
    commit: str = ""
    changed: bool | None = None

    @property
    def inverse(self) -> float | None:
        """The worse of both directions, mean 2-norm per sample."""
        if self.inverse_data is None or self.inverse_base is None:
            return None
        return max(self.inverse_data, self.inverse_base)

    @property
    def trained(self) -> str:
        """The method and the discretisation of the training: "disc-opt rk38 x 2", "opt-disc dopri5 rtol 1e-05"."""
        if self.trained_steps is not None:
            return f"{self.trained_by} {self.trained_scheme} x {self.trained_steps}"
        if self.trained_rtol is not None:
            return f"{self.trained_by} {self.trained_scheme} rtol {self.trained_rtol:.0e}"
        return self.trained_by


def bounds(records: Iterable[RediscretisationRecord]) -> str:
    """The inverse errors that the study allows: one, unless runs were evaluated by themselves with others."""
    return " or ".join(f"{bound:g}" for bound in sorted({record.bound for record in records}))


def sizes(records: Iterable[RediscretisationRecord]) -> str:
    """Of how many test samples the values are means, as `bounds` has it."""
    return " or ".join(f"{n:,}" for n in sorted({record.samples for record in records}))


def others(records: Iterable[RediscretisationRecord]) -> list[RediscretisationRecord]:
    """The records of a grid of discretisations: all but those of the training's own and of the evaluation's."""
    return [record for record in records if record.use == "other"]
