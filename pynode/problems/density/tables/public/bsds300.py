"""BSDS300: patches of natural images, 63 columns (the study's problem 7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pynode.problems.density.tables.public.base import PublicTable


class BSDS300(PublicTable):
    """3 x 1260, 2 blocks, 6,698,664 weights.  The study's step size is unknown; 14 steps after a later
    paper."""

    name: ClassVar[str] = "bsds300"
    fixed_settings: ClassVar[Mapping[str, Any]] = {"scheme": "rk38", "steps": 14}
    columns: ClassVar[int | None] = 63
    hidden: ClassVar[tuple[int, ...]] = (1260, 1260, 1260)
    activation: ClassVar[str] = "softplus"
    blocks: ClassVar[int] = 2
    batch_size: ClassVar[int] = 10_000
