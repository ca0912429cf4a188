"""Where the rows of a data set come from, and whether they are as many as were published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class SourceFile:
    """A file that rows were read from: its name without folders, its size in bytes, its SHA-256."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Provenance:
    """Rows by part, the published rows by part (None where the set is not a published one), and the files read.

    `sha256` are digests of the stored parts, by part; for a table of the user's own that of the file, called "file".
    """

    rows: Mapping[str, int]
    published: Mapping[str, int] | None = None
    sha256: Mapping[str, str] = field(default_factory=dict)
    sources: tuple[SourceFile, ...] = ()

    @property
    def whole(self) -> bool | None:
        """Whether there are as many rows as were published, in every part; None where none were published."""
        return None if self.published is None else dict(self.rows) == dict(self.published)

    @property
    def extent(self) -> str:
        """In words: "as many rows as published", "part: 34,360 of 1,659,917 training rows", or the rows alone."""
        if self.whole:
            return "as many rows as published"
        if self.published is None:
            return f"{self.rows['train']:,} training rows"
        of = f"{self.rows['train']:,} of {self.published['train']:,} training rows"
        return f"part: {of}" if sum(self.rows.values()) < sum(self.published.values()) else f"other rows: {of}"
