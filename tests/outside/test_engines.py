"""An engine and a gradient from outside, a file each: a forward solve by SciPy, and gradients by finite differences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import pynode
from pynode.cli import main
from pynode.errors import EngineUnavailable
from pynode.records.files import read_json, read_lines
from pynode.records.iteration import IterationRecord
from tests.outside.members import write_files

Pose = tuple[Any, torch.Tensor, torch.Tensor]


@pytest.fixture
def pose() -> Pose:
    """A small field, a batch of states, and output times."""
    return (
        pynode.MLP((2, 3, 2)).build(seed=0),
        torch.tensor([[1.0, 0.5], [-0.3, 0.2]]).double(),
        torch.linspace(0, 1, 4).double(),
    )


@pytest.fixture
def scipy(tmp_path: Path) -> str:
    """The engine, as it is named on the command line."""
    write_files(tmp_path)
    return f"{tmp_path / 'my_engine.py'}:SciPy"


def test_an_engine_of_ones_own_solves(scipy: str, pose: Pose) -> None:
    method = pynode.OptDisc(rtol=1e-9, atol=1e-11, engine=scipy)
    with torch.no_grad():
        solution = method.solve(*pose)
        expected = pynode.OptDisc(rtol=1e-9, atol=1e-11, engine="eager").solve(*pose)
    assert torch.allclose(solution.ys, expected.ys, rtol=1e-7)
    assert solution.stats.engine == "scipy"
    assert solution.stats.forward.n_f > 10
    assert method.label == "opt-disc-scipy-interpolating-dopri5-rtol1e-09", "its results are told from those of others"


def test_what_it_can_not_do_is_told_with_a_remedy(scipy: str, pose: Pose) -> None:
    said = (
        r"SciPy can't solve this: SciPy's solver has no gradient; solve under torch\.no_grad\(\), or use engine eager"
    )
    with pytest.raises(EngineUnavailable, match=said):
        pynode.OptDisc(engine=scipy).solve(*pose)
    with pytest.raises(pynode.UsageError, match="takes no steps = Fixed; use Adaptive"):
        pynode.DiscOpt(engine=scipy)


def test_auto_leaves_engines_from_outside_alone(scipy: str, pose: Pose) -> None:
    pynode.ENGINES.load(scipy)
    with torch.no_grad():
        assert pynode.OptDisc().solve(*pose).stats.engine != "scipy"


def test_training_on_an_engine_without_gradients_is_refused_in_one_line(
    scipy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["compare", "spiral", "--methods", "opt-disc", "--engine", scipy, "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "SciPy's solver has no gradient; solve under torch.no_grad(), or use engine eager" in error
    assert error.count("\n") == 1


def test_a_gradient_of_ones_own_is_that_of_the_discrete_loss(tmp_path: Path, pose: Pose) -> None:
    write_files(tmp_path)
    kind: Any = pynode.METHODS.load(f"{tmp_path / 'my_gradient.py'}:FiniteDifferences")
    field, y0, ts = pose

    def gradients(method: Any) -> tuple[torch.Tensor, ...]:
        start = y0.clone().requires_grad_()
        solution = method.solve(field, start, ts)
        return torch.autograd.grad(solution.ys.square().sum(), [start, *field.parameters()])

    for mine, exact in zip(gradients(kind(steps=2)), gradients(pynode.DiscOpt(steps=2)), strict=True):
        assert torch.allclose(mine, exact, rtol=1e-6, atol=1e-8)
    stats = kind(steps=2).solve(*pose).stats
    assert (stats.engine, stats.nfe_forward) == ("eager", 24)


def test_it_trains_by_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pynode.studies.render.save", lambda *_: [])
    files = write_files(tmp_path)
    out = tmp_path / "out"
    methods = f"{tmp_path / 'my_gradient.py'}:FiniteDifferences,disc-opt"
    arguments = ["compare", files["problem"], "--methods", methods, "--iterations", "4", "--engine", "eager"]
    assert main([*arguments, "--no-checks", "--out", str(out)]) == 0
    runs = [out / "runs" / f"{name}-rk4-x2-seed0" for name in ("differences", "disc-opt")]
    mine, theirs = ([r.loss for r in read_lines(run / "records.jsonl", IterationRecord)] for run in runs)
    assert mine == pytest.approx(theirs, rel=1e-6)
    config = read_json(runs[0] / "config.json")
    assert config["method"] == {"method": "differences", "scheme": "rk4", "steps": 2, "size": 1e-6}
