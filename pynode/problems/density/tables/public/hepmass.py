"""HEPMASS: simulated particle collisions, 21 columns (the study's problem 5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pynode.problems.density.tables.public.base import PublicTable


class Hepmass(PublicTable):
    """2 x 210, 10 blocks, 546,840 weights.  The study's step size is unknown; 12 steps after a later paper."""

    name: ClassVar[str] = "hepmass"
    fixed_settings: ClassVar[Mapping[str, Any]] = {"scheme": "rk38", "steps": 12}
    columns: ClassVar[int | None] = 21
    hidden: ClassVar[tuple[int, ...]] = (210, 210)
    activation: ClassVar[str] = "softplus"
    blocks: ClassVar[int] = 10
    batch_size: ClassVar[int] = 10_000
