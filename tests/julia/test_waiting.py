"""Waiting that may surprise is announced: Julia compiles at the first use, and does not hear Ctrl-C meanwhile."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from pynode.julia import exchange
from pynode.julia.session import Session

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
        assert "may be compiling for 'echo'" in message
    stand_in_session.restart()
    stand_in_session.call("echo", {"misbehave": "nap"})
    assert len(caplog.messages) == 2


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
    assert "can't stop while it compiles; its worker is ended in 0.5 s" in message
    assert not stand_in_session.alive
    stand_in_session.call("echo")
