"""Runs one cell: in a process of its own (`python -m pynode.sweeps.worker`), or in a worker of Ray's.

The process reads its task as one line of JSON and writes its outcome as another.  While it works its stdin stays open;
when that closes, whoever began it is gone, and it stops as if it had got SIGTERM.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from pynode.errors import PynodeError
from pynode.records.files import append_line
from pynode.sweeps.task import Outcome, Task


def run_cell(text: str) -> str:
    """Runs the task `text` to its end, from its last checkpoint where there is one; the outcome as text.

    A failed run is an outcome; nothing is raised but what ends a process.
    """
    task = Task.from_text(text)
    if not Path(task.sweep).exists():
        where = f"{platform.node()} does not see {task.sweep}"
        remedy = "put --out on a file system that all nodes share"
        return Outcome(task.name, "failed", f"{where}; {remedy}").to_text()
    begun = {"time": time.time(), "host": platform.node(), "pid": os.getpid()}
    try:
        Path(task.attempts).parent.mkdir(parents=True, exist_ok=True)
        append_line(Path(task.attempts), begun)
        _train(task)
    except PynodeError as error:
        if error.exit_status > 128:
            return Outcome(task.name, "interrupted").to_text()
        return Outcome(task.name, "failed", " ".join(str(error).split())).to_text()
    except KeyboardInterrupt:
        return Outcome(task.name, "interrupted").to_text()
    except Exception as error:  # a fault of the program or the machine: it must not take the other cells along
        traceback.print_exc()
        return Outcome(task.name, "failed", f"{type(error).__name__}: {' '.join(str(error).split())}").to_text()
    return Outcome(task.name, "finished").to_text()


def _train(task: Task) -> None:
    import torch

    from pynode.training.config import RunConfig
    from pynode.training.trainer import train

    torch.set_num_threads(task.threads)
    train(RunConfig.from_json(task.config), Path(task.directory), resume=True)


def main() -> int:
    """One task from stdin, its outcome to stdout, whatever else is printed to stderr."""
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    text = sys.stdin.readline()
    threading.Thread(target=_stop_with_stdin, daemon=True).start()
    outcome = run_cell(text)
    answer.write(outcome + "\n")
    answer.flush()
    return 0


def _stop_with_stdin() -> None:
    """Stops this process when its stdin ends; below the level of `sys.stdin`, whose lock would hold up the exit."""
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
