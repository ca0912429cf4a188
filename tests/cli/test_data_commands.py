"""`data import` and what follows from a part of a set: lists, records, tables, a resumed run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pynode.cli import main

SMALL = ("--iterations", "2", "--set", "hidden=4", "--set", "blocks=1", "--set", "batch=20", "--no-checks")
MARK = "power (part: 0.0098 % of rows)"


def call(*arguments: object) -> int:
    return main([str(a) for a in arguments])


def write(path: Path, n: int = 200, seed: int = 0) -> Path:
    """Rows in the order of POWER's raw columns."""
    rng = np.random.default_rng(seed)
    rows = np.column_stack([rng.random((n, 2)), 230 + rng.random(n), rng.random((n, 4)), np.arange(n) % 1440])
    with path.open("wb") as file:
        np.save(file, rows)
    return path


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of all data, by the environment."""
    monkeypatch.setenv("PYNODE_DATA", str(tmp_path / "root"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "root"


def test_import_says_what_there_is_now(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("data", "import", "power", "--from", write(tmp_path / "rows")) == 0
    said = capsys.readouterr().out
    assert f"power: 6 columns, 162 / 18 / 20 rows in {root / 'power'}" in said
    assert "part: 162 of 1,659,917 training rows" in said
    assert "left out" not in said
    assert call("data", "list") == 0
    said = capsys.readouterr().out
    assert "power      there, part: 162 of 1,659,917 training rows" in said
    assert "gas        missing; data fetch gas, or data import gas --from PATH" in said
    assert call("list") == 0
    assert "On this machine: part, 162 of 1,659,917 training rows." in " ".join(capsys.readouterr().out.split())
    (root / "power" / "train.npy").unlink()
    assert call("data", "list") == 0
    assert "power      damaged; data fetch power, or data import power --from PATH --replace" in capsys.readouterr().out


def test_import_counts_rows_with_missing_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header = "Date;Time;Global_active_power;Global_reactive_power;Voltage;Global_intensity;"
    lines = [header + "Sub_metering_1;Sub_metering_2;Sub_metering_3"]
    for k, row in enumerate(np.random.default_rng(0).random((40, 7))):
        lines.append(f"16/12/2006;17:{k:02}:00;" + ";".join(f"{x:.3f}" for x in row))
        lines.append(f"16/12/2006;18:{k:02}:00;?;?;?;?;?;?;")
    (tmp_path / "file").write_text("\n".join(lines))
    assert call("data", "import", "power", "--from", tmp_path / "file", "--root", tmp_path / "here") == 0
    said = capsys.readouterr().out
    assert "33 / 3 / 4 rows in" in said
    assert "40 rows with missing values are left out" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("powr", "--from", "rows"), "did you mean 'power'"),
        (("power", "--from", "nothing"), "nothing is missing: give UCI's household_power_consumption.txt"),
        (("bsds300", "--from", "rows"), "rows is a NumPy array (.npy), not the file of bsds300"),
        (("power",), "--from"),
    ],
)
@pytest.mark.usefixtures("root")
def test_mistakes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "rows")
    assert call("data", "import", *arguments) == 2
    assert said in capsys.readouterr().err


def test_a_part_is_marked_in_records_and_tables(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, out = write(tmp_path / "rows"), tmp_path / "out" / "power"
    assert call("data", "import", "power", "--from", rows) == 0
    assert call("compare", "power", *SMALL, "--out", out) == 0
    configs = [json.loads(path.read_text()) for path in out.glob("runs/*/config.json")]
    assert len(configs) == 2
    parts = json.loads((root / "power" / "manifest.json").read_text())["parts"]
    for config in configs:
        assert config["data"]["rows"] == {"train": 162, "validation": 18, "test": 20}
        assert config["data"]["published_rows"]["train"] == 1_659_917
        assert config["data"]["whole"] is False
        assert config["data"]["sha256"] == {part: parts[part]["sha256"] for part in parts}
    assert MARK in (out / "tables.md").read_text()
    capsys.readouterr()
    assert call("show", tmp_path / "out") == 0
    assert MARK in " ".join(capsys.readouterr().out.split())


@pytest.mark.usefixtures("root")
def test_a_part_is_marked_where_gradients_alone_are_checked(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert call("data", "import", "power", "--from", write(tmp_path / "rows")) == 0
    assert call("taylor", "power", *SMALL[2:-1], "--methods", "disc-opt", "--out", out) == 0
    assert json.loads((out / "taylor.jsonl").read_text())["rows"] == "part: 0.0098 % of rows"
    assert f"RQ2 Taylor test: {MARK}" in (out / "tables.md").read_text()


@pytest.mark.usefixtures("root")
def test_a_run_is_not_resumed_on_other_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert call("data", "import", "power", "--from", write(tmp_path / "rows")) == 0
    assert call("compare", "power", *SMALL, "--methods", "disc-opt", "--out", out) == 0
    assert call("data", "import", "power", "--from", write(tmp_path / "rows", seed=1), "--replace") == 0
    capsys.readouterr()
    longer = ("--iterations", "3", *SMALL[2:])
    assert call("compare", "power", *longer, "--methods", "disc-opt", "--out", out, "--resume") == 2
    assert "was trained on other data (sha256.train: " in capsys.readouterr().err
    assert call("data", "import", "power", "--from", write(tmp_path / "rows"), "--replace") == 0
    assert call("compare", "power", *longer, "--methods", "disc-opt", "--out", out, "--resume") == 0


@pytest.mark.usefixtures("root")
def test_gradients_at_weights_that_were_trained_on_other_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert call("data", "import", "power", "--from", write(tmp_path / "rows")) == 0
    assert call("compare", "power", *SMALL, "--methods", "disc-opt", "--out", out) == 0
    assert call("data", "import", "power", "--from", write(tmp_path / "rows", seed=1), "--replace") == 0
    capsys.readouterr()
    (run,) = (out / "runs").iterdir()
    assert call("gradients", "power", "--at", run, "--out", tmp_path / "g") == 2
    assert "was trained on other data (sha256.train: " in capsys.readouterr().err
    assert not (tmp_path / "g").exists()


@pytest.mark.usefixtures("root")
def test_methods_that_were_trained_on_different_rows_are_not_compared(tmp_path: Path) -> None:
    """A run that is finished is not trained again by --resume, whatever its rows are by now."""
    out = tmp_path / "out"
    assert call("data", "import", "power", "--from", write(tmp_path / "rows")) == 0
    assert call("compare", "power", *SMALL, "--methods", "disc-opt", "--out", out) == 0
    assert call("data", "import", "power", "--from", write(tmp_path / "rows", seed=1), "--replace") == 0
    assert call("compare", "power", *SMALL, "--methods", "disc-opt,opt-disc", "--out", out, "--resume") == 0
    text = (out / "tables.md").read_text()
    assert "power (mixed rows)" in text
    assert "Left out, since opt-disc and disc-opt were trained on different rows (seed 0: sha256.train: " in text
    assert json.loads((out / "summary.json").read_text())["reduction"] == {}
