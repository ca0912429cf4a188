"""Errors of gradients in float32 by the precision of products."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import pynode
from pynode.cli import main
from pynode.methods.base import GradientMethod
from pynode.studies.gradients.precision_table import precision_table
from pynode.studies.gradients.precisions import precision_errors
from pynode.studies.results import load_results


def test_fewer_digits_are_larger_errors() -> None:
    """float32 in full is good to six digits, bfloat16 to two; adaptive methods are left out."""
    posed = []
    for dtype in (torch.float64, torch.float32):
        field = pynode.ConcatSquash((4, 32, 32, 4)).build(seed=1, dtype=dtype)
        x = torch.randn(64, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).to(dtype)
        flow = pynode.Flow([field], 4)

        def loss(method: GradientMethod, flow: pynode.Flow = flow, x: Tensor = x) -> Tensor:
            return -flow.log_prob(x, method=method).mean()

        posed.append((loss, list(field.parameters())))
    methods = [pynode.DiscOpt(steps=2, engine="eager"), pynode.OptDisc()]
    full, reduced = precision_errors(posed[0], posed[1], methods, ["full", "bf16"])
    assert (full.precision, reduced.precision) == ("full", "bf16")
    assert full.error is not None
    assert reduced.error is not None
    assert 1e-9 < full.error < 1e-5
    assert 1e-3 < reduced.error < 1e-1
    assert reduced.engine == "eager"
    table = precision_table([full, reduced], "user")
    assert table is not None
    assert [row[1] for row in table.rows] == ["full", "bf16"]


@pytest.mark.slow
def test_the_command_records_them(tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = [
        "--methods",
        "disc-opt",
        "--steps",
        "1",
        "--schemes",
        "euler",
        "--precision",
        "bf16",
        "--engine",
        "eager",
    ]
    assert main(["gradients", "spiral", *options, "--out", str(out)]) == 0
    records = load_results(out).precisions
    assert [r.precision for r in records] == ["full", "bf16"]
    assert all(r.error is not None and r.failure is None for r in records)
    assert "Gradient error by precision of products" in (out / "tables.md").read_text()


def test_what_the_device_has_not_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gradients", "spiral", "--precision", "tf32", "--out", str(tmp_path / "out")]) == 2
    assert "needs the tensor cores of a CUDA GPU" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()
