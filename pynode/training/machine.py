"""The machine that a run is on: what is recorded of it, and whether the run's memory fits."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from pynode.errors import InvalidArgument
from pynode.julia.session import default_session
from pynode.methods.base import GradientMethod
from pynode.problems.base import Problem

PACKAGES = (
    "pynode",
    "torch",
    "numpy",
    "scipy",
    "torchdiffeq",
    "juliacall",
    "diffeqpy",
    "numba",
    "matplotlib",
    "safetensors",
)

CHECKOUT = Path(__file__).resolve().parents[2]

NO_CODE = (":(exclude)experiments/published", ":(exclude)results", ":(exclude,glob)**/*.md")
"""Paths of a checkout whose changes leave every run as it is: records, which commands write there, and prose."""

CODE = (".py", ".jl")
"""Ends of files that are code before git knows them."""

CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux says how much memory a container may use."""


def environment(*, backend: str = "torch") -> dict[str, Any]:
    """Versions of Python and packages, processor, threads, memory, GPUs, git commit and command line.

    With the backend "julia" also the versions in its worker, which is started where it does not run.
    """
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": sys.argv,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "memory_bytes": _memory(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "git": _git(),
        **({"julia": default_session().call("versions").value} if backend == "julia" else {}),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return None


def _git(checkout: Path = CHECKOUT) -> dict[str, Any] | None:
    """Commit of the checkout that pynode runs from, and whether its code had changes; None outside a checkout."""
    if not (checkout / ".git").exists():
        return None

    def ask(*words: str) -> str:
        command = ["git", "-C", str(checkout), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout

    try:
        status = ask("status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--", ".", *NO_CODE)
        return {"commit": ask("rev-parse", "HEAD").strip(), "changed": _is_code_changed(status)}
    except (OSError, subprocess.SubprocessError):
        return None


def _is_code_changed(status: str) -> bool:
    """Whether lines of `git status --porcelain -z` name a tracked file, or an untracked one with code."""
    entries = [entry for entry in status.split("\0") if entry]
    return any(not entry.startswith("??") or entry.endswith(CODE) for entry in entries)


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
