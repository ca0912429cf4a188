"""`odeint_adjoint` warns where its backward solve has left the trajectory, once a call, and not otherwise."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pynode.errors import DriftWarning
from pynode.torchdiffeq_interface import odeint_adjoint

F64: dict[str, Any] = {"dtype": torch.float64}


class Linear(nn.Module):
    """y' = sign W y with W = [[-rate, rate], [0, -1]]; a pair of vectors where `pair`."""

    def __init__(self, rate: float, sign: float = 1.0, *, pair: bool = False) -> None:
        super().__init__()
        self.w = nn.Parameter(sign * torch.tensor([[-rate, rate], [0.0, -1.0]], **F64))
        self.pair = pair

    def forward(self, t: Tensor, y: Any) -> Any:  # noqa: ARG002
        return tuple(part @ self.w.T for part in y) if self.pair else y @ self.w.T


def warned(field: Linear, y0: Any, ts: Tensor, **options: Any) -> list[str]:
    """What is said of a gradient of the sum of squares at the end."""
    ys = odeint_adjoint(field, y0, ts, **options)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        (ys[0] if field.pair else ys)[-1].square().sum().backward()
    assert all(w.category is DriftWarning for w in said)
    return [str(w.message) for w in said]


Y0 = torch.tensor([[1.0, 0.5], [0.2, 0.1]], **F64)


@pytest.mark.parametrize("rate", [20.0, 40.0])
@pytest.mark.parametrize("back", [False, True])
def test_lost_trajectory_is_told_once(rate: float, back: bool) -> None:
    ts = torch.tensor([2.0, 1.0, 0.0] if back else [0.0, 1.0, 2.0], **F64)
    said = warned(Linear(rate, -1.0 if back else 1.0), Y0, ts)
    assert len(said) == 1
    assert "times the tolerance" in said[0]
    assert "OptDisc" in said[0]


@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("method", ["dopri5", "bosh3", "fehlberg2"])
def test_pairs_and_solvers(pair: bool, method: str) -> None:
    tolerances = {} if method == "dopri5" else {"rtol": 1e-4, "atol": 1e-6}
    y0 = (Y0, Y0[0]) if pair else Y0
    ts = torch.tensor([0.0, 1.0], **F64)
    assert len(warned(Linear(20.0, pair=pair), y0, ts, method=method, **tolerances)) == 1
    assert warned(Linear(2.0, pair=pair), y0, ts, method=method, **tolerances) == []


@pytest.mark.parametrize("times", [[0.0, 1.0], [1.0, 0.0], [0.0, 0.1, 0.5, 2.0], [3.0, 2.9, 0.0]])
@pytest.mark.parametrize("rtol", [1e-3, 1e-6, 1e-9])
def test_no_false_alarm(times: list[float], rtol: float) -> None:
    sign = 1.0 if times[0] < times[-1] else -1.0
    assert warned(Linear(2.0, sign), Y0, torch.tensor(times, **F64), rtol=rtol, atol=rtol / 100) == []


def test_infinite_tolerance_is_never_exceeded() -> None:
    assert warned(Linear(30.0), Y0, torch.tensor([0.0, 1.0], **F64), adjoint_atol=float("inf")) == []
