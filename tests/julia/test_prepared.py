"""Prepared requests: the results of calls that tell all anew, whatever happens in between; and no solution that the
worker keeps is left without an owner."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pynode.errors import InvalidArgument
from pynode.julia.errors import JuliaError, WorkerDied, WorkerGarbage
from pynode.julia.exchange import Exchange
from pynode.julia.prepared import SLOTS, Prepared, prepare
from pynode.julia.session import Reply, Session

SYSTEM = {"field": {"architecture": "mlp", "widths": [2, 3, 2]}, "flow": None}
EULER = {"kind": "disc-opt", "A": [[]], "b": [1.0], "c": [0.0], "substeps": [2], "gradient": True}
ADAPTIVE = {"kind": "opt-disc", "rtol": 1e-6, "atol": 1e-8, "max_steps": 1, "gradient": True}
THETA = np.linspace(-1.0, 1.0, 17)
TS = np.array([0.0, 1.0])
POSIX = os.name == "posix"


def prepared_solve(batch: int = 2, **options: Any) -> Prepared:
    """Two Euler steps of a small net, or what the options say."""
    layouts = {"theta": ((17,), float), "y0": ((batch, 2), float), "ts": ((2,), float)}
    value = {"system": SYSTEM, "options": {**EULER, **options}}
    return prepare("solve", value, layouts, {"ys": ((2, batch, 2), float)})


def prepared_pullback(batch: int = 2) -> Prepared:
    """Its gradient."""
    outputs = {"grad_y0": ((batch, 2), float), "grad_theta": ((17,), float), "grad_ts": ((2,), float)}
    return prepare("pullback", {}, {"cotangents": ((2, batch, 2), float)}, outputs, ("handle", "times"))


def given(factor: float = 1.0, batch: int = 2) -> dict[str, Any]:
    """The arrays of a solve."""
    return {"theta": THETA, "y0": factor * np.linspace(0.1, 1.0, 2 * batch).reshape(batch, 2), "ts": TS}


def told_anew(session: Session, factor: float = 1.0, batch: int = 2) -> Reply:
    """The same solve by `call`."""
    return session.call(
        "solve", {"system": SYSTEM, "options": EULER}, given(factor, batch), {"ys": ((2, batch, 2), float)}
    )


def held(session: Session) -> int:
    """Number of solutions that the worker keeps."""
    return int(session.call("echo").value["held"])


def test_prepared_and_told_anew_are_the_same(stand_in_session: Session) -> None:
    solve, pullback = prepared_solve(), prepared_pullback()
    cotangents = {"cotangents": np.arange(8.0).reshape(2, 2, 2)}
    for factor in (1.0, 0.5, -2.0):
        quick, slow = stand_in_session.run(solve, given(factor)), told_anew(stand_in_session, factor)
        np.testing.assert_array_equal(quick.arrays["ys"], slow.arrays["ys"])
        assert list(quick.arrays) == ["ys"]
        assert quick.value["cost"] == {**quick.value["cost"], **slow.value["cost"]}
        for name in ("status", "retcode", "t", "dt", "norm_f", "drift"):
            assert quick.value[name] == slow.value[name]
        for times in (0, 1, 0):
            numbers = {"handle": quick.value["handle"], "times": times}
            first = stand_in_session.run(pullback, cotangents, numbers)
            numbers["handle"] = slow.value["handle"]
            second = stand_in_session.call(
                "pullback", numbers, cotangents, {k: v for k, v in pullback.wanted.items() if k != "report"}
            )
            for name in ("grad_y0", "grad_theta", *(("grad_ts",) if times else ())):
                np.testing.assert_array_equal(first.arrays[name], second.arrays[name])
            assert first.value["handle"] is None
    del quick, slow
    assert held(stand_in_session) == 0


def test_what_was_prepared_is_sent_once(stand_in_session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []
    solve, send = prepared_solve(), Exchange.run

    def noted(self: Exchange, frame: bytes) -> Any:
        lengths.append(len(frame))
        return send(self, frame)

    monkeypatch.setattr(Exchange, "run", noted)
    for _ in range(3):
        stand_in_session.run(solve, given())
    assert lengths[0] > 300
    assert max(lengths[1:]) < 60


def test_it_is_told_again_where_that_is_needed(stand_in_session: Session) -> None:
    """To a new worker, in a new arena, and where others took its place."""
    solve = prepared_solve()
    want = stand_in_session.run(solve, given()).arrays["ys"]

    def larger() -> None:
        worker = stand_in_session._worker
        assert worker is not None
        assert worker.arena is not None
        entries = worker.arena.size // 8 + 1
        stand_in_session.call("echo", None, {"a": np.ones(entries)}, {"a_back": ((entries,), float)})

    def others() -> None:
        for batch in range(1, SLOTS + 3):
            reply = stand_in_session.run(prepared_solve(batch), given(1.0, batch))
            np.testing.assert_array_equal(reply.arrays["ys"], told_anew(stand_in_session, 1.0, batch).arrays["ys"])

    for between in (lambda: None, stand_in_session.restart, larger, others, lambda: None):
        between()
        np.testing.assert_array_equal(stand_in_session.run(solve, given()).arrays["ys"], want)
    assert len(stand_in_session._slots) <= SLOTS


def test_a_solve_that_fails_says_why(stand_in_session: Session) -> None:
    solve = prepare(
        "solve",
        {"system": SYSTEM, "options": ADAPTIVE},
        {"theta": ((17,), float), "y0": ((2, 2), float), "ts": ((2,), float)},
        {"ys": ((2, 2, 2), float)},
    )
    for _ in range(3):
        reply = stand_in_session.run(solve, given())
        assert (reply.value["status"], reply.value["handle"], reply.held) == ("MAX_STEPS", None, None)
        assert reply.value["norm_f"] > 0


def test_an_error_at_the_first_time_is_one_at_the_second(stand_in_session: Session) -> None:
    pullback = prepared_pullback()
    handle = told_anew(stand_in_session).value["handle"]  # whose owner is gone
    for _ in range(3):
        with pytest.raises(JuliaError, match="released"):
            stand_in_session.run(pullback, {"cotangents": np.zeros((2, 2, 2))}, {"handle": handle, "times": 0})


def test_other_shapes_and_lost_workers_are_named(stand_in_session: Session) -> None:
    solve, pullback = prepared_solve(), prepared_pullback()
    reply = stand_in_session.run(solve, given())
    with pytest.raises(InvalidArgument, match=r"arrays\['y0'\] = \(3, 2\): not the shape that was prepared"):
        stand_in_session.run(solve, given(1.0, 3))
    stand_in_session.restart()
    numbers = {"handle": reply.value["handle"], "times": 0}
    with pytest.raises(WorkerDied, match="solve again"):
        stand_in_session.run(pullback, {"cotangents": np.zeros((2, 2, 2))}, numbers)
    assert held(stand_in_session) == 0


def test_an_array_of_another_shape_is_told_the_right_one(stand_in_session: Session) -> None:
    with pytest.raises(InvalidArgument, match=r"pass an array of shape \(2, 2\)$"):
        stand_in_session.run(prepared_solve(), given(1.0, 3))


def test_a_report_without_counts_is_garbage(stand_in_session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> dict[str, Any]:
        return {"n_f": int(float("nan"))}

    monkeypatch.setattr("pynode.julia.session.read_report", refuse)
    with pytest.raises(WorkerGarbage, match="answered 'solve' by a report whose counts are NaN or infinite"):
        stand_in_session.run(prepared_solve(), given())


@pytest.mark.parametrize("misdeed", ["done", "short-done"])
def test_numbers_that_nobody_asked_for_are_garbage(stand_in_session: Session, misdeed: str) -> None:
    with pytest.raises(WorkerGarbage):
        stand_in_session.call("echo", {"misbehave": misdeed})


# --- no handle without an owner ---------------------------------------------------------------------------------------


def test_an_answer_that_comes_after_ctrl_c_is_given_back(stand_in_session: Session) -> None:
    """The worker ends its solve nevertheless, keeps the solution, and lives on."""
    if not POSIX:
        pytest.skip("sends SIGINT as a terminal does")
    solve = prepared_solve()
    stand_in_session.run(solve, given())
    before = stand_in_session.worker_pid
    slow = prepared_solve()
    slow.value["late"] = 0.3
    for _ in range(2):
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            stand_in_session.run(slow, given())
        timer.join()
    assert stand_in_session.worker_pid == before
    assert held(stand_in_session) == 0


@pytest.mark.parametrize("broken", ["wait", "results", "owner"])
def test_an_answer_that_is_dropped_is_given_back(
    stand_in_session: Session, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever an exception meets it: before it is looked at, where results are copied, where its owner is made."""
    wait, solve = Exchange._wait, prepared_solve()

    def too_late(self: Exchange) -> Any:
        wait(self)
        raise KeyboardInterrupt

    def no_room(*_: object) -> Any:
        raise MemoryError

    stand_in_session.run(solve, given())
    before = stand_in_session.worker_pid
    for ask in (lambda: stand_in_session.run(solve, given()), lambda: told_anew(stand_in_session)):
        with monkeypatch.context() as patched:
            if broken == "wait":
                patched.setattr(Exchange, "_wait", too_late)
            elif broken == "results":
                patched.setattr(Prepared, "results", no_room)
            else:
                patched.setattr("pynode.julia.session.Held", no_room)
            began = time.monotonic()
            with pytest.raises((KeyboardInterrupt, MemoryError)):
                ask()
            assert time.monotonic() - began < 2
    assert stand_in_session.worker_pid == before
    assert held(stand_in_session) == 0


