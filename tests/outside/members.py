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

    def objective(self, method, model, batch):
        y0, ts, data = batch
        solution = method.solve(model, y0, ts)
        return Objective.of((solution.ys - data).square().mean(), (solution.stats,))

    def validation_loss(self, model):
        with torch.no_grad():
            return float(self.objective(pynode.OptDisc(rtol=1e-8, atol=1e-10), model, self.batch(0)).loss)

    def evaluate(self, model, method):
        return Evaluation({"fit": self.validation_loss(model)}, {})
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

SOURCES = {"scheme": SCHEME, "field": FIELD, "problem": PROBLEM, "method": METHOD}
MEMBERS = {"scheme": "RALSTON", "field": "Damped", "problem": "Decay", "method": "Mine"}
NAMES = {"scheme": "ralston", "field": "damped", "problem": "decay", "method": "mine"}


def write_files(folder: Path) -> dict[str, str]:
    """Writes each member into a file of its own in `folder`; returns how to refer to them."""
    for kind, source in SOURCES.items():
        (folder / f"my_{kind}.py").write_text(source)
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
