"""What a fused Opt-Disc solve can be told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AdaptiveOptions:
    """Options of an adaptive solve and of its continuous adjoint, checked by the caller.

    `solver` is "dopri5" (Dormand & Prince 1980) or "tsit5" (Tsitouras 2011), each with its own interpolant.  Tolerances
    are per step; the adjoint's are the forward ones where they are None.

    `adjoint` says where the state comes from on the way back: "backsolve" solves it once more, anew from each output
    time; "interpolating" reads it from the forward solve's interpolant, which is kept.

    `adjoint_norm` says what controls the adjoint's steps: "mixed" the largest of the root mean squares of state,
    adjoint and each parameter's gradient; "seminorm" the same without the gradients, which need no error estimate then;
    "rms" the root mean square of everything together, as SciML has it.  With `landing` the forward solve steps onto the
    output times instead of interpolating between steps.

    `drift` says what follows where a state that was solved backwards has left the stored one ("error", "warn",
    "ignore").
    """

    solver: str = "dopri5"
    rtol: float = 1e-7
    atol: float = 1e-9
    adjoint_rtol: float | None = None
    adjoint_atol: float | None = None
    adjoint: str = "interpolating"
    adjoint_norm: str = "mixed"
    max_steps: int = 10_000
    landing: bool = False
    drift: str = "error"


SOLVERS = ("dopri5", "tsit5")
ADJOINTS = ("backsolve", "interpolating")
ADJOINT_NORMS = ("mixed", "seminorm", "rms")