def test_what_could_not_be_released_is_released_later(
    stand_in_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply = told_anew(stand_in_session)
    assert held(stand_in_session) == 1
    del reply

    def no_room(*_: object, **__: object) -> Any:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(Prepared, "frame", no_room)
        with pytest.raises(MemoryError):
            held(stand_in_session)
    assert held(stand_in_session) == 0


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer's signals")
@pytest.mark.usefixtures("no_collection")
def test_interruptions_anywhere_leave_a_session_that_works(stand_in_command: Callable[[str], list[str]]) -> None:
    """Signals that raise at any moment of a call, hundreds of times: one worker does it all, and keeps nothing."""
    armed = [False]

    def ring(*_: object) -> None:
        if armed[0]:
            armed[0] = False
            raise KeyboardInterrupt

    with Session(stand_in_command("")) as session:
        solve, kept, rings = prepared_solve(), [], 0
        want = session.run(solve, given()).arrays["ys"]
        before, delays = session.worker_pid, np.random.default_rng(0).uniform(2e-5, 3e-3, 300)
        previous = signal.signal(signal.SIGALRM, ring)
        try:
            for delay in delays:
                try:
                    armed[0] = True
                    signal.setitimer(signal.ITIMER_REAL, delay)
                    kept.append(session.run(solve, given()))
                    armed[0] = False
                except KeyboardInterrupt:
                    rings += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
        assert session.worker_pid == before
        assert 30 < rings <= len(delays)
        assert all(np.array_equal(reply.arrays["ys"], want) for reply in kept)
        assert held(session) == len(kept)
        kept.clear()
        assert held(session) == 0
