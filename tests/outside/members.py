"""Sources of one member of each kind, a file each, as a user writes them."""

from __future__ import annotations

import sys
from pathlib import Path

from pynode.training.origins import REGISTRIES

SCHEME = '''"""Ralston's rule: two stages, order 2."""
import pynode

RALSTON = pynode.Scheme("ralston", 2, ((), (2 / 3,)), (1 / 4, 3 / 4), (0.0, 2 / 3))
'''

FIELD = '''"""A damped rotation."""
from dataclasses import dataclass
from typing import ClassVar

import torch

import pynode
from pynode.fields.base import bias, weight


@dataclass(frozen=True)
class Damped(pynode.FieldSpec):
    """One linear layer of any matrix."""

    architecture: ClassVar[str] = "damped"

    dim: int = 2

    @property
    def state_dim(self):
        return self.dim

    def slots(self):
        return weight("W", self.dim, self.dim), bias("b", self.dim)

    def evaluate(self, p, t, y):
        return y @ p["W"].T + p["b"]
'''

POSED = """
    def objective(self, method, model, batch):
        y0, ts, data = batch
        solution = method.solve(model, y0, ts)
        return Objective.of((solution.ys - data).square().mean(), (solution.stats,))

    def validation_loss(self, model):
        with torch.no_grad():
            return float(self.objective(pynode.OptDisc(rtol=1e-8, atol=1e-10), model, self.batch(0)).loss)

    def evaluate(self, model, method):
        return Evaluation({"fit": self.validation_loss(model)}, {})
"""
"""Loss, validation and evaluation of both problems."""

PROBLEM = '''"""Exponential decay."""
from dataclasses import dataclass
from typing import ClassVar

import torch

import pynode
from pynode.problems.base import Evaluation, Objective, TrainingSettings


class Decay(pynode.Problem):
    """Fits exponential decay from two points."""

    name: ClassVar[str] = "decay"
    training = TrainingSettings(iterations=4, learning_rate=0.05, validate_every=2)
    fixed_settings = {"scheme": "rk4", "steps": 2}
    adaptive_settings = {"rtol": 1e-5, "atol": 1e-7}

    @dataclass(frozen=True)
    class Options:
        architecture: str = "mlp"
        rate: float = 1.0

    def model(self, seed=0):
        kind = pynode.FIELDS.load(self.options.architecture)
        spec = kind((2, 4, 2)) if kind is pynode.MLP else kind()
        return spec.build(seed=seed, dtype=self.dtype)

    def batch(self, iteration):
        ts = torch.linspace(0, 1, 4, dtype=self.dtype)
        y0 = torch.tensor([[1.0, 2.0], [-1.0, 0.5]], dtype=self.dtype)
        return y0, ts, torch.stack([y0 * torch.exp(-self.options.rate * t) for t in ts])
'''

MODULE = '''"""Decay, with a torch module for a field."""
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

import pynode
from pynode.problems.base import Evaluation, Objective, TrainingSettings


class Net(nn.Module):
    """A field of time and state, with weight norm and a decay that is its own."""

    def __init__(self):
        super().__init__()
        self.first = nn.utils.parametrizations.weight_norm(nn.Linear(3, 5))
        self.second = nn.Linear(5, 2)
        self.scale = nn.Parameter(torch.tensor(0.5))
        self.double()

    def forward(self, t, y):
        t = t.expand(*y.shape[:-1], 1)
        z = torch.tanh(self.first(torch.cat([y, t], -1)))
        return self.second(z) * torch.nn.functional.softplus(self.scale) - 0.1 * y

    def theta(self):
        return torch.cat([p.detach().reshape(-1) for p in self.parameters()])

    @torch.no_grad()
    def set_theta(self, theta):
        nn.utils.vector_to_parameters(theta, self.parameters())


class ModuleDecay(pynode.Problem):
    """Fits exponential decay from two points."""

    name: ClassVar[str] = "module-decay"
    training = TrainingSettings(iterations=4, learning_rate=0.05, validate_every=2)
    fixed_settings = {"scheme": "rk4", "steps": 2}
    adaptive_settings = {"rtol": 1e-5, "atol": 1e-7}

    def model(self, seed=0):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return Net()

    def batch(self, iteration):
        ts = torch.linspace(0, 1, 4, dtype=self.dtype)
        y0 = torch.tensor([[1.0, 2.0], [-1.0, 0.5]], dtype=self.dtype)
        return y0, ts, torch.stack([y0 * torch.exp(-t) for t in ts])
'''

METHOD = '''"""Disc-Opt under another name."""
from dataclasses import dataclass
from typing import ClassVar

import pynode


@dataclass(frozen=True)
class Mine(pynode.DiscOpt):
    """Disc-Opt that keeps the states only."""

    name: ClassVar[str] = "mine"

    memory: str = "recompute"
'''

