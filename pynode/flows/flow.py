"""The flow: data to a standard normal and back, with the log-likelihood that belongs to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pynode.errors import InvalidArgument
from pynode.fields.base import FieldSpec
from pynode.flows.augmented import AugmentedField, RunningCosts
from pynode.flows.divergence import Divergence, Exact
from pynode.flows.probes import Draw
from pynode.gradients.base import GradientMethod
from pynode.gradients.disc_opt import DiscOpt
from pynode.gradients.opt_disc import OptDisc
from pynode.schemes.rk4 import RK4
from pynode.solution import SolveStats
from pynode.types import State, Theta

DEFAULT = DiscOpt(RK4, steps=16)
"""How a flow is solved where nobody says otherwise."""

ACCURATE = OptDisc(rtol=1e-6, atol=1e-8, max_steps=2000)
"""How a flow is judged, whatever it was trained by; one that needs more steps counts as failed."""


@dataclass(frozen=True)
class Transport:
    """Where samples went: `z` `(batch, dim)`, log|det dz/dx| `(batch,)`, running costs `(batch,)`, the solves' work."""

    z: State
    log_det: Tensor
    kinetic: Tensor | None
    jacobian: Tensor | None
    solves: tuple[SolveStats, ...]

    @property
    def log_prob(self) -> Tensor:
        """log-likelihood `(batch,)` in nats of where the samples came from, if a standard normal is where they went."""
        return log_normal(self.z) + self.log_det


