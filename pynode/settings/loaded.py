"""Options of members from outside, from the classes themselves: who names such a member has its file run anyway."""

from __future__ import annotations

import types
from collections.abc import Sequence
from dataclasses import MISSING, Field, fields
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pynode.settings.declared import PLAIN, REQUIRED, Declared, Kind


def options_of_class(kind: type) -> dict[str, Declared]:
    """The fields of a dataclass; the help of those of one's own is left to its documentation."""
    hints = get_type_hints(kind)
    return {f.name: Declared(f.name, kind_of_hint(hints[f.name]), _default(f)) for f in fields(kind)}


def kind_of_hint(hint: Any) -> Kind:
    """What values a field of this type takes."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        union = Kind()
        for part in inside:
            union |= kind_of_hint(part)
        return union
    if origin is Literal:
        return Kind(frozenset(map(type, inside)), tuple(word for word in inside if isinstance(word, str)))
    if origin in (tuple, list, Sequence):
        parts = [kind_of_hint(part).types for part in inside if part is not Ellipsis]
        return Kind(frozenset({list}), parts=frozenset().union(*parts))
    if hint in PLAIN.values():
        return Kind(frozenset({hint}))
    return Kind(frozenset({str}), member=hint.__name__) if isinstance(hint, type) else Kind()


def _default(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    default: Any = REQUIRED if field.default is MISSING else field.default
    return getattr(default, "name", default)  # of a member its name
