"""Whether a module is still what it was: a copy of all that its value depends on, which is cheap to compare.

Tensors count by identity, since every solve reads their numbers anew; numbers, strings and containers count by value.
What the module's own evaluation changes, such as a counter of evaluations, does not count.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import itemgetter
from types import CellType, MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from pynode.tapes.reached import ENTRIES, LARGEST, Reached, is_library

MISSING: Any = object()
"""Stands for the value of a key that is not there."""

MOST_BAKED = 4096
"""Entries of a tensor in the tape up to which they are compared, since `.data` changes them without a trace."""

LARGEST_ARRAY = 1 << 16
"""Bytes of an array beyond which its entries count as data, which spot checks alone compare."""

DEEPEST = 6
"""Containers in containers whose entries are compared."""

CONTAINERS = (dict, list, tuple, set, deque, array)
"""Containers that are copied."""

_INTERNAL = frozenset(nn.Module().__dict__)
_HELD = ("_parameters", "_buffers", "_modules")
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_UNUSED = _INTERNAL.difference(_HELD, _HOOKS, ("training",))
"""What of a module no evaluation reads: hooks of its state dict, and the like."""

_CALL = nn.Module.__call__


@dataclass(eq=False)
class Place:
    """A dictionary that holds values: of a module, an object, a class, or of global variables.

    A value's name is `prefix` and its key.  Keys of `free` may have any value; `only` are the keys that count, None
    for all.
    """

    owner: Mapping[str, Any]
    copy: dict[str, Any]
    prefix: str
    only: tuple[str, ...] | None = None
    free: set[str] = field(default_factory=set)

    def changed(self) -> list[str]:
        """Keys whose values have changed."""
        keys = {**self.copy, **self.owner} if self.only is None else dict.fromkeys(self.only)
        pairs = ((key, self.copy.get(key, MISSING), self.owner.get(key, MISSING)) for key in keys)
        return [key for key, then, now in pairs if key not in self.free and not _same(then, now)]

    def names_of(self, key: str) -> Iterator[str]:
        """What a user would call the value of `key`, or the parts of it that have changed."""
        then, now = self.copy.get(key, MISSING), self.owner.get(key, MISSING)
        if key not in _HELD or not isinstance(then, dict) or not isinstance(now, dict):
            yield f"{self.prefix}{key}"
            return
        for inner in {**then, **now}:
            if not _same(then.get(inner, MISSING), now.get(inner, MISSING)):
                yield f"{self.prefix}{inner}"


class Watch:
    """A copy of what an evaluation of `module` may read beside its arguments.

    It keeps what the module holds alive, but not the module.
    """

    def __init__(self, module: nn.Module) -> None:
        reached = Reached(module)
        self.complete, self.unwatched = reached.complete, reached.unwatched
        self._small: list[tuple[Any, Any, Tensor]] = []
        self._switches: list[tuple[Any, Any, type]] = []  # 0 and 1, which False and True are equal to
        self._arrays: list[tuple[str, npt.NDArray[Any], bytes]] = []
        self._kind = type(module)
        self._modules = [inner for _, inner in reached.modules if inner is not module]
        self._names = [name for name, inner in reached.modules if inner is not module]
        self._types = [type(inner) for inner in self._modules]
        self._places: list[Place] = []
        for name, inner in reached.modules:
            ours = inner.__dict__
            place = self._watch(ours, f"{name}." if name else "")
            place.copy |= {k: ours[k] for k in _UNUSED if k in ours}  # the same objects: quicker to compare
            place.free |= {k for k in ours if k not in _INTERNAL and k != "forward" and not reached.reads(k)}
        for prefix, own in reached.objects:
            self._watch(own, prefix).free |= {key for key in own if not reached.reads(key)}
        for prefix, own in reached.mappings:
            self._watch(own, prefix)
        for place in self._places:
            self._note_large(place)
        for kind in reached.classes:
            self._watch(kind.__dict__, f"{kind.__name__}.")
        for owner, names in reached.variables:
            self._watch(owner, "global ", tuple(sorted(names)))
        self._cells = [(f"variable {name}", cell, self._copied(_contents(cell), name)) for name, cell in reached.cells]
        self._defaults = [
            (f, self._copied(f.__defaults__, f.__name__), self._copied(f.__kwdefaults__, f.__name__))
            for f in reached.functions
        ]
        self._forwards = [(kind, kind.forward) for kind in reached.library_classes if issubclass(kind, nn.Module)]
        self._reading = reached.reading
        self._baked: list[tuple[Tensor, int, bytes | None]] = []
        self._own: list[tuple[Place, str, Any]] = []
        self._own_cells: list[tuple[str, CellType, Any]] = []
        self._arrange()

    def same(self, module: nn.Module) -> bool:
        """Whether nothing of `module`, which is the one that was copied, has changed: quick."""
        try:
            for owner, copy, keys in self._freed:
                for key in keys:
                    copy[key] = owner[key]
            for owner, copy in self._whole:
                if owner != copy:
                    return False
            for pick, owner, values in self._picked:
                if pick(owner) != values:
                    return False
            for _, cell, value in self._cells:
                now = cell.cell_contents
                if now is not value and now != value:
                    return False
            for kind, forward in self._forwards:
                if kind.forward is not forward:
                    return False
            for owner, key, x in self._small:
                if owner[key] is not x:
                    return False
            for owner, key, number in self._switches:
                if type(owner[key]) is not number:
                    return False
            for x, version, content in self._baked:
                if x._version != version or (content is not None and x.detach().numpy().tobytes() != content):
                    return False
            for function, positional, by_name in self._defaults:
                if function.__defaults__ != positional or function.__kwdefaults__ != by_name:
                    return False
            for _, array, content in self._arrays:
                if array.tobytes() != content:
                    return False
            if type(module) is not self._kind or nn.Module.__call__ is not _CALL:
                return False
            return [*map(type, self._modules)] == self._types
        except Exception:  # of a comparison that is none, such as of a tensor with a number
            return False

    def changes(self, module: nn.Module) -> list[str]:
        """What has changed, by the names that a user would give it: thorough."""
        names = [name for place in self._places for key in place.changed() for name in place.names_of(key)]
        names += [name for name, cell, value in self._cells if not _same(value, _contents(cell))]
        if type(module) is not self._kind:
            names.append("class of the module")
        for inner, kind, name in zip(self._modules, self._types, self._names, strict=True):
            if type(inner) is not kind:
                names.append(f"class of {name}")
        names += [f"{kind.__name__}.forward" for kind, forward in self._forwards if kind.forward is not forward]
        names += [
            f"default arguments of {function.__name__}"
            for function, positional, by_name in self._defaults
            if not _same(positional, function.__defaults__) or not _same(by_name, function.__kwdefaults__)
        ]
        for x, version, content in self._baked:
            if x._version != version or (content is not None and x.detach().numpy().tobytes() != content):
                names.append(f"entries of a tensor of shape {tuple(x.shape)}")
        names += [name for name, array, content in self._arrays if array.tobytes() != content]
        if nn.Module.__call__ is not _CALL:
            names.append("torch.nn.Module.__call__")
        return names

    def free_changed(self) -> None:
        """Lets what has changed have any value from here on, since the module's own evaluation has changed it."""
        for place in list(self._places):
            for key in place.changed():
                then, now = place.copy.get(key), place.owner.get(key)
                if key in _HELD and isinstance(then, dict) and isinstance(now, dict):
                    place.copy[key] = now  # its entries are watched one by one
                    inner = Place(now, then, place.prefix)
                    self._places.append(inner)
                    self._free(inner, inner.changed())
                else:
                    self._free(place, [key])
        same = [_same(value, _contents(cell)) for _, cell, value in self._cells]
        self._own_cells += [entry for entry, fine in zip(self._cells, same, strict=True) if not fine]
        self._cells = [entry for entry, fine in zip(self._cells, same, strict=True) if fine]
        self._arrange()

    def accept(self, module: nn.Module, read: Sequence[Tensor]) -> bool:
        """Takes new tensors that stand in the places of others, where these are among `read` and have the same shape.

        False, and nothing has been taken, where anything else has changed.
        """
        swaps: list[tuple[dict[str, Any], str, Tensor, Any]] = []
        for place in self._places:
            for key in place.changed():
                then, now = place.copy.get(key), place.owner.get(key)
                if key in _HELD and isinstance(then, dict) and isinstance(now, dict):
                    inner = [k for k in {**then, **now} if then.get(k) is not now.get(k)]
                    swaps += [(then, k, then.get(k), now.get(k)) for k in inner]  # type: ignore[misc]
                else:
                    swaps.append((place.copy, key, then, now))  # type: ignore[arg-type]
        known = {id(x) for x in read}
        if (
            not swaps
            or len(swaps) != len(self.changes(module))
            or not all(id(x) in known and _fits(x, y) for *_, x, y in swaps)
        ):
            return False
        new = {id(then): now for _, _, then, now in swaps}
        swapped = {(id(copy), key) for copy, key, _, _ in swaps}
        if any(new[id(then)] is not now for _, _, then, now in swaps):
            return False  # one tensor in several places has become several tensors
        if any(id(x) in new and (id(copy), key) not in swapped for copy, key, x in self._tensors()):
            return False
        for copy, key, _, now in swaps:
            copy[key] = now
        self._small = [(owner, key, new.get(id(x), x)) for owner, key, x in self._small]
        self._arrange()
        return True

    def _tensors(self) -> Iterator[tuple[dict[str, Any], str, Tensor]]:
        """Copies of dictionaries with their tensors."""
        for place in self._places:
            inner = [place.copy[key] for key in _HELD if isinstance(place.copy.get(key), dict)]
            for copy in (place.copy, *inner):
                yield from ((copy, key, x) for key, x in copy.items() if isinstance(x, Tensor))

    def bake(self, tensors: Sequence[Tensor]) -> None:
        """Lets the numbers of these tensors count as well."""
        self._baked = [
            (x, x._version, x.detach().numpy().tobytes() if x.numel() <= MOST_BAKED else None)
            for x in tensors
            if not x.is_inference()
        ]

    def summary(self) -> str:
        """What is watched, as a sentence."""
        attributes = [
            f"{place.prefix}{key}"
            for place in self._places
            for key in place.copy
            if key not in place.free and key not in _INTERNAL and not key.startswith("__") and place.only is None
            if not isinstance(place.owner, MappingProxyType)
        ]
        variables = [f"{p.prefix}{key}" for p in self._places for key in p.only or () if key not in p.free]
        parts = [f"{1 + len(self._modules)} modules (mode, tensors, layers, hooks, forward)"]
        parts += [f"attributes {', '.join(attributes)}"] if attributes else []
        parts += variables + [name for name, *_ in self._cells]
        own = self.own_names()
        return "; ".join([*parts, *([f"not {', '.join(own)}, which its evaluation changes"] if own else [])])

    def own_names(self) -> list[str]:
        """What the module's own evaluation changes, by the names that a user would give it."""
        return [f"{place.prefix}{key}" for place, key, _ in self._own] + [name for name, *_ in self._own_cells]

    def own_tensors(self) -> list[tuple[str, Tensor]]:
        """Tensors that the module's own evaluation has made and kept, with their names."""
        values = [(f"{place.prefix}{key}", place.owner.get(key)) for place, key, _ in self._own]
        return [(name, value) for name, value in values if isinstance(value, Tensor)]

    def steering(self) -> str | None:
        """What the module's own evaluation changes and also reads, so that its value may depend on it; None if nothing.

        A counter that is only written anew is none.
        """
        names = [key for _, key, _ in self._own] + [name.removeprefix("variable ") for name, *_ in self._own_cells]
        written = -self._reading[ENTRIES]
        return next((name for name in names if self._reading[name] > written), None)

    def own_changes(self) -> list[str]:
        """Those of them that have other values now than when they were copied."""
        differing = (x for x in self._own if not _same(x[2], x[0].owner.get(x[1], MISSING)))
        names = [f"{place.prefix}{key}" for place, key, _ in differing]
        return names + [name for name, cell, value in self._own_cells if not _same(value, _contents(cell))]

    @contextmanager
    def own_kept(self) -> Iterator[None]:
        """After the block, what the module's own evaluation changes has the values from before it."""
        before = [(place.owner, key, place.owner.get(key, MISSING)) for place, key, _ in self._own]
        logs = [(value, list(value)) for _, _, value in before if isinstance(value, list)]
        try:
            yield
        finally:
            for owner, key, value in before:
                if isinstance(owner, dict) and owner.get(key, MISSING) is not value and value is not MISSING:
                    owner[key] = value
            for log, entries in logs:
                log[:] = entries

    def _free(self, place: Place, keys: list[str]) -> None:
        for key in keys:
            self._own.append((place, key, place.copy.get(key, MISSING)))
            place.free.add(key)
            self._small = [entry for entry in self._small if entry[0] is not place.owner or entry[1] != key]
            value = place.copy.get(key)
            self._arrays = [entry for entry in self._arrays if entry[1] is not value]

    def _note_large(self, place: Place) -> None:
        """Notes an array that may be read and is too large to be compared."""
        for key, value in place.owner.items():
            if key not in place.free and isinstance(value, np.ndarray) and value.nbytes > LARGEST_ARRAY:
                self.unwatched = self.unwatched or f"{place.prefix}{key}, a large array of NumPy"

    def _watch(self, owner: Mapping[str, Any], prefix: str, only: tuple[str, ...] | None = None) -> Place:
        values = dict(owner) if only is None else {key: owner[key] for key in only}
        for key, value in values.items():
            if (isinstance(value, Tensor) and value.numel() == 1) or _has_equality(value):
                self._small.append((owner, key, value))
            if isinstance(value, (bool, int, float)) and value in (0, 1) and only is None and key != "training":
                self._switches.append((owner, key, type(value)))
            values[key] = self._copied(value, f"{prefix}{key}")
        place = Place(owner, values, prefix, only)
        self._places.append(place)
        return place

    def _copied(self, value: Any, name: str, depth: int = 0) -> Any:
        """`value` with containers copied, so that a change inside of them shows."""
        if isinstance(value, np.ndarray):
            if value.nbytes <= LARGEST_ARRAY:
                self._arrays.append((name, value, value.tobytes()))
            return value
        if depth > DEEPEST or not isinstance(value, CONTAINERS) or len(value) > LARGEST:
            return value
        if isinstance(value, (set, deque, array)):
            return value.copy() if isinstance(value, (set, deque)) else value[:]
        items = value.items() if isinstance(value, dict) else enumerate(value)
        copies = {}
        for key, inner in items:
            if isinstance(inner, Tensor) and inner.numel() == 1:
                self._small.append((value, key, inner))
            copies[key] = self._copied(inner, f"{name}[{key!r}]", depth + 1)
        if isinstance(value, dict):
            return copies
        if isinstance(value, list):
            return list(copies.values())
        return value if all(a is b for a, b in zip(value, copies.values(), strict=True)) else tuple(copies.values())

    def _arrange(self) -> None:
        """What `same` goes through."""
        whole = [place for place in self._places if place.only is None]
        self._freed = [(p.owner, p.copy, [*p.free & p.copy.keys()]) for p in whole if p.free]
        self._whole = [(place.owner, place.copy) for place in whole]
        self._picked: list[tuple[Any, Any, Any]] = []
        for place in self._places:
            if place.only is not None and (keys := [key for key in place.only if key not in place.free]):
                pick = itemgetter(*keys)
                self._picked.append((pick, place.owner, pick(place.copy)))


def _fits(then: Any, now: Any) -> bool:
    """Whether both are tensors, and alike."""
    if not isinstance(then, Tensor) or not isinstance(now, Tensor):
        return False
    return then.shape == now.shape and then.dtype is now.dtype and then.device == now.device


def _has_equality(value: Any) -> bool:
    """Whether an object's own class says what `==` means, perhaps by less than an evaluation reads."""
    kind = type(value)
    return not is_library(kind.__module__) and any("__eq__" in base.__dict__ for base in kind.__mro__[:-1])


def _contents(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # the variable has no value yet, or has been deleted
        return MISSING


def _same(then: Any, now: Any) -> bool:
    """Whether two values are the same: tensors by identity, the rest by what `==` says."""
    if then is now:
        return True
    if isinstance(then, Tensor) or isinstance(now, Tensor):
        return False
    if isinstance(then, dict) and isinstance(now, dict):
        return then.keys() == now.keys() and all(_same(value, now[key]) for key, value in then.items())
    if isinstance(then, (list, tuple)) and type(then) is type(now):
        return len(then) == len(now) and all(map(_same, then, now))
    try:
        return type(then) is type(now) and bool(then == now)
    except Exception:  # of a comparison that is none
        return False
