"""The record of one training iteration."""

from __future__ import annotations

from dataclasses import dataclass, fields

from pynode.records.schema import Count, NonNegative, Positive, Seconds


@dataclass(frozen=True)
class IterationRecord:
    """One training iteration: `loss` and costs belong to the parameters before its update.

    Seconds are wall clock of the forward solve with the loss, of the gradient, and of the optimiser, device
    synchronised; validation is not included.  `seconds_bridge` is the part of forward and backward that was spent on
    the exchange with Julia's process.  `nfe_*` are field evaluations, `n_vjp_*` vector-Jacobian products, the other
    `n_*` steps.  `engine` is what ran the solves ("eager", "fused", "julia", "mixed").  `peak_memory_bytes` is null
    where it was not measured (on the CPU it is measured every few iterations, outside the timing).

    Where `ranks` processes share the batch, loss and gradient are those of all, counts and memory those of the first,
    and `seconds_exchange` the time it spent on sums with the others, including waiting.  `drift` is how far
    a state that was solved backwards left the stored one, in units of the tolerances.  `failure` says why an
    iteration made no update, if the run continued after it.  `load_average` is the machine's, over the last minute, at
    validations: above 1 by as much as other work shared the processor.

    `stage` is empty for iterations of Adam.  Others belong to the stage of that name after it (L-BFGS): their numbers
    begin at 0, `best_loss` is that of the stage, and an iteration takes several `gradients` where its line search tries
    several steps.
    """

    iteration: Count
    loss: float | None
    best_loss: float | None
    validation_loss: float | None
    gradient_norm: NonNegative | None
    seconds_forward: Seconds
    seconds_backward: Seconds
    seconds_optimiser: Seconds
    nfe_forward: Count
    nfe_backward: Count
    n_vjp_forward: Count
    n_vjp_backward: Count
    n_accepted: Count
    n_rejected: Count
    n_accepted_backward: Count
    n_rejected_backward: Count
    peak_memory_bytes: Count | None
    seconds_bridge: Seconds = 0.0
    engine: str = ""
    seconds_exchange: Seconds = 0.0
    ranks: Positive = 1
    failure: str | None = None
    drift: NonNegative | None = None
    load_average: NonNegative | None = None
    stage: str = ""
    gradients: Count = 1

    @property
    def seconds(self) -> float:
        """The whole iteration."""
        return self.seconds_forward + self.seconds_backward + self.seconds_optimiser + self.seconds_exchange

    @property
    def nfe(self) -> int:
        """The study's NFE-F + NFE-B."""
        return self.nfe_forward + self.nfe_backward

    @property
    def evaluations(self) -> int:
        """Field evaluations and vector-Jacobian products, forward and backward."""
        return self.nfe + self.n_vjp_forward + self.n_vjp_backward


def is_timed(name: str) -> bool:
    """Whether two runs of one configuration need not share the entry `name` of a record or a summary."""
    return "seconds" in name or name == "load_average"


TIMED_FIELDS = tuple(field.name for field in fields(IterationRecord) if is_timed(field.name))
"""The fields of an `IterationRecord` that two runs of one configuration need not share."""
