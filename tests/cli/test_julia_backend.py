"""`--backend julia` on the command line: with a stand-in for Julia, and without any."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pynode.cli import main
from pynode.records.files import read_json, read_lines
from pynode.records.iteration import IterationRecord
from pynode.training import in_julia

RUN = Path(__file__).parents[2] / "experiments" / "run.py"
JULIA = ("PYTHON_JULIACALL_EXE", "PYTHON_JULIACALL_PROJECT", "PYTHON_JULIAPKG_EXE", "PYNODE_JULIA_WORKER")


@pytest.mark.usefixtures("stand_in_for_julia")
def test_a_comparison_on_the_julia_backend(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both methods by their Julia names, bridge time apart, no memory that another process holds, and a reduction."""
    command = f"compare spiral --backend julia --adjoint backsolve --iterations 3 --no-checks --out {tmp_path}/x"
    assert main(command.split()) == 0
    assert "disc-opt-julia" in capsys.readouterr().out
    summary = read_json(tmp_path / "x" / "summary.json")
    assert {run["method"] for run in summary["runs"]} == {"disc-opt-julia", "opt-disc-julia"}
    assert summary["reduction"]["baseline"] == "opt-disc-julia"
    labels = sorted(p.name for p in (tmp_path / "x" / "runs").iterdir())
    assert labels == ["disc-opt-julia-rk4-x1-seed0", "opt-disc-julia-backsolve-tsit5-rtol1e-07-seed0"]
    for label in labels:
        for record in read_lines(tmp_path / "x" / "runs" / label / "records.jsonl", IterationRecord):
            assert 0 < record.seconds_bridge < record.seconds
            assert record.peak_memory_bytes is None
            assert record.nfe_forward > 0
        (session,) = read_json(tmp_path / "x" / "runs" / label / "environment.json")
        assert session["julia"]["stand-in"] == "1"
    assert read_json(tmp_path / "x" / "runs" / labels[1] / "config.json")["method"]["adjoint"] == "backsolve"


@pytest.mark.usefixtures("stand_in_for_julia")
@pytest.mark.parametrize(
    "command",
    [
        "taylor spiral --backend julia --methods disc-opt --steps 2",
        "gradients spiral --backend julia --tolerances 1e-4 --steps 2 --schemes rk4",
        "compare 8gaussians --backend julia --iterations 2 --no-checks --set batch=20",
        "compare spiral --engine julia --iterations 2 --no-checks",
        "gradients spiral --engine julia --methods disc-opt,opt-disc --tolerances 1e-4 --steps 2 --schemes rk4",
    ],
)
def test_other_commands_take_the_backend(command: str, tmp_path: Path) -> None:
    assert main([*command.split(), "--out", str(tmp_path / "x")]) == 0
    told = "opt-julia" if "--backend" in command else "julia"  # presets are told by their names, engines beside them
    assert told in (tmp_path / "x" / "tables.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "command",
    [
        "compare spiral --backend julia",
        "compare spiral --methods opt-disc-julia",
        "taylor spiral --backend julia",
        "gradients 8gaussians --backend julia",
        "suite --backend julia",
        "julia train",
    ],
)
def test_without_julia_one_line_says_what_helps(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is written, whatever is missing."""
    for name in JULIA:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert main(command.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: Julia can't be used: ")
    assert error.count("\n") == 1
    assert "python experiments/run.py julia setup" in error
    assert not [p for p in tmp_path.iterdir() if p.name != "home"]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("compare spiral --backend jula", "unknown backend 'jula'; did you mean 'julia'?"),
        ("compare spiral --backend julia --adjoint gaus", "did you mean 'gauss'?"),
        ("compare spiral --backend julia --solver dopri5", "use solver = tsit5, vern7"),
        ("compare spiral --vjp enzyme", "drop it, or use engine julia"),
        ("compare spiral --methods disc-opt --vjp enzyme", "--vjp = enzyme: no effect on disc-opt"),
    ],
)
@pytest.mark.usefixtures("stand_in_for_julia")
def test_mistakes(command: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command.split(), "--out", str(tmp_path / "x")]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.usefixtures("stand_in_for_julia")
def test_an_interrupted_training_in_julia_recommends_no_resume(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has none: nothing is kept."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(in_julia, "train_in_julia", interrupt)
    assert main(["julia", "train", "spiral", "--iterations", "5"]) == 130
    assert capsys.readouterr().err == "error: interrupted\n"


@pytest.mark.julia
@pytest.mark.timeout(1200)
def test_the_real_stack_trains_the_spiral(tmp_path: Path) -> None:
    """Both methods, twenty iterations: the discrete one like torch's to rounding, and the loss falls."""
    methods = "disc-opt,disc-opt-julia,opt-disc-julia"
    command = f"compare spiral --methods {methods} --iterations 20 --no-checks --out {tmp_path}/x"
    done = subprocess.run([sys.executable, str(RUN), *command.split()], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    losses = {
        path.parent.name: [json.loads(line)["loss"] for line in path.read_text(encoding="utf-8").splitlines()]
        for path in (tmp_path / "x" / "runs").glob("*/records.jsonl")
    }
    here, there = losses["disc-opt-rk4-x1-seed0"], losses["disc-opt-julia-rk4-x1-seed0"]
    assert there == pytest.approx(here, rel=1e-8)
    adaptive = losses["opt-disc-julia-gauss-tsit5-rtol1e-07-seed0"]
    assert min(adaptive) < 0.5 * adaptive[0]
