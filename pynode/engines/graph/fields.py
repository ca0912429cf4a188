"""Which fields a recorded solve can stand for, and what of them it depends on."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.stateless import _reparametrize_module

from pynode.fields.base import Extended, Field, why_no_system
from pynode.tapes.captured import changes_of_trial
from pynode.tapes.watch import Watch
from pynode.types import State, VectorField

_WATCHED: weakref.WeakKeyDictionary[nn.Module, tuple[Watch, str | None]] = weakref.WeakKeyDictionary()
"""What the user's own modules were when they were looked at, and why they can't be recorded."""


def inner_of(field: nn.Module) -> nn.Module:
    """The module behind `field`: that of a flow's field, which is another object at every solve."""
    return field.field if isinstance(field, Extended) else field


def obstacle_to_recording(field: VectorField, t: Tensor, y0: State) -> str | None:
    """Why `field` can't be recorded for solves from states like `y0` at the time `t`, as a sentence; None if it can.

    A module of the user's own is evaluated for this, once for as long as it stays the same.
    """
    if not isinstance(field, nn.Module):
        return "the field is a function, not a torch.nn.Module, whose tensors can be told apart"
    if isinstance(field, Extended) and (reason := field.why_not_extended()):
        return reason
    module = inner_of(field)
    if isinstance(module, Field) and why_no_system(module) is None:
        return None
    if isinstance(module, torch.jit.ScriptModule) or type(module).__name__ == "OptimizedModule":
        return "the field is compiled by torch; pass the module that it was made of"
    watch, reason = _WATCHED.get(module, (None, None))
    if watch is None or not watch.same(module):
        y = y0[..., : field.dim] if isinstance(field, Extended) else y0
        watch = Watch(module)
        reason = changes_of_trial(watch, module, t.detach().to(y0).clone(), y.detach().clone())
        _WATCHED[module] = watch, reason
    return reason


def is_own(field: nn.Module) -> bool:
    """Whether the field is a module of the user's, that is, not described by a specification."""
    module = inner_of(field)
    return not (isinstance(module, Field) and why_no_system(module) is None)


def identity_of(field: nn.Module) -> tuple[Any, ...]:
    """What a recording of `field` depends on, besides the values of its tensors."""
    module = inner_of(field)
    tensors = tuple(
        (x.data_ptr(), x.shape, x.stride(), x.dtype, x.device, x.requires_grad)
        for held in (module.parameters(), module.buffers())
        for x in held
    )
    what: Any = None if is_own(field) else module.spec
    seen = _WATCHED.get(module)
    watch = None if seen is None or what is not None else id(seen[0])
    columns: tuple[Any, ...] = ()
    if isinstance(field, Extended):
        own = vars(field)
        columns = (type(field), *((k, v) for k, v in own.items() if k[0] != "_" and k not in ("training", "probes")))
    return (id(module), what, watch, columns, tensors)


def probes_of(field: nn.Module) -> Tensor | None:
    """The probes that a flow's field holds for one solve."""
    probes = getattr(field, "probes", None) if isinstance(field, Extended) else None
    return probes if isinstance(probes, Tensor) else None


def with_probes(field: nn.Module, probes: Tensor | None) -> nn.Module:
    """A field of its own around the same module, with these probes."""
    if not isinstance(field, Extended):
        return field
    copy: Any = field.around(field.field)
    if probes is not None:
        copy.probes = probes
    return copy


@contextmanager
def reading(module: nn.Module, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Inside the block the module reads these `tensors` in the place of its parameters of these names."""
    if not tensors:
        yield
        return
    with _reparametrize_module(module, dict(tensors), tie_weights=True):
        yield
