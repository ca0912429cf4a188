"""Studies: one file a research question, records in, table and figures out; found by the registry below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynode.registry import Registry

if TYPE_CHECKING:
    from pynode.studies.base import Study

STUDIES: Registry[type[Study]] = Registry("pynode.studies", "study", "Study")
