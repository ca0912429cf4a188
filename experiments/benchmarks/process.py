"""The parent's side of an entrant's process: its environment, requests, answers, and its end."""

from __future__ import annotations

import json
import math
import os
import selectors
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from pynode.errors import RunFailure

ROOT = Path(__file__).resolve().parents[2]

PATIENCE = 900.0
"""Seconds within which a request must be answered."""


class EntrantFailure(RunFailure):
    """An entrant's process broke down, or did not answer."""


def environment(threads: int, device: str, extra: dict[str, str] | None = None) -> dict[str, str]:
    """Environment variables that hold every library to `threads` threads, set before any of them is imported."""
    count = str(threads)
    many = "false" if threads == 1 else "true"
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    return {
        **os.environ,
        "PYTHONPATH": path,
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "NUMBA_NUM_THREADS": count,
        "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={many} intra_op_parallelism_threads={count}",
        "JAX_PLATFORMS": "cpu" if device == "cpu" else "cuda,cpu",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        **(extra or {}),
    }


class Child:
    """One process; used as a context, it is gone afterwards.

    It stays on as many cores as it has `threads`, unless `pinned` is False.  `patience`: seconds within which a request
    must be answered; `until`: when all must be, by `time.monotonic`.
    """

    def __init__(
        self,
        threads: int,
        device: str,
        log: Path,
        extra: dict[str, str] | None = None,
        *,
        pinned: bool = True,
    ) -> None:
        self.log, self.patience, self.until = log, PATIENCE, math.inf
        self._end: str | None = None
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "experiments.benchmarks.child", str(threads if pinned else 0)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment(threads, device, extra),
            )
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ)  # type: ignore[arg-type]

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """The answer to one request; raises `EntrantFailure` where there is none, or where it is an error."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self._process.stdin.flush()
        except (OSError, ValueError) as error:  # ValueError: it has been closed
            raise EntrantFailure(self.end()) from error
        seconds = max(0.1, min(self.patience, self.until - time.monotonic()))
        if not self._selector.select(seconds):
            self._end = f"no answer within {seconds:.0f} s"
            self.close()
            raise EntrantFailure(self._end)
        line = self._process.stdout.readline()
        if not line.endswith("\n"):  # it ended before or within its answer
            raise EntrantFailure(self.end())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise EntrantFailure(str(answer["error"]))
        return answer

    @property
    def closed(self) -> bool:
        """Whether its process has ended."""
        return self._process.poll() is not None

    def end(self) -> str:
        """Why the process has ended; to be called when it has."""
        if self._end is None:
            status = self._process.wait()
            lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            self._end = f"its process ended with status {status}: {lines[-1] if lines else 'it said nothing'}"
        return self._end

    def close(self) -> None:
        """Ends the process, if it has not ended."""
        if self._end is None and not self.closed:
            self._end = "its process was closed"
        self._selector.close()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                try:
                    pipe.close()
                except OSError:  # what was not sent is of no use any more
                    continue

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, way: TracebackType | None
    ) -> None:
        self.close()
