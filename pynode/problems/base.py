"""What every problem poses: a model, a loss, an evaluation, and the study's own settings for each method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from pynode.errors import InvalidArgument, nearest
from pynode.gradients import Discrete
from pynode.methods.base import GradientMethod
from pynode.objective import Objective as Objective  # problems of users import it from here
from pynode.stages import Stage
from pynode.steps import Fixed
from pynode.types import Theta
from pynode.world import ALONE, World


@dataclass(frozen=True)
class TrainingSettings:
    """How the study trains this problem (Adam); validation happens every `validate_every` iterations.

    `rate_drops`: pairs (n, factor): after more than n validations without improvement the learning rate is `factor`
    times the initial one.  `rate_half_life`: the learning rate halves in so many iterations, beside these drops (None:
    never).  `patience`: after more than so many validations without improvement, training stops early (None: never).
    """

    iterations: int
    learning_rate: float
    weight_decay: float = 0.0
    validate_every: int = 10
    rate_drops: tuple[tuple[int, float], ...] = ()
    rate_half_life: int | None = None
    patience: int | None = None
    dtype: str = "float64"


@dataclass(frozen=True)
class NoOptions:
    """A problem without options of its own."""


@dataclass(frozen=True)
class Evaluation:
    """Quality of a trained model: named numbers, and named series for figures (lists of plain numbers)."""

    metrics: Mapping[str, float]
    series: Mapping[str, list[Any]]


class Need(NamedTuple):
    """Memory that a run needs: the option that decides how much, its value, the bytes, and what would need less."""

    argument: str
    value: object
    size: int
    remedy: str


BYTES_A_STEP = 500
"""Of a time grid, for each stage of each step: its time as a tensor of torch."""


def bytes_of_weights(count: int, dtype: torch.dtype) -> int:
    """Bytes that `count` parameters take in training: weight, gradient and Adam's two moments, and the best weights."""
    return count * (4 * dtype.itemsize + 8)


def stages_of(method: GradientMethod) -> int:
    """Evaluations of the field that a fixed-step method does in one output interval; 0 for adaptive ones."""
    return steps_of(method) * (0 if method.adaptive else method.recipe.formula.n_stages)


def steps_of(method: GradientMethod) -> int:
    """The most steps that a fixed-step method takes in one output interval; 0 for adaptive ones."""
    steps = method.recipe.steps
    if not isinstance(steps, Fixed):
        return 0
    return steps.n if isinstance(steps.n, int) else max(steps.n)


def stores_stages(method: GradientMethod) -> bool:
    """Whether every stage is kept for the gradient."""
    gradient = method.recipe.gradient
    return isinstance(gradient, Discrete) and gradient.memory == "store"


class Model(Protocol):
    """The trainable model of a problem: a torch module whose parameters can be read and written as one vector."""

    def theta(self) -> Theta:
        """All parameters, float64, on the CPU."""

    def set_theta(self, theta: Theta) -> None:
        """Overwrites all parameters."""


