"""Small workloads, and entrants that need nothing but NumPy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from experiments.benchmarks.cases import scheme_options
from experiments.benchmarks.page import julia
from experiments.benchmarks.workload import Workload
from experiments.study.page import published
from pynode.fields.base import FieldSpec
from pynode.fields.concatsquash import ConcatSquash
from pynode.fields.mlp import MLP

STAND_INS = '''
"""{name}: y' = theta_0 y is so simple that nothing has to be solved."""

import numpy as np

from experiments.benchmarks.entrants.base import Entrant, Gradient


class StandIn(Entrant):
    name = "{name}"
    packages = {packages}
    distributions = ("numpy",)

    def __init__(self, workload, variant, dtype):
        self.start = workload.arrays["theta"]
        self.reset()

    def gradient(self):
        return Gradient(1.0, {scale} * 2 * self.values, {{"n_vjp": 1}})

    def reset(self):
        self.values = self.start.copy()

    def work(self):
        {work}

    def theta(self):
        return self.values
'''
"""Source of an entrant whose loss is 1 and whose gradient is 2 theta."""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Writes an entrant's module, makes it known here and in children, and returns its class."""
    import importlib
    import os

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", ""))))
    monkeypatch.syspath_prepend(tmp_path)

    def write(
        name: str, *, scale: float = 1.0, packages: str = "()", work: str = "self.values = self.values * 0.9"
    ) -> Any:
        module = f"stand_in_{name}"
        source = STAND_INS.format(name=name, scale=scale, packages=packages, work=work)
        (tmp_path / f"{module}.py").write_text(source, encoding="utf-8")
        importlib.invalidate_caches()
        return importlib.import_module(module).StandIn

    return write


@pytest.fixture
def series() -> Workload:
    """A spiral with four hidden units and five output times."""
    return _workload(MLP((2, 4, 2), input_power=3), "none", {"data": np.linspace(0, 1, 10).reshape(5, 2)})


@pytest.fixture(params=["exact", "hutchinson"])
def flow(request: pytest.FixtureRequest) -> Workload:
    """A flow in three dimensions."""
    rng = np.random.default_rng(3)
    return _workload(ConcatSquash((3, 8, 8, 3)), request.param, {"probes": rng.standard_normal((20, 3))}, batch=20)


def _workload(
    spec: FieldSpec,
    divergence: Literal["none", "exact", "hutchinson"],
    arrays: dict[str, Any],
    batch: int | None = None,
) -> Workload:
    rng = np.random.default_rng(0)
    dim = spec.state_dim
    ts = (0.0, 1.0) if batch else tuple(np.linspace(0, 1, 5).tolist())
    return Workload(
        name="small",
        title="small",
        kind="flow" if batch else "series",
        method="disc-opt",
        unit="iteration",
        spec=spec.to_json(),
        ts=ts,
        dtype="float64",
        threads=1,
        steps=4 if batch else 1,
        **scheme_options("rk38"),
        divergence=divergence,
        learning_rate=1e-2,
        weight_decay=1e-3,
        arrays={
            "theta": spec.initial_theta(1).numpy(),
            "y0": rng.standard_normal((batch, dim) if batch else dim),
            **{name: values for name, values in arrays.items() if name != "probes" or divergence == "hutchinson"},
        },
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of the published records; runs of Julia's page are none."""
    monkeypatch.setattr(published, "PUBLISHED", tmp_path)
    monkeypatch.setattr(julia, "runs_of", lambda _: None)
    return tmp_path
