"""Tables of any cells: trajectories that hold together, or a mistake of use in one line; never another exception."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pynode.errors import UsageError
from pynode.trajectories.data import Trajectories
from pynode.trajectories.read import read_series

CELLS = (
    *(
        "",
        "NA",
        "0",
        "1",
        "2",
        "3.5",
        "-999",
        "1e300",
        "inf",
        "-inf",
        "nan",
        "a",
        "oak",
        "2024-01-01",
        "03.04.2024 10:00",
    ),
    *("1/2/2024", "12:30", "23:59", "1,5", "1.234", "1.234,5", '"x"', "10 min", "5%", "Jan 2004", "2004Q1", "20240131"),
    *(
        "1732786800000",
        "360",
        "359",
        "true",
        "<5",
        "#c",
        "99999",
        "-",
        ".",
        "٣",
        "1_000",
        "0x10",
        "  ",
        "930",
        "45292.5",
    ),
)
NAMES = (
    "t",
    "time",
    "date",
    "id",
    "x",
    "y",
    "dose",
    "",
    "rownames",
    "Subject",
    "year",
    "month",
    "day",
    "wind_dir",
    "1",
)
COUNTS = st.integers(1, 5).flatmap(lambda step: st.lists(st.just(step), min_size=12, max_size=12)).map(
    lambda steps: [str(n * step) for n, step in enumerate(steps)]
)  # fmt: skip
COLUMNS = st.one_of(
    COUNTS,
    st.lists(st.sampled_from(CELLS), min_size=12, max_size=12),
    st.lists(st.floats(-1e3, 1e3).map(lambda v: f"{v:.3f}"), min_size=12, max_size=12),
    st.lists(st.integers(0, 360).map(str), min_size=12, max_size=12),
    st.lists(st.sampled_from("ab"), min_size=12, max_size=12).map(sorted),
    st.just([f"2024-01-{n + 1:02d}" for n in range(12)]),
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "time": st.sampled_from(("1", "2", "t", "1,2")),
        "id": st.sampled_from(("1", "2", "id", "1,2")),
        "values": st.sampled_from((("1",), ("2", "3"), ("x",))),
        "inputs": st.sampled_from((("1",), ("3",))),
        "covariates": st.sampled_from((("2",), ("none",))),
        "circular": st.sampled_from((("2",), ("3:24",))),
        "decimal": st.sampled_from((".", ",")),
        "header": st.booleans(),
    },
)


def check(result: Trajectories) -> None:
    """Shapes, order and finite numbers, and times that come back from their text."""
    assert result.each
    for trajectory in result.each:
        n = len(trajectory.times)
        assert n >= 1
        assert (np.diff(trajectory.times) > 0).all()
        assert np.isfinite(trajectory.times).all()
        assert trajectory.values.shape == (n, len(result.values))
        assert np.isfinite(trajectory.values).any(axis=1).all()
        assert not np.isinf(trajectory.values).any()
        assert trajectory.covariates.shape == (len(result.covariates),)
        assert len(trajectory.inputs) == len(result.inputs) == len(result.input_kinds)
        for one in trajectory.inputs:
            assert (np.diff(one.times) > 0).all()
            assert np.isfinite(one.values).all()
        again = result.axis.parse(result.axis.text(float(trajectory.times[0])))
        assert again == pytest.approx(trajectory.times[0], rel=1e-9, abs=1e-5)


@settings(max_examples=150, deadline=None)
@given(
    columns=st.lists(COLUMNS, min_size=1, max_size=5),
    rows=st.integers(0, 12),
    names=st.lists(st.sampled_from(NAMES), min_size=5, max_size=5),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    options=OPTIONS,
)
def test_any_table(
    tmp_path_factory: pytest.TempPathFactory,
    columns: list[list[str]],
    rows: int,
    names: list[str],
    delimiter: str,
    options: dict[str, Any],
) -> None:
    """Read, or refused in one line."""
    path: Path = tmp_path_factory.mktemp("any") / "t.csv"
    lines = [delimiter.join(names[: len(columns)])]
    lines += [delimiter.join(column[row] for column in columns) for row in range(rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    refusal = ""
    try:
        check(read_series(path, **options))
    except UsageError as error:
        refusal = str(error)
    assert "\n" not in refusal
