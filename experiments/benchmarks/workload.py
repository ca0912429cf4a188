"""A workload: what every entrant has to compute, as plain numbers that any program could read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pynode.records.files import read_json, write_json

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Workload:
    """One loss of one neural ODE, with its gradient and, for the unit "iteration", a step of Adam.

    `kind` "series": the sum of squares of the states at `ts` minus `data`; "flow": the mean negative log-likelihood of
    the rows of `y0` under a flow from ts[0] to ts[-1], whose trace is `divergence` ("exact", or "hutchinson" with the
    given probes); "module": the mean square of the last state, whose gradient is taken by y0 as well.  `spec` is the
    JSON form of the field's specification, `tableau` that of the scheme; of a module, `spec` has its name in
    `modules`, and the names and shapes of its parameters as slots.  Disc-Opt takes
    `steps` steps in each interval of `ts`; Opt-Disc has the tolerances `rtol` and `atol`.

    `dtype` is that of the timing, gradients are compared in float64.  `axis` and `value` say what a family of workloads
    varies.  `precisions` are those of matrix products in which entrants that can are timed, each as a variant.
    `arrays` are float64: theta, y0, data, probes, as far as there are any.
    """

    name: str
    title: str
    kind: Literal["series", "flow", "module"]
    method: Literal["disc-opt", "opt-disc"]
    unit: Literal["iteration", "gradient"]
    spec: Mapping[str, Any]
    ts: tuple[float, ...]
    dtype: str
    threads: int
    scheme: str = ""
    tableau: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 1
    rtol: float = 0.0
    atol: float = 0.0
    divergence: Literal["none", "exact", "hutchinson"] = "none"
    learning_rate: float = 0.0
    weight_decay: float = 0.0
    device: str = "cpu"
    axis: str = ""
    value: float = 0.0
    precisions: tuple[str, ...] = ("full",)
    arrays: dict[str, Array] = field(default_factory=dict, repr=False, compare=False)

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of the field's layers, from the state's dimension back to it."""
        return tuple(int(w) for w in self.spec["widths"])

    @property
    def module(self) -> str:
        """Name of the module, empty where the field has a specification."""
        return str(self.spec["module"]) if self.kind == "module" else ""

    @property
    def batch(self) -> int:
        """Trajectories that are solved at once."""
        y0 = self.arrays["y0"]
        return 1 if y0.ndim == 1 else len(y0)

    @property
    def n_steps(self) -> int:
        """Steps of a Disc-Opt solve."""
        return self.steps * (len(self.ts) - 1)

    @property
    def n_stages(self) -> int:
        """Field evaluations of a Disc-Opt solve."""
        return self.n_steps * len(self.tableau["b"]) if self.tableau else 0

    def save(self, path: Path) -> None:
        """Writes `path`.json and `path`.npz."""
        described = {k: v for k, v in asdict(replace(self, arrays={})).items() if k != "arrays"}
        write_json(path.with_suffix(".json"), described)
        np.savez(path.with_suffix(".npz"), allow_pickle=False, **self.arrays)


def load(path: Path) -> Workload:
    """The workload that `save` wrote."""
    described = read_json(path.with_suffix(".json"))
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    tuples = {name: tuple(described[name]) for name in ("ts", "precisions")}
    return Workload(**{**described, **tuples}, arrays=arrays)


def first_rows(workload: Workload, rows: int) -> Workload:
    """The workload on its first `rows` samples; a series as it is."""
    if workload.arrays["y0"].ndim == 1 or workload.batch <= rows:
        return workload
    cut = {name: values[:rows] for name, values in workload.arrays.items() if name in ("y0", "probes")}
    return replace(workload, arrays={**workload.arrays, **cut})


def slots(workload: Workload, theta: Any) -> dict[str, Any]:
    """`theta` of a module cut into its tensors, by the names of its parameters."""
    tensors, at = {}, 0
    for name, shape in workload.spec["slots"]:
        size = int(np.prod(shape))
        tensors[str(name)] = theta[at : at + size].reshape(tuple(shape))
        at += size
    return tensors


def layers(workload: Workload, theta: Any) -> list[list[Any]]:
    """`theta` cut into its tensors, a list for each layer: W, b and, for ConcatSquash, w_g, b_g, w_b.

    Works for whatever can be sliced and reshaped: arrays of NumPy and JAX, tensors of torch.
    """
    tensors_by_layer, at = [], 0
    extra = 3 if workload.spec["architecture"] == "concatsquash" else 0
    for i, o in zip(workload.widths, workload.widths[1:], strict=False):
        shapes: list[tuple[int, ...]] = [(o, i), *[(o,)] * (1 + extra)]
        tensors = []
        for shape in shapes:
            size = int(np.prod(shape))
            tensors.append(theta[at : at + size].reshape(shape))
            at += size
        tensors_by_layer.append(tensors)
    return tensors_by_layer
