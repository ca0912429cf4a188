"""The spiral with one thing changed at a time: runs, resumption, and tables and figures from records alone."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from typer.core import TyperCommand

from experiments.study.spiral_differences import authors, campaign, training
from experiments.study.spiral_differences.command import spiral_differences
from experiments.study.spiral_differences.julia_random import JuliaRandom
from experiments.study.spiral_differences.records import RUNS, DifferenceRecord, NoDifferences, read
from experiments.study.spiral_differences.report import ahead, compared_with_authors, order, quantile_of, render
from experiments.study.spiral_differences.training import recorded_iterations, run
from experiments.study.spiral_differences.variants import METHODS, PERTURBATION, VARIANTS
from pynode.errors import SolveError, UsageError
from pynode.fields.mlp import MLP
from pynode.least_squares import LeastSquares
from pynode.methods.disc_opt import DiscOpt
from pynode.problems.series.spiral import Spiral
from pynode.records.files import read_json, read_lines, write_json, write_lines
from pynode.records.runs import load_run
from pynode.solution import Status
from pynode.training.config import RunConfig
from pynode.training.trainer import train

CONTEXT = typer.Context(TyperCommand("spiral-differences"))
"""Of a call that has no command line."""

SPEC = MLP((2, 50, 2), "tanh", input_power=3)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of two variants, a few iterations, by the command itself."""
    out = tmp_path_factory.mktemp("differences") / "out"
    spiral_differences(CONTEXT, seeds="0,1", variants="faithful,as-authors", iterations=7, out=out)
    return out


def untimed(record: DifferenceRecord) -> DifferenceRecord:
    return replace(record, seconds=0.0, load_average=None)


# --- what the authors had ---------------------------------------------------------------------------------------------


def test_julia_s_random_numbers() -> None:
    """First numbers of Julia 1.0 to 1.6 after `Random.seed!`, as its manual and its own tests print them."""
    assert JuliaRandom(0).float64() == 0.8236475079774124
    assert JuliaRandom(42).float64() == 0.5331830160438613
    generator = JuliaRandom(1234)
    assert [generator.float64() for _ in range(3)] == [0.5908446386657102, 0.7667970365022592, 0.5662374165061859]


def test_julia_s_arrays_of_single_precision() -> None:
    """`rand(MersenneTwister(1234), Float32, 4, 3, 2)` has its largest entries at (2, 1, 1) and (4, 1, 2)."""
    array = JuliaRandom(1234).float32(24).reshape(2, 3, 4)  # by columns, so axes are reversed
    assert [divmod(int(part.argmax()), 4) for part in array] == [(0, 1), (0, 3)]
    many = JuliaRandom(7).float32(40_000)
    assert many.dtype == np.float32
    assert 0 <= many.min() < 1e-3 < 1 - 1e-3 < many.max() < 1
    assert many.mean() == pytest.approx(0.5, abs=0.01)
    assert many.var() == pytest.approx(1 / 12, rel=0.02)
    with pytest.raises(ValueError, match="multiple of four"):
        JuliaRandom(1).float32(3)


def test_the_authors_initial_weights() -> None:
    """Glorot's bound sqrt(6 / 52), all representable in Float32, zero biases; other seeds differ by rounding."""
    theta = authors.initial_theta(SPEC)
    assert theta.shape == (252,)
    assert torch.equal(theta, theta.float().double())
    assert 0.3 < float(theta.abs().max()) <= math.sqrt(6 / 52) + 1e-7
    assert int((theta == 0).sum()) == 52
    problem, variant = Spiral(faithful=True), VARIANTS["authors-weights"]
    assert torch.equal(variant.weights(problem, 0), theta)
    change = (variant.weights(problem, 1) - theta).abs().max()
    assert 0 < float(change) < 10 * PERTURBATION
    assert not torch.equal(variant.weights(problem, 1), variant.weights(problem, 2))


def test_the_authors_losses_fall_and_disc_opt_is_ahead() -> None:
    for losses in authors.LOSSES.values():
        values = [losses[i] for i in authors.ITERATIONS]
        assert values == sorted(values, reverse=True)
    assert all(authors.LOSSES["disc-opt"][i] < authors.LOSSES["opt-disc"][i] for i in authors.ITERATIONS)


# --- runs -------------------------------------------------------------------------------------------------------------


