"""The configuration that fixes a run: with one seed, two runs of it give the same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from pynode.errors import ConfigurationMismatch, InvalidArgument
from pynode.gradients.base import GradientMethod, check_choice, check_count, method_from_json
from pynode.problems import PROBLEMS
from pynode.problems.base import Problem

DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides the numbers of a run, and how often it validates and saves."""

    problem: str
    method: GradientMethod
    seed: int
    iterations: int
    learning_rate: float
    weight_decay: float
    dtype: str = "float64"
    device: str = "cpu"
    faithful: bool = False
    validate_every: int = 10
    checkpoint_every: int = 50
    memory_every: int = 150

    def __post_init__(self) -> None:
        check_choice("dtype", self.dtype, tuple(DTYPES))
        for argument in ("iterations", "validate_every", "checkpoint_every", "memory_every"):
            check_count(argument, getattr(self, argument))
        if not 0 < self.learning_rate < float("inf"):
            raise InvalidArgument("learning_rate", self.learning_rate, "not a positive number", "use e.g. 0.01")
        if not 0 <= self.weight_decay < float("inf"):
            raise InvalidArgument("weight_decay", self.weight_decay, "not a non-negative number", "use 0 for none")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**63:
            raise InvalidArgument("seed", self.seed, "not an integer from 0 to 2^63 - 1", "use 0, 1, 2, ...")
        check_device(self.device)

    @property
    def label(self) -> str:
        """Folder name of the run."""
        return f"{self.method.label}-seed{self.seed}"

    def make_problem(self) -> Problem:
        """The problem, its data in this configuration's dtype on its device."""
        problem = PROBLEMS.load(self.problem)
        return problem(dtype=DTYPES[self.dtype], device=self.device, faithful=self.faithful)

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` gives the configuration back."""
        plain = {k: v for k, v in asdict(self).items() if k != "method"}
        return {**plain, "method": self.method.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RunConfig:
        """The configuration that `to_json` wrote."""
        return cls(**{**data, "method": method_from_json(data["method"])})

    def check_resumes(self, earlier: RunConfig) -> None:
        """Raises `ConfigurationMismatch`, with the differences, unless this continues `earlier` (or trains longer)."""
        if self.iterations < earlier.iterations:
            raise ConfigurationMismatch(
                f"{self.label}: started with {earlier.iterations} iterations, resumed with {self.iterations}; "
                "a resumed run can only get longer"
            )
        # these two may change: they decide no number of an iteration
        same = replace(earlier, iterations=self.iterations, checkpoint_every=self.checkpoint_every)
        mine, theirs = self.to_json(), same.to_json()
        changed = [f"{k}: {theirs[k]} -> {mine[k]}" for k in mine if mine[k] != theirs[k]]
        if changed:
            raise ConfigurationMismatch(
                f"{self.label} was started with another configuration ({'; '.join(changed)}); "
                "resume with the same options, or choose another --out"
            )


def default_method(problem: type[Problem], name: str, **options: Any) -> GradientMethod:
    """The method called `name` with the study's settings for `problem`, overridden by `options`."""
    from pynode.gradients import METHODS

    method = METHODS.load(name)
    settings = problem.adaptive_settings if method.adaptive else problem.fixed_settings
    known = {k: v for k, v in settings.items() if k in method.option_names()}
    return method_from_json({"method": name, **known, **options})


def check_device(device: str) -> None:
    """Raises `InvalidArgument` unless torch can use `device` here."""
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise InvalidArgument("device", device, "unknown", "use cpu, cuda or cuda:N") from error
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(kind, False):
        raise InvalidArgument("device", device, "not available on this machine", "use cpu")
    index = torch.device(device).index
    if kind == "cuda" and index is not None and index >= torch.cuda.device_count():
        raise InvalidArgument("device", device, f"only {torch.cuda.device_count()} GPUs here", "use cuda")
