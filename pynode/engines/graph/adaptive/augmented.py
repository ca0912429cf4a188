"""The right-hand side of the adjoint's solve, for a recording, and the flat vector that is solved for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pynode.engines.graph.adaptive.inputs import StaticField
from pynode.engines.graph.adaptive.nodes import Nodes
from pynode.types import State


class Augmented:
    """The derivative of (y, adjoint, gradients), or of (adjoint, gradients) with y interpolated between `nodes`.

    The adjoint has the shape of the state `like`; the gradients are those by `sources`, the tensors that the field
    reads and that want one.  `sign` is that of the forward solve: nodes lie at s = sign * t.
    """

    def __init__(
        self, field: StaticField, nodes: Nodes | None, like: State, sources: Sequence[Tensor], sign: float
    ) -> None:
        self._field, self._nodes, self._sign = field, nodes, sign
        self._shape, self._dim = like.shape, like.numel()
        self.states = 1 if nodes is not None else 2
        """Vectors of the state's size at the beginning: y if it is solved for, and the adjoint."""
        self.sizes = [*[self._dim] * self.states, *(x.numel() for x in sources)]
        """The sizes of all parts."""

    def __call__(self, t: Tensor, augmented: Tensor) -> Tensor:
        y = self.state_of(t, augmented).detach().requires_grad_()
        slope, leaves = self._field.with_leaves(t, y)
        sources = (y, *leaves)
        if slope.requires_grad:
            cotangent = -self.adjoint_of(augmented)
            by_sources = torch.autograd.grad(slope, sources, cotangent, allow_unused=True, materialize_grads=True)
        else:  # the field is constant
            by_sources = tuple(torch.zeros_like(s) for s in sources)
        solved = [] if self._nodes is not None else [slope.detach().reshape(-1)]
        return torch.cat([*solved, *(g.reshape(-1) for g in by_sources)])

    def state_of(self, t: Tensor, augmented: Tensor) -> State:
        """The state at the time `t`."""
        if self._nodes is None:
            return augmented[: self._dim].reshape(self._shape)
        return self._nodes.state(self._sign * t.double())

    def adjoint_of(self, augmented: Tensor) -> Tensor:
        """The adjoint, as a view in the shape of the state."""
        end = self._dim * self.states
        return augmented[end - self._dim : end].reshape(self._shape)

    def gradients_of(self, augmented: Tensor) -> Tensor:
        """The gradients by all sources, as one flat view."""
        return augmented[self._dim * self.states :]
