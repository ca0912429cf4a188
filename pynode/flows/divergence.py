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
        """Field, divergence and, if wanted, the squared Frobenius norm at one point.

        In a flow with a context, `field` is f(t, z) at the context of each sample.
        """

    def beside_context(
        self, field: nn.Module, t: Tensor, y: State, probes: Tensor | None, dim: int, *, frobenius: bool
    ) -> Slope:
        """What a call returns, for a `field` of states with a context `y` `(batch, dim + context)`.

        Divergence and norm are by the first `dim` columns; dz has the width of `y`, with zeros for the context.
        """
        z, context = y[..., :dim], y[..., dim:]
        slope = self(AtContext(field, context), t, z, probes, frobenius=frobenius)
        return slope._replace(dz=torch.cat((slope.dz, torch.zeros_like(context)), dim=-1))


@dataclass(frozen=True)
class Exact(Divergence):
    """The trace itself, by the field's closed form or dim products with the Jacobian."""

    def probes(self, draw: Draw, z: State, block: int) -> None:  # noqa: ARG002
        return None

    def __call__(self, field: nn.Module, t: Tensor, z: State, probes: Tensor | None, *, frobenius: bool) -> Slope:  # noqa: ARG002
        return _exact(field, t, z, z.shape[-1], frobenius=frobenius)

    def beside_context(
        self,
        field: nn.Module,
        t: Tensor,
        y: State,
        probes: Tensor | None,
        dim: int,
        *,
        frobenius: bool,
    ) -> Slope:
        if type(self) is not Exact:
            return super().beside_context(field, t, y, probes, dim, frobenius=frobenius)
        return _exact(field, t, y, dim, frobenius=frobenius)


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

    def beside_context(
        self, field: nn.Module, t: Tensor, y: State, probes: Tensor | None, dim: int, *, frobenius: bool
    ) -> Slope:
        if type(self) is not Hutchinson or probes is None:
            return super().beside_context(field, t, y, probes, dim, frobenius=frobenius)
        # zeros leave out the context's columns, as the context's rows of the Jacobian are zero
        padded = torch.nn.functional.pad(probes, (0, y.shape[-1] - dim))
        return self(field, t, y, padded, frobenius=frobenius)


class AtContext(nn.Module):
    """A field of `(z, context)` as a function of z `(batch, dim)`, at the `context` `(batch, k)` of each sample."""

    def __init__(self, field: nn.Module, context: Tensor) -> None:
        super().__init__()
        self.field, self.context = field, context

    def forward(self, t: Tensor, z: State) -> State:
        """dz/dt `(batch, dim)`."""
        slope: Tensor = self.field(t, torch.cat((z, self.context), dim=-1))
        return slope[..., : z.shape[-1]]


def _exact(field: nn.Module, t: Tensor, y: State, dim: int, *, frobenius: bool) -> Slope:
    """Value, trace and squared Frobenius norm by the first `dim` columns of `y` `(batch, dim + context)`."""
    if not has_formulas(field):
        return _trace_by_rows(field, t, y, dim, frobenius=frobenius)
    if not frobenius:
        return Slope(*field.divergence(t, y), None)
    dz, products = field.tangents(t, y, unit_tangents(y)[:dim])
    return Slope(dz, trace_of(products, y), products.square().sum((0, -1)).expand(y.shape[:-1]))


def _trace_by_rows(field: nn.Module, t: Tensor, y: State, dim: int, *, frobenius: bool) -> Slope:
    """Value, trace and squared Frobenius norm of a module's Jacobian from its rows, one reverse product each.

    A loop, since one batched product for all rows (`is_grads_batched`) is slower to differentiate, needs dim times the
    memory, and can't follow every operator.
    """
    point = Linearised(field, t, y)
    trace, squares = y.new_zeros(y.shape[:-1]), y.new_zeros(y.shape[:-1])
    for i, unit in enumerate(torch.eye(y.shape[-1], dtype=y.dtype, device=y.device)[:dim]):
        row = point.row(unit.expand_as(y), last=i == dim - 1)
        trace = trace + row[..., i]
        if frobenius:
            squares = squares + row[..., :dim].square().sum(-1)
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
