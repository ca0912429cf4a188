"""A vector field as a tape: what a captured module computes, as plain data.

It has three layers.  The preparation depends on parameters alone and runs once a solve, by torch operators under
autograd (weight norm, W - W^T, softplus of a coefficient); its results are the constants of the operations.  These
depend on time (once a stage) or on the state (every sample by itself).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pynode.errors import InvalidArgument
from pynode.fields.base import FieldSpec, field_from_json
from pynode.layers import Slot
from pynode.tapes.operations import OTHERS, STATE, TIME, UNARY, Operation, evaluate
from pynode.types import State, Theta

T_REGISTER, Y_REGISTER = 0, 1
"""Registers of time `(1,)` and of the state; operation i writes register 2 + i."""


@dataclass(frozen=True)
class ValueOf:
    """A value of the preparation among the arguments of a `TorchCall`."""

    index: int


@dataclass(frozen=True)
class DtypeOf:
    """A dtype of torch among the arguments of a `TorchCall`, by its name."""

    dtype: str


@dataclass(frozen=True)
class TorchCall:
    """One step of the preparation: an operator of torch, e.g. "aten.sub.Tensor", on values of the preparation.

    `args` and `kwargs` hold plain values and tuples of them; `ValueOf(i)` stands for value i, `DtypeOf(name)` for a
    dtype.  Of an operator with several results, `result` is the one that is taken.  Two steps are no operators:
    "literal" (args: a list of numbers) is a row of them, and "gather" (args: values, indices, shape) takes entries of
    all its values, each flattened, one after the other.
    """

    target: str
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...] = ()
    result: int | None = None


@dataclass(frozen=True)
class Constant:
    """A value of the preparation that operations use: a row, or a matrix (out, in), `transposed` if kept (in, out)."""

    value: int
    shape: tuple[int, ...]
    transposed: bool = False

    @property
    def is_matrix(self) -> bool:
        """Whether it is a matrix."""
        return len(self.shape) == 2

    def of(self, value: Tensor) -> Tensor:
        """The row `(columns,)`, or the matrix `(out, in)`, from the value, which has it in any shape."""
        return value.reshape(self.shape[::-1]).t() if self.transposed else value.reshape(self.shape)


@dataclass(frozen=True)
class Tape(FieldSpec):
    """A captured vector field of states `(..., dim)`.

    `parameters` and `buffers` are the tensors that it reads, by the names that the module has for them; theta holds
    them in this order.  Values of the preparation are numbered: those tensors, then the results of `preparation`.
    """

    architecture: ClassVar[str] = "tape"

    dim: int
    parameters: tuple[Slot, ...]
    buffers: tuple[Slot, ...]
    preparation: tuple[TorchCall, ...]
    constants: tuple[Constant, ...]
    operations: tuple[Operation, ...]
    output: int

    @property
    def state_dim(self) -> int:
        return self.dim

    def slots(self) -> tuple[Slot, ...]:
        return self.parameters + self.buffers

    def evaluate(self, p: Mapping[str, Tensor], t: Tensor, y: State) -> State:
        return self.evaluate_prepared(self.prepare([p[slot.name] for slot in self.slots()]), t, y)

    def prepare(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The constants, differentiable functions of `tensors`, which are those of `slots()`.

        A constant that is one of the tensors is that very object, in its own shape, see `Constant.of`.
        """
        values = list(tensors)
        for call in self.preparation:
            values.append(_call(call, values))
        constants = [values[constant.value] for constant in self.constants]
        # comparisons of parameters give masks, which operations take as numbers
        return [x.to(tensors[0].dtype) if x.dtype is torch.bool else x for x in constants]

    def after_preparation(self) -> Tape:
        """The tape without its preparation, whose parameters are the constants, each in the shape that it is kept in.

        They have the names of the tensors that they are; `p7` is value 7 of the preparation.
        """
        known: Tape | None = self.__dict__.get("_prepared")
        if known is None:
            parameters, constants = [], []
            for k, (name, constant) in enumerate(zip(self._constant_names(), self.constants, strict=True)):
                parameters.append(Slot(name, constant.shape[::-1] if constant.transposed else constant.shape))
                constants.append(replace(constant, value=k))
            known = replace(self, parameters=tuple(parameters), buffers=(), preparation=(), constants=tuple(constants))
            object.__setattr__(self, "_prepared", known)
        return known

    def _constant_names(self) -> list[str]:
        """A name of its own for each constant; one value may be several of them."""
        slots, names = self.slots(), list[str]()
        for constant in self.constants:
            name = base = slots[constant.value].name if constant.value < len(slots) else f"p{constant.value}"
            k = 1
            while name in names:
                k += 1
                name = f"{base}_{k}"
            names.append(name)
        return names

    def evaluate_prepared(self, constants: Sequence[Tensor], t: Tensor, y: State) -> State:
        """f(t, y) `(..., dim)` with what `prepare` gave, by torch operators."""
        rows = [constant.of(value) for constant, value in zip(self.constants, constants, strict=True)]
        registers = [t.reshape(1), y]
        for operation in self.operations:
            inputs = [rows[~i] if i < 0 else registers[i] for i in operation.inputs]
            registers.append(evaluate(operation, inputs))
        return registers[self.output].expand(y.shape)

    def theta_of(self, module: nn.Module) -> Theta:
        """The present values of all slots in one float64 vector `(n_params,)`, detached.

        Raises `InvalidArgument` for a module without them.
        """
        return torch.cat([x.detach().reshape(-1).double() for x in self.tensors_of(module)])

    def tensors_of(self, module: nn.Module) -> list[Tensor]:
        """The tensors of `module` that the slots name, in their order."""
        tensors = []
        for slot in self.slots():
            try:
                tensor = _at(module, slot.name.split("."))
            except (AttributeError, LookupError, ValueError) as error:
                problem = f"it has no {slot.name}, which the tape reads"
                raise InvalidArgument("module", type(module).__name__, problem, "pass the captured one") from error
            if not isinstance(tensor, Tensor) or tensor.shape != slot.shape:
                problem = f"its {slot.name} is not a tensor of shape {slot.shape}"
                raise InvalidArgument("module", type(module).__name__, problem, "capture it again")
            tensors.append(tensor)
        return tensors

    def to_json(self) -> dict[str, Any]:
        return {"architecture": self.architecture, **plain(asdict(self))}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Tape:
        """The tape that `to_json` wrote; raises `InvalidArgument`."""
        try:
            tape = cls(
                dim=int(data["dim"]),
                parameters=tuple(_slot(x) for x in data["parameters"]),
                buffers=tuple(_slot(x) for x in data["buffers"]),
                preparation=tuple(_torch_call(x) for x in data["preparation"]),
                constants=tuple(Constant(**{**x, "shape": tuple(x["shape"])}) for x in data["constants"]),
                operations=tuple(_operation(x) for x in data["operations"]),
                output=int(data["output"]),
            )
            tape._check_places()
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            problem = f"no description of a tape ({type(error).__name__}: {error})"
            raise InvalidArgument("field", "tape", problem, "use what to_json has written") from error
        return tape

    def _check_places(self) -> None:
        """Raises `InvalidArgument` where something reads what is not there."""
        n_values, n_registers = len(self.slots()) + len(self.preparation), 2 + len(self.operations)
        read: list[tuple[str, int, tuple[int, ...], int, int]]
        read = [("constants", k, (c.value,), 0, n_values) for k, c in enumerate(self.constants)]
        first = -len(self.constants)
        read += [("operations", k, operation.inputs, first, 2 + k) for k, operation in enumerate(self.operations)]
        read.append(("output", 0, (self.output,), first, n_registers))
        for what, k, places, low, high in read:
            if wrong := [i for i in places if not low <= i < high]:
                where = what if what == "output" else f"{what}[{k}]"
                raise InvalidArgument("field", wrong[0], f"{where} reads what is not there", "restore the file")

    def layer_of(self, register: int) -> str:
        """Whether a register depends on time alone, or on the state."""
        if register in (T_REGISTER, Y_REGISTER):
            return TIME if register == T_REGISTER else STATE
        return self._operation(register).layer

    def columns_of(self, register: int) -> int:
        """Columns of a register."""
        if register == T_REGISTER:
            return 1
        return self.dim if register == Y_REGISTER else self._operation(register).columns

    def _operation(self, register: int) -> Operation:
        return self.operations[register - 2]

    def __hash__(self) -> int:
        known = self.__dict__.get("_hash")
        if known is None:  # taking the hash of some hundred operations at every solve would cost more than the solve
            known = hash((self.dim, self.constants, self.operations, self.output))
            object.__setattr__(self, "_hash", known)
        return int(known)


