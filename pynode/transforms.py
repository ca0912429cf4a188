"""Transforms of torch.func, and tensors that stand for a whole batch inside them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.autograd import forward_ad

from pynode.errors import UnsupportedTransform

_functorch: Any = torch._C._functorch


def is_transformed() -> bool:
    """Whether a transform of torch.func (vmap, grad, jacrev, ...) or forward-mode AD is at work."""
    return bool(torch._C._are_functorch_transforms_active()) or forward_ad._current_level >= 0


def is_batched(x: Tensor) -> bool:
    """Whether `x` stands for several tensors at a time, as inside `vmap` or in the backward pass of a Jacobian."""
    return bool(_functorch.is_batchedtensor(x) or _functorch.is_legacy_batchedtensor(x))


def has_values(x: Tensor) -> bool:
    """Whether Python can read the entries of `x`, which a batched tensor has none of."""
    while _functorch.is_functorch_wrapped_tensor(x):
        if is_batched(x):
            return False
        x = _functorch.get_unwrapped(x)
    return True


def one_by_one(backward: Callable[..., tuple[Tensor | None, ...]], *cotangents: Tensor) -> tuple[Tensor | None, ...]:
    """`backward(*cotangents)` for batched cotangents: each of the batch by itself, and the results batched again."""
    first = next(c for c in cotangents if is_batched(c))
    if _functorch.is_legacy_batchedtensor(first):  # of torch.autograd.grad(..., is_grads_batched=True)
        level, rows_of, add_dimension = _legacy_level(), _legacy_rows, torch._add_batch_dim
    else:
        level, rows_of, add_dimension = _functorch.maybe_get_level(first), _rows, _functorch._add_batch_dim
    columns = [rows_of(c, level) if is_batched(c) else None for c in cotangents]
    n = next(len(column) for column in columns if column is not None)
    plain = all(has_values(column) for column in columns if column is not None)
    with temporarily_clear_interpreter_stack() if plain else nullcontext():
        results = [
            backward(*(c if column is None else column[i] for c, column in zip(cotangents, columns, strict=True)))
            for i in range(n)
        ]
    return tuple(
        None if column[0] is None else add_dimension(torch.stack(column), 0, level)
        for column in zip(*results, strict=True)
    )


def _rows(x: Tensor, level: int) -> Tensor:
    if _functorch.maybe_get_level(x) != level:
        raise UnsupportedTransform("nested vmaps of one backward pass are not possible; use one of them, or a loop")
    rows: Tensor = _functorch.get_unwrapped(x).movedim(_functorch.maybe_get_bdim(x), 0)
    return rows


def _legacy_rows(x: Tensor, level: int) -> Tensor:
    rows: Tensor = torch._remove_batch_dim(x, level, 0, 0)
    return rows


def _legacy_level() -> int:
    torch._C._vmapmode_increment_nesting()
    return int(torch._C._vmapmode_decrement_nesting())
