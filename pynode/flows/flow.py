"""The flow: data to a standard normal and back, with the log-likelihood that belongs to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pynode.errors import InvalidArgument
from pynode.evaluation import checked_params, parameters_of
from pynode.fields.base import Field, FieldSpec, has_formulas
from pynode.flows.augmented import AugmentedField, RunningCosts
from pynode.flows.checking import (
    check_block,
    check_dim,
    check_divergence,
    check_draw,
    check_method,
    check_modules,
    check_spec,
    checked_fields,
)
from pynode.flows.divergence import Divergence, Exact
from pynode.flows.probes import Draw, DrawCounter
from pynode.flows.reverse_mode import Linearised
from pynode.grid import note_times
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.schemes.rk4 import RK4
from pynode.seeding import check_seed, seed_or_new
from pynode.solution import SolveStats
from pynode.transforms import has_values
from pynode.types import State, States, Theta, Times

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

        flow = pynode.Flow.build(pynode.ConcatSquash((2, 32, 32, 2)), method=pynode.DiscOpt(steps=8))
        loss = -flow.log_prob(x).mean()  # x (batch, 2), float64
        samples = flow.sample(100)

    `fields` are modules f(t, z) with z `(batch, dim)`: `Field`s, or any of the user's own that treat samples
    independently and compute the same at every evaluation (batch norm and dropout in training mode are refused).
    `horizon` is T of every block; with `trainable_horizon` each block's log T is a parameter, whose gradient comes
    through the output times of the solve.  Every call may name another method and divergence than the flow's own: a
    flow trained with one discretisation may be used with another.

    With `Hutchinson`, calls draw new probes each time, fixed for the length of a solve; `sample` draws new samples.
    `seed` fixes these default draws; without one they follow `torch.manual_seed`.  Copies and pickles go on where the
    flow is, and its `state_dict` holds how many draws have been used, so that a resumed run goes on as well.  An
    explicit `draw` (or `seed` of `sample`) fixes one call.

    A field may read tensors beyond its parameters, such as a context from an encoder: name them in `params` of the
    call, so that every method gives them their gradient.
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
        seed: int | None = None,
    ) -> None:
        super().__init__()
        check_dim(dim)
        blocks = checked_fields(fields, dim)
        if isinstance(horizon, bool) or not (isinstance(horizon, (int, float)) and 0 < horizon < math.inf):
            raise InvalidArgument("horizon", repr(horizon), "not a positive number", "use e.g. 1.0")
        divergence = Exact() if divergence is None else divergence
        check_method(method)
        check_divergence(divergence)
        self.fields, self.dim = nn.ModuleList(blocks), dim
        self.method, self.divergence = method, divergence
        self.horizon = float(horizon)
        self.log_horizons: nn.Parameter | None = None
        if trainable_horizon:
            self.log_horizons = nn.Parameter(self._like().new_full((len(blocks),), math.log(horizon)))
        self.draws = DrawCounter(seed_or_new(seed))

    @classmethod
    def build(
        cls,
        spec: FieldSpec,
        *,
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

        Without a `seed` every call gives another flow, which follows `torch.manual_seed`.
        """
        check_spec(spec)
        if isinstance(blocks, bool) or not isinstance(blocks, int) or blocks < 1:
            raise InvalidArgument("blocks", repr(blocks), "not a positive integer", "use 1 or more")
        seed = seed_or_new(seed)
        fields = [spec.build(seed=_block_seed(seed, k), dtype=dtype, device=device) for k in range(blocks)]
        return cls(
            fields,
            spec.state_dim,
            horizon=horizon,
            trainable_horizon=trainable_horizon,
            method=method,
            divergence=divergence,
            seed=seed,
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
        params: Sequence[Tensor] | None = None,
    ) -> Transport:
        """From data `x` `(batch, dim)` to the base, with log|det dz/dx|; differentiable by parameters and `x`.

        `params` are tensors that the fields read beside their parameters.
        """
        return self._transport(x, method, divergence, draw, costs, params, backwards=False)

    def inverse(
        self,
        z: State,
        *,
        method: GradientMethod | None = None,
        divergence: Divergence | None = None,
        draw: Draw | None = None,
        params: Sequence[Tensor] | None = None,
    ) -> Transport:
        """From the base `z` `(batch, dim)` to data, with log|det dx/dz|: the same solves in reversed time."""
        return self._transport(z, method, divergence, draw, None, params, backwards=True)

    def log_prob(
        self,
        x: State,
        *,
        method: GradientMethod | None = None,
        divergence: Divergence | None = None,
        draw: Draw | None = None,
        params: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """log p(x) `(batch,)` in nats, differentiable.

        With `Hutchinson` an unbiased estimate, with new probes at every call or else those of `draw`.
        """
        return self.forward(x, method=method, divergence=divergence, draw=draw, params=params).log_prob

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        seed: int | None = None,
        method: GradientMethod | None = None,
        params: Sequence[Tensor] | None = None,
    ) -> State:
        """`n` samples `(n, dim)` of the model: new ones at every call, or always the same ones for a `seed`."""
        return self.move(self.base_samples(n, seed=seed), method=method, backwards=True, params=params)

    def base_samples(self, n: int, *, seed: int | None = None) -> State:
        """`n` samples `(n, dim)` of the standard normal, those that `sample` with this seed starts from."""
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise InvalidArgument("n", repr(n), "not a positive integer", "ask for 1 sample or more")
        like = self._like()
        seed = self.draws.next_sample_seed() if seed is None else check_seed(seed)
        noise = torch.randn(n, self.dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return noise.to(device=like.device, dtype=like.dtype)

    def move(
        self,
        points: State,
        *,
        method: GradientMethod | None = None,
        backwards: bool = False,
        times: int = 2,
        params: Sequence[Tensor] | None = None,
    ) -> State:
        """Where `points` `(batch, dim)` go, without density; with `times` > 2 returns the way there.

        `(batch, dim)`, or `(blocks * (times - 1) + 1, batch, dim)`: the states at `times` equidistant times per block.
        """
        self._check(points)
        method, way, read = self._method(method), [points], checked_params(params)
        if isinstance(times, bool) or not isinstance(times, int) or times < 2:
            raise InvalidArgument("times", repr(times), "not an integer of 2 or more", "use 2 for the end alone")
        horizons = self.horizons.tolist()
        for k in self._order(backwards):
            check_modules(self.fields[k], k)
            start, end = (horizons[k], 0.0) if backwards else (0.0, horizons[k])
            ts = torch.linspace(start, end, times, dtype=torch.float64)
            way += list(_states(method, self.fields[k], way[-1], ts, read)[1:])
        return way[-1] if times == 2 else torch.stack(way)

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
        """All parameters in one float64 vector on the CPU: block after block, then the log-horizons."""
        parts = [part.detach().reshape(-1).double() for part in self._parts()]
        if len({part.device for part in parts}) > 1:
            parts = [part.cpu() for part in parts]
        return torch.cat(parts).cpu()

    @torch.no_grad()
    def set_theta(self, theta: Theta) -> None:
        """Overwrites all parameters by `theta` as `theta()` gives it; raises `InvalidArgument` for another length."""
        sizes = [part.numel() for part in self._parts()]
        if not isinstance(theta, Tensor) or theta.shape != (sum(sizes),):
            shown = tuple(theta.shape) if isinstance(theta, Tensor) else type(theta).__name__
            raise InvalidArgument("theta", shown, "wrong shape", f"this flow needs ({sum(sizes)},)")
        chunks = iter(theta.split(sizes))
        for block in self.fields:
            if isinstance(block, Field):
                block.set_theta(next(chunks))
            else:
                for p in block.parameters():
                    p.copy_(next(chunks).reshape(p.shape))
        if self.log_horizons is not None:
            self.log_horizons.copy_(next(chunks))

    def _parts(self) -> list[Tensor]:
        """What `theta` strings together: of a `Field` its own theta, whose order its specification fixes."""
        parts: list[Tensor] = []
        for block in self.fields:
            parts += [block.joined()] if isinstance(block, Field) else list(block.parameters())
        return parts if self.log_horizons is None else [*parts, self.log_horizons]

    def _transport(
        self,
        start: State,
        method: GradientMethod | None,
        divergence: Divergence | None,
        draw: Draw | None,
        costs: RunningCosts | None,
        params: Sequence[Tensor] | None,
        *,
        backwards: bool,
    ) -> Transport:
        self._check(start)
        method, divergence, costs = self._method(method), self._divergence(divergence), costs or RunningCosts()
        read = checked_params(params)
        if not isinstance(costs, RunningCosts):
            raise InvalidArgument("costs", repr(costs), "not RunningCosts", "pass pynode.RunningCosts(kinetic=True)")
        if draw is None:
            draw = Draw() if type(divergence) is Exact else self.draws.next_draw()
        check_draw(draw)
        z, solves = start, []
        totals = start.new_zeros(len(start), 1 + costs.columns)
        horizons = self.horizons  # those that are not trained are on the CPU, where reading them costs nothing
        known = None if horizons.is_cpu or not has_values(horizons) else horizons.tolist()
        for k in self._order(backwards):
            block = self.fields[k]
            check_block(block, k, horizons[k] if backwards else torch.zeros_like(horizons[k]), z)
            # the probes belong to the sample, not to the state that it has reached
            field = AugmentedField(block, self.dim, divergence, divergence.probes(draw, start, k), costs)
            ends = (horizons[k], torch.zeros_like(horizons[k]))
            ts = torch.stack(ends if backwards else ends[::-1])
            if known is not None:
                note_times(ts, (known[k], 0.0) if backwards else (0.0, known[k]))
            solution = method.solve(field, field.initial(z), ts, params=_with_parameters(field, read))
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

    def _method(self, method: GradientMethod | None) -> GradientMethod:
        method = self.method if method is None else method
        check_method(method)
        return method

    def _divergence(self, divergence: Divergence | None) -> Divergence:
        divergence = self.divergence if divergence is None else divergence
        check_divergence(divergence)
        return divergence

    def _order(self, backwards: bool) -> Sequence[int]:
        order = range(len(self.fields))
        return order[::-1] if backwards else order

    def _like(self) -> Tensor:
        return next(self.parameters(), torch.zeros((), dtype=torch.float64))

    def _check(self, points: State) -> None:
        if not isinstance(points, Tensor) or points.ndim != 2 or points.shape[1] != self.dim:
            shown = tuple(points.shape) if isinstance(points, Tensor) else type(points).__name__
            raise InvalidArgument("x", shown, f"not (batch, {self.dim})", "pass a tensor with one row per sample")
        if not len(points):
            raise InvalidArgument("x", tuple(points.shape), "no samples", "pass one row or more")
        like = next(self.parameters(), points if points.is_floating_point() else self._like())
        if points.dtype != like.dtype:
            raise InvalidArgument("x", points.dtype, f"the flow is {like.dtype}", "convert one of them")


def log_normal(z: State) -> Tensor:
    """log N(z; 0, I) `(batch,)` for `z` `(batch, dim)`."""
    return -0.5 * (z.square().sum(-1) + z.shape[-1] * math.log(2 * math.pi))


def _with_parameters(field: nn.Module, read: Sequence[Tensor]) -> list[Tensor] | None:
    """The parameters of `field` and the tensors `read` beside them, each once; None where there are none of those."""
    if not read:
        return None
    return list({id(p): p for p in (*parameters_of(field), *read)}.values())


def _states(method: GradientMethod, field: nn.Module, z: State, ts: Times, read: Sequence[Tensor]) -> States:
    """The states of a solve of `field` alone.

    A field that differentiates inside itself (the gradient of a potential) may need gradients to be enabled, which they
    are not in `sample`.
    """
    params = _with_parameters(field, read)
    try:
        return method.solve(field, z, ts, params=params).ys
    except RuntimeError as error:
        if has_formulas(field) or "require grad" not in str(error):
            raise
    return method.solve(_WithGradients(field), z, ts, params=params).ys


class _WithGradients(nn.Module):
    """The value of a field that is evaluated with gradients enabled, at a state that wants one."""

    def __init__(self, field: nn.Module) -> None:
        super().__init__()
        self.field = field

    def forward(self, t: Tensor, z: State) -> State:
        """f(t, z), without the graph where gradients are disabled."""
        return Linearised(self.field, t, z).value


def _block_seed(seed: int, block: int) -> int:
    return seed if block == 0 else (seed * 1_000_003 + block) % 2**63
