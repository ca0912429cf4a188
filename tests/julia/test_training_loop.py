"""Training loops inside Julia: of own problems either the same training as in torch, or a refusal that says why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pynode.cli import main
from pynode.errors import InvalidArgument
from pynode.methods.disc_opt import DiscOpt
from pynode.problems import PROBLEMS
from pynode.training.in_julia import julia_loop, train_in_julia
from pynode.training.plan import plan
from tests.outside.members import forget

PROBLEM = '''"""Decay and rotation, fitted by modules of my own."""
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from pynode.problems.base import Objective
from pynode.problems.series.spiral import Spiral


class Net(nn.Module):
    """A small net of time and state."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 5), nn.Linear(5, 2)
        self.double()

    def forward(self, t, y):
        z = torch.cat([y, t.expand(*y.shape[:-1], 1)], -1)
        return self.second(torch.tanh(self.first(z))) - 0.1 * y

    def theta(self):
        return torch.cat([p.detach().reshape(-1) for p in self.parameters()])

    @torch.no_grad()
    def set_theta(self, theta):
        nn.utils.vector_to_parameters(theta, self.parameters())


class Normed(Net):
    def __init__(self):
        super().__init__()
        self.first = nn.utils.parametrizations.weight_norm(self.first)


class Buffered(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("rate", torch.tensor([0.1, 0.2], dtype=torch.float64))

    def forward(self, t, y):
        return super().forward(t, y) - self.rate * y


class Tied(Net):
    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(torch.eye(2, dtype=torch.float64))

    def forward(self, t, y):
        return super().forward(t, y @ self.matrix) @ self.matrix.T


class Branching(Net):
    def forward(self, t, y):
        return super().forward(t, y) if float(y.sum()) > 0 else -y


class Own(Spiral):
    """The data of the spiral."""

    name: ClassVar[str] = "own"
    kind: ClassVar = Net

    def model(self, seed=0):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return self.kind()


class Masked(Own):
    name: ClassVar[str] = "masked"
    missing: ClassVar[str] = "mask"

    def true_states(self, t):
        states = super().true_states(t)
        states[2, 1] = np.nan
        return states


class Complete(Own):
    """Might have gaps, but has none."""

    name: ClassVar[str] = "complete"
    missing: ClassVar[str] = "mask"


class OwnLoss(Own):
    name: ClassVar[str] = "own-loss"

    def objective(self, method, model, batch):
        solution = method.solve(model, batch, self.times)
        return Objective.of((solution.ys - self.data).abs().mean(), (solution.stats,))


class OwnBatch(Own):
    name: ClassVar[str] = "own-batch"

    def batch(self, iteration):
        return self.y0 + iteration


class Groups(Own):
    name: ClassVar[str] = "groups"

    def parameter_groups(self, model):
        return [{"params": [p], "lr": 0.1} for p in model.parameters()]


class OtherTimes(Own):
    """Solved at other times than observed."""

    name: ClassVar[str] = "other-times"

    def solve_times(self, method):
        return self.times * 0.9
'''


MODELS = ("Normed", "Buffered", "Tied", "Branching")
"""Models of which each gets a problem, called Own and its name."""

TRAININGS = {
    "Decayed": "weight_decay=1e-3",
    "Dropped": "rate_drops=((2, 0.1),)",
    "Halved": "rate_half_life=5",
    "Patient": "patience=3",
    "Single": 'dtype="float32"',
}
"""Problems with other settings of the training."""


@pytest.fixture(autouse=True)
def no_members_of_other_tests() -> Iterator[None]:
    """Each test has the file in another folder."""
    yield
    forget()


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    """A file with problems of a user's."""
    path = tmp_path / "my_series.py"
    more = [f'class Own{kind}(Own):\n    name = "own-{kind.lower()}"\n    kind = {kind}\n' for kind in MODELS]
    for kind, changed in TRAININGS.items():
        settings = f"replace(Own.training, {changed})"
        more.append(f'class {kind}(Own):\n    name = "{kind.lower()}"\n    training = {settings}\n')
    path.write_text("\n\n".join((PROBLEM, *more)))
    return path


REFUSED = {
    # class: what the sentence names
    "OwnLoss": "problem = own-loss: it has a loss of its own",
    "OwnBatch": "problem = own-batch: it has batches of its own",
    "Groups": "problem = groups: it has parameter groups of its own",
    "Masked": "missing = 'mask': 1 of the data are masked",
    "Decayed": "weight_decay = 0.001: the loop in Julia has no weight decay",
    "Dropped": "rate_drops = ((2, 0.1),): the loop in Julia has one learning rate",
    "Halved": "rate_half_life = 5: the loop in Julia has one learning rate",
    "Patient": "patience = 3: the loop in Julia has no validation",
    "Single": "dtype = float32: the loop in Julia computes in float64",
    "OwnNormed": "problem = own-normed: its model Normed computes with tensors that are no trainable parameters",
    "OwnBuffered": "problem = own-buffered: its model Buffered computes with tensors that are no trainable parameters",
    "OwnTied": "problem = own-tied: its model Tied uses a parameter in two places",
    "OwnBranching": "problem = own-branching: its model Branching can't be rebuilt in Julia: ",
}


@pytest.mark.usefixtures("bare_machine")
@pytest.mark.parametrize("name", REFUSED)
def test_what_julia_can_not_train_is_refused_before_julia_is_looked_for(
    name: str, problems: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With argument, value, and what to do instead; by the API as an `InvalidArgument`."""
    asked = f"{problems}:{name}"
    assert main(["julia", "train", asked, "--iterations", "2"]) == 2
    error = capsys.readouterr().err
    assert REFUSED[name] in error
    assert "compare --backend julia" in error
    assert error.count("\n") == 1
    (run,) = plan(_name_of(asked), ["disc-opt-julia"], [0], {}, available=False)
    with pytest.raises(InvalidArgument):
        julia_loop(run)


def _name_of(asked: str) -> str:
    return PROBLEMS.name_of(asked)


@pytest.mark.usefixtures("stand_in_for_julia")
@pytest.mark.parametrize("name", ["Own", "Complete", "OtherTimes"])
def test_an_own_module_is_trained_as_torch_trains_it(name: str, problems: Path) -> None:
    """The losses of a few iterations, of a module that travels as a tape."""
    (run,) = plan(_name_of(f"{problems}:{name}"), ["disc-opt-julia"], [0], {"steps": 2}, iterations=4)
    loop = julia_loop(run)
    assert loop.request["system"]["field"]["architecture"] == "tape"
    problem = run.make_problem()
    model = problem.model(0)
    adam, losses = torch.optim.Adam(model.parameters(), run.learning_rate), []
    for _ in range(4):
        objective = problem.objective(DiscOpt(steps=2), model, problem.batch(0))
        adam.zero_grad()
        objective.backward()
        adam.step()
        losses.append(objective.value)
    assert train_in_julia(loop).losses == pytest.approx(losses, rel=1e-10)


@pytest.mark.usefixtures("stand_in_for_julia")
def test_the_command_trains_an_own_problem(problems: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["julia", "train", f"{problems}:Own", "--iterations", "2", "--adjoints", "gauss"]) == 0
    printed = capsys.readouterr().out
    assert "disc-opt" in printed
    assert "gauss" in printed
