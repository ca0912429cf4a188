"""Series from the command line: train on a table of predators and prey, forecast it; and the mistakes on the way."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from experiments.series.lotka_volterra import rows
from pynode.cli.values import names_in
from pynode.errors import InvalidArgument
from pynode.studies.results import load_results
from tests.cli.conftest import call

SMALL = ("--iterations", 12)


@pytest.fixture(scope="module")
def hares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four places, noisy, at odd times, with gaps; and a set point that never changes."""
    path = tmp_path_factory.mktemp("hares") / "hares.csv"
    first, *lines = rows(places=4, points=24, until=8.0)
    path.write_text("\n".join([f"{first},setpoint", *(f"{line},37.5" for line in lines)]) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(hares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both methods on it, hardly trained."""
    out = tmp_path_factory.mktemp("series") / "out"
    assert call("series", "--data", hares, "--time", "weeks", "--id", "place", *SMALL, "--out", out) == 0
    return out


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_series_leaves_runs_tables_and_figures(trained: Path) -> None:
    results = load_results(trained)
    assert sorted(run.method for run in results.runs) == ["disc-opt", "opt-disc"]
    text = (trained / "tables.md").read_text(encoding="utf-8")
    for words in (
        "hares: RMSE of the forecast",
        "lynx: MASE of the forecast",
        "last value",
        "straight line",
        "setpoint = 37.5",
        "| &emsp;over its deviation |",
    ):
        assert words in text
    assert {"forecast.png", "forecast-2.png", "residuals.png"} <= {p.name for p in (trained / "figures").iterdir()}


def test_series_says_what_it_took_and_what_to_do_next(
    trained: Path, hares: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --resume, which trains nothing again."""
    options = ("--data", hares, "--time", "weeks", "--id", "place", *SMALL, "--out", trained)
    assert call("series", *options, "--resume") == 0
    said = capsys.readouterr().out
    assert re.search(r"hares.csv: \d+ rows, 4 trajectories by place", said)
    assert "time: weeks" in said
    assert "setpoint = 37.5" in said
    assert "Errors of fit and forecast: hares.csv" in said
    assert re.search(r"predict \S*out --until \S+ --out \S*forecast.csv", said)


def test_predict_in_the_manner_of_the_file(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "forecast.csv"
    assert call("predict", trained, "--until", 10, "--out", out) == 0
    forecast = table(out)
    assert list(forecast[0]) == ["place", "weeks", "hares", "lynx", "setpoint"]
    assert [row["place"] for row in forecast] == sorted(row["place"] for row in forecast)
    for place in "1234":
        weeks = [float(row["weeks"]) for row in forecast if row["place"] == place]
        assert weeks == sorted(weeks)
        assert weeks[-1] == 10.0
        assert weeks[0] > 6
    assert {row["setpoint"] for row in forecast} == {"37.5"}
    assert np.isfinite([[float(row["hares"]), float(row["lynx"])] for row in forecast]).all()
    said = capsys.readouterr().out
    assert "has the least held-out error of 2 runs" in said
    assert call("predict", trained, "--until", 10, "--out", out) == 2, "nothing is overwritten"
    assert call("predict", trained, "--until", 9, "--every", 1, "--out", out, "--overwrite") == 0
    assert len(table(out)) < len(forecast)


def test_predict_by_one_method(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("predict", trained, "--until", 9, "--method", "opt-disc", "--out", tmp_path / "f.csv") == 0
    assert "opt-disc" in capsys.readouterr().out


def test_predict_new_trajectories_from_their_own_observations(
    trained: Path, hares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head, *lines = hares.read_text(encoding="utf-8").splitlines()
    new, out = tmp_path / "new.csv", tmp_path / "new-forecast.csv"
    own = [line.replace("1,", "elsewhere,", 1) for line in lines if line.startswith("1,")]
    new.write_text("\n".join([head, *own]) + "\n", encoding="utf-8")
    assert call("predict", trained, "--data", new, "--until", 10, "--out", out) == 0
    assert {row["place"] for row in table(out)} == {"elsewhere"}
    new.write_text("\n".join([head.replace("lynx", "foxes"), *own]) + "\n", encoding="utf-8")
    assert call("predict", trained, "--data", new, "--until", 10, "--out", tmp_path / "g.csv") == 2
    assert "lynx" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--until 1", "--until = 1"),
        ("--until soon", "soon"),
        ("--until 10 --method heun", "unknown gradient method"),
        ("--until 10 --method opt-disc-fixed", "no run in"),
        ("--until 10 --run nosuch", "unknown run 'nosuch'"),
        ("--until 10 --every 0", "--every = 0: not a positive length of time"),
        ("--until 10 --every 2d", "the times are"),
        ("--until 10 --data nosuch.csv", "nosuch.csv"),
    ],
)
def test_mistakes_of_predict(
    arguments: str, said: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "f.csv"
    assert call("predict", trained, *arguments.split(), "--out", out) != 0
    complaint = capsys.readouterr().err
    assert said in complaint
    assert complaint.count("\n") == 1
    assert not out.exists()


def test_a_patient_of_one_sample_is_refused_and_can_be_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "all.csv", tmp_path / "out"
    file.write_text("patient,hours,mg\nP1,0,9\nP1,1,5\nP1,2,2\nP2,0,8\nP2,1,4\nP3,0,7\n", encoding="utf-8")
    options = ("--data", file, "--time", "hours", "--id", "patient", *SMALL)
    assert call("series", *options, "--out", out) == 2
    complaint = capsys.readouterr().err
    for word in ("all.csv", "P3", "line 7", "one point", "leave"):
        assert word in complaint
    assert not (out / "runs").exists()


@pytest.mark.parametrize(
    ("texts", "names"),
    [(["a,b", "c"], ("a", "b", "c")), (['"a, b",c'], ("a, b", "c")), (["a, a"], ("a",))],
)
def test_names_of_columns_may_hold_commas(texts: list[str], names: tuple[str, ...]) -> None:
    assert names_in("--values", texts) == names


def test_columns_with_commas_need_no_quotation_marks() -> None:
    """The file is looked at for them where there is a comma."""
    assert names_in("--values", ["x,y,x", "c"], lambda: ("x,y", "x", "c")) == ("x,y", "x", "c")
    assert names_in("--values", ["x", "c"], lambda: pytest.fail("no comma")) == ("x", "c")


@pytest.mark.parametrize("texts", [[""], [","], ['"a,b']])
def test_no_names_are_refused(texts: list[str]) -> None:
    with pytest.raises(InvalidArgument, match="--values"):
        names_in("--values", texts)


def test_remedies_name_options_of_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "levels.csv"
    file.write_text("t,x\n" + "".join(f"{k},{'high' if k == 7 else k % 5}\n" for k in range(20)), encoding="utf-8")
    assert call("series", "--data", file, "--time", "t", "--values", "x", *SMALL, "--out", tmp_path / "out") == 2
    complaint = capsys.readouterr().err
    assert "(--missing-values high)" in complaint
    assert "missing_values=" not in complaint


def test_columns_of_names_and_times_come_back_and_the_file_may_move(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        f"{s},{p},2024-05-0{1 + h // 24},{h % 24},{np.sin(h / 4) + p}" for s in "ab" for p in (1, 2) for h in range(30)
    ]
    (tmp_path / "plots.csv").write_text("\n".join(["site,plot,date,hour,x", *rows]) + "\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    columns = ("--id", "site,plot", "--time", "date,hour", "--values", "x")
    one = ("--methods", "disc-opt", "--iterations", 1, "--hidden", 2, "--augment", 0, "--out", "out")
    assert call("series", "--data", "plots.csv", *columns, *one) == 0
    assert "(--window N for others)" in capsys.readouterr().out.replace("\n", " ")
    (elsewhere := tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(elsewhere)
    assert call("predict", "../out", "--until", "2024-05-02T08:00", "--out", "f.csv") == 0
    forecast = table(Path("f.csv"))
    assert list(forecast[0]) == ["site", "plot", "date", "hour", "x"]
    assert [(row["site"], row["plot"], row["date"], row["hour"]) for row in forecast] == [
        (site, plot, "2024-05-02", hour) for site in "ab" for plot in "12" for hour in "678"
    ]
    Path("../plots.csv").rename("moved.csv")
    assert call("predict", "../out", "--until", "2024-05-02T08:00", "--out", "g.csv") == 2
    assert "repeat the command that trained it with --resume and the new --data" in capsys.readouterr().err
    assert call("series", "--data", "moved.csv", *columns, *one[:-1], "../out", "--resume") == 0
    assert call("predict", "../out", "--until", "2024-05-02T08:00", "--data", "moved.csv", "--out", "g.csv") == 0
    assert Path("g.csv").read_text() == Path("f.csv").read_text()
    Path("one.csv").write_text(
        "\n".join(["site,plot,date,hour,x", *rows[:9], "c,1,2024-05-01,1,0.5"]), encoding="utf-8"
    )
    capsys.readouterr()
    assert call("predict", "../out", "--until", "2024-05-02T08:00", "--data", "one.csv", "--out", "h.csv") == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("error: one.csv, line 11: trajectory 'c/1' has one point only")
    assert said.endswith("give at least two, or leave it out"), "predict has no --leave-out"


def test_new_trajectories_have_the_columns_of_their_own_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model of one trajectory without a name forecasts several that have names, and others without."""
    monkeypatch.chdir(tmp_path)
    rows = [f"{k},{np.sin(k / 4)}" for k in range(30)]
    Path("one.csv").write_text("\n".join(["t,x", *rows]) + "\n", encoding="utf-8")
    sites = [f"{site},{row}" for site in "ab" for row in rows]
    Path("two_sites.csv").write_text("\n".join(["site,t,x", *sites]) + "\n", encoding="utf-8")
    one = ("--methods", "disc-opt", "--iterations", 1, "--hidden", 2, "--augment", 0, "--out", "out")
    assert call("series", "--data", "one.csv", *one) == 0
    capsys.readouterr()
    assert call("predict", "out", "--until", 32, "--data", "two_sites.csv", "--out", "f.csv") == 0
    assert "6 rows of 2 trajectories by" in capsys.readouterr().out
    forecast = table(Path("f.csv"))
    assert [(row["site"], row["t"]) for row in forecast] == [(site, t) for site in "ab" for t in ("30", "31", "32")]
    assert list(forecast[0]) == ["site", "t", "x"]
    assert call("predict", "out", "--until", 32, "--data", "one.csv", "--out", "g.csv") == 0
    assert "3 rows by" in capsys.readouterr().out
    assert list(table(Path("g.csv"))[0]) == ["t", "x"]


def test_explain_says_how_the_file_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And trains nothing."""
    file = tmp_path / "tanks.csv"
    lines = [
        f"{tank},{k},{'abc'[k % 3]},{k % 4},{2 + np.cos(k / 5):.3f},{'ab'.index(tank)}"
        for tank in "ab"
        for k in range(20)
    ]
    file.write_text("tank,hours,note,valve,level,size\n" + "\n".join(lines) + "\n", encoding="utf-8")
    options = (
        "--inputs",
        "valve",
        "--input-kind",
        "steps",
        "--methods",
        "disc-opt",
        "--explain",
        "--out",
        tmp_path / "out",
    )
    assert call("series", "--data", file, *options) == 0
    said = capsys.readouterr().out
    for line in (
        "tanks.csv: 40 rows, 2 trajectories by tank",
        "time: hours, 0 to 19, usually 1 apart",
        "values: level",
        "inputs: valve (steps)",
        "covariates: size",
        "column 3 ('note') is left out (text)",
        "held out: the last 20 % of each trajectory",
        "engine: ",
    ):
        assert line in said
    assert not (tmp_path / "out").exists()
