"""GAS: readings of chemical sensors in gas mixtures, 8 columns (the study's problem 4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pynode.problems.density.tables.public.base import PublicTable


class Gas(PublicTable):
    """3 x 160, 5 blocks, 278,560 weights.  The study's step size is unknown; 10 steps after a later paper."""

    name: ClassVar[str] = "gas"
    fixed_settings: ClassVar[Mapping[str, Any]] = {"scheme": "rk38", "steps": 10}
    columns: ClassVar[int | None] = 8
    hidden: ClassVar[tuple[int, ...]] = (160, 160, 160)
    blocks: ClassVar[int] = 5
    batch_size: ClassVar[int] = 1_000
