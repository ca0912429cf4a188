"""Columns without a density are refused by name or filled with noise; rounded measurements are accepted."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from pynode.datasets.columns import Filled, Repetition, check_columns, resolution
from pynode.datasets.errors import DataError
from pynode.datasets.reading import ColumnNames
from pynode.datasets.splits import Array
from pynode.datasets.tables import split_and_standardise
from pynode.errors import InvalidArgument

N = 1000
Column = Callable[[np.random.Generator, Array], Array]
"""Columns made from a generator and the two independent ones before them."""


def table(make: Column, n: int = N) -> Array:
    """Two columns of normal numbers, and those of `make`."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(n, 2))
    return np.column_stack((x, make(generator, x)))


REFUSED: dict[str, tuple[Column, str]] = {
    # steps
    "classes": (lambda g, x: g.integers(0, 5, N), r"column 3 has 5 different integers, .*\(dequantise=3\)"),
    "counts": (lambda g, x: g.poisson(3, N), r"column 3 has 10 different integers, and 23 % of the rows hold 2"),
    "large counts": (lambda g, x: g.poisson(100, N), r"column 3 has 63 different integers"),
    "ages": (lambda g, x: g.integers(18, 90, N), r"column 3 has 72 different integers"),
    "truth values": (lambda g, x: g.random(N) < 0.5, r"column 3 has 2 different integers"),
    "tags": (lambda g, x: 1.0865 * g.integers(0, 3, N), r"column 3 has 3 different values, .*drop=3\).*dequantise=3"),
    "coarse steps": (lambda g, x: np.round(x[:, 0] ** 2 * 2) / 4, r"column 3 has \d+ different values"),
    "dry days": (
        lambda g, x: np.where(g.random(N) < 0.3, 0, g.gamma(2, size=N)),
        "29 % of the rows hold 0: .*, or the rows that share a value",
    ),
    "one-hot": (lambda g, x: np.eye(3)[g.integers(0, 3, N)], r"columns 3, 4, 5 are one-hot: .*drop=3,4,5"),
    "two of them": (lambda g, x: g.integers(0, 3, (N, 2)), r"column 3 has 3 .*; column 4 has 3 .*dequantise=3,4\)"),
    # copies and combinations
    "copy": (lambda g, x: x[:, 1], r"column 3 repeats column 2: .*drop=3"),
    "copy in single precision": (lambda g, x: x[:, 1].astype("f4"), "column 3 is column 2 in another unit"),
    "other unit": (lambda g, x: 273.15 + 1.8 * x[:, 0], "column 3 is column 1 in another unit"),
    "opposite": (lambda g, x: -x[:, 0], "column 3 is column 1 in another unit"),
    "sum": (lambda g, x: x.sum(1), "column 3 is a linear combination of columns 1, 2"),
    "shares": (lambda g, x: 1 - 0.3 * x[:, 0] + 5 * x[:, 1], "column 3 is a linear combination of columns 1, 2"),
    "sum of rounded": (lambda g, x: np.round(x.sum(1), 3), "column 3 is a linear combination of columns 1, 2"),
    "two copies": (lambda g, x: x, "column 3 repeats column 1; column 4 repeats column 2: .*drop=3,4"),
    # counters
    "index": (lambda g, x: np.arange(N), r"column 3 of table counts the rows, as an index does: .*drop=3.*index=keep"),
    "index from 1": (lambda g, x: np.arange(1, N + 1), "column 3 of table counts the rows"),
    "numbers of customers": (lambda g, x: np.arange(1001, 1001 + N), "column 3 of table counts the rows"),
    "constant": (lambda g, x: np.full(N, 7.5), "column 3 of table = 7.5 in every row"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_columns_without_a_density(case: str) -> None:
    make, message = REFUSED[case]
    with pytest.raises(DataError, match=message) as caught:
        split_and_standardise(table(make))
    assert "\n" not in str(caught.value)


ACCEPTED: dict[str, Column] = {
    "two decimals": lambda g, x: np.round(g.normal(size=N), 2),
    "one decimal": lambda g, x: np.round(20 + 5 * g.normal(size=N), 1),
    "one decimal of little spread": lambda g, x: np.round(g.normal(size=N), 1),
    "prices": lambda g, x: np.round(np.exp(g.normal(3, 1, N)), 2),
    "integers of a wide range": lambda g, x: g.integers(0, 10**6, N),
    "readings of a converter": lambda g, x: np.round(300 * g.normal(size=N)),
    "single precision": lambda g, x: g.normal(size=N).astype("f4"),
    "some zeros": lambda g, x: np.where(g.random(N) < 0.1, 0, g.gamma(2, size=N)),
    "near another": lambda g, x: x[:, 0] + 1e-3 * g.normal(size=N),
    "curved": lambda g, x: x[:, 0] ** 2,
    "product": lambda g, x: x[:, 0] * x[:, 1],
    "large offset": lambda g, x: 1e6 + g.normal(size=N),
    "small": lambda g, x: 1e-9 * g.normal(size=N),
    "heavy tails": lambda g, x: g.standard_cauchy(N),
    "shuffled index": lambda g, x: g.permutation(N),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_columns_with_a_density(case: str) -> None:
    rows = table(ACCEPTED[case])
    splits = split_and_standardise(rows)
    assert splits.units is None
    order = np.random.default_rng(0).permutation(N)
    np.testing.assert_allclose(splits.train, ((rows - splits.mean) / splits.std)[order[:810]], rtol=1e-5, atol=1e-6)


def test_names_are_those_of_the_file() -> None:
    """Here column 1 of the file is left out already; a name that holds a comma can't be an option."""
    columns = ColumnNames((2, 3, 4, 5), ("a", "b", "a,b", "n"))
    rows = table(lambda g, x: np.column_stack((x[:, 0], g.integers(0, 3, N))))
    with pytest.raises(DataError, match=r"column 5 \('n'\) has 3 different integers, .*drop=n\).*dequantise=n\)"):
        split_and_standardise(rows, columns=columns)
    with pytest.raises(DataError, match=r"column 4 \('a,b'\) repeats column 2 \('a'\): .*drop=4\)"):
        split_and_standardise(rows, columns=columns, dequantise=("n",))


@pytest.mark.parametrize("dequantise", [("auto",), ("3", "4", "5")])
def test_dequantised(dequantise: tuple[str, ...]) -> None:
    """Uniform noise of one unit, the same each time; samples are rounded down to the steps of the file."""
    rows = table(
        lambda g, x: np.column_stack((g.poisson(3, N), -0.5 * g.integers(2, 5, N), 1.0865 * g.integers(0, 3, N)))
    )
    splits, again = (split_and_standardise(rows, dequantise=dequantise) for _ in range(2))
    np.testing.assert_array_equal(splits.train, again.train)
    assert splits.units is not None
    np.testing.assert_allclose(splits.units, [0, 0, 1, 0.5, 1.0865], rtol=1e-12)
    order = np.random.default_rng(0).permutation(N)[:810]
    noisy = splits.train.astype(float) * splits.std + splits.mean
    noise = (noisy[:, 2:] - rows[order, 2:]) / splits.units[2:]
    assert noise.min() > -1e-5
    assert noise.max() < 1 + 1e-5
    np.testing.assert_allclose(noise.mean(axis=0), 0.5, atol=0.04)
    np.testing.assert_allclose(noise.var(axis=0), 1 / 12, atol=0.01)
    assert np.abs(np.corrcoef(noise.T) - np.eye(3)).max() < 0.15
    back = splits.unstandardised(splits.train)
    np.testing.assert_allclose(back[:, :2], rows[order, :2], atol=1e-6)
    assert (np.abs(back[:, 2:] - rows[order, 2:]) < 1e-9).mean() > 0.999  # float32 may cross a step


def test_the_log_determinant_is_that_of_the_noisy_rows() -> None:
    """A density known in the units of the file: uniform over six steps of 0.5, three of noise and spread apart."""
    rows = table(lambda g, x: 0.5 * g.integers(0, 6, N))
    splits = split_and_standardise(rows, dequantise=("3",))
    stored_density = -np.log(3.0) + np.log(splits.std[2])  # type: ignore[index]
    normal = -np.log(splits.std[:2]).sum()  # type: ignore[index]
    assert splits.log_density_offset + stored_density == pytest.approx(-np.log(3.0) + normal, abs=1e-12)
    assert splits.std[2] == pytest.approx(3 / np.sqrt(12), rel=0.03)  # type: ignore[index]


def test_noise_of_a_column_does_not_depend_on_the_others() -> None:
    rows = table(lambda g, x: np.column_stack((g.poisson(3, N), g.poisson(4, N))))
    both = split_and_standardise(rows, dequantise=("3", "4"))
    alone = split_and_standardise(rows[:, [0, 1, 3]], columns=ColumnNames.unnamed(4).without([2]), dequantise=("4",))
    np.testing.assert_array_equal(both.train[:, 3], alone.train[:, 2])
    other = split_and_standardise(rows, dequantise=("3", "4"), seed=1)
    assert other.train.shape == both.train.shape
    assert not np.array_equal(other.train, both.train)


@pytest.mark.parametrize(
    ("wanted", "error", "message"),
    [
        (("1",), DataError, "column 1 of table can't be dequantised: its values are not multiples of a unit"),
        (("5",), InvalidArgument, "dequantise = '5': no column of the table"),
        (("n",), InvalidArgument, "dequantise = 'n': no column of the table"),
    ],
)
def test_what_can_not_be_dequantised(wanted: tuple[str, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        split_and_standardise(table(lambda g, x: g.poisson(3, N)), dequantise=wanted)


@pytest.mark.parametrize(
    ("times", "message"), [(1, None), (2, "500 of 1,000 rows are copies of other rows"), (10, "900 of 1,000 rows")]
)
def test_repeated_rows_are_told(times: int, message: str | None) -> None:
    """They are no error: a sample may be drawn with replacement."""
    rows = np.tile(table(lambda g, x: g.normal(size=N // times), N // times), (times, 1))
    notices = check_columns("table", Filled(rows), ColumnNames.unnamed(3))
    assert len(notices) == (message is not None)
    assert message is None or message in notices[0]


@pytest.mark.parametrize("n", [5, 8, 12])
def test_fewer_rows_than_columns(n: int) -> None:
    rows = np.random.default_rng(0).normal(size=(n, n))
    with pytest.raises(DataError, match=f"table has {n} rows for {n} columns"):
        split_and_standardise(rows, fractions=(0.4, 0.4))


def test_an_index_can_be_kept() -> None:
    rows = table(lambda g, x: np.arange(N))
    assert split_and_standardise(rows, index="keep").train.shape == (810, 3)


@pytest.mark.parametrize(
    ("values", "unit"),
    [
        ([0, 1, 2, 5], 1.0),
        ([0, 5, 10, 25], 5.0),
        ([-3, 3], 6.0),
        ([0.1, 0.3, 0.7], 0.2),
        ([20.25, 20.5, 21], 0.25),
        ([1.001, 1.002, 7.5], 0.001),
        (np.array([0.216, 0.214, 3.2], dtype=np.float32), 0.002),
        (np.array([241.31, 242.1, 250.02], dtype=np.float32), 0.01),
        ([0, 1.0865381, 2.1730762], 1.0865381),
        ([0, 1 / 3, 2 / 3, 2], 1 / 3),
        ([1e6, 1e6 + 1], 1.0),
        ([0, np.pi, 1], None),
        (np.random.default_rng(0).normal(size=100), None),
        (np.random.default_rng(0).normal(size=100).astype("f4"), None),
        ([2.5], None),
    ],
)
def test_resolution(values: Array | list[float], unit: float | None) -> None:
    assert resolution(np.asarray(values)) == (None if unit is None else pytest.approx(unit, rel=1e-6))


def test_a_notice_says_what_was_seen_and_what_was_done() -> None:
    """Of a column of steps, of one with a value that repeats alone, and of a rare one."""
    generator = np.random.default_rng(0)
    rows = np.stack([np.round(generator.normal(size=1000), 1), generator.normal(size=1000)], axis=1)
    rows[:40, 1] = 2.28
    steps, spike, *_ = check_columns("t.csv", Filled(rows), ColumnNames((1, 2), ("speed", "")))
    assert re.fullmatch(
        r"column 1 \('speed'\) is used as it is, but its values repeat: it has \d+ different values, and \d "
        r"% of the rows hold -?[\d.]+; a flow .*; add noise between its steps if it does \(dequantise=speed\)",
        steps,
    )
    assert "it has 961 different values, and 4 % of the rows hold 2.28;" in spike
    assert spike.endswith("leave the column out if it does (drop=2)")
    assert str(Repetition(500, 1e-4, 7.0, 0.004, whole=True)) == (
        "500 different integers, and less than 1 % of the rows hold 7"
    )
