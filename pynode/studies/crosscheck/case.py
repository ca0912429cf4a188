"""Cases: one solve with its loss and gradients in a JSON file, to be opened by another backend or in a Julia REPL.

The keys of a case file; numbers are float64, lists of states are flat, sample after sample:

- `name`; `versions`: of the software that made it, by name, and numbers of threads;
- `field`: the specification, as `FieldSpec.to_json` writes it, of a captured module `Tape.after_preparation`; `theta`
  `[n_params]` in the order of the specification;
- `batch`, `dim`: samples, and entries of a sample that the field sees;
- `divergence` (only where the state is that of a flow): "exact" or "hutchinson", for which there are also `probes`
  `[batch][dim]`; `kinetic`, `jacobian` (default: false): whether these running costs join the state.  A sample is then
  (z_1, ..., z_dim, l, kinetic cost, jacobian cost) with l' = -tr(df/dz); costs that are not kept have no column;
- `y0` `[batch * columns]`, where `columns` is `dim`, or `dim` + 1 + number of costs for a flow;
- `ts` `[time]`: strictly monotone output times in either direction, the first one that of `y0`;
- `loss`: a sentence; `loss_form`: the same for machines, over the states `ys` at all of `ts`:
  - `{"kind": "squares", "shift": 0.5, "scale": 0.2}`: scale * sum of (ys - shift)^2 over times, samples and columns;
  - `{"kind": "squares", "data": [time][batch * columns], "scale": 1.0}`: scale * sum of (ys - data)^2;
  - `{"kind": "linear", "weights": [time][batch * columns]}`: sum of weights * ys;
  - `{"kind": "nll"}`: -mean over samples of (log N(z; 0, I) - l) at the last output time, for a flow;
- `reference` (may be missing): a row with the gradient of the continuous problem;
- `opt_disc`, `disc_opt`, `results` (may be missing): lists of rows.  A row has `loss`, `grad_theta` `[n_params]` and
  `grad_y0` `[batch * columns]`, or `failed` with the reason in words, besides what was used: `adjoint` (where it can be
  chosen), `solver`, `rtol` and `atol`, or `scheme` and `substeps` (steps per output interval).  Rows of `results`, as
  `crosscheck` writes them, also have `backend`, `label`, `verdict`, `reason`, and in `method` all options of the method
  as `GradientMethod.to_json` gives them.

A number that was not finite is null.  Files without a `loss_form` are read where their sentence is one that
`pynode.studies.crosscheck.loss` understands.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypedDict

import torch
from torch import Tensor, nn

from pynode.errors import UsageError
from pynode.fields.base import FieldSpec
from pynode.flows.augmented import AugmentedField, RunningCosts
from pynode.flows.divergence import Exact, Hutchinson
from pynode.grid import check_times
from pynode.records.content import Unreadable, read_content
from pynode.records.files import write_json
from pynode.records.schema import NonNegative, Positive, convert, decode, parse
from pynode.studies.crosscheck.loss import LossForm, LossKeys, loss_of, plain, table
from pynode.tapes.tape import Tape, specification_from_json
from pynode.types import State, States, Theta, Times

ROWS = ("opt_disc", "disc_opt", "results")
"""Keys of a case file that hold lists of rows."""


REMEDY = "restore the file, or write it again with crosscheck"


class DamagedCase(UsageError):
    """A case file can't be read, or has a wrong or missing value."""


class RowKeys(TypedDict, total=False):
    """A row of a file; its other keys are free."""

    loss: float | None
    grad_theta: list[float | None]
    grad_y0: list[float | None]
    failed: str
    label: str
    adjoint: str
    solver: str
    scheme: str
    rtol: NonNegative
    atol: NonNegative
    substeps: Positive
    method: dict[str, Any]


class _CaseNeeds(TypedDict):
    name: str
    field: dict[str, Any]
    theta: list[float]
    batch: Positive
    dim: Positive
    y0: list[float]
    ts: list[float]


class CaseKeys(_CaseNeeds, total=False):
    """A case file, as described at the top."""

    divergence: Literal["exact", "hutchinson"]
    probes: list[list[float]]
    kinetic: bool
    jacobian: bool
    data: list[list[float]]
    loss: str
    loss_form: LossKeys
    reference: RowKeys
    opt_disc: list[RowKeys]
    disc_opt: list[RowKeys]
    results: list[RowKeys]
    versions: dict[str, str | int]


