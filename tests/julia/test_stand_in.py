"""The stand-in computes what it is asked for, so what is built on it is tested for real; reference trajectories."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pynode.errors import InvalidArgument
from pynode.fields.concatsquash import ConcatSquash
from pynode.flows.augmented import AugmentedField, RunningCosts
from pynode.flows.divergence import Exact, Hutchinson
from pynode.julia.errors import JuliaError
from pynode.julia.reference import reference_trajectory
from pynode.julia.session import Session
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc

SPEC = ConcatSquash(widths=(2, 4, 2), activation="softplus")
TS = np.array([1.0, 0.6, 0.0])
ADAPTIVE = {"kind": "opt-disc", "rtol": 1e-6, "atol": 1e-8, "adjoint_rtol": None, "max_steps": 1000, "gradient": True}
RK4 = {
    "kind": "disc-opt",
    "A": [[0, 0, 0, 0], [0.5, 0, 0, 0], [0, 0.5, 0, 0], [0, 0, 1.0, 0]],
    "b": [1 / 6, 1 / 3, 1 / 3, 1 / 6],
    "c": [0, 0.5, 0.5, 1.0],
    "substeps": [3, 2],
    "gradient": True,
}
FLOW = {"divergence": "hutchinson", "kinetic": True, "jacobian": False}


def numbers(*shape: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Some numbers that are not special."""
    return np.random.default_rng(len(shape) + sum(shape)).standard_normal(shape)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("flow", [None, FLOW, {**FLOW, "divergence": "exact", "jacobian": True}])
@pytest.mark.parametrize("options", [ADAPTIVE, RK4], ids=["opt-disc", "disc-opt"])
def test_solve_and_pullback_are_those_of_torch(
    stand_in_session: Session, options: dict[str, Any], flow: dict[str, Any] | None, dtype: str
) -> None:
    if dtype == "float32" and options is ADAPTIVE:
        options = {**options, "rtol": 1e-4, "atol": 1e-4}
    columns = 0 if flow is None else 1 + flow["kinetic"] + flow["jacobian"]
    theta, probes = numbers(SPEC.n_params).astype(dtype), numbers(3, 2).astype(dtype)
    y0, cotangents = numbers(3, 2 + columns).astype(dtype), numbers(3, 3, 2 + columns).astype(dtype)

    field: torch.nn.Module = SPEC.build(theta=torch.from_numpy(theta), dtype=getattr(torch, dtype))
    if flow is not None:
        divergence = Exact() if flow["divergence"] == "exact" else Hutchinson()
        costs = RunningCosts(flow["kinetic"], flow["jacobian"])
        field = AugmentedField(field, 2, divergence, torch.from_numpy(probes), costs)
    method: GradientMethod = DiscOpt(steps=(3, 2), engine="eager")
    if options is not RK4:
        method = OptDisc(rtol=options["rtol"], atol=options["atol"], engine="eager")
    start = torch.from_numpy(y0).requires_grad_()
    solution = method.solve(field, start, torch.from_numpy(TS))
    solution.ys.backward(torch.from_numpy(cotangents))
    ts = torch.from_numpy(TS).requires_grad_()
    (by_ts,) = torch.autograd.grad(method.solve(field, start, ts).ys, ts, torch.from_numpy(cotangents))

    system = {"field": SPEC.to_json(), "flow": flow}
    arrays = {"theta": theta, "y0": y0, "ts": TS, "probes": probes}
    solved = stand_in_session.call(
        "solve", {"system": system, "options": options}, arrays, {"ys": ((3, *y0.shape), dtype)}
    )
    assert solved.value["status"] == "SUCCESS"
    assert solved.value["cost"]["n_f"] == solution.stats.forward.n_f
    outputs = {"grad_y0": (y0.shape, dtype), "grad_theta": (theta.shape, dtype), "grad_ts": ((3,), "float64")}
    pulled = stand_in_session.call(
        "pullback",
        {"handle": solved.value["handle"], "times": 0},
        {"cotangents": cotangents},
        outputs,
    )
    again = stand_in_session.call(
        "pullback", {"handle": solved.value["handle"], "times": 1}, {"cotangents": cotangents}, outputs
    )
    assert pulled.value["cost"]["n_vjp"] == solution.stats.backward.n_vjp
    by_theta = torch.cat([p.grad.reshape(-1) for p in field.parameters() if p.grad is not None])
    for got, want in (
        (solved.arrays["ys"], solution.ys),
        (pulled.arrays["grad_y0"], start.grad),
        (pulled.arrays["grad_theta"], by_theta),
        (again.arrays["grad_theta"], by_theta),
        (again.arrays["grad_ts"], by_ts),
    ):
        assert want is not None
        # another scheme object, so the fractions may be rounded otherwise
        np.testing.assert_allclose(got, want.detach().numpy(), rtol=1e-12 if dtype == "float64" else 1e-4, atol=1e-5)


