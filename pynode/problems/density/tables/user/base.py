"""What a user's own tables share: the file, the split, and the way back to its units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pynode.datasets.errors import DataError, TableMissing
from pynode.datasets.sources import file_digest
from pynode.datasets.splits import Splits
from pynode.datasets.tables import load_table, split_and_standardise
from pynode.errors import InvalidArgument
from pynode.flows.flow import Flow
from pynode.problems.base import Evaluation, TrainingSettings
from pynode.problems.density.tables.base import Table, TableOptions


@dataclass(frozen=True)
class FileOptions(TableOptions):
    """`data` is the path of the table, `sha256` the digest that the file must have: that of the run's start."""

    data: str | None = None
    sha256: str | None = None


class UserTable(Table):
    """A file of numbers, one row a sample: shuffled and split by seed 0 (last 10 % test, last 10 % of the rest
    validation), z-scored by the training rows.

    Two hidden layers, because the exact trace then costs no more than an evaluation.
    """

    training: ClassVar[TrainingSettings] = TrainingSettings(iterations=1000, learning_rate=1e-3, validate_every=25)
    fixed_settings: ClassVar[Mapping[str, Any]] = {"scheme": "rk38", "steps": 4}
    adaptive_settings: ClassVar[Mapping[str, Any]] = {"rtol": 1e-5, "atol": 1e-5}
    hidden: ClassVar[tuple[int, ...]] = (64, 64)
    batch_size: ClassVar[int] = 200
    suffix: ClassVar[str]
    Options: ClassVar[type[Any]] = FileOptions
    options: FileOptions

    def load(self) -> Splits:
        if self.options.data is None:
            raise TableMissing(f"--data: the problem {self.name} needs a table of yours; add --data FILE{self.suffix}")
        path = Path(self.options.data)
        if path.suffix.lower() != self.suffix:
            raise InvalidArgument("--data", path, f"no {self.suffix} file", f"use the problem that reads {path.suffix}")
        rows = load_table(path)
        digest = self.options.sha256
        if digest is not None and (found := file_digest(path).hexadecimal) != digest:
            raise DataError(
                f"{path} has changed since it was first used here (SHA-256 {found[:9]}..., not {digest[:9]}...); "
                "give the file that the run was trained on, or start another run"
            )
        return split_and_standardise(rows, name=path.stem)

    def evaluate_further(self, model: Flow, test_nll: float) -> Evaluation:
        """Adds `test_nll_raw`, in the units of the file."""
        found = super().evaluate_further(model, test_nll)
        raw = test_nll - self.splits.log_density_offset
        return Evaluation({**found.metrics, "test_nll_raw": raw}, found.series)
