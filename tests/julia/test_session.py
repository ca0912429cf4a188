"""A session with a worker that behaves: what goes in comes out, in any size and dtype, from any thread and process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pynode.errors import InvalidArgument, UsageError
from pynode.julia import session as session_module
from pynode.julia.errors import JuliaUnavailable, WorkerDied
from pynode.julia.session import Held, Session, default_session, is_running

SHARED = Path("/dev/shm")
ROOT = Path(__file__).resolve().parents[2]


def echo(session: Session, value: dict[str, Any] | None = None, **arrays: np.ndarray[Any, Any]) -> Any:
    """Sends arrays and gets them back."""
    outputs = {f"{name}_back": (array.shape, array.dtype) for name, array in arrays.items()}
    reply = session.call("echo", value, arrays, outputs)
    return reply._replace(arrays={name: reply.arrays[f"{name}_back"] for name in arrays})


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "uint8"])
@pytest.mark.parametrize("shape", [(), (1,), (0, 3), (5, 3), (2, 3, 4)])
def test_arrays_come_back(stand_in_session: Session, dtype: str, shape: tuple[int, ...]) -> None:
    sent = np.arange(np.prod(shape, dtype=int), dtype=dtype).reshape(shape)
    reply = echo(stand_in_session, {"text": "ä", "numbers": [1, 2.5, None]}, a=sent, b=sent[..., None])
    assert reply.value["text"] == "ä"
    assert reply.value["numbers"] == [1, 2.5, None]
    assert reply.value["shapes"] == [list(shape), [*shape, 1]]
    assert reply.arrays["a"].dtype == sent.dtype
    np.testing.assert_array_equal(reply.arrays["a"], sent)
    np.testing.assert_array_equal(reply.arrays["b"], sent[..., None])


def test_strided_and_swapped_arrays_come_back(stand_in_session: Session) -> None:
    a = np.arange(24.0).reshape(4, 6)
    reply = stand_in_session.call(
        "echo",
        arrays={"t": a.T[::2], "big": a.astype(">f8")},
        outputs={"t_back": ((3, 4), float), "big_back": ((4, 6), float)},
    )
    np.testing.assert_array_equal(reply.arrays["t_back"], a.T[::2])
    np.testing.assert_array_equal(reply.arrays["big_back"], a)


def test_replies_are_copies(stand_in_session: Session) -> None:
    first = echo(stand_in_session, a=np.ones(3)).arrays["a"]
    echo(stand_in_session, a=np.zeros(3))
    assert first.tolist() == [1, 1, 1]


def test_the_arena_grows_and_leaves_no_file(stand_in_session: Session) -> None:
    for n in (10, 500_000, 10, 3_000_000):
        sent = np.random.default_rng(n).standard_normal(n)
        np.testing.assert_array_equal(echo(stand_in_session, a=sent).arrays["a"], sent)
        assert list(SHARED.glob(f"pynode-{os.getpid()}-*")) == [], "deleted while it is in use"


def test_big_values_cross(stand_in_session: Session) -> None:
    """Larger than any pipe's buffer, either way."""
    assert stand_in_session.call("echo", {"text": "y" * 5_000_000}).value["text"] == "y" * 5_000_000


def test_a_small_call_is_quick(stand_in_session: Session) -> None:
    """The best of many, since other work may share the machine."""
    state = np.zeros((100, 2))
    echo(stand_in_session, a=state)
    seconds = []
    for _ in range(30):
        began = time.perf_counter()
        reply = echo(stand_in_session, a=state)
        seconds.append(time.perf_counter() - began)
        assert 0 < reply.bridge_seconds <= seconds[-1]
    assert min(seconds) < 0.01


