"""The names of a file's columns, from its beginning alone where it is a text."""

from __future__ import annotations

from pathlib import Path

from pynode.datasets.file_kinds import is_text
from pynode.datasets.frame import read_frame
from pynode.datasets.frame_layout import top_of
from pynode.datasets.no_table import refuse_markup
from pynode.datasets.text_lines import open_text
from pynode.errors import UsageError


def column_names(path: Path, header: bool | None = None) -> tuple[str, ...]:
    """The names of the columns of the file at `path`; none where it can't be read, which its reading says."""
    try:
        if is_text(path):
            refuse_markup(path)
            top = top_of(open_text(path), header)
            return top.names if top is not None else ()
        return read_frame(path, lenient=True).names.names
    except UsageError:
        return ()
