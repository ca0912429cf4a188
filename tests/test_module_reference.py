"""Gradients of modules of the zoo that were recorded on the real Julia stack: torch and the kernels meet every row."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

import pynode
from pynode.engines.fused import unavailable
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.schemes import SCHEMES
from pynode.studies.crosscheck.case import Case, Row, read_case, write_case
from tests.reference.modules.record import ADJOINTS, MODULES, SCHEMES_RECORDED, TOLERANCES, case_of, entry_of, recorded
from tests.zoo.entries import Entry

FILES = sorted((Path(__file__).parent / "reference" / "modules").glob("*.json"))
ENGINES = ("eager",) if unavailable() else ("eager", "fused")

Numbers = tuple[float, Tensor, Tensor]
"""A loss, its gradient by theta and by y0."""


@cache
def case(path: Path) -> Case:
    """Read once."""
    return read_case(path)


@cache
def gradient(path: Path, method: GradientMethod) -> Numbers:
    """Ours, of the case."""
    which = case(path)
    module, y0 = which.field(), which.y0.clone().requires_grad_()
    solution = method.solve(module, y0, which.ts)
    assert solution.stats.engine == method.engine_name
    loss = which.loss(solution.ys)
    by_y0, *rest = torch.autograd.grad(loss, [y0, *module.parameters()])
    return float(loss.detach()), torch.cat([g.reshape(-1) for g in rest]), by_y0.reshape(-1)


def worst(computed: Numbers, row: Row) -> float:
    """The largest relative difference of loss and gradients."""
    assert row.loss is not None
    assert row.grad_theta is not None
    assert row.grad_y0 is not None
    parts = [float((a - b).norm() / b.norm()) for a, b in zip(computed[1:], (row.grad_theta, row.grad_y0), strict=True)]
    return max(abs(computed[0] - row.loss) / abs(row.loss), *parts)


def rows(path: Path, kind: str) -> list[Row]:
    """The recorded rows of one kind."""
    return [row for row in case(path).rows if row.kind == kind]


def test_ten_modules_were_recorded_with_every_adjoint() -> None:
    assert {path.stem for path in FILES} == {str(entry_of(name)) for name in MODULES}
    assert len(FILES) == 10
    for path in FILES:
        settings = [row.settings for row in rows(path, "opt_disc")]
        assert [(s["adjoint"], s["rtol"]) for s in settings] == [(a, tol) for a in ADJOINTS for tol in TOLERANCES]
        assert [(r.settings["scheme"], r.settings["substeps"]) for r in rows(path, "disc_opt")] == [*SCHEMES_RECORDED]
        assert all(row.failed is None for row in case(path).rows)
        assert "SciMLSensitivity" in case(path).versions


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_disc_opt_is_met_to_rounding(path: Path, engine: str) -> None:
    for row in rows(path, "disc_opt"):
        method = DiscOpt(SCHEMES.load(row.settings["scheme"]), int(row.settings["substeps"]), engine=engine)
        assert worst(gradient(path, method), row) < 1e-12, row.label


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_opt_disc_meets_the_reference(path: Path, engine: str) -> None:
    """Vern9 at 1e-12."""
    reference = case(path).reference
    assert reference is not None
    assert worst(gradient(path, OptDisc(rtol=1e-11, atol=1e-11, engine=engine)), reference) < 1e-8


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_adjoint_is_right_to_its_tolerance(path: Path) -> None:
    ours = gradient(path, DiscOpt(steps=128, engine="eager"))
    for row in rows(path, "opt_disc"):
        assert worst(ours, row) < 100 * row.settings["rtol"] + 1e-8, row.label


def by_the_modules_own(zoo_entry: Entry, by_constants: Tensor) -> list[Tensor]:
    """Gradients by the module's parameters, from those by the constants of its tape, through the preparation."""
    module = zoo_entry.module()
    tape = pynode.capture(module, zoo_entry.state(3))
    constants = list(tape.prepare(tape.tensors_of(module)))
    parts = by_constants.split([c.numel() for c in constants])
    wanted = [(c, part.reshape(c.shape)) for c, part in zip(constants, parts, strict=True) if c.requires_grad]
    outputs, cotangents = zip(*wanted, strict=True)
    return list(torch.autograd.grad(outputs, list(module.parameters()), cotangents, allow_unused=True))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "path", [p for p in FILES if MODULES[entry_of(p.stem).name] in ("", "backwards")], ids=lambda p: p.stem
)
def test_the_module_itself_has_the_recorded_gradients(path: Path, engine: str) -> None:
    """As its user wrote it, by its own parameters."""
    zoo_entry, which = entry_of(path.stem), case(path)
    torch.testing.assert_close(case_of(path.stem).theta, which.theta, rtol=1e-12, atol=0)
    for row in rows(path, "disc_opt"):
        module, y0 = zoo_entry.module(), which.y0.clone().requires_grad_()
        method = DiscOpt(SCHEMES.load(row.settings["scheme"]), int(row.settings["substeps"]), engine=engine)
        loss = which.loss(method.solve(module, y0, which.ts).ys)
        gradients = torch.autograd.grad(loss, [y0, *module.parameters()], allow_unused=True)
        assert row.grad_theta is not None
        assert row.grad_y0 is not None
        assert float(loss.detach()) == pytest.approx(row.loss, rel=1e-12)
        pairs = zip(
            gradients, [row.grad_y0.reshape(y0.shape), *by_the_modules_own(zoo_entry, row.grad_theta)], strict=True
        )
        for ours, theirs in pairs:
            assert (ours is None) == (theirs is None)
            if ours is not None and theirs is not None:
                assert float((ours - theirs).norm()) <= 1e-12 * float(theirs.norm()) + 1e-14


@pytest.mark.usefixtures("stand_in_for_julia")
@pytest.mark.parametrize("name", ["pendulum", "weight norm"])
def test_the_script_writes_what_is_read(name: str, tmp_path: Path) -> None:
    """With the stand-in, which takes dopri5 for every solver."""
    made = recorded(name)
    write_case(made, tmp_path / "case.json")
    again = read_case(tmp_path / "case.json")
    assert [row.label for row in again.rows] == [row.label for row in made.rows]
    assert len(again.rows) == 1 + len(SCHEMES_RECORDED) + len(ADJOINTS) * len(TOLERANCES)
    assert torch.equal(again.theta, case_of(name).theta)
