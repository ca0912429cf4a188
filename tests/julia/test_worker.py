"""The worker itself, with a pretended juliacall: which Julia function gets which arguments; and with a real Julia."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pynode.errors import RunFailure
from pynode.fields.mlp import MLP
from pynode.julia.errors import Cancelled, JuliaError, WorkerDied, WorkerError
from pynode.julia.prepared import COUNTS, Prepared, prepare
from pynode.julia.reference import reference_trajectory
from pynode.julia.session import COMMAND, Session, default_session
from pynode.julia.worker import BRIDGE

ROOT = Path(__file__).resolve().parents[2]

JULIACALL = '''
"""Answers the few pieces of Julia code that the worker runs; every function of the bridge tells what it was given."""
import ctypes, json, os
import numpy as np

class JuliaError(Exception):
    pass

class Base:
    showerror = show_backtrace = None
    string = staticmethod(str)
    typeof = staticmethod(type)
    nameof = staticmethod(lambda kind: kind.__name__)
    sprint = staticmethod(lambda show, thing: str(thing))

class DomainError(Exception): pass
class Cancelled(Exception): pass

def wrap(dtype):
    def make(address, *dims):  # the axes come in Julia's order
        count = int(np.prod(dims, dtype=int)) * np.dtype(dtype).itemsize
        memory = (ctypes.c_uint8 * count).from_address(address)
        return np.frombuffer(memory, dtype).reshape(dims, order="F")
    return make

def bridge(name):
    def call(*arguments):
        told = []
        for a in arguments:
            told.append([str(a.dtype), list(a.shape), a.ravel(order="F").tolist()] if isinstance(a, np.ndarray) else a)
        if name.startswith("prepared_"):
            return lambda *numbers: again(name, arguments, told, numbers)
        if name.endswith("!"):
            arguments[0][...] = np.arange(arguments[0].size).reshape(arguments[0].shape, order="F")
        if name == "train" and (kind := {'"a"': DomainError, '"b"': Cancelled}.get(arguments[0])):
            raise JuliaError(kind("x < 0"), "[1]")
        return None if name in ("release", "evaluate!") else json.dumps({"function": name, "told": told})
    return call

def again(name, arguments, told, numbers):
    """Fills the first array; answers by numbers where the report is an array."""
    arguments[0][...] = np.arange(arguments[0].size).reshape(arguments[0].shape, order="F")
    report = arguments[{"prepared_solve": 1, "prepared_pullback": 3}[name]]
    if report.size:
        report[...] = [7 + sum(numbers), *range(6), *[0.5] * 7]
        return None
    return json.dumps({"function": name, "told": told, "numbers": numbers})

class Main:
    Base = Base
    @staticmethod
    def seval(code):
        if code == "using PyNODE":
            print("Precompiling PyNODE")
            if os.environ.get("PRETEND") == "broken":
                raise JuliaError("ArgumentError: Package PyNODE not found", None)
            return None
        if code.startswith("PyNODE.Bridge."):
            return bridge(code.removeprefix("PyNODE.Bridge."))
        for dtype, name in (("f8", "Float64"), ("f4", "Float32"), ("i8", "Int64"), ("u1", "UInt8")):
            if code == "(address, dims...) -> unsafe_wrap(Array, Ptr{%s}(UInt(address)), dims)" % name:
                return wrap(dtype)
        if code == "zeros(0, 0)":
            return np.zeros((0, 0))
        raise JuliaError(f"unexpected code: {code}", None)
'''


@pytest.fixture(scope="module")
def pretended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A session with the real worker program, in which `import juliacall` finds the module above."""
    folder = tmp_path_factory.mktemp("pretended")
    (folder / "juliacall.py").write_text(JULIACALL)
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); import runpy; runpy.run_module({COMMAND[2]!r}, run_name="
    command = [sys.executable, "-c", f"{code}'__main__')"]
    with Session(command, limit=30, start_limit=30) as session:
        yield session


def array(dtype: str, *shape: int) -> np.ndarray[Any, Any]:
    """Distinct numbers."""
    return (10 + np.arange(np.prod(shape, dtype=int), dtype=dtype)).reshape(shape)


def test_solve_passes_transposes(pretended: Session) -> None:
    arrays = {"theta": array("float64", 4), "y0": array("float32", 3, 2), "ts": array("float64", 2)}
    arrays["probes"] = array("float64", 3, 2)
    value = {"system": {"field": {"architecture": "mlp"}, "flow": None}, "options": {"rtol": 1e-7}}
    reply = pretended.call("solve", value, arrays, {"ys": ((2, 3, 2), "float32")})
    assert reply.value["function"] == "prepared_solve"
    ys, report, system, theta, y0, ts, probes, options, cancel = reply.value["told"]
    assert ys[:2] == ["float32", [2, 3, 2]]
    assert report == ["float64", [0, 0], []]
    assert (system, options) == ('{"field": {"architecture": "mlp"}, "flow": null}', '{"rtol": 1e-07}')
    assert theta == ["float64", [4], [10, 11, 12, 13]]
    assert y0 == ["float32", [2, 3], [10, 11, 12, 13, 14, 15]], "dim first, the same memory"
    assert ts == ["float64", [2], [10, 11]]
    assert probes[1] == [2, 3]
    assert cancel == ["uint8", [1], [0]]
    assert reply.arrays["ys"].ravel().tolist() == list(range(12)), "filled in place, column by column"


def test_probes_may_be_left_out(pretended: Session) -> None:
    arrays = {"theta": array("float32", 1), "y": array("float32", 1, 2)}
    assert pretended.call("evaluate", {"system": {}, "t": 0.5}, arrays, {"dy": ((1, 2), "float32")}).value == {}
    arrays = {"theta": array("float32", 1), "y0": array("float32", 1, 2), "ts": array("float64", 2)}
    told = pretended.call("solve", {"system": {}, "options": {}}, arrays, {"ys": ((2, 1, 2), "float32")}).value["told"]
    assert told[6] == ["float64", [0, 0], []]


def test_the_other_verbs(pretended: Session) -> None:
    assert pretended.call("versions").value == {"function": "versions", "told": []}
    handle = pretended._generation << 32 | 7
    outputs = {"grad_y0": ((3, 2), float), "grad_theta": ((4,), float), "grad_ts": ((2,), float)}
    arrays = {"cotangents": array("float64", 2, 3, 2)}
    value = pretended.call("pullback", {"handle": handle, "times": 1}, arrays, outputs).value
    told = value["told"]
    assert value["numbers"] == [7, 1]
    assert [told[k][1] for k in range(4)] == [[2, 3], [4], [2], [0, 0]]
    assert told[4:] == [["float64", [2, 3, 2], list(range(10, 22))], ["uint8", [1], [0]]]
    assert pretended.call("train", {"problem": {"a": 1}}).value["told"] == ['{"a": 1}', ["uint8", [1], [0]]]
    assert pretended.call("ping").value == {}
    assert set(BRIDGE) == {"versions", "solve", "pullback", "evaluate", "train"}
    with pytest.raises(WorkerError, match="no verb 'release'"):
        pretended.call("release")


def test_prepared_requests_answer_by_numbers(pretended: Session) -> None:
    handle = pretended._generation << 32 | 1
    layouts = {"grad_y0": ((3, 2), float), "grad_theta": ((4,), float), "grad_ts": ((2,), float)}
    pullback = prepare("pullback", {}, {"cotangents": ((2, 3, 2), float)}, layouts, ("handle", "times"))
    for times in (0, 1, 0):
        reply = pretended.run(pullback, {"cotangents": array("float64", 2, 3, 2)}, {"handle": handle, "times": times})
        assert reply.arrays["grad_y0"].ravel().tolist() == list(range(6))
        assert reply.value["handle"] == handle + 7 + times
        assert reply.value["cost"] == {name: k for k, name in enumerate(COUNTS)}
        assert reply.value["drift"] == 0.5


def test_exceptions_of_julia(pretended: Session) -> None:
    with pytest.raises(JuliaError, match="x < 0") as caught:
        pretended.call("train", {"problem": "a"})
    assert (caught.value.julia_type, caught.value.julia_backtrace) == ("DomainError", "[1]")
    with pytest.raises(Cancelled):
        pretended.call("train", {"problem": "b"})
    assert pretended.call("ping").value == {}


def test_a_julia_without_the_package(pretended: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETEND", "broken")
    pretended.close()
    with pytest.raises(WorkerDied, match=r"could not start: .*Package PyNODE not found"):
        pretended.call("ping")


# --- with a real Julia ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def julia() -> Iterator[Session]:
    """The session with Julia (tests marked `julia` are skipped where there is none)."""
    session = default_session()
    yield session
    session.close()


@pytest.mark.julia
@pytest.mark.timeout(900)
def test_julia_answers(julia: Session) -> None:
    versions = julia.call("versions").value
    assert {"julia", "PyNODE", "SciMLSensitivity"} <= set(versions)


@pytest.mark.julia
@pytest.mark.timeout(900)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_julia_evaluates_a_field(julia: Session, dtype: str) -> None:
    import torch

    spec = MLP(widths=(2, 5, 2), activation="tanh")
    y = np.random.default_rng(1).standard_normal((3, 2)).astype(dtype)
    theta = np.linspace(-1, 1, spec.n_params).astype(dtype)
    system = {"field": spec.to_json(), "flow": None}
    got = julia.call("evaluate", {"system": system, "t": 0.5}, {"theta": theta, "y": y}, {"dy": (y.shape, dtype)})
    field = spec.build(theta=torch.from_numpy(theta), dtype=getattr(torch, dtype))
    want = field(torch.tensor(0.5), torch.from_numpy(y)).detach().numpy()
    np.testing.assert_allclose(got.arrays["dy"], want, rtol=1e-12 if dtype == "float64" else 1e-5)


@pytest.mark.julia
@pytest.mark.timeout(900)
def test_julia_raises(julia: Session) -> None:
    arrays = {"theta": np.ones(1), "y": np.ones((1, 2))}
    system = {"field": {"architecture": "nosuch"}, "flow": None}
    with pytest.raises(JuliaError, match="nosuch") as caught:
        julia.call("evaluate", {"system": system, "t": 0.0}, arrays, {"dy": ((1, 2), float)})
    assert caught.value.julia_backtrace
    assert isinstance(caught.value, RunFailure)
    assert julia.alive


@pytest.mark.julia
@pytest.mark.timeout(900)
def test_julia_solves_a_python_function(julia: Session) -> None:
    y0 = np.array([[1.0, 2.0]])
    for ts in (np.array([0.0, 0.4, 1.0]), np.array([1.0, 0.0])):
        ys = reference_trajectory(lambda t, y: -y, y0, ts, session=julia)
        np.testing.assert_allclose(ys, y0 * np.exp(ts[0] - ts)[:, None, None], rtol=1e-9)

    def failing(t: float, y: Any) -> Any:
        if t > 0.5:
            raise LookupError("mine")
        return -y

    with pytest.raises(LookupError, match="mine"):
        reference_trajectory(failing, y0, np.array([0.0, 1.0]), session=julia)
    assert julia.alive


SPIRAL = MLP(widths=(2, 50, 2), activation="tanh", input_power=3)


def spiral(**options: Any) -> tuple[Prepared, Prepared, dict[str, np.ndarray[Any, Any]]]:
    """Solve and gradient of a net of the spiral's size at 30 output times, and their arrays."""
    rk4 = {"A": [[], [0.5], [0, 0.5], [0, 0, 1.0]], "b": [1 / 6, 1 / 3, 1 / 3, 1 / 6], "c": [0, 0.5, 0.5, 1.0]}
    value = {
        "system": {"field": SPIRAL.to_json(), "flow": None},
        "options": {"kind": "disc-opt", **rk4, "substeps": [1] * 29, "gradient": True, **options},
    }
    layouts = {"theta": ((252,), float), "y0": ((1, 2), float), "ts": ((30,), float)}
    outputs = {"grad_y0": ((1, 2), float), "grad_theta": ((252,), float), "grad_ts": ((30,), float)}
    solve = prepare("solve", value, layouts, {"ys": ((30, 1, 2), float)})
    pullback = prepare("pullback", {}, {"cotangents": ((30, 1, 2), float)}, outputs, ("handle", "times"))
    theta = SPIRAL.initial_theta(0).numpy()
    return solve, pullback, {"theta": theta, "y0": np.array([[2.0, 0.0]]), "ts": np.linspace(0.0, 1.5, 30)}


@pytest.mark.julia
@pytest.mark.timeout(900)
def test_the_bridge_costs_little(julia: Session) -> None:
    """Loss and gradient: what is not Julia's own work, 0.15 ms where nothing else runs."""
    solve, pullback, arrays = spiral()
    seconds = []
    for _ in range(100):
        solved = julia.run(solve, arrays)
        numbers = {"handle": solved.value["handle"], "times": 0}
        pulled = julia.run(pullback, {"cotangents": solved.arrays["ys"]}, numbers)
        seconds.append(sum(r.bridge_seconds for r in (solved, pulled)))
        assert pulled.value["status"] == "SUCCESS"
    assert min(seconds) < 1e-3


@pytest.mark.julia
@pytest.mark.timeout(900)
@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT as a terminal does")
def test_julia_stops_at_ctrl_c(julia: Session) -> None:
    """A long solve ends, in the same worker; nothing is kept, and the next solve is right."""
    solve, _, arrays = spiral()
    want = julia.run(solve, arrays).arrays["ys"]
    before = julia.worker_pid
    long, _, _ = spiral(substeps=[200_000] * 29)
    for _ in range(2):
        timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            julia.run(long, arrays)
        timer.join()
    assert julia.worker_pid == before
    np.testing.assert_array_equal(julia.run(solve, arrays).arrays["ys"], want)
