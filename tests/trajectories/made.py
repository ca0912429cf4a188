"""Series with known dynamics for tests."""

from __future__ import annotations

import numpy as np

from pynode.datasets.splits import Array
from pynode.trajectories.axis import TimeAxis
from pynode.trajectories.data import Input, InputKind, Trajectories, Trajectory


def trajectory(
    name: str, times: Array, values: Array, inputs: tuple[Input, ...] = (), covariates: tuple[float, ...] = ()
) -> Trajectory:
    """One trajectory; `values` may be `(n,)`."""
    table = values[:, None] if values.ndim == 1 else values
    return Trajectory(name, times, table, inputs, np.array(covariates), np.arange(len(times)) + 2)


def series(
    *each: Trajectory,
    names: tuple[str, ...] = ("x",),
    kinds: tuple[InputKind, ...] = (),
    periods: dict[str, float] | None = None,
) -> Trajectories:
    """Trajectories of the columns `names`, with inputs u0, u1, ... of these kinds."""
    covariates = tuple(f"c{k}" for k in range(len(each[0].covariates)))
    inputs = tuple(f"u{k}" for k in range(len(kinds)))
    return Trajectories(
        each, TimeAxis("t", "number", "t"), names, inputs, kinds, covariates, id_columns=("id",), periods=periods or {}
    )


def swing(n: int = 200, noise: float = 0.01, seed: int = 0) -> Trajectories:
    """The position alone of a harmonic oscillation with a period of 2."""
    t = 0.05 * np.arange(n)
    rng = np.random.default_rng(seed)
    return series(trajectory("a", t, np.cos(np.pi * t) + noise * rng.standard_normal(n)), names=("angle",))


def rotation(n: int = 120, noise: float = 0.01, seed: int = 0) -> Trajectories:
    """Both coordinates of a rotation with a period of 2 pi, at irregular times."""
    rng = np.random.default_rng(seed)
    t = np.cumsum(rng.uniform(0.05, 0.25, n))
    values = np.stack((np.cos(t), 100 * np.sin(t)), -1)
    return series(
        trajectory("a", t, values + noise * np.array([1, 100]) * rng.standard_normal((n, 2))), names=("x", "y")
    )


def decays(rate: float = 0.7, seed: int = 0) -> Trajectories:
    """A few samples each of exponential decay from several starts; the last has two."""
    rng = np.random.default_rng(seed)
    each = []
    for k, n in enumerate((8, 7, 6, 5, 4, 2)):
        t = np.sort(rng.uniform(0, 4, n))
        each.append(trajectory(f"p{k}", t, (4 + k) * np.exp(-rate * t) * np.exp(0.02 * rng.standard_normal(n))))
    return series(*each)
