"""Flows from the command line: train, evaluate, sample, a suite, the map; and the mistakes on the way."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from pynode.cli import main
from pynode.cli.evaluate import _on_any_engine
from pynode.engines.fused.engine import Fused
from pynode.errors import ConfigurationMismatch, EngineUnavailable
from pynode.fields.concatsquash import ConcatSquash
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.disc_opt_julia import DiscOptJulia
from pynode.methods.opt_disc import OptDisc
from pynode.methods.opt_disc_julia import OptDiscJulia
from pynode.records.files import read_json, write_json
from pynode.schemes.rk4 import RK4
from pynode.studies.results import load_results
from pynode.training.machine import environment
from pynode.training.restore import restore


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of a user's, in units of its own."""
    path = tmp_path_factory.mktemp("data") / "mine.csv"
    values = np.random.default_rng(0).standard_normal((240, 3)) * [1.0, 50.0, 0.01] + [0.0, 300.0, 2.0]
    np.savetxt(path, values, delimiter=",", header="a,b,c", comments="", fmt="%.10g")
    return path


def call(*arguments: object) -> int:
    """The exit status of a command."""
    return main([str(a) for a in arguments])


SMALL = ("--set", "hidden=8", "--set", "batch=60", "--iterations", 6, "--no-checks")


@pytest.fixture(scope="module")
def trained(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both methods and a multilevel run on the table."""
    out = tmp_path_factory.mktemp("trained") / "out"
    status = call("compare", "csv", "--data", table, *SMALL, "--multilevel", "1,4", "--refine-at", "3", "--out", out)
    assert status == 0
    return out


def test_compare_leaves_runs_tables_and_figures(trained: Path) -> None:
    results = load_results(trained)
    assert [run.method for run in results.runs] == ["disc-opt-multilevel", "disc-opt", "opt-disc"]
    assert all(run.finished for run in results.runs)
    assert results.runs[0].records[0].nfe_forward == 4
    assert results.runs[0].records[-1].nfe_forward == 16
    text = (trained / "tables.md").read_text()
    for words in (
        "test NLL (nats)",
        "inverse error",
        "disc-opt against opt-disc",
        "disc-opt-multilevel against disc-opt",
    ):
        assert words in text
    assert {"loss.png", "marginals.png", "reduction.png"} <= {p.name for p in (trained / "figures").iterdir()}
    config = json.loads((trained / "runs/disc-opt-rk38-x4-seed0/config.json").read_text())
    assert config["options"]["hidden"] == [8]


def test_resume_finds_its_data_again(trained: Path, table: Path) -> None:
    before = (trained / "runs/disc-opt-rk38-x4-seed0/records.jsonl").read_text()
    assert call("compare", "csv", "--data", table, *SMALL, "--out", trained, "--resume") == 0
    assert (trained / "runs/disc-opt-rk38-x4-seed0/records.jsonl").read_text() == before


@pytest.mark.usefixtures("drawn_figures")
def test_evaluate_writes_the_table_of_rq4(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--schemes", "euler,rk38", "--steps", "2,8", "--tolerances", "1e-4", "--samples", 20)
    assert call("evaluate", trained, *arguments, "--bound", 0.01) == 0
    records = load_results(trained).rediscretised
    grid, trained_with = [r for r in records if r.use == "other"], [r for r in records if r.use != "other"]
    assert len(grid) == 3 * 5
    assert [(r.trained, r.use, r.scheme) for r in trained_with] == [
        ("disc-opt-multilevel rk38 x 4", "training", "rk38"),
        ("disc-opt-multilevel rk38 x 4", "evaluation", "dopri5"),
        ("disc-opt-multilevel rk38 x 4", "mixed", "rk38"),
        ("disc-opt rk38 x 4", "training", "rk38"),
        ("disc-opt rk38 x 4", "evaluation", "dopri5"),
        ("disc-opt rk38 x 4", "mixed", "rk38"),
        ("opt-disc dopri5 rtol 1e-05", "training", "dopri5"),
        ("opt-disc dopri5 rtol 1e-05", "evaluation", "dopri5"),
    ]
    assert {(r.setting, r.atol) for r in trained_with if r.use == "evaluation"} == {(1e-5, 1e-5)}
    assert {r.bound for r in records} == {0.01}
    assert {r.samples for r in records} == {20}
    assert all(r.engine for r in records)
    git = environment()["git"]
    assert {(r.commit, r.changed) for r in records} == {("", None) if git is None else (git["commit"], git["changed"])}
    said = capsys.readouterr().out
    assert "RQ4 Coarsest invertible discretisation" in said
    assert "RQ4 Training steps" in said
    assert (trained / "figures/rediscretisation.png").stat().st_size > 10_000


def test_evaluate_uses_all_test_rows_and_keeps_the_grid_that_it_is_not_to_measure(trained: Path) -> None:
    arguments = ("--schemes", "euler", "--steps", "2", "--tolerances", "1e-2")
    assert call("evaluate", trained, *arguments, "--samples", 7) == 0
    assert call("evaluate", trained, "--no-grid") == 0
    records = load_results(trained).rediscretised
    rows = 24  # the last tenth of the table's 240
    assert {r.samples for r in records if r.use != "other"} == {rows}
    assert [r.samples for r in records if r.use == "other"] == [7] * 3 * 2


def test_evaluate_takes_tolerances_of_its_own(trained: Path) -> None:
    """Each by itself: what is not given is that of the problem's Opt-Disc."""
    for given, expected in (
        (("--rtol", "1e-3", "--atol", "1e-4"), (1e-3, 1e-4)),
        (("--rtol", "1e-3"), (1e-3, 1e-5)),
        (("--atol", "1e-4"), (1e-5, 1e-4)),
    ):
        assert call("evaluate", trained, "--no-grid", "--samples", 5, *given) == 0
        records = load_results(trained).rediscretised
        assert {(r.setting, r.atol) for r in records if r.use == "evaluation" and r.samples == 5} == {expected}


@pytest.mark.usefixtures("drawn_figures")
def test_evaluate_takes_a_sweep_of_training_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs of several step counts in one results directory, and Opt-Disc once as the reference."""
    out, axes = tmp_path / "steps", ("--grid", "problem=moons", "--grid", "method=disc-opt,opt-disc")
    small = ("--set", "hidden=4", "--set", "batch=20", "--iterations", 2, "--jobs", 1)
    assert call("sweep", *axes, "--grid", "steps=1,2", *small, "--out", out) == 0
    capsys.readouterr()
    assert call("evaluate", out, "--no-grid", "--samples", 30) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Training steps from which on every seed's flow keeps an inverse error below 0.001 (30 test samples)" in said
    names = dict.fromkeys(r.trained for r in load_results(out / "moons").rediscretised)
    assert list(names) == ["disc-opt rk38 x 1", "disc-opt rk38 x 2", "opt-disc dopri5 rtol 1e-05"]
    assert (out / "moons/figures/training_steps.png").stat().st_size > 10_000


def test_sample_in_the_units_of_the_file(trained: Path, tmp_path: Path) -> None:
    """Hardly trained flows move samples by less than a deviation or so: b is around 300, c around 2."""
    out = tmp_path / "new.csv"
    assert call("sample", trained, "-n", 400, "--out", out) == 0
    rows = np.loadtxt(out, delimiter=",")
    assert rows.shape == (400, 3)
    assert (np.abs(rows.mean(0) - [0.0, 300.0, 2.0]) < [1.5, 75.0, 0.015]).all()
    assert call("sample", trained / "runs/disc-opt-rk38-x4-seed0", "-n", 7) == 0
    assert np.load(trained / "runs/disc-opt-rk38-x4-seed0/samples.npy", allow_pickle=False).shape == (7, 3)


def test_gradient_tools_take_flows(table: Path, tmp_path: Path) -> None:
    given = ("csv", "--data", table, "--set", "hidden=4", "--set", "batch=10")
    assert call("taylor", *given, "--out", tmp_path / "t", "--methods", "disc-opt,opt-disc-fixed") == 0
    assert [r.passes for r in load_results(tmp_path / "t").taylor] == [True, False]
    tools = ("--tolerances", "1e-4", "--steps", "2", "--methods", "disc-opt,opt-disc")
    assert call("gradients", *given, *tools, "--out", tmp_path / "g") == 0
    errors = {r.label: r for r in load_results(tmp_path / "g").errors}
    exact = errors["disc-opt-rk4-x2"].error_discrete
    assert exact is not None
    assert exact < 1e-7


@pytest.mark.usefixtures("drawn_figures")
def test_suite_trains_what_has_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says what it skipped and why."""
    monkeypatch.setenv("PYNODE_DATA", str(tmp_path / "none"))
    out = tmp_path / "suite"
    status = call("suite", "--quick", "--problems", "spiral,power,npy", "--iterations", 4, "--out", out)
    said = capsys.readouterr().out
    assert status == 0
    assert "skipped power: the data set 'power' is not in" in said
    assert "data fetch power" in said
    assert "skipped npy: --data" in said
    assert list(load_results(out).parts) == ["spiral"]
    assert "RQ3 disc-opt against opt-disc over the problems" in said
    assert (out / "figures/suite.png").stat().st_size > 10_000
    assert call("show", out) == 0


def test_data_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("data", "list", "--root", tmp_path) == 0
    assert capsys.readouterr().out.count("missing") == 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("compare npy", "--data: the problem npy needs a table; add --data FILE.npy"),
        ("compare npy --data nosuch.npy", "nosuch.npy is not a file"),
        ("compare npy --data table.csv", "not a .npy file"),
        ("compare csv --data text.csv", "line 3, column 2 ('b'): 'much' is not a finite number"),
        ("compare csv --data nan.csv", "is not a finite number"),
        ("compare csv --data constant.csv", "constant column"),
        ("compare csv --data table.csv --set batch=5000", "batch = 5000: more than the"),
        ("compare csv --data table.csv --set bach=5", "did you mean 'batch'?"),
        ("compare csv --data table.csv --set batch", "no NAME=VALUE"),
        ("compare csv --data table.csv --set batch=many", "--set batch = 'many': not a whole number"),
        ("compare csv --data table.csv --set trainable_horizon=perhaps", "neither true nor false"),
        ("compare csv --data table.csv --set hidden=8,x", "--set hidden = 'x'"),
        ("compare csv --data table.csv --set divergence=exat", "did you mean 'exact'?"),
        ("compare csv --data table.csv --set horizon=-1", "horizon = -1.0"),
        ("compare csv --data table.csv --set blocks=0", "blocks = 0"),
        ("compare csv --data table.csv --set activation=relu", "unknown activation 'relu'"),
        ("compare spiral --data table.csv", "spiral brings its own data"),
        ("compare 8gaussians --faithful", "8gaussians has no defects to restore"),
        ("compare 8gaussians --methods opt-disc --multilevel 1,2", "no method with steps"),
        ("compare 8gaussians --multilevel 2,1", "growing step counts"),
        ("compare 8gaussians --refine-at 5", "no effect without levels"),
        ("compare van-der-pol --set stiffness=-1", "stiffness = -1.0"),
        ("compare oscillator --set dim=3", "dim = 3: not a positive even integer"),
        ("compare power", "data fetch power"),
        ("suite --methods nosuch", "unknown gradient method 'nosuch'"),
        ("suite --iterations 0 --problems spiral", "iterations = 0"),
        ("compare spiral --set x=1", "spiral takes no options"),
        ("sample . --seed -1", "'--seed'"),
        ("evaluate nosuch", "nosuch holds no run"),
        ("evaluate nosuch --samples some", "--samples = some: neither a number from 2 to 99,999,999 nor all"),
        ("evaluate nosuch --samples 1", "--samples = 1: neither a number"),
        ("evaluate nosuch --rtol 2", "2 is above 1"),
        ("evaluate nosuch --atol 0", "--atol = 0.0: not a positive number"),
        ("evaluate nosuch --no-grid --steps 3", "--steps = 3: no effect with --no-grid; drop it"),
        ("sample nosuch", "nosuch holds no run"),
        ("sample nosuch -n 0", "--number = 0"),
        ("sample nosuch --out x.txt", "neither .npy nor .csv"),
        ("suite --problems nosuch", "unknown problem 'nosuch'"),
        ("map --axes size", "unknown axis 'size'"),
        ("data fetch nosuch", "unknown data set 'nosuch'"),
    ],
)
def test_mistakes_get_one_line(
    arguments: str, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYNODE_DATA", str(tmp_path / "none"))
    good = [f"{i * 0.37:.3f},{(i * 7919) % 101}" for i in range(100)]
    files = {
        "table.csv": ["a,b", *good],
        "text.csv": ["a,b", "1,2", "3,much", *good],
        "nan.csv": ["a,b", "1,nan", *good],
        "constant.csv": ["a,b", *(f"{i},7" for i in range(100))],
    }
    for name, lines in files.items():
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    status = main(arguments.split())
    out, error = capsys.readouterr()
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert said in error
    assert status == (1 if "holds no run" in said else 2)
    assert out == ""
    assert {p.name for p in tmp_path.iterdir()} == set(files), "a mistake must be told before anything is written"


def test_a_table_that_changed_its_columns(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights are never put into a model of another size."""
    other = tmp_path / "copy"
    run = other / "runs/disc-opt-rk38-x4-seed0"
    run.mkdir(parents=True)
    for file in (trained / "runs/disc-opt-rk38-x4-seed0").iterdir():
        (run / file.name).write_bytes(file.read_bytes())
    changed = tmp_path / "changed.csv"
    np.savetxt(changed, np.random.default_rng(1).standard_normal((200, 4)), delimiter=",")
    config = read_json(run / "config.json")
    config["options"] |= {"data": str(changed), "sha256": None}
    write_json(run / "config.json", config)
    assert call("evaluate", other, "--steps", "2", "--schemes", "euler", "--tolerances", "1e-2") == 2
    error = capsys.readouterr().err
    assert "give the data that the run was trained on" in error
    assert error.count("\n") == 1


def test_evaluating_a_time_series_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("compare", "spiral", "--iterations", 2, "--no-checks", "--out", tmp_path / "s") == 0
    for command in ("evaluate", "sample"):
        capsys.readouterr()
        assert call(command, tmp_path / "s") == 2
        assert "no flow was trained there" in capsys.readouterr().err


def test_a_file_that_changed_is_not_taken_for_the_old_one(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither by --resume, nor by sample: the weights belong to the numbers that they were trained on."""
    mine, out = tmp_path / "mine.csv", tmp_path / "out"
    mine.write_bytes(table.read_bytes())
    given = ("compare", "csv", "--data", mine, *SMALL, "--methods", "disc-opt", "--out", out)
    assert call(*given) == 0
    lines = table.read_text().splitlines()
    mine.write_text("\n".join([*lines[:-1], "0.5,300,2"]) + "\n")
    capsys.readouterr()
    assert call("sample", out, "-n", 3) == 2
    assert "has changed since it was first used here" in capsys.readouterr().err
    assert call(*given, "--resume") == 2
    assert "another configuration" in capsys.readouterr().err


def test_evaluating_one_run_keeps_the_records_of_the_others(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the working directory."""
    small = ("--schemes", "euler", "--steps", "2", "--tolerances", "1e-2", "--samples", 10)
    assert call("evaluate", trained, *small) == 0
    before = {r.run for r in load_results(trained).rediscretised}
    monkeypatch.chdir(trained / "runs")
    assert call("evaluate", "disc-opt-rk38-x4-seed0", *small) == 0
    after = load_results(trained).rediscretised
    assert {r.run for r in after} == before
    assert len([r for r in after if r.use == "other"]) == 3 * 2
    assert not (trained / "runs" / "tables.md").exists()


def test_options_of_a_problem_from_a_file(table: Path, tmp_path: Path) -> None:
    options = tmp_path / "options.toml"
    options.write_text('set = ["hidden=5,5", "batch=30"]\niterations = 2\nchecks = false\nmethods = ["disc-opt"]\n')
    assert call("compare", "csv", "--data", table, "--config", options, "--out", tmp_path / "out") == 0
    (run,) = load_results(tmp_path / "out").runs
    assert run.config["options"]["hidden"] == [5, 5]
    assert run.config["options"]["batch"] == 30


@pytest.mark.usefixtures("drawn_figures")
def test_gradients_at_trained_and_untrained_weights(table: Path, tmp_path: Path) -> None:
    """With the options of the run, in float64 although it was trained in float32; both adjoints, as many rows as asked
    for, and a figure for both weights.
    """
    short = ("--iterations", 3, "--no-checks", "--methods", "disc-opt", "--dtype", "float32")
    sizes = ("--set", "hidden=6,6", "--set", "batch=60")
    assert call("compare", "csv", "--data", table, *short, *sizes, "--seed", 3, "--out", tmp_path / "runs") == 0
    run = tmp_path / "runs/runs/disc-opt-rk38-x4-seed3"
    few = ("--steps", "1,2", "--tolerances", "1e-3,1e-7", "--methods", "disc-opt,opt-disc", "--samples", 7)
    assert call("gradients", "csv", "--at", run, "--untrained", *few, "--out", tmp_path / "g") == 0
    errors = load_results(tmp_path / "g").errors
    assert {r.weights for r in errors} == {"untrained", run.name}
    assert {r.samples for r in errors} == {7}
    assert {r.n_params for r in errors} == {ConcatSquash((3, 6, 6, 3)).n_params}
    assert all(r.reference_uncertainty < 1e-10 for r in errors), "float32 could not know it that well"
    assert {r.family for r in errors if r.adaptive} == {"opt-disc dopri5 backsolve", "opt-disc dopri5 interpolating"}
    assert len({(r.weights, r.label) for r in errors}) == len(errors) == 2 * (2 * 2 + 2 * 2)
    for weights in ("untrained", run.name):
        mine = [r for r in errors if r.weights == weights]
        assert all(r.error_discrete is not None and r.error_discrete < 1e-7 for r in mine if not r.adaptive)
        assert all(r.error is not None and r.error < 1e-5 for r in mine if r.setting == 1e-7)
        assert all(r.engine and r.scatter is not None for r in mine)
    losses = {r.weights: r.loss for r in errors if r.label == "disc-opt-rk4-x2"}
    assert losses["untrained"] != losses[run.name]
    for figure in ("gradient_error", "gradient_accuracy"):
        assert (tmp_path / "g" / "figures" / f"{figure}.png").stat().st_size > 10_000


def test_weights_of_a_directory_that_is_no_run(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run is named where there is one; a run that is damaged is another matter."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "part").symlink_to(trained)
    (tmp_path / "lost").mkdir()
    (tmp_path / "lost" / "records.jsonl").touch()
    here = f"; give {trained / 'runs' / 'disc-opt-rk38-'}"
    for status, problem, at, said in (
        (2, "csv", tmp_path / "empty", "it holds no run; give the directory of a run of csv"),
        (2, "csv", tmp_path / "file", "it is no directory; give the directory of a run of csv"),
        (2, "csv", tmp_path / "nosuch", "there is no such directory; give the directory of a run of csv"),
        (2, "csv", trained, f"it holds no run{here}"),
        (2, "csv", trained / "runs", f"it holds no run{here}"),
        (2, "csv", trained / "runs" / "disc-opt", f"there is no such directory{here}"),
        (2, "csv", tmp_path / "sweep", f"it holds no run; give {tmp_path / 'sweep' / 'part' / 'runs'}/"),
        (2, "spiral", trained, "it holds no run; give the directory of a run of spiral"),
        (1, "csv", tmp_path / "lost", "lost/config.json: No such file"),
    ):
        assert call("gradients", problem, "--at", at, "--out", tmp_path / "g") == status, at
        error = capsys.readouterr().err
        assert said in error
        assert status == 1 or f"--at = {at}: " in error
        assert not (tmp_path / "g").exists()


def test_weights_that_can_not_be_measured(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = trained / "runs/disc-opt-rk38-x4-seed0", ("--out", tmp_path / "g")
    for status, arguments, said in (
        (2, ("csv", "--at", run, "--samples", 100_000), "--samples = 100000: more than the"),
        (2, ("spiral", "--at", run), f"--at = {run}: it holds a run of csv, not of spiral; give a run of spiral, or"),
        (2, ("spiral", "--untrained"), "--untrained = True: no effect without --at"),
        (2, ("spiral", "--samples", 3), "--samples = 3: spiral is fitted to one trajectory"),
    ):
        assert call("gradients", *arguments, *out) == status
        assert said in capsys.readouterr().err
        assert not (tmp_path / "g").exists()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ('{"quick": true, "engine": "eager", "threads": 1}', "was made with {'quick': True"),
        ('{"quick": false, "seed": 0}', "another version of pynode, whose map.json has quick, seed in place of quick"),
        ("[]", "another version of pynode, whose map.json has no settings"),
    ],
)
def test_a_map_is_measured_alike_throughout(
    settings: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "map").mkdir()
    (tmp_path / "map/map.json").write_text(settings)
    (tmp_path / "map/winners.jsonl").write_text("")
    assert call("map", "--axes", "width", "--resume", "--out", tmp_path / "map") == 2
    assert said in capsys.readouterr().err


def copied(trained: Path, out: Path, *runs: str) -> Path:
    """Some runs of `trained` as results of their own."""
    for run in runs:
        shutil.copytree(trained / "runs" / run, out / "runs" / run)
    return out


DISC, OPT = "disc-opt-rk38-x4-seed0", "opt-disc-dopri5-rtol1e-05-seed0"


def test_evaluate_runs_on_another_engine_where_that_of_the_training_is_missing(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = copied(trained, tmp_path / "out", DISC)
    config = read_json(out / "runs" / DISC / "config.json")
    write_json(out / "runs" / DISC / "config.json", {**config, "decided_engine": "fused"})
    monkeypatch.setattr(Fused, "unavailable", lambda _: "no Numba here")
    assert call("evaluate", out, "--no-grid", "--samples", 5) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"{DISC}: its solves run on another engine than in training: " in said
    assert "no Numba here" in said
    assert [(r.use, r.engine) for r in load_results(out).rediscretised] == [
        ("training", "eager"),
        ("evaluation", "eager"),
        ("mixed", "eager"),
    ]


def test_the_engine_that_takes_the_place_of_another() -> None:
    """A solver that only one engine has can't run without it."""
    refused = EngineUnavailable("no Julia here")
    assert _on_any_engine(OptDisc(engine="fused", rtol=1e-3), refused) == OptDisc(rtol=1e-3)
    assert _on_any_engine(DiscOptJulia(RK4, 3), refused) == DiscOpt(RK4, 3)
    with pytest.raises(EngineUnavailable, match="no Julia here"):
        _on_any_engine(OptDiscJulia(solver="vern9"), refused)


def test_runs_that_can_not_be_evaluated_leave_those_of_the_others(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = copied(trained, tmp_path / "out", DISC, OPT)
    assert call("evaluate", out, "--no-grid", "--samples", 6) == 0
    refusal: Exception = EngineUnavailable("no Julia here")

    def refusing(folder: Path) -> object:
        if folder.name == OPT:
            raise refusal
        return restore(folder)

    monkeypatch.setattr("pynode.training.restore.restore", refusing)
    for error, status, rows in ((refusal, 1, 5), (ConfigurationMismatch("other rows"), 2, 4)):
        refusal = error
        capsys.readouterr()
        assert call("evaluate", out, "--no-grid", "--samples", rows) == status
        assert str(error) in capsys.readouterr().err
        found = {(r.run, r.samples) for r in load_results(out).rediscretised}
        assert found == {(DISC, rows), (OPT, 6)}, "what was measured is written, what was not is as before"


def test_evaluate_skips_runs_that_are_not_finished(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = tmp_path / "sweep"
    for part, runs in (("a", (DISC, OPT)), ("b", (DISC,))):
        copied(trained, sweep / part, *runs)
    for unfinished in (sweep / "a" / "runs" / OPT, sweep / "b" / "runs" / DISC):
        (unfinished / "summary.json").unlink()
    assert call("evaluate", sweep, "--no-grid", "--samples", 5) == 0
    said = "".join(capsys.readouterr().out.split())
    for name in (f"a/runs/{OPT}", f"b/runs/{DISC}"):
        assert f"{name}:therunisnotfinished" in said
    assert {r.run for r in load_results(sweep / "a").rediscretised} == {DISC}
    assert not (sweep / "b" / "rediscretisation.jsonl").exists()
    (sweep / "a" / "runs" / DISC / "summary.json").unlink()
    assert call("evaluate", sweep, "--no-grid", "--samples", 5) == 2
    assert "no finished run there" in capsys.readouterr().err


def test_weights_of_runs_with_the_study_s_defects_are_measured_with_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--methods", "disc-opt", "--out")
    assert call("compare", "spiral", "--iterations", 2, "--no-checks", "--faithful", *given, tmp_path / "s") == 0
    (run,) = (tmp_path / "s" / "runs").iterdir()
    few = ("gradients", "spiral", "--at", run, "--steps", 1, *given)
    capsys.readouterr()
    assert call(*few, tmp_path / "g") == 2
    assert "trained with --faithful; add it" in capsys.readouterr().err
    assert not (tmp_path / "g").exists()
    assert call(*few, tmp_path / "g", "--faithful") == 0
    assert {r.weights for r in load_results(tmp_path / "g").errors} == {run.name}


def test_the_seed_of_several_weights_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("gradients", "--help") == 0
    assert "thefirstrun'sseedcountsforall" in "".join(re.sub("[│\n]", "", capsys.readouterr().out).split())
