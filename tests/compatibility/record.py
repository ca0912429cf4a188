"""Records the runs in `runs/` and the numbers in `continued.json`, by another checkout of pynode.

    git worktree add --detach /tmp/pynode-efd81f1 efd81f1
    python tests/compatibility/record.py /tmp/pynode-efd81f1

The tests in this folder read, show and resume these runs.  They are made once: a later version must read what an
earlier one wrote, so nothing in `runs/` is ever made again.  Figures, locks and earlier checkpoints are left out, and
the evaluations of all runs but the spiral's, which are large.  `runs/julia` is no recording: it holds the first ten
iterations of the Julia runs in `experiments/published/spiral-julia`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SMALL = "oscillator --set width=4 --set horizon=1"
FLOW = "--set hidden=6 --set batch=16 --steps 2"
FEW = "--iterations 4 --validate-every 2 --checkpoint-every 2"
MANY = "--iterations 14 --validate-every 5 --checkpoint-every 5 --engine eager --no-checks"

COMMANDS = {
    # directory: the command that made it
    "spiral": f"compare spiral --methods disc-opt,opt-disc {FEW}",
    "methods": f"compare {SMALL} --methods opt-disc-fixed,ad-adaptive {FEW} --no-checks",
    "eager": f"compare {SMALL} --engine eager {FEW} --no-checks",
    "fused": f"compare {SMALL} --engine fused {FEW} --no-checks",
    "recompute": f"compare {SMALL} --methods disc-opt --memory recompute {FEW} --no-checks",
    "checkpoint": f"compare {SMALL} --methods disc-opt --memory checkpoint --budget 3 {FEW} --no-checks",
    "multilevel": f"compare {SMALL} --methods disc-opt --multilevel 1,2 --refine-at 3 {FEW} --no-checks",
    "tsit5": f"compare {SMALL} --methods opt-disc --solver tsit5 --adjoint interpolating {FEW} --no-checks",
    "backward-euler": f"compare {SMALL} --methods opt-disc-fixed --adjoint backward-euler {FEW} --no-checks",
    "8gaussians": f"compare 8gaussians {FLOW} --rtol 1e-3 --atol 1e-4 {FEW} --no-checks",
    "gradients": f"gradients {SMALL} --tolerances 1e-2,1e-4 --steps 1,2",
    "crosscheck": "crosscheck --fields mlp --tolerances 1e-3 --steps 1 --schemes rk4 --methods disc-opt,opt-disc",
    "map": "map --axes dimension --quick",
    "sweep": "sweep sweep.toml --jobs 1",
}
INTERRUPTED = {
    "interrupted-disc-opt": f"compare {SMALL} --methods disc-opt --steps 10 {MANY}",
    "interrupted-opt-disc": f"compare {SMALL} --methods opt-disc --rtol 1e-6 --atol 1e-8 {MANY}",
    "interrupted-sweep": "sweep slow.toml --jobs 1",
}
LONGER = "--iterations 4", "--iterations 7"
SWEEP = """# sweep sweep.toml
problem = "oscillator"
method = ["disc-opt", "opt-disc-fixed"]
steps = [1, 2]
"set.width" = 4
"set.horizon" = 1.0
iterations = 4
validate_every = 2
checkpoint_every = 2
"""
SLOW = """# sweep slow.toml
problem = "oscillator"
method = "disc-opt"
steps = 10
seed = [0, 1]
engine = "eager"
"set.width" = 4
"set.horizon" = 1.0
iterations = 14
validate_every = 5
checkpoint_every = 5
"""
COMPARE = """# compare spiral --config compare.toml
methods = ["disc-opt", "opt-disc"]
adjoint = "backsolve"
rtol = 1e-6
steps = 2
seeds = [0, 1]
iterations = 4
validate_every = 2
checks = false
"""
KEPT = (6, 12)
"""A run is interrupted when it has so many records: after its first checkpoint, before its end."""


ALL = """
import json, sys
import pynode.render
from pynode.cli import main
pynode.render.save = lambda *_: []
for command in json.loads(sys.argv[1]):
    if status := main(command.split()):
        sys.exit(f"{command}: exit status {status}")
"""
"""Runs commands one after another in one process, without their figures."""


def record(checkout: Path, work: Path) -> None:
    """Makes `runs/`."""
    for name, text in (("sweep", SWEEP), ("slow", SLOW), ("compare", COMPARE)):
        (work / f"{name}.toml").write_text(text)
    run(checkout, work, COMMANDS)
    for name, command in INTERRUPTED.items():
        interrupt(checkout, work, name, command)
    shutil.copytree(work, HERE / "runs", ignore=left_out, dirs_exist_ok=True)


def resume(checkout: Path, work: Path) -> None:
    """Makes `continued.json` from a copy of `runs/`."""
    shutil.copytree(HERE / "runs", work, dirs_exist_ok=True)
    everything = {**COMMANDS, **INTERRUPTED}
    longer = {n: f"{c.replace(*LONGER)} --resume" for n, c in everything.items() if c.startswith("compare")}
    run(checkout, work, {**longer, "interrupted-sweep": "sweep --resume --jobs 1"})
    continued = {
        name: {path.parent.name: numbers(path) for path in sorted((work / name).rglob("records.jsonl"))}
        for name in everything
    }
    kept = {name: runs for name, runs in continued.items() if runs}
    rows = [f'"{name}": {json.dumps(runs)}' for name, runs in kept.items()]
    (HERE / "continued.json").write_text("{\n" + ",\n".join(rows) + "\n}\n")


def start(checkout: Path, work: Path, *command: str) -> subprocess.Popen[bytes]:
    """Starts Python in `work` with the pynode of `checkout`."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, *command], cwd=work, env=environment, stdout=subprocess.DEVNULL)


def run(checkout: Path, work: Path, commands: dict[str, str]) -> None:
    """Runs `commands` to their end, each into its directory."""
    lines = [f"{command} --out {name}" for name, command in commands.items()]
    if start(checkout, work, "-c", ALL, json.dumps(lines)).wait():
        raise SystemExit(1)


def interrupt(checkout: Path, work: Path, name: str, command: str) -> None:
    """Runs `command` and stops it by SIGINT in the middle of its first run."""
    script = str(checkout / "experiments" / "run.py")
    process = start(checkout, work, script, *command.split(), "--out", name)
    while process.poll() is None:
        lines = [path.read_bytes().count(b"\n") for path in (work / name).rglob("records.jsonl")]
        if any(count >= KEPT[0] for count in lines):
            process.send_signal(signal.SIGINT)
            process.wait()
        time.sleep(0.001)
    if not all(KEPT[0] <= count <= KEPT[1] for count in lines):
        raise SystemExit(f"{name} was interrupted with {lines} records")


def left_out(folder: str, names: list[str]) -> set[str]:
    """What of a results directory is not kept."""
    large = set() if "/spiral/" in folder else {"evaluation.json"}
    names_left_out = {"figures", "logs", "checkpoint.previous.safetensors", *large}
    return {name for name in names if name in names_left_out or name.startswith(".")}


def numbers(path: Path) -> dict[str, list[float | None]]:
    """Losses, validation losses and evaluations, an entry for each iteration."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return {key: [r[key] for r in records] for key in ("loss", "validation_loss", "nfe_forward", "nfe_backward")}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        if not (HERE / "runs").exists():
            record(Path(sys.argv[1]).resolve(), Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        resume(Path(sys.argv[1]).resolve(), Path(folder))
