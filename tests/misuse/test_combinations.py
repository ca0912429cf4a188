"""Choices that exclude each other are refused before work starts: messages name both, and what to choose instead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pynode
from pynode import (
    DOPRI5,
    EULER,
    RK4,
    TSIT5,
    Adaptive,
    AdaptiveAD,
    Continuous,
    DiscOpt,
    Discrete,
    Fixed,
    OptDisc,
    OptDiscFixed,
    OptDiscJulia,
    SameGrid,
    ThroughSteps,
)
from pynode.cli import main
from pynode.solve import NamedScheme

REFUSED: dict[str, tuple[Callable[[], Any], str, str, str]] = {
    # what it is: the choice, the two options that clash, what to choose instead
    "adaptive steps of euler": (
        lambda: pynode.method(EULER, Adaptive(), Continuous()),
        "scheme = 'euler'",
        "steps = Adaptive",
        "use a pair such as dopri5, or Fixed steps",
    ),
    "the solver euler": (
        lambda: OptDisc(solver="euler"),
        "solver = 'euler'",
        "adaptive steps",
        "use a pair such as dopri5, or DiscOpt with scheme = euler",
    ),
    "the solver rk4, differentiated through": (
        lambda: AdaptiveAD(solver="rk4"),
        "solver = 'rk4'",
        "adaptive steps",
        "use a pair such as dopri5",
    ),
    "checkpoints of adaptive steps": (
        lambda: pynode.method(DOPRI5, Adaptive(), Discrete("checkpoint", 3)),
        "steps = Adaptive",
        "gradient = Discrete",
        "use Fixed, or gradient = ThroughSteps",
    ),
    "the continuous gradient of fixed steps": (
        lambda: pynode.method(RK4, Fixed(2), Continuous()),
        "steps = Fixed",
        "gradient = Continuous",
        "use Adaptive, or gradient = SameGrid or Discrete",
    ),
    "the same grid of adaptive steps": (
        lambda: pynode.method(DOPRI5, Adaptive(), SameGrid()),
        "steps = Adaptive",
        "gradient = SameGrid",
        "use Fixed, or gradient = Continuous",
    ),
    "AD through fixed steps as if they adapted": (
        lambda: pynode.method(RK4, Fixed(2), ThroughSteps()),
        "steps = Fixed",
        "gradient = ThroughSteps",
        "use Adaptive, or gradient = Discrete",
    ),
    "a scheme of an engine at fixed steps": (
        lambda: pynode.method(NamedScheme("vern9"), Fixed(2), Discrete()),
        "scheme = 'vern9'",
        "steps = x2",
        "use a scheme such as rk4",
    ),
    "a budget where all is stored": (
        lambda: DiscOpt(budget=3),
        "budget = 3",
        "memory = 'store'",
        "use memory = 'checkpoint', or drop the budget",
    ),
    "a budget where all is recomputed": (
        lambda: DiscOpt(memory="recompute", budget=3),
        "budget = 3",
        "memory = 'recompute'",
        "use memory = 'checkpoint', or drop the budget",
    ),
    "checkpoints in the kernels": (
        lambda: DiscOpt(memory="checkpoint", engine="fused"),
        "engine = 'fused'",
        "memory = 'checkpoint'",
        "use memory = 'recompute', or engine eager or auto",
    ),
    "recomputed steps in Julia": (
        lambda: DiscOpt(memory="recompute", engine="julia"),
        "memory = 'recompute'",
        "engine = 'julia'",
        "use memory = 'store', or engine eager",
    ),
    "checkpoints in Julia": (
        lambda: pynode.method(RK4, Fixed(2), Discrete("checkpoint"), "julia"),
        "memory = 'checkpoint'",
        "engine = 'julia'",
        "use memory = 'store', or engine eager",
    ),
    "a solver that the kernels lack": (
        lambda: OptDisc(solver="bosh3", engine="fused"),
        "engine = 'fused'",
        "solver = bosh3",
        "use dopri5 or tsit5, or engine auto",
    ),
    "a solver of Julia in the kernels": (
        lambda: OptDisc(solver="vern9", engine="fused"),
        "engine = 'fused'",
        "solver = vern9",
        "use dopri5 or tsit5, or engine julia",
    ),
    "a solver that Julia lacks": (
        lambda: OptDisc(solver="bosh3", engine="julia"),
        "solver = 'bosh3'",
        "engine = 'julia'",
        "use solver = tsit5, vern7, vern9, auto, or engine auto",
    ),
    "a solver that Julia's preset lacks": (
        lambda: OptDiscJulia(solver="dopri5"),
        "solver = 'dopri5'",
        "engine = 'julia'",
        "use solver = tsit5, vern7, vern9, auto",
    ),
    "a stiff solver backwards": (
        lambda: OptDiscJulia(solver="auto", adjoint="backsolve"),
        "adjoint = 'backsolve'",
        "solver = 'auto' is for stiff problems",
        "use adjoint = 'gauss', or solver = 'tsit5'",
    ),
    "a solver that torchdiffeq lacks": (
        lambda: OptDisc(solver="tsit5", engine="eager"),
        "engine = 'eager'",
        "solver = tsit5",
        "use one of dopri5, dopri8, bosh3, fehlberg2, adaptive_heun, or engine auto",
    ),
    "a solver of Julia on the engines here": (
        lambda: OptDisc(solver="vern9"),
        "engine = 'eager'",
        "solver = vern9",
        "or engine julia",
    ),
    "a solver that can't be differentiated through": (
        lambda: AdaptiveAD(solver="tsit5"),
        "engine = 'eager'",
        "solver = tsit5",
        "use one of dopri5, dopri8, bosh3, fehlberg2, adaptive_heun",
    ),
    "the same grid in the kernels": (
        lambda: pynode.method(RK4, Fixed(2), SameGrid(), "fused"),
        "engine = 'fused'",
        "gradient = SameGrid",
        "use engine eager",
    ),
    "the same grid in Julia": (
        lambda: pynode.method(RK4, Fixed(2), SameGrid(), "julia"),
        "engine = 'julia'",
        "gradient = SameGrid",
        "use engine eager",
    ),
    "AD through adaptive steps of the kernels": (
        lambda: pynode.method(TSIT5, Adaptive(), ThroughSteps(), "fused"),
        "engine = 'fused'",
        "gradient = ThroughSteps",
        "use engine eager",
    ),
    "AD through adaptive steps of Julia": (
        lambda: pynode.method(TSIT5, Adaptive(), ThroughSteps(), "julia"),
        "engine = 'julia'",
        "gradient = ThroughSteps",
        "use engine eager",
    ),
    "landing in Julia": (
        lambda: OptDisc(solver="tsit5", landing=True, engine="julia"),
        "landing = True",
        "engine = 'julia'",
        "leave it out, or use engine auto",
    ),
    "an adjoint of Julia's on torch operators": (
        lambda: OptDisc(adjoint="gauss", engine="eager"),
        "adjoint = 'gauss'",
        "engine = 'eager'",
        "use adjoint = interpolating or backsolve, or engine julia",
    ),
    "an adjoint of Julia's in the kernels": (
        lambda: OptDisc(adjoint="quadrature", engine="fused"),
        "adjoint = 'quadrature'",
        "engine = 'fused'",
        "or engine julia",
    ),
    "products of Julia's on torch operators": (
        lambda: OptDisc(vjp="enzyme", engine="eager"),
        "vjp = 'enzyme'",
        "engine = 'eager'",
        "drop it, or use engine julia",
    ),
    "Julia's checkpointing in the kernels": (
        lambda: OptDisc(checkpointing=False, engine="fused"),
        "checkpointing = False",
        "engine = 'fused'",
        "drop it, or use engine julia",
    ),
    "a norm that Julia lacks": (
        lambda: OptDisc(solver="tsit5", adjoint_norm="seminorm", engine="julia"),
        "adjoint_norm = 'seminorm'",
        "engine = 'julia'",
        "leave adjoint_norm out, or use engine auto",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_combination_is_refused(case: str) -> None:
    choice, first, second, remedy = REFUSED[case]
    with pytest.raises(pynode.UsageError) as caught:
        choice()
    message = str(caught.value)
    told, _, instead = message.partition("; ")
    assert first in told, message
    assert second in told, message
    assert remedy in instead, message


def wrong(value: object) -> Any:
    """A value of a type that a type checker would refuse."""
    return value


NAMED: dict[str, tuple[Callable[[], Any], str]] = {
    # what it is: the choice, what is said
    "a scheme for its name": (lambda: OptDisc(solver=wrong(DOPRI5)), "solver = scheme dopri5: .*use e.g. 'dopri5'"),
    "a name for a scheme": (lambda: DiscOpt(wrong("rk4")), r"not a Scheme; pass pynode.SCHEMES.load\('rk4'\)"),
    "a number for steps": (lambda: pynode.method(RK4, wrong(2), Discrete()), "steps = 2: .*use e.g. pynode.Fixed"),
    "a class for a gradient": (lambda: pynode.method(RK4, Fixed(2), wrong(Discrete)), r"use e.g. pynode.Discrete\(\)"),
    "an unknown engine": (lambda: DiscOpt(engine="fusd"), "engine = 'fusd': unknown; did you mean 'fused'"),
    "no engine": (lambda: DiscOpt(engine=wrong(None)), "engine = None: not the name of an engine; use e.g. 'auto'"),
    "an unknown adjoint": (lambda: OptDisc(adjoint=wrong("backsolv")), "did you mean 'backsolve'"),
    "an adjoint of another": (lambda: OptDiscFixed(adjoint=wrong("backsolve")), "use one of explicit, backward-euler"),
}


@pytest.mark.parametrize("case", NAMED)
def test_a_value_of_the_wrong_kind_is_named(case: str) -> None:
    choice, said = NAMED[case]
    with pytest.raises(pynode.UsageError, match=said):
        choice()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--methods disc-opt --landing", "--landing = True: no effect on disc-opt; drop it, or add a method"),
        ("--methods opt-disc --memory checkpoint", "--memory = checkpoint: no effect on opt-disc"),
        ("--methods opt-disc --budget 3", "--budget = 3: no effect on opt-disc"),
        ("--methods opt-disc --solver euler", "solver = 'euler': it estimates no error, which adaptive steps need"),
        (
            "--methods opt-disc --solver bosh3 --engine fused",
            "engine = 'fused': the kernels do not have solver = bosh3",
        ),
        ("--methods disc-opt --memory checkpoint --engine fused", "engine = 'fused': the kernels do not have memory"),
        ("--methods disc-opt --budget 3", "budget = 3: memory = 'store' stores no chosen number of states"),
        ("--methods opt-disc --solver dopri5 --engine julia", "solver = 'dopri5': engine = 'julia' does not have it"),
        ("--methods opt-disc-fixed --engine fused", "--engine = fused: no effect on opt-disc-fixed"),
        ("--methods opt-disc --multilevel 1,2", "--multilevel = (1, 2): no method with steps; add disc-opt"),
    ],
)
def test_the_command_line_refuses_it_before_anything_is_written(
    arguments: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["compare", "spiral", *arguments.split(), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not out.exists()
