"""MINIBOONE: neutrino events, 43 columns (the study's problem 6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pynode.problems.density.tables.public.base import PublicTable


class Miniboone(PublicTable):
    """2 x 860, 1 block, 820,612 weights, steps of 0.25: 16 NFE."""

    name: ClassVar[str] = "miniboone"
    fixed_settings: ClassVar[Mapping[str, Any]] = {"scheme": "rk38", "steps": 4}
    columns: ClassVar[int | None] = 43
    hidden: ClassVar[tuple[int, ...]] = (860, 860)
    activation: ClassVar[str] = "softplus"
    batch_size: ClassVar[int] = 1_000
