"""The loss of a case: a form that Python and Julia both evaluate, and the sentences of files that have none.

The form's JSON stands in `pynode.studies.crosscheck.case`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import torch
from torch import Tensor

from pynode.records.schema import convert
from pynode.types import States


class _LossKind(TypedDict):
    kind: Literal["squares", "linear", "nll"]


class LossKeys(_LossKind, total=False):
    """`loss_form` in a file."""

    shift: float
    scale: float
    data: list[list[float]]
    weights: list[list[float]]


NUMBER = r"\d+(?:\.\d+)?"
SQUARES = re.compile(
    r"sum over all output times and entries of "
    rf"(?:ys|\(ys - (?P<shift>{NUMBER})\))\^2, divided by (?P<divisor>{NUMBER})"
)
DATA = "sum of squares of (ys - data)"
LIKELIHOOD = "-mean(log N(z(T); 0, I) - logp(T)) with logp(0) = 0, logp' = -tr(df/dz)"
"""The sentences of files from before there was a `loss_form`; julia/src/cases.jl understands the same."""


@dataclass(frozen=True, eq=False)
class LossForm:
    """A loss that Python and Julia can both evaluate.  `rows`: data or weights, `(time, n)`."""

    kind: str
    shift: float = 0.0
    scale: float = 1.0
    rows: Tensor | None = None

    def __call__(self, ys: States, dim: int) -> Tensor:
        """The scalar loss of the states `ys` `(time, batch, columns)`; `dim` as in the file."""
        if self.kind == "nll":
            z, change = ys[-1, :, :dim], ys[-1, :, dim]
            return -(-0.5 * z.square().sum(-1) - 0.5 * dim * math.log(2 * math.pi) - change).mean()
        if self.kind == "linear":
            assert self.rows is not None
            return (self.rows.reshape(ys.shape) * ys).sum()
        target = self.shift if self.rows is None else self.rows.reshape(ys.shape)
        return self.scale * (ys - target).square().sum()

    @property
    def sentence(self) -> str:
        """The loss in words."""
        if self.kind == "nll":
            return "-mean over samples of (log N(z(T); 0, I) - l(T)), l' = -tr(df/dz)"
        if self.kind == "linear":
            return "sum over all output times and entries of weights * ys"
        target = f"{self.shift:g}" if self.rows is None else "data"
        return f"{self.scale:g} times the sum over all output times and entries of (ys - {target})^2"

    def to_json(self) -> dict[str, Any]:
        """As it stands in a file."""
        if self.kind == "nll":
            return {"kind": "nll"}
        if self.kind == "linear":
            return {"kind": "linear", "weights": plain(self.rows)}
        target = {"shift": self.shift} if self.rows is None else {"data": plain(self.rows)}
        return {"kind": "squares", **target, "scale": self.scale}


def loss_of(data: Mapping[str, Any], shape: tuple[int, int]) -> LossForm:
    """The loss of a case file, whose states at all times have the `shape` (time, n).

    From its `loss_form`, or else its sentence `loss`; raises `ValueError` for a file that has neither.
    """
    form = data["loss_form"] if "loss_form" in data else _understood(data)
    convert(form, LossKeys)
    kind = form["kind"]
    key = {"squares": "data", "linear": "weights"}.get(kind, "")
    if kind == "linear" and key not in form:
        raise ValueError("loss_form.weights is missing")
    rows = table(f"loss_form.{key}", form[key], shape) if key in form else None
    return LossForm(kind, float(form.get("shift", 0.0)), float(form.get("scale", 1.0)), rows)


def _understood(data: Mapping[str, Any]) -> dict[str, Any]:
    """The `loss_form` that the sentence `loss` says; raises `ValueError` for any but those above."""
    sentence = data.get("loss")
    if sentence == LIKELIHOOD:
        return {"kind": "nll"}
    if sentence == DATA:
        if "data" not in data:
            raise ValueError("data is missing, of which loss speaks")
        return {"kind": "squares", "data": data["data"], "scale": 1.0}
    match = SQUARES.fullmatch(sentence or "")
    divisor = 0.0 if match is None else float(match["divisor"])
    if match is None or not divisor:
        unknown = "" if sentence is None else f", and {sentence!r} in loss is not understood"
        raise ValueError(f'loss_form is missing{unknown}; add e.g. {{"kind": "squares", "shift": 0.5, "scale": 0.2}}')
    return {"kind": "squares", "shift": float(match["shift"] or 0.0), "scale": 1 / divisor}


def table(key: str, rows: list[list[float]], shape: tuple[int, int]) -> Tensor:
    """Nested lists under `key` of a file as a float64 tensor; raises `ValueError` unless they are of this shape."""
    if len(rows) != shape[0] or any(len(row) != shape[1] for row in rows):
        raise ValueError(f"{key} is not of shape {shape}")
    return torch.tensor(rows, dtype=torch.float64).reshape(shape)


def plain(values: Tensor | None) -> Any:
    """Numbers as nested lists."""
    return None if values is None else values.detach().double().cpu().tolist()