def test_seconds_of_the_worker_are_no_bridge_time(stand_in_session: Session) -> None:
    system = {"field": {"architecture": "mlp", "widths": [2, 30, 2]}, "flow": None}
    options = {"kind": "disc-opt", "A": [[]], "b": [1.0], "c": [0.0], "substeps": [400], "gradient": False}
    arrays = {"theta": np.zeros(152), "y0": np.ones((3, 2)), "ts": np.array([0.0, 1.0])}
    began = time.perf_counter()
    reply = stand_in_session.call("solve", {"system": system, "options": options}, arrays, {"ys": ((2, 3, 2), float)})
    total = time.perf_counter() - began
    assert 0 < reply.value["seconds"] < total
    assert reply.bridge_seconds <= total - reply.value["seconds"]


def test_mistakes_are_named(stand_in_session: Session) -> None:
    with pytest.raises(InvalidArgument, match=r"arrays\['a'\] = complex128"):
        stand_in_session.call("echo", arrays={"a": np.zeros(2, dtype=complex)})
    with pytest.raises(InvalidArgument, match=r"outputs = \['a'\]: also names of arrays"):
        stand_in_session.call("echo", arrays={"a": np.zeros(2)}, outputs={"a": ((2,), float)})
    with pytest.raises(InvalidArgument, match="not JSON serializable"):
        stand_in_session.call("echo", {"a": object()})
    with pytest.raises(InvalidArgument, match="is the limit"):
        stand_in_session.call("echo", {"a": "x" * 2**26})
    with pytest.raises(InvalidArgument, match="limit = 0"):
        stand_in_session.call("echo", limit=0)
    with pytest.raises(InvalidArgument, match="start_limit = -1"):
        Session(start_limit=-1)
    assert echo(stand_in_session, a=np.ones(1)).arrays["a"] == 1


def test_limits_come_from_the_environment(stand_in_session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stand_in_session, "_limit", None)
    for wrong in ("soon", "0", "nan"):
        monkeypatch.setenv("PYNODE_JULIA_TIMEOUT", wrong)
        with pytest.raises(InvalidArgument, match="PYNODE_JULIA_TIMEOUT"):
            stand_in_session.call("ping")
    monkeypatch.setenv("PYNODE_JULIA_TIMEOUT", "20")
    stand_in_session.call("ping")


def test_threads_take_turns(stand_in_session: Session) -> None:
    wrong = []

    def work(k: int) -> None:
        for i in range(20):
            sent = np.full(1000 + 3000 * k, 100.0 * k + i)
            if not np.array_equal(echo(stand_in_session, a=sent).arrays["a"], sent):
                wrong.append((k, i))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_call_inside_a_call_is_refused(stand_in_session: Session) -> None:
    def f(t: float, y: Any) -> Any:
        stand_in_session.call("ping")
        return -t * y

    with pytest.raises(UsageError, match="'ping' was called from inside another call"):
        stand_in_session.call(
            "reference",
            {"rtol": 1e-6, "atol": 1e-6},
            {"y0": np.ones(1), "ts": np.array([0.0, 1.0])},
            {"ys": ((2, 1), float)},
            callback=f,
        )
    stand_in_session.call("ping")


SOLVE = {
    "system": {"field": {"architecture": "mlp", "widths": [2, 2]}, "flow": None},
    "options": {"kind": "disc-opt", "A": [[]], "b": [1.0], "c": [0.0], "substeps": [2], "gradient": True},
}
"""Two Euler steps of y' = W y + b."""


def solve(session: Session) -> Held:
    """The owner of a solution that the worker keeps."""
    arrays = {"theta": np.array([0.0, 1, -1, 0, 0, 0]), "y0": np.array([[1.0, 0]]), "ts": np.array([0.0, 1.0])}
    reply = session.call("solve", SOLVE, arrays, {"ys": ((2, 1, 2), float)})
    np.testing.assert_allclose(reply.arrays["ys"][-1], [[0.75, -1.0]], rtol=1e-15)
    assert reply.held is not None
    assert reply.held.handle == reply.value["handle"]
    return reply.held


