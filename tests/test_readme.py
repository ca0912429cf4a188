"""What the READMEs show is true: their code runs, every number has its record, and all files they name exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.series.lotka_volterra import rows
from experiments.study.page import contents
from experiments.study.page.blocks import BLOCK, blocks
from experiments.study.page.published import PUBLISHED
from experiments.study.spiral_differences.report import render
from pynode.cli import app
from pynode.studies import STUDIES
from pynode.studies.base import Table
from pynode.studies.results import load_results
from tests.readme.pages import Page

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = (
    "README.md",
    "experiments/README.md",
    "experiments/benchmarks/README.md",
    "julia/README.md",
    "pynode/julia/README.md",
    "pynode/README.md",
    "pynode/trajectories/README.md",
)


def test_the_library_example_runs() -> None:
    example, flow = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    switch = " ".join(re.findall(r"`(from\s+pynode\s+import[^`]*)`", README)[0].split())
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{example}\n{flow}\n{switch}"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    fit, samples = done.stdout.split("tensor(")
    loss, _, stats = fit.partition(" ")
    assert float(loss) < 0.1, "fifty iterations have fitted something"
    assert "forward=Cost(n_f=32," in stats, "4 intervals of 2 steps of 4 stages"
    assert "n_vjp=32" in stats
    assert samples.count("[") == 1 + 5


def test_the_series_example_runs(tmp_path: Path) -> None:
    """On a part of the made-up table, hardly trained."""
    (example,) = re.findall(r"```python\n(.*?)```", Page("pynode/trajectories/README.md").text, flags=re.DOTALL)
    table = "\n".join(rows(places=3, points=16, until=5.0)) + "\n"
    (tmp_path / "hares.csv").write_text(table, encoding="utf-8")
    assert 'id="place")' in example
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example.replace('id="place")', 'id="place", iterations=5)')],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )
    assert "held out: the last 20 % of each trajectory" in done.stdout
    assert "('hares', 'lynx')" in done.stdout
    assert done.stdout.count("('hares', 'lynx')") == 3


def test_a_newcomer_reads_one_page() -> None:
    lines = README.splitlines()
    assert len(lines) <= 150
    assert any(line.startswith("![") for line in lines[:30]), "a picture on top"


def test_the_test_command_is_found_by_ci() -> None:
    after_marker = README.partition("<!-- the test command -->")[2]
    command = next(line for line in after_marker.splitlines() if line.startswith("python"))
    assert command.endswith('pytest -n auto -m "not slow"')
    assert "-c constraints.txt" in command
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "<!-- the test command -->" in script
    assert "\n    pytest -n auto -m slow\n" in script, "CI runs what the command leaves out"


@pytest.mark.parametrize("path", PAGES)
def test_pictures_and_links_exist(path: str) -> None:
    folder = (ROOT / path).parent
    assert [link for link in Page(path).links if not (folder / link).exists()] == []


@pytest.mark.parametrize("path", PAGES)
def test_every_number_has_its_record(path: str) -> None:
    assert Page(path).unproven() == []


@pytest.mark.parametrize("path", contents.PAGES)
def test_blocks_are_what_the_records_say(path: str) -> None:
    """`python experiments/run.py study page --write` mends a difference."""
    assert contents.differing(path) == []
    assert blocks(contents.page(path)), "there are some"


@pytest.mark.parametrize("path", contents.PAGES)
def test_a_changed_number_in_a_block_is_noticed(path: str) -> None:
    """Every number of every block, one at a time."""
    text, tried = contents.page(path), 0
    for match in BLOCK.finditer(text):
        for number in re.finditer(r"\d[\d.,]*", match["content"]):
            at = match.start("content") + number.start()
            changed = f"{text[:at]}{(int(text[at]) + 1) % 10}{text[at + 1 :]}"
            assert contents.differing(path, changed) == [match["name"]]
            tried += 1
    assert tried > 10


@pytest.mark.parametrize("written", ["77.7 %", "`77.7`", "`7,777.7`", "`77.7 %`", "`77.7e-3`", "`-77.7`"])
@pytest.mark.parametrize("path", PAGES)
def test_a_number_without_a_record_is_noticed(path: str, written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that is written as code."""
    page, text = Page(path), Page(path).text
    monkeypatch.setattr(Page, "text", f"{text}\nAnd {written} less time.\n")
    assert any("77.7" in place for place in page.unproven())


