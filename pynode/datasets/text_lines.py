"""Lines of a text table as lists of cells: encoding, delimiter, comments, and what a cell holds."""

from __future__ import annotations

import codecs
import csv
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Literal, TypeAlias

from pynode.datasets.encodings import HEAD, encoding_at, nul_bytes
from pynode.datasets.errors import DataError

Mark: TypeAlias = Literal[".", ","]
"""The decimal mark of a table."""
Kind: TypeAlias = Literal["missing", "infinite", "truth value", "date", "text"]
"""What a cell that holds no finite number holds."""

ERRORS = ("#n/a", "#div/0!", "#value!", "#ref!", "#num!", "#name?", "#null!")
"""What spreadsheets write where a formula has no value."""
_WORDS = r"na n/a n.a. n.d. k.a. <na> nan +nan -nan nat null \n none nil missing . - -- --- ?"
MISSING = frozenset((*_WORDS.split(), *ERRORS))
TRUTH_VALUES = frozenset(("true", "false", "yes", "no", "t", "f", "y", "n"))
DATE = re.compile(
    r"\d{4}[-/.]\d{1,2}([-/.]\d{1,2}([T ].*)?)?|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d\d)( .*)?|\d{1,2}:\d\d.*"
)
# groups of three digits, all between the same separators; a point or comma separates groups where it is not the mark
_GROUPS = r"[+-]?\d{{1,3}}([{other} '\u2019\u00a0\u202f])\d{{3}}(?:\1\d{{3}})*(?:{mark}\d*)?(?:[eE][+-]?\d+)?"
GROUPED = {".": re.compile(_GROUPS.format(other=",", mark=r"\.")), ",": re.compile(_GROUPS.format(other=".", mark=","))}
WITH_COMMA = re.compile(r"[+-]?(?:\d+,?\d*|,\d+)(?:[eE][+-]?\d+)?")

WITH_UNIT = re.compile(r"[+-]?[\d.,]+ [^\d\s,;|]{1,8}")
"""A number and its unit."""

DELIMITERS = ("\t", ";", ",", "|", " ")
"""Candidates, the first one preferred where two suit a table equally well."""

SAMPLE = 60
"""Lines from which the delimiter and the header are found."""

RULE = re.compile(r"[\s|+=-]*--\+[\s|+=-]*|\+[\s|+=-]*")
"""A line that is drawn between header and rows, as programs for databases print tables."""

DRAWN = re.compile(r"[\s|,;]*:?(?:-{2,}|={2,}):?(?:[\s|,;]+:?(?:-{2,}|={2,}):?)*[\s|,;]*")
"""Cells of dashes alone: a line drawn below a header, as in Markdown, or a row of missing values further down."""
STARTS_AS_NUMBER = re.compile(r"(?:^|[\s|,;\"'])[+-]?[.,]?\d")

CHUNK = 1 << 20

SEPARATOR_LINE = re.compile(r'\s*"?sep=([^\w"\r\n])"?[;,\t]*\s*', re.IGNORECASE)
"""Excel's first line, which names the delimiter."""

Record = tuple[int, list[str]]
"""Number of a line, from 1, and its cells."""


def plain_number(cell: str) -> float | None:
    """The number in a cell as Python writes it, NaN and infinity included; None where there is none."""
    try:
        return None if "_" in cell else float(cell)  # Python would read 1_000 as 1000
    except ValueError:
        return None


def number(cell: str, mark: Mark) -> float | None:
    """The number in a cell with this decimal mark, perhaps with thousands in groups; None where there is none."""
    text = cell.strip().replace("\u2212", "-")
    if mark == ".":
        value = plain_number(text)
        if value is not None:
            return value
    elif WITH_COMMA.fullmatch(text):
        return float(text.replace(",", "."))
    if match := GROUPED[mark].fullmatch(text):
        return float(text.replace(match[1], "").replace(",", "."))
    if mark == "," and not any(c.isdigit() for c in text):
        return plain_number(text)  # nan, inf
    return None


@lru_cache(maxsize=4096)
def kind_of(cell: str) -> Kind:
    """What a cell without a finite number holds."""
    text = cell.strip().lower()
    if not text or text in MISSING:
        return "missing"
    if text in TRUTH_VALUES:
        return "truth value"
    if DATE.fullmatch(text):
        return "date"
    value = plain_number(text)
    return "infinite" if value is not None and math.isinf(value) else "text"


def could_be_number(cell: str) -> bool:
    """Whether a cell is empty, missing or a number with one of the decimal marks."""
    return number(cell, ".") is not None or number(cell, ",") is not None or kind_of(cell) == "missing"


@dataclass(frozen=True)
class TextFile:
    """A text table whose encoding and delimiter are known."""

    path: Path
    encoding: str
    delimiter: str

    def records(self) -> Iterator[Record]:
        """Every line that holds cells, with its number; a quoted cell may span lines, the last of which is counted.

        Raises `DataError` where the text can't be read.
        """
        try:
            with self.path.open(newline="", encoding=self.encoding) as file:
                yield from _split(_content(file), self.delimiter)
        except OSError as error:
            raise DataError(f"{self.path} can't be read ({error.strerror}); give a file that can") from error
        except UnicodeError as error:
            raise DataError(
                f"{self.path} can't be read as a .csv text: {error}; save it as plain UTF-8 text"
            ) from error
        except csv.Error as error:
            reason = str(error)
            if "field limit" in reason:
                reason = "a cell has more than 131,072 characters: perhaps a quote is not closed"
            raise DataError(f"{self.path} can't be read as a .csv text: {reason}; mend the file") from error

    def sample(self) -> list[Record]:
        """The first records."""
        return list(islice(self.records(), SAMPLE))


