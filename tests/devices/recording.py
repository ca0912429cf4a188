"""A stand-in for CUDA graphs on the CPU: records operators with their tensors, and repeats them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_iter, tree_map

from pynode.engines.graph.capture import Function, Inspection, Recorder, Recording


class StandIn(Recorder):
    """As `CudaRecorder`: a call to warm up, one under inspection, one that is recorded."""

    def __init__(self) -> None:
        self.recorded = 0
        self.replayed = 0

    def trial(self) -> StandIn:
        return StandIn()

    def _record(self, function: Function) -> Recording:
        self.recorded += 1
        function()
        with Inspection():
            function()
        tape = _Tape()
        with tape:
            function()
        return _Played(self, tape)


class _Tape(Inspection):
    """Keeps every operator with its arguments and results."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, list[Tensor | None]]] = []

    def call(self, func: Any, args: Any, kwargs: Any) -> Any:
        results = func(*args, **kwargs)
        given = {x.untyped_storage().data_ptr() for x in tree_iter((args, kwargs)) if isinstance(x, Tensor)}
        made = [x for x in tree_iter(results) if isinstance(x, Tensor)]
        fresh = [_plain(x) if x.untyped_storage().data_ptr() not in given else None for x in made]
        args, kwargs = tree_map(_plain, (args, kwargs))
        self.calls.append((func, args, kwargs, fresh))
        return results


def _plain(x: Any) -> Any:
    """The same memory as a tensor that autograd knows nothing of."""
    if not isinstance(x, Tensor) or x.is_meta:
        return x
    alias = torch.empty(0, dtype=x.dtype, device=x.device)
    return alias.set_(x.untyped_storage(), x.storage_offset(), x.size(), x.stride())


class _Played(Recording):
    def __init__(self, recorder: StandIn, tape: _Tape) -> None:
        self._recorder = recorder
        self._tape: _Tape | None = tape

    def replay(self) -> None:
        assert self._tape is not None, "the recording has been released"
        self._recorder.replayed += 1
        with torch.no_grad(), torch.inference_mode(False):
            for func, args, kwargs, fresh in self._tape.calls:
                results = [x for x in tree_iter(func(*args, **kwargs)) if isinstance(x, Tensor)]
                for x, y in zip(fresh, results, strict=True):
                    if x is not None and x is not y:
                        x.copy_(y)

    def release(self) -> None:
        self._tape = None
