"""Engines: who runs a solve.  A folder each, with its `engine.py`, found by the registry below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynode.registry import Registry

if TYPE_CHECKING:
    from pynode.engines.base import Engine

AUTO = "auto"
"""Not an engine, but leaves the choice to pynode."""

EngineName = str
"""The name of an engine, or `AUTO`."""

ENGINES: Registry[type[Engine]] = Registry("pynode.engines", "engine", "Engine", file="engine", named_by="name")
