"""Positional arguments of a module's `forward`: which are required, and whether the first one is the time."""

from __future__ import annotations

from inspect import Parameter, Signature, signature
from typing import Any

from torch import nn

PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)

TIMES = ("", "t", "time")
"""Names of the time in f(t, y), without leading underscores."""


def signature_of(module: nn.Module) -> Signature | None:
    """The signature of `forward` without `self`, None where it does not say.

    For `torch.compile(module)` and modules that are run in parallel, it is that of the module inside.
    """
    inside: Any = module
    while hasattr(inside, "_orig_mod") or isinstance(inside, PARALLEL):
        inside = inside._orig_mod if hasattr(inside, "_orig_mod") else inside.module
    try:
        return signature(inside.forward)
    except (TypeError, ValueError):
        return None


def positional(arguments: Signature) -> list[Parameter]:
    """The arguments that can be passed by place, without those of `*args`."""
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    return [p for p in arguments.parameters.values() if p.kind in kinds]


def required(arguments: Signature) -> list[Parameter]:
    """Those of them without a default."""
    return [p for p in positional(arguments) if p.default is Parameter.empty]


def first(arguments: Signature) -> str | None:
    """The name of the first of them."""
    return next((p.name for p in positional(arguments)), None)


def is_open(arguments: Signature) -> bool:
    """Whether there are `*args`."""
    return any(p.kind is Parameter.VAR_POSITIONAL for p in arguments.parameters.values())


def starts_with_time(arguments: Signature) -> bool:
    """Whether the first argument is called t or time."""
    name = first(arguments)
    return name is not None and name.lstrip("_").lower() in TIMES


def takes_state_alone(module: nn.Module) -> bool:
    """Whether `module` is f(y), perhaps with further arguments that have defaults."""
    arguments = signature_of(module)
    if arguments is None or is_open(arguments):
        return False
    places = len(positional(arguments))
    return places == 1 or (places > 1 and len(required(arguments)) <= 1 and not starts_with_time(arguments))
