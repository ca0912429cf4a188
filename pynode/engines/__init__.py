"""Engines: who runs a solve.  A folder each, with its `engine.py`, found by the registry below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynode.registry import Registry

if TYPE_CHECKING:
    from pynode.engines.base import Engine

ENGINES: Registry[type[Engine]] = Registry("pynode.engines", "engine", "Engine", file="engine", named_by="name")
