"""Tables: rows split and scaled once, batches by epochs, evaluation on the test rows; the digits of scikit-learn."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pynode.datasets.digits import digits, to_levels
from pynode.datasets.errors import DataError
from pynode.datasets.provenance import Provenance
from pynode.datasets.splits import PARTS, Array, Splits, first_damage
from pynode.errors import InvalidArgument
from pynode.flows.flow import Flow
from pynode.flows.metrics import bits_per_dim
from pynode.flows.probes import philox_key
from pynode.placement import placed
from pynode.problems.base import Evaluation, TrainingSettings
from pynode.problems.density.base import WHOLE, Density, FlowOptions, negative_log_likelihood
from pynode.types import State

SEEN = 10_000
"""Training rows that the final evaluation looks at."""


@dataclass(frozen=True)
class TableOptions(FlowOptions):
    """What a user may change about a flow on a table."""

    rows: int | None = None
    """Rows of each part that are used at most, for a quick look at a large set."""
    test_rows: int | None = None
    """Test and training rows that evaluations use at most: the exact trace of many columns is slow."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for argument in ("rows", "test_rows"):
            value = getattr(self, argument)
            if value is not None and (type(value) is not int or value < 2):
                raise InvalidArgument(argument, value, "not an integer of 2 or more", "use 2 or more")


