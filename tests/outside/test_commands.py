"""Members from outside on the command line: compare, sweep, files of options, checks, list; mistakes in one line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from pynode.cli import main
from pynode.records.files import read_json
from tests.outside.members import forget, write_files, write_package


@pytest.fixture(autouse=True)
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn, but not saved, which takes the time."""
    monkeypatch.setattr("pynode.studies.render.save", lambda *_: [])


def test_compare_trains_and_resumes_by_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    options = [
        *[
            "compare",
            "my_problem.py:Decay",
            "--methods",
            "my_method.py:Mine,opt-disc",
            "--scheme",
            "my_scheme.py:RALSTON",
        ],
        *["--set", "architecture=my_field.py:Damped", "--set", "rate=2", "--engine", "eager"],
    ]
    assert main([*options, "--iterations", "4", "--no-checks"]) == 0
    out = tmp_path / "results" / "decay"
    assert sorted(p.name for p in (out / "runs").iterdir()) == [
        "mine-ralston-x2-seed0",
        "opt-disc-dopri5-rtol1e-05-seed0",
    ]
    config = read_json(out / "runs" / "mine-ralston-x2-seed0" / "config.json")
    assert config["options"] == {"architecture": "damped", "rate": 2.0}
    assert sorted(config["outside"]) == ["field", "method", "problem", "scheme"]
    assert main([*options, "--iterations", "6", "--resume", "--no-checks"]) == 0
    assert read_json(out / "runs" / "mine-ralston-x2-seed0" / "summary.json")["iterations"] == 6
    assert main(["evaluate", str(out)]) == 2, "it holds no flows"
    assert "mine" in capsys.readouterr().out


def test_a_file_of_options_names_them(tmp_path: Path) -> None:
    files = write_files(tmp_path)
    config = tmp_path / "options.toml"
    config.write_text(
        f'methods = ["{files["method"]}"]\nscheme = "{files["scheme"]}"\nengine = "eager"\n'
        "iterations = 2\nchecks = false\n"
    )
    out = tmp_path / "out"
    assert main(["compare", files["problem"], "--config", str(config), "--out", str(out)]) == 0
    assert [p.name for p in (out / "runs").iterdir()] == ["mine-ralston-x2-seed0"]


def test_a_sweep_runs_in_other_processes_and_resumes(tmp_path: Path) -> None:
    files = write_files(tmp_path)
    file = tmp_path / "sweep.toml"
    file.write_text(
        f'problem = "{files["problem"]}"\nmethod = "{files["method"]}"\nscheme = "{files["scheme"]}"\n'
        f'steps = 2\n"set.architecture" = "{files["field"]}"\nengine = "eager"\niterations = 2\n'
        f'[needs.problem."{files["problem"]}"]\ncpus = 1\n'
    )
    run = tmp_path / "out" / "decay" / "runs" / "mine-ralston-x2-seed0"
    assert main(["sweep", str(file), "--out", str(tmp_path / "out"), "--jobs", "1"]) == 0
    assert read_json(run / "summary.json")["status"] == "finished"
    before = (run / "records.jsonl").read_bytes()
    forget()
    assert main(["sweep", "--resume", "--out", str(tmp_path / "out")]) == 0, "all that it needs stands in sweep.json"
    assert (run / "records.jsonl").read_bytes() == before


def test_gradients_of_a_method_of_ones_own_are_checked(tmp_path: Path) -> None:
    files = write_files(tmp_path)
    out = tmp_path / "out"
    assert main(["taylor", files["problem"], "--methods", files["method"], "--out", str(out)]) == 0
    record = json.loads((out / "taylor.jsonl").read_text())
    assert (record["method"], record["passes"], record["outside"]) == ("mine", True, True)


def test_fields_of_ones_own_are_crosschecked(tmp_path: Path) -> None:
    files = write_files(tmp_path)
    arguments = ["crosscheck", "--fields", files["field"], "--methods", "disc-opt,opt-disc", "--tolerances", "1e-5"]
    assert main([*arguments, "--steps", "2", "--schemes", files["scheme"], "--out", str(tmp_path / "out")]) == 0


GRID = "--tolerances 1e-5 --steps 2 --schemes rk4"
JULIA = "disc-opt,opt-disc,disc-opt-julia,opt-disc-julia"


