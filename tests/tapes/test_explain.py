"""`explain` says which engine runs a solve, what a captured field looks like, or why it is torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pynode
from pynode.cli import main
from pynode.engines import fused
from pynode.explanation import Explanation, explain, explain_first_solve

Y0 = torch.linspace(-1, 1, 8, dtype=torch.float64).reshape(4, 2)
GAIN = 2.0
NEEDS_KERNELS = pytest.mark.skipif(fused.unavailable() is not None, reason=str(fused.unavailable()))


class Net(nn.Module):
    """The spiral's net, with time."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).double()
        self.power, self.nfe = 3, 0

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        self.nfe += 1
        return GAIN * self.net(torch.cat([y**self.power, torch.sin(t).expand(len(y), 1)], 1))


class Noisy(Net):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.dropout(super().forward(t, y), 0.5, self.training)


@NEEDS_KERNELS
def test_a_captured_module() -> None:
    """Engine, layers with their operations and sizes, parameters, and what is watched."""
    module = Net()
    explanation = explain(module, Y0)
    assert (explanation.engine, explanation.reason) == ("fused", "")
    assert explanation.tape is not None
    assert module.nfe == 0
    text = str(explanation)
    for line in (
        "Net by disc-opt-rk4-x1",
        "engine: fused",
        "parameters: net.0.weight (8, 3), net.0.bias (8), net.2.weight (2, 8), net.2.bias (2)",
        "once a stage, from t:",
        "(1) = sin(t)",
        "for every sample:",
        "(2) = y**3",
        "net.0.weight, net.0.bias)",
        "watched at every solve: 5 modules",
        "attributes power",
        "global GAIN",
        "not nfe, which its evaluation changes",
    ):
        assert line in text, text


@NEEDS_KERNELS
def test_what_is_prepared_once_a_solve_is_shown() -> None:
    module = Net()
    nn.utils.parametrizations.weight_norm(module.net[0])
    text = str(explain(module, Y0))
    assert "once a solve, by torch:\n  p5 = _weight_norm_interface(" in text


def why(field: Any, **more: Any) -> Explanation:
    explanation = explain(field, Y0, **more)
    assert f"not on the kernels: {explanation.reason}" in str(explanation)
    return explanation


@NEEDS_KERNELS
def test_why_it_is_torch() -> None:
    """What, where and a remedy; no other words than an engine that has been asked for raises."""
    explanation = why(Noisy())
    assert explanation.engine == "eager"
    assert explanation.tape is None
    for part in ("random numbers", "test_explain.py, line", "eval()"):
        assert part in explanation.reason
    assert "function" in why(lambda t, y: -y).reason
    assert "output times" in why(Net(), ts=torch.tensor([0.0, 1.0], requires_grad=True)).reason
    assert "has been asked for" in why(Net(), method=pynode.DiscOpt(engine="eager")).reason
    assert "checkpoint" in why(Net(), method=pynode.DiscOpt(memory="checkpoint")).reason
    refused = why(Noisy(), method=pynode.OptDisc(engine="fused"))
    assert refused.engine == ""
    with pytest.raises(pynode.UsageError, match="random numbers"):
        pynode.OptDisc(engine="fused").solve(Noisy(), Y0, torch.tensor([0.0, 1.0], dtype=torch.float64))


def test_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install."""
    monkeypatch.setattr(fused, "unavailable", lambda: "the fused engine needs Numba; pip install numba")
    explanation = why(Net())
    assert explanation.engine == "eager"
    assert "pip install numba" in explanation.reason
    assert explanation.tape is not None


@NEEDS_KERNELS
def test_specifications_and_flows() -> None:
    """A specification needs no capture; of a flow it is the first block."""
    plain = explain(pynode.MLP((2, 4, 2)).build(seed=0), Y0)
    assert (plain.engine, plain.tape) == ("fused", None)
    assert "specification: MLP" in str(plain)

    class Block(Net):
        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return super().forward(t, y)

    flow = pynode.Flow([Block()], 2, method=pynode.DiscOpt(steps=3))
    explanation = explain(flow, Y0)
    assert explanation.engine == "fused"
    assert explanation.field == "Block"
    assert explanation.tape is not None


def test_an_objective_ends_at_its_first_solve() -> None:
    evaluations: list[float] = []
    solves = 0

    def field(t: Tensor, y: Tensor) -> Tensor:
        evaluations.append(float(t))
        return -y

    def objective(method: pynode.GradientMethod) -> Tensor:
        nonlocal solves
        for _ in range(2):
            solves += 1
            ys = method.solve(field, Y0, torch.tensor([0.0, 1.0], dtype=torch.float64)).ys
        return ys.sum()

    method = pynode.DiscOpt()
    explanation = explain_first_solve(method, objective)
    assert explanation is not None
    assert explanation.engine == "eager"
    assert (solves, evaluations) == (1, [])
    assert explain_first_solve(method, lambda _: None) is None
    objective(method)
    assert len(evaluations) == 8


@NEEDS_KERNELS
def test_on_the_command_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One explanation a method, and nothing is trained."""
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "spiral", "--explain", "--methods", "disc-opt,opt-disc-fixed", "--seeds", "0,1"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("engine: ") == 2
    assert "engine: fused" in printed
    assert "not on the kernels" in printed
    assert list(tmp_path.iterdir()) == []
