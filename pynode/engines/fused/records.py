"""Records with named fields: dataclasses in Python, typed pointers in kernels.

A kernel gets one integer, the address of a record, and reads `plan.n_steps` or `plan.field.layers[k].n_in` from there.
In memory every field takes eight bytes of a NumPy structured array: a number, or the address of what it points to.
That makes a call cheap (an integer is unboxed, whatever the record holds) and keeps types small while a kernel is
compiled, where arrays and NumPy's own records take a dozen arguments each.

Fields are annotated by one of

- `int`, `bool`, `float`: a number, which kernels may also write;
- `Ints`, `Floats`: an array of int64 or float64, read by its entries;
- `Numbers`: the address of numbers of the type that the solve is in (float64 or float32), 0 for none;
- a record: where that record lies; `list[...]` of a record: where the first of them lies.
"""

# ruff: noqa: ARG001, ARG002 (Numba's code generators have fixed signatures)
from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache, cached_property
from typing import Any, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import types
from numba.core.typing.templates import AbstractTemplate, AttributeTemplate, infer_getattr, infer_global, signature
from numba.extending import (
    lower_builtin,
    lower_getattr_generic,
    lower_setattr_generic,
    models,
    register_model,
)

from pynode.engines.fused.compile import intrinsic

Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]


class Numbers(int):
    """The address of numbers in memory; a pointer to them in kernels."""


R = TypeVar("R", bound="Record")

INT64 = ir.IntType(64)
FIELD_BYTES = 8


class Record:
    """Base of all records, which are dataclasses."""

    @cached_property
    def stored(self) -> Stored:
        """The record in memory, as it is when this is first asked for."""
        return Stored([self])

    @property
    def address(self) -> int:
        """Where kernels find it."""
        return self.stored.address

    @classmethod
    def read(cls: type[R], stored: Stored) -> R:
        """The record's present numbers, which a kernel may have changed; its pointers come as addresses."""
        return cls(*stored.array.tolist()[0])


class Stored:
    """Records of one kind, one after the other in memory, with all that they point to."""

    def __init__(self, records: Sequence[Record]) -> None:
        kind: Any = type(records[0])
        self._kept: list[Any] = []
        self.array: Any = np.zeros(len(records), dtype=_dtype(kind))
        self.address = int(self.array.ctypes.data)
        for i, record in enumerate(records):
            self.array[i] = tuple(self._number(getattr(record, name)) for name in hints_of(kind))

    def _number(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            assert value.flags.c_contiguous
            self._kept.append(value)
            return value.ctypes.data
        if isinstance(value, list):
            value = Stored(value) if value else 0
        elif isinstance(value, Record):
            value = value.stored
        if isinstance(value, Stored):
            self._kept.append(value)
            return value.address
        return value


@cache
def hints_of(kind: Any) -> dict[str, Any]:
    """The fields of a record in their order, with their annotations."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


@cache
def _dtype(kind: Any) -> Any:
    return np.dtype([(name, np.float64 if hint is float else np.int64) for name, hint in hints_of(kind).items()])


# --- what every solve is given ---------------------------------------------------------------------------------------


@dataclass(eq=False)
class Tiles(Record):
    """How a batch is cut: into tiles, and these into groups with parameter cotangents of their own."""

    batch: int
    n_tiles: int
    n_groups: int
    starts: Ints  # the first sample of each tile, and the batch
    group_starts: Ints  # the first tile of each group, and the number of tiles


@dataclass(eq=False)
class Tableau(Record):
    """A scheme: nodes `c`, stages' weights `a` (n_stages, n_stages), the step's weights `b`; and of an embedded pair
    the weights of its error and the interpolant's coefficients."""

    n_stages: int
    c: Floats
    a: Floats
    b: Floats
    error: Floats
    interpolant: Floats


@dataclass(eq=False)
class Tensors(Record):
    """Where torch's tensors lie, each contiguous; 0 where there is none or no cotangent is wanted."""

    y0: Numbers
    states: Numbers  # at the output times
    probes: Numbers
    cotangent: Numbers  # of the states
    y0_bar: Numbers
    theta: Ints  # the addresses of theta's tensors
    theta_bar: Ints  # those of their cotangents


# --- in kernels ------------------------------------------------------------------------------------------------------


class Pointed(types.Type):
    """A pointer to a record, or to the first of several, in a kernel for numbers of the type `element`."""

    def __init__(self, record: Any, element: Any) -> None:
        self.record, self.element = record, element
        super().__init__(name=f"{record.__name__}({element})")

    def kind_of(self, name: str) -> Any:
        """The Numba type of a field, None where there is none of that name."""
        hint = hints_of(self.record).get(name)
        simple: dict[Any, Any] = {int: types.int64, bool: types.boolean, float: types.float64}
        if hint is None or hint in simple:
            return simple.get(hint)
        if hint is Numbers:
            return types.CPointer(self.element)
        if hint in (Ints, Floats):
            return types.CPointer(types.int64 if hint == Ints else types.float64)
        return Pointed(get_args(hint)[0] if get_origin(hint) is list else hint, self.element)


@register_model(Pointed)
class _PointedModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Pointed) -> None:
        super().__init__(manager, kind, INT64.as_pointer())


@infer_getattr
class _Fields(AttributeTemplate):
    key = Pointed

    def generic_resolve(self, kind: Pointed, name: str) -> Any:  # type: ignore[override]
        return kind.kind_of(name)


def _place(builder: Any, kind: Pointed, pointer: Any, name: str) -> Any:
    return builder.gep(pointer, [INT64(list(hints_of(kind.record)).index(name))])


@lower_getattr_generic(Pointed)
def _read(context: Any, builder: Any, kind: Pointed, pointer: Any, name: str) -> Any:
    result = kind.kind_of(name)
    value = builder.load(_place(builder, kind, pointer, name))
    if result is types.int64:
        return value
    if result is types.boolean:
        return builder.icmp_signed("!=", value, INT64(0))
    if result is types.float64:
        return builder.bitcast(value, ir.DoubleType())
    return builder.inttoptr(value, context.get_value_type(result))


@lower_setattr_generic(Pointed)
def _write(context: Any, builder: Any, sig: Any, args: Any, name: str) -> None:
    kind = sig.args[1]
    value = args[1]
    if kind is types.boolean:
        value = builder.zext(value, INT64)
    elif kind is types.float64:
        value = builder.bitcast(value, INT64)
    builder.store(value, _place(builder, sig.args[0], args[0], name))


@infer_global(operator.getitem)
class _OneOfSeveral(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        if len(args) == 2 and isinstance(args[0], Pointed) and isinstance(args[1], types.Integer):
            return signature(args[0], args[0], types.int64)
        return None


@lower_builtin(operator.getitem, Pointed, types.int64)
def _one_of_several(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    pointer, index = args
    return builder.gep(pointer, [builder.mul(index, INT64(len(hints_of(sig.args[0].record))))])


def reader(kind: type[R]) -> Any:
    """The function `(like, address)` that kernels get a record by; the numbers are of the type that `like` holds."""

    @intrinsic
    def read(typing: Any, like: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.inttoptr(args[1], INT64.as_pointer())

        return Pointed(kind, like.dtype)(like, types.int64), generate

    return read
