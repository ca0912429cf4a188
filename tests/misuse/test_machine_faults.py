"""Commands on a machine that fails them: streams, encodings, limits, permissions; one line and the right status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pynode.cli import main
from tests.misuse.tree import snapshot

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
READABLE = all(
    folder.stat().st_mode & 0o001
    for place in (Path(__file__).resolve(), Path(sys.prefix).resolve())
    for folder in place.parents
)
"""Whether another user may enter the folders of this code and of its packages."""

TRAIN = "compare spiral --methods disc-opt --iterations 2 --no-checks --out {new}"
LIST, SHOW, WRONG, HELP = "list", "show {run}", "compare spiral --scheme RK4", "compare --help"


@dataclass(frozen=True)
class Row:
    """A command under a fault, its status, and what is in stdout or stderr; `kept` says that a run must be complete."""

    command: str
    fault: str
    status: int
    said: str = ""
    complained: str = ""
    kept: bool = False


def rows() -> Iterator[Row]:
    """The table of command x fault."""
    quiet = ("closed=out", "gone=out", "closed=in")
    for fault in (*quiet, "closed=err", "full=err"):
        yield Row(LIST, fault, 0, said="" if fault.endswith("out") else "disc-opt")
        yield Row(HELP, fault, 0, said="" if fault.endswith("out") else "Usage")
        yield Row(WRONG, fault, 2, complained="" if fault.endswith("err") else "did you mean 'rk4'?")
        yield Row("show nosuch[/b]", fault, 2, complained="" if fault.endswith("err") else "nosuch[/b]: no such")
    for command in (LIST, HELP, "data list"):
        yield Row(command, "full=out", 1, complained="can't write to standard output: No space left on device")
    yield Row(TRAIN, "closed=out", 0, kept=True)
    yield Row(TRAIN, "full=out", 1, complained="can't write to standard output", kept=True)
    yield Row(SHOW, "closed=err", 0, said="disc-opt")
    for encoding in ("ascii", "latin-1", "cp1252"):
        yield Row(LIST, f"encoding={encoding}", 0, said="8gaussians")
        yield Row(HELP, f"encoding={encoding}", 0, said="--methods")
        yield Row(WRONG, f"encoding={encoding}", 2, complained="did you mean 'rk4'?")
        yield Row("show caf\udce9", f"encoding={encoding}", 2, complained="caf\\")
        yield Row("show caf\u00e9\u2603", f"encoding={encoding}", 2, complained="\\u2603")
    yield Row(SHOW, "encoding=ascii", 0, said="disc-opt")
    for value in (
        "COLUMNS:0",
        "COLUMNS:1",
        "COLUMNS:99999999999",
        "COLUMNS:\u00b2",
        "TERMINAL_WIDTH:wide",
        "TERM:dumb",
        "MPLBACKEND:nosuch",
        "LINES:0",
        "PYNODE_DATA:/no[/b]/such",
        "HOME:/nonexistent",
    ):
        yield Row(LIST, f"set={value}", 0, said="8gaussians")
        yield Row("compare --help", f"set={value}", 0, said="--methods")
        yield Row("data list", f"set={value}", 0, said="miniboone")
    yield Row(SHOW, "set=MPLBACKEND:nosuch", 0, said="figures in")
    yield Row(SHOW, "set=COLUMNS:0", 0, said="disc-opt")
    yield Row("data list", "set=PYNODE_DATA:/no[/b]/such", 0, said="/no[/b]/such")
    yield Row("compare miniboone", "set=PYNODE_DATA:/no[/b]/such", 2, complained="/no[/b]/such")
    for command in (LIST, "data list", "compare --help"):
        yield Row(command, "unset=HOME", 0)
    yield Row(LIST, f"user={NOBODY}", 0, said="8gaussians")
    yield Row(SHOW, f"user={NOBODY}", 0, said="can only be read")
    yield Row("show {closed}", f"user={NOBODY}", 2)
    yield Row("compare spiral --out {readonly}/new", f"user={NOBODY}", 2, complained="can't write there")
    yield Row("evaluate {run}", f"user={NOBODY}", 2, complained="no flow was trained there")
    yield Row("sample {run}", f"user={NOBODY}", 2, complained="can't write to")
    yield Row("compare csv --data {secret}", f"user={NOBODY}", 2, complained="Permission denied")
    yield Row("compare spiral --config {secret}", f"user={NOBODY}", 2, complained="Permission denied")
    yield Row("sweep {secret}", f"user={NOBODY}", 2, complained="Permission denied")
    yield Row("crosscheck --case {secret}", f"user={NOBODY}", 2, complained="Permission denied")
    yield Row("gradients spiral --at {closed}", f"user={NOBODY}", 1, complained="Permission denied")
    for command in (LIST, SHOW, TRAIN, "data list"):
        yield Row(command, "files=0", 1, complained="Too many open files")
    yield Row(SHOW, "size=20000", 1, said="disc-opt", complained="File too large")
    yield Row(
        "compare 8gaussians --set hidden=5000,5000 --out {new}", "memory=300000000", 1, complained="out of memory"
    )


ROWS = list(rows())


def name_of(row: Row) -> str:
    return f"{row.command} | {row.fault}".encode("unicode_escape").decode()


@pytest.fixture(scope="module")
def places() -> Iterator[dict[str, Path]]:
    """A run, a directory that nobody may enter, and others that commands are led to.

    In a folder that another user can enter, which pytest's own are not.
    """
    with tempfile.TemporaryDirectory(prefix="pynode-") as folder:
        Path(folder).chmod(0o755)
        yield furnished(Path(folder))


def furnished(top: Path) -> dict[str, Path]:
    """The same, below `top`."""
    run = top / "run[b]"
    assert main([*TRAIN.format(new="").split(), str(run)]) == 0
    for name in ("readonly", "closed"):
        (top / name).mkdir()
    (top / "closed").chmod(0o700)
    (top / "secret").write_text("a,b\n1,2\n")
    (top / "secret").chmod(0o600)
    return {"run": run, **{name: top / name for name in ("readonly", "closed", "secret")}}


@pytest.fixture(scope="module")
def answers(places: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """How every row of the table ended, and what its command left."""
    new = [tmp_path_factory.mktemp("new") / "out" for _ in ROWS]
    traces = tmp_path_factory.mktemp("traces")
    cases = [
        {
            "words": [word.format(new=out, **places) for word in row.command.split()],
            "fault": row.fault,
            "cwd": str(places["readonly"]),
            "trace": str(traces / str(k)),
            "number": k,
            "drawn": row.fault.startswith(("size", "set=MPL")),
        }
        for k, (row, out) in enumerate(zip(ROWS, new, strict=True))
    ]
    before = {name: snapshot(path) for name, path in places.items() if path.is_dir()}
    done = subprocess.run(
        [sys.executable, "-m", "tests.misuse.forks"],
        input=json.dumps({"first": [["list"], ["data", "list"]], "cases": cases}),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    ended = [
        {**answer, "left": out, "trace": traces / str(k)}
        for k, (answer, out) in enumerate(zip(json.loads(done.stdout), new, strict=True))
    ]
    for name, content in before.items():
        again = snapshot(places[name])
        derived = {p for p in again if p.startswith("figures") or p in ("tables.md", "summary.json", "report.html")}
        assert {p: c for p, c in again.items() if p not in derived} == {
            p: c for p, c in content.items() if p not in derived
        }, f"{name} was changed"
    return ended


@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="becomes another user")
@pytest.mark.parametrize("k", range(len(ROWS)), ids=map(name_of, ROWS))
def test_a_fault_of_the_machine(k: int, answers: list[dict[str, Any]]) -> None:
    row, answer = ROWS[k], answers[k]
    if row.fault == f"user={NOBODY}" and not READABLE:
        pytest.skip("another user can't read the code here, and so can't load it")
    shown = f"{row}: {answer}"
    assert answer["status"] is not None, f"it hangs: {shown}"
    assert not answer["trace"].exists(), answer["trace"].read_text()
    assert "Traceback" not in answer["out"] + answer["error"], shown
    assert answer["status"] == row.status, shown
    if row.status and not row.fault.endswith("err"):
        assert answer["error"].startswith("error: "), shown
        assert answer["error"].count("\n") == 1, shown
    assert row.said in answer["out"], shown
    assert row.complained in answer["error"], shown
    if row.kept:
        assert json.loads((answer["left"] / "summary.json").read_text())["runs"][0]["status"] == "finished"
    elif "{new}" in row.command:
        assert not list(answer["left"].rglob("records.jsonl"))


def test_the_table_is_long_enough() -> None:
    assert len(ROWS) > 80