@dataclass(frozen=True, eq=False)
class FlowState:
    """What makes a state that of a flow: its divergence (Hutchinson's where there are `probes` `(batch, dim)`)."""

    probes: Tensor | None = None
    costs: RunningCosts = field(default_factory=RunningCosts)


@dataclass(frozen=True, eq=False)
class Row:
    """A loss and its gradients as a file holds them: `kind` is the key, `settings` all that is no number of it.

    `grad_theta` `(n_params,)` and `grad_y0` `(batch * columns,)`, float64; all None where it `failed`, in words.
    """

    kind: str
    settings: Mapping[str, Any]
    loss: float | None = None
    grad_theta: Tensor | None = None
    grad_y0: Tensor | None = None

    @property
    def failed(self) -> str | None:
        """Why there are no numbers."""
        return str(self.settings.get("failed", "no gradient was recorded")) if self.grad_theta is None else None

    @property
    def label(self) -> str:
        """What was used, in short: "gauss-tsit5-rtol1e-03", "rk4-x2"."""
        s = self.settings
        if "label" in s:
            return str(s["label"])
        if "scheme" in s:
            return f"{s['scheme']}-x{s.get('substeps', '?')}"
        words = [str(s[k]).lower() for k in ("adjoint", "solver") if k in s]
        words += [f"rtol{float(s['rtol']):.0e}"] if "rtol" in s else []
        return "-".join([*(["reference"] if self.kind == "reference" else []), *words])

    def to_json(self) -> dict[str, Any]:
        """As it stands in a file."""
        if self.grad_theta is None:
            return dict(self.settings)
        gradients = {"grad_theta": plain(self.grad_theta), "grad_y0": plain(self.grad_y0)}
        return {**self.settings, "loss": self.loss, **gradients}


@dataclass(frozen=True, eq=False)
class Case:
    """One solve, its loss, and the gradients that were recorded for it.

    `theta` `(n_params,)`, `y0` `(batch, columns)`, `ts` `(time,)`, float64 on the CPU; `flow` is None for plain states.
    """

    name: str
    spec: FieldSpec
    theta: Theta
    y0: State
    ts: Times
    loss_form: LossForm
    flow: FlowState | None = None
    rows: tuple[Row, ...] = ()
    versions: Mapping[str, str | int] = field(default_factory=dict)

    @property
    def reference(self) -> Row | None:
        """The row with the gradient of the continuous problem, where there is one."""
        return next((row for row in self.rows if row.kind == "reference"), None)

    def field(self) -> nn.Module:
        """A new module f(t, y) with the case's theta; its parameters in order are theta."""
        built = self.spec.build(theta=self.theta)
        if self.flow is None:
            return built
        kind = Exact() if self.flow.probes is None else Hutchinson()
        return AugmentedField(built, self.spec.state_dim, kind, self.flow.probes, self.flow.costs)

    def loss(self, ys: States) -> Tensor:
        """The scalar loss of the states `ys` `(time, batch, columns)`, differentiable."""
        return self.loss_form(ys, self.spec.state_dim)


def read_case(path: Path) -> Case:
    """The case in a file; raises `DamagedCase` that names the file, the key and what is wrong."""
    try:
        text = decode(read_content(path))
    except Unreadable as error:
        raise DamagedCase(f"--case {path}: can't be read ({error}); give the path of a case file") from error
    except ValueError as error:
        raise DamagedCase(f"--case {path}: {error}; {REMEDY}") from error
    try:
        return _case(parse(text))
    except (ValueError, RuntimeError, OverflowError, MemoryError) as error:
        raise DamagedCase(f"--case {path}: {error}; {REMEDY}") from error


def write_case(case: Case, path: Path) -> None:
    """Replaces `path` by the case, atomically; `read_case` gives it back."""
    flow: dict[str, Any] = {}
    if case.flow is not None:
        flow["divergence"] = "exact" if case.flow.probes is None else "hutchinson"
        flow |= {} if case.flow.probes is None else {"probes": plain(case.flow.probes)}
        flow |= {"kinetic": case.flow.costs.kinetic, "jacobian": case.flow.costs.jacobian}
    data = {
        "name": case.name,
        "field": case.spec.to_json(),
        "versions": dict(case.versions),
        "theta": plain(case.theta),
        "y0": plain(case.y0.reshape(-1)),
        "ts": plain(case.ts),
        "batch": len(case.y0),
        "dim": case.spec.state_dim,
        **flow,
        "layout": "y0 and each row of states: sample after sample",
        "loss": case.loss_form.sentence,
        "loss_form": case.loss_form.to_json(),
        **({} if case.reference is None else {"reference": case.reference.to_json()}),
        **{kind: [row.to_json() for row in case.rows if row.kind == kind] for kind in ROWS},
    }
    write_json(path, data, indent=None)


