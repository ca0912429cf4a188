"""Waiting that may surprise is announced: Julia compiles at the first use, and does not hear Ctrl-C meanwhile."""

from __future__ import annotations

import os
import signal
import threading
import time

import numpy as np
import pytest

from pynode.julia import exchange
from pynode.julia.prepared import prepare
from pynode.julia.session import Reply, Session

POSIX = os.name == "posix"


def test_what_may_be_compilation_is_announced(
    stand_in_session: Session, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At the first use by a worker, and where it takes long."""
    monkeypatch.setattr(exchange, "SILENCE", 0.3)
    stand_in_session.restart()
    stand_in_session.call("versions")
    assert caplog.messages == []
    for _ in range(2):
        stand_in_session.call("echo", {"misbehave": "nap"})
        (message,) = caplog.messages
        assert "busy with 'echo'; at the first use it compiles" in message
    stand_in_session.restart()
    stand_in_session.call("echo", {"misbehave": "nap"})
    assert len(caplog.messages) == 2


def test_compilation_is_announced_once_for_each_solver(
    stand_in_session: Session, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not for each size of a batch, which Julia compiles nothing for; but for each solver, and for its gradient."""
    monkeypatch.setattr(exchange, "SILENCE", 0.2)
    options = {"kind": "opt-disc", "rtol": 1e-3, "atol": 1e-5, "gradient": True}
    stand_in_session.restart()

    def solve(solver: str, batch: int) -> Reply:
        layouts = {"theta": ((17,), float), "y0": ((batch, 2), float), "ts": ((2,), float)}
        system = {"field": {"architecture": "mlp", "widths": [2, 3, 2]}, "flow": None}
        value = {"system": system, "options": {**options, "solver": solver}, "late": 0.5}
        request = prepare("solve", value, layouts, {"ys": ((2, batch, 2), float)})
        given = {"theta": np.ones(17), "y0": np.ones((batch, 2)), "ts": np.array([0.0, 1.0])}
        return stand_in_session.run(request, given)

    counts = []
    for solver, batch in (("tsit5", 1), ("tsit5", 2), ("tsit5", 3), ("vern7", 1), ("tsit5", 4)):
        solve(solver, batch)
        counts.append(len(caplog.messages))
    assert counts == [1, 1, 1, 2, 2]


@pytest.mark.skipif(not POSIX, reason="sends SIGINT as a terminal does")
def test_ctrl_c_that_has_to_wait_says_so(
    stand_in_session: Session, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that compiles hears nothing; it is ended after a while, and that is announced."""
    stand_in_session.call("echo")
    monkeypatch.setattr(exchange, "SILENCE", 0.2)
    monkeypatch.setattr(exchange, "GRACE", 0.7)
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        stand_in_session.call("echo", {"misbehave": "deaf"})
    assert 0.7 < time.monotonic() - began < 5
    timer.join()
    (message,) = caplog.messages
    assert "which it can't while it compiles; its worker is ended in 0.5 s" in message
    assert not stand_in_session.alive
    stand_in_session.call("echo")
