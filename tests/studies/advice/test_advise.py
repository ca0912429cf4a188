"""Advice on a loss in Python: what it measures, recommends and leaves, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pynode
from pynode.errors import InvalidArgument, UsageError
from pynode.methods.base import GradientMethod
from pynode.studies.advice.advise import Advice, advise
from pynode.studies.advice.recommendation import GOALS, TRAINING
from pynode.studies.advice.study import AdviceStudy, lines_to_paste
from pynode.studies.results import load_results

TS = torch.linspace(0, 1.5, 6, dtype=torch.float64)
Y0 = torch.tensor([[1.0, 0.0], [0.0, 0.5]], dtype=torch.float64)
DATA = torch.stack([Y0 * torch.cos(2 * t) for t in TS])


Advised = tuple[Advice, list[Tensor | None], list[Tensor | None]]


def field(seed: int = 0) -> nn.Module:
    """A small field in float64."""
    return pynode.MLP((2, 8, 2)).build(seed=seed).double()


def loss_of(module: nn.Module) -> Callable[[GradientMethod], Tensor]:
    def loss(method: GradientMethod) -> Tensor:
        return (method.solve(module, Y0, TS).ys - DATA).square().mean()

    return loss


@pytest.fixture(scope="module")
def advised() -> Advised:
    """Advice on a small fit, with the parameters before and after."""
    module = field()
    parameters = list(module.parameters())
    for p in parameters[1:]:  # the first has no gradient
        p.grad = torch.full_like(p, 7.0)
    before = state_of(parameters)
    advice = advise(loss_of(module), parameters, budget=6.0, iterations=30)
    return advice, before, state_of(parameters)


def state_of(parameters: list[nn.Parameter]) -> list[Tensor | None]:
    """Copies of the values, and of the gradients."""
    return [
        *(p.detach().clone() for p in parameters),
        *(None if p.grad is None else p.grad.clone() for p in parameters),
    ]


def test_leaves_the_parameters_as_they_were(advised: Advised) -> None:
    _, before, after = advised
    for a, b in zip(before, after, strict=True):
        assert (a is None and b is None) or (a is not None and b is not None and torch.equal(a, b))


def test_measures_both_methods_at_both_weights(advised: Advised) -> None:
    advice, _, _ = advised
    assert [w.weights for w in advice.weights] == ["untrained", "rehearsed"]
    assert advice.weights[1].loss < advice.weights[0].loss
    assert {r.method for r in advice.records} == {"disc-opt", "opt-disc"}
    assert any("backsolve" in r.label for r in advice.records)
    assert any("recompute" in r.label for r in advice.records)
    assert all(w.uncertainty is not None and w.uncertainty < 1e-6 for w in advice.weights)
    timed = [r for r in advice.records if r.seconds]
    assert timed
    assert any(r.memory_bytes for r in timed)


def test_errors_fall_with_steps_and_tolerances(advised: Advised) -> None:
    advice, _, _ = advised
    for family in ("disc-opt rk4", "opt-disc dopri5"):
        mine = [r for r in advice.records if r.family == family and r.weights == "rehearsed" and r.error is not None]
        mine.sort(key=lambda r: r.evaluations)
        assert (mine[-1].error or 0.0) < (mine[0].error or 0.0), family


def test_recommends_settings_that_can_be_used(advised: Advised) -> None:
    advice, _, _ = advised
    assert [r.goal for r in advice.recommendations] == list(GOALS)
    method = advice.method()
    assert torch.isfinite(loss_of(field())(method))
    reference = next(r for r in advice.recommendations if r.goal == "error 1e-2")
    assert reference.setting is not None
    assert (reference.setting.error or 1.0) <= 1e-2
    assert "pynode." in str(advice)
    with pytest.raises(InvalidArgument, match="use one of 'training'"):
        advice.method("speed")


def test_records_alone_give_the_same_advice(advised: Advised, tmp_path: Path) -> None:
    advice, _, _ = advised
    results = load_results(advice.save(tmp_path / "out"))
    assert results.problem == "loss"
    assert Advice(tuple(results.advice), tuple(results.advice_weights)).method() == advice.method()
    study = AdviceStudy()
    recommended, pasted, measured = study.tables(results)
    assert len(recommended.rows) == len(GOALS)
    assert len(measured.rows) == len(advice.records)
    assert pasted.long
    assert dict(lines_to_paste(results))[GOALS[TRAINING]].startswith("pynode.")
    assert study.figures(results)["advice"] is not None
    assert (study.finding(results) or "").startswith("For training take ")


def test_trained_weights_are_measured_too() -> None:
    module, other = field(), field(seed=3)
    trained = list(other.parameters())
    advice = advise(loss_of(module), module.parameters(), trained=trained, budget=2.0, iterations=0)
    assert [w.weights for w in advice.weights] == ["untrained", "trained"]
    wanted = float(loss_of(other)(pynode.DiscOpt(pynode.RK4, 8)).detach())
    assert advice.weights[1].loss == pytest.approx(wanted, rel=1e-4)


def test_float32_on_torch_operators() -> None:
    """A module that can't be captured, in single precision: the reference says how well it is known."""

    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
            return torch.tanh(self.linear(y)) if float(y.detach().sum()) > -1e9 else y

    torch.manual_seed(0)
    module = Branching()

    def loss(method: GradientMethod) -> Tensor:
        return method.solve(module, Y0.float(), TS[:3]).ys.square().mean()

    advice = advise(loss, module.parameters(), budget=3.0, iterations=3)
    assert {r.engine for r in advice.records if r.engine} == {"eager"}
    assert 0 < max(w.uncertainty or 0.0 for w in advice.weights) < 1e-4
    assert advice.method().solve(module, Y0.float(), TS[:3]).ys.shape == (3, 2, 2)


