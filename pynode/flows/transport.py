"""Transport of samples by a flow: one solve a block, with the log-determinant and running costs beside the state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pynode.context import beside_context
from pynode.errors import InvalidArgument
from pynode.evaluation import parameters_of
from pynode.fields.base import has_formulas
from pynode.flows.augmented import AugmentedField, RunningCosts
from pynode.flows.base import Base, log_density
from pynode.flows.checking import check_block, check_modules
from pynode.flows.divergence import Divergence
from pynode.flows.probes import Draw
from pynode.flows.reverse_mode import Linearised
from pynode.grid import note_times
from pynode.methods.base import GradientMethod
from pynode.solution import SolveStats
from pynode.transforms import has_values, is_transformed
from pynode.types import State, States, Times


@dataclass(frozen=True)
class Transport:
    """Result of transporting samples.

    `z` `(batch, dim)`, log|det dz/dx| `(batch,)`, running costs `(batch,)` and the work of the solves.
    """

    z: State
    log_det: Tensor
    kinetic: Tensor | None
    jacobian: Tensor | None
    solves: tuple[SolveStats, ...]
    base: Base = None
    context: Tensor | None = None

    @property
    def log_prob(self) -> Tensor:
        """log-likelihood `(batch,)` in nats of the samples before transport, if `z` follows the base."""
        return log_density(self.base, self.z, self.context) + self.log_det


@dataclass(frozen=True)
class Way:
    """The blocks of a flow, each a field of states `(z, context)` with its horizon, and how they are followed."""

    blocks: Sequence[nn.Module]
    horizons: Tensor
    dim: int
    context: Tensor | None
    method: GradientMethod
    read: Sequence[Tensor]
    backwards: bool

    @property
    def columns(self) -> int:
        """Columns of the context."""
        return 0 if self.context is None else self.context.shape[-1]

    @property
    def order(self) -> Sequence[int]:
        """The numbers of the blocks, in the order in which they are followed."""
        order = range(len(self.blocks))
        return order[::-1] if self.backwards else order

    def joined(self, z: State) -> State:
        """`z` `(batch, dim)` with the context beside it."""
        return z if self.context is None else torch.cat((z, self.context), dim=-1)


def transported(
    way: Way, start: State, divergence: Divergence, draw: Draw, costs: RunningCosts, base: Base
) -> Transport:
    """Transports `start` `(batch, dim)`, with log-determinants and costs; raises what a solve raises."""
    z, solves, horizons = start, [], way.horizons
    totals = start.new_zeros(len(start), 1 + costs.columns)
    method = beside_context(way.method, way.dim + 1 + costs.columns, way.columns)
    # those that are not trained are on the CPU, where reading them costs nothing
    known = None if horizons.is_cpu or not has_values(horizons) else horizons.tolist()
    for k in way.order:
        block, horizon = way.blocks[k], horizons[k]
        y = way.joined(z)
        check_block(block, k, horizon if way.backwards else torch.zeros_like(horizon), y)
        # the probes belong to the sample, not to the state that it has reached
        probes = divergence.probes(draw, start, k)
        field = AugmentedField(block, way.dim + way.columns, divergence, probes, costs, way.columns)
        ends = (horizon, torch.zeros_like(horizon))
        ts = torch.stack(ends if way.backwards else ends[::-1])
        if known is not None:
            note_times(ts, (known[k], 0.0) if way.backwards else (0.0, known[k]))
        solution = method.solve(field, field.initial(y), ts, params=_with_parameters(field, way.read))
        z, _, gained = solution.ys[-1].split((way.dim, way.columns, 1 + costs.columns), dim=-1)
        totals = totals + gained
        solves.append(solution.stats)
    columns = list(totals.unbind(-1))
    kinetic, jacobian = columns[1] if costs.kinetic else None, columns[-1] if costs.jacobian else None
    return Transport(z, -columns[0], kinetic, jacobian, tuple(solves), base, way.context)


def moved(way: Way, points: State, times: int) -> State:
    """Transports `points` `(batch, dim)` without density; with `times` > 2 all states on the way, see `Flow.move`."""
    if isinstance(times, bool) or not isinstance(times, int) or times < 2:
        raise InvalidArgument("times", repr(times), "not an integer of 2 or more", "use 2 for the end alone")
    path, horizons = [points], way.horizons
    known = horizons.tolist() if has_values(horizons) else None
    method = beside_context(way.method, way.dim, way.columns)
    for k in way.order:
        check_modules(way.blocks[k], k)
        ts = _times(horizons[k], None if known is None else known[k], times, backwards=way.backwards)
        states = _states(method, way.blocks[k], way.joined(path[-1]), ts, way.read)
        path += list(states[1:, :, : way.dim] if way.columns else states[1:])
    return path[-1] if times == 2 else torch.stack(path)


def _times(horizon: Tensor, known: float | None, times: int, *, backwards: bool) -> Times:
    """`times` equidistant times of a block `(times,)`, functions of `horizon` where that wants a gradient.

    `known` is its value, None where Python can't read it.
    """
    if known is not None and not horizon.requires_grad and not is_transformed():
        return torch.linspace(*((known, 0.0) if backwards else (0.0, known)), times, dtype=torch.float64)
    fractions = torch.linspace(0.0, 1.0, times, dtype=horizon.dtype)
    fractions = fractions.flip(0) if backwards else fractions
    ts = horizon * fractions.to(horizon.device)
    return ts if known is None else note_times(ts, tuple((known * fractions).tolist()))


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
