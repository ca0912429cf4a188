"""Members of registries from outside the package: entry points of installed packages, and objects in a user's file.

An entry point of a group such as `pynode.schemes` is read from the metadata of its package; nothing is imported until
the member is used.  A member of a file is written as `my_scheme.py:MY_SCHEME`; using it runs the file.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from pynode.errors import OutsideError, UnknownName

REFERENCE = re.compile(r"(?P<file>.+\.py):(?P<member>[^:/\\]+)")
"""A file and the name of an object in it."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
"""What a member may be called: its name becomes part of the names of folders."""

_files: set[str] = set()
"""Files of members from outside that were loaded: what fails in them is not pynode's fault."""


@dataclass(frozen=True)
class Origin:
    """Where a member from outside stands: in a package, or in a file whose content had this SHA-256."""

    name: str
    member: str
    package: str = ""
    version: str = ""
    file: str = ""
    sha256: str = ""

    def __str__(self) -> str:
        return f"the package {self.package} {self.version} ({self.member})" if self.package else self.reference

    @property
    def reference(self) -> str:
        """The member of a file, as it is written on the command line."""
        return f"{self.file}:{self.member}"

    @property
    def source(self) -> Path | None:
        """The file that the member's class or object stands in, where that is known without importing anything."""
        return Path(self.file) if self.file else _source_of(self.member.partition(":")[0])

    @property
    def summary(self) -> str:
        """First line of the docstring of the class, or else of its module; nothing is imported."""
        module = None if self.source is None else _parsed(self.source)
        if module is None:
            return ""
        attribute = self.member.rpartition(":")[2]
        own: list[ast.ClassDef | ast.Module] = [
            node for node in module.body if isinstance(node, ast.ClassDef) and node.name == attribute
        ]
        docs = [ast.get_docstring(node) for node in (*own, module)]
        return next((doc.partition("\n")[0] for doc in docs if doc), "")

    def to_json(self) -> dict[str, str]:
        """What stands in a run's configuration."""
        return {key: value for key, value in asdict(self).items() if value}


def entry_points(group: str) -> tuple[Origin, ...]:
    """The members that installed packages bring into `group`."""
    return _entry_points(tuple(sys.path)).get(group, ())


@lru_cache(maxsize=16)
def _entry_points(path: tuple[str, ...]) -> dict[str, tuple[Origin, ...]]:  # noqa: ARG001 (others on another path)
    """Members by group; all groups are read at once, which takes a tenth of a second where many packages are."""
    from importlib.metadata import distributions  # takes a while, and most commands need no package

    groups: dict[str, dict[Origin, None]] = {}
    for distribution in distributions():
        for point in distribution.entry_points:
            if point.group.startswith("pynode."):
                origin = Origin(point.name, point.value.replace(" ", ""), distribution.name, distribution.version)
                groups.setdefault(point.group, {})[origin] = None
    return {group: tuple(origins) for group, origins in groups.items()}


def split_reference(text: str, kind: str) -> tuple[Path, str] | None:
    """File and member of `my_scheme.py:MY_SCHEME`; None for text that names no file.

    Raises `OutsideError` for a file without a member, and where there is no such file.
    """
    match = REFERENCE.fullmatch(text)
    if match is None and not (text.endswith(".py") and len(text) > len(".py")):
        return None
    file, member = _of_user(match["file"] if match else text), match["member"] if match else None
    if not os.path.isfile(file):
        raise _no_file(file, kind)
    if member is None:
        known = _names_in(file)
        example = known[0] if known else "NAME"
        raise OutsideError(f"'{text}' names a file, but no {kind} in it; write {text}:{example}")
    return file.absolute(), member


def reference_origin(text: str) -> Origin | None:
    """Where the object is that a reference `FILE.py:NAME` names, called as the reference; None for other text.

    Runs nothing.  Without a digest where there is no such file.
    """
    match = REFERENCE.fullmatch(text)
    if match is None:
        return None
    file = _of_user(match["file"]).absolute()
    digest = hashlib.sha256(file.read_bytes()).hexdigest() if os.path.isfile(file) else ""
    return Origin(f"{file}:{match['member']}", match["member"], file=str(file), sha256=digest)


def absolute_reference(text: str, kind: str) -> str:
    """A reference `FILE.py:NAME` with the absolute path of its file, any other text as it is.

    Raises `OutsideError` for a file without a member, and where there is no such file.
    """
    reference = split_reference(text, kind)
    return text if reference is None else f"{reference[0]}:{reference[1]}"


def absolute_path(path: str | Path) -> str:
    """The path of a user's file as records keep it: the same file from every working folder."""
    return str(_of_user(path).absolute())


def _of_user(path: str | Path) -> Path:
    """The path with the home folder that it begins with; of no user's a ~ is part of the name, as in `~$t.csv`."""
    return Path(os.path.expanduser(path))


class Loaded(NamedTuple):
    """A member, the SHA-256 of its file's content, and what was defined in the same module by public names."""

    member: Any
    sha256: str
    beside: dict[str, Any]


