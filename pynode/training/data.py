"""The rows that a run on a table is trained on: recorded at its start, and the same for as long as it goes on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pynode.errors import ConfigurationMismatch, UsageError
from pynode.records.table_data import differences_of_rows

DATA, SHA256 = "data", "sha256"
"""Options of problems that read a user's file: its path, and its digest at the start of the run."""

if TYPE_CHECKING:
    from pynode.problems.base import Problem
    from pynode.training.config import RunConfig


def with_rows(config: RunConfig, problem: Problem) -> RunConfig:
    """`config` with the record of the rows that `problem` has; raises `ConfigurationMismatch` where it had others."""
    record = problem.data_record()
    check_same_rows(config.label, config.data, record)
    return replace(config, data=record)


def at_its_place_now(
    then: Mapping[str, Any], now: Mapping[str, Any], rows: Mapping[str, Any] | None
) -> tuple[dict[str, Any], str]:
    """The options `then` of a run, whose file may have moved, with its path as in `now`; and what to say of that.

    `rows` is the record of the rows that the run was trained on.  Where the files differ, or where that is not known,
    the options are as they were.
    """
    digest = then.get(SHA256) or ((rows or {}).get("sha256") or {}).get("file")
    if not then.get(DATA) or not now.get(DATA) or digest is None or digest != now.get(SHA256):
        return dict(then), ""
    moved = "" if then[DATA] == now[DATA] else f"{then[DATA]} -> {now[DATA]}"
    return {**then, DATA: now[DATA], SHA256: digest}, moved


def check_file(directory: Path, data: object) -> None:
    """Raises `UsageError` where the file `data`, which the run in `directory` was trained on, is not there any more."""
    if isinstance(data, str) and not os.path.isfile(data):
        where, remedy = "is not there any more", "put it back"
        if not os.path.isabs(data):  # as runs of earlier versions have it
            where, remedy = "can't be found from this folder", "run it from the folder where it was trained"
        # the command line says it in its own way (pynode.cli.as_typed)
        raise UsageError(
            f"{data}, which {directory} was trained on, {where}; {remedy}, or name its new place: repeat its training "
            "with resume=True and the new data"
        )


def check_same_rows(label: str, earlier: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> None:
    """Raises `ConfigurationMismatch`, with the differences, where two records of rows are not of the same rows.

    Only what both of them state is compared: configurations from before there was a record state nothing.
    """
    if different := differences_of_rows(earlier, now):
        raise ConfigurationMismatch(
            f"{label} was trained on other data ({'; '.join(different)}); give the data that the run was trained on, "
            "or choose another --out"
        )
