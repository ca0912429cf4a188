"""What one evaluation of a field does, and one product with it: counted, not estimated.

torch's own operators run on tensors without memory ("meta"), at the sizes of the study, and a dispatch mode adds up
their multiplications, bytes and launches.  So the counts are those of the eager engine, which is what runs on GPUs.
`experiments.benchmarks.counts` has the least work of the same algorithm in closed form; the tests hold one against the
other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from pynode.fields.base import FieldSpec
from pynode.flows.augmented import AugmentedField, RunningCosts
from pynode.flows.divergence import Divergence, Hutchinson

ATEN = torch.ops.aten

LAUNCH_NOTHING = {ATEN.detach, ATEN._unsafe_view, ATEN.lift_fresh, ATEN.empty, ATEN.empty_like}
"""Operators besides views that only pass on, or take, memory."""


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
