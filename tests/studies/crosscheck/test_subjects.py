"""What is cross-checked: batches of any kind, runs beside the judged one that fail, and solves that have no case."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest
import torch
from torch import Tensor

from pynode.cli import main
from pynode.engines.base import Engine
from pynode.errors import InvalidArgument, RunFailure, SolveError
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.problems.base import Objective
from pynode.problems.series.spiral import Spiral
from pynode.schemes.euler import EULER
from pynode.solution import Status
from pynode.solve import Run, Solve
from pynode.studies.crosscheck.check import crosscheck
from pynode.studies.crosscheck.record import AGREES, BROKEN, UNJUDGED, CrosscheckRecord
from pynode.studies.crosscheck.subjects import case_subject, example_cases, problem_subject
from tests.outside.members import forget

STATES = torch.tensor([[2.0, 0.0], [1.0, 1.0], [0.0, -1.5]], dtype=torch.float64)


class Counted(NamedTuple):
    """A named tuple whose `x` are row numbers."""

    x: Tensor


class Plain(tuple[Tensor, ...]):
    """A tuple with an `x` that is none of its fields."""

    @property
    def x(self) -> Tensor:
        """The states."""
        return self[0]


class OfRows(Spiral):
    """Trains on states that a batch stands for."""

    def objective(self, method: GradientMethod, model: Any, batch: Any) -> Objective:
        chosen = getattr(batch, "x", batch)
        states = chosen if chosen.is_floating_point() else STATES[chosen]
        solution = method.solve(model, states, self.times[:4])
        return Objective.of(solution.ys.square().sum(), (solution.stats,))


ROWS = torch.tensor([0, 2])


@pytest.mark.parametrize(
    "batch", [ROWS, ROWS.int(), Counted(ROWS), Plain((STATES[ROWS],))], ids=["int64", "int32", "named", "plain"]
)
def test_a_batch_that_holds_no_initial_state(batch: Any) -> None:
    """The gradient is by the state that the first solve starts from, and the same as where the batch is that state."""
    problem, method = OfRows(), DiscOpt(steps=2)
    model = problem.model(0)
    subject, direct = problem_subject(problem, model, batch), problem_subject(problem, model, STATES[ROWS])
    assert torch.equal(subject.y0, STATES[ROWS])
    assert max(subject.gradient(method).distance(direct.gradient(method))) < 1e-14


# --- runs beside the judged one ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Delicate(OptDisc):
    """Fails beyond a tolerance."""

    name: ClassVar[str] = "delicate"
    error: ClassVar[Exception]

    def run(self, solve: Solve, engine: Engine) -> Run:
        if self.rtol < 1e-5:
            raise self.error
        return super().run(solve, engine)


@dataclass(frozen=True)
class Spoiled(OptDisc):
    """NaN beyond a tolerance."""

    name: ClassVar[str] = "spoiled"

    def run(self, solve: Solve, engine: Engine) -> Run:
        run = super().run(solve, engine)
        factor = float("nan") if self.rtol < 1e-5 else 1.0
        return Run(run.states * factor, run.pullback, run.stats)


@dataclass(frozen=True)
class Coarse(DiscOpt):
    """Takes few steps only."""

    name: ClassVar[str] = "coarse"

    def run(self, solve: Solve, engine: Engine) -> Run:
        if int(self.setting) > 4:
            raise RunFailure("no memory for 8 steps")
        return super().run(solve, engine)


def judged(method: GradientMethod) -> CrosscheckRecord:
    """The record of a right gradient of a small case."""
    return crosscheck(case_subject(example_cases(["mlp"])[0]), [method], problem="test").records[0]


@pytest.mark.parametrize(
    "error",
    [
        InvalidArgument("y0", 3, "a step kept takes 4 GB", "use smaller batches"),
        RunFailure("the worker died"),
        SolveError(Status.MAX_STEPS, t=0.5, dt=1e-3, norm_f=2.0),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_tighter_run_that_fails_does_not_spoil_the_verdict(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """The method is judged by its tolerance, and the reason says what is missing."""
    monkeypatch.setattr(Delicate, "error", error, raising=False)
    record = judged(Delicate(rtol=1e-5, atol=1e-7))
    assert record.verdict == AGREES
    assert record.error is not None
    assert str(record.reason) == f"not compared with rtol 1e-06: {' '.join(str(error).split())}"


def test_a_tighter_run_without_numbers_is_no_error_estimate() -> None:
    record = judged(Spoiled(rtol=1e-5, atol=1e-7))
    assert record.verdict == AGREES
    assert "not compared with rtol 1e-06: " in str(record.reason)


def test_finer_steps_that_fail_leave_a_method_without_its_estimate() -> None:
    record = judged(Coarse(EULER, 2))
    assert record.verdict == UNJUDGED
    assert record.reason == "nothing to judge it by; not compared with 8 steps: no memory for 8 steps"


@dataclass(frozen=True)
class CoarseAndWrong(Coarse):
    """Fails itself as well."""

    name: ClassVar[str] = "coarse-and-wrong"

    def run(self, *_: Any) -> Run:
        raise RunFailure("nothing works")


def test_a_method_that_fails_itself_is_broken_as_before() -> None:
    record = judged(CoarseAndWrong(EULER, 2))
    assert (record.verdict, record.reason) == (BROKEN, "nothing works")


# --- solves without a case --------------------------------------------------------------------------------------------

UNCAPTURED = '''"""A field with a branch."""
import torch

import pynode
from pynode.problems.series.spiral import Spiral
from torch import nn


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2).double()

    def forward(self, t, y):
        return self.linear(y) if float(y.detach().sum()) > -100 else -y

    def theta(self):
        return torch.cat([p.detach().reshape(-1) for p in self.parameters()])


class OwnBranch(Spiral):
    name = "own-branch"

    def model(self, seed=0):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return Branching()
'''


def test_a_module_without_a_tape_gets_no_case_and_the_reason_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(forget)
    (tmp_path / "own.py").write_text(UNCAPTURED)
    command = f"crosscheck {tmp_path}/own.py:OwnBranch --methods disc-opt --steps 1 --schemes euler --cases"
    assert main([*command.split(), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "no case file of own-branch: the module can't be captured: " in " ".join(printed.split())
    assert "load_case" not in printed
    assert not (tmp_path / "out" / "cases").exists()
