"""A command that several processes run together: torchrun started them, one speaks and writes."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pynode.cli.output import LAUNCH
from pynode.errors import UsageError
from pynode.records.files import write_atomically
from pynode.world import ALONE, World

if TYPE_CHECKING:
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
    from pynode.distributed import asked_for

    if asked_for():
        raise UsageError("only compare shares its work among ranks; run this one without torchrun")


def shared_directory(
    world: World, choose: Callable[[bool], Path], candidates: Callable[[], list[Path]], *, resume: bool
) -> tuple[Path, bool]:
    """The directory that the writing rank chooses, on all ranks, and whether to go on with what is there.

    What it finds wrong ends them all.  Where torchrun has started the processes anew, because one was lost, they go on
    in the one of `candidates` that their own launch had made, and in no other.
    """
    from pynode.training.agreement import from_writer

    def decide() -> bytes:
        launch = _launch()
        again = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
        mine = [folder for folder in candidates() if again and launch and _made_by(folder) == launch]
        directory = mine[0] if mine else choose(resume)
        if launch and not mine:
            write_atomically(directory / LAUNCH, launch.encode())
        return (b"1" if mine or resume else b"0") + os.fsencode(directory)

    answer = from_writer(world, decide)
    return Path(os.fsdecode(answer[1:])), answer[:1] == b"1"


def _launch() -> str:
    """What the processes of one launch of torchrun share through all its restarts: its name and its own process."""
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    return "" if name is None else f"{name} {socket.gethostname()} {os.getppid()}"


def _made_by(folder: Path) -> str:
    try:
        return (folder / LAUNCH).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def finish(status: int) -> NoReturn:
    """Ends the process with `status`.

    A rank ends at once: the communication library's threads have been seen to abort a process in its very last moment
    ("terminate called without an active exception"), and torchrun took a finished run for a lost rank.
    """
    if os.environ.get("WORLD_SIZE", "1") in ("", "0", "1"):
        sys.exit(status)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def on_one_footing(configs: list[RunConfig], world: World) -> list[RunConfig]:
    """All methods by torch operators where one of them has no kernels among several ranks.

    An adaptive solve takes its error norm over all ranks, which no kernel does; seconds of methods on different
    engines don't compare.
    """
    if world.size == 1 or not any(c.method.adaptive for c in configs):
        return configs
    from pynode.engines.choice import AUTO, automatic_engines

    operators = automatic_engines()[-1].name
    return [replace(c, method=c.method.on_engine(operators)) if c.method.engine_name == AUTO else c for c in configs]
