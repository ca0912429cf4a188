"""What all densities share: the model is a flow, the loss its negative log-likelihood in nats plus running costs."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pynode.activations import activation
from pynode.arguments import check_count
from pynode.errors import InvalidArgument, SolveError
from pynode.fields.concatsquash import ConcatSquash
from pynode.flows.augmented import RunningCosts
from pynode.flows.divergence import Divergence, Exact, Hutchinson, divergence
from pynode.flows.flow import ACCURATE, Flow
from pynode.flows.metrics import inverse_errors, mmd
from pynode.flows.probes import Draw
from pynode.methods.base import GradientMethod
from pynode.problems.base import (
    BYTES_A_STEP,
    Evaluation,
    Need,
    Objective,
    Problem,
    bytes_of_weights,
    stages_of,
    steps_of,
    stores_stages,
)
from pynode.solution import SolveStats
from pynode.types import State
from pynode.world import ALONE, World

VALIDATION = 2**63
"""Stands for the iteration in everything that is drawn for validation: the same each time, never met in training."""

CHUNK = 2_500
"""Rows that are judged at once: few enough that several ranks have something to do."""

TANGENT_ENTRIES = 2**27
"""Numbers that the tangents of a layer may hold, half a gigabyte in float32."""

SHOWN = 2000
"""Samples that figures and MMD use at most."""

WHOLE = slice(None)
"""The share of one process."""


@dataclass(frozen=True)
class FlowOptions:
    """What a user may change about a flow; running costs are added to the negative log-likelihood."""

    hidden: tuple[int, ...] | None = None
    """Widths of the hidden layers; without one, the problem's own."""
    blocks: int | None = None
    """Number of fields that follow one another in the flow; without one, the problem's own."""
    horizon: float | None = None
    """Length T of the time interval of a block; without one, the problem's own."""
    trainable_horizon: bool = False
    """Whether T is trained as well."""
    activation: str | None = None
    """Activation function of the field; without one, the problem's own."""
    batch: int | None = None
    """Samples of a batch; without one, the problem's own."""
    divergence: str | None = None
    """Divergence in training: exact, gaussian or rademacher; without one, the problem's own."""
    kinetic: float = 0.0
    """Weight of the running cost 1/2 int |f|^2 dt, a mean over samples."""
    jacobian: float = 0.0
    """Weight of the running cost int |df/dz|_F^2 dt, a mean over samples."""

    def __post_init__(self) -> None:
        for argument in ("kinetic", "jacobian"):
            value = getattr(self, argument)
            if not (isinstance(value, (int, float)) and 0 <= value < math.inf):
                raise InvalidArgument(argument, value, "not a non-negative number", "use 0 for none")
        for argument in ("batch", "blocks"):
            if getattr(self, argument) is not None:
                check_count(argument, getattr(self, argument))
        if self.horizon is not None and not (isinstance(self.horizon, (int, float)) and 0 < self.horizon < math.inf):
            raise InvalidArgument("horizon", self.horizon, "not a positive number", "use e.g. 1.0")
        if self.activation is not None:
            activation(self.activation)
        widths = self.hidden if isinstance(self.hidden, tuple) else ()
        if self.hidden is not None and (not widths or any(type(w) is not int or w < 1 for w in widths)):
            raise InvalidArgument("hidden", self.hidden, "not positive integers", "give widths, e.g. 64,64,64")
        if self.divergence is not None:
            divergence(self.divergence)


class FlowBatch(NamedTuple):
    """Samples `(batch, dim)`, the probes that belong to them, how many samples all ranks have together, and the context
    `(batch, context)` of the samples where the density has a condition."""

    x: State
    draw: Draw
    of: int
    context: Tensor | None = None


