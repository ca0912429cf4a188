"""The five public sets from the files that their users have: found, read, and handed to the preprocessing.

Files are known by their content, so they may have any name.  A folder is looked through for the usual names.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pynode.datasets import public
from pynode.datasets.errors import DataError, DataMissing, optional
from pynode.datasets.file_kinds import CALLED, file_kind, opened
from pynode.datasets.frame_pickle import read_frame
from pynode.datasets.power_text import USUAL, read_power_text
from pynode.datasets.provenance import Provenance, SourceFile
from pynode.datasets.raw import load_array
from pynode.datasets.sources import MAF_ARCHIVE, file_digest
from pynode.datasets.splits import PARTS, Array, Splits, first_damage

TRAIN_CSV, TEST_CSV = "1000_train.csv", "1000_test.csv"
TRAIN, TEST = (re.compile(rf"(?<![a-z]){word}(?![a-z])", re.IGNORECASE) for word in ("train", "test"))
"""What the names of HEPMASS's files are told by: "latest" is no test file."""

Made = tuple[Splits, tuple[Path, ...], int]
"""A set, the files that it was read from, and how many incomplete rows were left out."""


@dataclass(frozen=True)
class RawSet:
    """How one set is read from a file, the usual names of that file, and what it is, in words."""

    make: Callable[[Path], Made]
    usual: tuple[str, ...]
    about: str


@dataclass(frozen=True)
class Prepared:
    """A set with its provenance, and how many incomplete rows were left out."""

    splits: Splits
    left_out: int


def prepare(name: str, path: Path) -> Prepared:
    """The set `name` from the file or folder `path`.

    Raises `DataMissing` where there is no such file, `DataError` where it is damaged, of another set, or has too few
    rows, `PackageMissing` where h5py is needed.
    """
    file = find(name, path)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # told in words
        splits, files, left_out = RAW_SETS[name].make(file)
    published = MAF_ARCHIVE.shapes[name]
    sources = tuple(SourceFile(file.name, file.stat().st_size, file_digest(file).hexadecimal) for file in files)
    rows = {part: len(getattr(splits, part)) for part in PARTS}
    for part in PARTS:
        if not rows[part]:
            raise DataError(f"{path} gives {name} no {part} rows: give a file with more rows")
        if (damage := first_damage(getattr(splits, part))) is not None:
            raise DataError(f"{path}: the {part} rows of {name}, {damage}; remove or replace these rows")
    provenance = Provenance(rows, dict(zip(PARTS, published[1:], strict=True)), sources=sources)
    return Prepared(replace(splits, provenance=provenance), left_out)


def find(name: str, path: Path) -> Path:
    """The file to read: `path`, or the first of the usual names in the folder `path`; raises `DataMissing`."""
    if path.is_file():
        return path
    usual = RAW_SETS[name].usual
    if not path.is_dir():
        raise DataMissing(f"{path} is missing: give {RAW_SETS[name].about}")
    for candidate in usual:
        if (path / candidate).is_file():
            return path / candidate
    raise DataMissing(f"{path / usual[0]} is missing: give {RAW_SETS[name].about}, or a folder that holds it")


def _refused(name: str, path: Path) -> DataError:
    return DataError(f"{path} is {CALLED[file_kind(path)]}, not the file of {name}: give {RAW_SETS[name].about}")


def _array(name: str, path: Path, columns: int) -> Array:
    """The numbers of a `.npy` file with so many columns."""
    rows = load_array(path)
    if rows.shape[1] != columns:
        raise DataError(
            f"{path} has {rows.shape[1]} columns instead of {columns}, so it is not of {name}: "
            f"give {RAW_SETS[name].about}"
        )
    return rows


LEAST = 11
"""Rows from which on the last tenth, and the last tenth of the rest, are not empty."""

LEAST_LABELLED = 10
"""The same of HEPMASS's training file, which is cut once."""


def _check_rows(path: Path, rows: int, least: int, what: str = "rows") -> None:
    """Raises `DataError` where there are fewer than `least` `rows` to be cut into training and held-out ones."""
    if rows < least:
        raise DataError(
            f"{path}, {what} = {rows}: too few to cut off a tenth of them for testing or validation; give a file with "
            f"{least} or more"
        )


