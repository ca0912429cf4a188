"""Every option of every command with a value that can't be: refused in one line that names it, before any work.

The rows are generated from the commands themselves, so a new option is in the table as soon as it exists.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from experiments.benchmarks.command import bench
from experiments.scale.command import cost_model
from pynode.cli import app, main
from tests.misuse.tree import snapshot

HUGE = "9" * 25

BAD = {
    "int": ("1e21", "-1", "nan", HUGE, "", "[b]"),
    "float": ("nan", "-1", "", "[b]"),
    "text": ("nosuch[/b]", "", " , "),
    "path": ("", "x" * 300),
}
"""Values that no option of a kind can have."""

GROUP: Any = typer.main.get_command(app)

NEEDED = {"problem": ["spiral"], "directory": ["results"], "names": ["miniboone"], "name": ["miniboone"]}
"""Arguments that a command needs before its options are looked at."""

NEEDED_OPTIONS = {
    "density": {"--data": "rows.csv"},
    "score": {"--data": "rows.csv"},
    "series": {"--data": "series.csv", "--time": "t"},
    "predict": {"--until": "5"},
    "advise": {"--data": "rows.csv"},
}
"""The same of options."""

FINE = {
    # (command, option, value) that are in order: what they do is tested elsewhere
    ("data fetch", "--sha256"),  # only compared with what arrives
    ("sweep", "--address"),  # of another executor
    ("predict", "--until"),  # a time of the file that the run was trained on, which DIR holds
    ("predict", "--every"),
    ("predict", "--run"),
    ("series", "--missing-values"),  # any text may stand for a missing value
    ("compare", "--adjoint"),  # another value for each method; unknown ones are told as `adjoint`
}


def commands() -> Iterator[tuple[str, Any]]:
    """All commands by name, those of a group with the group's name before."""
    for name, command in GROUP.commands.items():
        if hasattr(command, "commands"):
            yield from ((f"{name} {inside}", part) for inside, part in command.commands.items())
        else:
            yield name, command


def kind_of(param: Any) -> str:
    """Which row of `BAD` an option belongs to."""
    described = f"{getattr(param, 'type', '')!r} {getattr(param, 'type_descriptor', '')!r}".lower()
    if param.metavar in ("DIR", "FILE", "[FILE]"):
        return "path"
    if "int" in described and "point" not in described:
        return "int"
    return "float" if "float" in described else "text"


def rows() -> list[tuple[str, str, str]]:
    """(command, option, value) for all that must be refused."""
    table = []
    for name, command in commands():
        if name in ("julia setup", "julia status", "data fetch", "list"):
            continue
        for param in command.params:
            if param.param_type_name != "option" or param.is_flag or "--help" in param.opts:
                continue
            option = param.opts[0]
            table += [(name, option, value) for value in BAD[kind_of(param)] if (name, option) not in FINE]
    return table


ROWS = rows()


