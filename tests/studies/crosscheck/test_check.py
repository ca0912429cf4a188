"""The cross-check: recorded adjoints that are wrong are found, right ones pass, and cases survive being written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from pynode.engines import fused
from pynode.engines.julia.engine import Julia
from pynode.errors import RunFailure, SolveError, UnknownName, UsageError
from pynode.fields import FIELDS
from pynode.methods import METHODS
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.methods.opt_disc_fixed import OptDiscFixed
from pynode.problems.density.toys import EightGaussians
from pynode.problems.series.spiral import Spiral
from pynode.schemes.euler import EULER
from pynode.schemes.rk4 import RK4
from pynode.solution import Status
from pynode.solve import Run
from pynode.studies.crosscheck.case import Case, DamagedCase, read_case, write_case
from pynode.studies.crosscheck.check import ROUNDING, Checked, crosscheck
from pynode.studies.crosscheck.loss import LossForm
from pynode.studies.crosscheck.methods import method_grid, unavailable
from pynode.studies.crosscheck.record import AGREES, BROKEN, FAILED, UNAVAILABLE, UNJUDGED, CrosscheckRecord
from pynode.studies.crosscheck.subjects import Subject, case_subject, example_cases, example_names, problem_subject

RECORDED = Path(__file__).parents[2] / "reference"
FILES = ("antisymmetric", "cnf-exact", "cnf-hutchinson", "concatsquash", "concatsquash-reversed", "spiral")
OURS = (DiscOpt(RK4, 3), OptDisc(rtol=1e-5, atol=1e-7))


@cache
def recorded(name: str) -> Case:
    return read_case(RECORDED / f"{name}.json")


@cache
def example(name: str) -> Subject:
    """A small case; shared, so that its continuous gradient is found once."""
    return next(case_subject(case) for case in example_cases([name.removesuffix("-reversed")]) if case.name == name)


@cache
def judged(name: str) -> Checked:
    """The records of a recorded case, and the cases to write."""
    return crosscheck(case_subject(recorded(name)), OURS, problem=name)


def checked(subject: Subject, *methods: GradientMethod) -> dict[str, CrosscheckRecord]:
    """The records by entry."""
    return {r.entry: r for r in crosscheck(subject, methods, problem="test")[0]}


@pytest.mark.parametrize("name", FILES)
def test_exactly_the_wrong_recorded_adjoints_are_flagged(name: str) -> None:
    """In reversed time three of SciML's adjoints, as recorded, are 10.8 % off at every tolerance; nothing else is."""
    records, cases, _ = judged(name)
    broken = {r.entry for r in records if r.verdict == BROKEN}
    wrong = ("interpolating", "quadrature", "gauss")
    expected = {f"recorded {a}-tsit5-rtol{tol:.0e}" for a in wrong for tol in (1e-3, 1e-5, 1e-7, 1e-10)}
    assert broken == (expected if name == "concatsquash-reversed" else set())
    assert {r.verdict for r in records} <= {AGREES, BROKEN}
    assert [c.name for c in cases] == ([name] if broken else [])
    assert all(r.files == ([f"cases/{name}.json"] if r.entry in broken else []) for r in records)
    assert sum(r.backend == "recorded" for r in records) == 1 + 20 + len(list(rows_of(name, "disc_opt")))
    for r in records:
        assert len(r.differences) == len(records)
        if r.entry in broken:
            assert r.error_theta == pytest.approx(0.108, abs=0.002)


@pytest.mark.parametrize("name", FILES)
def test_recorded_discrete_gradients_have_twins(name: str) -> None:
    """Each recorded scheme is run here as well, whatever was asked for, and met to rounding."""
    records = {r.entry: r for r in judged(name).records}
    for row in rows_of(name, "disc_opt"):
        record = records[f"recorded {row['scheme']}-x{row['substeps']}"]
        ours = {"rk4_38": "rk38"}.get(row["scheme"], row["scheme"])
        assert record.twin == f"disc-opt-{ours}-x{row['substeps']}"
        assert record.twin_difference is not None
        assert record.twin_difference < 1e-12
        assert records[record.twin].backend == "torch"
        assert records[record.twin].verdict == AGREES


