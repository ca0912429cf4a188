"""The rows that a run on a table is trained on: recorded at its start, and the same for as long as it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pynode.errors import ConfigurationMismatch
from pynode.records.table_data import differences_of_rows

if TYPE_CHECKING:
    from pynode.problems.base import Problem
    from pynode.training.config import RunConfig


def with_rows(config: RunConfig, problem: Problem) -> RunConfig:
    """`config` with the record of the rows that `problem` has; raises `ConfigurationMismatch` where it had others."""
    record = problem.data_record()
    check_same_rows(config.label, config.data, record)
    return replace(config, data=record)


def check_same_rows(label: str, earlier: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> None:
    """Raises `ConfigurationMismatch`, with the differences, where two records of rows are not of the same rows.

    Only what both of them state is compared: configurations from before there was a record state nothing.
    """
    if different := differences_of_rows(earlier, now):
        raise ConfigurationMismatch(
            f"{label} was trained on other data ({'; '.join(different)}); give the data that the run was trained on, "
            "or choose another --out"
        )
