"""What an entry of the zoo says about a vector field as its user wrote it, and the list of all entries."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

FILES = ("nets", "embedded_time", "normalised", "physics", "structured", "formulas", "layers", "uncapturable")
"""The modules of this folder that hold entries."""

Builder = TypeVar("Builder", bound=Callable[[], nn.Module])

ENTRIES: dict[str, Entry] = {}
"""By name, filled by `entry` when the files of the zoo are imported; see `zoo`."""


@dataclass(frozen=True)
class Entry:
    """A vector field f(t, y) and what `pynode.capture` has to say about it.

    `refused` is a regular expression for the reason why it can't be captured, None where it can; `where` is a part of
    the place that the reason names.  `lead` are the dimensions of a state between batch and columns, None for states
    without a batch.  States are positive where `positive`.
    """

    name: str
    build: Callable[[], nn.Module]
    dim: int
    refused: str | None
    where: str | None
    dtype: torch.dtype
    lead: tuple[int, ...] | None
    positive: bool

    def __str__(self) -> str:
        return self.name.replace(" ", "-")

    def module(self) -> nn.Module:
        """A new module, always with the same parameters."""
        with torch.random.fork_rng():
            torch.manual_seed(zlib.crc32(self.name.encode()))
            return self.build().to(self.dtype)

    def state(self, batch: int, seed: int = 0) -> Tensor:
        """A state of `batch` samples, of one sample where states have no batch."""
        shape = (self.dim,) if self.lead is None else (batch, *self.lead, self.dim)
        y = 0.7 * torch.randn(shape, dtype=self.dtype, generator=torch.Generator().manual_seed(100 * seed + batch))
        return y.abs() + 0.3 if self.positive else y

    def times(self) -> tuple[Tensor, ...]:
        """Two times between which nothing special happens, and 0."""
        return tuple(torch.tensor(t, dtype=self.dtype) for t in (0.0, 0.37, 0.81))


def entry(
    name: str,
    dim: int,
    *,
    refused: str | None = None,
    where: str | None = None,
    dtype: torch.dtype = torch.float64,
    lead: tuple[int, ...] | None = (),
    positive: bool = False,
) -> Callable[[Builder], Builder]:
    """Adds what it decorates, a module without arguments or a function that gives one, to `ENTRIES`."""

    def add(build: Builder) -> Builder:
        if name in ENTRIES:
            raise KeyError(f"the zoo has two entries '{name}'")
        ENTRIES[name] = Entry(name, build, dim, refused, where, dtype, lead, positive)
        return build

    return add


def zoo(*, captured: bool | None = None) -> tuple[Entry, ...]:
    """All entries, or those that can be captured, or those that can't."""
    for name in FILES:
        importlib.import_module(f"tests.zoo.{name}")
    return tuple(e for e in ENTRIES.values() if captured is None or (e.refused is None) == captured)
