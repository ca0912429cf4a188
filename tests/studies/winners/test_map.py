"""The map: ratios from records, cells that stop when they are accurate enough, a map that resumes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pynode.cli import main
from pynode.engines.fused.engine import Fused
from pynode.errors import EngineUnavailable, SolveError
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.problems import PROBLEMS
from pynode.problems.base import options_from_json
from pynode.problems.series.base import TimeSeries
from pynode.records.files import read_json, write_json, write_lines
from pynode.schemes.dopri8 import DOPRI8
from pynode.solution import Status
from pynode.studies.gradients.oracle import continuous_gradient, flat_gradient
from pynode.studies.gradients.timing import Repeats
from pynode.studies.results import WINNERS, Results, load_results
from pynode.studies.winners import map as winners_map
from pynode.studies.winners.map import AXES, engine_of_reference, measure_cell, one_engine
from pynode.studies.winners.record import WinnerRecord, cells
from pynode.studies.winners.study import Winners, draw_map


def record(method: str, setting: float, error: float | None, evaluations: int, **more: Any) -> WinnerRecord:
    """One gradient in a cell."""
    values: dict[str, Any] = {
        "axis": "stiffness",
        "value": 2.0,
        "problem": "van-der-pol",
        "seed": 0,
        "family": method,
        "adaptive": method == "opt-disc",
        "reference_uncertainty": 1e-9,
        "nfe_forward": 0,
        "nfe_backward": 0,
        "seconds": evaluations / 1000,
        "failure": None,
    }
    return WinnerRecord(
        **{**values, "method": method, "setting": setting, "error": error, "evaluations": evaluations, **more}
    )


BY_HAND = [
    record("disc-opt", 1, 5e-2, 100),
    record("disc-opt", 2, 5e-3, 200),
    record("disc-opt", 4, 5e-5, 400, seconds=0.1),
    record("opt-disc", 1e-2, 2e-1, 50),
    record("opt-disc", 1e-4, 5e-5, 600),
    record("opt-disc", 1e-6, 5e-7, 900),
]


def test_ratios_of_the_cheapest_that_are_accurate_enough() -> None:
    (cell,) = cells(BY_HAND)
    assert cell.ratio(1e-1, "evaluations") == 6.0
    assert cell.ratio(1e-2, "evaluations") == 3.0
    assert cell.ratio(1e-4, "evaluations") == 1.5
    assert cell.ratio(1e-4, "seconds") == pytest.approx(6.0)
    assert cell.ratio(1e-6, "evaluations") is None
    assert cell.seeds[0].cheapest("disc-opt", 1e-6) is None


def test_study_and_figure(tmp_path: Path) -> None:
    results = Results(tmp_path, winners=BY_HAND)
    text = "\n".join(t.markdown() for t in Winners().tables(results))
    assert "| van-der-pol, stiffness 2 | 6 | 3 | 1.5 | no disc-opt |" in text
    finding = Winners().finding(results)
    assert finding is not None
    assert "1 of 1 cell at 1e-02 (median ratio 3, less time in 1 of 1)" in finding
    drawn = draw_map(results)
    assert drawn is not None
    texts = [t.get_text() for t in drawn.axes[0].texts]
    assert texts == ["6", "3", "1.5", "no disc-opt"]
    assert draw_map(Results(tmp_path)) is None


def small_cell(**more: Any) -> list[WinnerRecord]:
    return measure_cell(AXES["width"], 16, collocation=50, repeats=Repeats(1), **more)


def test_a_cell_stops_when_it_is_accurate_enough() -> None:
    """Each method's errors fall; nothing is measured beyond the first that is good enough."""
    records = small_cell(steps=(1, 2, 4, 8), tolerances=(1e-3, 1e-5, 1e-7), best=1e-3)
    for method in ("disc-opt", "opt-disc"):
        errors = [r.error for r in records if r.method == method]
        assert all(e is not None for e in errors)
        assert errors[-1] < 1e-3  # type: ignore[operator]
        assert all(e >= 1e-3 for e in errors[:-1])  # type: ignore[operator]
    assert {r.axis for r in records} == {"width"}
    assert {r.value for r in records} == {16.0}


def test_a_cell_without_reference_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise SolveError(Status.NON_FINITE, t=0.5, dt=0.1, norm_f=1.0)

    monkeypatch.setattr(winners_map, "continuous_gradient", fails)
    (only,) = small_cell()
    assert only.failure is not None
    assert "no reference gradient" in only.failure
    assert cells([only])[0].failure == only.failure
    assert cells([only])[0].ratio(1e-1, "seconds") is None


def test_both_methods_of_a_cell_run_on_one_engine() -> None:
    """Even where "auto" would take the other one for a method; the records say which."""
    measured = small_cell(steps=(1,), tolerances=(1e-2,), engine="eager")
    assert {r.engine for r in measured} == {"eager"}
    assert {r.engine for r in small_cell(steps=(1,), tolerances=(1e-2,))} == {one_engine("auto")}
    assert all(r.scatter is None for r in measured), "a single time has no scatter"


