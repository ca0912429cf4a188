"""Operators that are taken apart for small matrices of one sample: inverses, determinants, attention.

Matrices of up to three rows have closed forms, which need no pivots: what is chosen by values can't be in a tape.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pynode.tapes.tracing.rules import COMPOSED, Unsupported

MOST_ROWS = 3


def _entries(A: Tensor) -> list[list[Tensor]]:
    return [list(row.unbind(-1)) for row in A.unbind(-2)]


def _adjugate(A: Tensor) -> tuple[Tensor, Tensor]:
    """The adjugate of `A` `(..., n, n)` and its determinant `(...)`."""
    n = A.shape[-1]
    if n > MOST_ROWS:
        raise Unsupported(f"it solves systems of more than {MOST_ROWS} equations that depend on the sample")
    a = _entries(A)
    if n == 1:
        return torch.ones_like(A), a[0][0]
    if n == 2:
        rows = [[a[1][1], -a[0][1]], [-a[1][0], a[0][0]]]
    else:
        rows = [[_minor(a, j, i) for j in range(3)] for i in range(3)]
    determinant = a[0][0] * rows[0][0]
    for k in range(1, n):
        determinant = determinant + a[0][k] * rows[k][0]
    return torch.stack([torch.stack(row, -1) for row in rows], -2), determinant


def _minor(a: list[list[Tensor]], i: int, j: int) -> Tensor:
    """The cofactor of entry (i, j) of a matrix of three rows."""
    k, m = (i + 1) % 3, (i + 2) % 3
    p, q = (j + 1) % 3, (j + 2) % 3
    return a[k][p] * a[m][q] - a[k][q] * a[m][p]


def _factors(A: Tensor) -> tuple[Tensor, Tensor]:
    """In place of the LU factors and pivots of `A`, which nothing may read."""
    return A.new_empty(A.shape), torch.zeros(A.shape[:-1], dtype=torch.int32)


def _inverse(A: Tensor, *, check_errors: bool = False) -> tuple[Tensor, Tensor]:
    del check_errors
    adjugate, determinant = _adjugate(A)
    return adjugate / determinant[..., None, None], torch.zeros(A.shape[:-2], dtype=torch.int32)


def _solve(A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False) -> tuple[Tensor, ...]:
    inverse, info = _inverse(A, check_errors=check_errors)
    vector = B.dim() == A.dim() - 1
    right = B[..., None] if vector else B
    solution = inverse @ right if left or vector else right @ inverse
    return (solution[..., 0] if vector else solution, *_factors(A), info)


def _determinant(A: Tensor) -> tuple[Tensor, ...]:
    return (_adjugate(A)[1], *_factors(A))


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    attn_mask: Tensor | None = None,
    scale: float | None = None,
) -> Any:
    if dropout_p:
        return NotImplemented
    scores = (query @ key.transpose(-2, -1)) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if is_causal:
        kept = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
        scores = scores.masked_fill(~kept, -1e300)
    if attn_mask is not None:
        scores = scores + attn_mask
    return torch.softmax(scores, -1) @ value, scores.new_empty(scores.shape[:-1])


COMPOSED.update(
    linalg_inv_ex=_inverse,
    _linalg_solve_ex=_solve,
    _linalg_det=_determinant,
    _scaled_dot_product_flash_attention_for_cpu=_attention,
)
