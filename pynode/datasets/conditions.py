"""Columns that a density is conditioned on: words as classes, numbers standardised."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pynode.datasets.errors import DataError
from pynode.datasets.reading import ColumnNames, HeldColumn, as_texts
from pynode.datasets.splits import Array
from pynode.datasets.text_lines import number
from pynode.errors import InvalidArgument
from pynode.wording import counted

MOST_CLASSES = 100
"""Words of one column that are taken as classes at most."""

ROWS_A_CLASS = 5
"""A column whose words have fewer rows each on average names rows, not classes."""

FEW = 30
"""Training rows below which a user should know that a class has few."""

CODES = 6
"""Whole numbers that follow each other up to which they may be codes of classes."""

DIGITS = (9, 17)
"""Significant digits in which a number of a condition is sought again: the fewest, and those of every float64."""

SHOWN = 12
"""Classes that a message lists at most."""


@dataclass(frozen=True)
class Condition:
    """One column of a condition: its `classes`, or for numbers (no classes) `mean` and `std` over the training rows.

    Columns are called as a `HeldColumn` is.
    """

    number: int
    label: str
    key: str
    name: str
    classes: tuple[str, ...] = ()
    mean: float = 0.0
    std: float = 1.0

    @property
    def width(self) -> int:
        """Columns of the context: one for a number, and one for each class."""
        return len(self.classes) or 1

    @property
    def described(self) -> str:
        """As commands say it: "kind (3 classes: beech, oak, yew)"."""
        if not self.classes:
            return f"{self.key} (a number, {self.mean:.6g} on average)"
        return f"{self.key} ({counted(len(self.classes), 'class', 'classes')}: {_listed(self.classes)})"

    def encode(self, column: HeldColumn, where: Callable[[int], str] = str) -> Array:
        """The context `(rows, width)` of a column; raises `DataError`, with `where(row)`, for what was never seen."""
        if self.classes:
            return self._one_hot(column, where)
        if column.values is None:
            wrong = next(k for k, cell in enumerate(column.cells) if _number(cell) is None)
            raise DataError(
                f"{where(wrong)}, {column.label}: '{column.cells[wrong][:40]}' is not a number, as this condition was "
                "in training; replace it"
            )
        return ((column.values - self.mean) / self.std)[:, None]

    def decode(self, context: Array) -> list[str]:
        """The words, or the numbers as text, of a context `(rows, width)`."""
        if self.classes:
            return [self.classes[k] for k in context.argmax(axis=1)]
        return list(as_texts(self._numbers(context[:, 0])))

    def _numbers(self, context: Array) -> Array:
        """The numbers of a context `(rows,)`: of those that it may stand for the ones with the fewest digits."""
        values = np.asarray(context * self.std + self.mean, dtype=np.float64)
        left = np.arange(len(values))
        for digits in range(DIGITS[0], DIGITS[1] + 1):
            rounded = np.array([float(f"{value:.{digits}g}") for value in values[left].tolist()])
            same = (rounded - self.mean) / self.std == context[left]
            values[left[same]] = rounded[same]
            left = left[~same]
        return values

    def _one_hot(self, column: HeldColumn, where: Callable[[int], str]) -> Array:
        places = {word: k for k, word in enumerate(self.classes)}
        context = np.zeros((len(column.cells), len(places)))
        for row, cell in enumerate(column.cells):
            if cell not in places:
                raise DataError(
                    f"{where(row)}, {column.label}: '{cell[:40]}' is no class that the flow was trained on; "
                    f"it knows {_listed(self.classes)}: remove the row, or train on a table that has this class"
                )
            context[row, places[cell]] = 1.0
        return context


@dataclass(frozen=True)
class Conditions:
    """All columns of a condition, whose contexts stand side by side."""

    columns: tuple[Condition, ...] = ()

    @property
    def width(self) -> int:
        """Columns of the context."""
        return sum(column.width for column in self.columns)

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the columns, or their numbers where they have none."""
        return tuple(column.key for column in self.columns)

    @property
    def described(self) -> str:
        """As commands say it."""
        return "; ".join(column.described for column in self.columns)

    def encode(self, held: Sequence[HeldColumn], where: Callable[[int], str] = str) -> Array:
        """The context `(rows, width)` of `held`, the same columns of a file; raises as `Condition.encode` does."""
        parts = [c.encode(column, where) for c, column in zip(self.columns, held, strict=True)]
        return np.concatenate(parts, axis=1) if parts else np.empty((0, 0))

    @property
    def classes(self) -> dict[str, int]:
        """Which column of the context each word of the first column of classes has; empty without one."""
        start = 0
        for column in self.columns:
            if column.classes:
                return {word: start + k for k, word in enumerate(column.classes)}
            start += column.width
        return {}

    def decode(self, context: Array) -> list[list[str]]:
        """The cells of each column for a context `(rows, width)`."""
        parts = np.split(context, np.cumsum([c.width for c in self.columns])[:-1], axis=1)
        return [c.decode(part) for c, part in zip(self.columns, parts, strict=True)]

    def one(self, option: str, given: Mapping[str, str]) -> Array:
        """The context `(1, width)` of `given` words and numbers; raises `InvalidArgument` unless it has all columns."""
        for name in given:
            if name not in self.keys:
                known = ", ".join(self.keys) or "none"
                raise InvalidArgument(option, repr(name), "no column of the condition", f"it has {known}")
        held = []
        for column in self.columns:
            if column.key not in given:
                raise InvalidArgument(option, ", ".join(given), f"no value for {column.key}", f"add {column.key}=VALUE")
            text = given[column.key]
            value = None if column.classes else _number(text)
            if not column.classes and value is None:
                raise InvalidArgument(option, repr(text), f"{column.key} is a number", "give a number")
            if column.classes and text not in column.classes:
                raise InvalidArgument(option, repr(text), "no class of the training", f"use {_listed(column.classes)}")
            numbers = None if value is None else np.array([value])
            held.append(HeldColumn(column.number, column.label, column.key, column.name, (text,), numbers))
        return self.encode(held)


