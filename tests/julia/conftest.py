"""Sessions whose worker is the stand-in of `stand_in.py`, and pretended installations of Julia."""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from pynode.julia import environment
from pynode.julia import project as our
from pynode.julia.session import Session, default_session

STAND_IN = Path(__file__).with_name("stand_in.py")

PRETENDED = """#!/bin/sh
if [ "$1" = --version ]; then echo "julia version {version}"; exit; fi
echo "offline=$JULIA_PKG_OFFLINE $*" >> "{log}"
case "$*" in *"-e using PyNODE"*)
    if [ -n "{crashes}" ] && ! {{ [ "{crashes}" = once ] && [ -e "${{1#--project=}}/LocalPreferences.toml" ]; }}
    then kill -SEGV $$; fi
    exit 0;;
esac
[ -z "{needs_network}" ] || [ -z "$JULIA_PKG_OFFLINE" ] || exit 1
exit {status}
"""


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
def no_collection() -> Iterator[None]:
    """No garbage is collected: what raises in a finalizer is lost, and so would an exception of a signal be."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def stand_in_default(stand_in_command: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch) -> Session:
    """Makes `default_session()` use a stand-in."""
    monkeypatch.setenv("PYNODE_JULIA_WORKER", json.dumps(stand_in_command("")))
    return default_session()


@pytest.fixture
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No Julia anywhere, an empty home, a repository without packages."""
    for name in list(os.environ):
        if name.startswith(("PYTHON_JULIA", "JULIA", "PYNODE_JULIA")):
            monkeypatch.delenv(name)
    (tmp_path / "bin").mkdir()
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    (tmp_path / "repository" / "julia").mkdir(parents=True)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(our, "CLONE", tmp_path / "repository")
    monkeypatch.setattr(our, "PACKAGED", tmp_path / "packaged")
    monkeypatch.setattr(environment, "juliapkg_prefix", lambda: None)


@pytest.fixture
def pretend_julia(tmp_path: Path) -> Callable[..., Path]:
    """Puts a program called `julia` on the PATH that knows its version and writes its arguments down."""

    def pretend(
        number: str = "1.10.8", *, status: int = 0, needs_network: bool = False, folder: str = "bin", crashes: str = ""
    ) -> Path:
        path = tmp_path / folder / "julia"
        path.parent.mkdir(parents=True, exist_ok=True)
        values = {"version": number, "log": tmp_path / "log", "status": status, "needs_network": needs_network or ""}
        values["crashes"] = crashes
        path.write_text(PRETENDED.format(**values))
        path.chmod(0o755)
        return path

    return pretend


@pytest.fixture
def pretend_project(tmp_path: Path) -> Callable[..., Path]:
    """Writes a project with a manifest of the needed packages, and their folders."""

    def pretend(name: str = "repository", *, without: tuple[str, ...] = (), pythoncall: str = "") -> Path:
        project = tmp_path / name
        (project / "julia" / "src").mkdir(parents=True, exist_ok=True)
        (project / "julia" / "src" / "PyNODE.jl").touch()
        (project / "Project.toml").write_text('[deps]\nPyNODE = "1"\nZygote = "2"\n')
        lines = ['julia_version = "1.10.8"', 'manifest_format = "2.0"', ""]
        for package in sorted({*environment.NEEDED, "Zygote"} - {*without, "PyNODE"}):
            number = (pythoncall or version("juliacall")) if package == "PythonCall" else "1.2.3"
            lines += [f"[[deps.{package}]]", 'git-tree-sha1 = "abc"', 'uuid = "u"', f'version = "{number}"', ""]
            (tmp_path / ".julia" / "packages" / package).mkdir(parents=True, exist_ok=True)
        if "PyNODE" not in without:
            lines += ["[[deps.PyNODE]]", 'path = "julia"', 'uuid = "u"', 'version = "0.1.0"', ""]
        (project / "Manifest.toml").write_text("\n".join(lines))
        return project

    return pretend
