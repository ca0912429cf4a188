"""Records of advice as tests make them."""

from __future__ import annotations

from typing import Any

from pynode.studies.advice.record import AdviceRecord, AdviceWeights


def discrete(steps: int, *, weights: str = "rehearsed", scheme: str = "rk4", **values: Any) -> AdviceRecord:
    """Disc-Opt with so many steps."""
    options = {"scheme": scheme, "steps": steps, "memory": "store", "budget": None, "engine": "auto"}
    label, family = f"disc-opt-{scheme}-x{steps}", f"disc-opt {scheme}"
    defaults = {"engine": "fused", "nfe_forward": 4 * steps, "n_vjp": 4 * steps, "loss_error": 0.0}
    return AdviceRecord("p", weights, "disc-opt", label, family, False, float(steps), options, **{**defaults, **values})


def continuous(
    rtol: float, *, weights: str = "rehearsed", adjoint: str = "interpolating", **values: Any
) -> AdviceRecord:
    """Opt-Disc at this tolerance."""
    options = {"solver": "dopri5", "rtol": rtol, "atol": rtol / 100, "adjoint": adjoint, "engine": "auto"}
    kind = "" if adjoint == "interpolating" else f" {adjoint}"
    label, family = f"opt-disc-dopri5-rtol{rtol:.0e}{kind.replace(' ', '-')}", f"opt-disc dopri5{kind}"
    defaults = {"engine": "fused", "nfe_forward": 40, "nfe_backward": 40, "n_vjp": 40, "loss_error": 0.0}
    return AdviceRecord("p", weights, "opt-disc", label, family, True, rtol, options, **{**defaults, **values})


def at(weights: str, loss: float = 1.0, **values: Any) -> AdviceWeights:
    """Weights with this loss."""
    return AdviceWeights(
        "p", weights, loss, values.pop("gradient_norm", 1.0), values.pop("uncertainty", 1e-9), 0.0, "ref", 10, **values
    )


def timed(milliseconds: float, **values: Any) -> dict[str, Any]:
    """Values of a record that was timed."""
    seconds = milliseconds / 1000
    return {"seconds": seconds, "scatter": 0.01, "repeats": 9, "ratio": seconds, "ratio_scatter": 0.01, **values}
