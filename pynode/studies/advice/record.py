"""Records of `advise`: what was measured of one setting at one set of weights, and of the weights themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pynode.records.schema import Count, NonNegative, PositiveNumber, Seconds
from pynode.studies.gradients.record import UNTRAINED, agree

REHEARSED = "rehearsed"
"""The weights after the short training that `advise` does where no trained weights are given."""

STARTS = (UNTRAINED,)
"""Weights at which training begins; at all others it is under way or done."""


@dataclass(frozen=True)
class AdviceRecord:
    """One setting of one method at one set of weights: how far its gradient is off, and what it costs.

    `method` names the gradient method, `options` are all of its options.  `error` is the distance of the gradient from
    that of the continuous problem, relative to it (2-norm over all parameters), `loss_error` that of the loss, in units
    of the loss and with its sign; null where the solve failed, and then `failure` says how.  Counts are those of one
    loss and gradient on the batch that errors are measured on.

    `seconds` is the median over `repeats` of one loss and gradient on the training's batch, `scatter` the interquartile
    range over that median, and `ratio` the time over that of the fastest setting, by lower quartiles over the same
    rounds, which a load of the machine leaves as they are; `ratio_scatter` is how far that ratio differs between the
    even and the odd rounds.  `first_seconds` is a single run of the batch that errors are
    measured on.  `memory_bytes` is the peak of one loss and gradient.  Null where they were not measured: the setting
    was discarded before.

    `drift` is how far a state that was solved backwards left the stored one, in units of the tolerances.  `iterations`
    and `reached` are those of the trial: a short training from the first weights, and the lowest loss near its end,
    solved accurately.
    """

    problem: str
    weights: str
    method: str
    label: str
    family: str
    adaptive: bool
    setting: NonNegative
    options: dict[str, Any]
    engine: str = ""
    error: NonNegative | None = None
    loss: float | None = None
    loss_error: float | None = None
    nfe_forward: Count = 0
    nfe_backward: Count = 0
    n_vjp: Count = 0
    steps: Count = 0
    rejected: Count = 0
    first_seconds: Seconds | None = None
    seconds: Seconds | None = None
    scatter: NonNegative | None = None
    repeats: Count = 0
    ratio: NonNegative | None = None
    ratio_scatter: NonNegative | None = None
    memory_bytes: Count | None = None
    drift: NonNegative | None = None
    failure: str | None = None
    iterations: Count = 0
    reached: float | None = None
    outside: bool = False

    @property
    def evaluations(self) -> int:
        """Field evaluations and vector-Jacobian products."""
        return self.nfe_forward + self.nfe_backward + self.n_vjp

    @property
    def key(self) -> str:
        """What tells settings apart: the method and all of its options."""
        return f"{self.method} {sorted(self.options.items())}"

    @property
    def is_discrete(self) -> bool:
        """Whether the gradient is the exact one of the loss as it is computed (Disc-Opt)."""
        return not self.adaptive

    @property
    def is_steady(self) -> bool:
        """Whether the repeated times agree, as far as is known."""
        return agree(self.scatter)

    @property
    def compares(self) -> bool:
        """Whether its time compares with those of others: their ratios in the same rounds agree."""
        return agree(self.ratio_scatter)


@dataclass(frozen=True)
class AdviceWeights:
    """One set of weights that settings are measured at, the reference there, and how and where it was measured.

    `loss` and `gradient_norm` are those of the continuous problem, its gradient known to `uncertainty` (relative) and
    its loss to `loss_uncertainty` (in units of the loss); null where the reference was not verified.  `iterations` is
    how many a rehearsal took to come here, with `learning_rate`; 0 for weights that were there.  `samples` is the size
    of the batch that errors are measured on, `timed_samples` of the one that is timed (0: not known).  `trial_loss` is
    the loss that the accurate setting reaches by the training that the others are tried by.  `config` says what was
    asked for, `environment` what it ran on: versions, processor, commit; `load` is the load average of the machine,
    least and most.
    """

    problem: str
    weights: str
    loss: float
    gradient_norm: NonNegative
    uncertainty: NonNegative | None
    loss_uncertainty: NonNegative | None
    reference: str
    n_params: Count
    samples: Count = 0
    timed_samples: Count = 0
    iterations: Count = 0
    learning_rate: NonNegative | None = None
    trial_loss: float | None = None
    budget: PositiveNumber | None = None
    spent: NonNegative = 0.0
    load: tuple[NonNegative, NonNegative] | None = None
    notes: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    rows: str = ""

    @property
    def is_start(self) -> bool:
        """Whether training begins here."""
        return self.weights in STARTS