def test_faithful_is_what_compare_runs(tmp_path: Path) -> None:
    """The losses of `compare spiral --faithful`, and as the accurate loss the validation loss of `compare spiral`."""
    record = run(VARIANTS["faithful"], "disc-opt", 3, 10)
    train(RunConfig("spiral", DiscOpt(), 3, 11, 0.1, 0.0, faithful=True, validate_every=1), tmp_path / "run")
    records = load_run(tmp_path / "run").records
    assert record.loss == pytest.approx([records[i].loss for i in record.iterations], rel=1e-9)
    assert record.best_loss[-1] == pytest.approx(min(r.loss for r in records if r.loss is not None), rel=1e-9)
    exact = Spiral().validation_loss(Spiral().field_spec.build(seed=3))
    assert record.accurate_loss[0] == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_runs_and_changes_something(name: str) -> None:
    variant = VARIANTS[name]
    runs = [run(variant, method, 1, 5) for method in METHODS]
    assert [r.failure for r in runs] == [None, None]
    assert all(r.loss[-1] is not None and r.loss[0] is not None and r.loss[-1] < r.loss[0] for r in runs)
    if name not in ("faithful", "as-authors"):
        of = [run(VARIANTS[variant.of], method, 1, 5) for method in METHODS]
        assert [r.loss for r in runs] != [r.loss for r in of]


def test_weights_in_single_precision() -> None:
    """Losses differ by rounding at first."""
    double, single = (run(VARIANTS[name], "disc-opt", 0, 5) for name in ("faithful", "float32"))
    assert double.loss != single.loss
    assert double.loss[-1] is not None
    assert single.loss[-1] == pytest.approx(double.loss[-1], rel=1e-3)


def test_data_by_tsit5_are_loose() -> None:
    problem, exact = Spiral(faithful=True), Spiral().data
    by_tsit5 = VARIANTS["tsit5-data"].states(problem)
    assert by_tsit5.shape == exact.shape
    assert 1e-3 < float((by_tsit5 - exact).abs().max()) < 0.1
    assert torch.equal(VARIANTS["exact-data"].states(problem), exact)
    assert torch.equal(VARIANTS["faithful"].states(problem), problem.data)


def test_a_run_that_fails_is_recorded() -> None:
    record = run(replace(VARIANTS["faithful"], rate=1e300), "disc-opt", 0, 20)
    assert record.failure is not None
    assert record.loss[0] is not None
    assert record.loss[-1] is None
    assert record.best_loss[-1] is None


