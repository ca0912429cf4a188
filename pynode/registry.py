"""Finds the members of a family (fields, schemes, methods, problems) from the modules in its folder.

Members are the classes with a `name: ClassVar[str] = "..."` in the modules of the folder and of folders inside it, one
in a module or several.  A module without such a class is one member, called by its file (`rk4.py` is "rk4").  Modules
called `base.py` hold what a family shares and are no members.  Names and one-line summaries are read without importing
the modules, so that `--help` and `list` need no torch.

Registries that are open to the outside also know the entry points of installed packages, in the group called as the
package (`pynode.schemes`), and wherever they take a name they take `my_scheme.py:MY_SCHEME`, an object in a file.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from pynode.errors import NameClash, OutsideError, UnknownName
from pynode.outside_members import NAME, Loaded, Origin, entry_points, load_entry_point, load_file, split_reference

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

    With `named_by` the registry is open to members from outside, whose name is this attribute.
    """

    def __init__(
        self, package: str, kind: str, base: str, file: str | None = None, named_by: str | None = None
    ) -> None:
        self.package, self.kind, self.base, self.file, self.named_by = package, kind, base, file, named_by
        self._in_files: dict[str, Origin] = {}

    def _members(self) -> dict[str, _Place]:
        """Where every member of the package stands, by name."""
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
        """Names of the members that come with pynode, sorted; nothing is imported but the packages they lie in."""
        return tuple(sorted(self._members()))

    def outside(self) -> dict[str, Origin]:
        """Where the known members from outside stand, by name; nothing is imported."""
        return {origin.name: origin for origin in sorted(self._brought(), key=lambda origin: origin.name)}

    def summary(self, name: str) -> str:
        """First line of the member's docstring; nothing is imported."""
        return self._place(name).summary

    def sources(self) -> dict[str, Path]:
        """The files that the members stand in, by name; nothing is imported."""
        return {name: place.path for name, place in sorted(self._members().items())}

    def check(self, name: str) -> None:
        """Raises `UsageError` unless there is a member called `name`; nothing is imported."""
        self._place(name)

    def resolve(self, name: str) -> str:
        """The name of a member: of `my_scheme.py:MY_SCHEME` the one that it has in records; runs such a file.

        From then on the member is known by its name.  Raises `UsageError` as `load` does.
        """
        if self.named_by is None or (reference := split_reference(name, self.kind)) is None:
            self.check(name)
            return name
        return self._take(Origin("", reference[1], file=str(reference[0])))[0]

    def name_of(self, text: str) -> str:
        """As `resolve` for a member in a file; any other text as it is, be it a name or not."""
        is_file = self.named_by is not None and split_reference(text, self.kind) is not None
        return self.resolve(text) if is_file else text

    def load(self, name: str) -> T:
        """The member called `name`, or `file.py:NAME` in a file of the user's, which is run.

        Raises `UnknownName` with the known names and the nearest match, `OutsideError` for a member from outside that
        can't be loaded or is of another kind, and `NameClash` where two members have this name.
        """
        place = self._place(name)
        if isinstance(place, Origin):
            return self._take(place)[1]
        module = importlib.import_module(place.module)
        if place.attribute is not None:
            member: T = getattr(module, place.attribute)
            return member
        base = self._base()
        members = [v for k, v in vars(module).items() if not k.startswith("_") and _is_member(v, base, module.__name__)]
        if len(members) != 1:
            raise TypeError(f"{module.__name__} must define exactly one public {self.base}, not {len(members)}")
        return members[0]

    def load_all(self) -> dict[str, T]:
        """All members that come with pynode, by name."""
        return {name: self.load(name) for name in self.names()}

    def origin(self, name: str) -> Origin | None:
        """Where the member called `name` comes from, if that is outside the package."""
        return self.outside().get(name)

    def recall(self, origin: Mapping[str, Any]) -> None:
        """Makes the member known that an earlier run has used, from what its configuration says; runs nothing.

        Raises `OutsideError` where it is no description of a member, `NameClash` where its name is another's here.
        """
        try:
            earlier = Origin(**origin)
        except TypeError as error:
            raise OutsideError(f"{self.kind} = {dict(origin)}: does not say where a member comes from") from error
        known = self.outside().get(earlier.name)
        if earlier.file:
            self._add(earlier if known is None or known.sha256 != earlier.sha256 else known)
        elif known is None:
            raise OutsideError(
                f"the {self.kind} '{earlier.name}' came from {earlier}, which is not installed; install it"
            )

    def forget(self) -> None:
        """Forgets the members of files."""
        self._in_files.clear()

    def _base(self) -> type:
        home = importlib.import_module(self.package)
        if Path(str(home.__file__)).stem == "__init__":
            home = importlib.import_module(f"{self.package}.base")
        base: type = getattr(home, self.base)
        return base

    def _place(self, name: str) -> _Place | Origin:
        """Where the member called `name` stands; of a reference to a file, that file."""
        if self.named_by is not None and (reference := split_reference(name, self.kind)) is not None:
            return Origin("", reference[1], file=str(reference[0]))
        members = self._members()
        brought = [origin for origin in self._brought() if origin.name == name]
        if len(brought) > 1:
            raise NameClash(self.kind, name, brought[0], brought[1])
        if name in members and brought:
            raise NameClash(self.kind, name, members[name].module, brought[0])
        if name not in members and not brought:
            raise UnknownName(self.kind, name, sorted({*members, *self.outside()}))
        return brought[0] if brought else members[name]

    def _brought(self) -> tuple[Origin, ...]:
        """All members from outside; two of them may have one name."""
        return (*(entry_points(self.package) if self.named_by else ()), *self._in_files.values())

    def _take(self, origin: Origin) -> tuple[str, T]:
        """Loads a member from outside, and knows it by its name from then on."""
        loaded = load_file(origin, self.kind) if origin.file else load_entry_point(origin, self.kind)
        name = self._check_member(loaded, origin)
        if origin.file:
            self._add(Origin(name, origin.member, file=origin.file, sha256=loaded.sha256))
        return name, loaded.member

    def _add(self, origin: Origin) -> None:
        """Raises `NameClash` where the name is that of another member."""
        others = [
            other for other in self._brought() if other.name == origin.name and other.reference != origin.reference
        ]
        if origin.name in (members := self._members()):
            raise NameClash(self.kind, origin.name, members[origin.name].module, origin)
        if others:
            raise NameClash(self.kind, origin.name, others[0], origin)
        self._in_files[origin.name] = origin

    def _check_member(self, loaded: Loaded, origin: Origin) -> str:
        """The member's name; raises `OutsideError` for an object that is no member of this registry."""
        member, base, wanted = loaded.member, self._base(), f"the {self.kind} {origin}"
        if not _is_kind(member, base):
            shown = f"the class {member.__name__}" if isinstance(member, type) else f"of type {type(member).__name__}"
            what = f"a class derived from {self.base}" if inspect.isabstract(base) else f"an instance of {self.base}"
            match = next((name for name, value in loaded.beside.items() if _is_kind(value, base)), None)
            guess = f"did you mean {match}?" if match else f"give the {self.kind} that you have defined"
            raise OutsideError(f"{wanted} is {shown}, not {what}; {guess}")
        if inspect.isabstract(member):
            lacking = ", ".join(sorted(getattr(member, "__abstractmethods__", ())))
            raise OutsideError(f"{wanted} lacks {lacking}, which every {self.kind} defines; add them")
        name = getattr(member, str(self.named_by), None)
        if not isinstance(name, str) or not NAME.fullmatch(name):
            problem = "has no name" if name is None else f"is called {name!r}, which can't be part of a folder's name"
            raise OutsideError(f"{wanted} {problem}; give it a `{self.named_by}` of letters, digits, dots and hyphens")
        if origin.name not in ("", name):
            raise OutsideError(f"{wanted} is installed as '{origin.name}' but is called '{name}'; give both one name")
        return name


def _is_kind(value: Any, base: type) -> bool:
    """Whether `value` is what a registry of `base` holds: a class derived from it, or an instance if that is made."""
    if not inspect.isabstract(base):
        return isinstance(value, base)
    return isinstance(value, type) and issubclass(value, base) and value is not base


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
