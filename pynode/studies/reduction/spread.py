"""Reductions over seeds: the median and the range that it stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pynode.studies.base import percent

KINDS = ("time_reduction", "nfe_reduction", "evaluation_reduction")


def ranges(entries: Sequence[Mapping[str, Any]]) -> dict[str, list[float] | None]:
    """By kind of reduction, the least and the greatest over seeds; None where a seed has none."""
    spans: dict[str, list[float] | None] = {}
    for kind in KINDS:
        values = [entry[kind] for entry in entries]
        spans[kind] = [min(values), max(values)] if values and None not in values else None
    return spans


def percent_with_range(entry: Mapping[str, Any], kind: str) -> str:
    """The median reduction, and in brackets its range where seeds differ: `54.4 % (44.0 to 67.7)`."""
    middle, span = percent(entry[kind]), entry["ranges"][kind]
    low, high = (f"{100 * end:.1f}" for end in span or (0.0, 0.0))
    return middle if low == high else f"{middle} ({low} to {high})"
