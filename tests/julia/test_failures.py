"""A worker that misbehaves: each time its own typed error within the limit, and the next call works."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pynode.errors import RunFailure, StateMismatch
from pynode.julia.arena import SHARED_MEMORY
from pynode.julia.errors import Cancelled, JuliaError, WorkerDied, WorkerError, WorkerGarbage, WorkerTimeout
from pynode.julia.session import Session

ROOT = Path(__file__).resolve().parents[2]
POSIX = os.name == "posix"


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """However a worker ended, its memory is free."""
    yield
    assert left_by(os.getpid()) == []


def left_by(pid: int) -> list[Path]:
    """Files of the arenas of a process."""
    return [path for folder in (SHARED_MEMORY, Path(tempfile.gettempdir())) for path in folder.glob(f"pynode-{pid}-*")]


def goes_on(session: Session) -> None:
    """The next call works, arrays and all."""
    reply = session.call("echo", arrays={"a": np.ones(3)}, outputs={"a_back": ((3,), float)})
    assert reply.arrays["a_back"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("misdeed", "error", "said"),
    [
        ("kill", WorkerDied, "was ended by SIGKILL during 'echo'" if POSIX else "exit code"),
        (
            "crash",
            WorkerDied,
            "was ended by SIGSEGV.*its log ends with: .4321. signal .11.1.: Segmentation fault . in expression",
        ),
        ("exit", WorkerDied, "ended with exit code 3 during 'echo'.*its log ends with: could not go on"),
        ("half-then-crash", WorkerDied, "ended with exit code 9"),
        ("close", WorkerDied, "closed its pipe without ending"),
        ("hang", WorkerTimeout, "did not answer 'echo' within 0.4 s.*PYNODE_JULIA_TIMEOUT.*now it hangs"),
        ("half-then-hang", WorkerTimeout, "within 0.4 s"),
        ("garbage", WorkerGarbage, "by b'Segmentation' where a frame should begin"),
        ("half-then-exit", WorkerGarbage, "ended inside a frame"),
        ("no-json", WorkerGarbage, "body is not JSON"),
        ("no-object", WorkerGarbage, "body is not an object"),
        ("oversized", WorkerGarbage, "is the limit"),
        ("other-id", WorkerGarbage, "an answer to request 1000000"),
        ("no-seconds", WorkerGarbage, "an answer to request None"),
        ("bad-handle", WorkerGarbage, "without value or error"),
        ("question", WorkerGarbage, "a question without a callback"),
    ],
)
def test_a_failing_worker_is_named_and_replaced(
    stand_in_session: Session, misdeed: str, error: type[WorkerError], said: str
) -> None:
    stand_in_session.call("ping")
    before = stand_in_session.worker_pid
    began = time.monotonic()
    with pytest.raises(error, match=said) as caught:
        stand_in_session.call("echo", {"misbehave": misdeed}, limit=0.4 if error is WorkerTimeout else 30)
    assert time.monotonic() - began < 10
    assert "the next call starts a new one" in str(caught.value)
    assert isinstance(caught.value, RunFailure)
    assert not stand_in_session.alive
    goes_on(stand_in_session)
    assert stand_in_session.worker_pid != before


def test_an_exception_of_julia_arrives_whole(stand_in_session: Session) -> None:
    stand_in_session.call("ping")
    before = stand_in_session.worker_pid
    with pytest.raises(JuliaError, match="DomainError with -1") as caught:
        stand_in_session.call("echo", {"misbehave": "julia-error"})
    assert caught.value.julia_message == "DomainError with -1.0:\nsqrt was called with -1.0"
    assert caught.value.julia_type == "DomainError"
    assert "sqrt @ math.jl:1" in caught.value.julia_backtrace
    if sys.version_info >= (3, 11):
        assert "sqrt @ math.jl:1" in caught.value.__notes__[0]
    goes_on(stand_in_session)
    assert stand_in_session.worker_pid == before


def test_an_exception_of_the_worker_itself_leaves_it_alive(stand_in_session: Session) -> None:
    stand_in_session.call("ping")
    before = stand_in_session.worker_pid
    with pytest.raises(WorkerError, match="could not do 'echo': LookupError: no such thing"):
        stand_in_session.call("echo", {"misbehave": "python-error"})
    with pytest.raises(WorkerError, match="no verb 'nosuch'"):
        stand_in_session.call("nosuch")
    goes_on(stand_in_session)
    assert stand_in_session.worker_pid == before


def test_a_cancelled_solve_is_a_typed_error(stand_in_session: Session) -> None:
    goes_on(stand_in_session)
    worker = stand_in_session._worker
    assert worker is not None
    assert worker.arena is not None
    timer = threading.Timer(0.2, worker.arena.cancel.fill, (1,))
    timer.start()
    with pytest.raises(Cancelled, match="'echo' was stopped"):
        stand_in_session.call("echo", {"misbehave": "slow"})
    timer.join()
    goes_on(stand_in_session)
    assert stand_in_session._worker is worker


def test_what_is_printed_does_no_harm(stand_in_session: Session) -> None:
    reply = stand_in_session.call("echo", {"misbehave": "print"})
    assert reply.value == {"standard_input": ""}, "the worker's standard input is empty for whoever reads it"
    goes_on(stand_in_session)


def test_a_worker_that_prints_much_is_not_held_up(stand_in_session: Session) -> None:
    for _ in range(3):
        stand_in_session.call("echo", {"misbehave": "chatter"})
    goes_on(stand_in_session)


def test_a_message_that_nobody_reads_does_not_hang_the_parent(stand_in_session: Session) -> None:
    """The pipe is full, and the worker stopped: only the limit can help."""
    if not POSIX:
        pytest.skip("SIGSTOP exists on POSIX systems only")
    stand_in_session.call("ping")
    pid = stand_in_session.worker_pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(WorkerTimeout):
        stand_in_session.call("echo", {"text": "x" * 3_000_000}, limit=0.5)
    assert time.monotonic() - began < 5
    goes_on(stand_in_session)


@pytest.mark.skipif(not POSIX, reason="SIGKILL exists on POSIX systems only")
def test_killed_from_outside_during_a_solve(stand_in_session: Session) -> None:
    stand_in_session.call("ping")
    pid = stand_in_session.worker_pid
    assert pid is not None
    timer = threading.Timer(0.2, os.kill, (pid, signal.SIGKILL))
    timer.start()
    with pytest.raises(WorkerDied, match="SIGKILL during 'echo'"):
        stand_in_session.call("echo", {"misbehave": "slow"})
    timer.join()
    goes_on(stand_in_session)


@pytest.mark.skipif(not POSIX, reason="SIGKILL exists on POSIX systems only")
def test_killed_between_two_calls(stand_in_session: Session) -> None:
    stand_in_session.call("ping")
    pid = stand_in_session.worker_pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    while stand_in_session.alive:
        time.sleep(0.01)
    goes_on(stand_in_session)


def test_closing_ends_a_call_of_another_thread(stand_in_command: Callable[[str], list[str]]) -> None:
    session = Session(stand_in_command(""))
    session.call("ping")
    timer = threading.Timer(0.2, session.close)
    timer.start()
    with pytest.raises(WorkerDied):
        session.call("echo", {"misbehave": "deaf"})
    timer.join()
    goes_on(session)
    session.close()


@pytest.mark.parametrize(
    ("mode", "error", "said"),
    [
        ("die", WorkerDied, "exit code 4 during the start.*LoadError: no such package"),
        ("hang", WorkerTimeout, "the start within 0.4 s.*PYNODE_JULIA_START_TIMEOUT"),
        ("garbage", WorkerGarbage, "by b'Activating p' where a frame should begin"),
        ("fail", WorkerDied, "could not start: ArgumentError: Package PyNODE not found"),
    ],
)
def test_a_worker_that_does_not_start(
    mode: str, error: type[WorkerError], said: str, stand_in_command: Callable[[str], list[str]]
) -> None:
    with Session(stand_in_command(mode), start_limit=0.4 if mode == "hang" else 30) as session:
        with pytest.raises(error, match=said):
            session.call("ping")
        assert not session.alive


# --- Ctrl-C -----------------------------------------------------------------------------------------------------------

INTERRUPTED = """
import sys, time
from pynode.julia.session import Session
session = Session(sys.argv[2:])
session.call("ping")
before = session.worker_pid
print("begun", flush=True)
try:
    session.call("echo", {"misbehave": sys.argv[1]})
