"""NaN and infinite data in a problem of a time series: refused before work starts, or left out of every loss."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from pynode.errors import InvalidArgument
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.problems.series.base import Array
from pynode.problems.series.spiral import Spiral

METHODS = [DiscOpt(), DiscOpt(engine="eager"), OptDisc(), OptDisc(engine="eager")]


class Gaps(Spiral):
    """The spiral, every third point and one infinite entry not observed."""

    name = "gaps"
    holes = ((slice(None, None, 3), math.nan), ((5, 1), math.inf))

    def true_states(self, t: Array) -> Array:
        ys = super().true_states(t).copy()
        if len(t) == len(self.observation_times()):
            for index, value in self.holes:
                ys[index] = value
        return ys


class Masked(Gaps):
    missing = "mask"


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_an_error_before_work_starts(method: DiscOpt | OptDisc) -> None:
    problem = Gaps()
    message = r"data = .*: 21 of 60 entries are not finite, the first, nan, at index \(0, 0\)"
    for work in (
        problem.check,
        lambda: problem.objective(method, problem.model(), problem.y0),
        lambda: problem.validation_loss(problem.model()),
    ):
        with pytest.raises(InvalidArgument, match=message):
            work()


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_a_masked_problem(method: DiscOpt | OptDisc) -> None:
    """Loss, gradient and validation are those of the observed entries."""
    problem, model = Masked(), Masked().model(seed=2)
    problem.check()
    seen = torch.isfinite(problem.data)
    solution = method.solve(model, problem.y0, problem.times)
    by_hand = (solution.ys[seen] - problem.data[seen]).square().sum()
    gradients = torch.autograd.grad(by_hand, list(model.parameters()))
    for take in (lambda value: value.backward(), lambda value: value.loss.backward()):
        model.zero_grad()
        value = problem.objective(method, model, problem.batch(0))
        take(value)
        assert float(value.loss.detach()) == pytest.approx(float(by_hand.detach()), rel=1e-12)
        for p, g in zip(model.parameters(), gradients, strict=True):
            assert p.grad is not None
            assert torch.allclose(p.grad, g, rtol=1e-10, atol=1e-11)
    assert problem.validation_loss(model) == pytest.approx(float(by_hand.detach()), rel=1e-2)


def test_the_evaluation_of_a_masked_problem_can_be_written() -> None:
    problem = Masked()
    evaluation = problem.evaluate(problem.model(), DiscOpt())
    json.dumps(dict(evaluation.series), allow_nan=False)
    assert evaluation.series["data"][0] == [None, None]
    assert math.isfinite(evaluation.metrics["fit_loss"])


@pytest.mark.parametrize(
    ("attribute", "index", "value", "message"),
    [
        ("y0", 1, math.nan, r"y0 = .*1 of 2 entries is not finite, the first, nan, at index \(1,\)"),
        ("y0", 0, math.inf, r"y0 = .*the first, inf, at index \(0,\)"),
        ("times", 4, math.nan, "ts = .*not finite: 1 of 30 times, the first at index 4"),
        ("times", 29, math.inf, "ts = .*not finite: 1 of 30 times, the first at index 29"),
        ("times", 3, 0.0, "not strictly monotone"),
        ("data", slice(None), math.nan, "nothing is left to fit"),
    ],
)
def test_what_a_mask_can_not_cover(attribute: str, index: int | slice, value: float, message: str) -> None:
    problem = Masked()
    getattr(problem, attribute)[index] = value
    with pytest.raises(InvalidArgument, match=message):
        problem.check()


def test_the_studys_problems_have_no_gaps() -> None:
    problem = Spiral()
    problem.check()
    assert np.isfinite(problem.data.numpy()).all()
