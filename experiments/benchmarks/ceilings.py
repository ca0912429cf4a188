"""What this machine reaches, by torch: products of matrices and a large copy; and the least work of a gradient."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from experiments.benchmarks.workload import Workload

SQUARE = (1024, 1024, 1024, "nt")
"""A product that every BLAS is good at."""

COPIED_BYTES = 256 << 20
"""Too much for any cache."""

LEAST_SECONDS = 0.02
"""Of work in one measurement, so that the clock's own time is nothing."""

Layout = Literal["nt", "nn", "tn"]
"""Which factor is transposed: x W^T forwards, g W by the input, g^T x by the weights."""


def measure(
    products: Sequence[Sequence[Any]], dtype: str, threads: int, device: str, precision: str = "full"
) -> list[dict[str, Any]]:
    """Rates in 1e9 operations (products) or bytes (copy) a second; "bf16" multiplies what is in bfloat16 already."""
    import torch

    from pynode.precision import TF32, products_in

    torch.set_num_threads(threads)
    kind = torch.bfloat16 if precision == "bf16" else getattr(torch, dtype)
    with products_in(TF32 if precision == TF32 else "full"):
        return _measure(products, kind, device)


def _measure(products: Sequence[Sequence[Any]], kind: Any, device: str) -> list[dict[str, Any]]:
    """The rates for numbers of one type."""
    import torch

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


@dataclass(frozen=True)
class Product:
    """A product of matrices m x k and k x n, stored as `layout` says."""

    m: int
    k: int
    n: int
    layout: Layout

    @property
    def operations(self) -> float:
        """Multiplications and additions."""
        return 2.0 * self.m * self.k * self.n


@dataclass(frozen=True)
class Work:
    """Products with how many of each, operations beside them, and bytes, of one loss and gradient."""

    products: dict[Product, int]
    dots: float
    bytes: float

    @property
    def product_operations(self) -> float:
        """Operations in products."""
        return sum(p.operations * count for p, count in self.products.items())

    @property
    def operations(self) -> float:
        """All operations."""
        return self.product_operations + self.dots


def work_of(workload: Workload) -> Work | None:
    """The least work of one loss and gradient; None for Opt-Disc, whose steps are found while solving, and for modules,
    whose work isn't known.
    """
    if workload.method != "disc-opt" or workload.kind == "module":
        return None
    widths, rows = workload.widths, workload.batch
    tangents = {"none": 0, "exact": widths[0], "hutchinson": 1}[workload.divergence]
    exact, last = workload.divergence == "exact", len(widths) - 2
    products: Counter[Product] = Counter()
    dots, kept = 0.0, 0
    for layer, (i, o) in enumerate(pairwise(widths)):
        for is_tangent in (False, True) if tangents else (False,):
            n = tangents * rows if is_tangent else rows
            if exact and is_tangent and layer in (0, last):
                # forwards, by the input, by the weights
                dots += 2.0 * n * (o if layer == 0 else i) * (1 if layer == 0 else 3)
                continue
            products[Product(n, i, o, "nt")] += 1
            products[Product(o, n, i, "tn")] += 1
            if not (is_tangent and layer == 0):
                products[Product(n, o, i, "nn")] += 1
        kept += i * rows * (1 + tangents)
    evaluations = workload.n_stages
    size = np.dtype(workload.dtype).itemsize
    n_params = workload.arrays["theta"].size
    return Work(
        {p: count * evaluations for p, count in products.items()},
        dots * evaluations,
        float(size * evaluations * (2 * kept + 4 * n_params)),
    )