@pytest.mark.usefixtures("stand_in_for_julia")
def test_a_module_of_ones_own_is_crosschecked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In torch, the kernels and Julia; its case holds the tape, which Julia reads, and which can be checked again."""
    write_files(tmp_path)
    out, problem = tmp_path / "out", f"{tmp_path / 'my_module.py'}:ModuleDecay"
    assert main(["crosscheck", problem, "--methods", JULIA, *GRID.split(), "--cases", "--out", str(out)]) == 0
    printed, tables = capsys.readouterr().out, (out / "tables.md").read_text(encoding="utf-8")
    assert "gradients agree within their bounds" in printed
    assert (
        f'\nusing PyNODE; case = load_case("{(out / "cases" / "module-decay.json").as_posix()}"); compare(case);\n'
        in (printed)
    )
    for entry in ("disc-opt-julia rk4", "opt-disc-julia gauss tsit5", "opt-disc-julia backsolve tsit5"):
        assert entry in tables
    field = json.loads((out / "cases" / "module-decay.json").read_text(encoding="utf-8"))["field"]
    assert (field["architecture"], field["preparation"]) == ("tape", [])
    assert "second.weight" in {slot["name"] for slot in field["parameters"]}
    command = ["crosscheck", "--case", str(out / "cases" / "module-decay.json"), "--methods", JULIA, *GRID.split()]
    assert main([*command, "--out", str(tmp_path / "again")]) == 0


@pytest.mark.usefixtures("stand_in_for_julia")
def test_other_commands_take_a_module_to_julia(tmp_path: Path) -> None:
    write_files(tmp_path)
    problem = f"{tmp_path / 'my_module.py'}:ModuleDecay"
    commands = (
        f"compare {problem} --backend julia --iterations 2 --no-checks",
        f"compare {problem} --engine julia --iterations 2 --no-checks",
        f"taylor {problem} --backend julia --methods disc-opt",
        f"gradients {problem} --backend julia --tolerances 1e-4 --steps 2 --schemes rk4",
    )
    for k, command in enumerate(commands):
        assert main([*command.split(), "--out", str(tmp_path / f"out{k}")]) == 0, command
        assert "julia" in (tmp_path / f"out{k}" / "tables.md").read_text(encoding="utf-8")


@pytest.mark.usefixtures("stand_in_for_julia")
def test_flows_of_a_module_are_trained_and_evaluated_in_julia(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by a program that has not heard of the problem before."""
    write_files(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))  # `my_flow.py` imports `my_module.py`
    problem, out = f"{tmp_path / 'my_flow.py'}:ModuleMoons", tmp_path / "out"
    options = "--methods disc-opt --engine julia --iterations 2 --no-checks --set batch=20 --validate-every 2"
    assert main(["compare", problem, *options.split(), "--out", str(out)]) == 0
    forget()
    assert (
        main(["evaluate", str(out), "--samples", "20", "--schemes", "rk4", "--steps", "2", "--tolerances", "1e-3"]) == 0
    )
    records = [json.loads(line) for line in (out / "rediscretisation.jsonl").read_text(encoding="utf-8").splitlines()]
    assert "julia" in {record["engine"] for record in records}
    arguments = [
        problem,
        "--methods",
        "disc-opt,disc-opt-julia",
        "--steps",
        "2",
        "--schemes",
        "rk4",
        "--set",
        "batch=8",
    ]
    assert main(["crosscheck", *arguments, "--cases", "--out", str(tmp_path / "checked")]) == 0
    case = json.loads((tmp_path / "checked" / "cases" / "module-moons.json").read_text(encoding="utf-8"))
    assert (case["field"]["architecture"], case["divergence"]) == ("tape", "exact")


@pytest.mark.usefixtures("stand_in_for_julia")
def test_what_can_not_be_captured_is_not_available_in_julia(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The others are judged; `compare` says what helps."""
    write_files(tmp_path)
    path = tmp_path / "my_module.py"
    path.write_text(path.read_text().replace("- 0.1 * y", "- 0.1 * y if bool(y.sum() < 1e9) else y"))
    problem = f"{path}:ModuleDecay"
    out = tmp_path / "out"
    arguments = ["--methods", "disc-opt,disc-opt-julia", "--steps", "2", "--schemes", "rk4", "--cases"]
    assert main(["crosscheck", problem, *arguments, "--out", str(out)]) == 0
    tables = (out / "tables.md").read_text(encoding="utf-8")
    assert "not available: Julia can't solve this: the module can't be captured" in tables
    assert not (out / "cases").exists()
    capsys.readouterr()
    command = ["compare", problem, "--backend", "julia", "--iterations", "2", "--no-checks"]
    assert main([*command, "--out", str(tmp_path / "compared")]) != 0
    assert "use engine eager" in capsys.readouterr().err


def test_list_shows_what_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_package(tmp_path / "site", "listed")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert main(["list"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "schemes from outside ralston Ralston's rule: two stages, order 2. From the package listed 1.2" in out
    assert "problems from outside decay Fits exponential decay from two points." in out
    assert "listed" not in sys.modules


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("compare my_problm.py:Decay", "there is no file my_problm.py; did you mean my_problem.py?"),
        ("compare my_problem.py", "'my_problem.py' names a file, but no problem in it; write my_problem.py:Decay"),
        ("compare my_problem.py:Decai", "did you mean 'Decay'?"),
        ("compare my_field.py:Damped", "is the class Damped, not a class derived from Problem"),
        ("compare spiral --methods my_scheme.py:RALSTON", "is of type Scheme, not a class derived from GradientMethod"),
        ("compare spiral --scheme my_method.py:Mine", "is the class Mine, not an instance of Scheme"),
        ("compare my_problem.py:Decay --set rat=1", "did you mean 'rate'?"),
        ("gradients wrong.py:X", "wrong.py, line 2: NameError: name 'y' is not defined; the problem X is in this file"),
        ("sweep --grid problem=my_problem.py:Dekay", "did you mean 'Decay'?"),
        ("sweep --grid problem=spiral --grid method=wrong.py:X", "wrong.py, line 2: NameError"),
        ("taylor my_problem.py:Decay --methods nosuch.py:X", "there is no file nosuch.py"),
        ("suite --problems wrong.py:X", "wrong.py, line 2: NameError"),
        ("crosscheck --fields my_problem.py:Decay", "not a class derived from FieldSpec"),
    ],
)
def test_mistakes_get_one_line(
    arguments: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(tmp_path)
    (tmp_path / "wrong.py").write_text("x = 1\ny\n")
    monkeypatch.chdir(tmp_path)
    assert main(arguments.split()) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_an_error_in_the_file_at_work_is_told_as_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(tmp_path)
    path = tmp_path / "my_problem.py"
    path.write_text(path.read_text().replace("        y0, ts, data = batch\n", "        y0, ts = {}['nosuch']\n"))
    line = next(k for k, text in enumerate(path.read_text().splitlines(), start=1) if "nosuch" in text)
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "my_problem.py:Decay", "--methods", "disc-opt"]) == 1
    error = capsys.readouterr().err
    assert f"error: {path}, line {line}, in objective: KeyError: 'nosuch'\n" in error
    assert "Traceback" not in error
