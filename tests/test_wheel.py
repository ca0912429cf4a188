"""What travels in wheels and sdists: the modules, and the clone's own Julia package, byte for byte."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGED = "pynode/julia/packaged/"

OLDEST = 77
"""The setuptools that pyproject.toml asks for; without isolation that of this environment builds."""


def can_build() -> bool:
    if any(importlib.util.find_spec(tool) is None for tool in ("setuptools", "pip")):
        return False
    return int(version("setuptools").partition(".")[0]) >= OLDEST


pytestmark = pytest.mark.skipif(not can_build(), reason=f"needs pip and setuptools {OLDEST}")


def carried() -> dict[str, bytes]:
    """The clone's files that a wheel is to hold, by their names in it."""
    files = [ROOT / "Project.toml", ROOT / "julia" / "Project.toml", ROOT / "julia" / "README.md"]
    files += [path for path in (ROOT / "julia" / "src").rglob("*") if path.is_file()]
    return {PACKAGED + path.relative_to(ROOT).as_posix(): path.read_bytes() for path in files}


def run(*command: str, cwd: Path, **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
    done = subprocess.run(
        [sys.executable, *command], cwd=cwd, env=environment | variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy to build in, where an earlier build has left a file behind."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "Project.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    for folder in ("pynode", "julia"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "Manifest*.toml"))
    left = copy / "build" / "lib" / PACKAGED / "julia" / "src" / "gone.jl"
    left.parent.mkdir(parents=True)
    left.touch()
    return copy


BUILD = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"


def test_a_wheel_carries_the_julia_package(source: Path, tmp_path: Path) -> None:
    run("-c", BUILD, "build_wheel", str(tmp_path), cwd=source)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        held = {name: wheel.read(name) for name in wheel.namelist() if name.startswith(PACKAGED)}
        assert {f"pynode/studies/page/page.{end}" for end in ("html", "css", "js")} <= set(wheel.namelist())
    assert held == carried()


def test_what_an_sdist_installs_finds_its_julia_package(source: Path, tmp_path: Path) -> None:
    run("-c", BUILD, "build_sdist", str(tmp_path), cwd=source)
    sdist = next(tmp_path.glob("*.tar.gz"))
    with tarfile.open(sdist) as archive:
        assert not [name for name in archive.getnames() if PACKAGED in name], "there is one source of truth"
    target = tmp_path / "target"
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target", str(target))
    run("-m", "pip", "install", *options, str(sdist), cwd=tmp_path)
    assert {name: (target / name).read_bytes() for name in carried()} == carried()
    code = """
import json
from pynode.julia import environment, errors, project
here = environment.find()
print(json.dumps([str(project.home()), str(here.project), list(here.wanted), environment.remedy(here), here.repl]))
"""
    variables = {"PYTHONPATH": str(target), "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")}
    home, project, wanted, remedy, repl = json.loads(run("-c", code, cwd=tmp_path, **variables))
    assert home == str(target / PACKAGED)
    assert Path(project).parent == tmp_path / "data" / "pynode" / "julia"
    assert {"PyNODE", "PythonCall", "Zygote"} <= set(wanted)
    assert remedy == "run: pynode julia setup", "there is no run.py"
    assert repl.endswith(f"--project={project}")
