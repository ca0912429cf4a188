"""The latent ODE of `experiments/latent_ode` learns: better than rules where it saw a series, and afterwards."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import pynode
from experiments.latent_ode.__main__ import main
from experiments.latent_ode.data import END, GAP, NOISE, SEEN, pendulums
from experiments.latent_ode.figure import smoothed
from experiments.latent_ode.model import LatentODE
from experiments.latent_ode.training import baselines, errors, trained, training_series
from pynode.methods.base import GradientMethod


def test_series_are_irregular_and_have_gaps() -> None:
    series = pendulums(50, seed=3)
    seen = series.seen
    assert bool((series.times.diff(dim=1) > 0).all())
    assert len({tuple(row.tolist()) for row in series.times}) == 50
    largest = []
    for times, kept in zip(series.times, seen, strict=True):
        known = torch.cat((torch.zeros(1), times[kept], torch.tensor([SEEN])))
        largest.append(float(known.diff().max()))
    assert min(largest) > GAP - 0.1
    assert float((series.values - series.truth).std()) == pytest.approx(NOISE, rel=0.1)
    assert float(series.grid[-1]) == pytest.approx(END)


def gradient(method: GradientMethod) -> Tensor:
    """Of the loss of some series, at the same weights and the same sample of z(0)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LatentODE(method)
        sum(model.loss(pendulums(8, seed=4))).backward()  # type: ignore[union-attr]
    return torch.cat([p.grad.reshape(-1) for p in model.parameters() if p.grad is not None])


def test_both_methods_have_its_gradient() -> None:
    reference = gradient(pynode.DiscOpt(pynode.RK4, steps=1, engine="eager"))
    for method in (pynode.DiscOpt(pynode.RK4, steps=1), pynode.OptDisc(rtol=1e-5, atol=1e-5)):
        assert float((gradient(method) - reference).norm() / reference.norm()) < 1e-3


@pytest.mark.slow
def test_it_is_better_than_rules_and_learns_alike_by_both_methods() -> None:
    test = pendulums(200, seed=7)
    rules = [errors(curves, test) for curves in baselines(test).values()]
    learnt = [
        errors(trained(method, iterations=800).model.predicted(test), test)
        for method in (pynode.DiscOpt(pynode.RK4, steps=1), pynode.OptDisc(rtol=1e-4, atol=1e-4))
    ]
    print(learnt, rules)
    for error in learnt:
        assert error.reconstruction < 0.9 * min(rule.reconstruction for rule in rules)
        assert error.extrapolation < 0.9 * min(rule.extrapolation for rule in rules)
    assert learnt[0].extrapolation == pytest.approx(learnt[1].extrapolation, rel=0.1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--iterations 0", "--iterations 0: fewer than 2; use e.g. 100"),
        ("--out nowhere/figure.png", "--out nowhere/figure.png: not a file in a directory that exists"),
        ("--out figure.txt", "--out figure.txt: not a figure; give a file that ends in one of .png"),
    ],
)
def test_mistakes_are_told_before_the_training(
    words: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["latent_ode", *words.split()])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert said in capsys.readouterr().err


def test_the_mean_curve_is_that_of_the_training_series() -> None:
    series = pendulums(3, seed=4)
    for seed in (0, 3):
        expected = training_series(seed).curves.mean(0).expand(3, -1)
        assert torch.equal(baselines(series, seed)["mean curve"], expected)
    assert torch.equal(training_series(3).values, pendulums(400, seed=1003).values)


@pytest.mark.parametrize("n", [2, 10, 25, 40])
def test_curves_of_learning_are_means_at_the_middle_of_their_windows(n: int) -> None:
    """A straight line stays one."""
    losses = [3.0 - 0.5 * k for k in range(n)]
    at, means = smoothed(losses)
    assert len(at) == len(means) == max(1, n - 24)
    assert list(means) == pytest.approx([3.0 - 0.5 * k for k in at])
