"""The recorded rows of a problem on a table: whether two runs had the same ones, and how tables and figures call it.

A part of a published set, synthetic rows, and runs that were not all trained on the same rows are named as such.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from typing import Any

COMPARED = ("name", "rows", "sha256", "synthetic")
"""Entries of a record that decide the numbers of a run; the others say what is published of the set."""

MIXED = "mixed rows"


def data_mark(config: Mapping[str, Any]) -> str:
    """What has to be said of the rows of a run's configuration; see `mark_of`."""
    return mark_of(config.get("data"))


def mark_of(data: Mapping[str, Any] | None) -> str:
    """What has to be said of recorded rows: "part: 2.1 % of rows", "synthetic", or ""."""
    if not data:
        return ""
    if data.get("synthetic"):
        return "synthetic"
    published = data.get("published_rows")
    if not published or data.get("whole"):
        return ""
    share = 100 * sum(data["rows"].values()) / sum(published.values())
    return "other rows than published" if share >= 100 else f"part: {_percent(share)} % of rows"


def common_mark(configs: Iterable[Mapping[str, Any]]) -> str:
    """What has to be said of the rows of several configurations: "mixed rows" where they are not the same ones."""
    every = list(configs)
    if are_mixed(every):
        return MIXED
    return next((mark for config in every if (mark := data_mark(config))), "")


def are_mixed(configs: Iterable[Mapping[str, Any]]) -> bool:
    """Whether two of these configurations are of runs on different rows."""
    records: list[Mapping[str, Any]] = []
    for config in configs:
        data = config.get("data")
        if data is not None and data not in records:
            records.append(data)
    return any(differences_of_rows(a, b) for a, b in combinations(records, 2))


def problem_title(config: Mapping[str, Any]) -> str:
    """The problem of a run's configuration with that mark: "power (part: 2.1 % of rows)", "spiral"."""
    return marked(str(config["problem"]), data_mark(config))


def marked(name: str, mark: str) -> str:
    """`name` with the mark, where there is one."""
    return f"{name} ({mark})" if mark else name


def differences_of_rows(earlier: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> list[str]:
    """In what two records are of different rows: "rows.train: 61 -> 60"; empty where they are of the same.

    Only what both of them state is compared: configurations from before there was a record state nothing.
    """
    if earlier is None or now is None:
        return []
    then, today = dict(_entries(earlier)), dict(_entries(now))
    different = [f"{key}: {then[key]} -> {today[key]}" for key in then if key in today and then[key] != today[key]]
    kinds = ["synthetic rows" if "synthetic" in entries else "measured rows" for entries in (then, today)]
    if kinds[0] != kinds[1]:
        different.append(" -> ".join(kinds))
    return different


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


def _percent(share: float) -> str:
    """One decimal; two digits below 1; a part is never 100."""
    return f"{min(share, 99.9):.1f}" if share >= 1 else f"{share:.2g}"
