"""The encoding of a text by its first bytes: a byte order mark, or where UTF-16 without one has its zeros."""

from __future__ import annotations

import codecs
from pathlib import Path

from pynode.datasets.errors import DataError

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks; that of UTF-32 begins with that of UTF-16."""

WITHOUT_MARK = {"utf-16-le": 1, "utf-16-be": 0}
"""Encodings of two bytes a letter, and which of these is zero in letters of Western languages."""

HEAD = 4096
"""Bytes that are looked at."""

FEW = 0.05
"""Share of letters whose other byte may be zero."""


def encoding_of(path: Path) -> str | None:
    """The encoding that the first bytes of a file tell; None where they tell none.  Raises `DataError`."""
    try:
        with path.open("rb") as file:
            return encoding_at(file.read(HEAD))
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror}); give a file that can") from error


def encoding_at(head: bytes) -> str | None:
    """The same for these first bytes."""
    for mark, name in MARKS:
        if head.startswith(mark):
            return name
    letters = len(head) // 2
    for name, at in WITHOUT_MARK.items():
        zeros, others = (head[place : 2 * letters : 2].count(0) for place in (at, 1 - at))
        if zeros > 0.5 * letters and others <= FEW * letters and _is_text(head, name):
            return name
    return None


def _is_text(head: bytes, encoding: str) -> bool:
    """Whether bytes, the last of which may belong to half a letter, are letters, digits, signs and ends of lines."""
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        return False
    return all(letter.isprintable() or letter.isspace() for letter in text)


def is_damaged_text(head: bytes) -> bool:
    """Whether these first bytes of a file are of a text but for zeros among them."""
    rest = head.replace(b"\0", b"")
    return b"\n" in rest and all(byte > 31 or byte in b"\t\n\r\f" for byte in rest)


def nul_bytes(path: Path) -> DataError:
    """The error for a text with bytes that are zero, as a logger leaves them that lost its power."""
    line = 1
    with path.open("rb") as file:
        for number, content in enumerate(file, 1):
            if b"\0" in content:
                line = number
                break
    return DataError(
        f"{path}, line {line} holds NUL bytes, as a damaged text or a binary file does; remove them, or save the table "
        "as plain UTF-8 text"
    )
