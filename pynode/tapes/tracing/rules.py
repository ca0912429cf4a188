"""The rules for torch's operators, as the files beside this one register them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

Rule = Callable[..., Any]

RULES: dict[str, Rule] = {}
"""How operators act on labels, by the operator's name: `rule(tracer, result, *args, **kwargs)` gives the labels of the
result (of each, where there are several); None where the operator has to be taken apart."""

COMPOSED: dict[str, Callable[..., Any]] = {}
"""Operators that are taken apart into others, by their names: functions of the same arguments."""

DATA_MOVEMENTS: set[str] = set()
"""Operators that only move numbers; `movements` fills it."""

VIEWS_IN_PLACE = {"squeeze", "unsqueeze", "t", "transpose", "swapaxes", "as_strided"}
"""Operators whose forms in place change no number."""

EXACT = {"_to_copy", "where", "masked_fill"}
"""Operators whose results are exact in every dtype, where they have rules for it."""


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Makes a function the rule of these operators."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


class Unsupported(Exception):
    """Numbers that can't be captured, and why."""


def tensors_in(values: Any) -> list[Tensor]:
    """All tensors in nested tuples and lists."""
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, (tuple, list)):
        return [x for value in values for x in tensors_in(value)]
    return []
