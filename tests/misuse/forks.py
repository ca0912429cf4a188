"""Runs commands in forks of one process that has imported everything, each after a fault of the machine.

The cases come as JSON on stdin, with commands that are run before them; what became of each case goes out as JSON.
Importing torch takes seconds, a fork milliseconds: so the table of command x fault costs little more than the commands
themselves.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from tests.drawing import leave_a_note

SECONDS = 240
"""After which a command is said to hang."""


def fault(name: str) -> dict[str, str]:
    """Does to this process what the fault is; returns the encodings of stdout and stderr."""
    encodings = {"out": "utf-8", "err": "utf-8"}
    kind, _, value = name.partition("=")
    if kind in ("closed", "full", "gone"):
        number = {"in": 0, "out": 1, "err": 2}[value]
        if kind == "closed":
            os.close(number)
        elif kind == "full":
            os.dup2(os.open("/dev/full", os.O_WRONLY), number)
        else:
            reader, writer = os.pipe()
            os.close(reader)
            os.dup2(writer, number)
    elif kind == "encoding":
        encodings = {"out": value, "err": value}
    elif kind == "set":
        variable, _, text = value.partition(":")
        os.environ[variable] = text
    elif kind == "unset":
        os.environ.pop(value, None)
    elif kind == "files":  # a few descriptors beyond those that are open
        used = max(int(n) for n in os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + int(value), used + int(value)))
    elif kind == "size":
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(value), int(value)))
    elif kind == "user":
        os.setgid(int(value))
        os.setuid(int(value))
    elif kind == "memory":
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + int(value), used + int(value)))
    elif kind != "none":
        raise ValueError(name)
    return encodings


def stream(number: int, encoding: str) -> Any:
    """What Python's start would make of a descriptor."""
    try:
        os.fstat(number)
    except OSError:
        return None
    return open(number, "w", encoding=encoding, errors="strict" if number == 1 else "backslashreplace", closefd=False)


def child(case: dict[str, Any], files: tuple[int, int]) -> int:
    """Runs one case; the exit status."""
    from pynode.cli import command

    for number, file in zip((1, 2), files, strict=True):
        os.dup2(file, number)
    os.chdir(case["cwd"])
    if not case["drawn"]:
        Figure.savefig = leave_a_note  # type: ignore[method-assign,assignment]
    encodings = fault(case["fault"])
    sys.stdout, sys.stderr = stream(1, encodings["out"]), stream(2, encodings["err"])
    sys.argv = ["run.py", *case["words"]]
    status = 1
    try:
        command()
    except SystemExit as error:
        status = int(error.code or 0)
    except BaseException:
        if sys.stderr is not None:
            traceback.print_exc()
        Path(case["trace"]).write_text(traceback.format_exc()) if "user" not in case["fault"] else None
    for open_stream in (sys.stdout, sys.stderr):
        try:
            if open_stream is not None:
                open_stream.flush()
        except OSError:  # what Python says in its last moment
            status = 120
    return status


def run(case: dict[str, Any]) -> dict[str, Any]:
    """How one case ended: status (None: it hung), stdout, stderr."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
        pid = os.fork()
        if pid == 0:
            status = 99
            try:
                status = child(case, (out.fileno(), error.fileno()))
            finally:
                os._exit(status)
        until = time.monotonic() + SECONDS
        ended: int | None = None
        while ended is None and time.monotonic() < until:
            done, code = os.waitpid(pid, os.WNOHANG)
            ended = os.waitstatus_to_exitcode(code) if done else None
            time.sleep(0.01)
        if ended is None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        texts = []
        for file in (out, error):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "backslashreplace"))
    return {"status": ended, "out": texts[0], "error": texts[1]}


def run_all() -> None:
    """All cases of stdin."""
    import torch

    import pynode.cli.results
    import pynode.engines.fused
    import pynode.problems.density.toys
    import pynode.problems.series.stress
    import pynode.studies.gradients.errors
    import pynode.training.trainer  # noqa: F401
    from pynode.cli import main

    torch.set_num_threads(1)
    asked = json.load(sys.stdin)
    few_files = [case for case in asked["cases"] if case["fault"].startswith("files")]
    others = [case for case in asked["cases"] if not case["fault"].startswith("files")]
    with contextlib.redirect_stdout(sys.stderr):
        answers = {case["number"]: run(case) for case in few_files}  # before anything else is loaded, which needs files
        for words in asked["first"]:  # once here rather than in every fork: modules, fonts, compiled kernels
            assert main(words) == 0
        answers.update({case["number"]: run(case) for case in others})
    json.dump([answers[case["number"]] for case in asked["cases"]], sys.stdout)


if __name__ == "__main__":
    run_all()