def specification_from_json(data: Mapping[str, Any]) -> FieldSpec:
    """The specification that `to_json` wrote, of an architecture or of a captured module.

    Raises `UnknownName` or `InvalidArgument`.
    """
    if isinstance(data, Mapping) and data.get("architecture") == Tape.architecture:
        return Tape.from_json(data)
    return field_from_json(data)


def _at(holder: Any, path: Sequence[str]) -> Any:
    """What a module, or a list or dict in it, has under a name with dots."""
    for key in path:
        if isinstance(holder, nn.Module):
            holder = getattr(holder, key)
        else:
            holder = holder[key] if isinstance(holder, Mapping) else holder[int(key)]
    return holder


def plain(x: Any) -> Any:
    """Tuples as lists, and numbers that JSON does not have as strings."""
    if isinstance(x, dict):
        return {key: plain(value) for key, value in x.items()}
    if isinstance(x, (tuple, list)):
        return [plain(value) for value in x]
    return str(x) if isinstance(x, float) and not math.isfinite(x) else x


def _frozen(x: Any) -> Any:
    """What `plain` was given."""
    if isinstance(x, Mapping):
        return DtypeOf(_dtype_called(x["dtype"])) if "dtype" in x else ValueOf(int(x["index"]))
    if isinstance(x, (list, tuple)):
        return tuple(_frozen(value) for value in x)
    return float(x) if x in ("inf", "-inf", "nan") else x


