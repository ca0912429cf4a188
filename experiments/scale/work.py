"""What an evaluation of a field, a product with it, and a solver around them do: counted, not estimated.

torch's own operators run on tensors without memory ("meta"), at the sizes of the study, and a dispatch mode adds up
their multiplications, bytes and launches, so the counts are those of the eager engine, which is what runs on GPUs.
`experiments.benchmarks.ceilings` has the least work of the same algorithm in closed form; the tests compare the two.
How many operators a solver launches does not depend on the sizes: it is counted on solves of a few numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from pynode.fields.base import FieldSpec, field_from_json
from pynode.flows.augmented import AugmentedField, RunningCosts
from pynode.flows.divergence import Divergence, Hutchinson
from pynode.flows.flow import Flow
from pynode.flows.probes import Draw
from pynode.methods.base import GradientMethod

ATEN = torch.ops.aten

LAUNCH_NOTHING = {ATEN.detach, ATEN._unsafe_view, ATEN.lift_fresh, ATEN.empty, ATEN.empty_like}
"""Operators besides views that only pass on, or take, memory."""

UNITS, ROWS, ENTRIES = 3, 4, 1000


class Work(NamedTuple):
    """Operations in products of matrices, bytes read and written by all operators, operators started."""

    operations: float
    bytes: float
    launches: float

    def times(self, n: float) -> Work:
        """`n` times as much."""
        return Work(self.operations * n, self.bytes * n, self.launches * n)

    def plus(self, other: Work) -> Work:
        """Both."""
        return Work(*(a + b for a, b in zip(self, other, strict=True)))


NOTHING = Work(0.0, 0.0, 0.0)


class OperatorCounter(TorchDispatchMode):
    """Adds up the work of all torch operators inside it, those of a backward pass too."""

    def __init__(self) -> None:
        super().__init__()
        self.work = NOTHING

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        packet = func._overloadpacket
        if func.is_view or packet in LAUNCH_NOTHING:
            return out
        tensors = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, Tensor)]
        operations = 0.0
        if packet in flop_registry:
            operations = float(flop_registry[packet](*args, **kwargs, out_val=out))
        elif packet in (ATEN.mv, ATEN.addmv):
            operations = 2.0 * max(x.numel() for x in tensors)
        touched = float(sum(x.numel() * x.itemsize for x in tensors))
        self.work = self.work.plus(Work(operations, touched, 1.0))
        return out


@dataclass(frozen=True)
class Evaluation:
    """Work of one evaluation of a field for all rows, of one vector-Jacobian product with it (by state and parameters),
    and the bytes that autograd keeps of an evaluation until the product is taken."""

    forward: Work
    product: Work
    kept_bytes: float


@lru_cache(maxsize=4096)
def evaluation(spec: FieldSpec, rows: int, dtype: str, divergence: Divergence | None) -> Evaluation:
    """One evaluation at `rows` samples: of the field alone (None, a state `(dim,)` where there is one row), or of the
    field with its divergence.  Launches are left out: `launches` has them, with all that a solver does between."""
    kind: torch.dtype = getattr(torch, dtype)
    field = spec.build(seed=0, dtype=kind, device="cpu").to("meta")

    def on_meta(*shape: int, wanted: bool = False) -> Tensor:
        return torch.empty(shape, dtype=kind, device="meta", requires_grad=wanted)

    right_hand_side: Callable[[Tensor, Tensor], Tensor]
    if divergence is None:
        right_hand_side = field
        y = on_meta(spec.state_dim, wanted=True) if rows == 1 else on_meta(rows, spec.state_dim, wanted=True)
    else:
        probes = on_meta(rows, spec.state_dim) if isinstance(divergence, Hutchinson) else None
        right_hand_side = AugmentedField(field, spec.state_dim, divergence, probes, RunningCosts())
        y = on_meta(rows, spec.state_dim + 1, wanted=True)
    kept: dict[int, int] = {}
    owned = {p.untyped_storage()._cdata for p in field.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in owned:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    with OperatorCounter() as forward, torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        slope = right_hand_side(on_meta(), y)
    with OperatorCounter() as product:
        torch.autograd.grad(slope, (y, *field.parameters()), torch.empty_like(slope))
    return Evaluation(forward.work._replace(launches=0), product.work._replace(launches=0), float(sum(kept.values())))


@lru_cache(maxsize=4096)
def forward_work(spec: FieldSpec, rows: int, dtype: str, divergence: Divergence) -> Work:
    """One evaluation without a graph, as validation and test take them; launches left out."""
    kind: torch.dtype = getattr(torch, dtype)
    field: nn.Module = spec.build(seed=0, dtype=kind, device="cpu").to("meta")
    probes = torch.empty(rows, spec.state_dim, dtype=kind, device="meta")
    augmented = AugmentedField(
        field, spec.state_dim, divergence, probes if isinstance(divergence, Hutchinson) else None, RunningCosts()
    )
    with OperatorCounter() as counter, torch.no_grad():
        augmented(
            torch.empty((), dtype=kind, device="meta"),
            torch.empty(rows, spec.state_dim + 1, dtype=kind, device="meta"),
        )
    return counter.work._replace(launches=0)


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
            moved = flow.transport(x, method=method, divergence=divergence, draw=draw)
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
