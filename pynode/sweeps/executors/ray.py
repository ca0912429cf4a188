"""Ray: tasks on a Ray cluster, or on one that is started on this machine and listens on 127.0.0.1 alone."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from typing import Any, ClassVar

from pynode.errors import InvalidArgument
from pynode.sweeps.cells import Cell, ExecutorUnavailable
from pynode.sweeps.executors.base import Executor
from pynode.sweeps.executors.local import available_cpus, available_gpus
from pynode.sweeps.task import Outcome, Task, worker_environment
from pynode.sweeps.worker import run_cell

ANSWER_SECONDS, CONNECT_SECONDS = 5.0, 60.0
"""For a TCP connection, and for a client of the cluster."""

REMEDY = "start one with: ray start --head, or leave --address out for a cluster on this machine alone"

PROBE = """
import sys, ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level=40)
except Exception as error:
    print(str(error).strip().partition("\\n")[0])
    sys.exit(1)
"""
"""A client that connects, and no more."""

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported to anybody
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a task without GPUs sees none
    "RAY_DEDUP_LOGS": "0",
}

LOOPBACK_ALONE = {
    # Ray's only way to have GCS, raylet, agents and workers listen on 127.0.0.1 instead of every interface: a node
    # that can't be part of a cluster, which is what it does by itself on Windows and macOS
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}
"""For a cluster on 127.0.0.1: without it a client asks for the node's other address, where nothing listens."""

LOOPBACK = {
    **LOOPBACK_ALONE,
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
        settings = QUIET
        if self.address is None:
            settings = {**QUIET, **LOOPBACK}
        elif _host_and_port(self.address)[0] in ("127.0.0.1", "localhost", "::1"):
            settings = {**QUIET, **LOOPBACK_ALONE}
        for name, value in settings.items():
            os.environ.setdefault(name, value)
        if self.address is None:
            self._start_cluster()
        else:
            self._connect(self.address)

    def check(self, cells: list[Cell]) -> None:
        import ray

        resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        nodes = [(float(node.get("CPU", 0)), float(node.get("GPU", 0))) for node in resources]
        for cell in cells:
            if any(cell.cpus <= cpus and cell.gpus <= gpus for cpus, gpus in nodes):
                continue
            most_cpus, most_gpus = (max((node[k] for node in nodes), default=0.0) for k in (0, 1))
            alone = f"{cell.name} needs more than any node of the cluster has"
            if cell.cpus > most_cpus:
                raise InvalidArgument("cpus", f"{cell.cpus:g}", alone, f"use {most_cpus:g} or fewer")
            if cell.gpus > most_gpus:
                remedy = f"use {most_gpus:g} or fewer" if most_gpus else "use device = cpu"
                raise InvalidArgument("gpus", f"{cell.gpus:g}", alone, remedy)
            beside = max(cpus for cpus, gpus in nodes if gpus >= cell.gpus)
            problem = f"no node has them beside the {cell.gpus:g} GPU that {cell.name} needs"
            raise InvalidArgument("cpus", f"{cell.cpus:g}", problem, f"use {beside:g} or fewer")

    def submit(self, task: Task) -> None:
        self._waiting.append(task)
        self._begin()

    def held(self) -> set[str]:
        return {task.name for task in self._waiting}

    def collect(self, seconds: float) -> list[Outcome]:
        import ray

        if self._running and not self._ended:
            done, _ = ray.wait(list(self._running), num_returns=1, timeout=seconds)
            for reference in done:
                self._ended.append(self._outcome(reference, self._running.pop(reference)))
            self._begin()
        outcomes, self._ended = self._ended, []
        return outcomes

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
        try:
            ray.init(
                address="local",
                num_cpus=available_cpus(),
                num_gpus=len(available_gpus()),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _temp_dir=os.path.join(self._folder, "ray"),
            )
        except BaseException as error:
            self.close()
            if not isinstance(error, Exception):  # Ctrl-C
                raise
            raise ExecutorUnavailable(
                f"no Ray cluster could be started on this machine ({_first_line(error)}); use --executor local"
            ) from error

    def _connect(self, address: str) -> None:
        import ray

        _check_answers(address)
        _check_connects(address)
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:  # of Ray's many kinds
            ray.shutdown()
            raise _unusable(address, _first_line(error)) from error

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


def _host_and_port(address: str) -> tuple[str, int | None]:
    """The parts of HOST:PORT, no port for `auto`; raises `InvalidArgument` for anything else."""
    if address == "auto":
        return "", None
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise InvalidArgument("--address", address, "no HOST:PORT", "write e.g. 10.0.0.5:6379, or auto")
    return host.strip("[]"), int(port)


def _check_answers(address: str) -> None:
    """Raises `ExecutorUnavailable` unless something answers: Ray itself would try for minutes."""
    host, port = _host_and_port(address)
    if port is None:
        return
    try:
        socket.create_connection((host, port), timeout=ANSWER_SECONDS).close()
    except OSError as error:
        raise ExecutorUnavailable(f"--address {address}: nothing answers there ({error}); {REMEDY}") from error


def _check_connects(address: str) -> None:
    """Raises `ExecutorUnavailable` unless a process that can be ended connects: what answers may be no cluster, and
    Ray's own attempt has no limit."""
    try:
        process = subprocess.run(
            [sys.executable, "-c", PROBE, address],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CONNECT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise _unusable(address, f"no connection within {CONNECT_SECONDS:g} s") from error
    if process.returncode != 0:
        told = process.stdout.strip().rstrip(".") or f"a client ended with status {process.returncode}"
        raise _unusable(address, told)


def _unusable(address: str, reason: str) -> ExecutorUnavailable:
    return ExecutorUnavailable(f"--address {address}: no Ray cluster can be used there ({reason}); {REMEDY}")


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
