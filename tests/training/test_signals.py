"""SIGINT and SIGTERM during a run: it stops where it can go on, and goes on to the same numbers."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pynode.errors import Interrupted
from pynode.methods.disc_opt import DiscOpt
from pynode.problems.series.spiral import Spiral
from pynode.records import files
from pynode.records.events import EVENTS, Event
from pynode.records.files import read_json, read_lines
from pynode.records.iteration import IterationRecord
from pynode.training import signals
from pynode.training.checkpoint import read_intact
from pynode.training.config import RunConfig
from pynode.training.signals import Stop
from pynode.training.trainer import train
from tests.runs import untimed

CONFIG = RunConfig(
    problem="spiral",
    method=DiscOpt(engine="eager"),
    seed=0,
    iterations=9,
    learning_rate=0.1,
    weight_decay=0.0,
    validate_every=2,
    checkpoint_every=100,
    memory_every=100,
)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")


def kill_in(monkeypatch: pytest.MonkeyPatch, method: str, call: int, number: int) -> None:
    """Sends this process a signal in the middle of the `call`-th call of a method of the problem."""
    original: Callable[..., Any] = getattr(Spiral, method)
    calls = iter(range(10_000))

    def disturbed(self: Spiral, *args: Any) -> Any:
        if next(calls) == call:
            os.kill(os.getpid(), number)
        return original(self, *args)

    monkeypatch.setattr(Spiral, method, disturbed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(("method", "call"), [("objective", 4), ("validation_loss", 2), ("batch", 5)])
def test_interrupted_and_resumed_equals_unbroken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, method: str, call: int
) -> None:
    train(CONFIG, tmp_path / "unbroken")
    handlers = [signal.getsignal(n) for n in signals.SIGNALS]
    with monkeypatch.context() as patch:
        kill_in(patch, method, call, number)
        with pytest.raises(Interrupted, match="saved: --resume continues there") as caught:
            train(CONFIG, tmp_path / "broken")
    assert caught.value.exit_status == 128 + number
    assert not isinstance(caught.value, Exception), "who catches errors must not go on with the next run"
    assert [signal.getsignal(n) for n in signals.SIGNALS] == handlers
    left = untimed(tmp_path / "broken")
    assert 0 < len(left) < 9
    assert [e.event for e in read_lines(tmp_path / "broken" / EVENTS, Event)] == ["interrupted"]
    train(CONFIG, tmp_path / "broken", resume=True)
    assert untimed(tmp_path / "broken") == untimed(tmp_path / "unbroken")
    resumed = read_lines(tmp_path / "broken" / EVENTS, Event)[-1]
    assert (resumed.event, resumed.iteration) == ("resumed", len(left))


def test_a_signal_while_writing_waits(tmp_path: Path) -> None:
    """The record of the iteration is there, and the state that belongs to it is saved."""
    seen: list[int] = []

    def listen(record: IterationRecord) -> None:
        seen.append(record.iteration)
        if record.iteration == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match="before iteration 4"):
        train(CONFIG, tmp_path / "run", listener=listen)
    assert seen == [0, 1, 2, 3]
    assert len(untimed(tmp_path / "run")) == 4


def test_a_signal_in_the_evaluation_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(CONFIG, tmp_path / "unbroken")
    with monkeypatch.context() as patch:
        kill_in(patch, "evaluate", 0, signal.SIGINT)
        with pytest.raises(Interrupted, match="before iteration 9"):
            train(CONFIG, tmp_path / "run")
    assert not (tmp_path / "run" / "summary.json").exists()
    summary = train(CONFIG, tmp_path / "run", resume=True)
    assert summary["status"] == "finished"
    assert untimed(tmp_path / "run") == untimed(tmp_path / "unbroken")


def heard_twice(pause: float) -> None:
    """Ctrl-C and again after `pause` seconds."""
    with Stop() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(pause)
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested == signal.SIGINT


def test_the_same_signal_twice_is_one_and_a_later_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal and a launcher both pass Ctrl-C on; a user who presses it again does not want to wait."""
    heard_twice(0.0)
    monkeypatch.setattr(signals, "SAME", 0.0)
    with pytest.raises(KeyboardInterrupt) as caught:
        heard_twice(0.01)
    assert not isinstance(caught.value, Interrupted)


def test_an_ignored_signal_stays_ignored() -> None:
    """As `nohup` and shells without job control start programs."""
    earlier = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stop() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.requested is None
    finally:
        signal.signal(signal.SIGHUP, earlier)


def test_a_swallowed_interruption_is_found_at_the_next_check() -> None:
    """Python only prints what a destructor raises."""
    stop, reached = Stop(), False
    with contextlib.suppress(Interrupted), stop:
        with contextlib.suppress(Interrupted), stop.interruptible():
            os.kill(os.getpid(), signal.SIGINT)
        reached = True
        stop.check()
        pytest.fail("the check found nothing")
    assert reached


def test_other_threads_leave_signals_alone(tmp_path: Path) -> None:
    summaries: list[Any] = []
    thread = threading.Thread(target=lambda: summaries.append(train(replace(CONFIG, iterations=2), tmp_path / "run")))
    thread.start()
    thread.join()
    assert summaries[0]["status"] == "finished"


def test_ranks_stop_together() -> None:
    """Nothing is interrupted: what one rank does alone would leave the others waiting."""
    with Stop(together=True) as stop, stop.interruptible():
        os.kill(os.getpid(), signal.SIGTERM)
        stop.check()
        assert stop.requested == signal.SIGTERM


def test_a_signal_that_comes_too_late_stops_what_would_follow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is finished, and says so; a loop over runs does not go on."""
    original = files.write_json

    def disturbed(path: Path, *arguments: Any, **options: Any) -> None:
        if path.name == "summary.json":
            os.kill(os.getpid(), signal.SIGTERM)
        original(path, *arguments, **options)

    monkeypatch.setattr("pynode.training.keeping.write_json", disturbed)
    with pytest.raises(Interrupted, match="interrupted after disc-opt-rk4-x1-seed0 was finished"):
        train(CONFIG, tmp_path / "run")
    assert read_json(tmp_path / "run" / "summary.json")["status"] == "finished"


def test_interrupted_twice_before_an_iteration_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint before the newest stays what it was."""
    kept = []
    for attempt in range(2):
        with monkeypatch.context() as patch:
            kill_in(patch, "objective", 0 if attempt else 7, signal.SIGINT)
            with pytest.raises(Interrupted):
                train(replace(CONFIG, checkpoint_every=3), tmp_path / "run", resume=bool(attempt))
        kept.append([point.iteration for _, point in read_intact(tmp_path / "run")[0]])
    assert kept[0] == kept[1]
    assert kept[0][0] > kept[0][1]


def test_an_early_stop_interrupted_in_its_last_iteration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(CONFIG, learning_rate=3.0, patience=1, iterations=60)
    train(config, tmp_path / "unbroken")
    whole = untimed(tmp_path / "unbroken")
    assert len(whole) < 60
    with monkeypatch.context() as patch:
        kill_in(patch, "batch", len(whole) + 1, signal.SIGINT)  # warm-up and memory take two more
        with pytest.raises(Interrupted, match=f"before iteration {len(whole) - 1}"):
            train(config, tmp_path / "broken")
    summary = train(config, tmp_path / "broken", resume=True)
    assert untimed(tmp_path / "broken") == whole
    assert summary["stopped_early"]
