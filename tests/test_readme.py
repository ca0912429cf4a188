"""What the README shows is true: its code runs, its test command is the one CI runs, the files it names exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_library_example_runs() -> None:
    example, flow, switch = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example], capture_output=True, text=True, check=True, env=environment
    )
    assert "disc-opt-rk4-x2 | passes: E1 falls with slope 2.0" in done.stdout
    assert "opt-disc-dopri5-rtol1e-06: gradient off by" in done.stdout
    subprocess.run([sys.executable, "-c", switch], check=True)
    done = subprocess.run([sys.executable, "-c", flow], capture_output=True, text=True, check=True, env=environment)
    assert re.fullmatch(r"\d\.\d\d nats; torch.Size\(\[5, 3\]\)\n", done.stdout)


def test_the_test_command_is_found_by_ci() -> None:
    after_marker = README.partition("<!-- the test command -->")[2]
    command = next(line for line in after_marker.splitlines() if line.startswith("python"))
    assert command.endswith("pytest -n auto")
    assert "-c constraints.txt" in command
    assert "<!-- the test command -->" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_pictures_and_links_exist() -> None:
    local = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if not link.startswith("http")]
    assert [link for link in local if not (ROOT / link).exists()] == []


def test_constraints_pin_every_direct_dependency() -> None:
    pinned = {
        re.split(r"==", line)[0].lower()
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    }
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = project.partition("dependencies = [")[2].partition("[project.scripts]")[0]
    wanted = {name.lower() for name in re.findall(r'"([A-Za-z0-9_-]+)>=', block)}
    assert {"torch", "torchdiffeq", "juliacall", "diffeqpy", "pytest", "ruff"} <= wanted
    assert wanted - pinned == set()