def _check_finite(path: Path, rows: Array, *, ignored: Sequence[int] = (), counted: Array | None = None) -> None:
    """Raises `DataError`, with row and column of the file from 1, where a value that is used is not finite."""
    if (damage := first_damage(rows, ignored=ignored, counted=counted)) is not None:
        raise DataError(f"{path}, {damage}; remove the row or replace the value")


@contextmanager
def _of(path: Path) -> Iterator[None]:
    """Puts `path` before what is wrong with the rows read from it."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _power(path: Path) -> Made:
    kind = file_kind(path)
    if kind in ("npy", "npz"):
        rows = _array("power", path, public.POWER_COLUMNS)
        _check_rows(path, len(rows), LEAST)
        _check_finite(path, rows, ignored=public.POWER_DROPPED)
        with _of(path):
            return public.power(rows), (path,), 0
    if kind not in ("text", "zip", "gzip"):
        raise _refused("power", path)
    rows, left_out = read_power_text(path)
    _check_rows(path, len(rows), LEAST, "complete rows" if left_out else "rows")
    with _of(path):
        return public.power(rows), (path,), left_out


def _gas(path: Path) -> Made:
    kind = file_kind(path)
    if kind == "text":
        raise DataError(
            f"{path} is a text file; of UCI's ethylene_CO.txt the published set has a quarter of the rows, drawn in a "
            f"way that was not published, so it can't be made from that: give {RAW_SETS['gas'].about}"
        )
    if kind not in ("pickle", "binary"):
        raise _refused("gas", path)
    names, table = read_frame(path)
    _check_rows(path, len(table), LEAST)
    _check_finite(path, table, ignored=[at for at, name in enumerate(names) if name in public.NOT_SENSORS])
    with _of(path):
        splits = public.gas(names, table)
    _check_dim(
        splits,
        path,
        "sensors that repeat another one are told by their correlation over all rows: give the whole file",
    )
    return splits, (path,), 0


def _hepmass(path: Path) -> Made:
    _names(path)  # a file of another set, and then a missing partner, are told before many rows are read
    train_path, test_path = _pair(path)
    (names, train), (test_names, test) = _labelled(train_path), _labelled(test_path)
    if test_names[: len(names)] != names or len(test_names) > len(names) + 1:
        raise DataError(
            f"the columns of {test_path} but for the last are not those of {train_path.name}: "
            "restore both files from the archive"
        )
    for file, table in ((train_path, train), (test_path, test)):
        # rows of the background, and a column of the test file alone, are left out
        _check_finite(file, table, ignored=range(1 + len(names), table.shape[1]), counted=table[:, 0] == 1)
    _check_rows(train_path, int((train[:, 0] == 1).sum()), LEAST_LABELLED, "rows with label 1")
    with _of(train_path):
        splits = public.hepmass(train, test)
    _check_dim(
        splits, train_path, "discrete features are found by how often their smallest value occurs: give more rows"
    )
    return splits, (train_path, test_path), 0


def _pair(path: Path) -> tuple[Path, Path]:
    """The training and the test file of HEPMASS, of which `path` is one, or the training file by any name."""
    is_test = bool(TEST.search(path.name)) and not TRAIN.search(path.name)
    other = TEST.sub("train", path.name) if is_test else TRAIN.sub("test", path.name)
    usual = TRAIN_CSV if is_test else TEST_CSV
    # without the word in its name `other` is the file itself, and the same packed is no other table
    named = () if other == path.name else (other, f"{other}.gz", other.removesuffix(".gz"))
    names = (*named, usual, f"{usual}.gz")
    beside = next((p for n in names if (p := path.with_name(n)) != path and p.is_file()), None)
    if beside is None:
        raise DataMissing(
            f"{path.with_name(usual)} is missing: hepmass is made of a training and a "
            "test file; put both into one folder"
        )
    return (beside, path) if is_test else (path, beside)


def _labelled(path: Path) -> tuple[list[str], Array]:
    """Names and values `(rows, columns)` of one of HEPMASS's tables, the label first.

    A row may have more fields than the header has names; these are left out.
    """
    names = _names(path)
    try:
        with opened(path, path.name.removesuffix(".zip")) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # no rows: said below
            file.readline()
            text = (line.decode("utf-8") for line in file)
            table = np.loadtxt(text, delimiter=",", usecols=range(len(names)), ndmin=2, comments=None)
    except DataError:  # a ValueError too, which says already what is wrong
        raise
    except ValueError as error:
        raise _no_numbers(path, error) from error
    if not (table.shape[1:] == (len(names),) and (table[:, 0] == 1).any()):
        raise _no_signal(path)
    return names[1:], table


def _names(path: Path) -> list[str]:
    """The names of the columns of one of HEPMASS's tables, the label first."""
    if file_kind(path) not in ("text", "gzip", "zip"):
        raise _refused("hepmass", path)
    with opened(path, path.name.removesuffix(".zip")) as file:
        line = file.readline()
    try:
        names = [name.strip().strip('"') for name in line.decode("utf-8-sig").split(",")]
    except ValueError as error:
        raise _no_numbers(path, error) from error
    if len(names) < 3:
        raise _no_signal(path)
    return names


