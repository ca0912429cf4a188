"""How much memory a run needs at least, and how much there is: what can't fit is refused before work starts."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

import torch

from pynode.errors import InvalidArgument
from pynode.methods.base import GradientMethod
from pynode.problems.base import Problem

CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux says how much memory a container may use."""


def machine_memory(device: torch.device) -> int:
    """Bytes that a process on this machine can use on `device`; where that is not known, more than any has."""
    if device.type == "cuda" and torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(device).total_memory)
    limits = [sys.maxsize]
    with contextlib.suppress(AttributeError, ValueError, OSError):  # not a POSIX system
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for file in CGROUPS:
        with contextlib.suppress(OSError, ValueError):  # no limit is written as "max"
            limits.append(int(Path(file).read_text(encoding="utf-8")))
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        if soft != resource.RLIM_INFINITY:
            limits.append(soft)
    return min(limit for limit in limits if limit > 0)


def check_bytes(argument: str, value: object, needed: int, device: torch.device, remedy: str) -> None:
    """Raises `InvalidArgument` where `value` needs more bytes than there are on `device`."""
    there = machine_memory(device)
    if needed > there:
        raise InvalidArgument(
            argument, value, f"needs at least {_readable(needed)} of memory, and there are {_readable(there)}", remedy
        )


def check_size(problem: Problem, method: GradientMethod) -> None:
    """Raises `InvalidArgument` where training `problem` by `method` needs more memory than there is."""
    for argument, value, needed, remedy in problem.least_bytes(method):
        check_bytes(argument, value, needed, problem.device, remedy)


def _readable(size: int) -> str:
    units = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")
    power = next((k for k in range(len(units)) if size < 1000 ** (k + 1)), None)
    return "more than 1000 EB" if power is None else f"{size / 1000**power:.3g} {units[power]}"
