"""All parameters of a flow in one vector, and back: its blocks, the horizons that are trained, its base."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pynode.errors import InvalidArgument
from pynode.fields.base import Field
from pynode.types import Theta

if TYPE_CHECKING:
    from pynode.flows.flow import Flow


def joined(flow: Flow) -> Theta:
    """All parameters in one float64 vector on the CPU: block after block, the log-horizons, the base."""
    parts = [part.detach().reshape(-1).double() for part in _parts(flow)]
    if len({part.device for part in parts}) > 1:
        parts = [part.cpu() for part in parts]
    return torch.cat(parts).cpu()


@torch.no_grad()
def overwrite(flow: Flow, theta: Theta) -> None:
    """Gives all parameters the values of `theta`; raises `InvalidArgument` for a vector of another length."""
    sizes = [part.numel() for part in _parts(flow)]
    if not isinstance(theta, Tensor) or theta.shape != (sum(sizes),):
        shown = tuple(theta.shape) if isinstance(theta, Tensor) else type(theta).__name__
        raise InvalidArgument("theta", shown, "wrong shape", f"this flow needs ({sum(sizes)},)")
    chunks = iter(theta.split(sizes))
    for block in flow.fields:
        if isinstance(block, Field):
            block.set_theta(next(chunks))
        else:
            for p in block.parameters():
                p.copy_(next(chunks).reshape(p.shape))
    for part in _after_blocks(flow):
        part.copy_(next(chunks).reshape(part.shape))


def _parts(flow: Flow) -> list[Tensor]:
    """What the vector strings together: of a `Field` its own theta, whose order its specification fixes."""
    parts: list[Tensor] = []
    for block in flow.fields:
        parts += [block.joined()] if isinstance(block, Field) else list(block.parameters())
    return parts + _after_blocks(flow)


def _after_blocks(flow: Flow) -> list[Tensor]:
    horizons: list[Tensor] = [] if flow.log_horizons is None else [flow.log_horizons]
    return horizons + (list(flow.base.parameters()) if isinstance(flow.base, nn.Module) else [])
