"""How many operators a solver starts for an evaluation and for a product, and how often it passes over its state.

Neither depends on the sizes, so both are counted on runs of a few numbers: a real loss and gradient of the problem's
architecture with three units a layer, and a real solve of y' = -y.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from experiments.scale.work import OperatorCounter
from pynode.fields.base import FieldSpec, field_from_json
from pynode.flows.divergence import Divergence, Hutchinson
from pynode.flows.flow import Flow
from pynode.flows.probes import Draw
from pynode.methods.base import GradientMethod

UNITS, ROWS, ENTRIES = 3, 4, 1000


@dataclass(frozen=True)
class Launches:
    """Operators started for a field evaluation of the forward solve and for a product of the backward one, with all
    that the solver does between."""

    evaluation: float
    product: float


def small(spec: FieldSpec) -> FieldSpec:
    """The same architecture with few units."""
    widths: tuple[int, ...] = spec.widths  # type: ignore[attr-defined]
    narrow = (widths[0], *(UNITS,) * (len(widths) - 2), widths[-1])
    return field_from_json({**spec.to_json(), "widths": list(narrow)})


@lru_cache(maxsize=256)
def launches(
    spec: FieldSpec, divergence: Divergence | None, method: GradientMethod, times: tuple[float, ...]
) -> Launches:
    """Counts of `method` (by torch operators) on a trajectory with outputs at `times`, or on a flow up to the last."""
    narrow, n_outputs = small(spec), len(times)
    if divergence is None:
        field = narrow.build(seed=0, dtype=torch.float64)
        y0 = torch.linspace(0.5, 1.0, spec.state_dim, dtype=torch.float64)
        with OperatorCounter() as forward:
            solution = method.solve(field, y0, torch.tensor(times, dtype=torch.float64))
            loss, stats = solution.ys.square().sum(), solution.stats
    else:
        assert n_outputs == 2
        flow = Flow.build(narrow, seed=0, horizon=times[-1])
        x = torch.linspace(-1, 1, ROWS * spec.state_dim, dtype=torch.float64).reshape(ROWS, -1)
        draw = Draw(0, 0)
        if isinstance(divergence, Hutchinson):
            draw = draw.ahead(divergence.noise, x, 1)
        with OperatorCounter() as forward:
            moved = flow(x, method=method, divergence=divergence, draw=draw)
            loss, stats = -moved.log_prob.mean(), moved.solves[0]
    with OperatorCounter() as backward:
        loss.backward()
    return Launches(forward.work.launches / stats.forward.n_f, backward.work.launches / max(1, stats.backward.n_vjp))


class _Decay(nn.Module):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        return -y


@lru_cache(maxsize=64)
def passes(method: GradientMethod, n_outputs: int = 2) -> float:
    """How often `method` reads or writes its whole state for each evaluation, the field's own reading aside."""
    y0, ts = torch.ones(ENTRIES, dtype=torch.float64), torch.linspace(0, 1, n_outputs, dtype=torch.float64)
    own: dict[str, Any] = {"engine": "eager"} if "engine" in method.option_names() else {}
    with OperatorCounter() as counter, torch.no_grad():
        solution = replace(method, **own).solve(_Decay(), y0, ts)
    return counter.work.bytes / (y0.nbytes * solution.stats.forward.n_f) - 2.0