def versions() -> dict[str, str]:
    """Of what makes a case here."""
    return {"python": platform.python_version(), "torch": str(torch.__version__)}


def _case(data: Any) -> Case:
    """The case in a file's content; raises `ValueError` that names the wrong key."""
    convert(data, CaseKeys)
    spec = specification_from_json(data["field"])
    batch, theta, ts = data["batch"], _tensor(data["theta"]), _tensor(data["ts"])
    if data["dim"] != spec.state_dim:
        raise ValueError(f"dim = {data['dim']} does not fit {spec}")
    _check_length("theta", theta, spec.n_params)
    check_times(ts)
    if isinstance(spec, Tape):
        _check_tape(spec, theta)
    flow, columns = _flow(data, batch), spec.state_dim
    if flow is not None:
        columns += 1 + flow.costs.columns
    y0 = _tensor(data["y0"])
    _check_length("y0", y0, batch * columns)
    form = loss_of(data, (len(ts), batch * columns))
    if form.kind == "nll" and flow is None:
        raise ValueError("loss_form.kind = 'nll' needs the state of a flow, but there is no divergence")
    listed = [("reference", "reference", data["reference"])] if "reference" in data else []
    listed += [(kind, f"{kind}[{k}]", row) for kind in ROWS for k, row in enumerate(data.get(kind, []))]
    rows = tuple(_row(kind, key, row, spec.n_params, y0.numel()) for kind, key, row in listed)
    y0 = y0.reshape(batch, columns)
    return Case(data["name"], spec, theta, y0, ts, form, flow, rows, dict(data.get("versions", {})))


def _check_tape(tape: Tape, theta: Theta) -> None:
    """Raises `ValueError` for what Julia can't run, and for operations that don't fit each other."""
    if tape.preparation:
        raise ValueError("field.preparation has steps, but a case holds the tape after its preparation")
    y = torch.zeros(1, tape.dim, dtype=torch.float64)
    try:
        with torch.no_grad():
            shape = tape.build(theta=theta)(y.new_zeros(()), y).shape
    except (RuntimeError, TypeError, LookupError) as error:
        raise ValueError(f"field can't be evaluated ({type(error).__name__}: {error})") from error
    if shape != y.shape:
        raise ValueError(f"field has {shape[-1]} columns, but dim = {tape.dim}")


def _flow(data: Mapping[str, Any], batch: int) -> FlowState | None:
    if "divergence" not in data:
        return None
    costs = RunningCosts(data.get("kinetic", False), data.get("jacobian", False))
    if data["divergence"] == "exact":  # files may bring probes that are not used
        return FlowState(None, costs)
    if "probes" not in data:
        raise ValueError("probes is missing")
    return FlowState(table("probes", data["probes"], (batch, data["dim"])), costs)


def _row(kind: str, key: str, data: Mapping[str, Any], n_params: int, n_state: int) -> Row:
    settings = {k: v for k, v in data.items() if k not in ("loss", "grad_theta", "grad_y0")}
    if "failed" in data:
        return Row(kind, settings)
    for name in ("loss", "grad_theta", "grad_y0"):
        if name not in data:
            raise ValueError(f"{key}.{name} is missing")
    gradients = {name: _tensor(data[name]) for name in ("grad_theta", "grad_y0")}
    _check_length(f"{key}.grad_theta", gradients["grad_theta"], n_params)
    _check_length(f"{key}.grad_y0", gradients["grad_y0"], n_state)
    return Row(kind, settings, math.nan if data["loss"] is None else float(data["loss"]), **gradients)


def _check_length(key: str, values: Tensor, length: int) -> None:
    if values.shape != (length,):
        raise ValueError(f"{key} has {len(values)} entries, but {length} are needed")


def _tensor(values: list[Any]) -> Tensor:
    """Numbers as float64; null is NaN."""
    return torch.tensor([math.nan if v is None else v for v in values], dtype=torch.float64)
