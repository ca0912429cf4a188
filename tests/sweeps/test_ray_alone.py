"""The executor ray as far as no Ray is needed: what a cluster must have, and what is said where none can be used."""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from pynode.errors import InvalidArgument
from pynode.sweeps.cells import Cell, ExecutorUnavailable
from pynode.sweeps.executors import ray as ray_executor
from pynode.sweeps.executors.ray import RayExecutor


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module in the place of Ray's, whose nodes and `init` a test gives."""
    module: Any = types.ModuleType("ray")
    module.shutdown = lambda: None
    find = importlib.util.find_spec
    monkeypatch.setitem(sys.modules, "ray", module)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "ray" or find(name))
    for name in (*ray_executor.QUIET, *ray_executor.LOOPBACK):
        monkeypatch.setenv(name, "x")  # so that what the executor sets goes away with this test
        monkeypatch.delenv(name)
    return module


def node(cpus: float, gpus: float = 0, *, alive: bool = True) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"CPU": cpus, **({"GPU": gpus} if gpus else {})}}


def cell(cpus: int, gpus: float = 0) -> Cell:
    return Cell("spiral", "x", {"iterations": 1}, cpus, gpus)


def test_one_node_must_have_all_that_a_cell_needs(fake: Any) -> None:
    fake.nodes = lambda: [node(16), node(4, 2), node(64, 8, alive=False)]
    executor = RayExecutor()
    executor.check([cell(16), cell(4, 1), cell(1, 0.5)])
    for needs, said in (
        (cell(17), "cpus = 17: spiral/x needs more than any node of the cluster has; use 16 or fewer"),
        (cell(1, 3), "gpus = 3: spiral/x needs more than any node of the cluster has; use 2 or fewer"),
        (cell(8, 1), "cpus = 8: no node has them beside the 1 GPU that spiral/x needs; use 4 or fewer"),
    ):
        with pytest.raises(InvalidArgument) as told:
            executor.check([needs])
        assert str(told.value) == said


@pytest.mark.parametrize("kind", [RuntimeError, OSError, TypeError, KeyboardInterrupt])
def test_a_cluster_that_does_not_start_leaves_no_folder(kind: type[BaseException], fake: Any) -> None:
    made: list[Path] = []

    def init(**settings: Any) -> None:
        made.append(Path(settings["_temp_dir"]).parent)
        assert made[0].is_dir()
        raise kind("no room\nand more")

    fake.init = init
    with pytest.raises((ExecutorUnavailable, KeyboardInterrupt)) as told:
        RayExecutor().start()
    assert not made[0].exists()
    if kind is not KeyboardInterrupt:
        said = "no Ray cluster could be started on this machine (no room); use --executor local"
        assert str(told.value) == said


def test_what_answers_but_is_no_cluster(fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.init = lambda **settings: pytest.fail(f"asked for {settings}")
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        address = f"127.0.0.1:{deaf.getsockname()[1]}"
        for probe, said in (
            ("import time; time.sleep(60)", "no connection within 0.5 s"),
            ("import sys; print('no GCS.'); sys.exit(1)", "no GCS"),
            ("import sys; sys.exit(3)", "a client ended with status 3"),
        ):
            monkeypatch.setattr(ray_executor, "PROBE", probe)
            monkeypatch.setattr(ray_executor, "CONNECT_SECONDS", 0.5 if "sleep" in probe else 60.0)
            with pytest.raises(ExecutorUnavailable) as told:
                RayExecutor(address=address).start()
            assert f"--address {address}: no Ray cluster can be used there ({said}); start one with" in str(told.value)


@pytest.mark.parametrize(("address", "alone"), [("127.0.0.1:1", True), ("localhost:1", True), ("192.0.2.1:1", False)])
def test_a_cluster_on_the_loopback_interface_is_asked_for_there(
    address: str, alone: bool, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    fake.init = lambda **settings: seen.append(settings["address"])
    monkeypatch.setattr(ray_executor, "_check_answers", lambda address: None)
    monkeypatch.setattr(ray_executor, "_check_connects", lambda address: None)
    RayExecutor(address=address).start()
    assert seen == [address]
    assert os.environ.get("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER") == ("0" if alone else None)
    assert "RAY_AUTH_TOKEN" not in os.environ, "the cluster has its own"
