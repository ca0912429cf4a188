"""The configuration that fixes a run: with one seed, two runs of it give the same numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch

from pynode.errors import ConfigurationMismatch, InvalidArgument
from pynode.gradients.base import GradientMethod, check_choice, check_count, method_from_json
from pynode.problems import PROBLEMS
from pynode.problems.base import Problem, options_from_json
from pynode.training.schedules import Multilevel

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
    rate_drops: tuple[tuple[int, float], ...] = ()
    patience: int | None = None
    multilevel: Multilevel | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

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
        if self.patience is not None:
            check_count("patience", self.patience)
        if self.multilevel is not None and "steps" not in self.method.option_names():
            raise InvalidArgument(
                "multilevel", self.multilevel.steps, f"{self.method.name} has no steps", "use disc-opt"
            )
        check_device(self.device)

    @property
    def label(self) -> str:
        """Folder name of the run."""
        if self.multilevel is None:
            return f"{self.method.label}-seed{self.seed}"
        levels = "-".join(str(s) for s in self.multilevel.steps)
        return f"{self.method.family.replace(' ', '-')}-levels-{levels}-seed{self.seed}"

    def make_problem(self) -> Problem:
        """The problem, its data in this configuration's dtype on its device."""
        problem = PROBLEMS.load(self.problem)
        return problem(
            dtype=DTYPES[self.dtype],
            device=self.device,
            faithful=self.faithful,
            seed=self.seed,
            options=options_from_json(problem, self.options),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` gives the configuration back."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        levels = None if self.multilevel is None else self.multilevel.to_json()
        return {**plain, "options": dict(self.options), "multilevel": levels, "method": self.method.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RunConfig:
        """The configuration that `to_json` wrote."""
        values = {k: _as_tuple(v) for k, v in data.items()}
        if data.get("multilevel") is not None:
            values["multilevel"] = Multilevel(**{k: _as_tuple(v) for k, v in data["multilevel"].items()})
        return cls(**{**values, "method": method_from_json(data["method"])})

    def check_resumes(self, earlier: RunConfig) -> None:
        """Raises `ConfigurationMismatch`, with the differences, unless this continues `earlier` (or trains longer)."""
        if self.iterations < earlier.iterations:
            raise ConfigurationMismatch(
                f"{self.label}: started with {earlier.iterations} iterations, resumed with {self.iterations}; "
                "a resumed run can only get longer"
            )
        # these two may change: they decide no number of an iteration
        same = replace(earlier, iterations=self.iterations, checkpoint_every=self.checkpoint_every)
        mine, theirs = (_plain(c.to_json()) for c in (self, same))
        changed = [f"{k}: {theirs[k]} -> {mine[k]}" for k in mine if mine[k] != theirs[k]]
        if changed:
            raise ConfigurationMismatch(
                f"{self.label} was started with another configuration ({'; '.join(changed)}); "
                "resume with the same options, or choose another --out"
            )


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(v) for v in value) if isinstance(value, list) else value


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """As it comes back from disk, where tuples are lists."""
    return dict(json.loads(json.dumps(value)))


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