@pytest.mark.parametrize(
    "named",
    [
        "`--seed 77`",
        "`a77.txt`",
        "status `7`",
        "rtol `1e-7`",
        "`127.0.0.1`",
        "Exit status: `0`, `77` (failed), `128 + n`",
    ],
)
def test_numbers_of_names_need_no_record(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Page, "text", f"Here is {named}.\n")
    assert Page("README.md").unproven() == []


def test_one_number_a_sentence() -> None:
    prose = re.sub(
        r"```.*?```|`[^`]*`|\]\([^)]*\)|^\|[^\n]*$|^\d\. |<!--.*?-->", "", README, flags=re.DOTALL | re.MULTILINE
    )
    assert "Five questions" in prose, "all of the page is looked at"
    prose = re.sub(r" \([\d.]+ to [\d.]+\)", "", prose)  # the range of a median goes with it
    prose = re.sub(r"(\d+)\s+of\s+\d+", r"\1", prose)  # a count of all is one number
    prose = re.sub(r"8gaussians|Python 3\.10 to 3\.13|3/8|20\d\d|\by0\b|RQ\d", "", prose)
    sentences = re.split(r"(?<=[.:;])\s", prose)
    assert [s for s in sentences if len(re.findall(r"\d[\d.,e-]*", s)) > 1] == []


def rendered() -> list[Path]:
    """The folders of published records whose tables the studies make."""
    made = sorted(path.parent for path in PUBLISHED.rglob("tables.md"))
    return [path for path in made if not path.name.startswith(("bench", "scale", "spiral-differences"))]


def test_the_table_of_the_spirals_differences_is_that_of_its_records() -> None:
    folder = PUBLISHED / "study" / "spiral-differences"
    made = render(folder, write=False).tables
    text = (folder / "tables.md").read_text(encoding="utf-8")
    assert len(made) >= 2
    assert [table.title for table in made if table.markdown() not in text] == []


@pytest.mark.parametrize("folder", [pytest.param(p, id=p.name) for p in rendered()])
def test_published_tables_are_those_of_the_records(folder: Path) -> None:
    results = load_results(folder)
    made: list[Table] = [table for name in STUDIES.names() for table in STUDIES.load(name)().tables(results)]
    text = (folder / "tables.md").read_text(encoding="utf-8")
    assert made
    assert [table.title for table in made if table.markdown() not in text] == []


def test_the_julia_model_is_what_julias_tests_run() -> None:
    (code,) = re.findall(r"```julia\n(.*?)```", Page("julia/README.md").text, flags=re.DOTALL)
    first, _, tried = (ROOT / "julia" / "test" / "own_model.jl").read_text(encoding="utf-8").partition("\n")
    assert first.startswith("# The code of julia/README.md")
    assert tried == code


def test_the_table_of_commands_is_whole() -> None:
    """The commands of the package, and those of `experiments/run.py` that are for more than one page."""
    first = re.findall(r"^\| (`.*?`) \|", README, flags=re.MULTILINE)
    told = {code.split()[0] for cell in first for code in re.findall(r"`([^`]+)`", cell)}
    package = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    assert {"compare", "data", "map"} <= package
    assert package | {"bench", "gpu", "cost-model", "study"} == told


def test_the_tree_of_the_library_is_whole() -> None:
    tree = re.findall(r"## Tree\n\n```\n(.*?)```", Page("pynode/README.md").text, flags=re.DOTALL)[0]
    named = {name for line in tree.splitlines() for name in re.findall(r"(?:^| )([a-z_]+(?:\.py|/))(?= |$)", line)}
    there = {
        f"{p.name}{'/' if p.is_dir() else ''}" for p in (ROOT / "pynode").iterdir() if not p.name.startswith(("_", "."))
    }
    there -= {"py.typed", "README.md"}
    assert there - named == set()
    assert {n for n in named - there if not list((ROOT / "pynode").glob(f"*/{n.rstrip('/')}"))} == set()


def test_constraints_pin_every_direct_dependency() -> None:
    pinned = {
        re.split(r"==", line)[0].lower()
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    }
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = project.partition("dependencies = [")[2].partition("[project.scripts]")[0]
    wanted = {name.lower() for name in re.findall(r'"([A-Za-z0-9_-]+)>=', block)}
    assert {"torch", "torchdiffeq", "juliacall", "diffeqpy", "pytest", "ruff"} <= wanted
    assert wanted - pinned == set()
