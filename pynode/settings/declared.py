"""Reads what a dataclass declares from its source, without importing it: names, types, defaults and a line of help.

The help of an option is the string literal under its field.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pynode.registry import parsed

PLAIN: dict[str, type] = {"bool": bool, "int": int, "float": float, "str": str, "None": type(None)}
LISTS = ("tuple", "list", "Sequence", "Iterable")
REQUIRED = object()
"""The default of a field that has none."""


@dataclass(frozen=True)
class Kind:
    """What values an option takes.

    `types` are plain ones, and `list` for tuples and sequences of `parts`; `words` the words of a `Literal` where the
    option takes no other text; `member` the class whose members are meant, by name ("Scheme"), or another name of
    `str` that says what is meant ("EngineName").
    """

    types: frozenset[type] = frozenset()
    words: tuple[str, ...] = ()
    parts: frozenset[type] = frozenset()
    member: str = ""

    def __or__(self, other: Kind) -> Kind:
        """What takes the values of both."""
        closed = all(kind.words or str not in kind.types for kind in (self, other))
        words = tuple(dict.fromkeys((*self.words, *other.words))) if closed else ()
        return Kind(self.types | other.types, words, self.parts | other.parts, self.member or other.member)

    @property
    def is_flag(self) -> bool:
        """Whether it is true or false, and nothing else."""
        return self.types - {type(None)} == {bool}


@dataclass(frozen=True)
class Declared:
    """One option: `default` is a plain value, the name of a member, or `REQUIRED`."""

    name: str
    kind: Kind
    default: Any = REQUIRED
    help: str = ""


@cache
def options_of(file: Path, name: str) -> dict[str, Declared]:
    """The fields of the dataclass `name` in `file`, those that it inherits first."""
    options: dict[str, Declared] = {}
    for home, kind in reversed(_ancestry(file, name)):
        if not any("dataclass" in ast.unparse(decorator) for decorator in kind.decorator_list):
            continue
        for statement, following in zip(kind.body, [*kind.body[1:], None], strict=True):
            if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
                continue
            annotation = statement.annotation
            if _last_name(annotation.value if isinstance(annotation, ast.Subscript) else annotation) == "ClassVar":
                continue
            field = statement.target.id
            default = REQUIRED if statement.value is None else _value(statement.value, home)
            options[field] = Declared(field, _kind(annotation, home), default, _docstring(following))
    return options


def constants_of(file: Path, name: str | None = None) -> dict[str, Any]:
    """Plain values of the class variables of the class `name` in `file`, inherited ones among them.

    Without a `name`, those of the module.  A class that is the value of one stands there as (file, name).
    """
    if name is None:
        return _own(parsed(file), file)
    constants: dict[str, Any] = {}
    for home, kind in reversed(_ancestry(file, name)):
        constants |= _own(kind, home)
    return constants


@cache
def _own(scope: ast.Module | ast.ClassDef, file: Path) -> dict[str, Any]:
    """The values that names get in a module or a class itself."""
    constants = {}
    for statement in scope.body:
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
            target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
            if isinstance(target, ast.Name):
                constants[target.id] = _value(statement.value, file)
    return constants


def class_named(file: Path, member: str) -> str:
    """The class in `file` that is the member of this name: the one whose class variable `name` says so."""
    classes = [node for node in parsed(file).body if isinstance(node, ast.ClassDef)]
    named = [node for node in classes if _own(node, file).get("name") == member]
    public = [node for node in named or classes if not node.name.startswith("_")]
    return (public or classes)[-1].name


def classes_in(file: Path) -> list[str]:
    """Names of the classes in `file`."""
    return [node.name for node in parsed(file).body if isinstance(node, ast.ClassDef)]


def kind_of(annotation: str, file: Path) -> Kind:
    """The kind of a type as it stands in `file`."""
    return _kind(ast.parse(annotation, mode="eval").body, file)


def _ancestry(file: Path, name: str) -> list[tuple[Path, ast.ClassDef]]:
    """The class `name` and those that it inherits from, as far as their source is known; the nearest first."""
    home, kind = _locate(name, file) or (file, None)
    if not isinstance(kind, ast.ClassDef):
        return []
    bases = [_ancestry(home, base.id) for base in kind.bases if isinstance(base, ast.Name)]
    return [(home, kind), *(ancestor for ancestry in bases for ancestor in ancestry)]


def _locate(name: str, file: Path) -> tuple[Path, ast.ClassDef | ast.expr] | None:
    """Where `name`, as it is known in `file`, is defined: the file, and the class or the value; None if unknown."""
    for node in _statements(parsed(file).body):
        if isinstance(node, ast.ClassDef) and node.name == name:
            return file, node
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and target.id == name:
                return file, node.value
        if isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                if (alias.asname or alias.name) == name and (home := _module(str(node.module))) is not None:
                    return _locate(alias.name, home)
    return None


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """With those under `if TYPE_CHECKING` and the like."""
    for node in body:
        yield node
        if isinstance(node, ast.If):
            yield from _statements([*node.body, *node.orelse])


@cache
def _module(name: str) -> Path | None:
    """The file of a module, found without importing it or its packages; None for one of the standard library."""
    top, *inside = name.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or not spec.submodule_search_locations:
        return None if spec is None or inside or not str(spec.origin).endswith(".py") else Path(str(spec.origin))
    for folder in spec.submodule_search_locations:
        path = Path(folder, *inside)
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return file
    return None


def _kind(node: ast.expr, file: Path) -> Kind:
    if isinstance(node, ast.Constant):
        return Kind(frozenset({type(None)})) if node.value is None else kind_of(str(node.value), file)
    if isinstance(node, ast.BinOp):
        return _kind(node.left, file) | _kind(node.right, file)
    if isinstance(node, ast.Subscript):
        return _subscript(_last_name(node.value), _elements(node.slice), file)
    name = _last_name(node)
    if name in PLAIN:
        return Kind(frozenset({PLAIN[name]}))
    located = _locate(name, file)
    if located is None:
        return Kind()
    home, meant = located
    if isinstance(meant, ast.ClassDef):  # a member of a registry, which is given by its name
        return Kind(frozenset({str}), member=meant.name)
    return Kind(frozenset({str}), member=name) if _last_name(meant) == "str" else _kind(meant, home)


def _subscript(outer: str, inner: list[ast.expr], file: Path) -> Kind:
    if outer == "Literal":
        values = [ast.literal_eval(each) for each in inner]
        return Kind(frozenset(map(type, values)), tuple(v for v in values if isinstance(v, str)))
    if outer in LISTS:
        parts = [_kind(each, file) for each in inner if not isinstance(each, ast.Constant)]
        return Kind(frozenset({list}), parts=frozenset().union(*(part.types for part in parts)))
    if outer == "Annotated":
        return _kind(inner[0], file)
    kinds = [_kind(each, file) for each in inner] if outer in ("Optional", "Union") else []
    union = Kind(frozenset({type(None)})) if outer == "Optional" else Kind()
    for kind in kinds:
        union |= kind
    return union


def _last_name(node: ast.expr) -> str:
    """`Literal` for `Literal` and for `typing.Literal`; empty for what is no name."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _elements(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple) else [node]


def _value(node: ast.expr, file: Path) -> Any:
    """The plain value of an expression; for a member of a registry its name, for a class (file, name), else None."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        pass
    if isinstance(node, ast.Call):
        names = [*node.args[:1], *(k.value for k in node.keywords if k.arg in ("name", "default"))]
        return _value(names[0], file) if names else None
    if not isinstance(node, ast.Name) or (located := _locate(node.id, file)) is None:
        return None
    home, inner = located
    return (home, inner.name) if isinstance(inner, ast.ClassDef) else _value(inner, home)


def _docstring(statement: ast.stmt | None) -> str:
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Constant):
        return ""
    return " ".join(str(statement.value.value).split())