class Density(Problem):
    """Negative log-likelihood of samples under a flow of ConcatSquash fields.

    For more than two dimensions training and validation use Hutchinson's estimate, as the study does; the final
    evaluation is exact.  Whatever the method, validation and evaluation solve adaptively at 1e-6 / 1e-8.
    """

    hidden: ClassVar[tuple[int, ...]]
    blocks: ClassVar[int] = 1
    horizon: ClassVar[float] = 1.0
    activation: ClassVar[str] = "tanh"
    batch_size: ClassVar[int]
    Options: ClassVar[type[Any]] = FlowOptions
    options: FlowOptions
    shared: ClassVar[bool] = True

    def check(self) -> None:
        super().check()
        if self.batch_rows < self.world.size:
            raise InvalidArgument(
                "batch",
                self.batch_rows,
                f"fewer rows than the {self.world.size} ranks that share them",
                "take a larger batch, or start fewer ranks",
            )

    @property
    @abstractmethod
    def dim(self) -> int:
        """Number of columns."""

    @abstractmethod
    def training_samples(self, iteration: int, share: slice = WHOLE) -> State:
        """Those of the `batch_rows` samples of one iteration that `share` names, `(share, dim)`."""

    @property
    def context_dim(self) -> int:
        """Columns of the context that the density is conditioned on; they do not count as dimensions."""
        return 0

    def training_context(self, iteration: int, share: slice = WHOLE) -> Tensor | None:  # noqa: ARG002
        """The context `(share, context_dim)` of the training samples; None without a condition, as for the others."""
        return None

    def validation_context(self) -> Tensor | None:
        """That of the validation samples."""
        return None

    def test_context(self) -> Tensor | None:
        """That of the test samples."""
        return None

    @abstractmethod
    def validation_samples(self) -> State:
        """Held-out samples `(n, dim)`, the same each time."""

    @abstractmethod
    def test_samples(self) -> State:
        """Samples `(n, dim)` for the final evaluation."""

    @property
    def batch_rows(self) -> int:
        """Samples per iteration."""
        return self.options.batch or self.batch_size

    @property
    def field_spec(self) -> ConcatSquash:
        """The field of every block."""
        hidden = self.options.hidden or self.hidden
        spec = ConcatSquash((self.dim, *hidden, self.dim), self.options.activation or self.activation)
        return spec.with_context(self.context_dim) if self.context_dim else spec

    def least_bytes(self, method: GradientMethod) -> list[Need]:
        spec, itemsize = self.field_spec, self.dtype.itemsize
        blocks = self.blocks if self.options.blocks is None else self.options.blocks
        tangents = self.dim if isinstance(self.training_divergence, Exact) else 1
        hidden = spec.widths[1:-1]
        rows = -(-self.batch_rows // self.world.size)
        one_field = bytes_of_weights(spec.n_params, self.dtype)
        state = rows * (self.dim + 1) * itemsize
        stages, kept = stages_of(method) * blocks, state if stores_stages(method) else 0
        return [
            Need("hidden", hidden, one_field, "make the layers narrower"),
            Need("blocks", blocks, one_field * blocks, "use fewer blocks"),
            # one evaluation with its divergence, and the numbers behind the batch in float64
            Need(
                "batch",
                self.batch_rows,
                rows * (sum(spec.widths) * (1 + tangents) * itemsize + 16 * self.dim),
                "use a smaller batch",
            ),
            Need("steps", steps_of(method), stages * (BYTES_A_STEP + kept), "take fewer steps"),
        ]

    def model(self, seed: int = 0) -> Flow:
        chosen = self.options
        return Flow.build(
            self.field_spec,
            blocks=self.blocks if chosen.blocks is None else chosen.blocks,
            seed=seed,
            dtype=self.dtype,
            device=self.device,
            horizon=self.horizon if chosen.horizon is None else chosen.horizon,
            trainable_horizon=chosen.trainable_horizon,
        )

    def parameter_groups(self, model: Flow) -> list[dict[str, Any]]:
        """Horizons in a group without weight decay, which would pull log T to 0, that is T to 1."""
        groups: list[dict[str, Any]] = [{"params": list(model.fields.parameters())}]
        if model.log_horizons is not None:
            groups.append({"params": [model.log_horizons], "weight_decay": 0.0})
        return groups

    @property
    def training_divergence(self) -> Divergence:
        """Exact in two dimensions, else Hutchinson with Gaussian probes, unless the options say otherwise."""
        return divergence(self.options.divergence or ("exact" if self.dim <= 2 else "gaussian"))

    def check_batch(self) -> FlowBatch:
        """At most 32 samples: gradients of large nets are checked in minutes."""
        return self.first_batch(min(32, self.batch_rows))

    def first_batch(self, rows: int, iteration: int = 0) -> FlowBatch:
        """The first samples of the batch of `iteration`, as a batch of their own."""
        share = slice(0, rows)
        x = self.training_samples(iteration, share)
        return FlowBatch(x, Draw(self.seed, iteration), len(x), self.training_context(iteration, share))

    def batch(self, iteration: int) -> FlowBatch:
        """This rank's share, with the probes that its samples have in the whole batch."""
        share = self.world.share(self.batch_rows)
        x = self.training_samples(iteration, share)
        draw = Draw(self.seed, iteration, share.start)
        method = self.training_divergence
        if isinstance(method, Hutchinson):  # drawn here, with the data: no part of a method's cost
            blocks = self.blocks if self.options.blocks is None else self.options.blocks
            draw = draw.ahead(method.noise, x, blocks)
        return FlowBatch(x, draw, self.batch_rows, self.training_context(iteration, share))

    def objective(self, method: GradientMethod, model: Flow, batch: FlowBatch) -> Objective:
        """Mean negative log-likelihood in nats plus weighted running costs; this share's part of the means."""
        return Objective.of(*self._loss_and_solves(method, model, batch))

    def loss(self, method: GradientMethod, model: Flow, batch: FlowBatch) -> Tensor:
        return self._loss_and_solves(method, model, batch)[0]

    def _loss_and_solves(
        self, method: GradientMethod, model: Flow, batch: FlowBatch
    ) -> tuple[Tensor, tuple[SolveStats, ...]]:
        costs = RunningCosts(self.options.kinetic > 0, self.options.jacobian > 0)
        how: dict[str, Any] = {"divergence": self.training_divergence, "draw": batch.draw, "costs": costs}
        moved = model.transport(batch.x, batch.context, method=method, **how)
        loss = -part_of_mean(moved.log_prob, batch.of)
        if moved.kinetic is not None:
            loss = loss + self.options.kinetic * part_of_mean(moved.kinetic, batch.of)
        if moved.jacobian is not None:
            loss = loss + self.options.jacobian * part_of_mean(moved.jacobian, batch.of)
        return loss, moved.solves

    def validation_loss(self, model: Flow) -> float:
        """Negative log-likelihood in nats of the validation samples; infinite where the solve fails."""
        how = Exact() if self.dim <= 2 else divergence("gaussian")
        context = self.validation_context()
        return negative_log_likelihood(
            model, self.validation_samples(), context=context, divergence=how, world=self.world
        )

    @torch.no_grad()
    def evaluate(self, model: Flow, method: GradientMethod) -> Evaluation:
        """Metrics on test samples, exact trace: `test_nll` (accurate), `test_nll_as_trained`, inverse errors
        `inverse_*` (accurate) and `inverse_*_as_trained` (by the training's own discretisation), `mmd`, `horizon`.
        """
        test, context = self.test_samples(), self.test_context()
        shown, beside = test[:SHOWN], None if context is None else context[:SHOWN]
        both: dict[str, Any] = {"context": context, "world": self.world}
        # first all that ranks do together, so that none waits for another whose solve fails below
        metrics = {
            "test_nll": negative_log_likelihood(model, test, **both),
            "test_nll_as_trained": negative_log_likelihood(model, test, method=method, **both),
        }
        more = self.evaluate_further(model, metrics["test_nll"])
        generated = model.sample(len(shown), beside, seed=self.seed, method=ACCURATE)
        metrics |= {"mmd": _mmd(generated, shown), "horizon": float(model.horizons.mean())}
        for suffix, how in (("", ACCURATE), ("_as_trained", method)):
            errors = inverse_errors(model, shown, how, context=beside)
            metrics |= {f"{name}{suffix}": value for name, value in errors.items()}
        series = {
            "data": to_list(shown),
            "pushed": to_list(model.move(shown, beside, method=ACCURATE)),
            "generated": to_list(generated),
        }
        return Evaluation({**metrics, **more.metrics}, {**series, **more.series})

    def in_raw_units(self, rows: State) -> npt.NDArray[np.float64]:
        """Samples of the model `(n, dim)` in the units of the data before preprocessing."""
        return rows.double().cpu().numpy()

    def evaluate_further(self, model: Flow, test_nll: float) -> Evaluation:  # noqa: ARG002
        """What a family of problems adds to the evaluation; `test_nll` is known by then.

        What the ranks do together has to come before what may fail on one of them alone.
        """
        return Evaluation({}, {})


def _mmd(generated: State, shown: State) -> float:
    """The discrepancy, NaN where it is not defined: of a single test row, or of rows that are all the same."""
    try:
        return mmd(generated, shown)
    except InvalidArgument:
        return math.nan


def to_list(values: Tensor) -> list[Any]:
    """Numbers for a figure: five decimals say more than a point shows."""
    return list(np.round(values.double().cpu().numpy(), 5).tolist())


def rows_at_once(model: Flow) -> int:
    """Rows in a chunk of validation: fewer where an exact trace carries dim tangents through wide layers."""
    widest = max((p.shape[0] for p in model.fields.parameters() if p.ndim), default=1)
    return max(1, min(CHUNK, TANGENT_ENTRIES // (model.dim * widest)))


def part_of_mean(values: Tensor, of: int) -> Tensor:
    """The mean of `values` `(batch,)`, or their part in the mean of the `of` values that all ranks have."""
    return values.mean() if len(values) == of else values.sum() / of


@torch.no_grad()
def negative_log_likelihood(
    model: Flow,
    x: State,
    *,
    context: Tensor | None = None,
    divergence: Divergence | None = None,
    method: GradientMethod = ACCURATE,
    world: World = ALONE,
) -> float:
    """Mean of -log p over the rows of `x` (given `context`, with a row for each), in nats, exact unless `divergence`
    says otherwise; infinite where a solve fails.

    Ranks of a `world` divide the chunks among themselves.  The chunks are those of one process, and so are the steps of
    each adaptive solve, and the order of the sum: every world finds the same bits.
    """
    size = rows_at_once(model)
    starts = range(0, len(x), size)
    sums = torch.zeros(len(starts), dtype=torch.float64)  # of log p in each chunk; 0 where another rank finds it
    for k in range(len(starts))[world.share(len(starts))]:
        chunk, draw = slice(starts[k], starts[k] + size), Draw(0, VALIDATION, starts[k])
        given = None if context is None else context[chunk]
        try:
            log_prob: Tensor = model.log_prob(
                x[chunk], given, method=method, divergence=divergence or Exact(), draw=draw
            )
        except SolveError:
            sums[k] = -math.inf
            break
        sums[k] = float(log_prob.double().sum())
    world.sum_(sums)
    mean = -sum(sums.tolist()) / len(x)
    return mean if math.isfinite(mean) else math.inf
