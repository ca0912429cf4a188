"""Codes of missing values in tables of rows: said where they are read as numbers, left out on request."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pynode.datasets.reading import Reading
from pynode.datasets.tables import read_table

COLUMN = np.round(np.random.default_rng(0).normal(size=40), 4)


@pytest.fixture(params=["csv", "npy"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A table of two columns with -999 in rows 3 and 8, from 1."""
    rows = np.stack((COLUMN, COLUMN**2 + 1), axis=1)
    rows[[2, 7], 1] = -999.0
    target = tmp_path / f"table.{request.param}"
    if request.param == "npy":
        np.save(target, rows)
    else:
        target.write_text("a,b\n" + "".join(f"{a:.4f},{b:.6f}\n" for a, b in rows))
    return target


def test_codes_are_said(path: Path) -> None:
    table = read_table(path)
    (notice,) = [notice for notice in table.notices if "-999" in notice]
    place = "line 4" if path.suffix == ".csv" else "row 3"
    assert f"-999 in 2 cells (first in {place}) lies far outside the rest; it is read as a number" in notice
    assert "(missing=drop)" in notice
    assert table.rows[2, 1] == -999


def test_rows_with_codes_are_left_out_with_other_missing_ones(path: Path) -> None:
    table = read_table(path, Reading(missing="drop"))
    assert len(table.rows) == 38
    assert table.rows.min() > -10
    assert any("2 rows with such codes are left out" in notice for notice in table.notices)
    np.testing.assert_allclose(table.rows[2, 0], COLUMN[3])
    assert table.place(2) == ("line 5" if path.suffix == ".csv" else "row 4")


def test_the_condition_follows_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    words = ["oak", "yew"] * 20
    cells = ["-999" if n in (2, 7) else f"{value:.4f}" for n, value in enumerate(COLUMN)]
    path.write_text("kind,a\n" + "".join(f"{w},{cell}\n" for w, cell in zip(words, cells, strict=True)))
    table = read_table(path, Reading(missing="drop", condition=("kind",)))
    assert table.held[0].cells == tuple(word for n, word in enumerate(words) if n not in (2, 7))


def test_numbers_far_outside_that_are_no_codes(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a\n" + "".join(f"{'-1234' if n in (2, 7) else value}\n" for n, value in enumerate(COLUMN)))
    assert read_table(path, Reading(missing="drop")).rows.min() == -1234