def fitted(name: str, held: Sequence[HeldColumn], training: Array) -> tuple[Conditions, list[str]]:
    """The conditions that columns `held` of the table `name` are, and what a user should know.

    `training` holds the numbers of the training rows.  Raises `DataError` for columns that never change, words that
    are too many to be classes, single words among numbers, and classes without a training row.
    """
    each, notices = [], list[str]()
    for column in held:
        if column.values is not None:
            each.append(_of_numbers(name, column, training))
            if codes := _may_be_classes(column.values):
                notices.append(
                    f"{column.label} is taken as a number; if its {codes} values name classes, say so "
                    f"(classes={column.key})"
                )
            continue
        each.append(_of_words(name, column, training))
        counts = Counter(column.cells[row] for row in training)
        if few := [word for word in each[-1].classes if counts[word] < FEW]:
            told = ", ".join(f"{word} {counts[word]}" for word in few[:SHOWN])
            notices.append(f"{column.label}: classes of few training rows, whose density is uncertain: {told}")
    return Conditions(tuple(each)), notices


def check_within_classes(
    name: str, rows: Array, columns: ColumnNames, held: Sequence[HeldColumn], conditions: Conditions
) -> None:
    """Raises `DataError` where a column of `rows` `(rows, dim)` has one value in all rows of a class."""
    for column, condition in zip(held, conditions.columns, strict=True):
        words = np.array(column.cells)
        for word in condition.classes:
            part = rows[words == word]
            alike = np.flatnonzero(np.ptp(part, axis=0) == 0)
            if len(part) > 1 and alike.size:
                at = int(alike[0])
                raise DataError(
                    f"{columns.label(at)} of {name} = {part[0, at]:.6g} in all {counted(len(part), 'row')} of the "
                    f"class '{word}' of {column.label}: a constant has no density; leave the column out "
                    f"(drop={columns.keys([at])}), or the rows of this class"
                )


def _of_numbers(name: str, column: HeldColumn, training: Array) -> Condition:
    assert column.values is not None
    values = column.values[training]
    mean, std = float(values.mean()), float(values.std())
    if not math.isfinite(std) or std <= 1e-13 * abs(mean):
        raise DataError(
            f"{column.label} of {name} = {mean:.6g} in every training row: a condition has to change; leave it out of "
            "the condition"
        )
    return Condition(column.number, column.label, column.key, column.name, mean=mean, std=std)


def _may_be_classes(values: Array) -> int:
    """How many whole numbers a column has, if these are few and follow each other, as codes of classes do; else 0."""
    different = np.unique(values)
    follow = bool((different == np.round(different)).all()) and bool((np.diff(different) == 1).all())
    return len(different) if follow and 2 < len(different) <= CODES else 0


def _of_words(name: str, column: HeldColumn, training: Array) -> Condition:
    counts = Counter(column.cells)
    classes, rows = sorted(counts), len(column.cells)
    numbers = sum(_number(cell) is not None for cell in column.cells)
    if len(classes) == 1:
        raise DataError(
            f"{column.label} of {name} is '{classes[0]}' in every row: a condition has to change; leave it out of the "
            "condition"
        )
    if len(classes) > MOST_CLASSES or len(classes) * ROWS_A_CLASS > rows:
        wrong = next(cell for cell in column.cells if _number(cell) is None)
        remedy = (
            f"'{wrong[:40]}' is not a number; replace it"
            if numbers > rows / 2
            else f"leave it out (drop={column.key}), or merge its words into fewer classes"
        )
        raise DataError(
            f"{column.label} of {name} has {counted(len(classes), 'word')} in {counted(rows, 'row')}, too many for "
            f"classes; {remedy}"
        )
    trained = {column.cells[row] for row in training}
    if unseen := [word for word in classes if word not in trained]:
        n = counts[unseen[0]]
        raise DataError(
            f"{column.label} of {name}: '{unseen[0][:40]}' has {counted(n, 'row')}, none of them among the training "
            "rows; remove the class, merge it with another, or add rows of it"
        )
    return Condition(column.number, column.label, column.key, column.name, tuple(classes))


def _number(text: str) -> float | None:
    value = number(text, ".")
    return value if value is not None and math.isfinite(value) else None


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words[:SHOWN]) + (f" and {len(words) - SHOWN} more" if len(words) > SHOWN else "")
