"""POWER: electric power consumption of a household, 6 columns (the study's problem 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pynode.problems.density.tables.public.base import PublicTable


class Power(PublicTable):
    """3 x 60, 5 blocks, 43,320 weights.  The study's step size is unknown; 10 steps after a later paper."""

    name: ClassVar[str] = "power"
    fixed_settings: ClassVar[Mapping[str, Any]] = {"scheme": "rk38", "steps": 10}
    columns: ClassVar[int | None] = 6
    hidden: ClassVar[tuple[int, ...]] = (60, 60, 60)
    blocks: ClassVar[int] = 5
    batch_size: ClassVar[int] = 10_000
