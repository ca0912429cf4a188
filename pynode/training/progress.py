"""What a run carries from one iteration to the next, besides parameters and optimiser."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pynode.errors import RecordError
from pynode.records.files import finite
from pynode.records.schema import Count, NonNegative, convert
from pynode.training.schedules import Pace

INFINITE = ("best_loss", "best_validation", "best_at_level")
"""Infinite before the first value; JSON has null for that."""


@dataclass
class Progress:
    """`iteration` is the next one, `rate_factor` the factor of the learning rate after failures, `failures` the number
    of failed iterations in a row."""

    iteration: Count = 0
    best_loss: float = math.inf
    best_validation: float = math.inf
    best_iteration: Count = 0
    rate_factor: NonNegative = 1.0
    failures: Count = 0
    pace: Pace = field(default_factory=Pace)

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` gives the progress back."""
        mine = {k: finite(v) for k, v in vars(self).items() if k != "pace"}
        return {**mine, "pace": {k: finite(v) for k, v in vars(self.pace).items()}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Progress:
        """What a checkpoint holds; raises `RecordError` for the progress of another version."""
        try:
            pace = convert(data.get("pace", {}), dict[str, Any])
            mine = {**data, "pace": convert({k: _value(k, v) for k, v in pace.items()}, Pace)}
            return convert({k: _value(k, v) for k, v in mine.items()}, cls)
        except ValueError as error:
            raise RecordError(
                f"the progress in the checkpoint is damaged or of another version of pynode: {error}; restore the "
                "checkpoint, or resume with that version"
            ) from error


def _value(name: str, value: Any) -> Any:
    return math.inf if name in INFINITE and value is None else value
