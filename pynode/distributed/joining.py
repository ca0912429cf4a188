"""Joining and leaving: torch.distributed's process group, with time limits and typed errors."""

from __future__ import annotations

import contextlib
import math
import os
from datetime import timedelta
from typing import Any

from pynode.distributed.launch import Launch, asked_for, meeting_file, stays_inside, use_loopback
from pynode.errors import InvalidArgument, RankLost
from pynode.world import ALONE, World


def join(device: str = "cpu", timeout_seconds: float = 600.0) -> World:
    """The world that torchrun has started this process in; `ALONE` where torchrun did not start it.

    `device` is where the run computes: with "cuda" each rank takes the GPU of its number on the node, sums of tensors
    there go by NCCL, all else by gloo.  No collective, nor the meeting here, waits longer than `timeout_seconds`; an
    ended rank is mostly noticed at once, since its connection closes.

    On one node the ranks meet in a file and talk by the loopback interface; with several nodes, or a MASTER_ADDR that
    is another machine's, by TCP as torchrun says.

    Raises `InvalidArgument` for an environment that makes no sense or a missing GPU, `RankLost` where others don't
    come.
    """
    if not (isinstance(timeout_seconds, (int, float)) and 0 < timeout_seconds < math.inf):
        raise InvalidArgument("--rank-timeout", timeout_seconds, "not a positive number of seconds", "use e.g. 600")
    if not asked_for():
        return ALONE
    launch = Launch.from_environment()
    import torch
    import torch.distributed as dist

    if not dist.is_available():
        raise InvalidArgument("WORLD_SIZE", launch.size, "torch was built without torch.distributed", "install another")
    kind = torch.device(device).type
    if kind == "cuda":
        _take_gpu(launch)
    try:
        with contextlib.ExitStack() as stack:
            meeting: dict[str, Any] = {"init_method": "env://"}
            if stays_inside(launch):
                use_loopback()
                place = stack.enter_context(meeting_file(launch, timeout_seconds))
                meeting = {"store": dist.FileStore(str(place), launch.size)}  # type: ignore[attr-defined]
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo",
                rank=launch.rank,
                world_size=launch.size,
                timeout=timedelta(seconds=timeout_seconds),
                **meeting,
            )
            world = World(launch.rank, launch.size)
            world.barrier()
    except RankLost:
        leave()
        raise
    except RuntimeError as error:
        leave()
        raise RankLost(launch.rank, launch.size, f"not all ranks joined: {error}") from error
    return world


def leave() -> None:
    """Ends the connections to the other ranks; without them, or where they are broken already, does nothing."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        with contextlib.suppress(RuntimeError):
            dist.destroy_process_group()


def _take_gpu(launch: Launch) -> None:
    """Makes "cuda" mean this rank's own GPU."""
    import torch

    available = torch.cuda.device_count()
    if launch.local_rank >= available:
        remedy = f"start at most {available} ranks a node" if available else "use --device cpu"
        raise InvalidArgument("LOCAL_RANK", launch.local_rank, f"this node has {available} GPUs, one a rank", remedy)
    torch.cuda.set_device(launch.local_rank)
    # without it a watchdog thread ends the process where a rank is lost, and the reason is not reported
    os.environ.setdefault("TORCH_NCCL_BLOCKING_WAIT", "1")
