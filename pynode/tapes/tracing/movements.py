"""Rules for operators that move numbers: they act on labels as they act on numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pynode.tapes.tracing.rules import DATA_MOVEMENTS, Unsupported, rule, tensors_in
from pynode.tapes.tracing.tracer import Tracer

MOVES = (
    "cat", "stack", "clone", "repeat", "repeat_interleave", "flip", "roll", "rot90", "index_select", "gather", "index",
    "take", "take_along_dim", "contiguous", "tile", "unfold_copy", "slice_scatter", "select_scatter",
    "diagonal_scatter", "as_strided_copy", "diag_embed", "expand_copy", "view_copy", "_reshape_copy",
    "_unsafe_view", "permute_copy", "transpose_copy", "t_copy", "slice_copy", "select_copy", "unsqueeze_copy",
    "squeeze_copy", "split_copy", "split_with_sizes_copy", "unbind_copy", "diagonal_copy", "index_put", "scatter",
    "select_backward", "slice_backward", "diagonal_backward", "channel_shuffle", "pixel_shuffle", "narrow_copy",
    "swapaxes", "index_fill", "index_copy",
)  # fmt: skip
FILLED = {"select_backward", "slice_backward", "diagonal_backward", "diag_embed"}
"""They put numbers into zeros."""

DATA_MOVEMENTS.update(MOVES, ("constant_pad_nd", "embedding", "tril", "triu", "copy", "fill", "zero"))


@rule(*MOVES)
def _move(tracer: Tracer, result: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG001
    name = tracer.operator
    if any(x.dtype is not torch.bool and not x.is_floating_point() and tracer.is_labelled(x) for x in tensors_in(args)):
        raise Unsupported("it computes places in a tensor from t, y or parameters")
    if (name == "index_put" and True in (*args[3:4], kwargs.get("accumulate"))) or "reduce" in kwargs:
        raise Unsupported(f"pynode has no rule for {name} that adds up")
    own = [_labels_in(tracer, a) for a in args]
    moved = getattr(torch.ops.aten, name)(*own, **kwargs)
    if name in FILLED:
        zero = tracer.operand(0.0, ())
        ones = [torch.ones_like(a) if isinstance(a, Tensor) and a.dtype is torch.int64 else a for a in own]
        written = getattr(torch.ops.aten, name)(*ones, **kwargs)
        moved = torch.where(written == 1, moved, zero)
    return moved


def _labels_in(tracer: Tracer, a: Any) -> Any:
    if isinstance(a, Tensor):
        if a.is_floating_point() or tracer.is_labelled(a):
            return tracer.operand(a, a.shape).contiguous()
        return a
    if isinstance(a, (tuple, list)):
        return [_labels_in(tracer, b) for b in a]
    return a


@rule("embedding")
def _embedding(tracer: Tracer, result: Tensor, weight: Tensor, places: Tensor, *_: Any) -> Tensor:  # noqa: ARG001
    return tracer.operand(weight, weight.shape)[places]


@rule("constant_pad_nd")
def _pad(tracer: Tracer, result: Tensor, x: Tensor, pad: list[int], value: float = 0.0) -> Tensor:  # noqa: ARG001
    return torch.constant_pad_nd(tracer.operand(x, x.shape), pad, int(tracer.operand(float(value), ())))


def _triangle(name: str) -> None:
    @rule(name)
    def act(tracer: Tracer, result: Tensor, x: Tensor, diagonal: int = 0) -> Tensor:  # noqa: ARG001
        kept = getattr(torch, name)(torch.ones(x.shape, dtype=torch.bool), diagonal)
        return torch.where(kept, tracer.operand(x, x.shape), tracer.operand(0.0, x.shape))


_triangle("tril")
_triangle("triu")
