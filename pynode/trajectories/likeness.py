"""A file that is read as an earlier one was: codes of missing values and angles are that one's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pynode.datasets.errors import DataError
from pynode.datasets.frame_table import Frame
from pynode.trajectories.data import Trajectories


def with_codes_of(frame: Frame, like: Trajectories) -> Frame:
    """`frame` with NaN where a column has a number that stands for a missing value in `like`.

    Raises `DataError` where a number looks like such a code that is none in `like`: there it was a value.
    """
    used = {*like.values, *like.constants, *like.inputs}
    for name, codes in frame.codes.items():
        new = [code for code in codes if code not in like.codes.get(name, ())]
        if name in used and new:
            raise DataError(
                f"{frame.path}, column '{name}': {new[0]:.12g} looks like a missing value, which it is not in the file "
                "that the model was trained on; leave these cells empty"
            )
    columns = [
        replace(column, values=np.where(np.isin(column.values, like.codes[column.key]), np.nan, column.values))
        if column.kind == "number" and column.key in like.codes
        else column
        for column in frame.columns
    ]
    return replace(frame, columns=tuple(columns))


def angles_of(like: Trajectories, circular: Sequence[str]) -> tuple[str, ...]:
    """The values of `--circular` for a file like `like`: its angles with their periods, and inputs as given."""
    values = {*like.values, *like.constants}
    inputs = [text for text in circular if text not in values and text.rpartition(":")[0] not in values]
    return (*(f"{name}:{period!r}" for name, period in like.periods.items()), *inputs)
