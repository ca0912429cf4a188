"""The rows that a run on a table is trained on: recorded at its start, and the same for as long as it goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pynode.errors import ConfigurationMismatch

if TYPE_CHECKING:
    from pynode.problems.base import Problem
    from pynode.training.config import RunConfig

COMPARED = ("name", "rows", "sha256", "synthetic")
"""Entries of a record that decide the numbers of a run; the others say what is published of the set."""


def with_rows(config: RunConfig, problem: Problem) -> RunConfig:
    """`config` with the record of the rows that `problem` has; raises `ConfigurationMismatch` where it had others."""
    record = problem.data_record()
    check_same_rows(config.label, config.data, record)
    return replace(config, data=record)


def check_same_rows(label: str, earlier: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> None:
    """Raises `ConfigurationMismatch`, with the differences, where two records of rows are not of the same rows.

    Only what both of them state is compared: configurations from before there was a record state nothing.
    """
    if earlier is None or now is None:
        return
    then, today = dict(_entries(earlier)), dict(_entries(now))
    different = [f"{key}: {then[key]} -> {today[key]}" for key in then if key in today and then[key] != today[key]]
    kinds = ["synthetic rows" if "synthetic" in entries else "measured rows" for entries in (then, today)]
    if kinds[0] != kinds[1]:
        different.append(" -> ".join(kinds))
    if different:
        raise ConfigurationMismatch(
            f"{label} was trained on other data ({'; '.join(different)}); give the data that the run was trained on, "
            "or choose another --out"
        )


def _entries(record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names and values of a record: `rows.train` and the like."""
    for key in COMPARED:
        value = record.get(key)
        if isinstance(value, Mapping):
            yield from ((f"{key}.{part}", _short(entry)) for part, entry in value.items())
        elif value is not None:
            yield key, value


def _short(value: Any) -> Any:
    """The first digits of a digest."""
    return f"{value[:12]}..." if isinstance(value, str) and len(value) > 12 else value