def _dtype_called(name: str) -> str:
    if not isinstance(getattr(torch, name, None), torch.dtype):
        raise InvalidArgument("field", name, "not a dtype of torch", "use e.g. float64")
    return name


def _slot(data: Mapping[str, Any]) -> Slot:
    fan = data["fan"]
    return Slot(str(data["name"]), tuple(data["shape"]), None if fan is None else tuple(fan))


def _operation(data: Mapping[str, Any]) -> Operation:
    runs = tuple(tuple(run) for run in data["runs"])
    numbers = tuple(float(x) for x in data["numbers"])
    if data["name"] not in (*UNARY, *OTHERS):
        raise InvalidArgument("field", data["name"], "no operation of a tape", f"use one of {[*UNARY, *OTHERS]}")
    return Operation(data["name"], tuple(data["inputs"]), data["columns"], data["layer"], numbers, runs)


def _torch_call(data: Mapping[str, Any]) -> TorchCall:
    target = str(data["target"])
    if target not in ("literal", "gather"):
        schema = _operator(target)._schema
        if schema.is_mutable or schema.name.split("::")[0] != "aten":
            raise InvalidArgument("field", target, "not an operator that a tape may have", "use a function of tensors")
    kwargs = tuple((str(key), _frozen(value)) for key, value in data["kwargs"])
    return TorchCall(target, _frozen(data["args"]), kwargs, data["result"])


def _operator(target: str) -> Any:
    packet, name, overload = target.split(".")
    return getattr(getattr(getattr(torch.ops, packet), name), overload)


def _call(call: TorchCall, values: Sequence[Tensor]) -> Tensor:
    if call.target == "literal":
        like = values[0] if values else torch.zeros((), dtype=torch.float64)
        return _literal(call.args[0], like.dtype).to(like.device)
    if call.target == "gather":
        sources, indices, shape = call.args
        flat = torch.cat([values[i].reshape(-1) for i in sources])
        return flat[_places(indices).to(flat.device)].reshape(shape)
    operator = _operator(call.target)
    args = [_value(a, values) for a in call.args]
    result = operator(*args, **{name: _value(a, values) for name, a in call.kwargs})
    tensor: Tensor = result if call.result is None else result[call.result]
    return tensor


@lru_cache(maxsize=256)
def _literal(numbers: tuple[float, ...], dtype: torch.dtype) -> Tensor:
    return torch.tensor(numbers, dtype=dtype)


@lru_cache(maxsize=256)
def _places(indices: tuple[int, ...]) -> Tensor:
    return torch.tensor(indices)


def _value(argument: Any, values: Sequence[Tensor]) -> Any:
    if isinstance(argument, ValueOf):
        return values[argument.index]
    if isinstance(argument, DtypeOf):
        return getattr(torch, argument.dtype)
    if isinstance(argument, tuple):
        return [_value(a, values) for a in argument]
    return argument