except KeyboardInterrupt:
    print("interrupted", flush=True)
session.call("ping")
print("same worker" if session.worker_pid == before else "other worker", flush=True)
"""


@pytest.mark.skipif(not POSIX, reason="sends SIGINT as a terminal does")
@pytest.mark.parametrize(("misdeed", "presses", "worker"), [("slow", 1, "same worker"), ("deaf", 2, "other worker")])
def test_ctrl_c_stops_a_solve_and_the_session_goes_on(
    misdeed: str, presses: int, worker: str, stand_in_command: Callable[[str], list[str]]
) -> None:
    """A worker that does not listen is killed after a while, at once by a second Ctrl-C."""
    command = [sys.executable, "-W", "error", "-c", INTERRUPTED, misdeed, *stand_in_command("")]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    began = time.monotonic()
    for _ in range(presses):
        time.sleep(0.3)
        os.killpg(process.pid, signal.SIGINT)  # to the whole group, as a terminal does: the worker is not in it
    out, error = process.communicate(timeout=30)
    assert out.splitlines() == ["interrupted", worker], error
    assert process.returncode == 0
    assert error == ""
    assert time.monotonic() - began < 4


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize("misdeed", ["none", "hang"])
def test_a_worker_ends_with_its_parent(misdeed: str, stand_in_command: Callable[[str], list[str]]) -> None:
    """Also one in the middle of its work, when the parent had no time to say farewell."""
    code = """
