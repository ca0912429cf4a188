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

from pynode.datasets.encodings import encoding_of
from pynode.datasets.errors import DataError
from pynode.datasets.extract import MAX_BYTES

Kind: TypeAlias = Literal[
    "npy",
    "npz",
    "zip",
    "gzip",
    "bzip2",
    "xz",
    "zstd",
    "7z",
    "hdf5",
    "parquet",
    "arrow",
    "excel",
    "sqlite",
    "pdf",
    "pickle",
    "text",
    "binary",
]

BEGINNINGS: tuple[tuple[bytes, Kind], ...] = (
    (b"\x93NUMPY", "npy"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"PK\x07\x08", "zip"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (b"PAR1", "parquet"),
    (b"ARROW1", "arrow"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "excel"),
    (b"SQLite format 3\0", "sqlite"),
    (b"%PDF-", "pdf"),
    *((b"\x80" + bytes((protocol,)), "pickle") for protocol in (2, 3, 4, 5)),  # 0x80 alone is the euro of cp1252
    (b"ccopy_reg\n", "pickle"),
    (b"cpandas", "pickle"),
)
CALLED: dict[Kind, str] = {
    "npy": "a NumPy array (.npy)",
    "npz": "an archive of NumPy arrays (.npz)",
    "zip": "a zip archive",
    "gzip": "a gzip file",
    "bzip2": "a bzip2 file",
    "xz": "an xz file",
    "zstd": "a Zstandard file",
    "7z": "a 7-Zip archive",
    "hdf5": "an HDF5 file",
    "parquet": "a Parquet file",
    "arrow": "an Arrow file (Feather)",
    "excel": "an Excel workbook (.xls)",
    "sqlite": "a database of SQLite",
    "pdf": "a PDF",
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
        if head.startswith(beginning) and not (beginning.isalnum() and _is_printed(head)):
            return "npz" if kind == "zip" and _holds_arrays(path) else kind
    return "binary" if b"\0" in head else "text"


def is_text(path: Path) -> bool:
    """Whether the file at `path` is a text in any encoding; raises `DataError` where it is empty or can't be read."""
    kind = file_kind(path)
    return kind == "text" or (kind == "binary" and encoding_of(path) is not None)


def _is_printed(head: bytes) -> bool:
    """Whether bytes hold nothing that can't be printed: a column may be called PAR1."""
    return not any(byte < 9 or 13 < byte < 32 for byte in head)


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