def pullback(session: Session, held: Held) -> Any:
    """The gradient of the last state's first entry."""
    outputs = {"grad_y0": ((1, 2), float), "grad_theta": ((6,), float), "grad_ts": ((2,), float)}
    cotangents = np.array([[[0.0, 0]], [[1, 0]]])
    value = {"handle": held.handle, "times": 0}
    return session.call("pullback", value, {"cotangents": cotangents}, outputs).arrays


def test_solutions_are_kept_and_forgotten(stand_in_session: Session) -> None:
    first, second = solve(stand_in_session), solve(stand_in_session)
    assert first.handle != second.handle
    np.testing.assert_allclose(pullback(stand_in_session, first)["grad_y0"], [[0.75, 1.0]], rtol=1e-15)
    del first
    assert stand_in_session.call("echo").value["held"] == 1
    del second
    assert stand_in_session.call("echo").value["held"] == 0


def test_a_solution_of_a_lost_worker_is_no_other_workers(stand_in_session: Session) -> None:
    old = solve(stand_in_session)
    stand_in_session.restart()
    new = solve(stand_in_session)
    with pytest.raises(WorkerDied, match="solve again"):
        pullback(stand_in_session, old)
    del old
    assert pullback(stand_in_session, new)["grad_theta"].shape == (6,)


def test_sessions_start_late_and_close(stand_in_command: Callable[[str], list[str]]) -> None:
    session = Session(stand_in_command(""))
    pids = [session.worker_pid]
    for change in (lambda: session.call("ping"), session.restart, session.close, lambda: session.call("ping")):
        change()
        pids.append(session.worker_pid)
        assert session.alive is (pids[-1] is not None)
    assert [pid is None for pid in pids] == [True, False, False, True, False]
    assert len(set(pids)) == 4
    session.close()
    session.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_process_gets_its_own_worker(stand_in_command: Callable[[str], list[str]]) -> None:
    code = """
import os, sys
import numpy as np
from pynode.julia.session import Session
session = Session(sys.argv[1:])
session.call("ping")
ours = session.worker_pid
if (child := os.fork()) == 0:
    assert not session.alive and session.worker_pid is None
    session.call("ping")
    assert session.worker_pid != ours
    sys.exit(7)
_, status = os.waitpid(child, 0)
session.call("ping")
print(os.waitstatus_to_exitcode(status), session.worker_pid == ours)
"""
    command = [sys.executable, "-W", "error", "-c", code, *stand_in_command("")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=60)
    assert done.stdout.split() == ["7", "True"], done.stderr
    assert done.stderr == ""


def test_the_default_session_is_one(stand_in_default: Session) -> None:
    assert default_session() is stand_in_default
    assert stand_in_default.call("ping").value == {}


def test_whether_a_worker_runs_is_known(stand_in_default: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in_default.close()
    assert not is_running()
    stand_in_default.call("ping")
    assert is_running()
    with monkeypatch.context() as patched:
        patched.setenv("PYNODE_JULIA_WORKER", "")
        assert not is_running(), "that is the worker of another command"
    stand_in_default.close()
    assert not is_running()


@pytest.mark.parametrize("text", ["python", "[]", "[1]", '{"a": 1}'])
def test_a_wrong_command_is_named(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYNODE_JULIA_WORKER", text)
    with pytest.raises(JuliaUnavailable, match=r"PYNODE_JULIA_WORKER = .* is not a command"):
        default_session()


def test_a_command_that_can_not_be_run_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYNODE_JULIA_WORKER", json.dumps(["/nowhere/python"]))
    with pytest.raises(JuliaUnavailable, match="can't be started"):
        default_session().call("ping")


def test_the_bridge_imports_no_torch() -> None:
    code = "import sys, pynode.julia.session, pynode.julia.reference, pynode.julia.setup, pynode.julia.worker;"
    code += "print(sorted({'torch', 'juliacall', 'juliapkg', 'diffeqpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
    assert session_module.COMMAND[0] == sys.executable
