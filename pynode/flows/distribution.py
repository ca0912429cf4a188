"""The density of a flow as a distribution of torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from pynode.context import check_tensor
from pynode.errors import InvalidArgument
from pynode.flows.divergence import Divergence
from pynode.flows.probes import Draw
from pynode.methods.base import GradientMethod

if TYPE_CHECKING:
    from pynode.flows.flow import Flow


class FlowDistribution(Distribution):
    """p(x | context) of a flow: what `flow(context)` returns.

        density = flow(context)                            # context (k,) or (batch, k); flow() without one
        x, log_p = density.rsample_and_log_prob((1000,))   # (1000, *batch_shape, dim), (1000, *batch_shape)

    `batch_shape` is that of the context without its columns, `event_shape` is `(dim,)`.  All results can be
    differentiated by the flow's parameters and by the context.  Samples are new at every call and follow the flow's own
    draws, which its `seed` fixes; with a `draw` samples and probes are those of the draw, the same at every call.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self,
        flow: Flow,
        context: Tensor | None,
        *,
        method: GradientMethod | None = None,
        divergence: Divergence | None = None,
        draw: Draw | None = None,
        params: Sequence[Tensor] | None = None,
    ) -> None:
        self.flow, self.context = flow, context
        self.method, self.divergence, self.draw, self.params = method, divergence, draw, params
        batch = torch.Size(()) if context is None else context.shape[:-1]
        super().__init__(batch, torch.Size((flow.dim,)), validate_args=False)  # the flow checks what it is given

    @property
    def base(self) -> Distribution:
        """The distribution of z(T), of event shape `(dim,)`.

        Its batch shape is that of the flow's distribution where the base is a function of the context, else ().
        """
        return self.flow.base_distribution(self.context)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(value | context) in nats, for `value` `(..., dim)` whose shape broadcasts with the batch shape."""
        dim = self.flow.dim
        check_tensor("value", value)
        if value.ndim == 0 or value.shape[-1] != dim:
            shape = tuple(value.shape)
            raise InvalidArgument("value", shape, f"not (..., {dim})", "pass a tensor with one row per sample")
        try:
            shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        except RuntimeError:
            problem = f"it does not broadcast with the batch shape {tuple(self.batch_shape)} of the context"
            remedy = "pass one sample for each row of the context, or samples (n, 1, dim)"
            raise InvalidArgument("value", tuple(value.shape), problem, remedy) from None
        if not shape.numel():
            like = next(self.flow.parameters(), value if value.is_floating_point() else self.flow.like())
            if value.dtype != like.dtype:
                raise InvalidArgument("value", value.dtype, f"the flow is {like.dtype}", "convert one of them")
            return value.new_zeros(shape)
        rows = value.expand(*shape, dim).reshape(-1, dim)
        return self.flow.log_prob(rows, self._rows(shape), **self._options()).reshape(shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Samples `(*sample_shape, *batch_shape, dim)` as differentiable functions of parameters and context."""
        shape, start, context = self._start(sample_shape, differentiable=True)
        if start is None:
            return self._empty(shape)
        samples = self.flow.move(start, context, method=self.method, backwards=True, params=self.params)
        return samples.reshape(*shape, self.flow.dim)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Samples `(*sample_shape, *batch_shape, dim)` without a graph."""
        with torch.no_grad():
            shape, start, context = self._start(sample_shape, differentiable=False)
            if start is None:
                return self._empty(shape)
            samples = self.flow.move(start, context, method=self.method, backwards=True, params=self.params)
        return samples.reshape(*shape, self.flow.dim)

    def rsample_and_log_prob(self, sample_shape: Any = ()) -> tuple[Tensor, Tensor]:
        """Samples and their log p, `(*sample_shape, *batch_shape)`, from one solve."""
        shape, start, context = self._start(sample_shape, differentiable=True)
        if start is None:
            empty = self._empty(shape)
            return empty, empty.sum(-1)
        moved = self.flow.inverse(start, context, **self._options())
        log_prob = self.flow.base_log_prob(start, context) - moved.log_det
        return moved.z.reshape(*shape, self.flow.dim), log_prob.reshape(shape)

    def expand(self, batch_shape: Any, _instance: Any = None) -> FlowDistribution:
        """The same for a larger batch shape, which the context is expanded to; without one all are alike."""
        shape = torch.Size(batch_shape)
        try:
            fits = torch.broadcast_shapes(self.batch_shape, shape) == shape
        except RuntimeError:
            fits = False
        if not fits:
            problem = f"the batch shape {tuple(self.batch_shape)} can't be expanded to it"
            remedy = "add axes in front, or repeat those of length 1"
            raise InvalidArgument("batch_shape", tuple(shape), problem, remedy)
        expanded: FlowDistribution = self._get_checked_instance(FlowDistribution, _instance)
        expanded.__dict__.update(self.__dict__)
        if self.context is not None:
            expanded.context = self.context.expand(*shape, self.context.shape[-1])
        Distribution.__init__(expanded, shape, self.event_shape, validate_args=False)
        return expanded

    def __repr__(self) -> str:
        shapes = f"batch_shape={tuple(self.batch_shape)}, event_shape={tuple(self.event_shape)}"
        return f"FlowDistribution({shapes}, context_dim={self.flow.context_dim})"

    def _start(self, sample_shape: Any, *, differentiable: bool) -> tuple[torch.Size, Tensor | None, Tensor | None]:
        """The shape of a sample, as many samples of the base (None for none), and their contexts."""
        shape = _shape(sample_shape) + self.batch_shape
        n = shape.numel()
        if not n:
            return shape, None, None
        context = self._rows(shape)
        seed = None if self.draw is None else self.draw.sample_seed()
        return shape, self.flow.base_samples(n, context, seed=seed, differentiable=differentiable), context

    def _empty(self, shape: torch.Size) -> Tensor:
        return self.flow.like().new_zeros(*shape, self.flow.dim)

    def _rows(self, shape: torch.Size) -> Tensor | None:
        if self.context is None or self.context.ndim == 1:
            return self.context
        k = self.context.shape[-1]
        return self.context.expand(*shape, k).reshape(-1, k)

    def _options(self) -> dict[str, Any]:
        return {"method": self.method, **self._further()}

    def _further(self) -> dict[str, Any]:
        return {"divergence": self.divergence, "draw": self.draw, "params": self.params}


def _shape(sample_shape: Any) -> torch.Size:
    """The shape of a sample; raises `InvalidArgument` for a number, which torch takes for no shape either."""
    try:
        return torch.Size(sample_shape)
    except TypeError:
        remedy = f"write ({sample_shape},)" if isinstance(sample_shape, int) else "pass whole numbers, e.g. (10,)"
        raise InvalidArgument("sample_shape", repr(sample_shape), "not a shape", remedy) from None
