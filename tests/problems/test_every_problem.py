"""Every registered problem: an iteration by both methods, its own settings, and a run from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pynode.cli import main
from pynode.datasets import cache
from pynode.datasets.splits import Splits
from pynode.problems import PROBLEMS
from pynode.problems.base import Problem, options_from_json
from pynode.studies.results import load_results
from pynode.training.config import default_method

PUBLIC = {"power": 6, "gas": 8, "hepmass": 21, "miniboone": 43, "bsds300": 63}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random numbers in the shape of every public set and of a user's tables."""
    root = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    for name, dim in PUBLIC.items():
        rows = generator.standard_normal((400, dim)).astype(np.float32)
        cache.store(Splits(name, rows[:300], rows[300:350], rows[350:]), root)
    np.save(root / "table.npy", generator.standard_normal((400, 3)))
    for ending in ("csv", "table"):
        np.savetxt(root / f"table.{ending}", generator.standard_normal((400, 3)), delimiter=",")
    times = 0.1 * np.arange(60)
    np.savetxt(
        root / "table.series", np.c_[times, np.cos(times), np.sin(times)], delimiter=",", header="t,u,v", comments=""
    )
    return root


def small(kind: type[Problem], data: Path, **settings: Any) -> Problem:
    """The problem's own small version."""
    options = {k: v for k, v in kind.quick.items() if k not in ("iterations", "validate_every")}
    if "data" in kind.Options.__dataclass_fields__:
        options["data"] = str(data / f"table.{kind.name}")
    return kind(options=options_from_json(kind, options), **settings)


@pytest.mark.parametrize("method", ["disc-opt", "opt-disc"])
@pytest.mark.parametrize("name", PROBLEMS.names())
def test_an_iteration(name: str, method: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the problem's own settings for the method: a finite loss with a finite gradient, reproducible."""
    monkeypatch.setenv("PYNODE_DATA", str(data))
    kind = PROBLEMS.load(name)
    assert kind.name == name
    problem, again = small(kind, data, seed=3), small(kind, data, seed=3)
    problem.check()
    model = problem.model(0)
    how = default_method(kind, method)
    losses = [p.objective(how, model, p.batch(4)) for p in (problem, again)]
    assert float(losses[0].loss.detach()) == float(losses[1].loss.detach())
    losses[0].loss.backward()
    gradients = [p.grad for p in model.parameters() if p.numel()]  # a series without doses has empty ones
    assert all(g is not None and torch.isfinite(g).all() for g in gradients)
    assert any(float(g.abs().max()) > 0 for g in gradients if g is not None)
    assert losses[0].stats.nfe_forward > 0
    assert np.isfinite(problem.validation_loss(model))
    assert problem.validation_loss(model) == again.validation_loss(model)


@pytest.mark.parametrize("name", ["8gaussians", *PUBLIC])
def test_the_studys_flows_run_from_the_command_line(
    name: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the study's scheme and steps; NFE per iteration as the study counts them."""
    monkeypatch.setenv("PYNODE_DATA", str(data))
    batch = [] if name == "8gaussians" else ["--set", "batch=50", "--set", "rows=60"]
    given = ["--set", "hidden=4", *batch, "--iterations", "1", "--no-checks", "--methods", "disc-opt"]
    assert main(["compare", name, *given, "--out", str(tmp_path / "out")]) == 0
    (run,) = load_results(tmp_path / "out").runs
    expected = {"8gaussians": 40, "power": 200, "gas": 200, "hepmass": 480, "miniboone": 16, "bsds300": 112}
    assert [r.nfe_forward for r in run.records] == [expected[name]]
    assert [r.nfe_backward for r in run.records] == [0]
