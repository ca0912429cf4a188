"""Entrants: who does the work, one file each, found by the registry below; heavy imports happen when one is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynode.registry import Registry

if TYPE_CHECKING:
    from experiments.benchmarks.entrants.base import Entrant

ENTRANTS: Registry[type[Entrant]] = Registry("experiments.benchmarks.entrants", "peer", "Entrant")
