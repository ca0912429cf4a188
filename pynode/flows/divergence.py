"""The divergence of a field along a solve: exact, or Hutchinson's estimate with one probe a sample.

pynode's own fields push tangents forward by their formulas: a solve builds no autograd graph inside itself, and
training needs one backward pass.  For any other module both work by reverse-mode products (see `reverse_mode`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pynode.errors import InvalidArgument, UnknownName
from pynode.fields.base import has_formulas
from pynode.flows.probes import NOISES, Draw, Noise
from pynode.flows.reverse_mode import Linearised
from pynode.tangents import trace_of, unit_tangents
from pynode.types import State


class Slope(NamedTuple):
    """dz/dt `(batch, dim)`, tr(df/dz) `(batch,)`, and the squared Frobenius norm of df/dz `(batch,)` if wanted."""

    dz: State
    trace: Tensor
    frobenius: Tensor | None


class Divergence(ABC):
    """How tr(df/dz) is obtained."""

    @abstractmethod
    def probes(self, draw: Draw, z: State, block: int) -> Tensor | None:
        """The probes of one whole solve, `(batch, dim)`, or None where none are used."""

    @abstractmethod
    def __call__(self, field: nn.Module, t: Tensor, z: State, probes: Tensor | None, *, frobenius: bool) -> Slope:
        """Field, divergence and, if wanted, the squared Frobenius norm at one point."""


@dataclass(frozen=True)
class Exact(Divergence):
    """The trace itself, by the field's closed form or dim products with the Jacobian."""

    def probes(self, draw: Draw, z: State, block: int) -> None:  # noqa: ARG002
        return None

    def __call__(self, field: nn.Module, t: Tensor, z: State, probes: Tensor | None, *, frobenius: bool) -> Slope:  # noqa: ARG002
        if not has_formulas(field):
            return _trace_by_rows(field, t, z, frobenius=frobenius)
        if not frobenius:
            return Slope(*field.divergence(t, z), None)
        dz, products = field.tangents(t, z, unit_tangents(z))
        return Slope(dz, trace_of(products, z), products.square().sum((0, -1)).expand(z.shape[:-1]))


@dataclass(frozen=True)
class Hutchinson(Divergence):
    """e^T (df/dz) e with E[e e^T] = I (Hutchinson 1990), unbiased; |df/dz e|^2 estimates the squared Frobenius norm.

    The probe e of a sample stays the same for a whole solve: redrawn at each evaluation, it would turn the ODE into
    noise and an adaptive solver's steps to nothing (Grathwohl et al. 2019, sec. 3.1).
    """

    noise: Noise = "gaussian"

    def __post_init__(self) -> None:
        if self.noise not in NOISES:
            raise InvalidArgument("noise", repr(self.noise), "unknown", f"use one of {', '.join(NOISES)}")

    def probes(self, draw: Draw, z: State, block: int) -> Tensor:
        return draw.probes(self.noise, z, block)

    def __call__(self, field: nn.Module, t: Tensor, z: State, probes: Tensor | None, *, frobenius: bool) -> Slope:
        assert probes is not None  # a solve asks `probes` first
        if has_formulas(field):
            dz, products = field.tangents(t, z, probes[None])
            product = products[0]
        else:
            point = Linearised(field, t, z)
            # the trace's estimate is the same from either side, the norm's is not
            dz, product = point.value, point.column(probes) if frobenius else point.row(probes, last=True)
        return Slope(dz, (product * probes).sum(-1), product.square().sum(-1) if frobenius else None)


def _trace_by_rows(field: nn.Module, t: Tensor, z: State, *, frobenius: bool) -> Slope:
    """Value, trace and squared Frobenius norm of a module's Jacobian from its rows, one reverse product each.

    A loop, since one batched product for all rows (`is_grads_batched`) is slower to differentiate, needs dim times the
    memory, and can't follow every operator.
    """
    point, dim = Linearised(field, t, z), z.shape[-1]
    trace, squares = z.new_zeros(z.shape[:-1]), z.new_zeros(z.shape[:-1])
    for i, unit in enumerate(torch.eye(dim, dtype=z.dtype, device=z.device)):
        row = point.row(unit.expand_as(z), last=i == dim - 1)
        trace = trace + row[..., i]
        if frobenius:
            squares = squares + row.square().sum(-1)
    return Slope(point.value, trace, squares if frobenius else None)


KINDS: dict[str, Divergence] = {
    "exact": Exact(),
    "gaussian": Hutchinson("gaussian"),
    "rademacher": Hutchinson("rademacher"),
}


def divergence(name: str) -> Divergence:
    """ "exact", "gaussian" or "rademacher" (Hutchinson with that noise); raises `UnknownName`."""
    if not isinstance(name, str) or name not in KINDS:  # from a file it may be anything
        raise UnknownName("divergence", str(name), KINDS)
    return KINDS[name]
