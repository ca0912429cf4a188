"""Finds the members of a family (fields, schemes, methods, problems) from the modules in its folder.

A module `opt_disc.py` in the folder is the member "opt-disc"; `base.py` holds what the family shares and is no member.
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

    `base` names a class of `package.base`: a member is a subclass of it, or an instance of it (schemes).
    """

    def __init__(self, package: str, kind: str, base: str) -> None:
        self.package, self.kind, self.base = package, kind, base

    def _folder(self) -> Path:
        module = importlib.import_module(self.package)
        return Path(str(module.__file__)).parent

    def names(self) -> tuple[str, ...]:
        """Names of all members, sorted; nothing is imported."""
        stems = (p.stem for p in self._folder().glob("*.py"))
        return tuple(sorted(s.replace("_", "-") for s in stems if s not in ("__init__", "base")))

    def summary(self, name: str) -> str:
        """First line of the member's module docstring; nothing is imported."""
        source = self._path(name).read_text(encoding="utf-8")
        doc = ast.get_docstring(ast.parse(source)) or ""
        return doc.partition("\n")[0]

    def load(self, name: str) -> T:
        """The member called `name`; raises `UnknownName` with the known names and the nearest match."""
        module = importlib.import_module(f"{self.package}.{self._path(name).stem}")
        base = getattr(importlib.import_module(f"{self.package}.base"), self.base)
        found = [v for k, v in vars(module).items() if not k.startswith("_") and _is_member(v, base, module.__name__)]
        if len(found) != 1:
            raise TypeError(f"{module.__name__} must define exactly one public {self.base}, found {len(found)}")
        return found[0]

    def load_all(self) -> dict[str, T]:
        """All members by name."""
        return {name: self.load(name) for name in self.names()}

    def _path(self, name: str) -> Path:
        if name not in self.names():
            raise UnknownName(self.kind, name, self.names())
        return self._folder() / f"{name.replace('-', '_')}.py"


def _is_member(value: Any, base: type, module: str) -> bool:
    if isinstance(value, type):
        return issubclass(value, base) and value is not base and value.__module__ == module
    return isinstance(value, base)
