"""Tables of the user's own, --data FILE: the file, the split, and the way back to its units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
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
from pynode.problems.base import Evaluation, TrainingSettings
from pynode.problems.density.tables import Table, TableOptions


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

    def __post_init__(self) -> None:
        super().__post_init__()
        for argument in ("drop", "dequantise"):
            value = getattr(self, argument)
            if not isinstance(value, tuple) or not all(isinstance(name, str) for name in value):
                remedy = "give names or numbers of columns as text, e.g. ('speed', '3')"
                raise InvalidArgument(argument, repr(value), "not names of columns", remedy)
        self.reading()

    def reading(self) -> Reading:
        """How to read the file."""
        return Reading(
            header=self.header,
            index=self.index,
            decimal=self.decimal,
            missing=self.missing or "error",
            drop=self.drop,
        )


class UserTable(Table):
    """A file of numbers, one row a sample: shuffled and split by seed 0 (last 10 % test, last 10 % of the rest
    validation), z-scored by the training rows.  Columns without a density are refused (`check_columns`).

    Two hidden layers, because the exact trace then costs no more than an evaluation.
    """

    training: ClassVar[TrainingSettings] = TrainingSettings(iterations=1000, learning_rate=1e-3, validate_every=25)
    fixed_settings: ClassVar[Mapping[str, Any]] = {"scheme": "rk38", "steps": 4}
    adaptive_settings: ClassVar[Mapping[str, Any]] = {"rtol": 1e-5, "atol": 1e-5}
    hidden: ClassVar[tuple[int, ...]] = (64, 64)
    batch_size: ClassVar[int] = 200
    suffix: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    """Endings of files that the problem reads; `suffix` is the usual one."""
    Options: ClassVar[type[Any]] = FileOptions
    options: FileOptions

    def load(self) -> Splits:
        if self.options.data is None:
            raise TableMissing(f"--data: the problem {self.name} needs a table; add --data FILE{self.suffix}")
        path = Path(self.options.data)
        if path.suffix.lower() not in self.suffixes:
            raise InvalidArgument("--data", path, f"not a {self.suffix} file", f"use the problem for {path.suffix}")
        table = read_table(path, self.options.reading())
        digest, actual = self.options.sha256, file_digest(path).hexadecimal
        if digest is not None and actual != digest:
            raise DataError(
                f"{path} has changed since it was first used here (SHA-256 {actual[:9]}..., not {digest[:9]}...); "
                "give the file that the run was trained on, or start another run"
            )
        splits = split_and_standardise(
            table.rows,
            name=str(path),
            columns=table.columns,
            dequantise=self.options.dequantise,
            index=self.options.index,
        )
        source = SourceFile(path.name, path.stat().st_size, actual)
        rows = {part: len(getattr(splits, part)) for part in PARTS}
        return replace(splits, provenance=Provenance(rows, sha256={"file": actual}, sources=(source,)))

    def evaluate_further(self, model: Flow, test_nll: float) -> Evaluation:
        """Adds `test_nll_raw`, in the units of the file, and the numbers and units of dequantised columns.

        Where a column was dequantised, `test_nll_raw` is that of the rows with their noise.  Minus the sum of the log
        units it is an upper bound of the mean negative log-probability of the steps themselves.
        """
        further = super().evaluate_further(model, test_nll)
        raw = test_nll - self.splits.log_density_offset
        series = dict(further.series)
        if (units := self.splits.units) is not None:
            series |= {"dequantised_columns": units.nonzero()[0].tolist(), "dequantised_units": units.tolist()}
        return Evaluation({**further.metrics, "test_nll_raw": raw}, series)


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
