"""Suites: which workloads are measured, and how; one file each, found by the registry below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynode.registry import Registry

if TYPE_CHECKING:
    from experiments.benchmarks.suites.base import Suite

SUITES: Registry[type[Suite]] = Registry("experiments.benchmarks.suites", "suite", "Suite")
