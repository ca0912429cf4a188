"""Gradient methods: one file each, behind one protocol, found by the registry below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynode.registry import Registry

if TYPE_CHECKING:
    from pynode.methods.base import GradientMethod

METHODS: Registry[type[GradientMethod]] = Registry(
    "pynode.methods", "gradient method", "GradientMethod", named_by="name"
)
