"""Your own table of numbers in a .csv file: --data FILE.csv."""

from __future__ import annotations

from typing import ClassVar

from pynode.datasets.tables import TEXTS
from pynode.problems.density.tables.user.base import UserTable


class CsvTable(UserTable):
    """Rows of a text file: .csv, .tsv, .txt or .dat."""

    name: ClassVar[str] = "csv"
    suffix: ClassVar[str] = ".csv"
    suffixes: ClassVar[tuple[str, ...]] = TEXTS
