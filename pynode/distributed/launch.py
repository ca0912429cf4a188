"""Reads and checks the environment variables that torchrun sets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from pynode.errors import InvalidArgument

REMEDY = "let torchrun set it: torchrun --nproc-per-node N experiments/run.py ..."


@dataclass(frozen=True)
class Launch:
    """Place of this process among all (`rank` of `size`) and on its own node (`local_rank` of `local_size`).

    `address` and `port` are where torchrun lets the ranks meet; None where nothing is said.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    address: str | None
    port: int | None

    @property
    def on_one_node(self) -> bool:
        """Whether all ranks are on this machine."""
        return self.local_size == self.size

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Launch:
        """Raises `InvalidArgument`, naming the variable, for one that is missing or makes no sense."""
        found = os.environ if environment is None else environment
        size = _count(found, "WORLD_SIZE", 1)
        local_size = _count(found, "LOCAL_WORLD_SIZE", 1, size)
        rank = _count(found, "RANK", 0, size - 1)
        local_rank = _count(found, "LOCAL_RANK", 0, min(local_size - 1, rank))
        address = found.get("MASTER_ADDR") or None
        if local_size < size and address is None:
            raise InvalidArgument("MASTER_ADDR", "(not set)", "the ranks are on several nodes and have to meet", REMEDY)
        port = _count(found, "MASTER_PORT", 1, 65535) if address is not None or local_size < size else None
        return cls(rank, size, local_rank, local_size, address, port)


def asked_for(environment: Mapping[str, str] | None = None) -> bool:
    """Whether this process is one of several; raises `InvalidArgument` for a WORLD_SIZE that is no count."""
    found = os.environ if environment is None else environment
    return "WORLD_SIZE" in found and _count(found, "WORLD_SIZE", 1) > 1


def _count(environment: Mapping[str, str], name: str, lowest: int, highest: int | None = None) -> int:
    shown = environment.get(name, "(not set)")
    span = f"from {lowest} to {highest}" if highest is not None else f"of {lowest} or more"
    try:
        value = int(shown)
    except ValueError:
        value = lowest - 1
    if value < lowest or (highest is not None and value > highest):
        raise InvalidArgument(name, shown, f"not a whole number {span}", REMEDY)
    return value
