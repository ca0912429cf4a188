"""Events of a run, told and kept; and the lock that lets one process at a time into its directory."""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
from pathlib import Path

import pytest
from filelock import FileLock

from pynode.errors import OutputDirectoryError
from pynode.records.events import EVENTS, Event, note
from pynode.records.files import read_lines
from pynode.records.lock import HOLDER, LOCK, lock


def test_events_are_kept_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="pynode")
    events = [note(tmp_path, name, 3 + k, "why") for k, name in enumerate(("resumed", "changed", "went back"))]
    assert read_lines(tmp_path / EVENTS, Event) == events
    assert [(e.event, e.iteration, e.detail) for e in events] == [
        ("resumed", 3, "why"),
        ("changed", 4, "why"),
        ("went back", 5, "why"),
    ]
    assert [(r.levelno, r.getMessage()) for r in caplog.records] == [
        (logging.INFO, f"{tmp_path.name}, iteration 3: resumed: why"),
        (logging.INFO, f"{tmp_path.name}, iteration 4: changed: why"),
        (logging.WARNING, f"{tmp_path.name}, iteration 5: went back: why"),
    ]
    assert events[0].time.endswith("+00:00")
    assert len(events[0].time) == len("2020-01-01T00:00:00+00:00"), "to the second"


def test_one_holder_at_a_time_and_the_next_after_it(tmp_path: Path) -> None:
    with lock(tmp_path):
        assert json.loads((tmp_path / HOLDER).read_text()) == [os.getpid(), socket.gethostname()]
        wanted = f"in use by process {os.getpid()} on {socket.gethostname()}; wait for it"
        with pytest.raises(OutputDirectoryError, match=wanted), lock(tmp_path):
            pytest.fail("two hold it")
        assert (tmp_path / HOLDER).exists(), "the one who waited in vain leaves the holder's name"
        (tmp_path / HOLDER).write_text('["x", 3]')
        with pytest.raises(OutputDirectoryError, match="in use by another process; wait"), lock(tmp_path):
            pytest.fail("two hold it")
    assert not (tmp_path / HOLDER).exists()
    with lock(tmp_path):
        pass


def test_the_lock_is_released_by_a_failure(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), lock(tmp_path):
        raise ZeroDivisionError
    with FileLock(tmp_path / LOCK, timeout=0):
        pass


@pytest.mark.parametrize("error", [OSError(errno.ENOTSUP, "no"), OSError(errno.ENOLCK, "no"), NotImplementedError()])
def test_a_file_system_without_locks_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def refuse(_: FileLock) -> None:
        raise error

    monkeypatch.setattr("pynode.records.lock.FileLock.acquire", refuse)
    entered = False
    with lock(tmp_path):
        entered = True
    assert entered
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert "its file system knows no locks" in caplog.text


def test_another_failure_to_lock_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: FileLock) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pynode.records.lock.FileLock.acquire", refuse)
    wanted = r"can't be locked \(Permission denied\); choose another"
    with pytest.raises(OutputDirectoryError, match=wanted), lock(tmp_path):
        pytest.fail("nobody holds it")
