"""The flow: data to a base distribution and back, with the log-likelihood that belongs to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from pynode.context import check_columns, check_context, rows_of_context, with_context
from pynode.errors import InvalidArgument
from pynode.evaluation import checked_params
from pynode.fields.base import FieldSpec
from pynode.flows import vector
from pynode.flows.augmented import RunningCosts
from pynode.flows.base import Base, check_base, distribution_of, draw_samples, log_density
from pynode.flows.base import log_normal as log_normal
from pynode.flows.checking import (
    check_dim,
    check_divergence,
    check_draw,
    check_method,
    check_spec,
    checked_fields,
    samples_named,
)
from pynode.flows.distribution import FlowDistribution
from pynode.flows.divergence import Divergence, Exact
from pynode.flows.probes import Draw, DrawCounter
from pynode.flows.reshaped import Reshaped
from pynode.flows.transport import Transport, Way, moved, transported
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.schemes.rk4 import RK4
from pynode.seeding import check_seed, seed_or_new
from pynode.types import State, Theta

DEFAULT = DiscOpt(RK4, steps=16)
"""How a flow is solved where nobody says otherwise."""

ACCURATE = OptDisc(rtol=1e-6, atol=1e-8, max_steps=2000)
"""How a flow is judged, whatever it was trained by; one that needs more steps counts as failed."""


class Flow(nn.Module):
    """Blocks in sequence, each a vector field followed for its horizon: x = z(0), and z(T) follows the base.

        flow = pynode.Flow.build(pynode.ConcatSquash((2, 32, 32, 2)), method=pynode.DiscOpt(steps=8))
        loss = -flow.log_prob(x).mean()  # x (batch, 2), float64
        samples = flow.sample(100)

    `flow()` is the density as a `torch.distributions.Distribution`: `log_prob`, `rsample`, `sample` and
    `rsample_and_log_prob` for any sample shape.  A flow of `context=k` is conditioned on k columns: `flow(context)`
    is p(. | context) for a context `(k,)`, or `(batch, k)` with one density a row.

    `fields` are modules f(t, z) with z `(batch, dim)`, with a context f(t, z, context): `Field`s, or any of the user's
    own that treat samples independently and compute the same at every evaluation (batch norm and dropout in training
    mode are refused).  `horizon` is T of every block; with `trainable_horizon` each block's log T is a parameter, whose
    gradient comes through the output times of the solve.  `base` is the distribution of z(T): one of `(dim,)` real
    numbers, or a module that returns one, whose parameters are trained; None is the standard normal.  Every call may
    name another method and divergence than the flow's own: a flow trained with one discretisation may be used with
    another.

    With `Hutchinson`, calls draw new probes each time, fixed for the length of a solve; `sample` draws new samples.
    `seed` fixes these default draws; without one they follow `torch.manual_seed`.  Copies and pickles go on where the
    flow is, and its `state_dict` holds how many draws have been used, so that a resumed run goes on as well.  An
    explicit `draw` (or `seed` of `sample`) fixes one call.

    A field may read tensors beyond its parameters: name them in `params` of the call, so that every method gives them
    their gradient.
    """

    def __init__(
        self,
        fields: Sequence[nn.Module],
        dim: int,
        *,
        context: int | None = None,
        base: Base = None,
        horizon: float = 1.0,
        trainable_horizon: bool = False,
        method: GradientMethod = DEFAULT,
        divergence: Divergence | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        check_dim(dim)
        columns = check_columns(context)
        blocks = checked_fields(fields, dim)
        if isinstance(horizon, bool) or not (isinstance(horizon, (int, float)) and 0 < horizon < math.inf):
            raise InvalidArgument("horizon", repr(horizon), "not a positive number", "use e.g. 1.0")
        divergence = Exact() if divergence is None else divergence
        check_method(method)
        check_divergence(divergence)
        blocks = [with_context(block, columns, f"fields[{k}]") for k, block in enumerate(blocks)]
        self.fields, self.dim, self.context_dim = nn.ModuleList(blocks), dim, columns
        self.method, self.divergence = method, divergence
        self.horizon = float(horizon)
        self.log_horizons: nn.Parameter | None = None
        if trainable_horizon:
            self.log_horizons = nn.Parameter(self.like().new_full((len(blocks),), math.log(horizon)))
        self.base = base  # its parameters say what dtype a flow has whose fields have none
        check_base(base, dim, columns, self.like())
        self.draws = DrawCounter(seed_or_new(seed))

    @classmethod
    def build(
        cls,
        spec: FieldSpec,
        *,
        context: int | None = None,
        base: Base = None,
        blocks: int = 1,
        seed: int | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        horizon: float = 1.0,
        trainable_horizon: bool = False,
        method: GradientMethod = DEFAULT,
        divergence: Divergence | None = None,
    ) -> Flow:
        """A flow of `blocks` fields of one specification, block k initialised from (`seed`, k).

        With `context` columns the first layer of every field sees the context beside the state.  Without a `seed` every
        call gives another flow, which follows `torch.manual_seed`.
        """
        check_spec(spec)
        if isinstance(blocks, bool) or not isinstance(blocks, int) or blocks < 1:
            raise InvalidArgument("blocks", repr(blocks), "not a positive integer", "use 1 or more")
        columns = spec.context_dim if context is None else check_columns(context)
        if columns != spec.context_dim:
            spec = spec.with_context(columns)
        seed = seed_or_new(seed)
        fields = [spec.build(seed=_block_seed(seed, k), dtype=dtype, device=device) for k in range(blocks)]
        return cls(
            fields,
            spec.state_dim - columns,
            context=columns,
            base=base,
            horizon=horizon,
            trainable_horizon=trainable_horizon,
            method=method,
            divergence=divergence,
            seed=seed,
        )

    def like(self) -> Tensor:
        """A tensor with the dtype and the device of the flow: of its parameters, or of its buffers without any."""
        kinds = (x for x in chain(self.parameters(), self.buffers()) if x.is_floating_point())
        return next(kinds, torch.zeros((), dtype=torch.float64))

    @property
    def horizons(self) -> Tensor:
        """T of every block `(blocks,)`."""
        if self.log_horizons is not None:
            return self.log_horizons.exp()
        return torch.full((len(self.fields),), self.horizon, dtype=torch.float64)

    def forward(
        self,
        context: Tensor | None = None,
        *,
        method: GradientMethod | None = None,
        divergence: Divergence | None = None,
        draw: Draw | None = None,
        params: Sequence[Tensor] | None = None,
    ) -> FlowDistribution:
        """The density p(. | `context`), for a context `(k,)` or `(..., k)`; without an argument for a flow without one.

        What is named here holds for all that is asked of the distribution; `draw` fixes its samples and its probes.
        """
        context = self._checked(context)
        check_method(self.method if method is None else method)
        check_divergence(self.divergence if divergence is None else divergence)
        check_draw(Draw() if draw is None else draw)
        checked_params(params)
        return FlowDistribution(self, context, method=method, divergence=divergence, draw=draw, params=params)

    def transport(
        self,
        x: State,
        context: Tensor | None = None,
        *,
        method: GradientMethod | None = None,
        divergence: Divergence | None = None,
        draw: Draw | None = None,
        costs: RunningCosts | None = None,
        params: Sequence[Tensor] | None = None,
    ) -> Transport:
        """From data `x` `(batch, dim)` to the base, with log|det dz/dx|; differentiable by parameters, `x` and
        `context` `(k,)` or `(batch, k)`.

        `params` are tensors that the fields read beside their parameters.
        """
        return self._transport(x, context, method, divergence, draw, costs, params, backwards=False)

    def inverse(
        self,
        z: State,
        context: Tensor | None = None,
        *,
        method: GradientMethod | None = None,
        divergence: Divergence | None = None,
        draw: Draw | None = None,
        params: Sequence[Tensor] | None = None,
    ) -> Transport:
        """From the base `z` `(batch, dim)` to data, with log|det dx/dz|: the same solves in reversed time."""
        return self._transport(z, context, method, divergence, draw, None, params, backwards=True)

    def log_prob(
        self,
        x: State,
        context: Tensor | None = None,
        *,
        method: GradientMethod | None = None,
        divergence: Divergence | None = None,
        draw: Draw | None = None,
        params: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """log p(x | context) `(batch,)` in nats, differentiable.

        With `Hutchinson` an unbiased estimate, with new probes at every call or else those of `draw`.
        """
        return self.transport(x, context, method=method, divergence=divergence, draw=draw, params=params).log_prob

    @torch.no_grad()
    def sample(
        self,
        n: int,
        context: Tensor | None = None,
        *,
        seed: int | None = None,
        method: GradientMethod | None = None,
        params: Sequence[Tensor] | None = None,
    ) -> State:
        """`n` samples `(n, dim)` of the model: new ones at every call, or always the same ones for a `seed`.

        A context `(k,)` is that of all of them, `(n, k)` has a row for each.
        """
        start = self.base_samples(n, context, seed=seed)
        return self.move(start, context, method=method, backwards=True, params=params)

    def base_samples(
        self, n: int, context: Tensor | None = None, *, seed: int | None = None, differentiable: bool = False
    ) -> State:
        """`n` samples `(n, dim)` of the base, those that `sample` with this seed starts from.

        `differentiable` ones are functions of the base's parameters.
        """
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise InvalidArgument(
                "n", repr(n), "not a positive integer", "ask for 1 sample or more; flow().sample takes a shape"
            )
        rows, like = self._rows(context, n) if self.base is not None else None, self.like()
        seed = self.draws.next_sample_seed() if seed is None else check_seed(seed)
        return draw_samples(self.base, n, self.dim, rows, seed, like, differentiable=differentiable)

    def base_distribution(self, context: Tensor | None = None) -> Distribution:
        """The distribution of z(T), of event shape `(dim,)`.

        Its batch shape is (), or where the base is a function of `context` that of the context without its columns.
        """
        context = self._checked(context)
        rows = None if context is None else context.reshape(-1, context.shape[-1])
        base = distribution_of(self.base, self.dim, rows, 1 if rows is None else len(rows), self.like())
        if context is None or not base.batch_shape or base.batch_shape == context.shape[:-1]:
            return base
        return Reshaped(base, context.shape[:-1])

    def base_log_prob(self, z: State, context: Tensor | None = None) -> Tensor:
        """log-density `(batch,)` of the base at `z` `(batch, dim)`."""
        return log_density(self.base, z, self._rows(context, len(z)))

    def move(
        self,
        points: State,
        context: Tensor | None = None,
        *,
        method: GradientMethod | None = None,
        backwards: bool = False,
        times: int = 2,
        params: Sequence[Tensor] | None = None,
    ) -> State:
        """Transports `points` `(batch, dim)` without density; with `times` > 2 returns the states on the way as well.

        `(batch, dim)`, or `(blocks * (times - 1) + 1, batch, dim)`: the states at `times` equidistant times per block.
        """
        way = self._way(points, context, method, params, backwards=backwards)
        with samples_named(points):
            return moved(way, points, times)

    def get_extra_state(self) -> Tensor:
        """What `state_dict` holds beside the parameters: how many default draws have been used."""
        return self.draws.state()

    def set_extra_state(self, state: Tensor) -> None:
        """Goes on from the default draws that `get_extra_state` has counted."""
        self.draws.restore(state)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # a state dict without counts can be loaded too: the flow keeps its own
        state_dict.setdefault(f"{prefix}_extra_state", self.get_extra_state())
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def theta(self) -> Theta:
        """All parameters in one float64 vector on the CPU: block after block, the log-horizons, the base."""
        return vector.joined(self)

    def set_theta(self, theta: Theta) -> None:
        """Overwrites all parameters by `theta` as `theta()` gives it; raises `InvalidArgument` for another length."""
        vector.overwrite(self, theta)

    def _transport(
        self,
        start: State,
        context: Tensor | None,
        method: GradientMethod | None,
        divergence: Divergence | None,
        draw: Draw | None,
        costs: RunningCosts | None,
        params: Sequence[Tensor] | None,
        *,
        backwards: bool,
    ) -> Transport:
        way = self._way(start, context, method, params, backwards=backwards)
        divergence, costs = self.divergence if divergence is None else divergence, costs or RunningCosts()
        check_divergence(divergence)
        if not isinstance(costs, RunningCosts):
            raise InvalidArgument("costs", repr(costs), "not RunningCosts", "pass pynode.RunningCosts(kinetic=True)")
        if draw is None:
            draw = Draw() if type(divergence) is Exact else self.draws.next_draw()
        check_draw(draw)
        with samples_named(start):
            return transported(way, start, divergence, draw, costs, self.base)

    def _way(
        self,
        points: State,
        context: Tensor | None,
        method: GradientMethod | None,
        params: Sequence[Tensor] | None,
        *,
        backwards: bool,
    ) -> Way:
        self._check(points)
        method = self.method if method is None else method
        check_method(method)
        rows, read = self._rows(context, len(points)), checked_params(params)
        return Way(list(self.fields), self.horizons, self.dim, rows, method, read, backwards)

    def _checked(self, context: Tensor | None) -> Tensor | None:
        remedy = "for points x call flow.log_prob(x) or flow.transport(x); for conditions build it with context=k"
        return check_context(context, self.context_dim, self.like(), remedy)

    def _rows(self, context: Tensor | None, n: int) -> Tensor | None:
        return rows_of_context(self._checked(context), n)

    def _check(self, points: State) -> None:
        if not isinstance(points, Tensor) or points.ndim != 2 or points.shape[1] != self.dim:
            shown = tuple(points.shape) if isinstance(points, Tensor) else type(points).__name__
            raise InvalidArgument("x", shown, f"not (batch, {self.dim})", "pass a tensor with one row per sample")
        if not len(points):
            raise InvalidArgument("x", tuple(points.shape), "no samples", "pass one row or more")
        like = next(self.parameters(), points if points.is_floating_point() else self.like())
        if points.dtype != like.dtype:
            raise InvalidArgument("x", points.dtype, f"the flow is {like.dtype}", "convert one of them")
        if points.device != like.device:
            raise InvalidArgument("x", points.device, f"the flow is on {like.device}", "move one of them by .to()")


def _block_seed(seed: int, block: int) -> int:
    return seed if block == 0 else (seed * 1_000_003 + block) % 2**63