def test_evaluate_and_failures(stand_in_session: Session) -> None:
    theta, y = numbers(SPEC.n_params), numbers(3, 2)
    system = {"field": SPEC.to_json(), "flow": None}
    got = stand_in_session.call(
        "evaluate", {"system": system, "t": 0.3}, {"theta": theta, "y": y}, {"dy": (y.shape, float)}
    )
    want = SPEC.build(theta=torch.from_numpy(theta))(torch.tensor(0.3, dtype=torch.float64), torch.from_numpy(y))
    np.testing.assert_allclose(got.arrays["dy"], want.detach().numpy(), rtol=1e-14)
    failed = stand_in_session.call(
        "solve",
        {"system": system, "options": {**ADAPTIVE, "max_steps": 1}},
        {"theta": theta, "y0": y, "ts": TS},
        {"ys": ((3, 3, 2), float)},
    )
    assert (failed.value["status"], failed.value["handle"]) == ("MAX_STEPS", None)
    assert failed.value["norm_f"] > 0
    handle = (stand_in_session._generation << 32) + 999_999
    outputs = {"grad_y0": (y.shape, float), "grad_theta": ((1,), float)}
    with pytest.raises(JuliaError, match="released"):
        stand_in_session.call("pullback", {"handle": handle, "times": 0}, {"cotangents": y}, outputs)


# --- reference trajectories -------------------------------------------------------------------------------------------


def test_a_reference_is_accurate(stand_in_session: Session) -> None:
    """Of a closure, on a state of any shape, in either time direction."""
    rate = np.array([[1.0, 2.0, 3.0]])
    y0 = numbers(2, 1, 3)
    for ts in (np.array([0.0, 0.3, 1.0]), np.array([1.0, 0.5, -0.5])):
        ys = reference_trajectory(lambda t, y: -rate * y + t, y0, ts, session=stand_in_session)
        # y' = -a y + t has y = c exp(-a t) + t / a - 1 / a^2
        times = ts[:, None, None, None]
        c = (y0 - ts[0] / rate + 1 / rate**2) * np.exp(rate * ts[0])
        exact = c * np.exp(-rate * times) + times / rate - 1 / rate**2
        assert ys.shape == (3, 2, 1, 3)
        np.testing.assert_allclose(ys, exact, rtol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_reference_of_a_torch_module(stand_in_default: Session, dtype: torch.dtype) -> None:
    field = SPEC.build(seed=1, dtype=dtype)
    y0, ts = numbers(3, 2), np.array([0.0, 1.0])
    ys = reference_trajectory(field, y0, ts, rtol=1e-6 if dtype == torch.float32 else 1e-10)
    assert stand_in_default.alive
    exact = OptDisc(rtol=1e-11, atol=1e-12).solve(SPEC.build(seed=1), torch.from_numpy(y0), torch.from_numpy(ts))
    np.testing.assert_allclose(ys, exact.ys.detach().numpy(), atol=1e-8 if dtype == torch.float64 else 1e-5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"y0": np.array([np.nan])}, "y0 = of dtype float64: not finite"),
        ({"y0": np.array(["a"])}, "y0"),
        ({"ts": np.array([0.0])}, "ts"),
        ({"ts": np.array([0.0, 1.0, 1.0])}, "not strictly monotone"),
        ({"ts": np.array([[0.0, 1.0]])}, "ts"),
        ({"rtol": 0.0}, "rtol = 0.0"),
        ({"atol": -1.0}, "atol = -1.0"),
        ({"solver": "rk45"}, "solver = 'rk45': unknown; use one of vern9, vern7, tsit5"),
        ({"max_steps": 0}, "max_steps = 0"),
    ],
)
def test_bad_arguments_of_a_reference(changes: dict[str, Any], said: str, stand_in_session: Session) -> None:
    arguments: dict[str, Any] = {"y0": np.ones(1), "ts": np.array([0.0, 1.0]), **changes}
    with pytest.raises(InvalidArgument) as caught:
        reference_trajectory(lambda t, y: y, session=stand_in_session, **arguments)
    assert said in str(caught.value)
