"""What the five public sets share: where they come from, and the study's schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pynode.datasets.cache import dataset
from pynode.datasets.splits import Splits
from pynode.problems.base import TrainingSettings
from pynode.problems.density.tables.base import Table


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
