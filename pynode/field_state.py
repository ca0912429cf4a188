"""What a field holds: attributes of its modules, entries of its lists and dicts, variables of its closures.

A gradient that evaluates the field again needs all of it as it was during the solve, but a user may have set the next
graph, the next context or another mode in the meantime.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from operator import is_
from types import CellType, FunctionType, MethodType
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.utils import parametrize

LARGEST = 256
"""Entries of a list or dict beyond which it counts as data, whose entries nobody exchanges between two solves."""

_INTERNAL = frozenset(nn.Module().__dict__)
_USED = frozenset(("_parameters", "_buffers", "_modules", "_forward_hooks", "_forward_pre_hooks"))
MISSING: Any = object()
"""Stands for the value of a key that is not there."""


class Box(NamedTuple):
    """Something that holds values: a dict, a list or a closure's cell.

    A value's name, as a user would write it, is `prefix` and the value's key put into `form`.
    """

    owner: Any
    prefix: str
    form: str

    def name_of(self, key: Any) -> str:
        return self.prefix + self.form.format(key)


class FieldState:
    """A shallow copy of what `field` holds, with the means to find differences and to bring the copied state back.

    Some places the field changes by itself when it is evaluated: counters, buffers, cached tensors.  These are known
    by `note_own`, and are no differences afterwards.
    """

    def __init__(self, field: Any) -> None:
        self._boxes: list[Box] = []
        _collect(field, self._boxes)
        self._copies = [_copy(box.owner) for box in self._boxes]
        self._own: list[set[Any]] = [set() for _ in self._boxes]

    def differences(self) -> Iterator[tuple[str, Any, Any]]:
        """Values that are other objects now than in the copy: name, then, now; `MISSING` where there is none."""
        for box, copy, own in zip(self._boxes, self._copies, self._own, strict=True):
            if not _same(box.owner, copy) and not (own and isinstance(box.owner, list)):
                now = _copy(box.owner)
                for key in _changed_keys(copy, now):
                    if key not in own:
                        yield box.name_of(key), copy.get(key, MISSING), now.get(key, MISSING)

    def note_own(self) -> list[dict[Any, Any]]:
        """Copies what has changed, as something that the field changes by itself; returns the former copy."""
        before = list(self._copies)
        for i, box in enumerate(self._boxes):
            if not _same(box.owner, self._copies[i]):
                now = _copy(box.owner)
                self._own[i] |= set(_changed_keys(self._copies[i], now))
                self._copies[i] = now
        return before

    def go_back_to(self, before: list[dict[Any, Any]]) -> None:
        """Gives every place the value that it has in a former copy, which becomes the copy again."""
        self._copies = before
        for box, copy in zip(self._boxes, self._copies, strict=True):
            _fill(box.owner, copy)

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """The copied values inside the block, the present ones again after it.

        Numbers and other plain values that the field changes by itself, such as counters, are left to the field.
        """
        changed: list[tuple[Box, dict[Any, Any], set[Any]]] = []
        for box, copy, own in zip(self._boxes, self._copies, self._own, strict=True):
            if own and isinstance(box.owner, list):
                continue  # a log that the field appends to
            if own or not _same(box.owner, copy):
                now = _copy(box.owner)
                left = {k for k in own if not isinstance(now.get(k), Tensor) and not isinstance(copy.get(k), Tensor)}
                changed.append((box, now, left))
                _fill(box.owner, {**copy, **{k: now.get(k, MISSING) for k in left}})
        try:
            yield
        finally:
            for box, now, left in changed:
                live = _copy(box.owner)
                _fill(box.owner, {**now, **{k: live.get(k, MISSING) for k in left}})

    @contextmanager
    def own_kept(self) -> Iterator[None]:
        """After the block, what the field changes by itself has the values from before it."""
        before = [(box, _copy(box.owner)) for box, own in zip(self._boxes, self._own, strict=True) if own]
        try:
            yield
        finally:
            for box, values in before:
                _fill(box.owner, values)

    def tensors(self) -> Iterator[Tensor]:
        """All tensors among the copied values."""
        for copy in self._copies:
            for value in copy.values():
                if isinstance(value, Tensor):
                    yield value

    def name_of(self, x: Tensor) -> str | None:
        """How a user would write the place that held `x`; None where there is none."""
        for box, copy in zip(self._boxes, self._copies, strict=True):
            for key, value in copy.items():
                if value is x:
                    return box.name_of(key)
        return None


def _collect(root: Any, boxes: list[Box]) -> None:
    """Appends all dicts, lists and cells that can be reached from `root`."""
    todo: list[tuple[Any, str]] = [(root, "")]
    seen: set[int] = set()
    if parametrize._cache_enabled:
        boxes.append(Box(parametrize._cache, "", "{0[1]}"))
    while todo:
        x, name = todo.pop()
        if id(x) in seen:
            continue
        seen.add(id(x))
        dot = f"{name}." if name else ""
        if isinstance(x, nn.Module):
            boxes.append(Box(x.__dict__, dot, "{}"))
            for key, value in x.__dict__.items():
                if key in _USED:
                    boxes.append(Box(value, dot, "{}"))
                    todo += [(inner, f"{dot}{k}") for k, inner in value.items() if inner is not None]
                elif key not in _INTERNAL:
                    todo.append((value, f"{dot}{key}"))
            kind = type(x)
            if not kind.__module__.startswith("torch.nn."):
                todo.append((kind.forward, name))
        elif isinstance(x, (dict, list)):
            if len(x) <= LARGEST:
                boxes.append(Box(x, name, "[{!r}]"))
                items = x.items() if isinstance(x, dict) else enumerate(x)
                todo += [(inner, f"{name}[{key!r}]") for key, inner in items]
        elif isinstance(x, tuple):
            todo += [(inner, f"{name}[{i}]") for i, inner in enumerate(x[:LARGEST])]
        elif isinstance(x, FunctionType):
            for variable, cell in zip(x.__code__.co_freevars, x.__closure__ or (), strict=True):
                boxes.append(Box(cell, variable, ""))
                todo.append((_contents(cell), variable))
        elif isinstance(x, MethodType):
            todo += [(x.__self__, name), (x.__func__, name)]
        elif isinstance(x, functools.partial):
            todo += [(x.func, name), (x.args, f"{dot}args"), (x.keywords, f"{dot}keywords")]
        elif x is root and hasattr(x, "__dict__") and not isinstance(x, type):
            boxes.append(Box(x.__dict__, dot, "{}"))
            todo += [(value, f"{dot}{key}") for key, value in x.__dict__.items()]
            todo.append((type(x).__dict__.get("__call__"), name))


def _copy(owner: Any) -> dict[Any, Any]:
    if isinstance(owner, CellType):
        return {0: _contents(owner)}
    return dict(owner) if isinstance(owner, dict) else dict(enumerate(owner))


def _same(owner: Any, copy: dict[Any, Any]) -> bool:
    if isinstance(owner, CellType):
        return _contents(owner) is copy.get(0, MISSING)
    if len(owner) != len(copy):
        return False
    if isinstance(owner, dict):
        return all(map(is_, owner.values(), copy.values())) and all(map(is_, owner, copy))
    return all(map(is_, owner, copy.values()))


def _contents(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # the variable has no value yet, or has been deleted
        return MISSING


def _changed_keys(before: dict[Any, Any], after: dict[Any, Any]) -> list[Any]:
    return [k for k in {**before, **after} if before.get(k, MISSING) is not after.get(k, MISSING)]


def _fill(owner: Any, values: dict[Any, Any]) -> None:
    """Makes `owner` hold `values`, touching no more than it has to."""
    values = {k: v for k, v in values.items() if v is not MISSING}
    if _same(owner, values):
        return
    if isinstance(owner, CellType):
        if values:
            owner.cell_contents = values[0]
        else:
            del owner.cell_contents
    elif isinstance(owner, list):
        owner[:] = values.values()
    elif list(owner) == list(values):
        for key, value in values.items():
            if owner[key] is not value:
                owner[key] = value
    else:
        owner.clear()
        owner.update(values)
