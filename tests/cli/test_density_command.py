"""`density`, `score`, `sample` and `evaluate` of flows on a table of one's own, in its units and with its names."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pynode.cli.score import _say
from tests.cli.conftest import call

KINDS = {"oak": (20.0, 300.0), "yew": (9.0, 520.0)}
FEW = ("--set", "hidden=8", "--set", "batch=60", "--iterations", 6)


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 trees of two kinds, as a spreadsheet of the continent writes them, and a column of remarks."""
    path = tmp_path_factory.mktemp("trees") / "trees.data"
    generator = np.random.default_rng(0)
    lines = ["remark;kind;girth;height"]
    for k, kind in enumerate(generator.choice(list(KINDS), 240)):
        girth, height = KINDS[kind] + generator.normal(size=2) * (2.0, 30.0)
        lines.append(f"no {k};{kind};{girth:.4f};{height:.3f}".replace(".", ","))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def conditional(trees: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("conditional") / "out"
    assert call("density", "--data", trees, "--drop", "remark", "--condition", "kind", *FEW, "--out", out) == 0
    return out


def test_what_is_said(trees: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert call("density", "--data", trees, "--drop", "remark", "--condition", "kind", *FEW, "--out", out) == 0
    said = capsys.readouterr().out
    for words in (
        f"{trees}: 240 rows, 2 values in each: girth, height",
        "given kind (2 classes: oak, yew)",
        "NLL of 24 test rows, units of the file",
        "of them yew",
        "training (s)",
        f"score {out} --data {trees} --out scores.csv",
        f"sample {out} --number 1000 --condition kind=",
        f"{out}/report.html",
    ):
        assert words in said
    assert (out / "tables.md").exists()
    assert call("show", out) == 0


def test_one_method_and_notices_of_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Notices name the options of the command; one method has no other to be compared with."""
    values = np.random.default_rng(0).normal(size=(240, 2))
    np.savetxt(tmp_path / "t.csv", values, delimiter=",", fmt=("%.1f", "%.6f"), header="a,b", comments="")
    few = (*FEW, "--methods", "disc-opt", "--out", tmp_path / "out")
    assert call("density", "--data", tmp_path / "t.csv", *few) == 0
    out = capsys.readouterr().out
    assert "add noise between its steps if it does (--dequantise a)" in caplog.text
    assert "dequantise=" not in caplog.text
    assert "nothing to compare" not in out
    assert "NLL of 24 test rows, units of the file" in out


def test_resume(conditional: Path, trees: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (conditional / "runs/disc-opt-rk38-x4-seed0/records.jsonl").read_text()
    again = ("density", "--data", trees, "--drop", "remark", *FEW, "--out", conditional, "--resume")
    assert call(*again, "--condition", "kind") == 0
    assert (conditional / "runs/disc-opt-rk38-x4-seed0/records.jsonl").read_text() == before
    capsys.readouterr()
    assert call(*again, "--condition", "kind", "--missing", "drop") == 2
    assert "was started with another configuration" in capsys.readouterr().err


def test_a_run_remembers_its_file(trees: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "mine.csv"
    mine.write_bytes(trees.read_bytes())
    out = tmp_path / "out"
    few = (*FEW, "--methods", "disc-opt", "--out", out)
    assert call("density", "--data", mine, "--drop", "remark", "--condition", "kind", *few) == 0
    mine.write_text(trees.read_text().replace("oak", "elm"))
    capsys.readouterr()
    assert call("score", out, "--data", trees, "--out", tmp_path / "s.csv") == 2
    assert "has changed since it was first used here (SHA-256" in capsys.readouterr().err


def test_scores(conditional: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new, out = tmp_path / "new.csv", tmp_path / "s.csv"
    new.write_text("height,site,kind,girth\n310.5,A,oak,19.5\n500,B,yew,9\n\n290,B,oak,21\n")
    assert call("score", conditional, "--data", new, "--out", out) == 0
    said = capsys.readouterr().out
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["line"] for row in rows] == ["2", "3", "5"]
    values = [float(row["log_likelihood"]) for row in rows]
    assert f"NLL of {new}: {-np.mean(values):.4f} nats on average, in the units of the file" in said
    assert f"oak: {-np.mean([values[0], values[2]]):.4f} (2 rows)" in said
    assert "ignored 1 column of" in said
    assert call("score", conditional, "--data", new, "--out", out) == 2
    assert "exists; choose another file, or replace it with --overwrite" in capsys.readouterr().err
    new.write_text("kind,girth,height\noak,20.0,300\nelm,21.0,280\n")
    assert call("score", conditional, "--data", new, "--out", tmp_path / "u.csv") == 2
    error = capsys.readouterr().err
    assert f"error: {new}, line 3, column 1 ('kind'): 'elm' is no class that the flow was trained on" in error
    assert "it knows oak, yew" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "u.csv").exists()


def test_samples(conditional: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "yew.csv"
    assert call("sample", conditional, "-n", 5, "--condition", "kind=yew", "--out", out) == 0
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert list(rows[0]) == ["kind", "girth", "height"]
    assert {row["kind"] for row in rows} == {"yew"}
    assert "given kind = yew" in capsys.readouterr().out
    assert call("sample", conditional, "-n", 200, "--out", tmp_path / "any.csv") == 0
    kinds = [row["kind"] for row in csv.DictReader((tmp_path / "any.csv").read_text().splitlines())]
    assert set(kinds) == set(KINDS)
    assert call("sample", conditional, "-n", 5, "--out", tmp_path / "any.npy") == 0
    assert np.load(tmp_path / "any.npy", allow_pickle=False).shape == (5, 2)
    capsys.readouterr()
    for condition, said in (("kind=elm", "use oak, yew"), ("kind", "no NAME=VALUE"), ("a=1", "it has kind")):
        assert call("sample", conditional, "--condition", condition, "--out", tmp_path / "x.csv") == 2
        assert said in capsys.readouterr().err


def test_evaluations_in_the_units_of_the_file(conditional: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("evaluate", conditional, "--no-grid") == 0
    said = capsys.readouterr().out
    assert "disc-opt-rk38-x4-seed0: NLL of 24 test rows in the units of" in said
    assert "solved as in training" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "(--drop remark,kind), or condition the density on the words (--condition remark,kind)"),
        (("--condition", "kind"), "(--drop remark), or condition the density on the words (--condition remark)"),
        (("--condition", "kind,remark"), "column 1 ('remark')"),
        (("--drop", "nosuch"), "--drop = 'nosuch': no column of the table"),
        (("--drop", "remark", "--condition", "girth,height,kind"), "all columns are left out"),
        (("--set", "drop=kind", "--drop", "remark"), "given as well"),
        (("--missing", "maybe"), "maybe"),
        (("--decimal", "x"), "--decimal = 'x': unknown; use one of '.', ','"),
        (("--classes", "girth"), "--classes = girth: no column of the condition"),
    ],
)
def test_mistakes(trees: Path, options: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("density", "--data", trees, *options) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_files_that_are_no_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    for path, said in ((tmp_path / "t.hdf5", "HDF5"), (tmp_path, "a directory"), (tmp_path / "no.csv", "not a file")):
        assert call("density", "--data", path) == 2
        assert said in capsys.readouterr().err


def test_scores_need_a_table_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "toy"
    assert call("compare", "moons", "--methods", "disc-opt", "--iterations", 2, "--no-checks", "--out", out) == 0
    (tmp_path / "new.csv").write_text("1,2\n3,4\n")
    assert call("score", out, "--data", tmp_path / "new.csv", "--out", tmp_path / "s.csv") == 2
    assert "no flow on a table of your own" in capsys.readouterr().err


def test_lists_of_columns_may_be_repeated_and_quoted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """And what was said of the table when the flow was trained is not said again where the flow is used."""
    values = np.random.default_rng(0).normal(size=(240, 4))
    data, out = tmp_path / "t.csv", tmp_path / "out"
    np.savetxt(data, values, delimiter=",", fmt=("%.1f", "%.6f", "%.6f", "%.6f"), header='a,"b, old",c,d', comments="")
    few = (*FEW, "--methods", "disc-opt", "--out", out)
    assert call("density", "--data", data, "--drop", '"b, old"', "--drop", "c", *few) == 0
    assert "240 rows, 2 values in each: a, d" in capsys.readouterr().out
    assert "(--dequantise a)" in caplog.text
    caplog.clear()
    assert call("score", out, "--data", data, "--out", tmp_path / "s.csv") == 0
    assert call("sample", out, "-n", 3, "--out", tmp_path / "new.csv") == 0
    assert call("evaluate", out, "--no-grid") == 0
    assert caplog.text == ""
    cells = [row["log_likelihood"] for row in csv.DictReader((tmp_path / "s.csv").read_text().splitlines())]
    assert all(repr(float(cell)) == cell for cell in cells), "the shortest text of each float64"
    assert any(len(cell) > 12 for cell in cells)


def test_a_table_of_a_few_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "few.csv").write_text("a,b\n" + "".join(f"{k},{k * k % 7}.5\n" for k in range(10)))
    assert call("density", "--data", tmp_path / "few.csv") == 2
    said = f"error: {tmp_path / 'few.csv'} has 10 rows, too few to set some aside for validation and test"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(("classes", "last"), [(12, "  class 11: 1.0000 (1 row)"), (14, "  and 2 more classes")])
def test_score_says_how_many_classes_it_leaves_out(classes: int, last: str) -> None:
    console: Any = SimpleNamespace(said=[])
    console.say = console.said.append
    groups = {f"class {k:02d}": np.arange(classes) == k for k in range(classes)}
    new: Any = SimpleNamespace(groups=groups)
    _say(console, Path("new.csv"), new, -np.ones(classes))
    assert len(console.said) == 1 + min(classes, 13)
    assert console.said[-1] == last


def test_results_are_used_from_another_folder(
    trees: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages name the file as it was typed; records hold its path from the root."""
    (tmp_path / "trees.data").write_text(trees.read_text())
    (elsewhere := tmp_path / "elsewhere").mkdir()
    words = ("density", "--drop", "remark", "--condition", "kind", *FEW, "--methods", "disc-opt")
    monkeypatch.chdir(tmp_path)
    assert call("density", "--data", "trees.data", "--drop", "remark") == 2
    assert capsys.readouterr().err.startswith("error: trees.data, line 2, column 2 ('kind'): ")
    assert call(*words, "--data", "trees.data", "--out", "out") == 0
    said = capsys.readouterr().out
    assert "trees.data: 240 rows" in said
    assert "score out --data trees.data --out scores.csv" in said
    monkeypatch.chdir(elsewhere)
    out = Path("..", "out")
    assert call("score", out, "--data", "../trees.data", "--out", "scores.csv") == 0
    assert call("sample", out, "-n", 3, "--out", "new.csv") == 0
    assert call("evaluate", out, "--samples", 20) == 0
    assert call("report", out) == 0
    assert call(*words, "--data", "../trees.data", "--out", out, "--resume") == 0
    (tmp_path / "trees.data").rename(elsewhere / "data.csv")
    capsys.readouterr()
    assert call("score", out, "--data", "data.csv", "--out", "again.csv") == 2
    said = capsys.readouterr().err
    assert "trees.data, which" in said
    assert "repeat the command that trained it with --resume and the new --data" in said
    assert call(*words, "--data", "data.csv", "--out", out, "--resume") == 0
    assert call("score", out, "--data", "data.csv", "--out", "again.csv") == 0
    assert Path("again.csv").read_text() == Path("scores.csv").read_text()


def test_score_offers_what_can_be_done_about_new_rows(
    conditional: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No column can be left out of what the flow was trained on."""
    for cells, remedy in (
        ("oak;20,5;high", "remove the row or replace the value"),
        ("oak;20,5;", "remove the row or replace the value, or leave out all such rows (--missing drop)"),
        (";20,5;310,5", "write a word for it, or leave out all such rows (--missing drop)"),
        ("oak;2024-01-31;310,5", "give numbers, as the flow was trained on"),
    ):
        (new := tmp_path / "new.data").write_text(f"kind;girth;height\noak;21,5;301,5\n{cells}\n")
        assert call("score", conditional, "--data", new, "--out", tmp_path / "s.csv") == 2
        said = capsys.readouterr().err.replace("\n", " ").strip()
        assert said.endswith(f"; {remedy}"), said
