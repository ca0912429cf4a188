"""Runs that an earlier version left behind (`record.py` says how) are read, and shown with the same numbers."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from pynode.cli import main
from pynode.cli.results import summary
from pynode.studies.render import read_off
from pynode.studies.results import load_results
from pynode.sweeps.grid import make_cells
from pynode.sweeps.specification import read_file, specify
from pynode.training.config import RunConfig
from pynode.training.restore import restore

RUNS = Path(__file__).parent / "runs"
CONFIGS = sorted(RUNS.rglob("config.json"))
SUMMARIES = sorted(path for path in RUNS.rglob("summary.json") if (path.parent / "runs").is_dir())
TABLES = sorted(RUNS.rglob("tables.md"))


def name(path: Path) -> str:
    """How a test about the folder of `path` is called."""
    return str(path.parent.relative_to(RUNS))


def plain(path: Path) -> Any:
    """The content of a JSON file, without its checksum."""
    content = json.loads(path.read_text())
    content.pop("checksum", None)
    return content


def contains(now: Any, then: Any) -> bool:
    """Whether every value of `then` is the same in `now`, which may have more keys."""
    if isinstance(then, dict):
        return isinstance(now, dict) and all(key in now and contains(now[key], value) for key, value in then.items())
    if isinstance(then, list):
        return isinstance(now, list) and len(now) == len(then) and all(map(contains, now, then))
    return bool(now == then)


def cells(markdown: str) -> list[list[str]]:
    """The bodies of the tables in a Markdown text, row by row: names and numbers, without the prose around them."""
    plain = markdown.replace("&emsp;", "")  # tables of earlier versions have no indentation
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in plain.splitlines() if line[:1] == "|"]
    rules = [k for k, row in enumerate(rows) if all(re.fullmatch("-+:?", cell) for cell in row)]
    return [row for k, row in enumerate(rows) if k not in rules and k + 1 not in rules]


def test_the_recordings_are_there() -> None:
    """None of the tests below passes by having nothing to read."""
    methods = {plain(path)["method"]["method"] for path in CONFIGS}
    assert methods >= {"disc-opt", "opt-disc", "opt-disc-fixed", "ad-adaptive", "disc-opt-julia", "opt-disc-julia"}
    assert (len(CONFIGS), len(SUMMARIES), len(TABLES)) == (25, 12, 16)


@pytest.mark.parametrize("path", CONFIGS, ids=name)
def test_a_configuration_is_read_and_written_as_it_is(path: Path) -> None:
    then = plain(path)
    config = RunConfig.from_json(then)
    now = json.loads(json.dumps(config.to_json()))
    assert contains(now, then)
    assert RunConfig.from_json(now) == config
    assert config.check_resumes(then) == {}


@pytest.mark.parametrize("path", CONFIGS, ids=name)
def test_the_folder_has_the_label_of_its_run(path: Path) -> None:
    assert RunConfig.from_json(plain(path)).label == path.parent.name


@pytest.mark.parametrize("path", SUMMARIES, ids=name)
def test_the_summary_of_all_runs_is_the_same(path: Path) -> None:
    now = json.loads(json.dumps(summary(load_results(path.parent), [])))
    assert contains(now, plain(path))


def lasting(text: str) -> str:
    """The tables that are still made as they were: times of a map are now those of the fastest settings.

    One step is counted in the singular now.
    """
    return text.partition("**RQ5 Who wins: time**")[0].replace("| 1 steps |", "| 1 step |")


@pytest.mark.parametrize("path", TABLES, ids=name)
def test_the_tables_have_the_same_rows(path: Path) -> None:
    """Titles and notes may be put in other words."""
    tables = read_off(load_results(path.parent)).tables
    now = "\n".join(table.markdown() for table in tables)
    assert cells(lasting(now)) == cells(lasting(path.read_text()))


@pytest.mark.parametrize("directory", ["spiral", "8gaussians", "julia", "gradients", "crosscheck", "map", "sweep"])
def test_show(
    directory: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The figures are drawn, but not saved, which takes the time."""
    drawn: list[str] = []

    def draw(_figure: object, _folder: Path, file: str) -> list[Path]:
        drawn.append(file)
        return []

    monkeypatch.setattr("pynode.studies.render.save", draw)
    copy = shutil.copytree(RUNS / directory, tmp_path / directory)
    assert main(["show", str(copy)]) == 0
    assert drawn or directory == "sweep", "a sweep of one of the two methods has a table only"
    now, then = ((folder / "tables.md").read_text() for folder in (copy, RUNS / directory))
    assert cells(lasting(now)) == cells(lasting(then))
    assert f"all tables in {copy / 'tables.md'}" in capsys.readouterr().out.replace("\n", " ")


@pytest.mark.parametrize("path", [p for p in CONFIGS if (p.parent / "evaluation.json").exists()], ids=name)
def test_the_best_weights_are_those_of_the_summary(path: Path) -> None:
    _, problem, model = restore(path.parent)
    told = plain(path.parent / "summary.json")
    assert problem.validation_loss(model) == pytest.approx(told["best_validation_loss"], rel=1e-12)


@pytest.mark.parametrize("file", ["sweep", "slow"])
def test_a_file_of_a_sweep_gives_the_same_cells(file: str) -> None:
    specification = specify(read_file(RUNS / f"{file}.toml"))
    cells_now = make_cells(specification.axes, specification.needs)
    then = plain(RUNS / {"sweep": "sweep", "slow": "interrupted-sweep"}[file] / "sweep.json")["cells"]
    assert [cell.name for cell in cells_now] == [f"{cell['problem']}/{cell['label']}" for cell in then]
    assert all(contains(json.loads(json.dumps(c.config)), t["config"]) for c, t in zip(cells_now, then, strict=True))


def test_a_file_of_options_gives_the_same_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pynode.studies.render.save", lambda *_: [])
    out = tmp_path / "out"
    assert main(["compare", "spiral", "--config", str(RUNS / "compare.toml"), "--out", str(out)]) == 0
    labels = [f"{way}-seed{seed}" for way in ("disc-opt-rk4-x2", "opt-disc-dopri5-rtol1e-06") for seed in (0, 1)]
    assert sorted(path.name for path in (out / "runs").iterdir()) == labels
    configs = [plain(out / "runs" / label / "config.json") for label in labels]
    assert [config["iterations"] for config in configs] == [4] * 4
    assert [config["validate_every"] for config in configs] == [2] * 4
    assert [config["method"].get("adjoint") for config in configs] == [None, None, "backsolve", "backsolve"]
