"""The recorded solves of this process, found again by what they depend on."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from typing import Any

import torch
from torch import nn

from pynode.engines.graph.capture import RECORDERS, NotRecordable
from pynode.engines.graph.fields import identity_of, inner_of, obstacle_to_recording, probes_of
from pynode.engines.graph.solves import RecordedSolve, differentiates
from pynode.evaluation import parameters_of
from pynode.precision import active_precision
from pynode.solve import Solve
from pynode.transforms import is_transformed
from pynode.types import State

KEPT = 16
"""Recorded solves that are kept; the one whose last use is the longest ago goes first."""

FEW_SOLVES = 3
MOST_RECAPTURES = 8
"""Recordings of a module in a row, each of which served fewer than `FEW_SOLVES` solves, after which it is left to
torch operators."""


class _Entry:
    """A recorded solve, or why there is none."""

    def __init__(self, recorded: RecordedSolve | None, reason: str | None = None) -> None:
        self.recorded, self.reason, self.uses = recorded, reason, 0


_LOCK = threading.RLock()
_KNOWN: OrderedDict[tuple[Any, ...], _Entry] = OrderedDict()
_HASTY: dict[int, int] = {}
_FOLLOWED: dict[int, weakref.ref[nn.Module]] = {}


def forget_recordings() -> None:
    """Forgets all recorded solves; solves whose gradient is still to come keep theirs."""
    with _LOCK:
        _KNOWN.clear()
        _HASTY.clear()
        _FOLLOWED.clear()


def recordings() -> int:
    """The number of recorded solves that are kept."""
    return sum(entry.recorded is not None for entry in _KNOWN.values())


def obstacle(solve: Solve) -> str | None:
    """Why `solve` can't be a recording, as a sentence; None where there is one, which is made here if need be."""
    reason = _obstacle_at_first_sight(solve)
    if reason is None:
        entry = _entry(solve)
        reason = entry.reason
        if entry.recorded is not None:
            solve.__dict__["recorded"] = entry.recorded
    return reason


def recorded(solve: Solve) -> RecordedSolve:
    """The recording of `solve`, for which there must be no obstacle."""
    if "recorded" not in solve.__dict__ and (reason := obstacle(solve)):
        raise NotRecordable(reason)
    result: RecordedSolve = solve.__dict__.pop("recorded")
    return result


def _obstacle_at_first_sight(solve: Solve) -> str | None:
    y0 = solve.y0
    if y0.device.type not in RECORDERS:
        return f"its state is on {y0.device}, not on a GPU; move field and state there, e.g. by .to('cuda')"
    if solve.ts.requires_grad:
        return "its output times want a gradient, but a recording has its times built in"
    if torch.compiler.is_compiling() or is_transformed():
        return "transforms of torch.func and torch.compile can't follow a recording"
    if torch._C._autograd._top_saved_tensors_default_hooks(True) is not None:
        return "there are hooks on saved tensors, which a recording does not call"
    if y0.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        return "a capture of the user's is under way, which can't hold another one"
    return None


def _strangers(solve: Solve) -> str | None:
    if solve.named is None:
        return None
    own = {id(p) for p in parameters_of(solve.field)}
    if strange := [x for x in solve.params if id(x) not in own]:
        return f"params has a tensor of shape {tuple(strange[0].shape)} that is no parameter of the field"
    return None


def _entry(solve: Solve) -> _Entry:
    with _LOCK:
        reason = obstacle_to_recording(solve.field, solve.ts[0], solve.y0) or _strangers(solve)
        if reason is not None:
            return _Entry(None, reason)
        assert isinstance(solve.field, nn.Module)
        module = inner_of(solve.field)
        key = _key(solve, solve.field)
        _follow(module)
        entry = _KNOWN.get(key)
        if entry is None:
            if _HASTY.get(id(module), 0) >= MOST_RECAPTURES:
                return _Entry(None, "its shapes, times or tensors change from solve to solve")
            try:
                entry = _Entry(RecordedSolve(solve, RECORDERS[solve.y0.device.type](solve.y0.device)))
            except NotRecordable as error:
                entry = _Entry(None, str(error))
            _HASTY[id(module)] = _HASTY.get(id(module), 0) + 1
            _KNOWN[key] = entry
            while len(_KNOWN) > KEPT:
                _KNOWN.popitem(last=False)
        entry.uses += 1
        if entry.uses >= FEW_SOLVES:
            _HASTY[id(module)] = 0
        _KNOWN.move_to_end(key)
        return entry


def _key(solve: Solve, field: nn.Module) -> tuple[Any, ...]:
    """All that a recording depends on, beside values."""
    return (
        *identity_of(field),
        _kind(solve.y0),
        None if (probes := probes_of(field)) is None else _kind(probes),
        solve.y0.requires_grad,
        differentiates(solve),
        solve.grid,
        solve.recipe.formula,
        solve.recipe.gradient,
        _precision(solve.y0.device.type),
    )


def _kind(x: State) -> tuple[Any, ...]:
    return x.shape, x.dtype, x.device


def _precision(kind: str) -> tuple[Any, ...]:
    """The settings by which torch chooses kernels."""
    products = torch.backends.cuda.matmul
    chosen = getattr(products, "fp32_precision", None)
    return (
        torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind),
        products.allow_tf32 if chosen is None else chosen,
        torch.are_deterministic_algorithms_enabled(),
        active_precision(),
    )


def _follow(module: nn.Module) -> None:
    """Forgets the recordings of `module` once it is gone: another one may be at its address then."""
    identity = id(module)
    known = _FOLLOWED.get(identity)
    if known is not None and known() is module:
        return
    if known is not None:
        _forget(identity)
    _FOLLOWED[identity] = weakref.ref(module, lambda _: _forget(identity))


def _forget(identity: int) -> None:
    with _LOCK:
        _FOLLOWED.pop(identity, None)
        _HASTY.pop(identity, None)
        for key in list(_KNOWN):  # another module may die meanwhile
            if key[0] == identity:
                _KNOWN.pop(key, None)
