"""Watches one evaluation of a module, operator by operator, and labels every number that comes out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from pynode.errors import NotCapturable
from pynode.fields.base import Slot
from pynode.reads import memory_of
from pynode.tapes.operations import STATE
from pynode.tapes.tape import T_REGISTER, Y_REGISTER, TorchCall, ValueOf
from pynode.tapes.tracing import labels as lb
from pynode.tapes.tracing.builder import Builder
from pynode.tapes.tracing.labels import LITERALS, Rows, arrange, label

Rule = Callable[..., Any]

RULES: dict[str, Rule] = {}
"""How operators act on labels, by the operator's name: `rule(tracer, result, *args, **kwargs)` gives the labels of the
result (of each, where there are several); None where the operator has to be taken apart."""

COMPOSED: dict[str, Callable[..., Any]] = {}
"""Operators that are taken apart into others, by their names: functions of the same arguments."""

REMEDY_TORCH = "it runs by torch operators, with engine eager or auto"
MOST_LABELS = 1 << 23
"""Numbers of one tensor beyond which its labels would take too long."""


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Makes a function the rule of these operators."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


class Unsupported(Exception):
    """Numbers that can't be captured, and why."""


class Tracer(TorchDispatchMode):
    """The dispatcher's view of one evaluation f(t, y).

    `known` are the tensors that the module holds, with their names; `slots` of the tape are those of floating point,
    parameters first.  Everything else that the evaluation reads from outside is written into the tape and listed in
    `baked`.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Asks torch not to load its compiler for the first operator, which takes two seconds."""
        return False

    def __init__(self, module: nn.Module, t: Tensor, y: Tensor, known: Sequence[tuple[str, Tensor]]) -> None:
        super().__init__()
        self.module, self.t, self.y, self.dtype = module, t, y, y.dtype
        self.n_samples = y.shape[:-1].numel()
        self.slots = [(name, x) for name, x in known if x.dtype is y.dtype]
        self.builder = Builder(y.shape[-1], [Slot(name, tuple(x.shape)) for name, x in self.slots])
        self.baked: list[Tensor] = []
        self.operator = ""  # the one that a rule is called for
        self.reasons: list[tuple[str, str]] = []
        self._modules = {id(m): name for name, m in module.named_modules()}
        self._labels: dict[int, Tensor] = {}  # of each storage that holds numbers of floating point, or masks
        self._inputs: dict[int, str] = {}
        self._storages: dict[int, Any] = {}  # all that have been met; kept, so that no address is used twice
        self._uninitialised = self._reason("it reads memory that was never written")
        for i, (name, x) in enumerate(self.slots):
            self._note_input(x, name)
            self._write(x, label(-1 - i, torch.arange(x.numel())).reshape(x.shape))
        for name, x in known:
            if x.dtype is not y.dtype:
                self._note_input(x, name)
                self.baked.append(x)
        self._note_input(t, "t")
        self._note_input(y, "y")
        self._write(t, label(T_REGISTER, torch.zeros((), dtype=torch.int64)))
        columns = torch.arange(y.shape[-1]).expand(self.n_samples, -1)
        self._write(y, label(Y_REGISTER, columns, torch.arange(self.n_samples)[:, None]).reshape(y.shape))

    # --- what the dispatcher calls ---

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.split("::")[-1]
        self._refuse(func, name, args)
        tensors = tensors_in((args, tuple(kwargs.values())))
        if name in ("lift_fresh", "lift_fresh_copy"):
            self._make_literal(args[0])
        for x in tensors:
            self._meet(x)
        labelled = [x for x in tensors if self.is_labelled(x)]
        mutates = name.endswith("_") and not name.startswith("_")
        functional = name[:-1] if mutates else name
        apart: Any = None
        if labelled and not func.is_view and not self._is_preparation(labelled):
            composed = COMPOSED.get(functional) or (None if functional in RULES else _decomposition(func))
            if composed is not None and (mutates or not func._schema.is_mutable):
                with self:
                    apart = composed(*args, **kwargs)
                several = len(apart) if isinstance(apart, tuple) else 1
                if apart is not NotImplemented and not mutates and several == len(func._schema.returns):
                    return apart
        result = func(*args, **kwargs)
        if isinstance(apart, Tensor):
            self._write(result, self.operand(apart, result.shape))
            return result
        self.operator = functional
        self._label_result(func, name, args, kwargs, labelled, result)
        return result

    def _label_result(self, func: Any, name: str, args: Any, kwargs: Any, labelled: list[Tensor], result: Any) -> None:
        outputs = list(result) if isinstance(result, (tuple, list)) else [result]
        outputs = [x for x in outputs if isinstance(x, Tensor)]
        mutated = name.endswith("_") and not name.startswith("_")
        if not mutated and all(memory_of(x) in self._storages for x in outputs):
            return  # views: their labels are there
        if not labelled or name.endswith("_like") or name.startswith("new_"):
            self._label_concrete(name, outputs, mutated)
            return
        try:
            if any(x.numel() > MOST_LABELS for x in outputs):
                raise Unsupported("a tensor of it has too many entries")
            made = self._labels_of_result(func, name, args, kwargs, labelled, outputs)
        except Unsupported as error:
            number = self._reason(str(error))
            made = [lb.poison(number, tuple(x.shape)) for x in outputs]
        for x, own in zip(outputs, made, strict=True):
            if own is not None:
                self._check_dtype(x, own)
                self._write(x, own)

    def _labels_of_result(
        self, func: Any, name: str, args: Any, kwargs: Any, labelled: list[Tensor], outputs: list[Tensor]
    ) -> list[Tensor | None]:
        if name.startswith("detach") or name in ("alias", "lift_fresh", "lift_fresh_copy", "clone", "contiguous"):
            return [self.labels(args[0])]
        functional = self.operator
        if functional == name and functional not in DATA_MOVEMENTS and self._is_preparation(labelled):
            return self._prepared(func, args, kwargs, outputs)
        known = RULES.get(functional)
        if known is None:
            raise Unsupported(f"pynode has no rule for the operator {functional}")
        made = known(self, outputs[0], *args, **kwargs)
        return list(made) if isinstance(made, (tuple, list)) else [made]

    # --- refusals ---

    def _refuse(self, func: Any, name: str, args: Any) -> None:
        if torch.Tag.nondeterministic_seeded in func.tags or name in ("native_dropout", "bernoulli_", "_fused_dropout"):
            self.refuse("it draws random numbers (dropout in training mode?)", "call eval(), or let torch run it")
        if "batch_norm" in name and any(a is True for a in args[5:6]):
            self.refuse("it normalises over the batch (batch norm in training mode)", "call eval()")
        if func._schema.is_mutable:
            for argument, value in zip(func._schema.arguments, args, strict=False):
                if argument.alias_info is not None and argument.alias_info.is_write:
                    for x in tensors_in((value,)):
                        if (held := self._inputs.get(memory_of(x))) is not None:
                            what = f"its argument {held}" if held in ("t", "y") else f"its tensor {held}"
                            self.refuse(f"it changes {what} in place", "compute a new tensor instead")
        if name in ("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "unique", "_unique2"):
            for x in tensors_in(args):
                self.refuse_values(x)

    def refuse_values(self, x: Tensor) -> None:
        """Raises `NotCapturable` where Python gets to see numbers of `x` that are not the same in every evaluation."""
        self._meet(x)
        if not self.is_labelled(x):
            return
        own = self.labels(x).reshape(-1)
        if bool((own < 0).any()):
            self.refuse(*self.reasons[-1 - int(own.min())])
        kinds = lb.sources(own)
        if bool((kinds >= 0).any()):
            remedy = "write it with torch.where or the like, or let torch run it"
            self.refuse("its control flow depends on values (of t or y)", remedy)
        if bool((kinds != LITERALS).any()):
            value = -1 - int(kinds[kinds != LITERALS][0])
            named = f" ({self.slots[value][0]})" if value < len(self.slots) else ""
            self.refuse(f"its control flow depends on values of a parameter or buffer{named}", "keep a plain number")

    def refuse(self, reason: str, remedy: str = REMEDY_TORCH) -> None:
        """Raises `NotCapturable`."""
        raise NotCapturable(reason, self.place(), remedy)

    def _reason(self, text: str) -> int:
        self.reasons.append((text, self.place()))
        return len(self.reasons) - 1

    def place(self) -> str:
        """Where the module is at present: the submodule, and the user's line."""
        frame: FrameType | None = sys._getframe(1)
        module, line = None, ""
        while frame is not None:
            inside = frame.f_code.co_filename
            own = frame.f_globals.get("__name__", "")
            is_library = own.split(".")[0] == "torch" or own.startswith("pynode.tapes")
            if not line and not is_library and inside.endswith(".py"):
                line = f"{inside.rsplit('/', 1)[-1]}, line {frame.f_lineno}"
            known = self._modules.get(id(frame.f_locals.get("self")))
            if module is None and known is not None:
                module = known or type(self.module).__name__
            if known == "":
                break
            frame = frame.f_back
        return ", ".join(part for part in (module or type(self.module).__name__, line) if part)

    # --- labels of tensors ---

    def is_labelled(self, x: Tensor) -> bool:
        """Whether `x` depends on t, y or tensors of the module, or is a floating point constant."""
        return memory_of(x) in self._labels

    def labels(self, x: Tensor) -> Tensor:
        """The labels of `x`, a view of those of its storage."""
        return self._labels[memory_of(x)].as_strided(x.size(), x.stride(), x.storage_offset())

    def _meet(self, x: Tensor) -> None:
        """Knows what to make of a tensor from outside that appears for the first time."""
        storage = memory_of(x)
        if storage in self._storages:
            return
        self._hold(x)
        if x.is_floating_point():
            if x.requires_grad:
                self.refuse(
                    "it reads a tensor that wants a gradient and is no attribute of the module",
                    "make it a parameter, or an attribute of the module",
                )
            self.baked.append(x)
            self._make_literal(x)

    def _hold(self, x: Tensor) -> None:
        self._storages.setdefault(memory_of(x), x)

    def _note_input(self, x: Tensor, name: str) -> None:
        self._inputs[memory_of(x)] = name
        self._hold(x)

    def _write(self, x: Tensor, own: Tensor) -> None:
        """Makes `own` the labels of `x`."""
        storage = memory_of(x)
        self._hold(x)
        if storage not in self._labels:
            size = max(x.untyped_storage().nbytes() // max(x.element_size(), 1), 1)
            self._labels[storage] = lb.poison(self._uninitialised, (size,))
        view = self.labels(x)
        with torch.no_grad():
            view.copy_(own.expand(view.shape))

    def _make_literal(self, x: Tensor) -> None:
        if x.is_floating_point() and x.numel() <= MOST_LABELS:
            self._write(x, self.literal_labels(x))
        else:
            self._hold(x)

    def literal_labels(self, x: Tensor) -> Tensor:
        """Labels of the numbers that `x` has now."""
        values, inverse = torch.unique(x.detach().double().reshape(-1), return_inverse=True)
        places = torch.tensor([self.builder.literal(v) for v in values.tolist()], dtype=torch.int64)
        return label(LITERALS, places[inverse]).reshape(x.shape)

    def _label_concrete(self, name: str, outputs: list[Tensor], mutated: bool) -> None:
        for x in outputs:
            if name.startswith(("empty", "new_empty")):
                self._hold(x)
                if x.is_floating_point():
                    self._labels[memory_of(x)] = lb.poison(
                        self._uninitialised, (max(x.untyped_storage().nbytes() // x.element_size(), 1),)
                    )
            elif not mutated or self.is_labelled(x):
                self._make_literal(x)

    def _check_dtype(self, x: Tensor, own: Tensor) -> None:
        if x.is_complex():
            own.fill_(-1 - self._reason("it computes with complex numbers"))
        elif x.is_floating_point() and x.dtype is not self.dtype:
            own.fill_(-1 - self._reason(f"it computes in {x.dtype}, its state is {self.dtype}"))
        elif x.device.type != "cpu":
            own.fill_(-1 - self._reason(f"it computes on {x.device}"))

    # --- the preparation ---

    def _is_preparation(self, labelled: list[Tensor]) -> bool:
        """Whether these depend on parameters alone, and have no row for each sample."""
        for x in labelled:
            own = self.labels(x)
            if bool((own < 0).any()) or bool((lb.sources(own) >= 0).any()):
                return False
            if self.n_samples > 1 and any(k and k % self.n_samples == 0 for k in x.shape):
                return False
        return True

    def _prepared(self, func: Any, args: Any, kwargs: Any, outputs: list[Tensor]) -> list[Tensor | None]:
        if all(bool((lb.sources(self.labels(x)) == LITERALS).all()) for x in tensors_in((args, tuple(kwargs.values())))
               if self.is_labelled(x)):  # fmt: skip
            return [self.literal_labels(x) if x.is_floating_point() else None for x in outputs]
        overload = func._overloadname
        target = f"{func.namespace}.{func._schema.name.split('::')[-1]}.{overload}"
        call_args = tuple(self._argument(a) for a in args)
        call_kwargs = tuple((k, self._argument(v)) for k, v in kwargs.items() if k not in ("layout", "device"))
        several = len(func._schema.returns) > 1
        made: list[Tensor | None] = []
        for i, x in enumerate(outputs):
            call = TorchCall(target, call_args, call_kwargs, i if several else None)
            value = self.builder.call(call, tuple(x.shape))
            made.append(label(-1 - value, torch.arange(x.numel())).reshape(x.shape))
        return made

    def _argument(self, a: Any) -> Any:
        if isinstance(a, Tensor):
            if not self.is_labelled(a):
                raise Unsupported("its parameters are combined with tensors that are not of floating point")
            return ValueOf(self.builder.value_of(self.labels(a), tuple(a.shape)))
        if isinstance(a, (tuple, list)):
            return tuple(self._argument(b) for b in a)
        if a is None or isinstance(a, (bool, int, float, str)):
            return a
        raise Unsupported(f"an operator on its parameters has an argument {a!r}")

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


DATA_MOVEMENTS: set[str] = set()
"""Operators that only move numbers; `movements` fills it."""


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


def tensors_in(values: Any) -> list[Tensor]:
    """All tensors in nested tuples and lists."""
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, (tuple, list)):
        return [x for value in values for x in tensors_in(value)]
    return []


class NoNumbers(TorchFunctionMode):
    """Refuses ways of tensors into Python that the dispatcher does not see."""

    def __init__(self, tracer: Tracer) -> None:
        super().__init__()
        self.tracer = tracer

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.numpy, Tensor.tolist, Tensor.__array__):
            self.tracer.refuse_values(args[0])
        return func(*args, **(kwargs or {}))


def _decomposition(func: Any) -> Callable[..., Any] | None:
    """How torch takes an operator apart."""
    from torch._decomp import decomposition_table  # late: it takes a while

    found: Callable[..., Any] | None = decomposition_table.get(func)
    return found
