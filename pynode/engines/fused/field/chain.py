"""Vector fields that are a chain of dense layers: the four architectures, and tapes of the same form."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from pynode.fields.antisymmetric import Antisymmetric
from pynode.fields.base import FieldSpec
from pynode.fields.concatsquash import ConcatSquash
from pynode.fields.hamiltonian import Hamiltonian
from pynode.fields.mlp import MLP
from pynode.tapes.operations import Operation
from pynode.tapes.tape import Y_REGISTER, Tape

PLAIN, ANTISYMMETRIC, HAMILTONIAN = range(3)
"""How the chain's matrices follow from theta (`Chain.matrices`)."""

ACTIVATIONS_OF_TAPES = {
    ("tanh", ()): "tanh",
    ("softplus", (1.0, 20.0)): "softplus",
    ("sigmoid", ()): "sigmoid",
    ("silu", ()): "silu",
    ("gelu_tanh", ()): "gelu",
}
"""Functions of tapes, with their numbers, that chains have."""

HIGHEST_POWER = 8
"""Exponent of the input up to which a chain takes it by repeated products."""


class Slots(NamedTuple):
    """Which of theta's tensors a layer has: its matrix, and its bias (-1: none), behind which are gate and shift."""

    weight: int
    bias: int
    is_transposed: bool = False


@dataclass(frozen=True)
class Chain:
    """A chain x -> (W x + b) * gate + shift, with an activation after each layer but the last, or after all."""

    widths: tuple[int, ...]
    slots: tuple[Slots, ...]
    activation: str = "tanh"
    power: int = 1
    activates_end: bool = False
    is_gated: bool = False
    matrices: int = PLAIN
    gamma: float = 0.0


@lru_cache(maxsize=64)
def chain_of(spec: FieldSpec) -> Chain | None:
    """The chain that `spec` describes, None where it is no chain."""
    if isinstance(spec, Tape):
        return _chain_of_tape(spec)
    if isinstance(spec, MLP):
        slots = tuple(Slots(2 * k, 2 * k + 1) for k in range(len(spec.widths) - 1))
        return Chain(spec.widths, slots, spec.activation, spec.input_power)
    if isinstance(spec, ConcatSquash):
        slots = tuple(Slots(5 * k, 5 * k + 1) for k in range(len(spec.widths) - 1))
        return Chain(spec.widths, slots, spec.activation, is_gated=True)
    if isinstance(spec, Antisymmetric):
        slots = (Slots(0, 1),)
        return Chain((spec.dim,) * 2, slots, spec.activation, 1, True, matrices=ANTISYMMETRIC, gamma=spec.gamma)
    if isinstance(spec, Hamiltonian):
        # both layers are made from the same tensors
        slots = Slots(0, 1), Slots(0, -1)
        return Chain((spec.dim, spec.width, spec.dim), slots, spec.activation, matrices=HAMILTONIAN)
    return None


def _chain_of_tape(tape: Tape) -> Chain | None:
    power, rest = _power(tape.operations)
    x = Y_REGISTER + len(tape.operations) - len(rest)
    widths, slots, activations = [tape.dim], [], []
    for k, operation in enumerate(rest):
        if k % 2 == 0:
            constants = [~i for i in operation.inputs[1:]]
            if operation.name != "linear" or operation.inputs[0] != x or min(constants) < 0:
                return None
            matrix, bias = tape.constants[constants[0]], constants[1] if len(constants) > 1 else -1
            if matrix.shape[1] != widths[-1] or (bias >= 0 and tape.constants[bias].shape != (operation.columns,)):
                return None
            slots.append(Slots(constants[0], bias, matrix.transposed))
            widths.append(operation.columns)
        else:
            if operation.inputs != (x,):
                return None
            activations.append(ACTIVATIONS_OF_TAPES.get((operation.name, operation.numbers)))
        x += 1
    used = sorted(i for slot in slots for i in slot[:2] if i >= 0)
    is_whole = tape.output == x and widths[-1] == tape.dim and used == list(range(len(tape.constants)))
    if not slots or not is_whole or len(set(activations)) > 1 or None in activations:
        return None
    activation = (*activations, "tanh")[0]
    assert activation is not None
    return Chain(tuple(widths), tuple(slots), activation, power, activates_end=len(rest) % 2 == 0)


def _power(operations: tuple[Operation, ...]) -> tuple[int, tuple[Operation, ...]]:
    """The power of the state that the first operations take, and the others."""
    first = operations[0] if operations else None
    if first is None or first.inputs != (Y_REGISTER,):
        return 1, operations
    exponent = 2.0 if first.name == "square" else first.numbers[0] if first.name == "power" else 1.0
    if exponent in range(2, HIGHEST_POWER + 1):
        return int(exponent), operations[1:]
    return 1, operations
