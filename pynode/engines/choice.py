"""Chooses the engine that runs a solve.

A gradient method says what is computed, an engine how: `eager` by torch operators (any field, any device), `fused` by
compiled kernels (see `pynode.engines.fused`).  Disc-Opt gives the same numbers on both, to rounding; Opt-Disc has
another step control on each, and agrees to its tolerances.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch

from pynode.engines import fused
from pynode.errors import EngineUnavailable, InvalidArgument
from pynode.fields.base import System, why_no_system
from pynode.types import State, Times, VectorField

Engine = Literal["auto", "eager", "fused"]

ENGINES: tuple[Engine, ...] = ("auto", "eager", "fused")
"""`auto` takes the fused kernels where they apply and are expected to be faster, torch operators elsewhere."""


def check_engine(engine: str) -> Engine:
    """The engine called `engine`.

    Raises `InvalidArgument` for a name that is not in `ENGINES`, `EngineUnavailable` for kernels that can't run.
    """
    if engine not in ENGINES:
        raise InvalidArgument("engine", repr(engine), "unknown", f"use one of {', '.join(ENGINES)}")
    if engine == "fused" and (reason := fused.unavailable()):
        raise EngineUnavailable(f"engine = fused: {reason}, or use engine eager or auto")
    return engine


def fused_system(
    engine: Engine,
    field: VectorField,
    y0: State,
    ts: Times,
    failure: Callable[[torch.dtype], str | None] = fused.failure,
    remedy: str = "use engine eager or auto",
) -> System | None:
    """What the fused kernels are to solve for `field`, `y0` `(..., columns)` and the output times `ts`.

    `failure` says why the kernels that are needed can't be compiled for a dtype, None where they can.

    None where torch operators do it: because `engine` says so, or because with "auto" the kernels don't apply or don't
    pay.  With "fused" raises `EngineUnavailable` with the reason where they can't.
    """
    if engine == "eager":
        return None
    reason = fused.unavailable()
    if reason is not None and engine == "auto":
        return None
    reason = reason or why_no_system(field)
    if reason is None:
        system: System = field.system()  # type: ignore[attr-defined]
        reason = fused.obstacle(system, y0, ts)
        if reason is None and (engine == "fused" or fused.pays(system, y0)):
            reason = failure(y0.dtype)
            if reason is None:
                return system
    if engine == "fused" and reason is not None:
        raise EngineUnavailable(f"the fused kernels can't solve this: {reason}; {remedy}")
    return None