def rows_of(name: str, kind: str) -> list[dict[str, Any]]:
    return list(json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))[kind])


@pytest.mark.parametrize("name", FILES)
def test_the_loss_of_a_recorded_case_is_the_recorded_loss(name: str) -> None:
    """Its sentence is understood: at the recorded states it has the recorded value."""
    case = recorded(name)
    reference = json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))["reference"]
    ys = torch.tensor(reference["ys"], dtype=torch.float64).reshape(-1, *case.y0.shape)
    assert float(case.loss(ys)) == pytest.approx(reference["loss"], rel=1e-12)


# --- cases ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["spiral", "cnf-hutchinson"])
def test_a_case_survives_writing_and_reading(name: str, tmp_path: Path) -> None:
    case = recorded(name)
    write_case(case, tmp_path / "case.json")
    again = read_case(tmp_path / "case.json")
    assert (again.name, again.spec, again.versions) == (case.name, case.spec, case.versions)
    for a, b in ((again.theta, case.theta), (again.y0, case.y0), (again.ts, case.ts)):
        assert torch.equal(a, b)
    assert [r.label for r in again.rows] == [r.label for r in case.rows]
    assert again.rows[3].grad_theta is not None
    assert case.rows[3].grad_theta is not None
    assert torch.equal(again.rows[3].grad_theta, case.rows[3].grad_theta)
    t, ys = case.ts[0], torch.stack([case.y0, 0.9 * case.y0]).expand(len(case.ts) // 2, -1, -1, -1).flatten(0, 1)
    assert torch.equal(again.field()(t, case.y0), case.field()(t, case.y0))
    assert float(again.loss(ys)) == float(case.loss(ys))


def test_every_field_has_an_example_in_both_directions() -> None:
    """A new architecture takes part by itself."""
    cases = example_cases(example_names())
    assert {c.name for c in cases} == {
        f"{name}{way}" for name in (*FIELDS.names(), "cnf-exact", "cnf-hutchinson") for way in ("", "-reversed")
    }
    for case in cases:
        assert (case.ts[0] > case.ts[-1]) == case.name.endswith("-reversed")
        assert case.field()(case.ts[0], case.y0).shape == case.y0.shape
    with pytest.raises(UnknownName, match="did you mean 'mlp'"):
        example_cases(["mlpp"])


DAMAGE: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a key is missing": (lambda d: d.pop("theta"), ": theta is missing"),
    "theta is too short": (lambda d: d["theta"].pop(), "theta has 491 entries, but 492 are needed"),
    "theta is no list of numbers": (lambda d: d.update(theta="none"), "theta|str"),
    "y0 does not fit the batch": (lambda d: d.update(batch=2), "y0 has 15 entries"),
    "a number is null": (lambda d: d["y0"].__setitem__(0, None), r"y0\[0\]: expected a number, got null"),
    "a number is infinite": (lambda d: d["y0"].__setitem__(0, float("inf")), "Infinity is no number of JSON"),
    "times are not monotone": (lambda d: d.update(ts=[0.0, 0.5, 0.2, 1.0]), "ts"),
    "an unknown field": (lambda d: d["field"].update(architecture="mlpp"), "unknown field 'mlpp'"),
    "an unknown loss": (lambda d: d.update(loss_form={"kind": "cubes"}), 'loss_form.kind: unknown value "cubes"'),
    "a loss that does not fit": (lambda d: d.update(loss_form={"kind": "nll"}), "needs the state of a flow"),
    "weights that do not fit": (lambda d: d.update(loss_form={"kind": "linear", "weights": [[1.0]]}), "shape"),
    "an unknown divergence": (lambda d: d.update(divergence="guess"), 'divergence: unknown value "guess"'),
    "a gradient is too short": (lambda d: d["opt_disc"][0]["grad_y0"].pop(), r"opt_disc\[0\]\.grad_y0 has 14 entries"),
    "rows are no rows": (lambda d: d.update(disc_opt=[1, 2]), r"disc_opt\[0\]: expected an object, got 1"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damaged_files_say_what_is_wrong(what: str, tmp_path: Path) -> None:
    data = json.loads((RECORDED / "concatsquash.json").read_text(encoding="utf-8"))
    spoil, said = DAMAGE[what]
    spoil(data)
    path = tmp_path / "case.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(DamagedCase, match=said) as caught:
        read_case(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [None, "", "{", "[]", "\udcff"])
def test_files_that_are_no_cases(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "case.json"
    if content is not None:
        path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(DamagedCase, match=r"case\.json"):
        read_case(path)


# --- methods that are wrong -------------------------------------------------------------------------------------------


class Skewed:
    """Mixin: all gradients are too large by `factor`, the states are right."""

    factor: ClassVar[float] = 1.01

    def solve(self, *args: Any, **options: Any) -> Any:
        solution = super().solve(*args, **options)  # type: ignore[misc]
        if solution.ys.requires_grad:
            solution.ys.register_hook(lambda g: self.factor * g)
        return solution


@dataclass(frozen=True)
class SkewedDiscOpt(Skewed, DiscOpt):
    """Off the exact discrete gradient."""

    name: ClassVar[str] = "disc-opt-skewed"
    backend: ClassVar[str] = "other"


@dataclass(frozen=True)
class SkewedOptDisc(Skewed, OptDisc):
    """Off the continuous gradient."""

    name: ClassVar[str] = "opt-disc-skewed"


@dataclass(frozen=True)
class SkewedFixed(Skewed, OptDiscFixed):
    """Converges to something else."""

    name: ClassVar[str] = "opt-disc-fixed-skewed"
    factor: ClassVar[float] = 2.0


def test_a_wrong_gradient_breaks_its_bound() -> None:
    """Under each of the rules, in whatever order; the right ones beside it don't."""
    wrong = [SkewedDiscOpt(EULER, 2), SkewedOptDisc(rtol=1e-5, atol=1e-7), SkewedFixed(EULER, 8)]
    right = [DiscOpt(EULER, 2), OptDisc(rtol=1e-5, atol=1e-7), OptDiscFixed(EULER, 2)]
    records = checked(example("mlp"), *wrong, *right)
    assert [r.verdict for r in records.values()] == [BROKEN if "skewed" in entry else AGREES for entry in records]
    assert records["disc-opt-skewed-euler-x2"].twin == "disc-opt-euler-x2"
    assert records["disc-opt-skewed-euler-x2"].twin_difference == pytest.approx(0.01, rel=0.02)
    assert "rounding justifies 1e-10" in str(records["disc-opt-skewed-euler-x2"].reason)
    assert "its own error estimate justifies" in str(records["opt-disc-skewed-dopri5-rtol1e-05"].reason)
    assert "its own error estimate justifies" in str(records["opt-disc-fixed-skewed-euler-explicit-x8"].reason)


@dataclass(frozen=True)
class FarSkewedOptDisc(SkewedOptDisc):
    """Half as large again, which 100 times a tolerance of 1e-2 would justify."""

    name: ClassVar[str] = "opt-disc-far-skewed"
    factor: ClassVar[float] = 1.5


@pytest.mark.parametrize("name", ["mlp", "concatsquash-reversed", "cnf-exact"])
def test_loose_tolerances_are_judged_too(name: str) -> None:
    """By what tighter ones change: right gradients at 1e-2 agree, however far off; wrong ones do not."""
    loose: dict[str, Any] = {"rtol": 1e-2, "atol": 1e-4}
    records = checked(
        example(name), FarSkewedOptDisc(**loose), *method_grid(["opt-disc", "ad-adaptive"], [1e-2], [], [])
    )
    assert {r.entry for r in records.values() if r.verdict == BROKEN} == {"opt-disc-far-skewed-dopri5-rtol1e-02"}
    assert {r.verdict for r in records.values()} == {AGREES, BROKEN}
    wrong = records["opt-disc-far-skewed-dopri5-rtol1e-02"]
    assert wrong.bound is not None
    assert wrong.bound < 0.5


def test_the_majority_of_twins_is_right() -> None:
    """Whoever comes first."""
    twins = [SkewedDiscOpt(RK4, 1), DiscOpt(RK4, 1), DiscOpt(RK4, 1, "recompute")]
    records = checked(example("mlp"), *twins)
    assert [r.verdict for r in records.values()] == [BROKEN, AGREES, AGREES]
    assert max(r.twin_difference or 0.0 for r in list(records.values())[1:]) < ROUNDING


def test_verdicts_without_a_gradient() -> None:
    """A failed solve, a method that can't take this field, and a backend that dies are three different things."""

    def failing(error: Exception) -> GradientMethod:
        @dataclass(frozen=True)
        class Failing(DiscOpt):
            name: ClassVar[str] = f"fails-{type(error).__name__}"

            def run(self, *_: Any) -> Run:
                raise error

        return Failing(EULER)

    errors = (
        SolveError(Status.MAX_STEPS, t=0.5, dt=1e-3, norm_f=2.0),
        UsageError("no such field there"),
        RunFailure("the worker died"),
    )
    records = list(checked(example("mlp"), DiscOpt(), *map(failing, errors)).values())
    assert [r.verdict for r in records] == [AGREES, FAILED, UNAVAILABLE, BROKEN]
    assert [str(e) for e in errors] == [r.reason for r in records[1:]]
    assert records[1].differences == [None] * 4


def test_without_a_continuous_gradient_only_twins_are_judged() -> None:
    """A state that grows beyond all bounds before the last time, unless the steps are too few to see it."""
    base = example_cases(["mlp"])[0]
    spec = replace(base.spec, activation="softplus", input_power=3)  # type: ignore[call-arg]
    case = replace(base, spec=spec, theta=base.theta.abs(), y0=base.y0.abs())
    methods = (DiscOpt(EULER, 1), DiscOpt(EULER, 1, "recompute"), OptDisc(rtol=1e-3), OptDiscFixed(EULER, 1))
    records = list(checked(case_subject(case), *methods).values())
    assert [r.verdict for r in records] == [AGREES, AGREES, FAILED, UNJUDGED]
    assert "no continuous gradient to judge by" in str(records[-1].reason)
    assert all(r.error is None for r in records)


def test_a_written_case_can_be_checked_again(tmp_path: Path) -> None:
    """The broken gradient is a recorded row then, unless its method runs again; reference and losses come back."""
    method = SkewedOptDisc(rtol=1e-6, atol=1e-8)
    _, (case,), _ = crosscheck(example("mlp"), [method], problem="test")
    write_case(case, tmp_path / "case.json")
    again = case_subject(read_case(tmp_path / "case.json"))
    label = "opt-disc-skewed-dopri5-rtol1e-06"
    records = checked(again, DiscOpt())
    assert {entry: r.verdict for entry, r in records.items() if r.verdict != AGREES} == {f"recorded {label}": BROKEN}
    assert records["recorded reference-rk4-refined"].verdict == AGREES
    records = checked(again, method)
    assert records[label].verdict == BROKEN
    assert f"recorded {label}" not in records
    row = json.loads((tmp_path / "case.json").read_text(encoding="utf-8"))["results"][0]
    assert (row["backend"], row["solver"], row["rtol"], row["verdict"]) == ("torchdiffeq", "dopri5", 1e-6, "broken")
    assert row["method"]["method"] == "opt-disc-skewed"


# --- subjects and methods ---------------------------------------------------------------------------------------------


def test_the_continuous_gradient_leaves_everything_as_it_was() -> None:
    """y0 is moved to see how perturbations grow, and put back."""
    case = example_cases(["concatsquash"])[0]
    subject = case_subject(case)
    assert subject.truth.growth >= 1
    assert torch.equal(subject.y0.detach(), case.y0)


def test_growth_is_that_of_the_problem() -> None:
    """dy/dt = tanh(a y): the gradient of a sum of squares grows with the state."""
    spec = FIELDS.load("antisymmetric")(dim=2)  # type: ignore[call-arg]
    y0, ts = torch.tensor([[0.3, -0.2]], dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64)
    calm = Case("calm", spec, torch.zeros(6, dtype=torch.float64), y0, ts, LossForm("squares"))
    assert case_subject(calm).truth.growth == pytest.approx(2.0, rel=0.5)  # y stays, its square's relative change is 2


@pytest.mark.parametrize("problem", [Spiral(), EightGaussians(options=EightGaussians.Options(blocks=2, kinetic=0.1))])
def test_the_solves_of_a_problem_are_cases_with_its_gradients(problem: Any, tmp_path: Path) -> None:
    """What is written for Julia has the gradients of the problem, solve by solve."""
    batch = problem.check_batch()
    batch = batch if isinstance(batch, Tensor) else batch._replace(x=batch.x[:4])
    subject = problem_subject(problem, problem.model(0), batch)
    method = DiscOpt(RK4, 16)
    whole, parts = subject.gradient(method), []
    for case in subject.solves().cases:
        write_case(case, tmp_path / "case.json")
        parts.append(case_subject(read_case(tmp_path / "case.json")).gradient(method))
    theta = torch.cat([part.theta for part in parts])
    assert float((theta - whole.theta[: len(theta)]).norm() / whole.theta.norm()) < 1e-12
    by_y0 = parts[0].y0.reshape(len(batch.x), -1)[:, :2] if hasattr(batch, "x") else parts[0].y0
    assert float((by_y0.reshape(-1) - whole.y0).norm() / whole.y0.norm()) < 1e-12
    assert len(parts) == (2 if hasattr(batch, "x") else 1)


def test_the_grid_has_every_method_at_every_accuracy() -> None:
    """Whatever is registered takes part, with each choice that must not matter."""
    grid = method_grid(METHODS.names(), [1e-4, 1e-6], [1, 2, 3], [EULER, RK4])
    count = {name: sum(m.name == name for m in grid) for name in METHODS.names()}
    assert count["disc-opt"] == 4 * 2 * 3  # stores, recomputes or checkpoints, on another engine
    kernels = fused.unavailable() is None
    assert count["opt-disc"] == (5 if kernels else 4) * 2  # three norms, two adjoints where kernels are, two engines
    assert count["opt-disc-fixed"] == 2 * 3  # either adjoint, by its own scheme
    assert count["opt-disc-julia"] == 4 * 2  # four adjoints
    assert count["disc-opt-julia"] == 2 * 3
    assert min(count.values()) > 0
    assert all(m.atol == m.rtol / 100 for m in grid if isinstance(m, OptDisc))


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise UsageError("no Julia here; install one")

    monkeypatch.setattr(Julia, "check_available", refuse)
    assert unavailable(["disc-opt", "disc-opt-julia", "opt-disc-julia"]) == {
        "disc-opt-julia": "no Julia here; install one",
        "opt-disc-julia": "no Julia here; install one",
    }


@pytest.mark.usefixtures("stand_in_for_julia")
def test_another_backend_takes_part() -> None:
    """Through the real protocol, computed by the stand-in worker: twins on two backends, and every adjoint."""
    names = ["disc-opt", "disc-opt-julia", "opt-disc-julia"]
    assert unavailable(names) == {}
    records = checked(example("concatsquash-reversed"), *method_grid(names, [1e-5], [2], [RK4]))
    assert {r.verdict for r in records.values()} == {AGREES}
    julia = records["disc-opt-julia-rk4-x2"]
    assert (julia.backend, records[str(julia.twin)].backend) == ("julia", "torch")
    assert julia.twin_difference is not None
    assert julia.twin_difference < ROUNDING
    assert {r.group for r in records.values() if r.method == "opt-disc-julia"} == {
        f"opt-disc-julia {a} tsit5" for a in ("gauss", "interpolating", "quadrature", "backsolve")
    }
