"""Short trainings: which weights they are judged by, and what a failure leaves."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import pynode
from pynode.clock import Clock
from pynode.errors import SolveError
from pynode.methods.base import GradientMethod
from pynode.solution import Status
from pynode.studies.advice.adviser import measure_all
from pynode.studies.advice.record import REHEARSED
from pynode.studies.advice.subject import Practice, loss_subject
from pynode.studies.advice.timing import FEWEST, race
from pynode.studies.advice.trial import Trained, train

METHOD = pynode.DiscOpt(steps=1, engine="eager")


def descent(
    iterations: int, rate: float = 0.01, fails_at: int | None = None
) -> tuple[Trained, list[float], Callable[[Tensor], float]]:
    """A training of one weight from 0 to 1, the squared distance from 1 after each iteration, and that distance."""
    weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    values: list[float] = []

    def losses(k: int) -> Callable[[GradientMethod], Tensor]:
        def loss(_: GradientMethod) -> Tensor:
            values.append(float((weight.detach() - 1).square().sum()))
            if k == fails_at:
                raise SolveError(Status.NON_FINITE, t=0.5, dt=0.1, norm_f=1.0)
            return (weight - 1).square().sum()

        return loss

    practice = Practice(losses, [weight], lambda: [{"params": [weight]}], iterations, rate)
    trained = train(practice, METHOD, torch.zeros(1, dtype=torch.float64), seconds=60, iterations=iterations)
    return trained, values, lambda theta: float((theta - 1).square().sum())


@pytest.mark.parametrize("until", [1, 2, 3, 7, 12, 50, 333, 999])
def test_a_part_of_a_training_is_judged_by_its_own_weights(until: int) -> None:
    trained, values, judge = descent(1000)
    lowest, highest = min(values[1 : until + 1]), values[int(0.75 * until)]
    assert lowest <= trained.reached(until, judge) <= highest
    assert len(trained.looks) < 100


def test_the_whole_is_judged_by_the_last_weights_too() -> None:
    trained, _, judge = descent(100)
    assert trained.reached(100, judge) == judge(trained.theta)
    assert trained.reached(101, judge) == float("inf")


def test_a_failure_leaves_the_last_weights_with_a_loss() -> None:
    trained, values, judge = descent(10, rate=0.1, fails_at=3)
    assert trained.failed
    assert trained.iterations == 2
    assert judge(trained.theta) == values[2]
    assert trained.reached(2, judge) == float("inf")
    first, _, _ = descent(10, fails_at=0)
    assert (first.failed, first.iterations) == (True, 0)
    assert first.theta.tolist() == [0.0]


class Explosive(nn.Module):
    """dy/dt = w y^3, whose solution from 1 ends at t = 1 / (2 w)."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(0.1, dtype=torch.float64))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        return self.w * y**3


def test_a_rehearsal_into_a_blow_up_loses_nothing() -> None:
    """Disc-Opt trains to weights where the continuous problem has no solution: advice says so, and goes on."""
    module, y0 = Explosive(), torch.ones(1, 1, dtype=torch.float64)
    ts = torch.tensor([0.0, 1.0], dtype=torch.float64)
    subject = loss_subject(
        lambda method: -method.solve(module, y0, ts).ys[-1].log().sum(),
        module.parameters(),
        iterations=60,
        learning_rate=0.05,
    )
    known = measure_all(subject, 4.0, lambda _: None)
    assert "untrained" in known.weights
    assert any("can't be solved" in note or "failed" in note for note in known.notes)
    if REHEARSED in known.weights:
        assert float(known.thetas[REHEARSED]) < 0.5
    assert float(module.w.detach()) == pytest.approx(0.1)


def test_few_rounds_tell_no_scatter() -> None:
    raced = race({"a": lambda: None, "b": lambda: None}, Clock(torch.device("cpu")), 1e-9).raced["a"]
    assert raced.repeats < FEWEST
    assert raced.ratio_scatter is None
