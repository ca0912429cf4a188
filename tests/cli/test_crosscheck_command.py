"""The cross-check from the command line: what it prints, leaves and returns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pynode.cli import main
from pynode.engines import fused
from pynode.engines.julia.engine import Julia
from pynode.julia.environment import find
from pynode.julia.errors import JuliaUnavailable
from pynode.methods.disc_opt import DiscOpt
from pynode.studies.crosscheck.case import read_case
from pynode.training.config import RunConfig

RECORDED = Path(__file__).parents[1] / "reference"
EACH = 9 if fused.unavailable() is None else 8
"""Gradients of one case: four ways of Disc-Opt, and of Opt-Disc five or, without kernels, four."""
FILES = ("crosscheck.jsonl", "environment.json", "report.html", "tables.md")
QUICK = ["--methods", "disc-opt,opt-disc", "--tolerances", "1e-5", "--steps", "2", "--schemes", "rk4"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("crosscheck spirl", "did you mean 'spiral'?"),
        ("crosscheck --fields mlpp", "did you mean 'mlp'?"),
        ("crosscheck --methods disc-op", "did you mean 'disc-opt'?"),
        ("crosscheck --tolerances 1e-3,-1", "rtol = -1.0"),
        ("crosscheck --tolerances much", "--tolerances = much: not numbers"),
        ("crosscheck --steps 0", "steps = 0"),
        ("crosscheck --schemes rk5", "unknown scheme 'rk5'"),
        ("crosscheck --case nosuch.json", "--case nosuch.json: can't be read"),
        ("crosscheck spiral --case nosuch.json", "--case = nosuch.json: does not go with PROBLEM"),
        ("crosscheck spiral --fields mlp", "--fields = mlp: does not go with PROBLEM"),
        ("crosscheck --fields mlp --case nosuch.json", "--fields = mlp: does not go with --case"),
        ("crosscheck --at nosuch", "--at = nosuch: there is no problem"),
        ("crosscheck spiral --at nosuch", "--at = nosuch: there is no such directory"),
        ("crosscheck --set batch=3", "there is no problem that could take it"),
    ],
)
def test_mistakes_get_one_line_and_leave_nothing(
    arguments: str, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments.split()) == 2
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1)
    assert said in error
    assert not list(tmp_path.iterdir())


def test_fields_that_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["crosscheck", "--fields", "cnf-exact", *QUICK, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert f"{2 * EACH} of {2 * EACH} gradients of 2 cases agree within their bounds." in printed
    assert "REPL" not in printed
    assert {p.name for p in out.iterdir()} == {*FILES, "figures"}
    records = [json.loads(line) for line in (out / "crosscheck.jsonl").read_text().splitlines()]
    assert {r["case"] for r in records} == {"cnf-exact", "cnf-exact-reversed"}


def test_a_broken_case_is_written_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 1, one line of error, a file for the REPL with the line that opens it, and `show` draws it all again."""
    monkeypatch.setenv("COLUMNS", "60")  # narrower than the line, which must not be wrapped
    out = tmp_path / "out"
    case = RECORDED / "concatsquash-reversed.json"
    assert main(["crosscheck", "--case", str(case), *QUICK, "--out", str(out)]) == 1
    printed, error = capsys.readouterr()
    assert error == (
        f"error: 12 of {32 + EACH} gradients broke a bound: concatsquash-reversed (4 of recorded interpolating tsit5, "
        "4 of recorded quadrature tsit5, 4 of recorded gauss tsit5)\n"
    )
    written = out / "cases" / "concatsquash-reversed.json"
    assert f'\nusing PyNODE; case = load_case("{written.as_posix()}"); compare(case);\n' in printed
    assert f"Julia REPL ({find().repl}), paste:" in printed
    assert len(read_case(written).rows) == len(read_case(case).rows)
    figure, tables = out / "figures" / "crosscheck.png", out / "tables.md"
    drawn, told = figure.read_bytes(), tables.read_text()
    figure.unlink()
    tables.unlink()
    assert main(["show", str(out)]) == 0
    assert figure.read_bytes() == drawn
    assert tables.read_text() == told
    assert "recorded gauss tsit5" in told


def test_a_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With its own objective; `--at` reads weights, here such that do not fit."""
    command = ["crosscheck", "oscillator", "--set", "horizon=0.2", *QUICK]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    assert f"{EACH} of {EACH} gradients agree" in capsys.readouterr().out
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(json.dumps(RunConfig("oscillator", DiscOpt(), 0, 1, 0.1, 0.0).to_json()))
    weights = {"extra.best": torch.zeros(3, dtype=torch.float64)}
    save_file(weights, run / "checkpoint.safetensors", metadata={"progress": '{"iteration": 0}'})
    assert main([*command, "--at", str(run), "--out", str(tmp_path / "at")]) == 2
    assert "theta = (3,): wrong shape" in capsys.readouterr().err


def test_without_julia_a_note_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the status does not depend on it, unless nothing is left to be checked."""

    def refuse(engine: Julia) -> None:  # noqa: ARG001
        raise JuliaUnavailable("no Julia was found on this machine")

    monkeypatch.setattr(Julia, "check_available", refuse)
    options = ["--fields", "mlp", "--steps", "2", "--schemes", "rk4", "--out", str(tmp_path / "out")]
    assert main(["crosscheck", "--methods", "disc-opt,disc-opt-julia,opt-disc-julia", *options]) == 0
    tables = (tmp_path / "out" / "tables.md").read_text()
    assert tables.count("disc-opt-julia, opt-disc-julia: not available: Julia can't be used: no Julia was found") == 1
    assert "run: python experiments/run.py julia setup" in tables
    capsys.readouterr()
    assert main(["crosscheck", "--methods", "disc-opt-julia", "--out", str(tmp_path / "none")]) == 2
    assert "none of them can be checked here (Julia can't be used" in capsys.readouterr().err
