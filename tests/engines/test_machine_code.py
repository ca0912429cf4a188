"""Machine code on disk: processes that save at the same time, damage, and code that is another key's."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NAME, STAMP = "module.kernel-1.py311", (12.5, 100)

SINGLE, DOUBLE = (("float32",), ("x86", "avx2"), ("a", "b")), (("float64",), ("x86", "avx2"), ("a", "b"))
"""Keys as Numba makes them: types, processor, digests of the function."""

SOLVE = """
import sys
import torch
import pynode
from pynode.fields.mlp import MLP

dtype = getattr(torch, sys.argv[1])
field = MLP((2, 5, 2)).build(seed=0).to(dtype)
y0 = torch.ones(1, 2, dtype=dtype)
ts = torch.tensor([0.0, 1.0], dtype=dtype)
ys = pynode.DiscOpt(engine="fused").solve(field, y0, ts).ys
assert ys.dtype == dtype
print(float(ys.sum()))
"""


@pytest.fixture
def files(needs_fused: None, tmp_path: Path) -> Any:  # noqa: ARG001
    from pynode.engines.fused.machine_code import CodeFiles

    return lambda stamp=STAMP: CodeFiles(tmp_path, NAME, stamp)


def test_two_processes_that_save_at_the_same_time(files: Any) -> None:
    """Neither has seen what the other has written, and each finds its own."""
    first, second = files(), files()
    assert first.load(DOUBLE) is None
    assert second.load(SINGLE) is None
    first.save(DOUBLE, b"code for doubles")
    second.save(SINGLE, b"code for singles")
    for process in (first, second, files()):
        assert process.load(DOUBLE) == b"code for doubles"
        assert process.load(SINGLE) == b"code for singles"


def test_code_of_another_key_is_not_taken(files: Any) -> None:
    saved = files()
    saved.save(SINGLE, b"code for singles")
    shutil.copy(saved.path(SINGLE), saved.path(DOUBLE))
    assert saved.load(DOUBLE) is None
    assert saved.load(SINGLE) == b"code for singles"


@pytest.mark.parametrize("damage", ["cut", "empty", "changed"])
def test_damaged_files_are_not_taken(files: Any, damage: str) -> None:
    saved = files()
    saved.save(DOUBLE, b"code for doubles")
    path = saved.path(DOUBLE)
    whole = bytearray(path.read_bytes())
    whole[-3] ^= 1
    path.write_bytes({"cut": whole[:-5], "empty": b"", "changed": bytes(whole)}[damage])
    assert saved.load(DOUBLE) is None
    saved.save(DOUBLE, b"code for doubles")
    assert saved.load(DOUBLE) == b"code for doubles"


def test_code_of_an_older_source_is_not_taken(files: Any) -> None:
    files().save(DOUBLE, b"old")
    assert files((13.5, 100)).load(DOUBLE) is None


def test_a_write_that_fails_leaves_nothing(files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[:7])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        files().save(DOUBLE, b"code for doubles")
    assert list(tmp_path.iterdir()) == []


def test_flush_removes_the_files_of_this_function_alone(files: Any, tmp_path: Path) -> None:
    from pynode.engines.fused.machine_code import CodeFiles

    other = CodeFiles(tmp_path, "module.other-1.py311", STAMP)
    for each in (files(), other):
        each.save(DOUBLE, b"code")
    files().flush()
    assert files().load(DOUBLE) is None
    assert other.load(DOUBLE) == b"code"


@pytest.mark.slow
def test_kernels_of_both_precisions_keep_files_of_their_own(
    needs_fused: None,  # noqa: ARG001
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Code for one precision in the other's place is compiled anew, rather than run."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))

    def solved(dtype: str) -> float:
        done = subprocess.run([sys.executable, "-c", SOLVE, dtype], check=True, capture_output=True, text=True)
        return float(done.stdout)

    double = solved("float64")
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*.nbc")}
    single = solved("float32")
    added = [path for path in tmp_path.rglob("*.nbc") if path not in kept]
    assert len(added) == len(kept) == 2, "one of the steps and one of the field, of each precision"
    for path in added:
        function = path.name.rsplit(".", 2)[0]
        path.write_bytes(next(content for other, content in kept.items() if other.name.startswith(function)))
    assert solved("float32") == single
    assert single == pytest.approx(double, rel=1e-5)