@pytest.mark.parametrize("failing", ["forward", "accurate", "backward"])
def test_a_solve_that_fails_is_told_with_the_updates_before_it(failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever of the three solves of the fourth iteration it is."""
    error = SolveError(Status.MAX_STEPS, t=0.5, dt=0.1, norm_f=1.0)
    order = itertools.cycle(("forward", "accurate"))
    solves = dict.fromkeys(("forward", "accurate", "backward"), 0)

    def count(solve: str) -> None:
        solves[solve] += 1
        if solve == failing and solves[solve] == 4:
            raise error

    class Fit(LeastSquares):
        def __init__(self, *given: Any) -> None:
            count(next(order))
            super().__init__(*given)

        def backward(self) -> None:
            count("backward")
            super().backward()

    monkeypatch.setattr(training, "LeastSquares", Fit)
    record = run(VARIANTS["faithful"], "disc-opt", 0, 10)
    assert record.failure == f"after 3 updates: {error}"
    assert record.loss[0] is not None
    assert record.loss[-1] is None


# --- campaigns --------------------------------------------------------------------------------------------------------


def test_a_line_for_each_run(made: Path) -> None:
    differences = read(made)
    cells = [(r.variant, r.method, r.seed) for r in differences.records]
    assert sorted(cells) == sorted((v, m, s) for v in ("faithful", "as-authors") for m in METHODS for s in (0, 1))
    assert all(r.iterations == recorded_iterations(7) == [0, 5, 7] for r in differences.records)
    (start,) = json.loads((made / "environment.json").read_text())
    assert {"git", "processor", "packages"} <= start.keys()
    assert {p.name for p in (made / "figures").iterdir()} == {"spiral-differences.png", "spiral-differences.pdf"}


def test_a_campaign_that_ended_before_its_configuration_goes_on(tmp_path: Path) -> None:
    config: dict[str, Any] = {"variants": ["faithful"], "seeds": [0], "iterations": 5}
    write_json(tmp_path / "environment.json", [{"command": ["run.py"]}])
    assert campaign.begin(config, tmp_path, resume=True) == tmp_path
    assert read_json(tmp_path / "config.json") == config
    assert len(read_json(tmp_path / "environment.json")) == 2
    (tmp_path / "config.json").rename(tmp_path / "notes.json")
    with pytest.raises(UsageError, match="not empty"):
        campaign.begin(config, tmp_path, resume=True)


def test_an_interrupted_campaign_goes_on(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the runs that are missing; a line that was torn is made again, and the others stay."""
    shutil.copytree(made, tmp_path / "broken")
    file = tmp_path / "broken" / RUNS
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:3]) + lines[3][:40])
    again: list[tuple[str, str, int]] = []

    def counted(variant: Any, method: str, seed: int, iterations: int) -> DifferenceRecord:
        again.append((variant.name, method, seed))
        return run(variant, method, seed, iterations)

    monkeypatch.setattr(campaign, "run", counted)
    options: dict[str, Any] = {"seeds": "0,1", "variants": "faithful,as-authors", "out": tmp_path / "broken"}
    spiral_differences(CONTEXT, **options, iterations=7, resume=True)
    assert len(again) == 5
    whole, resumed = read_lines(made / RUNS, DifferenceRecord), read_lines(file, DifferenceRecord)
    assert resumed[:3] == whole[:3]
    assert [untimed(r) for r in resumed] == [untimed(r) for r in whole]
    assert len(read_json(tmp_path / "broken" / "environment.json")) == 2, "one entry for each start"
    with pytest.raises(UsageError, match="another configuration"):
        spiral_differences(CONTEXT, **options, iterations=9, resume=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seeds": "x"}, "--seeds = x: not numbers"),
        ({"seeds": "-1"}, "--seeds = -1: not a seed"),
        ({"variants": "floats"}, "unknown variant 'floats'; did you mean 'float32'"),
        ({"iterations": 0}, "--iterations = 0: not a number from 1"),
        ({"resume": True}, "name the one to go on with by --out"),
        ({"show": Path("nosuch")}, "nosuch holds no records of spiral-differences"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    options: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=said):
        spiral_differences(CONTEXT, **options)
    assert not list(tmp_path.iterdir())


# --- tables and figures, from records alone ---------------------------------------------------------------------------


def made_up(variant: str, method: str, seed: int, scale: float) -> DifferenceRecord:
    """A record whose losses are the authors', times `scale`."""
    best: list[float | None] = [scale * authors.LOSSES[method][i] for i in authors.ITERATIONS]
    return DifferenceRecord(variant, method, seed, list(authors.ITERATIONS), best, best, best, best, 1.0, "fused")


def campaign_of(directory: Path, records: list[DifferenceRecord]) -> Path:
    """A directory with these records."""
    directory.mkdir()
    config = {"variants": ["faithful", "float32"], "seeds": [0, 1, 2, 3], "iterations": 300}
    write_json(directory / "config.json", config)
    write_lines(directory / RUNS, records)
    return directory


def test_tables_count_seeds(tmp_path: Path) -> None:
    """Medians, shares of seeds and quantiles, by hand."""
    records = [made_up("faithful", "disc-opt", seed, scale) for seed, scale in enumerate((0.5, 0.9, 1.5, 4.0))]
    records += [made_up("faithful", "opt-disc", seed, 0.5) for seed in range(4)]
    failed = replace(made_up("float32", "disc-opt", 0, 1.0), best_loss=[None] * 4, failure="loss nan after 3 updates")
    differences = read(campaign_of(tmp_path / "made-up", [*records, failed]))
    # Opt-Disc has 12.86, 6.74, 2.979, 0.7025; Disc-Opt 10.10, 1.165, 0.541, 0.334 times its scale
    counts = [ahead(differences, "faithful", i, "best_loss") for i in authors.ITERATIONS]
    assert counts == [(2, 4), (4, 4), (4, 4), (3, 4)]
    (faithful, float32, theirs) = order(differences).rows
    assert faithful[2:6] == ["12.1 / 12.9", "1.4 / 6.74", "0.649 / 2.98", "0.401 / 0.703"]
    assert faithful[6:] == ["2, 4, 4, 3 of 4", "2, 4, 4, 3 of 4"]
    assert float32[6:] == ["–", "–"]
    assert theirs[2] == "10.1 / 25.71"
    rows = {tuple(row[:2]): row for row in compared_with_authors(differences).rows}
    assert rows["faithful disc-opt", "100"][2:] == ["1.4", "0.583 to 4.66", "1.165", "0.50", "4"]
    assert rows["faithful opt-disc", "300"][5] == "1.00"
    assert quantile_of(1.0, []) is None
    assert render(tmp_path / "made-up", write=False).tables[-1].rows[0][2] == "loss nan after 3 updates"


def test_all_is_drawn_from_records(tmp_path: Path) -> None:
    """Two figures; with `--show` the same again, whatever was there."""
    records = [made_up("faithful", m, seed, 1 + seed) for m in METHODS for seed in range(4)]
    directory = campaign_of(tmp_path / "made-up", records)
    rendered = render(directory)
    figures = {path.name: path.read_bytes() for path in rendered.paths if path.suffix == ".png"}
    assert set(figures) == {"spiral-differences.png", "spiral-differences-order.png"}
    tables = (directory / "tables.md").read_text()
    assert "which method is ahead" in tables
    shutil.rmtree(directory / "figures")
    (directory / "tables.md").unlink()
    spiral_differences(CONTEXT, show=directory)
    assert (directory / "tables.md").read_text() == tables
    assert {name: (directory / "figures" / name).read_bytes() for name in figures} == figures
    with pytest.raises(NoDifferences):
        read(tmp_path)
