"""What every problem poses: a field, a loss, an evaluation, and the study's own settings for each method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pynode.fields.base import Field, FieldSpec
from pynode.gradients.base import GradientMethod
from pynode.solution import SolveStats
from pynode.types import State


@dataclass(frozen=True)
class TrainingSettings:
    """How the study trains this problem (Adam); validation happens every `validate_every` iterations."""

    iterations: int
    learning_rate: float
    weight_decay: float = 0.0
    validate_every: int = 10


@dataclass(frozen=True)
class Objective:
    """A scalar loss that autograd can differentiate, and the live counts of the solves behind it."""

    loss: Tensor
    solves: tuple[SolveStats, ...] = ()

    @property
    def stats(self) -> SolveStats:
        """The work of all solves together, as known now: the backward part fills when the gradient is taken."""
        return sum(self.solves, SolveStats())


@dataclass(frozen=True)
class Evaluation:
    """Quality of a trained field: named numbers, and named series for figures (lists of plain numbers)."""

    metrics: Mapping[str, float]
    series: Mapping[str, list[Any]]


class Problem(ABC):
    """One problem, its data held in `dtype` on `device`.

    A problem never chooses how it is differentiated: `objective` takes any gradient method.  `validation_loss` and
    `evaluate` solve accurately by themselves, so that all methods are judged by the same, continuous, problem.
    `faithful` restores the defects of the original study, where there are any.
    """

    name: ClassVar[str]
    training: ClassVar[TrainingSettings]
    field_spec: ClassVar[FieldSpec]
    fixed_settings: ClassVar[Mapping[str, Any]]
    """The study's options for fixed-step methods, as plain values."""
    adaptive_settings: ClassVar[Mapping[str, Any]]
    """The study's options for adaptive methods, as plain values."""

    def __init__(
        self, *, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu", faithful: bool = False
    ) -> None:
        self.dtype, self.device, self.faithful = dtype, torch.device(device), faithful

    def model(self, seed: int = 0) -> Field:
        """The untrained field, the same for every method."""
        return self.field_spec.build(seed=seed, dtype=self.dtype, device=self.device)

    @abstractmethod
    def batch(self, iteration: int) -> State:
        """The initial states `(..., dim)` of one iteration."""

    @abstractmethod
    def objective(self, method: GradientMethod, field: Field, batch: State) -> Objective:
        """The training loss of `field` on `batch`, solved and differentiated by `method`."""

    @abstractmethod
    def validation_loss(self, field: Field) -> float:
        """The loss of the continuous problem, solved accurately; infinite where the solve blows up."""

    @abstractmethod
    def evaluate(self, field: Field) -> Evaluation:
        """All that is said about a trained field at the end of a run."""
