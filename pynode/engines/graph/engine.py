"""CUDA graphs: all kernels of a solve, and of its gradient, launched together; not yet run on a GPU."""

from __future__ import annotations

from typing import ClassVar

import torch

from pynode.engines.base import Engine
from pynode.engines.graph import known
from pynode.engines.graph.adaptive import recipes as adaptive
from pynode.engines.graph.capture import RECORDERS
from pynode.errors import InvalidArgument
from pynode.gradients import Discrete
from pynode.solve import Recipe, Run, Solve
from pynode.steps import Adaptive


class Graph(Engine):
    """Runs a solve on a GPU as recorded CUDA graphs; not yet run on a GPU, so that `auto` does not choose it."""

    name: ClassVar[str] = "graph"
    title: ClassVar[str] = "CUDA graphs"
    verified: ClassVar[bool] = False
    """Whether a passing run on a GPU is on record; until then `auto` does not choose this engine."""
    automatic: ClassVar[bool] = verified
    precisions: ClassVar[tuple[str, ...]] = ("full", "tf32", "bf16")

    def unavailable(self) -> str | None:
        if torch.cuda.is_available() or set(RECORDERS) != {"cuda"}:
            return None
        return "CUDA graphs need an NVIDIA GPU, and torch finds none; use a machine with one and torch's CUDA build"

    def check(self, recipe: Recipe) -> None:
        if isinstance(recipe.steps, Adaptive):
            adaptive.check(recipe, self.name)
        elif type(recipe.gradient) is not Discrete:
            problem = f"CUDA graphs do not have gradient = {type(recipe.gradient).__name__}"
            raise InvalidArgument("engine", "'graph'", problem, "use engine eager")

    def obstacle_on_ranks(self, recipe: Recipe) -> str | None:
        if isinstance(recipe.steps, Adaptive):
            return "a recording chooses its steps by the samples of its own rank"
        return None

    def obstacle(self, solve: Solve) -> str | None:
        return known.obstacle(solve)

    def run(self, solve: Solve) -> Run:
        return known.run(solve)
