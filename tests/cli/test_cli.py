"""The command line as a new user meets it: what it says, how it exits, what it leaves."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import pynode
from pynode.cli import main
from pynode.cli.console import complain
from pynode.engines.eager.revolve import fewest_advances
from pynode.methods.opt_disc import OptDisc
from pynode.training.config import STUDY

RUN = Path(__file__).parents[2] / "experiments" / "run.py"


def test_a_complaint_is_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks share an unbuffered pipe: a line in two writes can be broken by another rank's."""
    writes: list[str] = []
    stream = io.StringIO()
    monkeypatch.setattr(stream, "write", writes.append)
    monkeypatch.setattr(sys, "stderr", stream)
    complain("rank 0: error: interrupted\n  before iteration 3")
    assert writes == ["rank 0: error: interrupted before iteration 3\n"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("compare nosuch", "unknown problem 'nosuch' (known: 2spirals, 8gaussians"),
        ("compare spirl", "did you mean 'spiral'?"),
        ("compare spiral --steps 0", "steps = 0: not a positive integer"),
        ("compare spiral --out /proc/x", "--out /proc/x: can't write there"),
        ("compare spiral --rtol -1", "rtol = -1.0: not a positive number"),
        ("compare spiral --methods disc-op", "did you mean 'disc-opt'?"),
        ("compare spiral --methods disc-opt --rtol 1e-3", "--rtol = 0.001: no effect on disc-opt"),
        (
            "compare spiral --memory-budget 4",
            "budget = 4: memory = 'store' stores no chosen number of states",
        ),
        ("compare spiral --memory checkpoint --memory-budget 0", "budget = 0: not a positive integer"),
        ("compare spiral --methods opt-disc --memory-budget 4", "--budget = 4: no effect on opt-disc"),
        ("compare spiral --scheme rk5", "unknown scheme 'rk5'"),
        ("compare spiral --solver foo", "solver = 'foo': unknown; use one of bosh3, dopri5"),
        ("compare spiral --seeds 1,x", "--seeds = 1,x: not numbers"),
        ("compare spiral --seed -2", "seed = -2"),
        ("compare spiral --seed 99999999999999999999999", "seed = 99999999999999999999999"),
        ("compare spiral --rtol 1e-30", "rtol = 1e-30: below the rounding error"),
        ("compare spiral --out .", "--out: empty"),
        ("compare spiral --dtype float16", "unknown value of --dtype 'float16'; did you mean 'float64'?"),
        ("compare spiral --device nowhere", "device = nowhere"),
        ("compare spiral --nosuch", "No such option"),
        ("compare spiral --rtol much", "--rtol"),
        ("compare", "Missing argument"),
        ("compar spiral", "compare"),
        ("compare spiral --config nosuch.toml", "--config nosuch.toml: can't be read"),
        ("gradients spiral --steps 0", "steps = 0"),
        ("gradients spiral --tolerances 1e-3,-1", "rtol = -1.0"),
        ("gradients spiral --at nosuch", "--at = nosuch: there is no such directory; give the directory of a run of s"),
        ("taylor spiral --scheme nosuch", "unknown scheme"),
        ("show nosuch", "nosuch: no such directory"),
    ],
)
def test_mistakes_get_one_line_and_status(
    arguments: str, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status = main(arguments.split())
    out, error = capsys.readouterr()
    assert status == 2
    assert out == ""
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert said in error
    assert not list(tmp_path.iterdir()), "a mistake must be told before anything is written"


@pytest.mark.parametrize("arguments", ["compare nosuch", "compare spiral --steps 0", "compare spiral --out /proc/x"])
def test_mistakes_in_a_real_process(arguments: str) -> None:
    done = subprocess.run([sys.executable, str(RUN), *arguments.split()], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    """Of the package where it is installed; it trains nothing."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"pynode {pynode.__version__}\n"


def test_a_comparison_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results"
    options = ["--iterations", "6", "--rtol", "1e-3", "--atol", "1e-5", "--seeds", "0,1"]
    assert main(["compare", "spiral", *options, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    summary = json.loads((out / "summary.json").read_text())
    assert summary["problem"] == "spiral"
    assert [(r["method"], r["backend"], r["seed"]) for r in summary["runs"]] == [
        ("disc-opt", "torch", 0),
        ("disc-opt", "torch", 1),
        ("opt-disc", "torchdiffeq", 0),
        ("opt-disc", "torchdiffeq", 1),
    ]
    for run in summary["runs"]:
        assert run["iterations"] == 6
        assert run["seconds_per_iteration"] > 0
        assert run["nfe_forward"] > 0
        assert run["peak_memory_bytes"] > 0
        assert run["best_loss"] > 0
    assert summary["runs"][0]["nfe_backward"] == 0 < summary["runs"][2]["nfe_backward"]
    assert summary["reduction"]["time_reduction"] is None or summary["reduction"]["time_reduction"] < 1
    figures = {p.stem for p in (out / "figures").glob("*.png")}
    assert {"loss", "cost", "taylor", "gradient_error", "extrapolation"} <= figures
    assert {p.stem for p in (out / "figures").glob("*.pdf")} == figures
    assert "disc-opt" in printed

    # records alone give the same again
    before = (out / "tables.md").read_text()
    assert main(["show", str(out)]) == 0
    assert (out / "tables.md").read_text() == before
    # and nothing is overwritten
    capsys.readouterr()
    assert main(["compare", "spiral", "--out", str(out)]) == 2
    assert "--resume" in capsys.readouterr().err


def test_checkpoints_from_the_command_line(tmp_path: Path) -> None:
    """Recorded in the configuration, and the evaluations of the backward pass say that it was done."""
    out, options = tmp_path / "results", ["--methods", "disc-opt", "--steps", "2", "--iterations", "2", "--no-checks"]
    budget = ["--memory", "checkpoint", "--memory-budget", "3"]
    assert main(["compare", "spiral", *options, *budget, "--out", str(out)]) == 0
    (config,) = (out / "runs").glob("*/config.json")
    method = json.loads(config.read_text())["method"]
    assert (method["memory"], method["budget"]) == ("checkpoint", 3)
    (run,) = json.loads((out / "summary.json").read_text())["runs"]
    steps = run["nfe_forward"] // 4  # of RK4's stages
    assert run["nfe_backward"] == 4 * (fewest_advances(steps, 3) + 1)


def test_a_failed_run_exits_with_one_and_keeps_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results"
    options = ["--lr", "1e200", "--iterations", "20", "--methods", "disc-opt", "--no-checks", "--out", str(out)]
    assert main(["compare", "spiral", *options]) == 1
    error = capsys.readouterr().err
    assert "1 of 1 run failed" in error
    assert "lower the learning rate" in error
    summary = json.loads((out / "summary.json").read_text())
    assert summary["runs"][0]["status"] == "failed"
    assert summary["failures"]


def test_one_method_that_fails_does_not_take_the_report_of_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STUDY["opt-disc"], "max_steps", 2)
    defaults = list(OptDisc.__init__.__defaults__ or ())
    defaults[OptDisc.option_names().index("max_steps")] = 2
    monkeypatch.setattr(OptDisc.__init__, "__defaults__", tuple(defaults))
    out = tmp_path / "out"
    assert main(["compare", "spiral", "--iterations", "3", "--out", str(out)]) == 1
    said = capsys.readouterr()
    assert "1 of 2 runs failed: opt-disc-dopri5-rtol1e-07-seed0, iteration 0: forward solve failed" in said.err
    assert [r["status"] for r in json.loads((out / "summary.json").read_text())["runs"]] == ["finished", "failed"]
    assert [json.loads(row)["method"] for row in (out / "taylor.jsonl").read_text().splitlines()] == ["disc-opt"]
    rows = [json.loads(row) for row in (out / "gradient_errors.jsonl").read_text().splitlines()]
    assert {row["method"] for row in rows if row["failure"]} == {"opt-disc"}
    assert (out / "figures" / "gradient_error.png").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT as POSIX systems do")
def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    command = [sys.executable, str(RUN), "compare", "spiral", "--methods", "opt-disc", "--out", str(tmp_path / "out")]
    command += ["--engine", "eager"]  # the kernels would be done before they are stopped
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not list(tmp_path.glob("out/runs/*/records.jsonl")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.count("\n") == 1
    assert "--resume continues" in said


def test_options_from_a_file_yield_to_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "preset.toml"
    file.write_text('methods = ["disc-opt"]\niterations = 5\nseeds = [3]\nchecks = false\n')
    out = tmp_path / "results"
    assert main(["compare", "spiral", "--config", str(file), "--iterations", "2", "--out", str(out)]) == 0
    runs = json.loads((out / "summary.json").read_text())["runs"]
    assert [(r["method"], r["seed"], r["iterations"]) for r in runs] == [("disc-opt", 3, 2)]


def test_an_unknown_key_in_a_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "preset.toml"
    file.write_text("iteration = 5\n")
    assert main(["compare", "spiral", "--config", str(file)]) == 2
    assert "did you mean 'iterations'?" in capsys.readouterr().err
    file.write_text("iterations = \n")
    assert main(["compare", "spiral", "--config", str(file)]) == 2
    assert "no valid TOML" in capsys.readouterr().err


def test_presets_that_ship_name_real_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    presets = sorted(RUN.parent.glob("*.toml"))
    assert presets
    for preset in presets:
        # a wrong --steps is told after the file has been read and its keys checked
        command = preset.read_text().partition("run.py ")[2].split()[0]
        assert main([command, "spiral", "--config", str(preset), "--steps", "0", "--out", str(tmp_path / "x")]) == 2
        assert "steps = 0" in capsys.readouterr().err


def test_list_names_everything_without_torch() -> None:
    code = "import sys; from pynode.cli import main; main(['list']); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name in ("spiral", "disc-opt", "opt-disc-fixed", "hamiltonian", "rk38"):
        assert name in done.stdout


@pytest.mark.usefixtures("drawn_figures")
def test_taylor_and_gradients_commands(tmp_path: Path) -> None:
    assert main(["taylor", "spiral", "--methods", "disc-opt", "--scheme", "euler", "--out", str(tmp_path / "t")]) == 0
    line = json.loads((tmp_path / "t" / "taylor.jsonl").read_text().splitlines()[0])
    assert line["passes"]
    assert line["label"] == "disc-opt-euler-x1"
    options = ["--methods", "disc-opt,opt-disc", "--tolerances", "1e-2,1e-5", "--steps", "1", "--schemes", "rk4"]
    assert main(["gradients", "spiral", *options, "--out", str(tmp_path / "g")]) == 0
    rows = [json.loads(row) for row in (tmp_path / "g" / "gradient_errors.jsonl").read_text().splitlines()]
    assert [row["method"] for row in rows] == ["disc-opt", *["opt-disc"] * 4]
    assert [row["family"].split()[-1] for row in rows[1:]] == [*["backsolve"] * 2, *["interpolating"] * 2]
    assert rows[1]["error"] > rows[2]["error"]
    assert rows[3]["error"] > rows[4]["error"]
    assert (tmp_path / "g" / "figures" / "gradient_error.png").stat().st_size > 10_000


def test_gradients_record_how_they_were_made(tmp_path: Path) -> None:
    """Every start of the command: versions, commit and command line."""
    out = tmp_path / "g"
    command = ["gradients", "spiral", "--methods", "disc-opt", "--steps", "1", "--schemes", "euler", "--out", str(out)]
    for count in (1, 2):
        assert main([*command, *["--resume"][: count - 1]]) == 0
        starts = json.loads((out / "environment.json").read_text())
        assert len(starts) == count
        assert all({"git", "packages", "command", "time"} <= start.keys() for start in starts)


@pytest.mark.parametrize("command", [["show"], ["evaluate"], ["compare", "spiral", "--out"]])
def test_a_name_that_no_file_can_have(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "x" * 300]) == 2
    assert "File name too long; give another path" in capsys.readouterr().err
