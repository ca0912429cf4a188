"""What kind of file lies at a path, by its first bytes: a user's file may have any name."""

from __future__ import annotations

import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Literal, TypeAlias

from pynode.datasets.errors import DataError
from pynode.datasets.extract import MAX_BYTES

Kind: TypeAlias = Literal["npy", "npz", "zip", "gzip", "hdf5", "parquet", "pickle", "text", "binary"]

BEGINNINGS: tuple[tuple[bytes, Kind], ...] = (
    (b"\x93NUMPY", "npy"),
    (b"PK", "zip"),
    (b"\x1f\x8b", "gzip"),
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (b"PAR1", "parquet"),
    (b"\x80", "pickle"),
    (b"ccopy_reg\n", "pickle"),
    (b"cpandas", "pickle"),
)
CALLED: dict[Kind, str] = {
    "npy": "a NumPy array (.npy)",
    "npz": "an archive of NumPy arrays (.npz)",
    "zip": "a zip archive",
    "gzip": "a gzip file",
    "hdf5": "an HDF5 file",
    "parquet": "a Parquet file",
    "pickle": "a pickle",
    "text": "a text file",
    "binary": "a binary file of unknown format",
}
"""As messages call them."""

DAMAGED = (
    OSError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    RuntimeError,
    NotImplementedError,
)
"""What reading a damaged or encrypted archive raises."""


def file_kind(path: Path) -> Kind:
    """The kind of the file at `path`; raises `DataError` where it is empty or can't be read."""
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror}); give a file that can") from error
    if not head:
        raise DataError(f"{path} is empty: give the file with its rows")
    for beginning, kind in BEGINNINGS:
        if head.startswith(beginning):
            return "npz" if kind == "zip" and _holds_arrays(path) else kind
    return "binary" if b"\0" in head else "text"


@contextmanager
def opened(path: Path, usual: str) -> Iterator[IO[bytes]]:
    """The bytes of the text file at `path`, unpacked where it is a gzip file or a zip archive.

    An archive holds one text file, or one that is called `usual`.  Raises `DataError` where it has another content,
    or is cut short or damaged, here or while it is read.
    """
    kind = file_kind(path)
    try:
        if kind == "gzip":
            with gzip.open(path) as unpacked, io.BufferedReader(unpacked) as file:
                yield file
        elif kind == "zip":
            with ExitStack() as stack:
                yield _opened_member(path, usual, stack)
        else:
            with path.open("rb") as file:
                yield file
    except DAMAGED as error:
        raise DataError(f"{path} is cut short or damaged: {error}; get the file again") from error


def _holds_arrays(path: Path) -> bool:
    """Whether the zip archive at `path` is what NumPy writes."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (*DAMAGED, UnicodeDecodeError):
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def _opened_member(path: Path, usual: str, stack: ExitStack) -> IO[bytes]:
    """The text file in the zip archive at `path`, open for as long as `stack` is."""
    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
        return stack.enter_context(archive.open(_member(path, archive, usual)))
    except UnicodeDecodeError as error:  # the name of a member, in a damaged directory
        raise zipfile.BadZipFile(str(error)) from error


def _member(path: Path, archive: zipfile.ZipFile, usual: str) -> zipfile.ZipInfo:
    files = [file for file in archive.infolist() if not file.is_dir() and not file.filename.startswith("__MACOSX")]
    named = [file for file in files if Path(file.filename).name == usual]
    chosen = named or files
    if len(chosen) != 1:
        which = f"{len(named)} of them called" if named else "none of them"
        raise DataError(f"{path} holds {len(files)} files, {which} {usual}: unpack it and name the right one")
    if chosen[0].file_size > MAX_BYTES:
        raise DataError(f"{path} unpacks to more than {MAX_BYTES:,} bytes: refused; use the published file")
    return chosen[0]