@pytest.mark.skipif(Fused().unavailable() is not None, reason="needs the kernels")
def test_the_reference_of_the_kernels_is_that_of_torch() -> None:
    """On a stiff cell, to what both say of themselves."""
    axis = AXES["stiffness"]
    kind = PROBLEMS.load(axis.problem)
    problem = kind(options=options_from_json(kind, {axis.option: 5.0}))
    assert isinstance(problem, TimeSeries)
    model = problem.collocated(0, iterations=300, points=50)

    def reference(engine: str) -> tuple[torch.Tensor, float]:
        return continuous_gradient(
            lambda method: problem.objective(method, model, problem.batch(0)).loss,
            list(model.parameters()),
            target=1e-8,
            scheme=DOPRI8,
            first=2,
            engine=engine_of_reference(engine),
        )

    (fused, left), (torch_operators, _) = reference("fused"), reference("eager")
    assert left < 1e-7
    assert float((fused - torch_operators).norm() / torch_operators.norm()) < 1e-9
    assert engine_of_reference("julia") == "eager"


def test_what_auto_stands_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert one_engine("auto") == ("fused" if Fused().unavailable() is None else "eager")
    monkeypatch.setattr(Fused, "unavailable", lambda _: "no Numba here")
    assert one_engine("auto") == "eager"
    with pytest.raises(EngineUnavailable, match="no Numba here"):
        one_engine("fused")


def recorded_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, int, str]]:
    """Puts a record in place of every measurement; value, seed and engine of each that is asked for."""
    asked: list[tuple[float, int, str]] = []

    def measured(axis: winners_map.Axis, value: float, *, seed: int, engine: str, **_: object) -> list[WinnerRecord]:
        asked.append((value, seed, engine))
        return [record("disc-opt", 1, 1e-3, 10, axis=axis.name, value=float(value), problem=axis.problem, seed=seed)]

    monkeypatch.setattr(winners_map, "measure_cell", measured)
    return asked


def test_map_resumes_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cell that is there is not measured again."""
    asked = recorded_calls(monkeypatch)
    done = [record("disc-opt", 1, 1e-3, 10, axis="width", value=16.0)]
    (tmp_path / "map").mkdir()
    write_lines(tmp_path / "map" / WINNERS, done)
    assert main(["map", "--axes", "width", "--quick", "--resume", "--out", str(tmp_path / "map")]) == 0
    assert [(value, seed) for value, seed, _ in asked] == [(64, 0)]
    assert [r.value for r in load_results(tmp_path / "map").winners] == [16.0, 64.0]
    assert "RQ5 Who wins" in capsys.readouterr().out


def test_a_map_that_ended_in_its_first_cell_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has left its settings and its environment, and no record; with any other file it is no map."""
    asked = recorded_calls(monkeypatch)
    out = tmp_path / "map"
    command = ["map", "--axes", "width", "--quick", "--resume", "--out", str(out)]
    out.mkdir()
    write_json(out / "environment.json", [{"command": ["run.py", "map"]}])
    (out / "notes.txt").touch()
    assert main(command) == 2
    (out / "notes.txt").unlink()
    assert main(command) == 0
    assert [value for value, _, _ in asked] == [16, 64]
    assert len(read_json(out / "environment.json")) == 2


def test_a_map_over_seeds_can_be_continued_with_more_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the engine that it was begun on; every session leaves its command and commit."""
    asked = recorded_calls(monkeypatch)
    command = ["map", "--axes", "width", "--quick", "--engine", "eager", "--out", str(tmp_path / "map")]
    assert main([*command, "--seeds", "0,2"]) == 0
    assert asked == [(value, seed, "eager") for value in (16, 64) for seed in (0, 2)]
    asked.clear()
    assert main([*command, "--seeds", "0,1,2", "--resume"]) == 0
    assert asked == [(value, 1, "eager") for value in (16, 64)]
    assert read_json(tmp_path / "map" / "map.json") == {"quick": True, "engine": "eager", "threads": 1}
    sessions = read_json(tmp_path / "map" / "environment.json")
    assert len(sessions) == 2
    assert all({"git", "packages", "command", "time"} <= set(session) for session in sessions)
    assert (
        main(["map", "--axes", "width", "--quick", "--threads", "2", "--resume", "--out", str(tmp_path / "map")]) == 2
    )


@pytest.mark.parametrize("seeds", ["-1", "9223372036854775808", "0,x", ","])
def test_seeds_that_can_not_be(seeds: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map", "--seeds", seeds, "--out", str(tmp_path / "map")]) == 2
    assert "--seeds" in capsys.readouterr().err
    assert not (tmp_path / "map").exists()


def test_the_reference_is_not_fooled_by_coarse_beginnings() -> None:
    """A change that grows while steps are far too coarse is no rounding error: refinement goes on."""
    theta = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    ts = torch.tensor([0.0, 3.0], dtype=torch.float64)

    def loss(method: GradientMethod) -> torch.Tensor:
        def field(t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return -40.0 * (y - torch.cos(theta * t))

        return method.solve(field, torch.ones(1, dtype=torch.float64), ts, params=[theta]).ys[-1].sum()

    coarse, finer = (flat_gradient(loss(DiscOpt(steps=n)), [theta]) for n in (8, 16))
    assert float(finer.abs()) > float(coarse.abs()) > 1e6, "steps were not coarse: the test shows nothing"
    gradient, uncertainty = continuous_gradient(loss, [theta])
    truth = flat_gradient(loss(DiscOpt(steps=4096)), [theta])
    assert uncertainty < 1e-8
    torch.testing.assert_close(gradient, truth, rtol=1e-7, atol=0)
