"""What the evaluation of a module may read: modules, classes, functions, global and enclosed variables, objects.

Found by walking through the code of `forward`, and of whatever that mentions by name.
"""

from __future__ import annotations

import collections
import dis
import functools
import sys
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from types import CellType, CodeType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any

from torch import nn

LIBRARIES = frozenset((*sys.stdlib_module_names, "builtins", "torch", "numpy", "scipy", "torchdiffeq", "pynode"))
"""Packages whose code does not change while a program runs; their classes are watched by `forward` alone."""

DYNAMIC_ATTRIBUTES = frozenset(("__dict__", "__getattribute__"))
"""Attributes through which code reads what it does not name."""

UNWATCHED = (collections.UserDict, collections.UserList, collections.ChainMap, threading.local)
"""Containers that can't be compared with a copy."""

ADDING = frozenset(("append", "extend", "add", "update", "insert"))
"""Methods that only add to a log."""

ENTRIES = "[]"
"""Stands for the entries of containers that code writes, among the names that it reads."""

BUILDERS = frozenset(
    ("__init__", "__new__", "__post_init__", "__repr__", "__str__", "__setattr__", "__getstate__", "__setstate__")
) | {"__reduce__", "__reduce_ex__", "__deepcopy__", "__copy__", "__init_subclass__", "__set_name__"}
"""Special methods that no evaluation calls."""

DYNAMIC = frozenset(("getattr", "vars", "eval", "exec", "globals", "locals", "attrgetter", "methodcaller"))
"""Functions that read what their caller's code does not name."""

MOST = 2000
"""Modules, functions and objects beyond which a walk ends."""

LARGEST = 1000
"""Entries of a container beyond which it counts as data, in which no functions or modules are looked for."""

_INTERNAL = frozenset(nn.Module().__dict__)


