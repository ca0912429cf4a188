"""Cases: what is computed, one file a case, found by the registry below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynode.registry import Registry

if TYPE_CHECKING:
    from experiments.benchmarks.cases.base import Case

CASES: Registry[type[Case]] = Registry("experiments.benchmarks.cases", "case", "Case")
