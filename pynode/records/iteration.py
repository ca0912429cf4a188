"""The record of one training iteration."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class IterationRecord:
    """One training iteration: `loss` and costs belong to the parameters before its update.

    Seconds are wall clock of the forward solve with the loss, of the gradient, and of the optimiser, device
    synchronised; validation is outside.  `seconds_bridge` is that part of forward and backward which went into the way
    to Julia's process and back.  `nfe_*` are field evaluations, `n_vjp_*` vector-Jacobian products, the other `n_*`
    steps.  `engine` is what ran the solves ("eager", "fused", "julia", "mixed").  `peak_memory_bytes` is null where it
    was not measured (on the CPU that is done beside the clock, now and then).

    Where `ranks` processes share the batch, loss and gradient are those of all, counts and memory those of the first,
    and `seconds_exchange` what it spent on sums with the others, waiting for them included.  `failure` says why an
    iteration came to no update where the run went on nevertheless.
    """

    iteration: int
    loss: float | None
    best_loss: float | None
    validation_loss: float | None
    gradient_norm: float | None
    seconds_forward: float
    seconds_backward: float
    seconds_optimiser: float
    nfe_forward: int
    nfe_backward: int
    n_vjp_forward: int
    n_vjp_backward: int
    n_accepted: int
    n_rejected: int
    n_accepted_backward: int
    n_rejected_backward: int
    peak_memory_bytes: int | None
    seconds_bridge: float = 0.0
    engine: str = ""
    seconds_exchange: float = 0.0
    ranks: int = 1
    failure: str | None = None

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


TIMED_FIELDS = ("seconds_forward", "seconds_backward", "seconds_optimiser", "seconds_bridge", "seconds_exchange")
"""The fields of an `IterationRecord` that two runs of one configuration need not share."""