class Reached:
    """What an evaluation of `module` may read beside its arguments.

    `modules`, `objects` and `classes` each have the name that a user would give them; `variables` are names of
    dictionaries of globals, `cells` variables of enclosing functions, `functions` those with default arguments,
    `mappings` dictionaries all of whose values count.
    `reads(key)` says whether any of the code may read an attribute of that name.  With `complete` False there was more
    than could be walked; `unwatched` names something that can't be compared with a copy.
    """

    def __init__(self, module: nn.Module) -> None:
        self.modules: list[tuple[str, nn.Module]] = []
        self.objects: list[tuple[str, dict[str, Any]]] = []
        self.classes: list[type] = []
        self.library_classes: list[type] = []
        self.variables: list[tuple[dict[str, Any], set[str]]] = []
        self.cells: list[tuple[str, CellType]] = []
        self.functions: list[FunctionType] = []
        self.mappings: list[tuple[str, dict[str, Any]]] = []
        self.unwatched = ""
        self.reading: collections.Counter[str] = collections.Counter()
        self.complete = True
        self._names: set[str] = {"forward", "__call__"}
        self._dynamic = False
        self._seen: set[int] = set()
        self._held: list[Any] = []  # so that no identity is used twice
        self._pending: list[tuple[str, Callable[[], None]]] = []
        self._todo: list[tuple[Any, str]] = [(module, "")]
        self._walk()

    def reads(self, key: str) -> bool:
        """Whether any code that was reached may read an attribute called `key`."""
        return self._dynamic or not self.complete or key in self._names

    def _walk(self) -> None:
        while self._todo:
            while self._todo:
                value, name = self._todo.pop()
                if id(value) in self._seen:
                    continue
                if len(self._seen) >= MOST:
                    self.complete = False
                    return
                self._visit(value, name)
            ready = [action for key, action in self._pending if self.reads(key)]
            self._pending = [entry for entry in self._pending if not self.reads(entry[0])]
            for action in ready:
                action()

    def _when_read(self, key: str, value: Any, name: str) -> None:
        self._pending.append((key, lambda: self._todo.append((value, name))))

    def _visit(self, value: Any, name: str) -> None:
        if isinstance(value, (str, int, float, bytes, type(None))) or hasattr(value, "__array__"):
            return  # plain values, arrays and tensors
        self._seen.add(id(value))
        self._held.append(value)
        dot = f"{name}." if name else ""
        if isinstance(value, nn.Module):
            self._visit_module(value, name, dot)
        elif isinstance(value, FunctionType):
            self._visit_function(value)
        elif isinstance(value, MethodType):
            self._todo += [(value.__func__, name), (value.__self__, name)]
        elif isinstance(value, functools.partial):
            self._todo += [(value.func, name), (value.args, name), (value.keywords, name)]
            self.mappings.append((dot, value.keywords))
        elif isinstance(value, UNWATCHED):
            self.unwatched = self.unwatched or f"{name}, a {type(value).__name__}"
        elif isinstance(value, (list, tuple, set, frozenset)) and len(value) <= LARGEST:
            self._todo += [(inner, f"{name}[{i}]") for i, inner in enumerate(value)]
        elif isinstance(value, Mapping) and len(value) <= LARGEST and isinstance(value, dict):
            self._todo += [(inner, f"{name}[{key!r}]") for key, inner in value.items()]
        elif isinstance(value, (property, functools.cached_property, staticmethod, classmethod)):
            inner = (getattr(value, part, None) for part in ("fget", "func", "__func__"))
            self._todo += [(f, name) for f in inner if f is not None]
        elif isinstance(value, ModuleType):
            if not is_library(value.__name__):
                for key, inner in list(vars(value).items()):
                    self._when_variable(vars(value), key, inner)
        elif isinstance(value, type):
            self._visit_class(value)
        elif isinstance(value, (SimpleNamespace, Namespace)) or not is_library(type(value).__module__):
            own = getattr(value, "__dict__", None)
            self._visit_class(type(value))
            if any(base.__dict__.get("__slots__") for base in type(value).__mro__ if not is_library(base.__module__)):
                self.unwatched = self.unwatched or f"{name}, an object with __slots__"
            if isinstance(own, dict):
                self.objects.append((dot, own))
                for key, inner in list(own.items()):
                    self._when_read(key, inner, f"{dot}{key}")

    def _visit_module(self, module: nn.Module, name: str, dot: str) -> None:
        self.modules.append((name, module))
        self._todo.append((type(module), name))
        for key, value in list(module.__dict__.items()):
            if key == "_modules":
                self._todo += [(child, f"{dot}{k}") for k, child in value.items() if child is not None]
            elif key == "forward" or (key not in _INTERNAL and is_library(type(module).__module__)):
                self._todo.append((value, f"{dot}{key}"))
            elif key not in _INTERNAL:
                self._when_read(key, value, f"{dot}{key}")

    def _visit_class(self, kind: type) -> None:
        for base in kind.__mro__:
            if is_library(base.__module__):
                if issubclass(base, nn.Module) and base not in self.library_classes:
                    self.library_classes.append(base)
                continue
            if base in self.classes:
                continue
            self.classes.append(base)
            self._dynamic = self._dynamic or any(k in base.__dict__ for k in ("__getattr__", "__getattribute__"))
            for key, value in list(base.__dict__.items()):
                if key.startswith("__") and isinstance(value, FunctionType) and key not in BUILDERS:
                    self._todo.append((value, f"{base.__name__}.{key}"))  # operators call it without naming it
                else:
                    self._when_read(key, value, f"{base.__name__}.{key}")

    def _visit_function(self, function: FunctionType) -> None:
        if is_library(function.__module__):
            return
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            self.cells.append((name, cell))
            try:
                self._todo.append((cell.cell_contents, name))
            except ValueError:  # the variable has no value yet
                continue
        if function.__defaults__ or function.__kwdefaults__:
            self.functions.append(function)
            self._todo += [(value, function.__name__) for value in function.__defaults__ or ()]
            self._todo += [(value, function.__name__) for value in (function.__kwdefaults__ or {}).values()]
        if function.__dict__:
            self.objects.append((f"{function.__name__}.", function.__dict__))
        for home in _imports_in(function.__code__):
            if home == "os" or (not is_library(home) and home not in sys.modules):
                self.unwatched = self.unwatched or f"what {function.__name__} imports"
            elif not is_library(home):
                self._todo.append((sys.modules[home], home))
        self.reading.update(_readings_in(function.__code__))
        known = function.__globals__
        self._dynamic = self._dynamic or not DYNAMIC_ATTRIBUTES.isdisjoint(function.__code__.co_names)
        if "environ" in function.__code__.co_names or "getenv" in function.__code__.co_names:
            self.unwatched = self.unwatched or "variables of the environment"
        for name in _names_in(function.__code__, self._names):
            if name in known:
                value = known[name]
                if name in DYNAMIC:
                    self._dynamic = True
                self._add_variable(known, name, value)
            elif name in DYNAMIC:
                self._dynamic = True

    def _when_variable(self, owner: dict[str, Any], key: str, value: Any) -> None:
        self._pending.append((key, lambda: self._add_variable(owner, key, value)))

    def _add_variable(self, owner: dict[str, Any], key: str, value: Any) -> None:
        home = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        if is_library(home) and (isinstance(value, ModuleType) or callable(value)):
            return
        for known, names in self.variables:
            if known is owner:
                names.add(key)
                break
        else:
            self.variables.append((owner, {key}))
        self._todo.append((value, key))


def is_library(module_name: str | None) -> bool:
    """Whether the module of this name belongs to one of the libraries."""
    return module_name is None or module_name.partition(".")[0] in LIBRARIES


def _names_in(code: CodeType, attributes: set[str]) -> Iterator[str]:
    """The global names that `code` and functions inside of it read; adds all other names to `attributes`."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"):
            yield str(instruction.argval)
    attributes.update(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant, attributes)


def _readings_in(code: CodeType) -> collections.Counter[str]:
    """How often `code` reads each name for more than to write it anew (`self.n += 1`) or to add to what it holds."""
    reading: collections.Counter[str] = collections.Counter()
    instructions = list(dis.get_instructions(code))
    for instruction, following in zip(instructions, [*instructions[1:], None], strict=True):
        name = instruction.argval
        if instruction.opname.startswith(("LOAD_ATTR", "LOAD_METHOD", "LOAD_GLOBAL", "LOAD_DEREF")):
            adds = following is not None and following.argval in ADDING and following.opname.startswith("LOAD_")
            reading[str(name)] += 0 if adds else 1
        elif instruction.opname in ("STORE_ATTR", "STORE_GLOBAL", "STORE_DEREF"):
            reading[str(name)] -= 1
        elif instruction.opname == "STORE_SUBSCR":
            reading[ENTRIES] -= 1
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            reading.update(_readings_in(constant))
    return reading


def _imports_in(code: CodeType) -> Iterator[str]:
    """The modules that `code` imports while it runs."""
    for instruction in dis.get_instructions(code):
        if instruction.opname == "IMPORT_NAME":
            yield str(instruction.argval)