import sys, threading, time
from pynode.julia.session import Session
session = Session(sys.argv[2:])
session.call("ping")
if sys.argv[1] != "none":
    threading.Thread(target=session.call, args=("echo", {"misbehave": sys.argv[1]}), daemon=True).start()
    time.sleep(0.2)
print(session.worker_pid, flush=True)
time.sleep(60)
"""
    command = [sys.executable, "-c", code, misdeed, *stand_in_command("")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    with process.stdout as out:
        worker = int(out.readline())
    assert Path(f"/proc/{worker}").exists()
    process.kill()
    process.wait()
    until = time.monotonic() + 10
    while running(worker) and time.monotonic() < until:
        time.sleep(0.02)
    assert not running(worker)
    assert left_by(process.pid) == []


def running(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for somebody to ask does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# --- a user's function ------------------------------------------------------------------------------------------------


def reference(session: Session, f: Callable[..., object]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Asks for a trajectory of `f`."""
    reply = session.call(
        "reference",
        {"rtol": 1e-8, "atol": 1e-10},
        {"y0": np.ones((1, 2)), "ts": np.array([0.0, 1.0])},
        {"ys": ((2, 1, 2), float)},
        callback=f,  # type: ignore[arg-type]
    )
    return reply.arrays["ys"]


class MineError(Exception):
    """Raised by a user's function."""


def test_an_exception_in_the_users_function_comes_through(stand_in_session: Session) -> None:
    stand_in_session.call("ping")
    before = stand_in_session.worker_pid
    calls: list[float] = []
    error = MineError("as it is")

    def f(t: float, y: object) -> object:
        calls.append(t)
        if len(calls) == 4:
            raise error
        return y

    with pytest.raises(MineError) as caught:
        reference(stand_in_session, f)
    assert caught.value is error
    assert len(calls) == 4
    np.testing.assert_allclose(reference(stand_in_session, lambda t, y: -y)[-1], np.exp([[-1.0, -1.0]]), rtol=1e-7)
    assert stand_in_session.worker_pid == before


def test_a_function_that_closes_the_session_ends_its_call(stand_in_session: Session) -> None:
    def f(_: float, y: object) -> object:
        stand_in_session.close()
        return y

    with pytest.raises(WorkerDied):
        reference(stand_in_session, f)
    goes_on(stand_in_session)


def test_a_function_of_another_shape_is_refused(stand_in_session: Session) -> None:
    with pytest.raises(StateMismatch, match=r"f\(t, y\) has shape \(2,\)"):
        reference(stand_in_session, lambda t, y: y[0])
    goes_on(stand_in_session)


def test_the_users_time_does_not_count(stand_in_session: Session) -> None:
    reference(stand_in_session, lambda t, y: y)  # what it imports does count
    calls: list[float] = []

    def f(t: float, y: object) -> object:
        if not calls:
            time.sleep(0.7)
        calls.append(t)
        return y

    reply = stand_in_session.call(
        "reference",
        {"rtol": 1e-4, "atol": 1e-4},
        {"y0": np.ones(2), "ts": np.array([0.0, 0.1])},
        {"ys": ((2, 2), float)},
        callback=f,  # type: ignore[arg-type]
        limit=0.5,
    )
    assert reply.value["retcode"] == "Success"


@pytest.mark.parametrize("misdeed", ["julia-error", "python-error"])
def test_a_larger_request_that_fails_leaves_both_sides_with_one_arena(stand_in_session: Session, misdeed: str) -> None:
    """The worker has the new arena by then, and the parent does not know it."""
    goes_on(stand_in_session)
    large = np.arange(400_000.0)
    with pytest.raises(WorkerError if misdeed == "python-error" else JuliaError):
        stand_in_session.call("echo", {"misbehave": misdeed}, {"x": large}, {"y": (large.shape, large.dtype)})
    goes_on(stand_in_session)


def test_no_limit_is_too_long(stand_in_session: Session) -> None:
    """The system's own wait takes no more than some weeks."""
    for limit in (1e9, math.inf):
        stand_in_session.call("ping", limit=limit)
