"""A command that several processes run together: torchrun started them, one speaks and writes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pynode.errors import UsageError
from pynode.world import ALONE, World

if TYPE_CHECKING:
    from rich.console import Console

    from pynode.training.config import RunConfig


@contextmanager
def ranks(device: str, timeout: float) -> Iterator[World]:
    """The world of this command: all processes that torchrun started, or this one alone."""
    from pynode.distributed import asked_for, join, leave

    if not asked_for():
        yield ALONE
        return
    world = join(device, timeout)
    try:
        yield world
    finally:
        leave()


def check_alone() -> None:
    """Raises `UsageError` under torchrun, for a command that its processes would all run for themselves."""
    if int(os.environ.get("WORLD_SIZE", "1") or 1) > 1:
        raise UsageError("only compare shares its work among ranks; run this one without torchrun")


def restarted() -> bool:
    """Whether torchrun has started the processes anew after one was lost: then they go on where those were."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") not in ("", "0")


def shared_directory(world: World, choose: Callable[[], Path]) -> Path:
    """The directory that the writing rank chooses, on all ranks; what it finds wrong ends them all."""
    from pynode.training.together import from_writer

    return Path(from_writer(world, lambda: str(choose()).encode()).decode())


def quiet() -> Console:
    """A console that nobody sees."""
    from rich.console import Console

    return Console(quiet=True)


def on_one_footing(configs: list[RunConfig], world: World) -> list[RunConfig]:
    """All methods by torch operators where one of them has no kernels among several ranks.

    An adaptive solve takes its error norm over all ranks, which no kernel does; seconds of methods on different
    engines don't compare.
    """
    if world.size == 1 or not any(c.method.adaptive for c in configs):
        return configs
    return [
        replace(c, method=replace(c.method, engine="eager"))  # type: ignore[call-arg]
        if getattr(c.method, "engine", None) == "auto"
        else c
        for c in configs
    ]
