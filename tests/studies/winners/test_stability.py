"""The backward solve of Opt-Disc: what spoils it, what does not, and failures that are recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from pynode.cli import main
from pynode.errors import SolveError
from pynode.records.files import write_lines
from pynode.solution import Status
from pynode.studies.results import STABILITY, load_results
from pynode.studies.winners import stability
from pynode.studies.winners.map import one_engine
from pynode.studies.winners.record import StabilityRecord
from pynode.studies.winners.stability import FIELDS, measure_stability


@pytest.mark.parametrize("name", [n for n in FIELDS if n != "mlp, van der pol"])
def test_short_backward_solves_are_harmless(name: str) -> None:
    """Whatever the field: over a short horizon gradient and reconstruction are as good as the tolerance."""
    measured = measure_stability(name, 0.5, 0, rtol=1e-6)
    assert measured.failure is None
    assert measured.engine == one_engine("auto")
    assert measured.gradient_error is not None
    assert measured.reconstruction_error is not None
    assert measured.gradient_error < 1e-4
    assert measured.reconstruction_error < 1e-4


def test_contraction_spoils_the_backward_solve_and_antisymmetry_does_not() -> None:
    """The state of a contracting field can't be found again from its end; that of an antisymmetric one can."""
    contracting, stable = (measure_stability(name, 10.0, 0) for name in ("mlp, gradient flow", "antisymmetric"))
    assert contracting.reconstruction_error is not None
    assert stable.reconstruction_error is not None
    assert contracting.reconstruction_error > 1.0
    assert stable.reconstruction_error < 1e-3
    assert contracting.gradient_error is not None
    assert stable.gradient_error is not None
    assert contracting.gradient_error > 20 * stable.gradient_error


def test_a_failed_forward_solve_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """One cell must not end the map."""
    monkeypatch.setattr(stability, "MAX_STEPS", 5)
    measured = measure_stability("mlp", 10.0, 0)
    assert measured.failure is not None
    assert measured.failure.startswith("forward: ")
    assert measured.gradient_error is None
    assert measured.reconstruction_error is None
    assert measured.backward_ratio is None
    assert measured.nfe_forward > 0


def test_a_failed_backward_solve_keeps_what_could_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The adjoint alone may fail: the state is still re-solved, and half a count is no ratio."""

    def fails(*_: object) -> None:
        raise SolveError(Status.MAX_STEPS, t=1.0, dt=0.1, norm_f=1.0, phase="backward")

    monkeypatch.setattr(stability, "flat_gradient", fails)
    measured = measure_stability("antisymmetric", 2.0, 0)
    assert measured.failure is not None
    assert measured.failure.startswith("gradient: backward solve failed at t = 1")
    assert measured.gradient_error is None
    assert measured.reconstruction_error is not None
    assert measured.reconstruction_error < 1e-3
    assert measured.backward_ratio is None


def test_a_missing_reference_is_not_held_against_opt_disc(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise SolveError(Status.NON_FINITE, t=0.5, dt=0.1, norm_f=1.0)

    monkeypatch.setattr(stability, "continuous_gradient", fails)
    measured = measure_stability("antisymmetric", 1.0, 0)
    assert measured.failure is not None
    assert measured.failure.startswith("no reference gradient: ")


def test_the_backward_solves_resume_where_they_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A solve that is there, even a failed one, is not done again; the others go on after a failure."""

    def record(architecture: str, horizon: float, seed: int, failure: str | None = None) -> StabilityRecord:
        return StabilityRecord("stability", architecture, horizon, seed, 1e-5, 1e-4, 1e-4, 10, 20, failure)

    asked: list[tuple[str, float]] = []

    def measured(architecture: str, horizon: float, seed: int, *, engine: str) -> StabilityRecord:
        assert engine == one_engine("auto")
        asked.append((architecture, horizon))
        return record(architecture, horizon, seed, "forward: it blew up" if horizon == 2.0 else None)

    monkeypatch.setattr(stability, "measure_stability", measured)
    (tmp_path / "map").mkdir()
    write_lines(tmp_path / "map" / STABILITY, [record("mlp", 1.0, 0), record("mlp", 2.0, 0, "forward: it blew up")])
    assert main(["map", "--axes", "backward", "--quick", "--resume", "--out", str(tmp_path / "map")]) == 0
    every = [(name, horizon) for name in FIELDS for horizon in stability.HORIZONS[:3]]
    assert asked == every[2:]
    assert [(r.architecture, r.horizon) for r in load_results(tmp_path / "map").stability] == every
    assert "1 of 1" in capsys.readouterr().out
