"""Options of commands follow from what methods, problems and runs declare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from pynode.cli import app, main
from pynode.cli.options import PANELS, WHERE
from pynode.engines import ENGINES
from pynode.methods import METHODS
from pynode.problems import PROBLEMS
from pynode.settings.known import SHORT, owners, problem_options, run_settings
from pynode.sweeps.grid import make_cells
from pynode.sweeps.specification import specify

GROUP: Any = typer.main.get_command(app)
COMMANDS = ("compare", "gradients", "taylor", "suite", "sweep")


def flags(command: str) -> set[str]:
    """All options of a command, as they are written."""
    params = [param for param in GROUP.commands[command].params if param.param_type_name == "option"]
    return {flag for param in params for flag in (*param.opts, *param.secondary_opts)}


def flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_every_method_and_run_is_one_of_the_command(command: str) -> None:
    wanted = {flag(option) for option in (*owners(METHODS.names()), *run_settings(), "set")}
    assert wanted - flags(command) == set()
    assert {"--lr", "--memory-budget", "--no-landing"} <= flags(command)


def test_compare_shows_all_that_a_sweep_knows(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["compare", "--help"]) == 0
    page = capsys.readouterr().out
    axes = [*owners(METHODS.names()), *run_settings(), "method", "seed"]
    assert [axis for axis in axes if f"{flag(axis)} " not in page.replace(",", " ")] == []
    for panel in PANELS:
        assert f" {panel} " in page
    assert "auto, which takes the fastest" in page
    assert "(store, recompute or checkpoint)" in page
    assert "(auto, eager, fused, graph or julia)" in page


def test_what_has_not_run_on_a_gpu_says_so() -> None:
    """In `list`, `--help` and the READMEs, until the engine is `verified`."""
    root = Path(__file__).resolve().parents[2]
    said = {
        "list": ENGINES.summary("graph"),
        **{f"--engine of {name}": owners([name])["engine"][name].help for name in ("disc-opt", "opt-disc")},
        **{page: (root / page).read_text(encoding="utf-8") for page in ("README.md", "pynode/README.md")},
    }
    graph: Any = ENGINES.load("graph")
    unverified = {where for where, text in said.items() if "not yet run on a GPU" in " ".join(text.split())}
    assert unverified == (set() if graph.verified else set(said))
    assert graph.automatic == graph.verified


def test_list_explains_every_option(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "900")
    assert main(["list", "--options"]) == 0
    page = capsys.readouterr().out
    for option in (*owners(METHODS.names()), *run_settings()):
        assert f" {option} " in page
    for problem in PROBLEMS.names():
        for option, declared in problem_options(problem).items():
            (line,) = [line for line in page.splitlines() if line.startswith(f" {option} ")]
            assert declared.help.rstrip(".") in line
    assert "For van-der-pol. Default: 5." in page
    assert "(mlp, antisymmetric or hamiltonian). For oscillator. Default: mlp." in page
    assert "For all but lotka-volterra, oscillator, spiral, van-der-pol." in page


def test_options_that_compare_could_not_take(tmp_path: Path) -> None:
    """They stand in the configuration of the runs, those of the study beside them."""
    options = "--landing --adjoint-norm seminorm --max-steps 500 --drift warn --memory-every 2 --steps 2"
    command = f"compare spiral --iterations 2 --no-checks {options} --out {tmp_path}/x"
    assert main(command.split()) == 0
    configs = [json.loads(path.read_text()) for path in sorted((tmp_path / "x" / "runs").glob("*/config.json"))]
    assert [config["method"]["method"] for config in configs] == ["disc-opt", "opt-disc"]
    assert configs[0]["method"]["steps"] == 2
    given = {"landing": True, "adjoint_norm": "seminorm", "max_steps": 500, "drift": "warn", "adjoint": "backsolve"}
    assert given.items() <= configs[1]["method"].items()
    assert {config["memory_every"] for config in configs} == {2}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            "gradients spiral --rtol 1e-3",
            "--rtol = 0.001: this command varies it; give the values to --tolerances",
        ),
        ("gradients spiral --scheme rk4", "--scheme = rk4: this command varies it; give the values to --schemes"),
        ("gradients spiral --iterations 3", "--iterations = 3: no effect without --train"),
        ("gradients spiral --schemes rk5", "unknown scheme 'rk5'"),
        ("taylor spiral --lr 0.1", "--learning-rate = 0.1: a Taylor test trains nothing; drop it"),
        ("suite --problems spiral,oscillator --set stiffness=3", "unknown option of these problems 'stiffness'"),
        ("suite --memory stor", "did you mean 'store'?"),
        ("sweep --grid problem=spiral --grid rtol=1e-3 --rtol 1e-4", "--grid rtol = [0.001]: --rtol is given as well"),
        ("sweep --grid problem=spiral --adjoint gaus", "unknown value of --adjoint 'gaus'"),
        ("compare spiral --steps 2,x", "--steps = 'x': not a whole number"),
        ("compare spiral --drift eror", "unknown value of --drift 'eror'; did you mean 'error'?"),
        ("compare spiral --set", "requires an argument"),
    ],
)
def test_mistakes_get_one_line(
    arguments: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments.split()) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_gradients_apply_options_to_all_of_the_grid(tmp_path: Path) -> None:
    """Each method that has the option; what becomes the same stands there once.  Opt-Disc by both adjoints."""
    options = "--methods opt-disc-fixed,opt-disc --tolerances 1e-3 --steps 1,2 --adjoint-norm rms --engine eager"
    assert main(f"gradients spiral {options} --out {tmp_path}/g".split()) == 0
    rows = [json.loads(line) for line in (tmp_path / "g" / "gradient_errors.jsonl").read_text().splitlines()]
    assert [(row["method"], row["engine"]) for row in rows] == [("opt-disc-fixed", "eager")] * 4 + [
        ("opt-disc", "eager")
    ] * 2


def test_a_sweep_takes_one_value_for_all_cells(capsys: pytest.CaptureFixture[str]) -> None:
    options = "--grid problem=oscillator --grid seed=0,1 --rtol 1e-4 --set width=8 --memory recompute --iterations 3"
    assert main(f"sweep {options} --dry-run".split()) == 0
    said = capsys.readouterr().out
    assert "4 cells" in said
    assert "opt-disc-dopri5-rtol1e-04" in said


def test_files_know_the_same_names(tmp_path: Path) -> None:
    """Those of the command line and those of a sweep, in either file."""
    text = 'method = ["disc-opt"]\nseeds = [3]\nlr = 0.05\nmemory = "checkpoint"\nmemory_budget = 4\niterations = 2\n'
    file = tmp_path / "options.toml"
    file.write_text(text + "checks = false\n", encoding="utf-8")
    assert main(["compare", "oscillator", "--config", str(file), "--out", str(tmp_path / "x")]) == 0
    (path,) = (tmp_path / "x" / "runs").glob("*/config.json")
    axes = {"methods": "disc-opt", "seed": 3, "learning_rate": 0.05, "memory": "checkpoint", "budget": 4}
    specification = specify({"problem": "oscillator", "iterations": 2, **axes})
    (cell,) = make_cells(specification.axes, specification.needs)
    config = json.loads(path.read_text())
    assert config["method"]["budget"] == 4
    assert {name: config[name] for name in cell.config} == {**cell.config, "decided_engine": "eager"}


def test_other_names_are_no_options() -> None:
    every = {*owners(METHODS.names()), *run_settings(), "seed", "method"}
    assert set(SHORT) <= every
    assert every & {other for others in SHORT.values() for other in others} == set()


METHOD = '''"""Disc-Opt with an option of its own."""
from dataclasses import dataclass
from typing import ClassVar

import pynode


@dataclass(frozen=True)
class Louder(pynode.DiscOpt):
    """Disc-Opt that takes a volume."""

    name: ClassVar[str] = "louder"

    volume: int = 3
'''


def test_a_method_of_ones_own_brings_its_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(METHOD, encoding="utf-8")
    methods = f"--methods {tmp_path / 'mine.py'}:Louder"
    try:
        command = f"compare spiral {methods} --volume 5 --iterations 2 --no-checks --out {tmp_path / 'x'}"
        assert main(command.split()) == 0
        (path,) = (tmp_path / "x" / "runs").glob("*/config.json")
        assert json.loads(path.read_text())["method"]["volume"] == 5
        capsys.readouterr()
        assert main(f"compare spiral {methods} --volume 0 --out {tmp_path / 'y'}".split()) == 2
        assert "volume = 0: not a positive integer" in capsys.readouterr().err
    finally:
        METHODS.forget()
    assert main(["compare", "spiral", "--volume", "5"]) == 2
    assert "No such option: --volume" in capsys.readouterr().err


@pytest.mark.parametrize("command", sorted(GROUP.commands))
def test_a_help_page_fills_its_lines(command: str) -> None:
    """Whatever the width of the terminal: no line of a docstring ends in the middle of a paragraph."""
    paragraphs = str(GROUP.commands[command].help).split("\n\n")
    assert [part for part in paragraphs if "\n" in part] == []


def test_threads_of_commands_that_train_nothing_are_no_option_of_a_training() -> None:
    for command in ("predict", "sample", "score", "evaluate"):
        (param,) = (param for param in GROUP.commands[command].params if param.name == "threads")
        assert param.rich_help_panel != WHERE
