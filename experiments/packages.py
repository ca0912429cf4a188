"""Packages that commands of the experiments need: those that a machine lacks are named together, before work starts."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

COMMANDS = {
    "torch": "torch",
    "numpy": "numpy",
    "scipy": "scipy",
    "matplotlib": "matplotlib",
    "torchdiffeq": "torchdiffeq",
    "safetensors": "safetensors",
    "filelock": "filelock",
    "msgspec": "msgspec",
    "typer": "typer",
    "rich": "rich",
}
"""Names of modules without which no training or benchmark runs, and of the distributions that bring them."""

TESTS = {"pytest": "pytest", "xdist": "pytest-xdist", "pytest_timeout": "pytest-timeout"}
"""Those without which `gpu` runs no tests."""


def lack_of(packages: Mapping[str, str], who: str) -> str | None:
    """A sentence that names all distributions of `packages` that are not installed; None where all of them are."""
    absent = [distribution for module, distribution in packages.items() if find_spec(module) is None]
    if not absent:
        return None
    *first, last = absent
    names = f"{', '.join(first)} and {last}, which are" if first else f"{last}, which is"
    return f"{who} needs {names} not installed; pip install {' '.join(absent)}"
