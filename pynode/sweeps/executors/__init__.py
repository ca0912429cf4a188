"""Executors: who gives cells to processes; one file each, found by the registry below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynode.registry import Registry

if TYPE_CHECKING:
    from pynode.sweeps.executors.base import Executor

EXECUTORS: Registry[type[Executor]] = Registry("pynode.sweeps.executors", "executor", "Executor")
