"""Results that may be damaged, the damages, and the check of a refusal."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pynode.cli import main
from pynode.methods.disc_opt import DiscOpt
from pynode.problems import PROBLEMS
from pynode.records.files import write_lines
from pynode.studies.advice.record import AdviceRecord, AdviceWeights
from pynode.studies.crosscheck.record import CrosscheckRecord
from pynode.studies.gradients.record import GradientErrorRecord, PrecisionErrorRecord, TaylorRecord
from pynode.studies.invertibility.record import RediscretisationRecord
from pynode.studies.results import LINES
from pynode.studies.winners.record import StabilityRecord, WinnerRecord
from pynode.sweeps.axes import check_axes
from pynode.sweeps.grid import make_cells
from pynode.sweeps.layout import write_sweep
from pynode.sweeps.needs import Needs
from pynode.training.config import RunConfig
from pynode.training.plan import configure
from pynode.training.trainer import train

EAGER = DiscOpt(engine="eager")
RUN = RunConfig("spiral", EAGER, 0, 4, 0.1, 0.0, checkpoint_every=2, validate_every=2, memory_every=100)
FOLDER = f"runs/{RUN.label}"
RUN_FILES = ("config.json", "summary.json", "records.jsonl", "evaluation.json")

CASE: dict[str, Any] = {
    "name": "small",
    "field": {"architecture": "concatsquash", "widths": [1, 1], "activation": "tanh"},
    "theta": [0.1, 0.2, 0.3, 0.4, 0.5],
    "batch": 1,
    "dim": 1,
    "y0": [0.5],
    "ts": [0.0, 1.0],
    "loss_form": {"kind": "squares", "shift": 0.5, "scale": 1.0},
}
SAMPLES: dict[str, Any] = {
    "taylor": TaylorRecord(
        "spiral", "disc-opt", "x", [1.0, 0.5], [1.0, 0.5], [1.0, 0.2], 1.0, 2.0, [0, 2], True, 0.1, ""
    ),
    "errors": GradientErrorRecord("spiral", "disc-opt", "x", "disc-opt rk4", False, 1.0, 1e-9, 1e-3, seconds=0.1),
    "precisions": PrecisionErrorRecord(
        "spiral", "disc-opt", "x", "disc-opt rk4", 1.0, "tf32", "cuda", 1e-3, seconds=0.1
    ),
    "rediscretised": RediscretisationRecord("spiral", "r", "disc-opt", 0, "rk4", False, 2.0, 10, 1e-3, 1.0),
    "winners": WinnerRecord("width", 2.0, "spiral", 0, "none", "none", False, 0.0, 0.0, None, 0, 0, 0, None, "none"),
    "stability": StabilityRecord("stability", "mlp", 1.0, 0, 1e-3, 0.1, 0.1, 10, 20, None),
    "advice": AdviceRecord(
        "spiral", "untrained", "disc-opt", "x", "disc-opt rk4", False, 1.0, {"scheme": "rk4", "steps": 1}, "fused", 1e-3
    ),
    "advice_weights": AdviceWeights("spiral", "untrained", 1.0, 1.0, 1e-9, 1e-9, "disc-opt-dopri8-x2", 252),
    "crosscheck": CrosscheckRecord("spiral", "c", "e", "disc-opt", "torch", "g", False, 1.0, "agrees"),
}


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with all record files, a trained flow, a sweep of one cell, and a case."""
    top = tmp_path_factory.mktemp("templates")
    train(RUN, top / "out" / FOLDER)
    for part, (file, _) in LINES.items():
        write_lines(top / "out" / file, [SAMPLES[part]])
    density = PROBLEMS.load("8gaussians")
    flow = configure(density, EAGER, seed=0, iterations=2, problem_options={"hidden": [4], "batch": 8})
    train(flow, top / "flow" / "runs" / "one")
    axes = check_axes({"problem": ["spiral"], "method": ["disc-opt"], "iterations": [4], "engine": ["eager"]})
    (cell,) = make_cells(axes, Needs())
    (top / "sweep").mkdir()
    write_sweep(top / "sweep", axes, [cell], Needs(), {"executor": "local"})
    train(RunConfig.from_json(cell.config), cell.directory(top / "sweep"))
    (top / "case.json").write_text(json.dumps(CASE))
    return top


@pytest.fixture
def here(templates: Path, tmp_path: Path) -> Path:
    """A copy that a row may damage."""
    return Path(shutil.copytree(templates, tmp_path / "copy"))


def content_of(top: Path) -> dict[str, bytes | int | None]:
    """All names below a folder with what they hold, or how much; of what is no regular file only that it is there."""
    names = [Path(root) / name for root, folders, files in os.walk(top) for name in (*folders, *files)]

    def held(path: Path) -> bytes | int | None:
        if not path.is_file() or path.is_symlink():
            return None
        size = path.stat().st_size
        return path.read_bytes() if size < 1 << 20 else size

    return {str(path): held(path) for path in names if not path.name.startswith(".")}


def replaced(content: bytes) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.write_bytes(content)

    return damage


def as_link(target: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    return damage


def linked_to_itself(path: Path) -> None:
    as_link(path.name)(path)


def as_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def halved(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def huge(path: Path) -> None:
    """A file with a hole of a terabyte."""
    os.truncate(path, 1 << 40)


IRREGULAR: dict[str, Callable[[Path], None]] = {
    "a pipe": as_pipe,
    "a device": as_link("/dev/zero"),
    "a folder": as_folder,
    "a link that leads nowhere": as_link("/nowhere/at/all"),
    "a link to itself": linked_to_itself,
}
WRONG: dict[str, Callable[[Path], None]] = {
    "no UTF-8": replaced(b"\xff\xfe{}\n"),
    "NUL bytes": replaced(b"\0" * 100 + b"\n"),
    "a number": replaced(b"3\n"),
    "a text": replaced(b'"text"\n'),
    "null": replaced(b"null\n"),
    "a list": replaced(b"[]\n"),
    "an empty object": replaced(b"{}\n"),
    "nested deeply": replaced(b"[" * 100_000 + b"\n"),
    "a key twice": replaced(b'{"a": 1, "a": 2}\n'),
    "a huge integer": replaced(b'{"iteration": ' + b"9" * 5000 + b"}\n"),
    "infinite": replaced(b'{"iteration": 1e999}\n'),
    "a terabyte": huge,
}
CUT: dict[str, Callable[[Path], None]] = {"empty": replaced(b""), "cut in half": halved}

FEW = {k: {**IRREGULAR, **WRONG}[k] for k in ("a pipe", "a device", "a folder", "no UTF-8", "a number", "a terabyte")}
"""The damages for what is read by the same code as a file that all of them are tried on."""


def refused(arguments: list[str], path: Path, top: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Runs a command that has to complain of `path` in one line and to change nothing; returns the line."""
    before = content_of(top)
    capsys.readouterr()
    status = main(arguments)
    complaint = capsys.readouterr().err
    assert status in (1, 2), complaint
    assert complaint.startswith("error: ")
    assert complaint.count("\n") == 1, complaint
    assert "Traceback" not in complaint
    assert str(path) in complaint
    assert len(complaint) < 1200, "no file is printed as a whole"
    for word in words:
        assert word in complaint
    assert content_of(top) == before
    return complaint


def rows(*tables: dict[str, Callable[[Path], None]]) -> pytest.MarkDecorator:
    """The damages of several tables, for parametrize."""
    every = {name: damage for table in tables for name, damage in table.items()}
    return pytest.mark.parametrize("damage", every.values(), ids=every.keys())
