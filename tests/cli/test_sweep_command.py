"""The command `sweep`: every mistake is one line before anything is written; what --dry-run says."""

from __future__ import annotations

import importlib.util
import socket
from pathlib import Path

import pytest

from pynode.cli import main
from pynode.cli.sweep import DATA_AXIS
from pynode.records.lock import lock
from pynode.sweeps.cells import Cell
from pynode.sweeps.grid import make_cells
from pynode.sweeps.layout import read_values, with_earlier_names, write_sweep
from pynode.sweeps.specification import read_grid, specify

QUICK = "--grid problem=spiral --grid method=disc-opt"
HAS_RAY = importlib.util.find_spec("ray") is not None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "no grid: give a TOML file, or --grid problem=spiral"),
        ("nosuch.toml", "nosuch.toml: can't be read (No such file or directory)"),
        ("--grid seed=0", "the grid names no problem"),
        ("--grid problem", "--grid = 'problem': no NAME=VALUE"),
        ("--grid problem=", "--grid problem = '': an empty value"),
        ("--grid problem=spirl", "unknown problem 'spirl'; did you mean 'spiral'?"),
        ("--grid problem=spiral --grid method=disc-op", "did you mean 'disc-opt'?"),
        (f"{QUICK} --grid rtl=1e-3", "unknown axis 'rtl'; did you mean 'rtol'?"),
        (f"{QUICK} --grid problems=spiral", "did you mean 'problem'?"),
        (f"{QUICK} --grid rtol=1e-3", "rtol = [0.001]: no effect on disc-opt; drop it, or add a method"),
        (f"{QUICK} --grid steps=0", "steps = 0: not a positive integer"),
        (f"{QUICK} --grid steps=x", "steps = x: not a whole number"),
        (f"{QUICK} --grid seed=-1", "seed = -1: not an integer from 0"),
        (f"{QUICK} --grid seed=0,0", "seed = [0, 0]: 0 stands there twice"),
        (f"{QUICK} --grid scheme=rk5", "unknown scheme 'rk5'"),
        (f"{QUICK} --grid iterations=1,2 --grid iterations=3", "iterations is given twice"),
        (f"{QUICK} --grid learning_rate=high", "--learning-rate = high: not a number"),
        (f"{QUICK} --grid dtype=float16", "unknown value of dtype 'float16'"),
        (f"{QUICK} --grid set.hidden=8", "set.hidden = [8]: no options in spiral; leave it out"),
        ("--grid problem=8gaussians --grid set.hiden=[8]", "did you mean 'hidden'?"),
        ("--grid problem=8gaussians --grid hidden=[8]", "unknown axis 'hidden'; did you mean 'set.hidden'?"),
        (
            "--grid problem=spiral --grid method=opt-disc --grid rtol=1e-3,1.1e-3",
            "two cells would share the directory spiral/opt-disc-dopri5-rtol1e-03-seed0: "
            "rtol = 0.001 and rtol = 0.0011; take values whose first digits differ",
        ),
        ("--grid problem=miniboone", "miniboone"),
        ("--grid problem=npy --grid set.data=nosuch.npy", "nosuch.npy is not a file"),
        (f"{QUICK} --cpus 1000", "cpus = 1000: spiral/disc-opt-rk4-x1-seed0 needs more than the"),
        (f"{QUICK} --cpus 0", "cpus = 0: not a positive integer"),
        (f"{QUICK} --gpus 1", "gpus = 1: spiral by disc-opt runs on the cpu; drop it, or add device = cuda"),
        (f"{QUICK} --gpus -1", "gpus = -1.0: no number of GPUs"),
        (
            f"{QUICK} --grid device=cuda --gpus 2",
            "gpus = 2.0: a cell is one process, which uses one GPU; use 1; a run on several is: torchrun",
        ),
        (f"{QUICK} --grid device=cuda --gpus 0", "gpus = 0: spiral by disc-opt runs on cuda"),
        (f"{QUICK} --grid device=tpu", "device = tpu: no kind of device for a sweep"),
        (f"{QUICK} --grid device=cuda", "gpus = 1: spiral/disc-opt-rk4-x1-seed0 needs more than the 0"),
        (f"{QUICK} --jobs 0", "jobs = 0: not a positive integer"),
        (f"{QUICK} --retries -1", "retries = -1"),
        (f"{QUICK} --executor slurm", "unknown executor 'slurm' (known: local, ray)"),
        (f"{QUICK} --address 10.0.0.1:1", "--address = 10.0.0.1:1: the executor local has no cluster"),
        (f"{QUICK} --resume", "name its directory with --out"),
        ("--resume", "name its directory with --out"),
        ("--resume --out nosuch", "--out nosuch: holds no sweep that could be resumed"),
        (f"{QUICK} --resume --out nosuch", "--out nosuch: holds no sweep that could be resumed"),
        (f"{QUICK} --out /proc/x", "--out /proc/x: can't write there"),
    ],
)
def test_mistakes_get_one_line_before_anything_is_written(
    arguments: str, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYNODE_DATA", str(tmp_path / "none"))
    monkeypatch.setattr("pynode.sweeps.executors.local.available_gpus", list)
    status = main(["sweep", *arguments.split()])
    out, error = capsys.readouterr()
    assert status == 2, error
    assert out == ""
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert said in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("problem = ", "no valid TOML"),
        ('problem = "spiral"\nsed = [0]\n', "unknown axis 'sed'; did you mean 'seed'?"),
        ('problem = "spiral"\nseed = []\n', "seed = []: an axis without values"),
        ('problem = "spiral"\n[needs.problem.spirl]\ncpus = 2\n', "did you mean 'spiral'?"),
        ('problem = "spiral"\n[needs.method.disc-opt]\ncpu = 2\n', "did you mean 'cpus'?"),
        ('problem = "spiral"\n[needs.method.disc-opt]\ncpus = 0.5\n', "needs.method.disc-opt.cpus = 0.5"),
    ],
)
def test_mistakes_in_files(file: str, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(file)
    assert main(["sweep", str(path), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error
    assert list(tmp_path.iterdir()) == [path]


def test_ray_that_is_not_installed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ray" else find(name))
    assert main(["sweep", *QUICK.split(), "--executor", "ray", "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert 'the executor ray needs the package ray, which is not installed; run: pip install "pynode[ray]"' in error
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not HAS_RAY, reason='no Ray: pip install -e ".[ray]"')
def test_addresses_where_no_cluster_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{free.getsockname()[1]}"
        for address, said in (
            (nobody, f"--address {nobody}: nothing answers there"),
            ("nowhere", "--address = nowhere: no HOST:PORT"),
            ("h:0", "--address = h:0: no HOST:PORT"),
        ):
            arguments = [*QUICK.split(), "--executor", "ray", "--address", address, "--out", str(tmp_path / "out")]
            assert main(["sweep", *arguments]) == 2
            error = capsys.readouterr().err
            assert said in error
            assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_dry_run_writes_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["--grid", "problem=spiral,oscillator", "--grid", "seed=0,1,2", "--dry-run"]
    assert main(["sweep", *arguments, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "12 cells" in said
    assert said.count("new") == 12
    assert not list(tmp_path.iterdir())


def test_the_command_line_wins_over_the_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text('problem = ["spiral", "oscillator"]\nmethod = "disc-opt"\nseed = [0, 1]\ncpus = 7\n')
    assert main(["sweep", str(path), "--grid", "seed=5", "--cpus", "3", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "2 cells" in said
    assert "seed5" in said.replace("\n", "")
    assert "│    3 │" in said


def test_one_cell_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", *QUICK.split(), "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines()[0].strip() == "1 cell"


@pytest.mark.parametrize("grid", [[], QUICK.split()])
def test_two_commands_in_one_directory(grid: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The second one is refused, and changes nothing."""
    out = tmp_path / "out"
    out.mkdir()
    specification = specify({"problem": "spiral", "method": "disc-opt"})
    write_sweep(out, specification.axes, make_cells(specification.axes, specification.needs))
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.glob("sweep.json")}
    with lock(out):
        assert main(["sweep", *grid, "--resume", "--out", str(out), "--jobs", "1"]) == 2
        said = capsys.readouterr()
    assert f"error: --out {out}: in use by process" in said.err
    assert said.err.count("\n") == 1
    assert before == {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.glob("sweep.json")}
    assert not list(out.glob("*/runs"))


@pytest.mark.parametrize("again", [["--set", "data={}"], ["--grid", "set.data={}"]], ids=["set", "grid"])
def test_a_sweep_whose_file_has_moved(again: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """It is resumed with the new place of the file, which is known by its content; and says so where it has gone."""
    (file := tmp_path / "t.csv").write_text("t,x\n" + "".join(f"{k},{k * k % 7}.5\n" for k in range(30)))
    grid = {"problem": "series", "method": "disc-opt", "seed": [0, 1], "iterations": 2, "set.data": str(file)}
    specification, out = specify(grid), tmp_path / "out"
    out.mkdir()
    write_sweep(out, specification.axes, make_cells(specification.axes, specification.needs))
    resumed = ["sweep", "--resume", "--out", str(out), "--dry-run"]
    assert main(resumed) == 0
    file.rename(moved := tmp_path / "moved.csv")
    assert main(resumed) == 2
    assert capsys.readouterr().err == (
        f"error: {file}, which the sweep in {out} was trained on, is not there any more; put it back, or name its new "
        f"place: --resume --out {out} --set data=FILE\n"
    )
    assert main([*resumed, *(word.format(moved) for word in again)]) == 0
    assert "2 cells" in capsys.readouterr().out
    (other := tmp_path / "other.csv").write_text(moved.read_text().replace("3,2.5", "3,2.75"))
    assert main([*resumed, *(word.format(other) for word in again)]) == 2
    assert "was started with another configuration" in capsys.readouterr().err
    assert main([*resumed, *(word.format(file) for word in again)]) == 2
    assert f"{file} is not a file" in capsys.readouterr().err


def test_a_sweep_whose_files_have_moved(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Its cells keep their names, which hold the old folder, also where the files are named in another order."""
    (old := tmp_path / "old").mkdir()
    files = [old / "a.csv", old / "b.csv"]
    for n, file in enumerate(files):
        file.write_text("t,x\n" + "".join(f"{k},{(k + n) * k % 7}.5\n" for k in range(30)))
    data = [str(file) for file in files]
    axes = {"problem": "series", "method": "disc-opt", "seed": [0, 1], "iterations": 2, DATA_AXIS: data}
    specification = specify(axes)
    (out := tmp_path / "out").mkdir()
    write_sweep(out, specification.axes, cells := make_cells(specification.axes, specification.needs))

    def by_content(named: list[Cell]) -> dict[tuple[str, int], str]:
        return {(cell.config["options"]["sha256"], cell.config["seed"]): cell.name for cell in named}

    new = old.rename(tmp_path / "new")
    resumed = ["sweep", "--resume", "--out", str(out), "--dry-run"]
    assert main(resumed) == 2
    assert f"name its new place: --resume --out {out} --grid set.data=FILE,..." in capsys.readouterr().err
    moved = f"{DATA_AXIS}={new}/b.csv,{new}/a.csv"
    assert main([*resumed, "--grid", moved]) == 0
    again = make_cells(specify(read_values(out) | read_grid([moved])).axes, specification.needs)
    named = with_earlier_names(out, again)
    assert by_content(named) == by_content(cells)
    assert {cell.name for cell in again}.isdisjoint(cell.name for cell in cells)
    write_sweep(out, specify(read_values(out) | read_grid([moved])).axes, named)
    assert main(resumed) == 0
    (new / "b.csv").write_text("t,x\n" + "".join(f"{k},{k % 5}.5\n" for k in range(30)))
    assert main([*resumed, "--grid", moved]) == 2
