"""The divergence of a field along a solve: exact, or Hutchinson's estimate with one probe a sample.

Both work by tangents pushed forward with the field, so that a solve builds no autograd graph inside itself and training
needs one backward pass.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from pynode.errors import UnknownName
from pynode.fields.base import Field, jacobian_vector_products, trace_of, unit_tangents
from pynode.flows.probes import Draw, Noise
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
    """The trace itself: dim tangents, or the field's closed form."""

    def probes(self, draw: Draw, z: State, block: int) -> None:  # noqa: ARG002
        return None

    def __call__(self, field: nn.Module, t: Tensor, z: State, probes: Tensor | None, *, frobenius: bool) -> Slope:  # noqa: ARG002
        if isinstance(field, Field) and not frobenius:
            return Slope(*field.divergence(t, z), None)
        dz, products = tangents(field, t, z, unit_tangents(z))
        squares = products.square().sum((0, -1)).expand(z.shape[:-1]) if frobenius else None
        return Slope(dz, trace_of(products, z), squares)


@dataclass(frozen=True)
class Hutchinson(Divergence):
    """e^T (df/dz) e with E[e e^T] = I (Hutchinson 1990), unbiased; |df/dz e|^2 estimates the squared Frobenius norm.

    The probe e of a sample stays the same for a whole solve: redrawn at each evaluation, it would turn the ODE into
    noise and an adaptive solver's steps to nothing (Grathwohl et al. 2019, sec. 3.1).
    """

    noise: Noise = "gaussian"

    def probes(self, draw: Draw, z: State, block: int) -> Tensor:
        return draw.probes(self.noise, z, block)

    def __call__(self, field: nn.Module, t: Tensor, z: State, probes: Tensor | None, *, frobenius: bool) -> Slope:
        assert probes is not None  # a solve asks `probes` first
        dz, products = tangents(field, t, z, probes[None])
        pushed = products[0]
        return Slope(dz, (pushed * probes).sum(-1), pushed.square().sum(-1) if frobenius else None)


def tangents(field: nn.Module, t: Tensor, z: State, v: Tensor) -> tuple[State, Tensor]:
    """f(t, z) and df/dz times `v` `(k, batch or 1, dim)`: by the field's own formula, else by forward-mode AD.

    A module of the user's must treat samples independently of each other.
    """
    if isinstance(field, Field):
        return field.tangents(t, z, v)
    return jacobian_vector_products(lambda y: field(t, y), z, v)


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
