"""What rules are made of: labels of operands, and registers for what is computed with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pynode.reads import memory_of
from pynode.tapes.operations import STATE
from pynode.tapes.tracing import labels as lb
from pynode.tapes.tracing.builder import Builder
from pynode.tapes.tracing.labels import LITERALS, Rows, arrange, label
from pynode.tapes.tracing.rules import Unsupported


class Writer:
    """Labels of tensors, and a tape that is written for them; `reasons` are those that poisoned labels stand for."""

    def __init__(self, builder: Builder, n_samples: int) -> None:
        super().__init__()
        self.builder, self.n_samples = builder, n_samples
        self.reasons: list[tuple[str, str]] = []
        self._labels: dict[int, Tensor] = {}  # of each storage that holds numbers of floating point, or masks

    # --- labels of tensors ---

    def is_labelled(self, x: Tensor) -> bool:
        """Whether `x` depends on t, y or tensors of the module, or is a floating point constant."""
        return memory_of(x) in self._labels

    def labels(self, x: Tensor) -> Tensor:
        """The labels of `x`, a view of those of its storage."""
        return self._labels[memory_of(x)].as_strided(x.size(), x.stride(), x.storage_offset())

    def literal_labels(self, x: Tensor) -> Tensor:
        """Labels of the numbers that `x` has now."""
        if x.is_meta:
            raise Unsupported("it computes with forward-mode derivatives, which can't be followed")
        values, inverse = torch.unique(x.detach().double().reshape(-1), return_inverse=True)
        places = torch.tensor([self.builder.literal(v) for v in values.tolist()], dtype=torch.int64)
        return label(LITERALS, places[inverse]).reshape(x.shape)

    # --- what rules are made of ---

    def operand(self, x: Any, shape: Sequence[int]) -> Tensor:
        """The labels of a tensor or number, broadcast to `shape`."""
        if isinstance(x, Tensor):
            if not self.is_labelled(x):
                return self.literal_labels(x).expand(tuple(shape))
            own = self.labels(x)
            if bool((own < 0).any()):
                raise Unsupported(*self.reasons[-1 - int(own.min())][:1])
            return own.expand(tuple(shape))
        places = torch.tensor(self.builder.literal(float(x)))
        return label(LITERALS, places).expand(tuple(shape))

    def arranged(self, operands: list[Tensor]) -> Rows:
        """How the numbers lie that depend on `operands`, labels of one shape."""
        rows = arrange(operands, [self.depends_on_state(o) for o in operands], self.n_samples, repeats=True)
        if rows is None:
            raise Unsupported("it couples the samples of a batch")
        return rows

    def depends_on_state(self, own: Tensor) -> Tensor:
        """Which of these labels are of registers of the state."""
        kinds = lb.sources(own)
        used = [k for k in torch.unique(kinds).tolist() if k >= 0 and self.builder.layer_of(k) == STATE]
        return torch.isin(kinds, torch.tensor(used, dtype=torch.int64))

    def columns_of(self, own: Tensor, rows: Rows) -> Tensor:
        """The labels of one sample's columns, whichever it is."""
        return lb.without_samples(rows.rows(own)[0])

    def elementwise(self, shape: Sequence[int], operands: list[Any], make: Callable[..., int | None]) -> Tensor:
        """Labels of a tensor of that shape, elementwise in `operands`; `make(inputs, columns)` gives the register."""
        own = [self.operand(x, shape) for x in operands]
        rows = self.arranged(own)
        inputs = [self.input(self.columns_of(o, rows)) for o in own]
        register = make(inputs, rows.columns)
        assert register is not None
        return self.result(register, rows, tuple(shape))

    def result(self, register: int, rows: Rows, shape: tuple[int, ...]) -> Tensor:
        """Labels of a tensor that lies like `rows` and has the columns of `register` (or the only one throughout)."""
        width = self.builder.width_of(register)
        columns = torch.arange(rows.columns) if width == rows.columns else torch.zeros(rows.columns, dtype=torch.int64)
        each = columns.expand(rows.n_samples, -1)
        if register < 0:
            constant = self.builder.constants[~register]
            return rows.tensor(label(-1 - constant.value, each), shape)
        which = torch.arange(rows.n_samples)[:, None] if self.builder.layer_of(register) == STATE else None
        return rows.tensor(label(register, each, which), shape)

    def input(self, columns: Tensor) -> int:
        """The register or constant that has these columns (or the one that all of them are)."""
        width = len(columns)
        if width > 1 and bool((columns == columns[0]).all()):
            return self.input(columns[:1])
        kinds = lb.sources(columns)
        first = int(kinds[0])
        if bool((kinds < 0).all()):
            return self.builder.row(columns)
        if bool((kinds == first).all()):
            whole = self.builder.width_of(first) == width
            if whole and bool((lb.columns(columns) == torch.arange(width)).all()):
                return first
        return self.moved(width, torch.arange(width), columns)

    def number(self, columns: Tensor) -> float | None:
        """The number that all these columns are, None where they are none."""
        first = int(columns[0])
        if int(lb.sources(columns[:1])) == LITERALS and bool((columns == first).all()):
            return self.builder.literals[first & lb.COLUMN_MASK]
        return None

    def moved(self, width: int, to: Tensor, columns: Tensor) -> int:
        """The register of `width` columns where column `to[i]` is the sum of all `columns[i]` with that target."""
        kinds = lb.sources(columns)
        places = lb.columns(columns)
        if bool((kinds == LITERALS).any()):
            zero = self.builder.literal(0.0)
            kept = ~((kinds == LITERALS) & (places == zero))
            to, columns, kinds, places = to[kept], columns[kept], kinds[kept], places[kept]
        inputs: list[int] = []
        runs: list[tuple[int, int, int, int, int, int]] = []
        fixed = kinds < 0
        if bool(fixed.any()):
            own = columns[fixed]
            inputs.append(self.builder.row(own))
            runs += runs_of(0, torch.arange(len(own)), to[fixed])
        for source in torch.unique(kinds[~fixed]).tolist():
            here = kinds == source
            runs += runs_of(len(inputs), places[here], to[here])
            inputs.append(source)
        if not inputs:
            inputs.append(self.builder.row(label(LITERALS, torch.tensor([self.builder.literal(0.0)]))))
        return self.builder.operation("move", tuple(inputs), width, runs=tuple(runs))


def runs_of(source: int, places: Tensor, to: Tensor) -> list[tuple[int, int, int, int, int, int]]:
    """Runs that add `places` of a source to the columns `to`."""
    runs: list[tuple[int, int, int, int, int, int]] = []
    start, n = 0, len(places)
    from_, into = places.tolist(), to.tolist()
    while start < n:
        step = to_step = 0
        end = start + 1
        if end < n:
            step, to_step = from_[end] - from_[start], into[end] - into[start]
            while end < n and from_[end] - from_[end - 1] == step and into[end] - into[end - 1] == to_step:
                end += 1
            if end == start + 2 and end < n and (from_[end] - from_[end - 1], into[end] - into[end - 1]) == (1, 1):
                end = start + 1  # rather a run by itself than the beginning of the next one
                step = to_step = 0
        runs.append((source, from_[start], step, into[start], to_step, end - start))
        start = end
    return runs
