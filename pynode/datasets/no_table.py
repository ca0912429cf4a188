"""What is said of a file that holds no table: a workbook, an archive, a database, JSON, a web page."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from pynode.datasets.encodings import HEAD, encoding_at, is_damaged_text, nul_bytes
from pynode.datasets.errors import DataError
from pynode.datasets.file_kinds import CALLED, DAMAGED, Kind

REMEDIES: dict[Kind, str] = {
    "hdf5": "save the data set that is meant as an array, with h5py and numpy.save, and give the .npy file",
    "zip": "unpack it, or save a sheet of a spreadsheet (.xlsx) as .csv, and give that file",
    "gzip": "unpack it (gunzip), and give the file in it",
    "bzip2": "unpack it (bunzip2), and give the file in it",
    "xz": "unpack it (unxz), and give the file in it",
    "zstd": "unpack it (unzstd), and give the file in it",
    "7z": "unpack it (7z x), and give the file in it",
    "arrow": "save the table as .parquet or .csv, and give that file",
    "excel": "save the sheet as .csv, and give that file",
    "sqlite": "save the table as .csv, and give that file",
    "pdf": "give the file that its table was printed from, as .csv",
    "pickle": "a pickle runs code when it is read; save the table as .csv or .parquet",
}
"""What to do with files that are no tables."""

WORKBOOKS = {"xl/": "an Excel workbook (.xlsx)", "content.xml": "a workbook of LibreOffice (.ods)"}
"""What a zip archive is that has a member of such a name."""

JSON = re.compile(
    r"""\s*(\{\s*(\}|(?P<quote>["'])[^"'\n]*(?P=quote)\s*:)|\[\s*([\[{]|[\d"-][^\]\n]*,)|\[\s*\n\s*[\d"-])"""
)
"""The beginning of an object, of a list of several items, or of one in lines of its own; names may be [1] or {x}."""
MARKUP = re.compile(r"\s*<[!?a-z/]", re.IGNORECASE)
NAMES_IN_BRACKETS = re.compile(r"\s*<[^<>\n]+>([,;|\t ]+<[^<>\n]+>)+\s*(\n|$)")
"""A header such as <DATE>,<CLOSE>, as terminals of stock exchanges write it."""


def no_file(path: Path) -> DataError:
    """The error for a path that is none of a file: a folder, or a pattern of names, hold several."""
    if path.is_dir() or any(sign in path.name for sign in "*?"):
        what = "a folder" if path.is_dir() else "a pattern of names"
        return DataError(
            f"{path} is {what}, not a file: give one table; join the files of several trajectories into one, with a "
            "column that names the trajectory of each row"
        )
    return DataError(f"{path} is not a file: give the path of a table (.csv, .tsv, .parquet, .npy, .npz)")


def refusal(path: Path, kind: Kind) -> DataError:
    """The error for the file at `path` of this kind."""
    if kind == "binary" and is_damaged_text(_head(path)):
        return nul_bytes(path)
    called, remedy = CALLED[kind], REMEDIES.get(kind, "save the table as .csv, .parquet or .npy")
    if kind == "zip":
        names = _members(path)
        workbook = next((what for start, what in WORKBOOKS.items() if any(n.startswith(start) for n in names)), None)
        if workbook is not None:
            called, remedy = workbook, REMEDIES["excel"]
        elif len(names) == 1:
            remedy = f"unpack it (unzip), and give the file in it, {names[0]}"
    return DataError(f"{path} is {called}, not a table: {remedy}")


def refuse_markup(path: Path) -> None:
    """Raises `DataError` for a text file that holds JSON, HTML or XML."""
    head = _head(path)
    text = head.decode(encoding_at(head) or "latin-1", errors="replace").lstrip("\ufeff")
    if JSON.match(text):
        raise DataError(f"{path} looks like JSON, not a table: save it as .csv")
    if MARKUP.match(text) and not NAMES_IN_BRACKETS.match(text):
        raise DataError(f"{path} looks like HTML or XML, not a table: save it as .csv")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD)


def _members(path: Path) -> list[str]:
    """The names of the files in the zip archive at `path`; none where it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [name for name in archive.namelist() if not name.endswith("/")]
    except (*DAMAGED, UnicodeDecodeError):
        return []
