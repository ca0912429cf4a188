"""What this machine reaches: products of matrices as the algorithm needs them, and a large copy; by torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

SQUARE = (1024, 1024, 1024, "nt")
"""A product that every BLAS is good at."""

COPIED_BYTES = 256 << 20
"""Too much for any cache."""

LEAST_SECONDS = 0.02
"""Of work in one measurement, so that the clock's own time is nothing."""


def measure(products: Sequence[Sequence[Any]], dtype: str, threads: int, device: str) -> list[dict[str, Any]]:
    """Rates in 1e9 operations (products) or bytes (copy) a second."""
    import torch

    torch.set_num_threads(threads)
    kind = getattr(torch, dtype)
    rates = []
    for m, k, n, layout in products:
        a = torch.randn((k, m) if layout == "tn" else (m, k), dtype=kind, device=device)
        b = torch.randn((n, k) if layout == "nt" else (k, n), dtype=kind, device=device)
        left, right = a.T if layout == "tn" else a, b.T if layout == "nt" else b
        out = torch.empty(m, n, dtype=kind, device=device)
        seconds = _seconds(_multiplication(left, right, out), device)
        rates.append({"what": "product", "sizes": [m, k, n], "layout": layout, "rate": 2e-9 * m * k * n / seconds})
    source = torch.ones(COPIED_BYTES // kind.itemsize, dtype=kind, device=device)
    target = torch.empty_like(source)
    seconds = _seconds(lambda: target.copy_(source), device)
    # read once, written once
    rates.append({"what": "copy", "sizes": [COPIED_BYTES], "layout": "", "rate": 2e-9 * COPIED_BYTES / seconds})
    return rates


def _multiplication(left: Any, right: Any, out: Any) -> Callable[[], object]:
    import torch

    return lambda: torch.mm(left, right, out=out)


def _seconds(work: Callable[[], object], device: str) -> float:
    """Seconds of one call: the median of three turns."""
    import torch

    def turn(calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            work()
        if device == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - start) / calls

    turn(1)
    calls = max(1, int(LEAST_SECONDS / 3 / max(turn(1), 1e-7)))
    return sorted(turn(calls) for _ in range(3))[1]