class Flow(nn.Module):
    """Blocks in sequence, each a vector field followed for its horizon: x = z(0), z(T) is standard normal.

    `fields` are modules f(t, z) with z `(batch, dim)`: `Field`s, or any of the user's own that treat samples
    independently.  `horizon` is T of every block; with `trainable_horizon` each block's log T is a parameter, whose
    gradient comes through the output times of the solve.  Method, divergence and probes can be chosen anew at every
    call: a flow trained with one discretisation may be used with another.
    """

    def __init__(
        self,
        fields: Sequence[nn.Module],
        dim: int,
        *,
        horizon: float = 1.0,
        trainable_horizon: bool = False,
        method: GradientMethod = DEFAULT,
        divergence: Divergence | None = None,
    ) -> None:
        super().__init__()
        if not fields:
            raise InvalidArgument("fields", "()", "a flow without blocks", "pass one field or more")
        if not (isinstance(horizon, (int, float)) and 0 < horizon < math.inf):
            raise InvalidArgument("horizon", horizon, "not a positive number", "use e.g. 1.0")
        self.fields, self.dim = nn.ModuleList(fields), dim
        self.method, self.divergence = method, divergence or Exact()
        self.horizon = float(horizon)
        self.log_horizons: nn.Parameter | None = None
        if trainable_horizon:
            like = next((p for p in self.fields.parameters()), torch.zeros((), dtype=torch.float64))
            self.log_horizons = nn.Parameter(like.new_full((len(fields),), math.log(horizon)))

    @classmethod
    def build(
        cls,
        spec: FieldSpec,
        *,
        blocks: int = 1,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        horizon: float = 1.0,
        trainable_horizon: bool = False,
        method: GradientMethod = DEFAULT,
        divergence: Divergence | None = None,
    ) -> Flow:
        """A flow of `blocks` fields of one specification, block k initialised from (`seed`, k)."""
        if isinstance(blocks, bool) or not isinstance(blocks, int) or blocks < 1:
            raise InvalidArgument("blocks", blocks, "not a positive integer", "use 1 or more")
        fields = [spec.build(seed=_block_seed(seed, k), dtype=dtype, device=device) for k in range(blocks)]
        return cls(
            fields,
            spec.state_dim,
            horizon=horizon,
            trainable_horizon=trainable_horizon,
            method=method,
            divergence=divergence,
        )

    @property
    def horizons(self) -> Tensor:
        """T of every block `(blocks,)`."""
        if self.log_horizons is not None:
            return self.log_horizons.exp()
        return torch.full((len(self.fields),), self.horizon, dtype=torch.float64)

    def forward(
        self,
        x: State,
        *,
        method: GradientMethod | None = None,
        divergence: Divergence | None = None,
        draw: Draw | None = None,
        costs: RunningCosts | None = None,
    ) -> Transport:
        """From data `x` `(batch, dim)` to the base, with log|det dz/dx|; differentiable by parameters and `x`."""
        return self._transport(x, method, divergence, draw, costs, backwards=False)

    def inverse(
        self,
        z: State,
        *,
        method: GradientMethod | None = None,
        divergence: Divergence | None = None,
        draw: Draw | None = None,
    ) -> Transport:
        """From the base `z` `(batch, dim)` to data, with log|det dx/dz|: the same solves in reversed time."""
        return self._transport(z, method, divergence, draw, None, backwards=True)

    def log_prob(
        self,
        x: State,
        *,
        method: GradientMethod | None = None,
        divergence: Divergence | None = None,
        draw: Draw | None = None,
    ) -> Tensor:
        """log p(x) `(batch,)` in nats, differentiable.

        With `Hutchinson` an unbiased estimate whose probes are those of `draw`.
        """
        return self.forward(x, method=method, divergence=divergence, draw=draw).log_prob

    @torch.no_grad()
    def sample(self, n: int, *, seed: int = 0, method: GradientMethod | None = None) -> State:
        """`n` samples `(n, dim)` of the model; the same `seed` gives the same samples."""
        return self.move(self.base_samples(n, seed=seed), method=method, backwards=True)

    def base_samples(self, n: int, *, seed: int = 0) -> State:
        """`n` samples `(n, dim)` of the standard normal, those that `sample` with this seed starts from."""
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise InvalidArgument("n", n, "not a positive integer", "ask for 1 sample or more")
        like = self._like()
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
            raise InvalidArgument("seed", seed, "not an integer from 0 to 2^63 - 1", "use 0, 1, 2, ...")
        noise = torch.randn(n, self.dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return noise.to(device=like.device, dtype=like.dtype)

    def move(
        self, points: State, *, method: GradientMethod | None = None, backwards: bool = False, times: int = 2
    ) -> State:
        """Where `points` `(batch, dim)` go, without density; with `times` > 2 returns the way there.

        `(batch, dim)`, or `(blocks * (times - 1) + 1, batch, dim)`: the states at `times` equidistant times per block.
        """
        self._check(points)
        method, way = method or self.method, [points]
        for k in self._order(backwards):
            start, end = (self.horizons[k], 0.0) if backwards else (0.0, self.horizons[k])
            ts = torch.linspace(float(start), float(end), times, dtype=torch.float64, device=points.device)
            way += list(method.solve(self.fields[k], way[-1], ts).ys[1:])
        return way[-1] if times == 2 else torch.stack(way)

    def theta(self) -> Theta:
        """All parameters in one float64 vector on the CPU: block after block, then the log-horizons."""
        return torch.cat([p.detach().reshape(-1).double().cpu() for p in self._in_order()])

    @torch.no_grad()
    def set_theta(self, theta: Theta) -> None:
        """Overwrites all parameters by `theta` as `theta()` gives it; raises `InvalidArgument` for another length."""
        sizes = [p.numel() for p in self._in_order()]
        if theta.shape != (sum(sizes),):
            raise InvalidArgument("theta", tuple(theta.shape), "wrong shape", f"this flow needs ({sum(sizes)},)")
        for p, chunk in zip(self._in_order(), theta.split(sizes), strict=True):
            p.copy_(chunk.reshape(p.shape))

    def _in_order(self) -> list[nn.Parameter]:
        own = [] if self.log_horizons is None else [self.log_horizons]
        return [*self.fields.parameters(), *own]

    def _transport(
        self,
        start: State,
        method: GradientMethod | None,
        divergence: Divergence | None,
        draw: Draw | None,
        costs: RunningCosts | None,
        *,
        backwards: bool,
    ) -> Transport:
        self._check(start)
        method, divergence = method or self.method, divergence or self.divergence
        draw, costs = draw or Draw(), costs or RunningCosts()
        z, solves = start, []
        totals = start.new_zeros(len(start), 1 + costs.columns)
        horizons = self.horizons.to(start.device)
        for k in self._order(backwards):
            # the probes belong to the sample, not to the state that it has reached
            field = AugmentedField(self.fields[k], self.dim, divergence, divergence.probes(draw, start, k), costs)
            ends = (horizons[k], torch.zeros_like(horizons[k]))
            solution = method.solve(field, field.initial(z), torch.stack(ends if backwards else ends[::-1]))
            z, gained = solution.ys[-1].split((self.dim, 1 + costs.columns), dim=-1)
            totals = totals + gained
            solves.append(solution.stats)
        columns = list(totals.unbind(-1))
        return Transport(
            z,
            -columns[0],
            columns[1] if costs.kinetic else None,
            columns[-1] if costs.jacobian else None,
            tuple(solves),
        )

    def _order(self, backwards: bool) -> Sequence[int]:
        order = range(len(self.fields))
        return order[::-1] if backwards else order

    def _like(self) -> Tensor:
        return next(self.parameters(), torch.zeros((), dtype=torch.float64))

    def _check(self, points: State) -> None:
        if not isinstance(points, Tensor) or points.ndim != 2 or points.shape[1] != self.dim or not len(points):
            shown = tuple(points.shape) if isinstance(points, Tensor) else type(points).__name__
            raise InvalidArgument("x", shown, f"not (batch, {self.dim})", "pass one row per sample")
        if points.dtype != self._like().dtype:
            raise InvalidArgument("x", points.dtype, f"the flow is {self._like().dtype}", "convert one of them")


def log_normal(z: State) -> Tensor:
    """log N(z; 0, I) `(batch,)` for `z` `(batch, dim)`."""
    return -0.5 * (z.square().sum(-1) + z.shape[-1] * math.log(2 * math.pi))


def _block_seed(seed: int, block: int) -> int:
    return seed if block == 0 else (seed * 1_000_003 + block) % 2**63
