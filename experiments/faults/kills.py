"""Kills one run again and again by SIGKILL, resumes it each time, and compares it with a run that nobody touched.

    python experiments/faults/kills.py --kills 20

Kills hit the start of the process, iterations, validations and the writing of checkpoints in turn, each at a random
instant.  In the end the records must be those of the unbroken run byte for byte, apart from seconds and the checksums
that cover them; so must the last checkpoint's tensors, the summary and the evaluation.  Exit status 1 if they are not.
With --schedules the run goes through levels of steps, drops its learning rate, and may stop early.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pynode.records.iteration import is_timed

RUN = Path(__file__).resolve().parents[1] / "run.py"
PLAIN, LEVELS = "disc-opt-rk38-x10-seed0", "disc-opt-rk38-levels-2-5-10-seed0"
SCHEDULES = ("--multilevel", "2,5,10", "--refine-patience", "2", "--patience", "8", "--on-failure", "skip")
PHASES = ("training", "validation", "checkpoint", "start")
VALIDATE, SAVE = 5, 10
"""Iterations between validations, and between checkpoints."""


@dataclass(frozen=True)
class Kill:
    """One kill: what was aimed at, the records that were there, and whether half a checkpoint was left."""

    phase: str
    records: int
    torn: bool


@dataclass(frozen=True)
class Case:
    """What is run: the runs of a command, of so many iterations each."""

    iterations: int
    schedules: bool

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the runs, in their order."""
        return (PLAIN, LEVELS) if self.schedules else (PLAIN,)


def command(out: Path, case: Case, *more: str) -> list[str]:
    """A small flow by torch operators, some milliseconds an iteration."""
    size = ["--iterations", str(case.iterations), "--set", "hidden=16,16", "--engine", "eager"]
    often = ["--validate-every", str(VALIDATE), "--checkpoint-every", str(SAVE)]
    fixed = ["--methods", "disc-opt", "--no-checks", "--out", str(out)]
    return [
        sys.executable,
        str(RUN),
        "compare",
        "8gaussians",
        *size,
        *often,
        *fixed,
        *more,
        *(SCHEDULES if case.schedules else ()),
    ]


def environment() -> dict[str, str]:
    """One thread, whatever is set here."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def count(out: Path) -> int:
    """Records written so far, of all runs."""
    return sum(path.read_bytes().count(b"\n") for path in out.glob("runs/*/records.jsonl"))


def kill_once(out: Path, case: Case, phase: str, target: int, chosen: random.Random, *more: str) -> Kill | None:
    """Starts the command and kills it in `phase`, at about `target` records; None where it had ended before."""
    torn = out / "runs" / case.labels[count(out) >= case.iterations] / ".checkpoint.safetensors.tmp"
    left_before = torn.stat().st_mtime_ns if torn.exists() else 0
    process = subprocess.Popen(
        command(out, case, *more), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
    )
    if phase == "start":
        time.sleep(chosen.uniform(0.0, 4.0))
    else:
        every = {"training": 1, "validation": VALIDATE, "checkpoint": SAVE}[phase]
        aim = target - target % every
        while process.poll() is None and count(out) < aim:
            time.sleep(0.001)
        if phase == "validation":
            time.sleep(chosen.uniform(0.0, 0.05))
        if phase == "checkpoint":
            while process.poll() is None and not _is_new(torn, left_before) and count(out) <= aim:
                pass
    process.kill()
    if process.wait() != -signal.SIGKILL:
        return None
    return Kill(phase, count(out), _is_new(torn, left_before))


def _is_new(path: Path, before: int) -> bool:
    try:
        return path.stat().st_mtime_ns != before
    except FileNotFoundError:
        return False


def differences(unbroken: Path, broken: Path, label: str) -> list[str]:
    """What of a run differs that should not."""
    from pynode.records.iteration import TIMED_FIELDS
    from pynode.records.schema import KEY
    from pynode.training.checkpoint import read_intact

    a, b = (out / "runs" / label for out in (unbroken, broken))
    different = []

    def lines(folder: Path) -> list[str]:
        every = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
        return [json.dumps({k: v for k, v in line.items() if k not in (*TIMED_FIELDS, KEY)}) for line in every]

    def plain(folder: Path, name: str) -> dict[str, Any]:
        data = json.loads((folder / name).read_text())
        return {k: v for k, v in data.items() if not is_timed(k) and k != KEY}

    if lines(a) != lines(b):
        different.append("records.jsonl")
    different += [name for name in ("summary.json", "evaluation.json") if plain(a, name) != plain(b, name)]
    one, other = (read_intact(folder)[0][0][1] for folder in (a, b))
    alike = one.progress == other.progress and set(one.tensors) == set(other.tensors)
    if not alike or any(not one.tensors[name].equal(other.tensors[name]) for name in one.tensors):
        different.append("checkpoint.safetensors")
    return different


def study(out: Path, case: Case, *, kills: int, seed: int) -> list[str]:
    """Runs both, says what happened, and returns what differs."""
    chosen = random.Random(seed)
    unbroken, broken = out / "unbroken", out / "broken"
    print(f"8gaussians, {case.iterations} iterations, a validation every {VALIDATE}, a checkpoint every {SAVE}")
    subprocess.run(command(unbroken, case), check=True, stdout=subprocess.DEVNULL, env=environment())
    last, done = count(unbroken) - SAVE, 0
    while done < kills:
        begun = (broken / "runs").exists()
        due = SAVE * (1 + done * (last - SAVE) // (SAVE * kills))  # so that the kills spread over the run
        target = min(last, max(count(broken), due) + chosen.randrange(1, SAVE))
        phase = PHASES[done % len(PHASES)]
        kill = kill_once(broken, case, phase, target, chosen, *(["--resume"] if begun else []))
        if kill is None:
            print("the run ended before it could be killed; take more --iterations")
            return ["too few kills"]
        done += 1
        rest = ", half a checkpoint left" if kill.torn else ""
        print(f"kill {done:2d} of {kills}, aimed at {kill.phase:10s}: {kill.records} records{rest}", flush=True)
    subprocess.run(command(broken, case, "--resume"), check=True, stdout=subprocess.DEVNULL, env=environment())
    return [f"{label}/{name}" for label in case.labels for name in differences(unbroken, broken, label)]


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--schedules", action="store_true", help="with levels, early stop and a policy for failures")
    parser.add_argument("--seed", type=int, default=None, help="of the instants; another one each time by default")
    parser.add_argument("--out", type=Path, default=None, help="keep both results here (default: nowhere)")
    given = parser.parse_args()
    if not hasattr(signal, "SIGKILL"):
        parser.error("there is no SIGKILL on this system")
    if given.kills < 1 or given.iterations < 2 * SAVE:
        parser.error(f"take at least 1 kill and {2 * SAVE} iterations")
    if given.out is not None and given.out.exists():
        parser.error(f"{given.out} is there already; choose a new directory")
    seed = random.SystemRandom().randrange(2**32) if given.seed is None else given.seed
    with tempfile.TemporaryDirectory() as temporary:
        case = Case(given.iterations, given.schedules)
        different = study(given.out or Path(temporary), case, kills=given.kills, seed=seed)
    if different:
        print(f"DIFFERENT: {', '.join(different)} (seed {seed})")
        return 1
    print("records, summary, evaluation and checkpoint equal those of the unbroken run, apart from seconds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
