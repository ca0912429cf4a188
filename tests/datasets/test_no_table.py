"""Files of another kind than their name says: read where they are texts, refused in one line with a remedy else."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pynode.datasets.encodings import encoding_at
from pynode.datasets.errors import DataError
from pynode.datasets.frame import read_frame
from pynode.datasets.heads import column_names
from pynode.datasets.tables import load_table

TEXT = "t,x\n" + "".join(f"{k},{k * k % 7}.5\n" for k in range(30))


def zipped(*names: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, TEXT)

    return write


def database(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE rows (t, x)")


def bytes_of(content: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


OTHERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "xlsx": (zipped("[Content_Types].xml", "xl/workbook.xml"), r"is an Excel workbook \(\.xlsx\), .* sheet as \.csv"),
    "ods": (zipped("mimetype", "content.xml"), r"is a workbook of LibreOffice \(\.ods\), not a table: save the sheet"),
    "xls": (bytes_of(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)), r"is an Excel workbook \(\.xls\)"),
    "zip of one": (zipped("rows.csv"), r"is a zip archive, .*unpack it \(unzip\), and give the file in it, rows\.csv$"),
    "zip of two": (zipped("a.csv", "b.csv"), "is a zip archive, not a table: unpack it"),
    "gzip": (bytes_of(gzip.compress(TEXT.encode())), r"is a gzip file, not a table: unpack it \(gunzip\)"),
    "bzip2": (bytes_of(bz2.compress(TEXT.encode())), r"is a bzip2 file, not a table: unpack it \(bunzip2\)"),
    "xz": (bytes_of(lzma.compress(TEXT.encode())), r"is an xz file, not a table: unpack it \(unxz\)"),
    "sqlite": (database, r"is a database of SQLite, not a table: save the table as \.csv"),
    "hdf5": (bytes_of(b"\x89HDF\r\n\x1a\n" + bytes(100)), "is an HDF5 file, not a table"),
    "pdf": (bytes_of(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj"), "is a PDF, not a table"),
    "JSON": (bytes_of(json.dumps([{"t": 1, "x": 2}], indent=1).encode()), r"looks like JSON, .* save it as \.csv"),
    "JSON in UTF-16": (bytes_of(json.dumps({"t": [1, 2]}).encode("utf-16")), "looks like JSON, not a table"),
    "JSON lines": (bytes_of(b'{"t": 1}\n{"t": 2}\n'), "looks like JSON, not a table"),
    "an empty object": (bytes_of(b"{}\n"), "looks like JSON, not a table"),
    "a dictionary of Python": (bytes_of(b"{'t': [1, 2]}\n"), "looks like JSON, not a table"),
    "a list": (bytes_of(b"[1, 2.5, -3]\n"), "looks like JSON, not a table"),
    "a list of words": (bytes_of(b'["a", "b"]\n'), "looks like JSON, not a table"),
    "lists": (bytes_of(b"[[1, 2], [3, 4]]\n"), "looks like JSON, not a table"),
    "a list in lines": (bytes_of(b"[\n  1\n]\n"), "looks like JSON, not a table"),
    "HTML": (bytes_of(b"<!DOCTYPE html>\n<html><table><tr><td>1</td></tr></table></html>\n"), "looks like HTML or XML"),
    "XML": (bytes_of(b'<?xml version="1.0"?>\n<rows><row t="1"/></rows>\n'), "looks like HTML or XML, not a table"),
    "integers": (bytes_of(np.arange(4000, dtype="<i2").tobytes()), "binary file"),
    "a log of a machine without power": (
        bytes_of(TEXT.encode() + bytes(40)),
        r"t\.csv, line 32 holds NUL bytes, as a damaged text or a binary file does; remove them",
    ),
    "the same in the middle": (
        bytes_of(TEXT.encode() + bytes(4) + TEXT.encode() * 40),
        r"t\.csv, line 32 holds NUL bytes",
    ),
    "a longer one": (bytes_of(TEXT.encode() * 40 + bytes(4)), r"t\.csv, line 1241 holds NUL bytes"),
    "floats": (bytes_of(np.linspace(0, 1, 500).tobytes()), "binary file"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_files_called_csv(tmp_path: Path, name: str) -> None:
    write, message = OTHERS[name]
    write(path := tmp_path / "t.csv")
    for read in (load_table, read_frame):
        with pytest.raises(DataError, match=message) as caught:
            read(path)
        assert "\n" not in str(caught.value)
    assert column_names(path) == ()


@pytest.mark.parametrize("ending", [".csv", ".log"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16", "utf-8-sig"])
def test_texts_of_any_encoding_and_name(tmp_path: Path, encoding: str, ending: str) -> None:
    path = tmp_path / f"t{ending}"
    path.write_bytes(TEXT.replace("t,x", "t,\u00b5g/\u6c34").replace("\n", "\r\n").encode(encoding))
    np.testing.assert_array_equal(load_table(path), [[k, k * k % 7 + 0.5] for k in range(30)])
    assert read_frame(path).names.names == column_names(path) == ("t", "\u00b5g/\u6c34")


def test_a_euro_of_windows_is_no_pickle(tmp_path: Path) -> None:
    """In cp1252 it is the byte that begins a pickle, which the number of its protocol follows."""
    (path := tmp_path / "t.csv").write_bytes(TEXT.replace("t,x", "\u20ac price,x").encode("cp1252"))
    assert load_table(path).shape == (30, 2)
    assert read_frame(path).names.names[1] == "x"
    for protocol in range(2, 6):
        path.write_bytes(bytes((0x80, protocol)) + b"]q\0.")
        with pytest.raises(DataError, match="is a pickle, not a table"):
            read_frame(path)


def test_what_tells_the_encoding() -> None:
    assert encoding_at("\u65f6\u95f4,\u6c34\r\n1,2\r\n".encode("utf-16-le")) == "utf-16-le"
    assert encoding_at("a,b\n1,2".encode("utf-16-be")[:-1]) == "utf-16-be"
    for binary in (b"", b"\0", bytes(100), b"t,x\n1,2\n", np.arange(300, dtype="<i2").tobytes(), b"a\0\1\0b\0c\0"):
        assert encoding_at(binary) is None


NAMES = ["PAR1,PAR2", "PK,x", "BZh,x", "<DATE>,<CLOSE>", "[1],[2]", "[1/min],[m]", "{x},{y}", "[-1],[0]"]


@pytest.mark.parametrize("head", NAMES)
def test_names_that_begin_as_other_files_do(tmp_path: Path, head: str) -> None:
    (path := tmp_path / "t.csv").write_text(TEXT.replace("t,x", head))
    assert load_table(path).shape == (30, 2)
    assert list(read_frame(path).names.names) == head.split(",")


def test_names_at_the_top_of_other_tables(tmp_path: Path) -> None:
    pandas: Any = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    pandas.DataFrame({"a,b": [1.0], "c": [2.0]}).to_parquet(tmp_path / "t.parquet")
    assert column_names(tmp_path / "t.parquet") == ("a,b", "c")
    assert column_names(tmp_path / "none.csv") == ()
    (tmp_path / "t.csv").write_text("1,2\n3,4\n")
    assert column_names(tmp_path / "t.csv", header=True) == ("1", "2")
