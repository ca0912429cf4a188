"""Ray: tasks on a Ray cluster, or on one that is started on this machine and listens on 127.0.0.1 alone."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import secrets
import shutil
import socket
import tempfile
from typing import Any, ClassVar

from pynode.errors import InvalidArgument
from pynode.sweeps.cells import Cell
from pynode.sweeps.errors import ExecutorUnavailable
from pynode.sweeps.executors.base import Executor
from pynode.sweeps.executors.local import available_cpus, available_gpus
from pynode.sweeps.task import Outcome, Task
from pynode.sweeps.threads import worker_environment
from pynode.sweeps.worker import run_cell

CONNECT_SECONDS = 5.0

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported to anybody
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a task without GPUs sees none
    "RAY_DEDUP_LOGS": "0",
}

LOOPBACK = {
    # Ray's only way to have GCS, raylet, agents and workers listen on 127.0.0.1 instead of every interface: a node
    # that can't be part of a cluster, which is what it does by itself on Windows and macOS
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",  # other users of this machine reach 127.0.0.1 as well
    "RAY_AUTH_TOKEN": secrets.token_hex(
        32
    ),  # in the environment: Ray's own would lie in the home folder for all to read
}
"""For a cluster on this machine; what the user has set already stays."""


class RayExecutor(Executor):
    """One task a cell, each in a fresh worker process with `num_cpus` threads; Ray itself begins lost ones again.

    Without an address a cluster is started for the sweep, with the CPUs and GPUs of this machine.  With one (HOST:PORT
    or auto) all nodes must have pynode under the same path, and share the file system of the results.  Tasks and
    outcomes are texts; how Ray carries them between processes is its own affair.
    """

    name: ClassVar[str] = "ray"

    def start(self) -> None:
        if importlib.util.find_spec("ray") is None:
            remedy = 'run: pip install "pynode[ray]", or use --executor local'
            raise ExecutorUnavailable(f"the executor ray needs the package ray, which is not installed; {remedy}")
        self._folder: str | None = None
        self._waiting: list[Task] = []
        self._running: dict[Any, Task] = {}
        self._ended: list[Outcome] = []
        for name, value in {**QUIET, **(LOOPBACK if self.address is None else {})}.items():
            os.environ.setdefault(name, value)
        if self.address is None:
            self._start_cluster()
        else:
            self._connect(self.address)

    def check(self, cells: list[Cell]) -> None:
        import ray

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        for cell in cells:
            for resource, wanted, kind in (("cpus", cell.cpus, "CPU"), ("gpus", cell.gpus, "GPU")):
                most = max((float(node.get(kind, 0)) for node in nodes), default=0.0)
                if wanted > most:
                    problem = f"{cell.name} needs more than any node of the cluster has"
                    raise InvalidArgument(resource, f"{wanted:g}", problem, f"use {most:g} or fewer")

    def submit(self, task: Task) -> None:
        self._waiting.append(task)
        self._begin()

    def collect(self, seconds: float) -> list[Outcome]:
        import ray

        if self._running and not self._ended:
            done, _ = ray.wait(list(self._running), num_returns=1, timeout=seconds)
            for reference in done:
                self._ended.append(self._outcome(reference, self._running.pop(reference)))
            self._begin()
        found, self._ended = self._ended, []
        return found

    def stop(self, signal_number: int) -> None:  # noqa: ARG002 (Ray has one way to interrupt: as by SIGINT)
        self._cancel(force=False)

    def kill(self) -> None:
        self._cancel(force=True)

    def close(self) -> None:
        import ray

        ray.shutdown()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _start_cluster(self) -> None:
        import ray

        # below a folder that only this user can enter, for Ray opens its own to everybody; and in /tmp, since the paths
        # of its sockets must be short
        self._folder = tempfile.mkdtemp(prefix="pynode-", dir="/tmp" if os.name == "posix" else None)
        ray.init(
            address="local",
            num_cpus=available_cpus(),
            num_gpus=len(available_gpus()),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _temp_dir=os.path.join(self._folder, "ray"),
        )

    def _connect(self, address: str) -> None:
        import ray

        remedy = "start one with: ray start --head, or leave --address out for a cluster on this machine alone"
        if address != "auto":
            _check_answers(address, remedy)
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            told = str(error).split("\n")[0].rstrip(".")
            raise ExecutorUnavailable(
                f"--address {address}: no Ray cluster can be used there ({told}); {remedy}"
            ) from error

    def _begin(self) -> None:
        import ray

        while self._waiting and (self.jobs is None or len(self._running) < self.jobs):
            task = self._waiting.pop(0)
            remote = ray.remote(
                num_cpus=task.threads,
                num_gpus=task.gpus,
                max_retries=self.retries,
                max_calls=1,  # a process of its own for every cell, as in the local executor
                runtime_env={"env_vars": worker_environment(task.threads)},
            )(run_cell)
            self._running[remote.options(name=task.name).remote(task.to_text())] = task

    def _outcome(self, reference: Any, task: Task) -> Outcome:
        from ray import exceptions, get

        try:
            return Outcome.from_text(get(reference))
        except exceptions.TaskCancelledError:
            return Outcome(task.name, "interrupted")
        except exceptions.RayTaskError as error:
            if isinstance(error.cause, KeyboardInterrupt):
                return Outcome(task.name, "interrupted")
            return Outcome(task.name, "failed", " ".join(str(error.cause).split()))
        except exceptions.RayError as error:
            if self._cancelled:
                return Outcome(task.name, "interrupted")
            times = f"{self.retries + 1} times" if self.retries else "once"
            told = " ".join(str(error).split(".")[0].split())
            return Outcome(task.name, "lost", f"its worker died {times} ({told}); continue with --resume")

    _cancelled = False

    def _cancel(self, *, force: bool) -> None:
        import ray

        self._cancelled = True
        self._ended += [Outcome(task.name, "interrupted") for task in self._waiting]
        self._waiting.clear()
        for reference in self._running:
            with contextlib.suppress(ValueError):  # it has ended meanwhile
                ray.cancel(reference, force=force)


def _check_answers(address: str, remedy: str) -> None:
    """Raises `ExecutorUnavailable` unless something answers: Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise InvalidArgument("--address", address, "no HOST:PORT", "write e.g. 10.0.0.5:6379, or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise ExecutorUnavailable(f"--address {address}: nothing answers there ({error}); {remedy}") from error