class Table(Density):
    """Flows on the rows of a table.

    Rows stay where they are, memory-mapped, and a batch copies its own rows alone; on a GPU the training rows are moved
    there once.  An epoch visits the rows in an order drawn from (seed, epoch) and leaves out what does not fill a
    batch.
    """

    Options: ClassVar[type[Any]] = TableOptions
    options: TableOptions
    quick: ClassVar[Mapping[str, Any]] = {
        "iterations": 30,
        "validate_every": 5,
        "hidden": (32, 32),
        "blocks": 1,
        "batch": 200,
        "rows": 2000,
    }
    columns: ClassVar[int | None] = None
    """Columns of a published set, so that its flow can be built without the data."""

    synthetic: ClassVar[str | None] = None
    """A sentence on the generator of the rows, where they are no measured ones: every record and table says so."""

    @abstractmethod
    def load(self) -> Splits:
        """The rows; raises `UsageError` where they are missing or can't be used."""

    @cached_property
    def splits(self) -> Splits:
        """The rows, loaded when first used."""
        loaded = self.load()
        n = self.options.rows
        if n is None:
            return loaded
        offsets = {part: rows[:n] for part, rows in loaded.offsets.items()}
        contexts = {part: rows[:n] for part, rows in loaded.contexts.items()}
        parts = {part: getattr(loaded, part)[:n] for part in PARTS}
        return replace(loaded, offsets=offsets, contexts=contexts, **parts)

    def data_record(self) -> dict[str, Any]:
        """Name of the set, rows by part as they are used, the published rows by part and whether these are as
        many (None where nothing is published), SHA-256 digests, and the generator of synthetic rows."""
        rows = {part: len(getattr(self.splits, part)) for part in PARTS}
        provenance = self.splits.provenance or Provenance(rows)
        used = replace(provenance, rows=rows)
        published = None if used.published is None else dict(used.published)
        record: dict[str, Any] = {"name": self.name, "rows": rows, "published_rows": published, "whole": used.whole}
        record["sha256"] = dict(used.sha256)
        return record if self.synthetic is None else {**record, "synthetic": self.synthetic}

    def check(self) -> None:
        """Raises `UsageError` where there are no data, NaN or infinite ones, fewer training rows than a batch, or fewer
        than ranks."""
        super().check()
        for part in PARTS:
            if (damage := first_damage(getattr(self.splits, part))) is not None:
                raise DataError(f"the {part} rows of {self.name}, {damage}; restore or replace the data")
        rows = len(self.splits.train)
        if rows < self.batch_rows:
            raise InvalidArgument(
                "batch", self.batch_rows, f"more than the {rows} training rows of {self.name}", "take a smaller batch"
            )

    @property
    def dim(self) -> int:
        return self.splits.dim if self.columns is None else self.columns

    @property
    def context_dim(self) -> int:
        if self.columns is not None:  # a published set, which has no condition
            return 0
        conditions = self.splits.conditions
        return 0 if conditions is None else conditions.width

    def training_samples(self, iteration: int, share: slice = WHOLE) -> State:
        rows = self._rows(iteration, share)
        if self._on_device is not None:
            return self._on_device[placed(rows, self.device)]
        return self._tensor(self.splits.train[rows])

    def training_context(self, iteration: int, share: slice = WHOLE) -> Tensor | None:
        contexts = self.splits.contexts
        return self._tensor(contexts["train"][self._rows(iteration, share)]) if contexts else None

    def validation_context(self) -> Tensor | None:
        return self._context("validation")

    def test_context(self) -> Tensor | None:
        context = self._context("test")
        return None if context is None else context[: self.options.test_rows]

    def in_raw_units(self, rows: State) -> npt.NDArray[np.float64]:
        return np.asarray(self.splits.unstandardised(rows.double().cpu().numpy()))

    def validation_samples(self) -> State:
        return self._held_out["validation"].clone()  # the caller may change it

    def test_samples(self) -> State:
        return self._held_out["test"][: self.options.test_rows].clone()

    def evaluate_further(self, model: Flow, test_nll: float) -> Evaluation:  # noqa: ARG002
        """Adds `parameters`, how many the flow has, `rows`, how many it was trained on, and `train_nll`, on (the first
        10,000, or `test_rows`, of) these."""
        count = sum(p.numel() for p in model.parameters())
        most = min(SEEN, self.options.test_rows or SEEN)
        seen, context = self._tensor(self.splits.train[:most]), self._context("train", most)
        metrics = {
            "parameters": float(count),
            "rows": float(len(self.splits.train)),
            "train_nll": negative_log_likelihood(model, seen, context=context, world=self.world),
        }
        return Evaluation(metrics, {})

    @cached_property
    def _held_out(self) -> dict[str, State]:
        return {part: self._tensor(getattr(self.splits, part)) for part in ("validation", "test")}

    @cached_property
    def _on_device(self) -> State | None:
        return None if self.device.type == "cpu" else self._tensor(self.splits.train)

    def _context(self, part: str, most: int | None = None) -> Tensor | None:
        """The contexts of the first rows of a part; None without a condition."""
        contexts = self.splits.contexts
        return self._tensor(contexts[part][:most]) if contexts else None

    def _rows(self, iteration: int, share: slice) -> npt.NDArray[np.int64]:
        """Numbers of the training rows that `share` names of the batch of an iteration."""
        per_epoch = len(self.splits.train) // self.batch_rows
        epoch, k = divmod(iteration, per_epoch)
        return self._order(epoch)[k * self.batch_rows : (k + 1) * self.batch_rows][share]

    def _order(self, epoch: int) -> npt.NDArray[np.int64]:
        """Row numbers of an epoch; the last one asked for is kept."""
        if self._shuffled[0] != epoch:
            generator = np.random.Generator(np.random.Philox(key=philox_key(self.seed, epoch)))
            self._shuffled = (epoch, generator.permutation(len(self.splits.train)))
        return self._shuffled[1]

    _shuffled: tuple[int, npt.NDArray[np.int64]] = (-1, np.empty(0, dtype=np.int64))

    def _tensor(self, rows: Array) -> Tensor:
        # a copy: torch can't take read-only memory
        return placed(np.array(rows), self.device, self.dtype)


class Digits(Table):
    """Digits: 8 x 8 images of handwritten digits from scikit-learn, dequantised; 64 columns, no download.

    1,797 images as logits of their dequantised pixels; beyond the study, for a machine without a network.

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
        evaluation = super().evaluate_further(model, test_nll)
        offset = float(np.mean(self.splits.offsets["test"][: self.options.test_rows]))  # of the rows of `test_nll`
        return Evaluation(
            {**evaluation.metrics, "bits_per_dim": bits_per_dim(test_nll, self.dim, offset)}, evaluation.series
        )
