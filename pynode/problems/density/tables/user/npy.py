"""Your own table of numbers in a .npy file: --data FILE.npy."""

from __future__ import annotations

from typing import ClassVar

from pynode.problems.density.tables.user.base import UserTable


class NpyTable(UserTable):
    """Rows of a .npy file."""

    name: ClassVar[str] = "npy"
    suffix: ClassVar[str] = ".npy"
    suffixes: ClassVar[tuple[str, ...]] = (".npy",)
