"""Labels: for every number of a traced tensor, where it comes from.

A label is an integer made of a source, a sample and a column.  Sources are registers of the tape (>= 0), values of the
preparation (below 0), and the pool of literal numbers.  A negative label is a number that can't be captured; it stands
for a reason.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

COLUMN_BITS, SAMPLE_BITS = 28, 14
SAMPLE_SHIFT, SOURCE_SHIFT = COLUMN_BITS, COLUMN_BITS + SAMPLE_BITS
ZERO_SOURCE = 1 << 19
"""What is added to a source, so that labels are never negative."""
COLUMN_MASK, SAMPLE_MASK = (1 << COLUMN_BITS) - 1, ((1 << SAMPLE_BITS) - 1) << SAMPLE_SHIFT
LITERALS = -ZERO_SOURCE
"""The source of literal numbers, whose columns are places in the tracer's pool."""
MOST_COLUMNS = 1 << COLUMN_BITS


def label(source: int, columns: Tensor, samples: Tensor | None = None) -> Tensor:
    """Labels of these `columns` (and `samples`, which must broadcast with them) of one source."""
    labels = columns + ((source + ZERO_SOURCE) << SOURCE_SHIFT)
    return labels if samples is None else labels + (samples << SAMPLE_SHIFT)


def poison(reason: int, shape: tuple[int, ...]) -> Tensor:
    """Labels of numbers that can't be captured, for reason number `reason`."""
    return torch.full(shape, -1 - reason, dtype=torch.int64)


def sources(labels: Tensor) -> Tensor:
    """The source of each label, which must not be poison."""
    return (labels >> SOURCE_SHIFT) - ZERO_SOURCE


def samples(labels: Tensor) -> Tensor:
    """The sample of each label; 0 where the source is no register of the state."""
    return (labels & SAMPLE_MASK) >> SAMPLE_SHIFT


def columns(labels: Tensor) -> Tensor:
    """The column of each label."""
    return labels & COLUMN_MASK


def without_samples(labels: Tensor) -> Tensor:
    """Labels that are the same for all samples."""
    return labels & ~SAMPLE_MASK


class Rows(NamedTuple):
    """How the numbers of a tensor lie: (before, samples, behind); a row is what one sample has, before by behind.

    Where the tensor does not depend on the sample, the middle is 1.
    """

    before: int
    n_samples: int
    behind: int

    @property
    def columns(self) -> int:
        """Numbers of one sample."""
        return self.before * self.behind

    def rows(self, values: Tensor) -> Tensor:
        """`values`, of a tensor that lies like this, as `(samples, columns)`."""
        return values.reshape(self.before, self.n_samples, self.behind).transpose(0, 1).reshape(self.n_samples, -1)

    def tensor(self, rows: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The inverse of `rows`."""
        parts = rows.reshape(self.n_samples, self.before, self.behind).transpose(0, 1)
        return parts.reshape(shape)


def arrange(operands: list[Tensor], state: list[Tensor], n_samples: int, *, repeats: bool) -> Rows | None:
    """How numbers lie that depend on `operands` (labels of one shape); None where they couple samples.

    `state` marks the numbers of each operand that depend on the sample.  With `repeats`, what does not depend on the
    sample but has a row for each is taken as one row.
    """
    n = operands[0].numel()
    none = torch.full((n,), -1)
    sample = none
    for labels, depends in zip(operands, state, strict=True):
        own = torch.where(depends.reshape(-1), samples(labels).reshape(-1), none)
        if bool(((own >= 0) & (sample >= 0) & (own != sample)).any()):
            return None
        sample = torch.maximum(sample, own)
    depends_on_sample = bool((sample >= 0).any())
    if not depends_on_sample and not repeats:
        return Rows(1, 1, n)
    if n % n_samples:
        return None if depends_on_sample else Rows(1, 1, n)
    rest = n // n_samples
    plain = [without_samples(labels).reshape(-1) for labels in operands]
    for before in (d for d in range(1, rest + 1) if rest % d == 0):
        rows = Rows(before, n_samples, rest // before)
        by_sample = rows.rows(sample)
        expected = torch.arange(n_samples)[:, None]
        if bool(((by_sample != expected) & (by_sample >= 0)).any()):
            continue
        if all(bool((r == r[:1]).all()) for r in map(rows.rows, plain)):
            return rows
    return None if depends_on_sample else Rows(1, 1, n)