def test_the_table_is_long_enough() -> None:
    assert len(ROWS) > 300
    assert {command for command, _, _ in ROWS} >= {
        "compare",
        "suite",
        "sweep",
        "evaluate",
        "sample",
        "gradients",
        "map",
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the commands run: a directory that is in use, so that one which refuses nothing does not start either."""
    before, here = Path.cwd(), tmp_path_factory.mktemp("place")
    (here / "used").mkdir()
    (here / "used" / "mine.txt").write_text("not to be touched")
    rng = np.random.default_rng(0)
    columns = {"rows": rng.normal(size=(200, 3)), "series": np.c_[np.arange(60.0), rng.normal(size=(60, 2))]}
    for name, values in columns.items():
        np.savetxt(here / f"{name}.csv", values, "%.6f", delimiter=",", header="t,a,b", comments="")
    os.chdir(here)
    yield here
    os.chdir(before)


@pytest.mark.parametrize("command", sorted({command for command, _, _ in ROWS}))
def test_a_value_that_can_not_be(command: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    params = dict(commands())[command].params
    needed = [word for p in params if p.param_type_name == "argument" and p.required for word in NEEDED[p.name]]
    taken = any("--out" in p.opts for p in params)
    before, wrong = snapshot(place), []
    for _, option, value in (row for row in ROWS if row[0] == command):
        stop = ["--out", "used"] if taken and option != "--out" and command != "sample" else []
        given = [w for pair in NEEDED_OPTIONS.get(command, {}).items() if pair[0] != option for w in pair]
        words = [*command.split(), *needed, *given, option, value, *stop]
        if command == "sweep":
            words += ["--grid", "problem=spiral"] if option != "--grid" else []
        if command == "data import":
            words += ["--from", "used"] if option != "--from" else []
        status = main(words)
        out, error = capsys.readouterr()
        names = {option, option.strip("-").replace("-", "_"), *next(p.opts for p in params if option in p.opts)}
        told = any(name.strip("-") in error for name in names) or (bool(value.strip()) and value in error)
        if status != 2 or out or error.count("\n") != 1 or "used: not empty" in error or not told:
            wrong.append((words, status, out, error))
    assert not wrong, "\n".join(map(repr, wrong))
    assert snapshot(place) == before


MISTAKES = [
    ("compare spiral --scheme RK4", "did you mean 'rk4'?"),
    ("compare spiral --methods DISC-OPT", "did you mean 'disc-opt'?"),
    ("compare spiral --methods disc", "did you mean 'disc-opt'?"),
    ("compare spiral --methods opt_disc", "did you mean 'opt-disc'?"),
    ("compare SPIRAL", "did you mean 'spiral'?"),
    ("compare spiral --dtype Float32", "did you mean 'float32'?"),
    ("compare spiral --solver Dopri", "did you mean 'dopri5'?"),
    ("map --axes Stiff", "did you mean 'stiffness'?"),
    ("compare spiral --rtol 2", "rtol = 2.0: above 1"),
    ("compare spiral --adjoint-rtol 1.5", "--adjoint-rtol = 1.5: above 1"),
    ("gradients spiral --tolerances 1e-3,2", "--tolerances = 2.0"),
    ("crosscheck spiral --tolerances nan", "--tolerances = nan"),
    ("sweep --grid problem=spiral --grid rtol=2", "rtol = 2.0: above 1"),
    ("sweep --grid problem=spiral --grid steps=100001", "steps = 1e+05: more than 100,000"),
    ("compare spiral --steps 1000000", "steps = 1e+06: more than 100,000"),
    ("compare spiral --multilevel 2,1000000", "--multilevel = 1000000"),
    ("compare spiral --rank-timeout inf", "--rank-timeout"),
    ("compare spiral --refine-patience 3", "--refine-patience = 3: no effect without levels"),
    ("compare spiral --refine-at 3", "--refine-at = 3: no effect without levels"),
    ("compare spiral --multilevel 1,2 --refine-at 3 --refine-patience 2", "no effect beside --refine-at"),
    ("gradients spiral --iterations 5", "--iterations = 5: no effect without --train"),
    ("gradients spiral --methods opt-disc --steps 3", "--steps = 3: no effect on opt-disc"),
    ("gradients spiral --methods disc-opt --tolerances 1e-3", "--tolerances = 1e-3: no effect on disc-opt"),
    ("gradients spiral --methods opt-disc-fixed --schemes rk4", "--schemes = rk4: no effect"),
    ("crosscheck --case c.json --seed 3", "--seed = 3: no effect with --case"),
    ("map --axes backward --seeds -1", "--seeds = -1: not an integer from 0"),
    ("map --axes backward --seeds 0,x", "--seeds = 0,x: not numbers separated by commas"),
    ("compare 8gaussians --set batch=1 --set batch=2", "batch is given twice"),
    ("compare 8gaussians --set batch=20000000000", "batch = 20000000000: needs at least"),
    ("compare 8gaussians --set hidden=1000000000,1000000000", "needs at least 40 EB of memory"),
    ("compare 8gaussians --set blocks=1000000000000", "blocks = 1000000000000: needs at least"),
    ("compare lotka-volterra --set width=10000000", "needs at least"),
    ("compare oscillator --set dim=1000000000000", "dim = 1000000000000: more than 10,000"),
    ("compare oscillator --set horizon=1e12", "horizon = 1000000000000.0: more than"),
    ("compare van-der-pol --set stiffness=1e9", "stiffness = 1000000000.0: more than"),
    ("sweep --grid problem=8gaussians --grid set.batch=20000000000", "batch = 20000000000: needs at least"),
    ("suite --problems spiral,[/b]", "unknown problem '[/b]'"),
    ("compare [b]spiral", "unknown problem '[b]spiral'"),
    ("compare csv --data a[/b].csv", "a[/b].csv"),
    ("show [red]no[/red]", "[red]no[/red]: no such directory"),
    ("show caf\udce9", "caf\\xe9: no such directory"),
    ("show a\x1b[31mb", "a\\x1b[31mb: no such directory"),
]


@pytest.mark.parametrize(
    ("words", "said"), MISTAKES, ids=[words[:60].encode("unicode_escape").decode() for words, _ in MISTAKES]
)
def test_a_mistake_is_told_before_work(words: str, said: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(place)
    status = main([*words.split(" "), *([] if words.startswith("show") else ["--out", "used"])])
    out, error = capsys.readouterr()
    assert (status, out, error.count("\n")) == (2, "", 1), error
    assert said in error
    assert snapshot(place) == before


FILES = {
    # a file of options: what is said about it, or None where it is in order
    "iterations = true\n": "iterations: true or false is no value of this option",
    "iterations = 5.7\n": "--iterations",
    "iterations = [1, 2]\n": "--iterations",
    "checks = 1\n": "checks = 1: neither true nor false",
    "faithful = 'yes'\n": "neither true nor false",
    "seeds = [[0]]\n": "seeds: a list is no value",
    "lr = 2026-01-01\n": "lr: a date is no value",
    "learning_rate = 2026-01-01\n": "learning_rate: a date is no value",
    "rtol = 2\n": "rtol = 2.0: above 1",
    "out = ''\n": "the path is empty",
    "Iterations = 3\n": "did you mean 'iterations'?",
    "refine = 3\n": "did you mean 'refine_at'?",
    "\ufeffsteps = 0\n": "steps = 0: not a positive integer",
    "set = { nosuch = 1 }\nsteps = 1\n": "spiral takes no options",
    "a = " + "[" * 5000: "no valid TOML",
    "steps = 1e400\n": "--steps",
}


@pytest.mark.parametrize("text", FILES, ids=[text[:30].strip() for text in FILES])
def test_a_file_of_options(text: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = place / "options.toml"
    file.write_text(text, encoding="utf-8")
    status = main(["compare", "spiral", "--config", "options.toml", *([] if "out" in text else ["--out", "used"])])
    out, error = capsys.readouterr()
    assert (status, out, error.count("\n")) == (2, "", 1), error
    assert FILES[text] in error


@pytest.mark.parametrize("command", ["compare spiral --config", "sweep"])
@pytest.mark.parametrize("file", ["/dev/zero", "pipe", ".", "nosuch", "latin.toml"])
def test_what_is_no_file_of_options(
    command: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    Path("latin.toml").write_bytes(b"# caf\xe9\n")
    assert main([*command.split(), file]) == 2
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1)
    assert file in error


def test_a_sweep_file_may_begin_with_a_byte_order_mark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "sweep.toml"
    file.write_text('problem = "spiral"\nmethod = "disc-opt"\n', encoding="utf-8-sig")
    assert main(["sweep", str(file), "--dry-run"]) == 0
    assert "spiral/disc-opt-rk4-x1-seed0" in capsys.readouterr().out


@pytest.mark.parametrize("command", [bench, cost_model])
def test_options_beside_show_do_nothing(command: Any, tmp_path: Path) -> None:
    own = typer.Typer()
    own.command()(command)
    option = ["--suite", "gpu"] if command is bench else ["--seeds", "5"]
    with pytest.raises(Exception, match="no effect with --show"):
        own(["--show", str(tmp_path), *option], standalone_mode=False)
