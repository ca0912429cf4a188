"""Rates of a GPU, measured by torch: products in each precision, a copy, and launches of kernels."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from experiments.benchmarks.ceilings import SQUARE, work_of
from experiments.benchmarks.process import Child
from experiments.benchmarks.records import CeilingRecord
from experiments.benchmarks.workload import Workload

LARGE_SQUARE = (8192, 8192, 8192, "nt")
"""A product that is large enough to keep all of a GPU busy."""

LAUNCHES = 500
"""Kernels in one measurement."""

LAUNCH, REPLAY = "launch", "replay"
"""Kinds of `CeilingRecord`: 1e9 kernels a second, launched one by one, and replayed in a CUDA graph."""


def measure_limits(machine: Child, workload: Workload, turn: int) -> Iterator[CeilingRecord]:
    """Measures, for a workload: products in each of its precisions, square and of its own sizes; a copy; launches."""
    work = work_of(workload)
    square = SQUARE if workload.device == "cpu" else LARGE_SQUARE
    wanted: list[list[Any]] = [list(square)]
    if work is not None:
        wanted += [[p.m, p.k, p.n, p.layout] for p in work.products]
    common = {"threads": workload.threads, "device": workload.device, "dtype": workload.dtype}
    for precision in workload.precisions:
        rates = machine.ask("ceilings", products=wanted, precision=precision, **common)["rates"]
        named = "" if precision == "full" else precision
        for rate in rates:
            if rate["what"] == "product" or not named:
                yield CeilingRecord(workload.name, turn, **rate, precision=named)
    for rate in machine.ask("launches", device=workload.device)["rates"]:
        yield CeilingRecord(workload.name, turn, **rate)


def launches(device: str) -> list[dict[str, Any]]:
    """Measures how many kernels run in a second that do next to nothing."""
    import torch

    numbers = torch.zeros(1, device=device)

    def work() -> None:
        for _ in range(LAUNCHES):
            numbers.add_(1)

    rates = [{"what": LAUNCH, "sizes": [LAUNCHES], "layout": "", "rate": 1e-9 * LAUNCHES / _seconds(work, device)}]
    if device == "cuda":
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
        seconds = _seconds(graph.replay, device)
        rates.append({"what": REPLAY, "sizes": [LAUNCHES], "layout": "", "rate": 1e-9 * LAUNCHES / seconds})
    return rates


def _seconds(work: Any, device: str) -> float:
    """Seconds of one call, with the wait for the device: the median of five."""
    import torch

    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds[1:])[2]
