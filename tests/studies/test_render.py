"""Figures from records alone: drawn for whole and partial results, the same bytes each time, without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import pytest

from pynode.cli import main
from pynode.records.runs import Run
from pynode.studies.render import Rendered, render_all
from pynode.studies.results import Results, load_results
from pynode.studies.style import looks
from tests.drawing import figures_drawn

ALL = {"loss", "cost", "taylor", "gradient_error", "gradient_accuracy", "extrapolation", "reduction"}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small but whole results directory."""
    out = tmp_path_factory.mktemp("results") / "spiral"
    options = ["--iterations", "8", "--rtol", "1e-3", "--atol", "1e-5", "--seeds", "0,1"]
    assert main(["compare", "spiral", *options, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def drawn(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """All of it drawn, in a directory of its own."""
    before = dict(mpl.rcParams)
    with figures_drawn():
        rendered = render_all(load_results(recorded), tmp_path_factory.mktemp("drawn"))
    assert dict(mpl.rcParams) == before, "a figure must not change the settings of others"
    return rendered


def test_whole_results_give_every_figure(drawn: Rendered) -> None:
    rendered = drawn
    assert {p.stem for p in rendered.paths} == ALL
    for path in rendered.paths:
        content = path.read_bytes()
        assert content[:4] == (b"\x89PNG" if path.suffix == ".png" else b"%PDF")
        assert len(content) > 8_000
    assert len(rendered.findings) == 3
    assert "RQ3" in (rendered.paths[0].parents[1] / "tables.md").read_text()


@pytest.mark.usefixtures("drawn_figures")
def test_equal_records_give_equal_files(recorded: Path, drawn: Rendered, tmp_path: Path) -> None:
    again = render_all(load_results(recorded), tmp_path)
    assert [path.name for path in again.paths] == [path.name for path in drawn.paths]
    for first, second in zip(drawn.paths, again.paths, strict=True):
        assert first.read_bytes() == second.read_bytes(), first.name


@pytest.mark.usefixtures("drawn_figures")
def test_partial_results_give_what_they_can(recorded: Path, tmp_path: Path) -> None:
    whole = load_results(recorded)
    one_method = replace(whole, runs=[r for r in whole.runs if r.method == "disc-opt"], taylor=[], errors=[])
    cases: list[tuple[Results, set[str]]] = [
        (one_method, {"loss", "cost", "extrapolation"}),
        (replace(whole, runs=[], errors=[]), {"taylor"}),
        (replace(whole, runs=[], taylor=[]), {"gradient_error", "gradient_accuracy"}),
        (replace(whole, runs=[], taylor=[], errors=[]), set()),
    ]
    for k, (results, expected) in enumerate(cases):
        directory = tmp_path / str(k)
        directory.mkdir()
        assert {p.stem for p in render_all(results, directory).paths} == expected


@pytest.mark.usefixtures("drawn_figures")
def test_an_unfinished_run_is_drawn_as_far_as_it_went(recorded: Path, tmp_path: Path) -> None:
    whole = load_results(recorded)
    cut = [replace(r, records=r.records[:3], summary=None, evaluation=None) for r in whole.runs]
    rendered = render_all(replace(whole, runs=cut), tmp_path)
    assert {"loss", "cost"} <= {p.stem for p in rendered.paths}
    assert "extrapolation" not in {p.stem for p in rendered.paths}


@pytest.mark.usefixtures("drawn_figures")
def test_a_training_sweep_gets_its_figure(tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    options = ["--methods", "disc-opt", "--steps", "1", "--schemes", "rk4", "--train", "--iterations", "3"]
    assert main(["gradients", "spiral", *options, "--out", str(out)]) == 0
    assert (out / "figures" / "sweep.png").exists()
    assert "Training at many accuracies" in (out / "tables.md").read_text()
    runs = json.loads((out / "summary.json").read_text())["runs"]
    assert [run["label"] for run in runs] == [f"disc-opt-rk4-x{n}-seed0" for n in (1, 2, 4)]


def test_rendering_needs_no_torch(recorded: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pynode.studies.results import load_results; "
        "from pynode.studies.render import render_all; from matplotlib.figure import Figure; "
        "Figure.savefig = lambda self, target, **_: target.write(b'<svg/>'); "
        f"render_all(load_results(Path({str(recorded)!r})), Path({str(tmp_path)!r})); "
        "assert 'torch' not in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_method_looks_the_same_everywhere() -> None:
    alone, among = looks(["opt-disc"]), looks(["new-method", "disc-opt", "opt-disc"])
    assert alone["opt-disc"] == among["opt-disc"]
    assert len({look.color for look in among.values()}) == len(among)


def test_a_users_file_is_the_title(tmp_path: Path) -> None:
    """Of tables and figures of all studies, where all runs were trained on it; other problems keep their name."""

    def of(problem: str, *files: str | None) -> str:
        configs = [{"problem": problem, "options": {"data": file}} for file in files]
        runs = [Run(config, None, [], None, str(k)) for k, config in enumerate(configs)]
        return Results(tmp_path, runs).title

    assert of("table", "/data/$wine$.csv", "/data/$wine$.csv") == "$wine$.csv"
    assert of("series", "C:\\data\\cups.csv") == "cups.csv"
    assert of("series", "a.csv", "b.csv") == "series"
    assert of("higgs", "rows.npy") == "higgs"
    assert of("table", None) == "table"
