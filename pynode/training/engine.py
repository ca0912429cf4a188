"""Which engine a run is on: decided once, at its start, and kept for as long as it goes on."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import torch

from pynode.engines.choice import AUTO, engine_called
from pynode.errors import EngineUnavailable, SolveError
from pynode.precision import products_in
from pynode.problems.base import Problem
from pynode.solution import collected_stats
from pynode.training.config import RunConfig


def decided(config: RunConfig, problem: Problem) -> RunConfig:
    """`config` with the engine that "auto" stands for in its run; as it is where that has been decided, or named.

    Raises `EngineUnavailable` where the engine of a run that goes on can't run here any more.
    """
    if config.method.engine_name != AUTO:
        config.method.check_available()
        return config
    if config.decided_engine is not None:
        if problem.world.size > 1 and engine_called(config.decided_engine).obstacle_on_ranks(config.method.recipe):
            return replace(config, decided_engine=_choice(config, problem))
        if reason := engine_called(config.decided_engine).unavailable():
            raise EngineUnavailable(
                f"{config.label} was begun on the engine {config.decided_engine}, which can't run here: {reason}; "
                "or continue on another one with --engine eager"
            )
        return config
    return replace(config, decided_engine=_choice(config, problem))


def _choice(config: RunConfig, problem: Problem) -> str | None:
    """The engine of the first solve of a run; None where its solves are by several."""
    method, world = config.method, problem.world
    able = [e for e in method.engines if world.size == 1 or e.obstacle_on_ranks(method.recipe) is None]
    able = [e for e in able if config.precision in e.precisions]
    if len(able) == 1:
        return able[0].name
    # the first iteration will meet the failure of its solve
    with collected_stats() as solves, torch.no_grad(), products_in(config.precision), suppress(SolveError):
        problem.objective(method, problem.model(config.seed), problem.batch(0))
    engines = {stats.engine for stats in solves}
    return engines.pop() if len(engines) == 1 else None
