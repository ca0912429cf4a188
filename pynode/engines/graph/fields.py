"""The fields that can be recorded, and what a recording of a field depends on."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.stateless import _reparametrize_module

from pynode.fields.base import Extended, Field, why_no_system
from pynode.tapes.captured import changes_of_trial
from pynode.tapes.watch import Watch
from pynode.types import State, VectorField

_WATCHED: weakref.WeakKeyDictionary[nn.Module, tuple[Watch, str | None, int]] = weakref.WeakKeyDictionary()
"""Of each user-defined module: a copy of its attributes, why it can't be recorded, and the number of that copy."""

_NUMBERS = count()
"""Numbers for copies; the `id` of a copy that has been freed may be that of a later one."""


def inner_of(field: nn.Module) -> nn.Module:
    """The module that `field` evaluates; a flow wraps its module in a new object at every solve."""
    return field.field if isinstance(field, Extended) else field


def obstacle_to_recording(field: VectorField, t: Tensor, y0: State) -> str | None:
    """Why `field` can't be recorded for solves from states like `y0` at the time `t`, as a sentence; None if it can.

    A user-defined module is evaluated for this, again only after its attributes have changed.
    """
    if not isinstance(field, nn.Module):
        return "the field is a function, not a torch.nn.Module, whose parameters are known"
    if isinstance(field, Extended) and (reason := field.why_not_extended()):
        return reason
    module = inner_of(field)
    if isinstance(module, Field) and why_no_system(module) is None:
        return None
    if isinstance(module, torch.jit.ScriptModule) or type(module).__name__ == "OptimizedModule":
        return "the field is compiled by torch; pass the module that it was made of"
    watch, reason, _ = _WATCHED.get(module, (None, None, 0))
    if watch is None or not watch.same(module):
        y = y0[..., : field.dim] if isinstance(field, Extended) else y0
        watch = Watch(module)
        reason = changes_of_trial(watch, module, t.detach().to(y0).clone(), y.detach().clone())
        _WATCHED[module] = watch, reason, next(_NUMBERS)
    return reason


def is_own(field: nn.Module) -> bool:
    """Whether the field is a user-defined module, which no specification describes."""
    module = inner_of(field)
    return not (isinstance(module, Field) and why_no_system(module) is None)


def identity_of(field: nn.Module) -> tuple[Any, ...]:
    """What a recording of `field` with fixed steps depends on, except for the values of its tensors."""
    module = inner_of(field)
    tensors = tuple(
        (x.data_ptr(), x.shape, x.stride(), x.dtype, x.device, x.requires_grad)
        for held in (module.parameters(), module.buffers())
        for x in held
    )
    what: Any = None if is_own(field) else module.spec
    seen = _WATCHED.get(module)
    watch = None if seen is None or what is not None else seen[2]
    columns: tuple[Any, ...] = ()
    if isinstance(field, Extended):
        own = vars(field)
        columns = (type(field), *((k, v) for k, v in own.items() if k[0] != "_" and k not in ("training", "probes")))
    return (id(module), what, watch, columns, tensors)


def probes_of(field: nn.Module) -> Tensor | None:
    """The probes that the field of a flow uses in this solve; None for other fields."""
    probes = getattr(field, "probes", None) if isinstance(field, Extended) else None
    return probes if isinstance(probes, Tensor) else None


def with_probes(field: nn.Module, probes: Tensor | None) -> nn.Module:
    """A copy of a flow's field, around the same module, with these probes; other fields as they are."""
    if not isinstance(field, Extended):
        return field
    copy: Any = field.around(field.field)
    if probes is not None:
        copy.probes = probes
    return copy


@contextmanager
def reading(module: nn.Module, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Inside the block the module reads `tensors` instead of its parameters of the same names."""
    if not tensors:
        yield
        return
    with _reparametrize_module(module, dict(tensors), tie_weights=True):
        yield
