"""Digits: 8 x 8 images of handwritten digits from scikit-learn, dequantised; 64 columns, no download."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from pynode.datasets.digits import digits, to_levels
from pynode.datasets.splits import Splits
from pynode.flows.flow import Flow
from pynode.flows.metrics import bits_per_dim
from pynode.problems.base import Evaluation, TrainingSettings
from pynode.problems.density.tables.base import Table
from pynode.types import State


class Digits(Table):
    """1,797 images as logits of their dequantised pixels; beyond the study, for a machine without a network.

    The split and the dequantisation are those of seed 0 for all runs.
    """

    name: ClassVar[str] = "digits"
    training: ClassVar[TrainingSettings] = TrainingSettings(iterations=1500, learning_rate=1e-3, validate_every=25)
    fixed_settings: ClassVar[Mapping[str, Any]] = {"scheme": "rk38", "steps": 4}
    adaptive_settings: ClassVar[Mapping[str, Any]] = {"rtol": 1e-5, "atol": 1e-5}
    columns: ClassVar[int | None] = 64
    hidden: ClassVar[tuple[int, ...]] = (128, 128)
    activation: ClassVar[str] = "softplus"
    batch_size: ClassVar[int] = 200

    def load(self) -> Splits:
        return digits(seed=0)

    def in_raw_units(self, rows: State) -> npt.NDArray[np.float64]:
        """Images `(n, 64)` of levels 0..16, whole numbers."""
        return to_levels(rows.double().cpu().numpy()).astype(np.float64)

    def evaluate_further(self, model: Flow, test_nll: float) -> Evaluation:
        """Adds `bits_per_dim` of the test images with their 17 levels (uniform noise: 4.09)."""
        found = super().evaluate_further(model, test_nll)
        offset = float(np.mean(self.splits.offsets["test"]))
        return Evaluation({**found.metrics, "bits_per_dim": bits_per_dim(test_nll, self.dim, offset)}, found.series)
