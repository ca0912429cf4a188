"""Vector fields dy/dt = f(t, y; theta): one file an architecture, found by the registry below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynode.registry import Registry

if TYPE_CHECKING:
    from pynode.fields.base import FieldSpec

FIELDS: Registry[type[FieldSpec]] = Registry("pynode.fields", "field", "FieldSpec", named_by="architecture")