ENGINE = '''"""SciPy."""
from typing import ClassVar

import torch
from scipy.integrate import solve_ivp

import pynode
from pynode.solve import Run
from pynode.steps import Adaptive


class SciPy(pynode.Engine):
    """Forward solves by SciPy's RK45."""

    name: ClassVar[str] = "scipy"
    title: ClassVar[str] = "SciPy"
    label: ClassVar[str] = "scipy"
    remedy: ClassVar[str] = "solve under torch.no_grad(), or use engine eager"

    def check(self, recipe):
        if not isinstance(recipe.steps, Adaptive):
            raise pynode.UsageError("engine = 'scipy' takes no steps = Fixed; use Adaptive, or engine eager")

    def obstacle(self, solve):
        return "SciPy's solver has no gradient" if solve.wants_gradient else None

    def run(self, solve):
        shape, steps = solve.y0.shape, solve.recipe.steps

        def slope(t, y):
            solve.stats.forward.n_f += 1
            state = torch.from_numpy(y).reshape(shape)
            return solve.field(torch.tensor(t, dtype=state.dtype), state).reshape(-1).numpy()

        times = solve.ts.numpy()
        y0, tolerances = solve.y0.reshape(-1).numpy(), {"rtol": steps.rtol, "atol": steps.atol}
        done = solve_ivp(slope, times[[0, -1]], y0, "RK45", times, **tolerances)
        return Run(torch.from_numpy(done.y.T.copy()).reshape(len(times), *shape), None, solve.stats)
'''

DIFFERENCES = '''"""Gradients by finite differences, for small problems."""
from dataclasses import dataclass
from typing import ClassVar

import torch

import pynode
from pynode.solve import Pullback, Recipe, Run


@dataclass(frozen=True)
class CentralDifferences(pynode.Gradient):
    """The gradient of the discrete loss, one entry after another."""

    takes: ClassVar = pynode.Fixed
    size: float = 1e-6

    def run(self, solve):
        with torch.no_grad():
            states = solve.recipe.formula.solve(solve.counted(), solve.y0, solve.grid)
        return Run(states, Differences(solve, self.size), solve.stats)


class Differences(Pullback):
    name = "FiniteDifferences"

    def __init__(self, solve, size):
        self.solve, self.size, self.inputs = solve, size, (solve.ts, solve.y0, *solve.params)

    def pull(self, kept, cotangents, wanted):
        solve = self.solve

        def change(entries, k):
            values = []
            for sign in (1, -1):
                entries[k] += sign * self.size
                states = solve.recipe.formula.solve(solve.field, y0, solve.grid)
                values.append(float((states * cotangents).sum()))
                entries[k] -= sign * self.size
            return (values[0] - values[1]) / (2 * self.size)

        with torch.no_grad():
            y0 = solve.y0.clone()
            gradients = [None]
            for source in (y0, *solve.params):
                entries = source.data.view(-1)
                changes = [change(entries, k) for k in range(len(entries))]
                gradients.append(torch.tensor(changes, dtype=source.dtype).reshape(source.shape))
        return tuple(gradients)


@dataclass(frozen=True)
class FiniteDifferences(pynode.GradientMethod):
    """Fixed steps, differentiated by central differences."""

    name: ClassVar[str] = "differences"
    backend: ClassVar[str] = "torch"
    adaptive: ClassVar[bool] = False

    scheme: pynode.Scheme = pynode.RK4
    steps: int = 1
    size: float = 1e-6

    @property
    def recipe(self):
        return Recipe(self.scheme, pynode.Fixed(self.steps), CentralDifferences(self.size))
'''

FLOW = '''"""A flow of a torch module."""
from typing import ClassVar

import torch
from my_module import Net

import pynode
from pynode.problems.density.toys import Moons


class ModuleMoons(Moons):
    """Two moons by a flow of one block, a torch module."""

    name: ClassVar[str] = "module-moons"

    def model(self, seed=0):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return pynode.Flow([Net().to(self.dtype)], 2, horizon=0.5)
'''

SOURCES = {"scheme": SCHEME, "field": FIELD, "problem": PROBLEM + POSED, "method": METHOD}
MEMBERS = {"scheme": "RALSTON", "field": "Damped", "problem": "Decay", "method": "Mine"}
NAMES = {"scheme": "ralston", "field": "damped", "problem": "decay", "method": "mine"}


def write_files(folder: Path) -> dict[str, str]:
    """Writes each member into a file of its own in `folder`; returns how to refer to them."""
    for kind, source in SOURCES.items():
        (folder / f"my_{kind}.py").write_text(source)
    (folder / "my_engine.py").write_text(ENGINE)
    (folder / "my_module.py").write_text(MODULE + POSED)
    (folder / "my_flow.py").write_text(FLOW)
    (folder / "my_gradient.py").write_text(DIFFERENCES)
    return {kind: f"{folder / f'my_{kind}.py'}:{member}" for kind, member in MEMBERS.items()}


def write_package(folder: Path, package: str = "rotations", **names: str) -> None:
    """Installs a package with all members into `folder`, as pip lays it out; `names` are other names of its members."""
    inside = folder / package
    inside.mkdir(parents=True)
    (inside / "__init__.py").write_text("raise RuntimeError('imported')\n" if package == "broken" else "")
    write_files(inside)
    lines = []
    for kind, member in MEMBERS.items():
        lines.append(f"[pynode.{kind}s]\n{names.get(kind, NAMES[kind])} = {package}.my_{kind}:{member}\n")
    metadata = folder / f"{package}-1.2.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
    (metadata / "entry_points.txt").write_text("\n".join(lines))


def forget() -> None:
    """Forgets all members of files, as in a new process."""
    for registry in REGISTRIES.values():
        registry.forget()
    for name in [name for name in sys.modules if name.startswith("pynode_outside")]:
        del sys.modules[name]
