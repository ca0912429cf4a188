"""Finds the members of a family (fields, schemes, methods, problems) from the modules in its folder.

Members are the classes with a `name: ClassVar[str] = "..."` in the modules of the folder and of folders inside it, one
in a module or several.  A module without such a class is one member, called by its file (`rk4.py` is "rk4").  Modules
called `base.py` hold what a family shares and are no members.  Names and one-line summaries are read without importing
the modules, so that `--help` and `list` need no torch.
"""

from __future__ import annotations

import ast
import importlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from pynode.errors import UnknownName

T = TypeVar("T")


@dataclass(frozen=True)
class _Place:
    """Where a member stands: file, module, class where the file has another name; and its docstring's first line."""

    path: Path
    module: str
    summary: str
    attribute: str | None = None


class Registry(Generic[T]):
    """Members of the package `package`.

    `base` names a class of `package.base`: a member is a subclass of it, or an instance of it (schemes).  With `file`,
    a member is a folder that holds a module of this name: `winners/study.py` is the study "winners".  A `package` that
    is a single module holds all members and their base.
    """

    def __init__(self, package: str, kind: str, base: str, file: str | None = None) -> None:
        self.package, self.kind, self.base, self.file = package, kind, base, file

    def _members(self) -> dict[str, _Place]:
        """Where every member stands, by name."""
        package = importlib.import_module(self.package)
        home = Path(str(package.__file__))
        if home.stem != "__init__":
            return _places(home, self.package)
        if self.file is not None:
            folders = {p.parent.name: p for p in home.parent.glob(f"*/{self.file}.py")}
            return {
                _name(f): _Place(p, f"{self.package}.{f}.{self.file}", _summary(parsed(p))) for f, p in folders.items()
            }
        members: dict[str, _Place] = {}
        for path in sorted(home.parent.rglob("*.py")):
            if path.stem not in ("__init__", "base"):
                inside = path.relative_to(home.parent).with_suffix("").parts
                members |= _places(path, ".".join((self.package, *inside)))
        return members

    def names(self) -> tuple[str, ...]:
        """Names of all members, sorted; nothing is imported but the packages they lie in."""
        return tuple(sorted(self._members()))

    def summary(self, name: str) -> str:
        """First line of the member's docstring; nothing is imported."""
        return self._place(name).summary

    def sources(self) -> dict[str, Path]:
        """The files that the members stand in, by name; nothing is imported."""
        return {name: place.path for name, place in sorted(self._members().items())}

    def check(self, name: str) -> None:
        """Raises `UnknownName` unless there is a member called `name`; nothing is imported."""
        self._place(name)

    def load(self, name: str) -> T:
        """The member called `name`; raises `UnknownName` with the known names and the nearest match."""
        place = self._place(name)
        module = importlib.import_module(place.module)
        if place.attribute is not None:
            member: T = getattr(module, place.attribute)
            return member
        base = getattr(importlib.import_module(f"{self.package}.base"), self.base)
        members = [v for k, v in vars(module).items() if not k.startswith("_") and _is_member(v, base, module.__name__)]
        if len(members) != 1:
            raise TypeError(f"{module.__name__} must define exactly one public {self.base}, not {len(members)}")
        return members[0]

    def load_all(self) -> dict[str, T]:
        """All members by name."""
        return {name: self.load(name) for name in self.names()}

    def _place(self, name: str) -> _Place:
        members = self._members()
        if name not in members:
            raise UnknownName(self.kind, name, sorted(members))
        return members[name]


def _name(stem: str) -> str:
    return stem.removeprefix("_").replace("_", "-")


@lru_cache(maxsize=256)
def parsed(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def _summary(node: ast.Module | ast.ClassDef) -> str:
    return (ast.get_docstring(node) or "").partition("\n")[0]


@lru_cache(maxsize=256)
def _places(path: Path, module: str) -> dict[str, _Place]:
    """The members in a file: its classes with a `name`, or else its one public object, which has the file's name."""
    classes = {
        str(value.value): node
        for node in parsed(path).body
        if isinstance(node, ast.ClassDef)
        for line in node.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.target.id == "name"
        if ast.unparse(line.annotation).startswith("ClassVar")
        if isinstance(value := line.value, ast.Constant)
    }
    own = _name(path.stem)
    if set(classes) <= {own}:
        return {own: _Place(path, module, _summary(parsed(path)))}
    return {name: _Place(path, module, _summary(node), node.name) for name, node in classes.items()}


def _is_member(value: Any, base: type, module: str) -> bool:
    if isinstance(value, type):
        return issubclass(value, base) and value is not base and value.__module__ == module
    return isinstance(value, base)
