"""Which engine runs a solve: the one that was asked for, or with "auto" the first that can and that pays."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch

from pynode.engines import AUTO as AUTO
from pynode.engines import ENGINES
from pynode.engines.base import Engine
from pynode.errors import EngineUnavailable, InvalidArgument, UnknownName, UsageError, nearest
from pynode.precision import active_precision
from pynode.solve import Recipe, Solve


@lru_cache(maxsize=32)
def engine_called(name: str) -> Engine:
    """The engine called `name`; raises `InvalidArgument` with the known names."""
    try:
        return ENGINES.load(name)()
    except UnknownName as error:
        known = (AUTO, *ENGINES.names())
        match = nearest(name, known)
        guess = f"did you mean '{match}'? " if match else ""
        remedy = f"{guess}use one of {', '.join(known)}"
        raise InvalidArgument("engine", repr(name), "unknown", remedy) from error


@lru_cache(maxsize=1)
def automatic_engines() -> tuple[Engine, ...]:
    """What `auto` chooses among, the fallback last."""
    engines = [engine for engine in map(engine_called, ENGINES.names()) if engine.automatic]
    return tuple(sorted(engines, key=lambda engine: engine.fallback))


def candidates(name: str, recipe: Recipe) -> tuple[Engine, ...]:
    """The engines that `name`, perhaps "auto", stands for and that know `recipe`.

    Raises `InvalidArgument` where none does.
    """
    if not isinstance(name, str):
        raise InvalidArgument("engine", repr(name), "not the name of an engine", f"use e.g. {AUTO!r}")
    if name != AUTO:
        engine = engine_called(name)
        engine.check(recipe)
        return (engine,)
    engines: list[Engine] = []
    refusal: UsageError | None = None
    for engine in automatic_engines():
        try:
            engine.check(recipe)
        except UsageError as error:
            refusal = error
        else:
            engines.append(engine)
    if not engines and refusal is not None:
        raise refusal
    return tuple(engines)


def choose(engines: Sequence[Engine], solve: Solve) -> Engine:
    """The engine among these candidates that runs `solve`; raises `EngineUnavailable` where none can."""
    if len(engines) > 1:
        for engine in engines:
            if engine.fallback or engine.unavailable() is None:  # noqa: SIM102 (in the order of their cost)
                if engine.pays(solve) and obstacle(engine, solve) is None:
                    return engine
    reasons = [reason for engine in engines if (reason := engine.unavailable() or obstacle(engine, solve))]
    if len(engines) == 1 and not reasons:
        return engines[0]
    if len(engines) == 1:
        engines[0].check_solve(solve)
    raise EngineUnavailable(f"{engines[0].title} can't solve this: {reasons[0]}; {engines[0].remedy}")


def obstacle(engine: Engine, solve: Solve) -> str | None:
    """Why an engine, which is available, can't run `solve`, on its ranks if there are several."""
    precision = active_precision()
    if precision not in engine.precisions and solve.y0.dtype is torch.float32:  # others are multiplied as they are
        return f"its products are in full precision, and {precision} is asked for"
    if solve.world.size > 1 and (reason := engine.obstacle_on_ranks(solve.recipe)):
        return reason
    return engine.obstacle(solve)
