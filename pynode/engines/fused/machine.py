"""Properties of the processor that kernels depend on: the size of its vectors, and how many it holds in registers."""

from __future__ import annotations

from llvmlite import binding

_FEATURES = binding.get_host_cpu_features()

VECTOR_BYTES = 64 if _FEATURES.get("avx512f") else 32
"""Size of a vector.  Where registers are smaller (SSE, NEON), LLVM splits a vector into several."""

BLOCK_VECTORS = 4 if _FEATURES.get("avx512f") else 2
"""Vectors side by side in a block of a product; BLOCK_ROWS x BLOCK_VECTORS sums must fit into the registers."""

BLOCK_ROWS = 4
"""Rows of a block of a product."""

HAS_FMA = bool(_FEATURES.get("fma"))
"""Whether the processor multiplies and adds in one instruction (asked on x86 only)."""
