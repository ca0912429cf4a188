"""Ctrl-C at every line of an exchange in which the worker asks questions: the same worker goes on."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np
import pytest

from pynode.julia import exchange
from pynode.julia.exchange import Exchange, Questions
from pynode.julia.session import Session

WATCHED = (
    Exchange.run.__code__,
    Exchange._wait.__code__,
    Exchange._reply.__code__,
    Questions.answer.__code__,
    exchange.next_message.__code__,
)
"""What runs between the request and its answer."""


class Interruption:
    """Raises `KeyboardInterrupt` before the line number `at` of those that `WATCHED` functions run."""

    def __init__(self, at: int) -> None:
        self.left, self.line = at, ""

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        """Called by `sys.settrace` for each function and line."""
        if frame.f_code not in WATCHED:
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                self.line = f"{frame.f_code.co_name}, line {frame.f_lineno}"
                sys.settrace(None)
                raise KeyboardInterrupt
        return self


def reference(session: Session) -> np.ndarray[Any, Any]:
    """A trajectory whose right-hand side the worker asks for, and where it ends."""
    arrays = {"y0": np.ones((1, 2)), "ts": np.array([0.0, 1.0])}
    options = {"rtol": 1e-8, "atol": 1e-10}
    reply = session.call("reference", options, arrays, {"ys": ((2, 1, 2), float)}, callback=lambda _, y: -y)
    return reply.arrays["ys"][-1]


LINES = 60
"""More than the first two questions take."""


def test_ctrl_c_at_any_line_leaves_the_exchange_in_step(stand_in_session: Session) -> None:
    """No question is left open, and none is answered twice, wherever the interruption comes."""
    before_all = sys.gettrace()
    reference(stand_in_session)  # SciPy has been imported, and the worker waits no longer for it
    pid, lines, slow = stand_in_session.worker_pid, [], []
    for at in range(1, LINES + 1):
        interruption, began = Interruption(at), time.monotonic()
        sys.settrace(interruption)
        try:
            with pytest.raises(KeyboardInterrupt):
                reference(stand_in_session)
        finally:
            sys.settrace(before_all)
        lines.append(interruption.line)
        if time.monotonic() - began > 1 or stand_in_session.worker_pid != pid:
            slow.append(interruption.line)
            pid = stand_in_session.worker_pid
        np.testing.assert_allclose(reference(stand_in_session), np.exp([[-1.0, -1.0]]), rtol=1e-7)
    assert not slow, "the worker had to be ended, or was waited for"
    assert {line.split(",")[0] for line in lines} == {function.co_name for function in WATCHED}


@pytest.mark.skipif(sys.platform == "win32", reason="Popen has no such lock there")
def test_a_session_closes_although_popen_was_interrupted(stand_in_command: Callable[[str], list[str]]) -> None:
    """An exception of a signal may come just after `Popen` has taken its lock, which is then never given back."""
    with Session(stand_in_command("")) as session:
        reference(session)
        worker = session._worker
        assert worker is not None
        lock: Any = worker._process._waitpid_lock  # type: ignore[attr-defined]
        assert lock.acquire(timeout=1)
        began = time.monotonic()
    assert time.monotonic() - began < 10
    assert worker._process.returncode is not None
