"""How tables and figures call a problem on rows: a part of a published set, and synthetic rows, are named as such."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


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


def problem_title(config: Mapping[str, Any]) -> str:
    """The problem of a run's configuration with that mark: "power (part: 2.1 % of rows)", "spiral"."""
    return marked(str(config["problem"]), data_mark(config))


def marked(name: str, mark: str) -> str:
    """`name` with the mark, where there is one."""
    return f"{name} ({mark})" if mark else name


def _percent(share: float) -> str:
    """One decimal; two digits below 1; a part is never 100."""
    return f"{min(share, 99.9):.1f}" if share >= 1 else f"{share:.2g}"
