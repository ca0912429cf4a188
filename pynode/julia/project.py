"""Where the Julia package PyNODE and its environment lie: in the clone, or in what a wheel has installed.

A clone is its own Julia environment: Project.toml at its root, the package in julia/.  A wheel carries the same files
in `pynode/julia/packaged`, where nothing may be written; its environment is a folder of the user's, which `julia setup`
makes from the packaged Project.toml.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

CLONE = Path(__file__).resolve().parents[2]
"""The clone that this file lies in, if it lies in one."""

PACKAGED = Path(__file__).resolve().parent / "packaged"
"""What `pynode.julia.wheel` puts into a wheel."""

PROJECT, MODULE = "Project.toml", Path("julia", "src", "PyNODE.jl")

SOURCE = 'PyNODE = {path = "julia"}'
"""The line of Project.toml that says where the package lies."""


def home() -> Path | None:
    """The folder with Project.toml and the package in julia/; None where neither clone nor wheel has them."""
    for folder in (CLONE, PACKAGED):
        if (folder / PROJECT).is_file() and (folder / MODULE).is_file():
            return folder
    return None


def package() -> Path:
    """The folder of the Julia package PyNODE."""
    return (home() or CLONE) / "julia"


def project() -> Path | None:
    """The folder of the Julia environment, which may not be there yet; None where there is no package."""
    source = home()
    return _of_user(source) if source == PACKAGED else source


def make_project() -> None:
    """Writes the environment's Project.toml where it is missing or of another version; a clone has it.

    Raises `OSError` where that can't be written.
    """
    source, folder = home(), project()
    if source is None or folder is None or folder == source:
        return
    text = (source / PROJECT).read_text(encoding="utf-8")
    text = text.replace(SOURCE, f"PyNODE = {{path = {json.dumps(str(package()), ensure_ascii=False)}}}")
    file = folder / PROJECT
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def _of_user(source: Path) -> Path:
    """A folder for the wheel in `source`: one for each version and each place where it is installed."""
    place = hashlib.sha256(os.fsencode(source)).hexdigest()[:8]
    try:
        number = version("pynode")
    except PackageNotFoundError:
        number = "unknown"
    return user_data() / "pynode" / "julia" / f"{number}-{place}"


def user_data() -> Path:
    """Where this system keeps data of a user's programs."""
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    named = os.environ.get("XDG_DATA_HOME", "")
    return Path(named) if os.path.isabs(named) else Path.home() / ".local" / "share"
