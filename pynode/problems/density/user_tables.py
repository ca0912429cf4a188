"""Tables of the user's own, --data FILE: the file, the split, and the way back to its units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from pynode.datasets.errors import DataError, TableMissing
from pynode.datasets.provenance import Provenance, SourceFile
from pynode.datasets.reading import Reading
from pynode.datasets.sources import file_digest
from pynode.datasets.splits import PARTS, Splits
from pynode.datasets.tables import TEXTS, read_table, split_and_standardise
from pynode.errors import InvalidArgument
from pynode.flows.flow import Flow
from pynode.names import names_of
from pynode.problems.base import Evaluation, TrainingSettings
from pynode.problems.density.base import negative_log_likelihood
from pynode.problems.density.tables import Table, TableOptions

MOST_CLASSES = 12
"""Classes whose likelihoods are recorded at most."""

OF_CLASS = "test_nll_raw of "
"""Begins the metric of a class."""


@dataclass(frozen=True)
class FileOptions(TableOptions):
    """The table, how to read it (as in `Reading`), and columns to dequantise by noise of one unit, drawn by seed 0."""

    data: str | None = None
    """Path of the table; --data FILE gives it as well."""
    sha256: str | None = None
    """SHA-256 digest that the file must have: that of the start of the run."""
    header: bool | None = None
    """Whether the first line names the columns; without a value, it is read off the file."""
    index: Literal["drop", "keep"] | None = None
    """What to do with a column that numbers the rows: drop or keep."""
    decimal: Literal[".", ","] | None = None
    """Decimal mark of the numbers: "." or ","."""
    missing: Literal["error", "drop"] | None = None
    """"drop" leaves out rows with missing values, which are refused otherwise."""
    drop: tuple[str, ...] = ()
    """Columns to leave out, by name or by number from 1."""
    dequantise: tuple[str, ...] = ()
    """Columns of integers or other steps that get uniform noise; auto: all that would be refused without."""
    condition: tuple[str, ...] = ()
    """Columns that the density is conditioned on: words as classes, numbers as they are."""
    classes: tuple[str, ...] = ()
    """Columns of the condition whose numbers are names of classes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for argument in ("drop", "dequantise", "condition", "classes"):
            object.__setattr__(self, argument, names_of(argument, getattr(self, argument)))
        if others := [name for name in self.classes if name not in self.condition]:
            raise InvalidArgument("classes", others[0], "no column of the condition", "name it in condition as well")
        self.reading()

    def reading(self) -> Reading:
        """How to read the file."""
        return Reading(
            header=self.header,
            index=self.index,
            decimal=self.decimal,
            missing=self.missing or "error",
            drop=self.drop,
            condition=self.condition,
            classes=self.classes,
        )


def _digest(path: Path) -> str | None:
    """SHA-256 of the file; None where there is no file at the path, which the reader of the table reports."""
    return file_digest(path).hexadecimal if path.is_file() else None


@lru_cache(maxsize=1)
def _loaded(path: Path, digest: str | None, reading: Reading, dequantise: tuple[str, ...]) -> Splits:
    """The parts of the table at `path`, whose content has this digest: all runs of a comparison ask for them."""
    table = read_table(path, reading)
    splits = split_and_standardise(
        table.rows,
        name=str(path),
        columns=table.columns,
        dequantise=dequantise,
        index=reading.index,
        held=table.held,
    )
    source = SourceFile(path.name, path.stat().st_size, str(digest))
    rows = {part: len(getattr(splits, part)) for part in PARTS}
    return replace(splits, provenance=Provenance(rows, sha256={"file": str(digest)}, sources=(source,)))


