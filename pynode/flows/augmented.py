"""The field of one solve of a flow: state, context, log-density and running costs side by side."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pynode.fields.base import Extended, System, system_of, why_no_system
from pynode.flows.divergence import Divergence, Exact, Hutchinson
from pynode.types import State


class RunningCosts(NamedTuple):
    """Which running costs join the solve: 1/2 int |f|^2 dt, and int |df/dz|_F^2 dt, both per sample."""

    kinetic: bool = False
    jacobian: bool = False

    @property
    def columns(self) -> int:
        """Columns that they add to the state."""
        return int(self.kinetic) + int(self.jacobian)


class AugmentedField(Extended):
    """d/dt (z, l, costs) = (f, -tr df/dz, running costs) on `(batch, dim + 1 + costs)`: one solve for all of them.

    l is the change of the log-density along the trajectory (Chen et al. 2018, eq. 8).  With a context of k columns the
    state is `(z, context, l, costs)`, and `dim` of it are those of z and context, which the field takes and gives; the
    derivative of the context is zero, and trace and running costs are by z alone.
    """

    has_specification: ClassVar[bool] = True

    def __init__(
        self,
        field: nn.Module,
        dim: int,
        divergence: Divergence,
        probes: Tensor | None,
        costs: RunningCosts,
        context: int = 0,
    ):
        super().__init__()
        self.field, self.dim, self.divergence, self.costs, self.context = field, dim, divergence, costs, context
        self.probes = probes

    def initial(self, z: State) -> State:
        """`z` `(batch, dim)`, which holds the context, with zeros beside it."""
        return torch.cat((z, z.new_zeros(len(z), 1 + self.costs.columns)), dim=-1)

    def why_unspecified(self) -> str | None:
        """Why field and divergence do not follow from a specification, as a sentence; None where they do."""
        if reason := self.why_not_extended():
            return reason
        reason = why_no_system(self.field)
        return None if reason is None else f"of the field in it, {type(self.field).__name__}: {reason}"

    def why_not_extended(self) -> str | None:
        if type(self.divergence) not in (Exact, Hutchinson):
            return f"its divergence {type(self.divergence).__name__} is the user's own"
        return None

    def system(self) -> System:
        """The augmented field as other backends can rebuild it; raises `InvalidArgument` for a module of the user's."""
        return self.extend(system_of(self.field))

    def extend(self, inner: System) -> System:
        exact = type(self.divergence) is Exact
        kind, probes = ("exact", None) if exact else ("hutchinson", self.probes)
        flow: dict[str, Any] = {"divergence": kind, "kinetic": self.costs.kinetic, "jacobian": self.costs.jacobian}
        if self.context:
            flow["context"] = self.context
            probes = None if probes is None else F.pad(probes, (0, self.context))  # not a function of the context
        return System(inner.spec, inner.theta, self.dim + 1 + self.costs.columns, flow, probes)

    def around(self, field: nn.Module) -> AugmentedField:
        return AugmentedField(field, self.dim, self.divergence, self.probes, self.costs, self.context)

    def forward(self, t: Tensor, state: State) -> State:
        """The derivative of the augmented state."""
        y, wanted = state[..., : self.dim], self.costs.jacobian
        if self.context:
            dim = self.dim - self.context
            slope = self.divergence.beside_context(self.field, t, y, self.probes, dim, frobenius=wanted)
        else:
            slope = self.divergence(self.field, t, y, self.probes, frobenius=wanted)
        columns = [slope.dz, -slope.trace[..., None]]
        if self.costs.kinetic:
            columns.append(0.5 * slope.dz.square().sum(-1, keepdim=True))
        if slope.frobenius is not None:
            columns.append(slope.frobenius[..., None])
        return torch.cat(columns, dim=-1)
