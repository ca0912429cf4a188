"""Explicit Runge-Kutta schemes: a tableau a file, one stepper for all, found by the registry below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynode.registry import Registry

if TYPE_CHECKING:
    from pynode.schemes.base import Scheme

SCHEMES: Registry[Scheme] = Registry("pynode.schemes", "scheme", "Scheme", named_by="name")
