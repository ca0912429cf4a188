"""Problems: time series and densities, found by the registry below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynode.registry import Registry

if TYPE_CHECKING:
    from pynode.problems.base import Problem

PROBLEMS: Registry[type[Problem]] = Registry("pynode.problems", "problem", "Problem", named_by="name")
