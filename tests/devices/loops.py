"""Runs before their first iteration, on any device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import pynode
from pynode.methods.base import GradientMethod
from pynode.problems import PROBLEMS
from pynode.records.iteration import IterationRecord
from pynode.training.config import RunConfig
from pynode.training.loop import Loop
from pynode.training.signals import Stop
from pynode.training.storage import FolderStorage
from pynode.training.trainer import _load
from pynode.world import ALONE

FLOW: dict[str, Any] = {"hidden": (4,), "batch": 6, "divergence": "gaussian"}
"""Options of a small density problem."""

EAGER = pynode.DiscOpt(steps=1, engine="eager")


def a_loop(
    name: str,
    device: torch.device | str,
    folder: Path,
    method: GradientMethod = EAGER,
    **options: Any,
) -> Loop:
    """A run of problem `name` before its first iteration, whose validation is at iterations 0 and 100."""
    kind = PROBLEMS.load(name)
    config = RunConfig(
        problem=name,
        method=method,
        seed=0,
        iterations=101,
        learning_rate=0.01,
        weight_decay=0.0,
        validate_every=100,
        checkpoint_every=100,
        memory_every=100,
    )
    problem = kind(device=device, options=kind.Options(**options))
    model, adam, progress = _load(config, problem, None)
    theta = model.theta()
    return Loop(config, problem, model, adam, progress, theta, theta, FolderStorage(folder, folder), Stop(), ALONE)


def iterated(loop: Loop, n: int) -> list[IterationRecord]:
    """The records of iterations without validation."""
    loop.progress.iteration += 1
    loop.set_rate()
    return [loop.iterate() for _ in range(n)]
