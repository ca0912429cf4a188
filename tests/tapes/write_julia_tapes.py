"""Writes the tapes that Julia's tests read, with what torch computes: `python -m tests.tapes.write_julia_tapes`.

`julia/test/tapes/NAME.json`: a module of the zoo as a tape after its preparation, with theta, a time, states `y`,
tangents `v`, the field's value and its `pushed` tangents, cotangents of both and what they give for y and theta.
`functions.json`: all functions of one number with first and second derivatives, at ordinary and special points.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pynode.tapes.capture import capture_module
from pynode.tapes.operations import UNARY
from pynode.tapes.tape import plain
from tests.zoo.entries import zoo

FOLDER = Path(__file__).parents[2] / "julia" / "test" / "tapes"

NAMES = (
    "lagrangian of one coordinate",
    "sequence of formulas",
    "basis of time",
    "log softmax",
    "distances of particles",
    "matmul and addmm",
    "nn gru cell",
    "learnt embedding",
)
"""Together they have every kind of operation."""

NUMBERS: dict[str, list[tuple[float, ...]]] = {
    "softplus": [(1.0, 20.0), (2.0, 5.0)],
    "leaky_relu": [(0.2,)],
    "elu": [(1.0, 1.0), (1.7, 1.05)],
    "clamp": [(-1.0, 1.0), (-float("inf"), 0.4)],
    "power": [(p,) for p in (0.0, 1.0, 2.0, 3.0, 0.5, 1.5, -1.0, -2.0, 2.7, 20.0)],
    "affine": [(1.5, -0.5)],
    "greater": [(0.4,)],
    "at_least": [(0.4,)],
    "equal": [(0.4,)],
}
POINTS = [-60.0, -20.0, -2.0, -1.0, -0.3, -1e-9, 0.0, 1e-9, 0.3, 0.4, 1.0, 1.7, 2.4, 2.6, 19.0, 21.0, 60.0]


def module_case(name: str) -> dict[str, Any]:
    """The case of the zoo's entry of that name."""
    entry = next(e for e in zoo(captured=True) if e.name == name)
    capture = capture_module(entry.module(), entry.state(3))
    tape = capture.tape
    constants = [x.detach().clone().requires_grad_() for x in tape.prepare(capture.tensors())]
    random = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    y, t = entry.state(3, seed=1).requires_grad_(), torch.tensor(0.37, dtype=torch.float64)
    v, fbar, pushed_bar = (torch.randn(n, 3, entry.dim, dtype=y.dtype, generator=random) for n in (2, 1, 2))

    def f(y: Tensor) -> Tensor:
        return tape.evaluate_prepared(constants, t, y)

    value = f(y)
    pushed = torch.stack([torch.autograd.functional.jvp(f, y, x, create_graph=True)[1] for x in v])
    total = (fbar[0] * value).sum() + (pushed_bar * pushed).sum()
    by_y, *by_constants = torch.autograd.grad(total, (y, *constants), allow_unused=True, materialize_grads=True)
    return {
        "name": name,
        "field": tape.after_preparation().to_json(),
        "theta": _numbers(torch.cat([x.detach().reshape(-1) for x in constants] or [torch.zeros(0)])),
        "t": float(t),
        "y": _numbers(y),
        "v": _numbers(v),
        "value": _numbers(value),
        "pushed": _numbers(pushed),
        "value_bar": _numbers(fbar[0]),
        "pushed_bar": _numbers(pushed_bar),
        "by_y": _numbers(by_y),
        "by_theta": _numbers(torch.cat([x.reshape(-1) for x in by_constants] or [torch.zeros(0)])),
    }


def function_cases() -> list[dict[str, Any]]:
    """Value, first and second derivative of every function, by autograd."""
    rows = []
    for name, (_, formula) in UNARY.items():
        for numbers in NUMBERS.get(name, [()]):
            x = torch.tensor(POINTS, dtype=torch.float64, requires_grad=True)
            value = formula(x, *numbers)
            slope = _derivative(value, x)
            curvature = _derivative(slope, x)
            rows.append(
                {
                    "name": name,
                    "numbers": list(numbers),
                    "value": _numbers(value),
                    "slope": _numbers(slope),
                    "curvature": _numbers(curvature),
                }
            )
    return rows


def _derivative(value: Tensor, x: Tensor) -> Tensor:
    if not value.requires_grad:
        return torch.zeros_like(x)
    (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True, allow_unused=True)
    return torch.zeros_like(x) if slope is None else slope


def _numbers(x: Tensor) -> list[Any]:
    numbers: list[Any] = (x.detach() + 0.0).tolist()  # a derivative that is zero may have no memory
    return numbers


def main() -> None:
    """Writes all files."""
    FOLDER.mkdir(exist_ok=True)
    for name in NAMES:
        _write(name.replace(" ", "-"), module_case(name))
    _write("functions", {"points": POINTS, "functions": function_cases()})


def _write(name: str, data: dict[str, Any]) -> None:
    (FOLDER / f"{name}.json").write_text(json.dumps(plain(data)) + "\n")


if __name__ == "__main__":
    main()
