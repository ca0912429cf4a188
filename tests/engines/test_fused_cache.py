"""Compiled kernels are kept on disk, and told apart by the sources that they were made from."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import json, time
import torch
from pynode.engines.fused import failure, obstacle
from pynode.fields.base import system_of
from pynode.fields.mlp import MLP
from pynode.methods.disc_opt import DiscOpt

field = MLP((2, 5, 2)).build(seed=0)
ts = torch.tensor([0.0, 1.0], dtype=torch.float64)
y0 = torch.ones(1, 2, dtype=torch.float64)
start = time.perf_counter()
assert obstacle(system_of(field), y0, ts) is None and failure(y0.dtype) is None
from pynode.engines.fused.fixed import run_fixed
DiscOpt(engine="fused").solve(field, y0, ts).ys.sum().backward()
print(json.dumps([time.perf_counter() - start, sum(run_fixed.stats.cache_hits.values())]))
"""


@pytest.mark.slow
def test_a_second_process_compiles_nothing(needs_fused: None) -> None:  # noqa: ARG001
    """Its first result is there in a fraction of a second: 0.4 s on a quiet machine, import of Numba included."""
    results = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", CODE], check=True, capture_output=True, text=True)
        results.append(json.loads(done.stdout))
    assert all(hits == 1 for _, hits in results[1:])
    assert min(seconds for seconds, _ in results[1:]) < 2.0


def test_every_source_counts(needs_fused: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    """A change in any file of the engine gives the kernels another name on disk."""
    from pynode.engines.fused import compile

    before = compile._stamp()
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + (b"#" if path.name == "products.py" else b""))
    compile._stamp.cache_clear()
    try:
        assert compile._stamp() != before
    finally:
        compile._stamp.cache_clear()
