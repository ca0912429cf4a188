"""The five public sets of Papamakarios et al. 2017, which the study uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pynode.datasets.cache import dataset
from pynode.datasets.splits import Splits
from pynode.problems.base import TrainingSettings
from pynode.problems.density.tables import Table


class PublicTable(Table):
    """Onken & Ruthotto 2020, problems 3 to 7, after FFJORD: T = 1, float32, Adam at 1e-3.

    Validation each 200 iterations on all validation rows; the learning rate is divided by 10 after more than 10
    validations without improvement and by 100 after more than 20; training stops after more than 20.
    """

    training: ClassVar[TrainingSettings] = TrainingSettings(
        iterations=20_000,
        learning_rate=1e-3,
        validate_every=200,
        rate_drops=((10, 0.1), (20, 0.01)),
        patience=20,
        dtype="float32",
    )
    adaptive_settings: ClassVar[Mapping[str, Any]] = {"rtol": 1e-6, "atol": 1e-8}

    def load(self) -> Splits:
        return dataset(self.name)


class Power(PublicTable):
    """POWER: electric power consumption of a household, 6 columns (the study's problem 3).

    3 x 60, 5 blocks, 43,320 weights.  The study's step size is unknown; 10 steps after a later paper.
    """

    name: ClassVar[str] = "power"
    fixed_settings: ClassVar[Mapping[str, Any]] = {"scheme": "rk38", "steps": 10}
    columns: ClassVar[int | None] = 6
    hidden: ClassVar[tuple[int, ...]] = (60, 60, 60)
    blocks: ClassVar[int] = 5
    batch_size: ClassVar[int] = 10_000


class Gas(PublicTable):
    """GAS: readings of chemical sensors in gas mixtures, 8 columns (the study's problem 4).

    3 x 160, 5 blocks, 278,560 weights.  The study's step size is unknown; 10 steps after a later paper.
    """

    name: ClassVar[str] = "gas"
    fixed_settings: ClassVar[Mapping[str, Any]] = {"scheme": "rk38", "steps": 10}
    columns: ClassVar[int | None] = 8
    hidden: ClassVar[tuple[int, ...]] = (160, 160, 160)
    blocks: ClassVar[int] = 5
    batch_size: ClassVar[int] = 1_000


class Hepmass(PublicTable):
    """HEPMASS: simulated particle collisions, 21 columns (the study's problem 5).

    2 x 210, 10 blocks, 546,840 weights.  The study's step size is unknown; 12 steps after a later paper.
    """

    name: ClassVar[str] = "hepmass"
    fixed_settings: ClassVar[Mapping[str, Any]] = {"scheme": "rk38", "steps": 12}
    columns: ClassVar[int | None] = 21
    hidden: ClassVar[tuple[int, ...]] = (210, 210)
    activation: ClassVar[str] = "softplus"
    blocks: ClassVar[int] = 10
    batch_size: ClassVar[int] = 10_000


class Miniboone(PublicTable):
    """MINIBOONE: neutrino events, 43 columns (the study's problem 6).

    2 x 860, 1 block, 820,612 weights, steps of 0.25: 16 NFE.
    """

    name: ClassVar[str] = "miniboone"
    fixed_settings: ClassVar[Mapping[str, Any]] = {"scheme": "rk38", "steps": 4}
    columns: ClassVar[int | None] = 43
    hidden: ClassVar[tuple[int, ...]] = (860, 860)
    activation: ClassVar[str] = "softplus"
    batch_size: ClassVar[int] = 1_000


class BSDS300(PublicTable):
    """BSDS300: patches of natural images, 63 columns (the study's problem 7).

    3 x 1260, 2 blocks, 6,698,664 weights.  The study's step size is unknown; 14 steps after a later
    paper.
    """

    name: ClassVar[str] = "bsds300"
    fixed_settings: ClassVar[Mapping[str, Any]] = {"scheme": "rk38", "steps": 14}
    columns: ClassVar[int | None] = 63
    hidden: ClassVar[tuple[int, ...]] = (1260, 1260, 1260)
    activation: ClassVar[str] = "softplus"
    blocks: ClassVar[int] = 2
    batch_size: ClassVar[int] = 10_000
