"""Studies: one folder a research question, with what it measures, its records, its tables and its figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynode.registry import Registry

if TYPE_CHECKING:
    from pynode.studies.base import Study

STUDIES: Registry[type[Study]] = Registry("pynode.studies", "study", "Study", file="study")
