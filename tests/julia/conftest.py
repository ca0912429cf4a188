"""Sessions whose worker is the stand-in of `stand_in.py`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pynode.julia.session import Session, default_session

STAND_IN = Path(__file__).with_name("stand_in.py")


@pytest.fixture(scope="session")
def stand_in_command() -> Callable[[str], list[str]]:
    """The command line of a stand-in in the given mode."""
    return lambda mode: [sys.executable, str(STAND_IN), mode]


@pytest.fixture(scope="module")
def stand_in_session(stand_in_command: Callable[[str], list[str]]) -> Iterator[Session]:
    """A session with a stand-in; tests may end its worker, the next call starts another."""
    with Session(stand_in_command(""), limit=30, start_limit=60) as session:
        yield session


@pytest.fixture
def stand_in_default(stand_in_command: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch) -> Session:
    """Makes `default_session()` use a stand-in."""
    monkeypatch.setenv("PYNODE_JULIA_WORKER", json.dumps(stand_in_command("")))
    return default_session()
