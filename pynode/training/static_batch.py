"""Batches for a recording: copies in static memory, and the parts of a batch that a recording depends on."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from pynode.engines.graph.capture import NotRecordable
from pynode.flows.probes import Draw, DrawnAhead


class _NoDraw(Draw):
    """Takes the place of a draw in a recording, which would repeat the probes of one iteration for ever."""

    def probes(self, noise: Any, like: Tensor, block: int = 0) -> Tensor:  # noqa: ARG002
        raise NotRecordable("it draws probes in the middle of an iteration")


def _parts_of(batch: Any) -> list[Any]:
    """The direct parts of a batch that is a container."""
    if isinstance(batch, DrawnAhead):
        return list(batch.drawn)
    if isinstance(batch, Draw):
        return []
    if isinstance(batch, (tuple, list)):
        return list(batch)
    if isinstance(batch, dict):
        return list(batch.values())
    raise NotRecordable(f"its batch holds {type(batch).__name__}, whose tensors a recording does not know")


def tensors_of(batch: Any) -> list[Tensor]:
    """All tensors of a batch, in the order in which `static_copy` replaces them."""
    if isinstance(batch, Tensor):
        return [batch.detach()]
    if batch is None or isinstance(batch, (bool, int, float, str)):
        return []
    return [x for part in _parts_of(batch) for x in tensors_of(part)]


def kind_of(batch: Any) -> Any:
    """Shapes and plain values of a batch: what a recording of it depends on."""
    if isinstance(batch, Tensor):
        return (batch.shape, batch.dtype, batch.device, batch.requires_grad)
    if batch is None or isinstance(batch, (bool, int, float, str)):
        return (type(batch), batch)
    names = tuple(batch) if isinstance(batch, dict) else None
    return (type(batch), names, *map(kind_of, _parts_of(batch)))


def static_copy(batch: Any) -> tuple[Any, list[Tensor]]:
    """A copy of the batch, and the tensors in it."""
    if isinstance(batch, Tensor):
        own = batch.detach().clone(memory_format=torch.contiguous_format)
        return own, [own]
    if batch is None or isinstance(batch, (bool, int, float, str)):
        return batch, []
    pairs = [static_copy(part) for part in _parts_of(batch)]
    parts, slots = [part for part, _ in pairs], [x for _, own in pairs for x in own]
    if isinstance(batch, DrawnAhead):
        return dataclasses.replace(batch, drawn=tuple(parts)), slots
    if isinstance(batch, Draw):
        return _NoDraw(batch.seed, batch.iteration, batch.first_sample), slots
    if isinstance(batch, dict):
        return dict(zip(batch, parts, strict=True)), slots
    return (type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)), slots
