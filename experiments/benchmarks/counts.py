"""The least work of a loss and gradient by Disc-Opt: matrix products, operations, bytes.

Of each field evaluation, with L layers, `batch` samples and T tangents (none without a divergence, one for
Hutchinson's, dim for the exact trace):

- the value: one product by W a layer, and as many for each tangent;
- their cotangents by the layer's input: one product by W^T a layer for the value, and for each tangent but in the first
  layer, whose tangents are given;
- their cotangents by the weights: one product over the samples a layer, for the value and for each tangent.

The exact trace starts from unit vectors and reads the diagonal alone, so its first layer needs no product for tangents
and its last one a dot product each.  A product m x k by k x n is 2 m k n operations; activations are not counted.

Bytes, if nothing stayed in a cache: the inputs of all layers, of values and tangents, written forwards and read
backwards; theta read once an evaluation in either pass, its cotangents read and written once an evaluation.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from experiments.benchmarks.workload import Workload

Layout = Literal["nt", "nn", "tn"]
"""Which factor is transposed: x W^T forwards, g W by the input, g^T x by the weights."""


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
    """The least work of one loss and gradient; None for Opt-Disc, whose steps are found while solving."""
    if workload.method != "disc-opt":
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