class Problem(ABC):
    """One problem, its data held in `dtype` on `device`, its random numbers drawn from `seed`.

    A problem never chooses how it is differentiated: `objective` takes any gradient method.  `validation_loss` solves
    accurately by itself, so that all methods are judged by the same, continuous, problem.  `options` is an instance of
    the problem's `Options`.  `faithful` restores the defects of the original study, where there are any (`defects`
    names them).

    In a `world` of several processes `batch` is this rank's share of the batch that one process would take, and the
    `objective` its part of the whole: over all ranks, losses and gradients add up to those of one process.  All ranks
    call `validation_loss` and `evaluate` together and get the same numbers.
    """

    name: ClassVar[str]
    training: ClassVar[TrainingSettings]
    fixed_settings: ClassVar[Mapping[str, Any]]
    """The study's options for fixed-step methods, as plain values."""
    adaptive_settings: ClassVar[Mapping[str, Any]]
    """The study's options for adaptive methods, as plain values."""
    adjoint: ClassVar[str] = "backsolve"
    """How the adjoint of Opt-Disc gets the state: as in the study, unless a problem says otherwise."""
    quick: ClassVar[Mapping[str, Any]] = {"iterations": 50, "validate_every": 5}
    """A version that runs in seconds: iterations, their validation, and options of the problem."""
    defects: ClassVar[str | None] = None
    """What `faithful` restores."""
    Options: ClassVar[type[Any]] = NoOptions
    shared: ClassVar[bool] = False
    """Whether a batch is many independent samples, which several ranks can share."""

    def __init__(
        self,
        *,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        faithful: bool = False,
        seed: int = 0,
        options: Any = None,
        world: World = ALONE,
    ) -> None:
        if faithful and self.defects is None:
            raise InvalidArgument("faithful", True, f"{self.name} has no defects to restore", "leave it out")
        self.dtype, self.device, self.faithful, self.seed = dtype, torch.device(device), faithful, seed
        self.options = self.Options() if options is None else options
        self.world = world

    def check(self) -> None:
        """Raises `UsageError` for what would stop a run before its first iteration, such as missing data."""
        self.check_ranks()

    def check_ranks(self) -> None:
        """Raises `InvalidArgument` where several ranks can't share the batches of this problem; reads no data."""
        if self.world.size > 1 and not self.shared:
            raise InvalidArgument(
                "WORLD_SIZE",
                self.world.size,
                f"{self.name} is trained on whole trajectories, which ranks can't share",
                "run it in one process, without torchrun",
            )

    def data_record(self) -> dict[str, Any] | None:
        """What a run records of the rows that it is trained on, as plain values; None where data are generated."""
        return None

    def least_bytes(self, method: GradientMethod) -> list[Need]:  # noqa: ARG002
        """What training by `method` holds in memory at least, by the options that decide it."""
        return []

    @abstractmethod
    def model(self, seed: int = 0) -> Any:
        """The untrained `Model`, an nn.Module, the same for every method."""

    def blank_model(self, seed: int = 0) -> Any:
        """A model to load trained parameters into, without fitting initial ones."""
        return self.model(seed)

    def parameter_groups(self, model: Any) -> list[dict[str, Any]]:
        """Parameter groups for the optimiser: one group unless a problem overrides this."""
        return [{"params": list(model.parameters())}]

    @abstractmethod
    def batch(self, iteration: int) -> Any:
        """What one iteration trains on; the same for the same seed and iteration."""

    def check_batch(self) -> Any:
        """What gradient checks use: the first batch, unless that would take long."""
        return self.batch(0)

    @abstractmethod
    def objective(self, method: GradientMethod, model: Any, batch: Any) -> Objective:
        """The training loss of `model` on `batch`, solved and differentiated by `method`."""

    def loss(self, method: GradientMethod, model: Any, batch: Any) -> Tensor | None:  # noqa: ARG002
        """The same loss as a tensor, computed without reading values of the device, so that a GPU can record it.

        None for a problem that has no such form; its iterations run operator by operator then.
        """
        return None

    @abstractmethod
    def validation_loss(self, model: Any) -> float:
        """The loss of the continuous problem, solved accurately; infinite where the solve blows up."""

    def stages(self) -> Sequence[Stage]:
        """What follows Adam in a training: none, unless a problem overrides this.

        Each goes on from the weights of the one before it, the first from the best of Adam's.
        """
        return ()

    @abstractmethod
    def evaluate(self, model: Any, method: GradientMethod) -> Evaluation:
        """Metrics and series of a model that was trained by `method`, for the end of a run."""


def options_from_json(problem: type[Problem], data: Mapping[str, Any]) -> Any:
    """The problem's `Options` from plain values; raises `InvalidArgument` for a name that it does not have."""
    known = tuple(f.name for f in fields(problem.Options))
    if unknown := sorted(set(data) - set(known)):
        match = nearest(unknown[0], known)
        guess = f"did you mean '{match}'? " if match else ""
        remedy = f"{guess}it takes {', '.join(known)}" if known else "it takes no options"
        raise InvalidArgument(unknown[0], data[unknown[0]], f"{problem.name} has no such option", remedy)
    return problem.Options(**{k: tuple(v) if isinstance(v, list) else v for k, v in data.items()})