def load_file(origin: Origin, kind: str) -> Loaded:
    """Runs the file of `origin`, once for the same content.

    Raises `OutsideError` with the line where that fails, `UnknownName` where the file does not define the member.
    """
    file = Path(origin.file)
    if not file.is_file():
        raise _no_file(file, kind)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise OutsideError(f"{file} can't be read ({error.strerror}); give a file that can") from error
    digest = hashlib.sha256(content).hexdigest()
    name = f"pynode_outside_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}_{digest[:8]}"
    _files.add(str(file))
    module = sys.modules.get(name) or _run(name, file, content, f"{kind} {origin.member}")
    beside = _defined(module)
    if origin.member not in beside:
        raise UnknownName(f"{kind} in {file}", origin.member, beside)
    return Loaded(beside[origin.member], digest, beside)


def load_entry_point(origin: Origin, kind: str) -> Loaded:
    """The object that an entry point names; raises `OutsideError` where importing it fails."""
    module, _, attribute = origin.member.partition(":")
    try:
        loaded = importlib.import_module(module)
        _files.add(str(getattr(loaded, "__file__", "")))
        value: Any = loaded
        for part in attribute.split("."):
            value = getattr(value, part)
    except Exception as error:
        place = _place_in(error, str(origin.source))
        said = f"{place}: {_said(error)}" if place else _said(error)
        raise OutsideError(
            f"the {kind} '{origin.name}' can't be loaded from {origin}: {said}; correct or uninstall the package"
        ) from error
    return Loaded(value, "", _defined(loaded))


def _defined(module: ModuleType) -> dict[str, Any]:
    """What the source of a module defines at its top by public names, without what it only imports."""
    names = _names_in(Path(str(module.__file__)))
    return {name: vars(module)[name] for name in names if name in vars(module)}


def blame(error: BaseException) -> str | None:
    """The place in a member from outside where `error` came from: the innermost one; None where it did not."""
    places = [place for file in _files if (place := _place_in(error, file)) is not None]
    return f"{places[-1]}: {_said(error)}" if places else None


def _run(name: str, file: Path, content: bytes, wanted: str) -> ModuleType:
    """The module that `content` makes when it runs; files beside it can be imported."""
    loader = _Loader(name, str(file), content)
    spec = importlib.machinery.ModuleSpec(name, loader, origin=str(file))
    spec.has_location = True
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    sys.path.append(str(file.parent))
    try:
        loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        place = _place_in(error, str(file)) or str(file)
        raise OutsideError(f"{place}: {_said(error)}; the {wanted} is in this file: correct it") from error
    finally:
        sys.path.remove(str(file.parent))
    return module


class _Loader(importlib.abc.SourceLoader):
    """Runs the bytes whose SHA-256 was taken, not what is in the file a moment later; writes no bytecode."""

    def __init__(self, name: str, file: str, content: bytes) -> None:
        self.name, self.file, self.content = name, file, content

    def get_filename(self, fullname: str) -> str:  # noqa: ARG002 (it has one name)
        """The path of the file."""
        return self.file

    def get_data(self, path: str | bytes) -> bytes:
        """The source; there is no bytecode."""
        if path != self.file:
            raise OSError(f"{path!r} is not the source")
        return self.content


def _no_file(file: Path, kind: str) -> OutsideError:
    try:
        beside = [path.name for path in file.parent.glob("*.py")]
    except OSError:
        beside = []
    match = difflib.get_close_matches(file.name, beside, n=1)
    guess = f"did you mean {file.parent / match[0]}?" if match else f"give the file that the {kind} is in"
    return OutsideError(f"there is no file {file}; {guess}")


def _names_in(file: Path) -> list[str]:
    """Public classes and variables at the top of a file, which is not run."""
    module = _parsed(file)
    names: list[str] = []
    for node in module.body if module else ():
        if isinstance(node, ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [target.id for target in targets if isinstance(target, ast.Name)]
    return [name for name in names if not name.startswith("_")]


def _parsed(file: Path) -> ast.Module | None:
    try:
        return ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return None


def _place_in(error: BaseException, file: str) -> str | None:
    """The innermost line of `file` that was at work when `error` was raised."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return f"{file}, line {error.lineno}"
    frames: Iterable[traceback.FrameSummary] = traceback.extract_tb(error.__traceback__)
    lines = [frame for frame in frames if frame.filename == file]
    if not lines:
        return None
    inside = "" if lines[-1].name == "<module>" else f", in {lines[-1].name}"
    return f"{file}, line {lines[-1].lineno}{inside}"


def _said(error: BaseException) -> str:
    said = (error.msg if isinstance(error, SyntaxError) else str(error)).partition("\n")[0]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _source_of(module: str) -> Path | None:
    """The file of a module; of the packages around it none is imported."""
    top, *inside = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not inside:
        return Path(spec.origin) if spec.origin else None
    for folder in spec.submodule_search_locations or ():
        for path in (Path(folder, *inside).with_suffix(".py"), Path(folder, *inside, "__init__.py")):
            if path.is_file():
                return path
    return None
