"""The process in which one entrant lives: requests and answers are JSON lines on a pipe.

Started as `python -m experiments.benchmarks.child THREADS` by `process.Child`, which has set the environment.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

import numpy as np

from experiments.benchmarks.entrants.base import Entrant
from experiments.benchmarks.workload import load


class Server:
    """Entrants that were built here, by key, and what can be asked of them."""

    def __init__(self) -> None:
        self.built: dict[str, Entrant] = {}

    def prepare(self, key: str, module: str, name: str, variant: str, workload: str, dtype: str) -> dict[str, Any]:
        """Builds an entrant and does its work once, with everything that happens the first time."""
        kind: type[Entrant] = getattr(importlib.import_module(module), name)
        start = time.perf_counter()
        for package in kind.packages:
            importlib.import_module(package)
        imported = time.perf_counter()
        entrant = kind(load(Path(workload)), variant, dtype)
        built = time.perf_counter()
        entrant.work()
        done = time.perf_counter()
        self.built[key] = entrant
        gc.collect()
        gc.freeze()  # later collections then pass over all that is loaded, which takes up to a second a turn
        return {
            "import_seconds": imported - start,
            "build_seconds": built - imported,
            "first_seconds": done - built,
            "versions": {name: _version(name) for name in kind.distributions},
        }

    def gradient(self, key: str, path: str) -> dict[str, Any]:
        """Writes the gradient at the workload's theta to `path`."""
        entrant = self.built[key]
        entrant.reset()
        gradient = entrant.gradient()
        np.save(path, gradient.theta)
        return {"loss": gradient.loss, "counts": dict(gradient.counts), "engine": gradient.engine}

    def train(self, key: str, path: str, iterations: int) -> dict[str, Any]:
        """Writes theta after some iterations to `path`."""
        entrant = self.built[key]
        entrant.reset()
        for _ in range(iterations):
            entrant.work()
        np.save(path, entrant.theta())
        return {}

    def time(self, key: str, calls: int) -> dict[str, Any]:
        """Seconds of each of some units of work."""
        entrant, seconds = self.built[key], []
        entrant.reset()
        entrant.work()  # the optimiser makes its state on its first step
        gc.collect()
        gc.disable()
        try:
            for _ in range(calls):
                start = time.perf_counter()
                entrant.work()
                seconds.append(time.perf_counter() - start)
        finally:
            gc.enable()
        return {"seconds": seconds}

    def memory(self, key: str) -> dict[str, Any]:
        """Bytes that a unit of work takes from the GPU, null where that is not known."""
        return {"bytes": self.built[key].memory()}

    def forget(self, key: str) -> dict[str, Any]:
        """Frees what was built under `key`."""
        self.built.pop(key, None)
        gc.unfreeze()
        gc.collect()
        return {}

    def ceilings(self, **request: Any) -> dict[str, Any]:
        """What products and copies reach here."""
        from experiments.benchmarks.ceilings import measure

        return {"rates": measure(**request)}

    def launches(self, device: str) -> dict[str, Any]:
        """How many kernels a second start here."""
        from experiments.benchmarks.limits import launches

        return {"rates": launches(device)}


def serve(requests: IO[str], answers: IO[str]) -> None:
    """Answers every request until there are no more; an error is an answer as well."""
    server = Server()
    for line in requests:
        request = json.loads(line)
        work: Callable[..., dict[str, Any]] = getattr(server, request.pop("do"))
        try:
            answer = work(**request)
        except Exception as error:  # whatever an entrant meets, the run goes on without it
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _keep_to(threads: int) -> None:
    """Stays on as many processors as there are threads (0: on all): not every library lets its threads be counted."""
    if threads and hasattr(os, "sched_setaffinity"):
        free = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, free[-threads:])


if __name__ == "__main__":
    _keep_to(int(sys.argv[1]))
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print goes to the log
    serve(sys.stdin, pipe)
