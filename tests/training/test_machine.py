"""What is known of the machine: its memory with all limits on it, and sizes in words."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pynode.errors import InvalidArgument
from pynode.training import machine
from pynode.training.machine import check_bytes, environment, machine_memory

CPU = torch.device("cpu")


def test_the_environment_says_what_a_run_was_on() -> None:
    told = environment()
    assert told["python"] == platform.python_version()
    assert told["packages"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert told["cores"] == os.cpu_count()
    assert told["torch_threads"] == torch.get_num_threads()
    assert told["memory_bytes"] == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert len(told["gpus"]) == torch.cuda.device_count()
    assert "julia" not in told
    assert told["time"].endswith("+00:00")
    assert told["processor"]


def test_the_smallest_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Physical memory, the container's, the process's; what says nothing is left out."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    files = [tmp_path / "new", tmp_path / "old"]
    monkeypatch.setattr(machine, "CGROUPS", tuple(map(str, files)))
    limit = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda _: limit)
    assert machine_memory(CPU) == physical
    files[0].write_text("max\n")
    assert machine_memory(CPU) == physical
    files[1].write_text("1000\n")
    assert machine_memory(CPU) == 1000
    files[0].write_text("0\n")
    assert machine_memory(CPU) == 1000, "no limit of 0 bytes is meant"
    limit = (400, 500)
    assert machine_memory(CPU) == 400
    assert sys.maxsize > physical


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (101, "101 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (1500, "1.5 kB"),
        (10**6, "1 MB"),
        (2345678, "2.35 MB"),
        (10**9, "1 GB"),
        (10**12, "1 TB"),
        (10**15, "1 PB"),
        (999 * 10**18, "999 EB"),
        (1000 * 10**18, "more than 1000 EB"),
    ],
)
def test_what_does_not_fit_is_told_in_round_numbers(size: int, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "machine_memory", lambda _: 100)
    with pytest.raises(InvalidArgument, match=f"batch = 7: needs at least {said} of memory, and there are 100 bytes"):
        check_bytes("batch", 7, size, CPU, "use fewer")


def test_what_just_fits_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "machine_memory", lambda _: 100)
    check_bytes("batch", 7, 100, CPU, "use fewer")


def git(checkout: Path, *words: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", str(checkout), *who, *words], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository of its own with code, prose and records, all committed."""
    folder = tmp_path / "checkout"
    for name in ("pynode/code.py", "pynode/README.md", "README.md", "experiments/published/spiral/summary.json"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1\n", encoding="utf-8")
    git(tmp_path, "init", "-q", str(folder))
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "all of it")
    return folder


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("pynode/code.py", True),
        ("pynode/more code.py", True),
        ("julia/more.jl", True),
        ("experiments/published/spiral/summary.json", False),
        ("experiments/published/study/power/runs/a/config.json", False),
        ("results/a/plot.py", False),
        ("README.md", False),
        ("pynode/README.md", False),
        ("notes.txt", False),
    ],
)
def test_changed_means_code(checkout: Path, name: str, changed: bool) -> None:
    """A command that writes its records into the checkout, or prose written meanwhile, is no change of code."""
    (checkout / name).parent.mkdir(parents=True, exist_ok=True)
    before = machine._git(checkout)
    assert before is not None
    assert before["changed"] is False
    assert len(before["commit"]) == 40
    (checkout / name).write_text("2\n", encoding="utf-8")
    assert machine._git(checkout) == before | {"changed": changed}


def test_code_that_is_gone_or_moved_has_changed(checkout: Path) -> None:
    git(checkout, "mv", "pynode/code.py", "notes.md")
    told = machine._git(checkout)
    assert told is not None
    assert told["changed"] is True


def test_outside_a_checkout_there_is_no_commit(tmp_path: Path) -> None:
    assert machine._git(tmp_path) is None