def open_text(path: Path) -> TextFile:
    """The file at `path` with its encoding and its delimiter; raises `DataError` where it is not a text."""
    encoding = _encoding(path)
    try:
        with path.open(newline="", encoding=encoding) as file:
            lines = [line for _, line in islice(_content(file), SAMPLE)]
            file.seek(0)
            named = SEPARATOR_LINE.fullmatch(next((line for line in file if line.strip()), ""))
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror}); give a file that can") from error
    except UnicodeError as error:
        raise DataError(f"{path} can't be read as a .csv text: {error}; save it as plain UTF-8 text") from error
    delimiter = _delimiter(lines)
    if not named:
        return TextFile(path, encoding, delimiter)
    # with one column there is no delimiter in any line
    if lines and delimiter in lines[0].strip() and all(named[1] not in line for line in lines):
        raise DataError(
            f"{path} names '{named[1]}' in its line sep=, but no line has it: remove this line, or name '{delimiter}'"
        )
    return TextFile(path, encoding, named[1])


def _encoding(path: Path) -> str:
    """By what its beginning tells, else UTF-8 where all bytes are, else Latin-1: numbers are the same in both."""
    try:
        with path.open("rb") as file:
            if (told := encoding_at(file.read(HEAD))) is not None:
                return told
            file.seek(0)
            decoder, is_utf8 = codecs.getincrementaldecoder("utf-8")(), True
            while chunk := file.read(CHUNK):
                if b"\0" in chunk:
                    raise nul_bytes(path)
                try:
                    decoder.decode(chunk)
                except UnicodeDecodeError:
                    is_utf8 = False
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror}); give a file that can") from error
    return "utf-8" if is_utf8 else "latin-1"


def _content(file: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Number and text of the lines that are neither empty nor comments nor Excel's `sep=`."""
    at_top, above = True, ""
    for number, line in enumerate(file, 1):
        text = line.strip()
        if not text or (text.startswith("#") and not text.lower().startswith(ERRORS)):
            continue
        if "-+" in text and RULE.fullmatch(text):
            continue
        if text[0] in "-=|:,;" and DRAWN.fullmatch(text) and _is_drawn(text, above):
            above = text
            continue
        # years may stand beside a word in a header
        years = at_top and text.lstrip("| \"'")[:1].isalpha() and STARTS_AS_NUMBER.search(text)
        above = "" if years else text
        if not (at_top and SEPARATOR_LINE.fullmatch(line)):
            yield number, line
        at_top = False


def _is_drawn(line: str, above: str) -> bool:
    """Whether a line of dashes is drawn at the top or below a header, rather than a row of missing values."""
    if "=" in line:
        return True
    long = "---" in line or (bool(above) and line.count("--") > 1)
    return long and not STARTS_AS_NUMBER.search(above) and not DRAWN.fullmatch(above)


def _split(lines: Iterable[tuple[int, str]], delimiter: str) -> Iterator[Record]:
    """The cells of each line; lines of delimiters alone, which spreadsheets add, are skipped at the top and the end."""
    line = 0

    def texts() -> Iterator[str]:
        nonlocal line
        for number, text in lines:
            line = number
            # columns of text are aligned by any number of spaces, at the ends too
            yield text.strip(" ") if delimiter == " " else text

    at_top = True
    empty: list[Record] = []
    for cells in csv.reader(texts(), delimiter=delimiter, skipinitialspace=True):
        if any(cell.strip() for cell in cells):
            yield from empty
            yield line, cells
            at_top, empty = False, []
        elif cells and not at_top:
            empty.append((line, cells))


def _delimiter(lines: list[str]) -> str:
    """The candidate by which the lines fall into equally many cells, and most of these are numbers."""
    best, quality = ",", (0.0, 0.0)
    for delimiter in DELIMITERS:
        try:
            rows = [cells for _, cells in _split(enumerate(lines), delimiter)]
        except csv.Error:
            continue
        # the header may hold anything, and is not one of them unless there is nothing else
        body = rows[1:] or rows
        widths = Counter(len(_without_trailing(cells)) for cells in body)
        width, count = max(widths.items(), key=lambda item: (item[1], item[0]), default=(1, 0))
        if width < 2:
            continue
        cells = [cell for row in body for cell in row]
        alike = count / len(body)
        numeric = sum(could_be_number(cell) or bool(WITH_UNIT.fullmatch(cell.strip())) for cell in cells) / len(cells)
        if abs(len(_without_trailing(rows[0])) - width) > 1:
            numeric /= 2  # the header has other delimiters
        if (alike * numeric, alike) > quality:
            best, quality = delimiter, (alike * numeric, alike)
    return best


def _without_trailing(cells: list[str]) -> list[str]:
    return cells[:-1] if len(cells) > 1 and not cells[-1].strip() else cells
