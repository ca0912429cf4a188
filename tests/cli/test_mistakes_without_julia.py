"""Mistakes in options are told as such on a machine without Julia, which would otherwise be installed in vain."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import pynode
from pynode.cli import main
from pynode.errors import EngineUnavailable, UsageError

JULIA = ("PYTHON_JULIACALL_EXE", "PYTHON_JULIACALL_PROJECT", "PYTHON_JULIAPKG_EXE", "PYNODE_JULIA_WORKER")

COMMANDS = [
    ("julia train spirl", "unknown problem 'spirl'; did you mean 'spiral'?"),
    ("julia train 8gaussians", "problem = 8gaussians: no time series"),
    ("julia train spiral --adjoints gaus", "unknown value of --adjoints 'gaus'; did you mean 'gauss'?"),
    ("julia train spiral --adjoints gauss,explicit", "unknown value of --adjoints 'explicit'"),
    ("julia train spiral --adjoints ,", "--adjoints = ',': empty"),
    ("julia train spiral --rtol 2", "rtol = 2.0: above 1"),
    ("julia train spiral --steps 0", "steps = 0: not a positive integer"),
    ("julia train spiral --iterations 0", "iterations = 0: not a positive integer"),
    ("julia train spiral --learning-rate -1", "learning_rate = -1.0: not a positive number"),
    ("compare spiral --backend julia --adjoint gaus", "did you mean 'gauss'?"),
    ("compare spiral --backend julia --solver tsit", "solver = 'tsit': unknown; did you mean 'tsit5'?"),
    ("compare spiral --backend julia --solver dopri5", "use solver = tsit5, vern7"),
    ("compare spiral --backend julia --scheme rk5", "unknown scheme 'rk5'; did you mean 'rk4'?"),
    ("compare spiral --backend julia --methods opt-dsc", "did you mean 'opt-disc'?"),
    ("compare spiral --backend julia --methods opt-disc --multilevel 2,4", "(2, 4): no method with steps"),
    ("compare csv --backend julia", "--data"),
    ("compare 8gaussians --backend julia --set batch=x", "--set batch = 'x': not a whole number"),
    ("compare spiral --engine julia --rtol 3", "rtol = 3.0: above 1"),
    ("compare spiral --engine julia --device nowhere", "device = nowhere: unknown"),
    ("gradients spiral --backend julia --samples 3", "--samples = 3: spiral is fitted to one trajectory"),
    ("gradients spiral --backend julia --methods disc-opt --tolerances 1e-3", "no effect on disc-opt-julia"),
    ("gradients spiral --engine julia --schemes rk5", "unknown scheme 'rk5'; did you mean 'rk4'?"),
    ("taylor spiral --engine julia --solver dopri5", "use solver = tsit5, vern7"),
    ("suite --backend julia --problems spiral --rtol 4", "rtol = 4.0: above 1"),
    ("sweep --grid problem=spiral --grid method=opt-disc-julia --grid rtol=3", "rtol = 3.0: above 1"),
    ("sweep --grid problem=spiral --grid method=opt-disc-julia --grid solver=tsit", "did you mean 'tsit5'?"),
    ("map --engine julia --axes width,lenght", "unknown axis 'lenght'"),
    ("crosscheck spirl --methods disc-opt-julia", "unknown problem 'spirl'; did you mean 'spiral'?"),
    ("crosscheck --methods disc-opt-julia --fields mlq", "did you mean 'mlp'?"),
    ("crosscheck --methods disc-opt-julia --case /nowhere.json", "/nowhere.json"),
]


@pytest.fixture
def without_julia(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No Julia on this machine, and an empty working directory."""
    for name in JULIA:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.mark.usefixtures("without_julia")
@pytest.mark.parametrize(("command", "said"), COMMANDS)
def test_a_mistake_is_told_before_julia(command: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command.split()) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Julia can't be used" not in error
    assert error.count("\n") == 1
    assert not list(Path.cwd().iterdir()), "nothing is left"


Y0, TS = torch.ones(3, 2, dtype=torch.float64), torch.linspace(0, 1, 3, dtype=torch.float64)


def field() -> torch.nn.Module:
    return pynode.MLP((2, 8, 2)).build().double()


def wrong(value: object) -> Any:
    """A value of a type that a type checker would refuse."""
    return value


CALLS: dict[str, tuple[Callable[[], Any], str]] = {
    # what is wrong: the call, what is said
    "a scheme": (lambda: pynode.DiscOpt(engine="julia", scheme=wrong("rk5")), "did you mean 'rk4'"),
    "an engine": (lambda: pynode.DiscOpt(engine=wrong("jula")), "did you mean 'julia'"),
    "an adjoint": (lambda: pynode.OptDisc(engine="julia", adjoint=wrong("gaus")), "did you mean 'gauss'"),
    "a solver": (lambda: pynode.OptDisc(engine="julia", solver="tsit"), "did you mean 'tsit5'"),
    "another's solver": (lambda: pynode.OptDisc(engine="julia", solver="dopri5"), "use solver = tsit5, vern7"),
    "a tolerance": (lambda: pynode.OptDiscJulia(rtol=-1.0), "rtol = -1.0: not a positive number"),
    "the number of steps": (
        lambda: pynode.DiscOptJulia(steps=[1, 2, 3]).solve(field(), Y0, TS),
        "3 entries for 2 intervals",
    ),
    "the columns": (lambda: pynode.DiscOptJulia().solve(field(), Y0[:, :1], TS), r"this field needs \(..., 2\)"),
    "the dtype": (lambda: pynode.DiscOptJulia().solve(field(), Y0.float(), TS), "make both the same"),
    "a reference's solver": (
        lambda: pynode.reference_trajectory(lambda t, y: y, Y0.numpy(), TS.numpy(), solver="vern"),
        "solver = 'vern': unknown; did you mean 'vern9'",
    ),
    "a reference's field": (
        lambda: pynode.reference_trajectory(wrong(3), Y0.numpy(), TS.numpy()),
        "f = 3: not a function of t and y",
    ),
}


@pytest.mark.usefixtures("without_julia")
@pytest.mark.parametrize("case", CALLS)
def test_a_mistake_in_a_call_is_told_before_julia(case: str) -> None:
    call, said = CALLS[case]
    with pytest.raises(UsageError, match=said) as caught:
        call()
    assert "Julia can't be used" not in str(caught.value)


@pytest.mark.usefixtures("without_julia")
def test_a_right_call_is_told_what_is_missing() -> None:
    with pytest.raises(EngineUnavailable, match="no Julia was found on this machine"):
        pynode.DiscOptJulia().solve(field(), Y0, TS)
