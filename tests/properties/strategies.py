"""What the properties are tried on: plain JSON values, specifications, methods, output times, states, damaged bytes."""

from __future__ import annotations

import json
import math
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from pynode.activations import ACTIVATIONS
from pynode.fields import FIELDS
from pynode.fields.antisymmetric import Antisymmetric
from pynode.fields.base import FieldSpec
from pynode.fields.concatsquash import ConcatSquash
from pynode.fields.hamiltonian import Hamiltonian
from pynode.fields.mlp import MLP
from pynode.schemes import SCHEMES
from pynode.schemes.base import Scheme

Strategy = st.SearchStrategy

# --- JSON ------------------------------------------------------------------------------------------------------------

numbers: Strategy[Any] = st.one_of(
    st.integers(-3, 6),
    st.floats(-2, 3),
    st.sampled_from([0, 1, -1, True, False, math.nan, math.inf, -math.inf, 1e300, 1e-300, 2**63, 10**400]),
)
scalars: Strategy[Any] = st.one_of(st.none(), numbers, st.text(max_size=6))
plain: Strategy[Any] = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=6,
)
"""What a JSON file may hold, and the numbers that Python reads from one although JSON has no such."""


def mostly(good: Strategy[Any], bad: Strategy[Any] = plain) -> Strategy[Any]:
    """Three times out of four from `good`, else anything: a description with several entries is often all good."""
    return st.one_of(good, good, good, bad)


# --- specifications --------------------------------------------------------------------------------------------------

activations = st.sampled_from(sorted(ACTIVATIONS))
hidden = st.lists(st.integers(1, 5), max_size=3)


@st.composite
def specs(draw: st.DrawFn) -> FieldSpec:
    """A small specification of any registered field."""
    name = draw(st.sampled_from(FIELDS.names()))
    act, dim = draw(activations), draw(st.integers(1, 3))
    widths = (dim, *draw(hidden), dim)
    if name == "mlp":
        return MLP(widths, act, draw(st.integers(1, 3)))
    if name == "concatsquash":
        return ConcatSquash(widths, act)
    if name == "antisymmetric":
        return Antisymmetric(dim, act, draw(st.sampled_from([0.0, 0.1, 1.0])))
    assert name == "hamiltonian", f"the field {name} is not drawn: add it here"
    return Hamiltonian(2 * dim, draw(st.integers(1, 4)), act)


@st.composite
def field_descriptions(draw: st.DrawFn) -> Any:
    """JSON that may describe a field: a good description with entries replaced, dropped or added, or anything."""
    if draw(st.integers(0, 9)) == 0:
        return draw(plain)
    data = json.loads(json.dumps(draw(specs()).to_json()))
    for key in list(data):
        match draw(st.integers(0, 9)):
            case 0:
                del data[key]
            case 1 | 2:
                data[key] = draw(plain)
    if draw(st.integers(0, 9)) == 0:
        data[draw(st.text(max_size=4))] = draw(plain)
    return data


def theta_of(spec: FieldSpec, seed: int) -> Tensor:
    """Parameters `(n_params,)` of moderate size, none of them zero."""
    return 0.5 * torch.randn(spec.n_params, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def state_of(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """A state of moderate size."""
    return (0.7 * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))).to(dtype)


batch_shapes = st.lists(st.integers(1, 3), max_size=2).map(tuple)
seeds = st.integers(0, 2**31)
schemes: Strategy[Scheme] = st.sampled_from(SCHEMES.names()).map(SCHEMES.load)

# --- output times ----------------------------------------------------------------------------------------------------

odd_floats = st.one_of(st.floats(-3, 3), st.sampled_from([0.0, -0.0, 1.0, math.nan, math.inf, -math.inf, 1e-310]))


@st.composite
def monotone(draw: st.DrawFn, at_most: int = 5) -> list[float]:
    """Two or more output times in either direction, between -4 and 4, with gaps of 0.05 and more."""
    gaps = draw(st.lists(st.floats(0.05, 1.0), min_size=1, max_size=at_most - 1))
    start, sign = draw(st.floats(-1, 1)), draw(st.sampled_from([1.0, -1.0]))
    times = [start]
    for gap in gaps:
        times.append(times[-1] + sign * gap)
    return times


@st.composite
def any_times(draw: st.DrawFn) -> Any:
    """Output times as users may pass them: good ones, equal, unordered, not finite, of any dtype, of any shape."""
    values = draw(mostly(monotone(), st.lists(odd_floats, max_size=4)))
    match draw(st.integers(0, 19)):
        case 0:
            return values
        case 1:
            return torch.tensor(values).unsqueeze(-1)
        case 2:
            return torch.tensor(0.5)
        case 3:
            return None
        case 4:
            return torch.arange(draw(st.integers(0, 3)))
        case 5:
            return torch.tensor(values).to(torch.complex64)
    dtype = draw(st.sampled_from([torch.float64] * 4 + [torch.float32, torch.float16, torch.bfloat16]))
    return torch.tensor(values, dtype=torch.float64).to(dtype)


# --- damaged bytes ---------------------------------------------------------------------------------------------------


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """`whole` cut short, with bits flipped, bytes put in or taken out, or something else altogether."""
    content = bytearray(whole)
    match draw(st.integers(0, 5)):
        case 0:
            return draw(st.binary(max_size=200))
        case 1:
            return bytes(content[: draw(st.integers(0, len(content)))])
        case 2:
            at = draw(st.integers(0, len(content)))
            return bytes(content[:at]) + draw(st.binary(max_size=20)) + bytes(content[at:])
        case 3:
            start = draw(st.integers(0, len(content)))
            return bytes(content[:start] + content[draw(st.integers(start, len(content))) :])
    for _ in range(draw(st.integers(1, 4))):
        if content:
            content[draw(st.integers(0, len(content) - 1))] ^= 1 << draw(st.integers(0, 7))
    return bytes(content)
