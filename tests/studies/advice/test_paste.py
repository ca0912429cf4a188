"""Lines to paste give back the setting that they were made from."""

from __future__ import annotations

from typing import Any

import pytest

import pynode
from pynode.methods.base import GradientMethod
from pynode.schemes import SCHEMES
from pynode.studies.advice.families import continuous, discrete, with_less_memory
from pynode.studies.advice.paste import command_options, expression

SETTINGS: list[GradientMethod] = [
    discrete("rk4").settings[3],
    discrete("bosh3").settings[0],
    *with_less_memory(discrete("tsit5").settings[1]),
    *continuous("dopri5").settings[::6],
    continuous("tsit5", adjoint="backsolve", adjoint_norm="seminorm").settings[5],
    continuous("dopri5", landing=True, engine="eager").settings[3],
]


@pytest.mark.parametrize("method", SETTINGS, ids=lambda m: m.label)
def test_the_expression_is_the_method(method: GradientMethod) -> None:
    options = {k: v for k, v in method.to_json().items() if k != "method"}
    made = method_of(expression(method.name, options))
    assert made.label == method.label
    for name, value in options.items():
        assert (
            made.to_json()[name] == pytest.approx(value) if isinstance(value, float) else made.to_json()[name] == value
        )


def method_of(text: str) -> GradientMethod:
    """The method of an expression such as `pynode.DiscOpt(scheme=pynode.RK4, steps=4)`, which is taken apart."""
    kind, _, inside = text.removeprefix("pynode.").partition("(")
    options = dict(part.split("=", 1) for part in inside.removesuffix(")").split(", "))
    values: dict[str, Any] = {}
    for name, value in options.items():
        if value.startswith("pynode.SCHEMES.load"):
            values[name] = SCHEMES.load(value.split('"')[1])
        elif value.startswith("pynode."):
            values[name] = getattr(pynode, value.removeprefix("pynode."))
        elif value in ("True", "False"):
            values[name] = value == "True"
        elif value.startswith('"'):
            values[name] = value.strip('"')
        else:
            values[name] = int(value) if value.isdigit() else float(value)
    return getattr(pynode, kind)(**values)


def test_options_of_the_command_line() -> None:
    options = {"scheme": "rk4", "steps": 2, "memory": "recompute", "budget": None, "engine": "auto"}
    assert command_options("disc-opt", options) == "--methods disc-opt --scheme rk4 --steps 2 --memory recompute"
    options = {"solver": "dopri5", "rtol": 3e-5, "atol": 3e-7, "adjoint": "interpolating", "landing": True}
    assert command_options("opt-disc", options) == (
        "--methods opt-disc --solver dopri5 --rtol 3e-05 --atol 3e-07 --adjoint interpolating --landing"
    )
