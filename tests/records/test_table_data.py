"""How tables and figures call a problem by the rows that it was trained on."""

from __future__ import annotations

from typing import Any

import pytest

from pynode.records.table_data import MIXED, are_mixed, common_mark, data_mark, differences_of_rows, problem_title

PUBLISHED = {"train": 1_659_917, "validation": 184_435, "test": 204_928}


def config(rows: tuple[int, int, int], published: Any = PUBLISHED, **more: Any) -> dict[str, Any]:
    """The configuration of a run on so many rows."""
    counted = dict(zip(("train", "validation", "test"), rows, strict=True))
    data = {"name": "power", "rows": counted, "published_rows": published, "whole": published and counted == published}
    return {"problem": "power", "data": {**data, **more}}


@pytest.mark.parametrize(
    ("run", "title"),
    [
        ({"problem": "spiral"}, "spiral"),
        ({"problem": "power", "data": None}, "power"),
        (config((1_659_917, 184_435, 204_928)), "power"),
        (config((100, 10, 10), None), "power"),
        (config((34_360, 3_817, 4_242)), "power (part: 2.1 % of rows)"),
        (config((810, 90, 100)), "power (part: 0.049 % of rows)"),
        (config((1_659_917, 184_435, 204_927)), "power (part: 99.9 % of rows)"),
        (config((1_659_917, 184_436, 204_928)), "power (other rows than published)"),
        (config((100, 10, 10), None, synthetic="a generator"), "power (synthetic)"),
    ],
)
def test_titles(run: dict[str, Any], title: str) -> None:
    assert problem_title(run) == title
    assert (data_mark(run) == "") == (title == run["problem"])


def test_runs_on_different_rows_are_mixed() -> None:
    """By all entries that decide the numbers; a run that states nothing is not told from the others."""
    part = config((34_360, 3_817, 4_242), sha256={"train": "a" * 64})
    other = {**part, "data": {**part["data"], "sha256": {"train": "b" * 64}}}
    for same in ([part, part, {"problem": "power"}], [{"problem": "power"}, part]):
        assert common_mark(same) == data_mark(part)
    assert common_mark([part, {"problem": "power"}, other]) == MIXED
    assert not are_mixed([part, dict(part)])
    assert differences_of_rows(part["data"], other["data"]) == [f"sha256.train: {'a' * 12}... -> {'b' * 12}..."]
    assert common_mark([]) == ""
