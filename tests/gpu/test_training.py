"""The trainer on the GPU: the CPU's losses, the same by both engines, and a resumed run that goes on alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pynode.training.config import RunConfig
from pynode.training.plan import plan
from pynode.training.trainer import train
from tests.gpu.common import STAND_IN


def configured(problem: str, engine: str, device: str, iterations: int = 8, **settings: Any) -> RunConfig:
    """A short run in float64; of a small flow where a stand-in repeats every operator in Python."""
    options: dict[str, Any] = {"batch": 64} if problem == "8gaussians" else {}
    if options and STAND_IN:
        options |= {"hidden": (8,)}
    chosen = {"dtype": "float64", "iterations": iterations, "validate_every": 4, "checkpoint_every": 4, **settings}
    method = {"engine": engine, **({"steps": 2} if options and STAND_IN else {})}
    return plan(problem, ["disc-opt"], [0], method, problem_options=options, device=device, **chosen)[0]


def losses(directory: Path) -> list[float]:
    """Of all iterations."""
    lines = (directory / "records.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["loss"] for line in lines]


def engines(directory: Path) -> set[str]:
    """Who ran the iterations."""
    lines = (directory / "records.jsonl").read_text(encoding="utf-8").splitlines()
    return {json.loads(line)["engine"] for line in lines}


@pytest.mark.parametrize("problem", ["spiral", "8gaussians"])
def test_a_run_has_the_losses_of_the_cpu(problem: str, any_engine: str, device: torch.device, tmp_path: Path) -> None:
    """Eight iterations of Adam, which multiplies rounding."""
    train(configured(problem, "eager", "cpu"), tmp_path / "cpu")
    train(configured(problem, any_engine, device.type), tmp_path / "gpu")
    assert engines(tmp_path / "gpu") == {any_engine}
    there, here = losses(tmp_path / "cpu"), losses(tmp_path / "gpu")
    assert len(here) == 8
    assert here == pytest.approx(there, rel=1e-6)
    assert here[-1] != here[0]


@pytest.mark.parametrize("problem", ["spiral", "8gaussians"])
def test_a_resumed_run_goes_on_alike(problem: str, any_engine: str, device: torch.device, tmp_path: Path) -> None:
    train(configured(problem, any_engine, device.type), tmp_path / "whole")
    train(configured(problem, any_engine, device.type, iterations=4), tmp_path / "parts")
    train(configured(problem, any_engine, device.type), tmp_path / "parts", resume=True)
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), rel=1e-9)


def test_float32_with_a_smaller_last_batch_and_memory_probes(
    any_engine: str, device: torch.device, tmp_path: Path
) -> None:
    """The study's own settings of a flow, shortened; the memory is measured once."""
    config = configured("8gaussians", any_engine, device.type, dtype="float32", memory_every=4)
    summary = train(config, tmp_path / "run")
    assert summary["status"] == "finished"
    lines = [json.loads(line) for line in (tmp_path / "run" / "records.jsonl").read_text().splitlines()]
    assert [line["peak_memory_bytes"] is not None for line in lines] == [True, False, False, False] * 2
    # every iteration has another batch, so the last loss may well be above the first
    train(configured("8gaussians", "eager", "cpu"), tmp_path / "double")
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "double"), rel=1e-4)
