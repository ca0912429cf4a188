"""Flows from the command line: train, sample, a suite, the map; and the mistakes on the way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pynode.cli import main
from pynode.records.files import read_json, write_json
from pynode.studies.results import load_results
from tests.cli.conftest import SMALL, call


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


def test_sample_in_the_units_of_the_file(trained: Path, tmp_path: Path) -> None:
    """Hardly trained flows move samples by less than a deviation or so: b is around 300, c around 2."""
    out = tmp_path / "new.csv"
    assert call("sample", trained, "-n", 400, "--out", out) == 0
    assert out.read_text().startswith("a,b,c\n")
    rows = np.loadtxt(out, delimiter=",", skiprows=1)
    assert rows.shape == (400, 3)
    assert (np.abs(rows.mean(0) - [0.0, 300.0, 2.0]) < [1.5, 75.0, 0.015]).all()
    assert call("sample", trained / "runs/disc-opt-rk38-x4-seed0", "-n", 7) == 0
    assert np.load(trained / "runs/disc-opt-rk38-x4-seed0/samples.npy", allow_pickle=False).shape == (7, 3)


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
    assert "skipped npy: the problem npy needs a table; give one (--set data=FILE.npy)" in said.replace("\n", " ")
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
        ("compare npy", "the problem npy needs a table; give one (--data FILE.npy)"),
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
        ("evaluate nosuch", "nosuch: no such directory; give the results directory of an earlier command"),
        ("evaluate nosuch --samples some", "--samples = some: neither a number from 2 to 99,999,999 nor all"),
        ("evaluate nosuch --samples 1", "--samples = 1: neither a number"),
        ("evaluate nosuch --rtol 2", "2 is above 1"),
        ("evaluate nosuch --atol 0", "--atol = 0.0: not a positive number"),
        ("evaluate nosuch --no-grid --steps 3", "--steps = 3: no effect with --no-grid; drop it"),
        ("sample nosuch", "nosuch: no such directory"),
        ("sample .", ". holds no run; pass the --out of an earlier command"),
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


def test_options_of_a_problem_from_a_file(table: Path, tmp_path: Path) -> None:
    options = tmp_path / "options.toml"
    options.write_text('set = ["hidden=5,5", "batch=30"]\niterations = 2\nchecks = false\nmethods = ["disc-opt"]\n')
    assert call("compare", "csv", "--data", table, "--config", options, "--out", tmp_path / "out") == 0
    (run,) = load_results(tmp_path / "out").runs
    assert run.config["options"]["hidden"] == [5, 5]
    assert run.config["options"]["batch"] == 30


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