def random_loss(module: nn.Module) -> Callable[[GradientMethod], Tensor]:
    return lambda method: method.solve(module, torch.randn(2, 2, dtype=torch.float64), TS).ys.mean()


def mistakes() -> Iterator[tuple[str, Callable[[nn.Module], dict[str, Any]], str]]:
    """A name, the arguments, and what is said."""
    yield "no function", lambda _: {"loss": 3.0}, "loss = 3.0: not a function of the method"
    yield "takes no method", lambda m: {"loss": lambda: loss_of(m)(pynode.DiscOpt())}, "does not take one argument"
    yield "no scalar", lambda m: {"loss": lambda d: d.solve(m, Y0, TS).ys}, "not a scalar tensor"
    yield "a number", lambda m: {"loss": lambda d: float(loss_of(m)(d).detach())}, "loss = float: not a scalar tensor"
    yield "solves nothing", lambda m: {"loss": lambda _: m(TS[0], Y0).sum()}, "solves nothing by the method"
    yield "detached", lambda m: {"loss": lambda d: loss_of(m)(d).detach()}, "has no gradient"
    yield "not finite", lambda m: {"loss": lambda d: loss_of(m)(d) * float("inf")}, "not finite"
    yield "random", lambda m: {"loss": random_loss(m)}, "differs from call to call"
    yield "no parameters", lambda _: {"params": []}, "nothing to differentiate by"
    yield "no gradient", lambda _: {"params": [torch.zeros(2)]}, "not a leaf that requires a gradient"
    yield "others", lambda _: {"params": [torch.zeros(2, requires_grad=True)]}, "the loss depends on none of them"
    yield "other shapes", lambda _: {"trained": [torch.zeros(2)]}, "trained = .*not the shapes"
    yield "no budget", lambda _: {"budget": 0}, "budget = 0: not a positive number of seconds"
    yield "no iterations", lambda _: {"iterations": -1}, "iterations = -1: not a number of iterations"
    yield "no rate", lambda _: {"learning_rate": float("nan")}, "learning_rate = nan: not a positive number"


MISTAKES = {name: (change, said) for name, change, said in mistakes()}


@pytest.mark.parametrize(("change", "said"), list(MISTAKES.values()), ids=list(MISTAKES))
def test_mistakes_are_told_before_work_starts(change: Callable[[nn.Module], dict[str, Any]], said: str) -> None:
    module = field()
    arguments = {"loss": loss_of(module), "params": list(module.parameters()), **change(module)}
    with pytest.raises(UsageError, match=said):
        advise(arguments.pop("loss"), arguments.pop("params"), **arguments)


def test_a_stiff_field_is_called_stiff() -> None:
    """A fast mode that has died out: stability limits explicit steps."""

    class Stiff(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.slow = nn.Parameter(torch.tensor(-0.5, dtype=torch.float64))
            self.fast = nn.Parameter(torch.tensor(-300.0, dtype=torch.float64))

        def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
            return torch.stack((self.slow * y[..., 0], self.fast * (y[..., 1] - y[..., 0])), dim=-1)

    module, y0 = Stiff(), torch.tensor([[1.0, 1.0]], dtype=torch.float64)

    def loss(method: GradientMethod) -> Tensor:
        return method.solve(module, y0, torch.tensor([0.0, 1.0], dtype=torch.float64)).ys[-1].square().sum()

    advice = advise(loss, module.parameters(), budget=8.0, iterations=0)
    assert any(sentence.startswith("Stiff at the weights untrained") for sentence in advice.cautions)
