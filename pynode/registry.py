"""Finds the members of a family (fields, schemes, methods, problems) from the modules in its folder.

A module `opt_disc.py` in the folder, or in a folder inside it, is the member "opt-disc"; a leading underscore lets a
name begin with a digit (`_8gaussians.py`).  Modules called `base.py` hold what a family shares and are no members.
Names and one-line summaries are read without importing the modules, so that `--help` and `list` need no torch.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Any, Generic, TypeVar

from pynode.errors import UnknownName

T = TypeVar("T")


class Registry(Generic[T]):
    """Members of the package `package`; each module defines exactly one public object that `base` describes.

    `base` names a class of `package.base`: a member is a subclass of it, or an instance of it (schemes).  With `file`,
    a member is a folder that holds a module of this name: `winners/study.py` is the study "winners".
    """

    def __init__(self, package: str, kind: str, base: str, file: str | None = None) -> None:
        self.package, self.kind, self.base, self.file = package, kind, base, file

    def _members(self) -> dict[str, Path]:
        """File of every member by name."""
        module = importlib.import_module(self.package)
        top = Path(str(module.__file__)).parent
        if self.file is not None:
            return {_name(p.parent): p for p in sorted(top.glob(f"*/{self.file}.py"))}
        files = top.rglob("*.py")
        return {_name(p): p for p in sorted(files) if p.stem not in ("__init__", "base")}

    def names(self) -> tuple[str, ...]:
        """Names of all members, sorted; nothing is imported but the packages they lie in."""
        return tuple(sorted(self._members()))

    def summary(self, name: str) -> str:
        """First line of the member's module docstring; nothing is imported."""
        source = self._path(name).read_text(encoding="utf-8")
        doc = ast.get_docstring(ast.parse(source)) or ""
        return doc.partition("\n")[0]

    def check(self, name: str) -> None:
        """Raises `UnknownName` unless there is a member called `name`; nothing is imported."""
        self._path(name)

    def load(self, name: str) -> T:
        """The member called `name`; raises `UnknownName` with the known names and the nearest match."""
        top = Path(str(importlib.import_module(self.package).__file__)).parent
        inside = self._path(name).relative_to(top).with_suffix("").parts
        module = importlib.import_module(".".join((self.package, *inside)))
        base = getattr(importlib.import_module(f"{self.package}.base"), self.base)
        found = [v for k, v in vars(module).items() if not k.startswith("_") and _is_member(v, base, module.__name__)]
        if len(found) != 1:
            raise TypeError(f"{module.__name__} must define exactly one public {self.base}, found {len(found)}")
        return found[0]

    def load_all(self) -> dict[str, T]:
        """All members by name."""
        return {name: self.load(name) for name in self.names()}

    def _path(self, name: str) -> Path:
        members = self._members()
        if name not in members:
            raise UnknownName(self.kind, name, sorted(members))
        return members[name]


def _name(path: Path) -> str:
    return path.stem.removeprefix("_").replace("_", "-")


def _is_member(value: Any, base: type, module: str) -> bool:
    if isinstance(value, type):
        return issubclass(value, base) and value is not base and value.__module__ == module
    return isinstance(value, base)