def _no_numbers(path: Path, error: ValueError) -> DataError:
    return DataError(f"{path} can't be read as a table of numbers: {error}; restore it from the archive")


def _no_signal(path: Path) -> DataError:
    return DataError(f"{path} has no rows with label 1 and features: give {RAW_SETS['hepmass'].about}")


def _miniboone(path: Path) -> Made:
    kind = file_kind(path)
    if kind in ("text", "zip", "gzip"):
        raise DataError(
            f"{path} is {CALLED[kind]}; how UCI's MiniBooNE_PID.txt became the published rows (events, outliers and "
            f"features left out) is not published, so it can't be made from that: give {RAW_SETS['miniboone'].about}"
        )
    if kind not in ("npy", "npz"):
        raise _refused("miniboone", path)
    rows = _array("miniboone", path, MAF_ARCHIVE.shapes["miniboone"][0])
    _check_rows(path, len(rows), LEAST)
    _check_finite(path, rows)
    if whole := [column + 1 for column in range(rows.shape[1]) if (rows[:, column] == np.floor(rows[:, column])).all()]:
        columns = f"{'column' if len(whole) == 1 else 'columns'} {', '.join(map(str, whole))}"
        raise DataError(
            f"{path} has nothing but whole numbers in {columns}, and MINIBOONE's columns are continuous: "
            f"give {RAW_SETS['miniboone'].about}, or train on the table as it is by the problem npy"
        )
    with _of(path):
        return public.miniboone(rows), (path,), 0


def _bsds300(path: Path) -> Made:
    if file_kind(path) != "hdf5":
        raise _refused("bsds300", path)
    h5py = optional("h5py", "h5py", "the data set bsds300")
    parts: list[Array] = []
    try:
        with h5py.File(path, "r") as file:
            parts.extend(np.asarray(file[part], dtype=np.float32) for part in PARTS)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise DataError(
            f"{path} can't be read as HDF5 with {', '.join(PARTS)}: {error}; give {RAW_SETS['bsds300'].about}"
        ) from error
    columns = MAF_ARCHIVE.shapes["bsds300"][0]
    if any(part.ndim != 2 or part.shape[1] != columns for part in parts):
        raise DataError(
            f"{path} has parts of shapes {[p.shape for p in parts]} instead of (rows, {columns}): "
            f"give {RAW_SETS['bsds300'].about}"
        )
    return public.bsds300(*parts), (path,), 0


def _check_dim(splits: Splits, path: Path, why: str) -> None:
    expected = MAF_ARCHIVE.shapes[splits.name][0]
    if splits.dim != expected:
        raise DataError(f"{path} gives {splits.name} {splits.dim} columns instead of {expected}; {why}")


RAW_SETS: Mapping[str, RawSet] = {
    "power": RawSet(
        _power,
        ("data.npy", USUAL, "household_power_consumption.zip"),
        f"UCI's {USUAL} or its .zip, or data.npy of the archive (8 columns)",
    ),
    "gas": RawSet(_gas, ("ethylene_CO.pickle",), "ethylene_CO.pickle of the archive"),
    "hepmass": RawSet(
        _hepmass, (TRAIN_CSV, f"{TRAIN_CSV}.gz"), f"{TRAIN_CSV} with {TEST_CSV} beside it, or both as .csv.gz"
    ),
    "miniboone": RawSet(_miniboone, ("data.npy",), "data.npy of the archive (43 columns)"),
    "bsds300": RawSet(_bsds300, ("BSDS300.hdf5",), "BSDS300.hdf5 of the archive"),
}