class UserTable(Table):
    """A file of numbers, one row a sample: shuffled and split by seed 0 (last 10 % test, last 10 % of the rest
    validation), z-scored by the training rows.  Columns without a density are refused (`check_columns`).  Columns of
    the condition are no dimensions of the density: a flow p(other columns | condition) is trained.

    Two hidden layers, because the exact trace then costs no more than an evaluation.
    """

    training: ClassVar[TrainingSettings] = TrainingSettings(iterations=1000, learning_rate=1e-3, validate_every=25)
    fixed_settings: ClassVar[Mapping[str, Any]] = {"scheme": "rk38", "steps": 4}
    adaptive_settings: ClassVar[Mapping[str, Any]] = {"rtol": 1e-5, "atol": 1e-5}
    hidden: ClassVar[tuple[int, ...]] = (64, 64)
    batch_size: ClassVar[int] = 200
    suffix: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    """Endings of files that the problem reads, none for any; `suffix` is the usual one."""
    Options: ClassVar[type[Any]] = FileOptions
    options: FileOptions

    def load(self) -> Splits:
        if self.options.data is None:
            raise TableMissing(f"the problem {self.name} needs a table; give one (data=FILE{self.suffix})")
        path, options = Path(self.options.data), self.options
        if self.suffixes and path.suffix.lower() not in self.suffixes:
            raise InvalidArgument("data", path, f"not a {self.suffix} file", f"use the problem for {path.suffix}")
        digest, actual = options.sha256, _digest(path)
        if digest is not None and actual is not None and actual != digest:
            raise DataError(
                f"{path} has changed since it was first used here (SHA-256 {actual[:9]}..., not {digest[:9]}...); "
                "give the file that the run was trained on, or start another run"
            )
        return _loaded(path, actual, options.reading(), options.dequantise)

    def evaluate_further(self, model: Flow, test_nll: float) -> Evaluation:
        """Adds `test_nll_raw`, in the units of the file, for classes of a condition `test_nll_raw of CLASS` each, and
        the numbers and units of dequantised columns; to `series` names and units of all columns.

        Where a column was dequantised, `test_nll_raw` is that of the rows with their noise.  Minus the sum of the log
        units it is an upper bound of the mean negative log-probability of the steps themselves.
        """
        further = super().evaluate_further(model, test_nll)
        offset, context = self.splits.log_density_offset, self.test_context()
        metrics = {**further.metrics, "test_nll_raw": test_nll - offset}
        if self.splits.conditions is not None and context is not None:
            test = self.test_samples()
            for word, column in list(self.splits.conditions.classes.items())[:MOST_CLASSES]:
                those = context[:, column] == 1
                if bool(those.any()):
                    nll = negative_log_likelihood(model, test[those], context=context[those], world=self.world)
                    metrics[f"{OF_CLASS}{word}"] = nll - offset
        series = dict(further.series)
        if (units := self.splits.units) is not None:
            series |= {"dequantised_columns": units.nonzero()[0].tolist(), "dequantised_units": units.tolist()}
        series |= self._as_in_the_file()
        return Evaluation(metrics, series)

    def _as_in_the_file(self) -> dict[str, Any]:
        """Names of the columns, and how figures get from stored rows to the file's units: times scale, plus shift."""
        splits = self.splits
        if splits.columns is None or splits.mean is None or splits.std is None:
            return {}
        names = [splits.columns.name(c) for c in range(splits.dim)]
        return {"columns": names, "shift": splits.mean.tolist(), "scale": splits.std.tolist()}


class CsvTable(UserTable):
    """Your own table of numbers in a .csv file: --data FILE.csv.

    Rows of a text file: .csv, .tsv, .txt or .dat.
    """

    name: ClassVar[str] = "csv"
    suffix: ClassVar[str] = ".csv"
    suffixes: ClassVar[tuple[str, ...]] = TEXTS


class NpyTable(UserTable):
    """Your own table of numbers in a .npy file: --data FILE.npy.

    Rows of a .npy file.
    """

    name: ClassVar[str] = "npy"
    suffix: ClassVar[str] = ".npy"
    suffixes: ClassVar[tuple[str, ...]] = (".npy",)


class AnyTable(UserTable):
    """Your own table, found by its content: text, Parquet, .npy or .npz (the command density).

    Trained at a rate that halves every 400 iterations, until 12 validations in a row have not lowered the loss.
    """

    name: ClassVar[str] = "table"
    training: ClassVar[TrainingSettings] = TrainingSettings(
        iterations=2000, learning_rate=5e-3, validate_every=25, rate_half_life=400, patience=12
    )
    suffix: ClassVar[str] = ""
    suffixes: ClassVar[tuple[str, ...]] = ()

    @property
    def batch_rows(self) -> int:
        """Samples per iteration: no more than there are training rows."""
        return self.options.batch or min(self.batch_size, len(self.splits.train))
