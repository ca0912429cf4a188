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
from pynode.layers import Slot
from pynode.reads import memory_of
from pynode.tapes.tape import T_REGISTER, Y_REGISTER, DtypeOf, TorchCall, ValueOf
from pynode.tapes.tracing import labels as lb
from pynode.tapes.tracing.builder import Builder
from pynode.tapes.tracing.labels import LITERALS, arrange, label
from pynode.tapes.tracing.rules import COMPOSED, DATA_MOVEMENTS, EXACT, RULES, VIEWS_IN_PLACE, Unsupported, tensors_in
from pynode.tapes.tracing.writer import Writer

REMEDY_TORCH = "it runs by torch operators, with engine eager or auto"
MOST_LABELS = 1 << 23
"""Numbers of one tensor beyond which its labels would take too long."""


class Tracer(Writer, TorchDispatchMode):
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
        self.slots = [(name, x) for name, x in known if x.dtype is y.dtype]
        builder = Builder(y.shape[-1], [Slot(name, tuple(x.shape)) for name, x in self.slots])
        super().__init__(builder, y.shape[:-1].numel())
        self.module, self.t, self.y, self.dtype = module, t, y, y.dtype
        self.baked: list[Tensor] = []
        self.operator = ""  # the one that a rule is called for
        self._problem = ""  # why an operator could not be taken apart
        self._modules = {id(m): name for name, m in module.named_modules()}
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
        self._refuse(func, name, args, kwargs)
        tensors = tensors_in((args, tuple(kwargs.values())))
        if name in ("lift_fresh", "lift_fresh_copy"):
            self._make_literal(args[0])
        for x in tensors:
            self._meet(x)
        labelled = [x for x in tensors if self.is_labelled(x)]
        mutates = name.endswith("_") and not name.startswith("_")
        functional = name[:-1] if mutates else name
        apart: Any = None
        self._problem = ""
        if labelled and not func.is_view and not self._is_preparation(labelled):
            composed = COMPOSED.get(functional) or (None if functional in RULES else _decomposition(func))
            if composed is not None and (mutates or not func._schema.is_mutable):
                try:
                    with self:
                        apart = composed(*args, **kwargs)
                except Unsupported as error:
                    apart, self._problem = NotImplemented, str(error)
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
        views = not mutated or self.operator in VIEWS_IN_PLACE
        if views and all(memory_of(x) in self._storages for x in outputs):
            return  # their labels are there
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
        if func.is_view and functional not in RULES:
            return [self._viewed(func, args, kwargs, x) for x in outputs]
        if functional == name and functional not in DATA_MOVEMENTS and self._is_preparation(labelled):
            return self._prepared(func, args, kwargs, outputs)
        known = RULES.get(functional)
        if known is None:
            raise Unsupported(self._problem or f"pynode has no rule for the operator {functional}")
        made = known(self, outputs[0], *args, **kwargs)
        return list(made) if isinstance(made, (tuple, list)) else [made]

    def _viewed(self, func: Any, args: Any, kwargs: Any, output: Tensor) -> Tensor:
        """Labels of a view that has a memory of its own, as inside transforms of torch.func."""
        moved = func(self.operand(args[0], args[0].shape).contiguous(), *args[1:], **kwargs)
        if not isinstance(moved, Tensor):
            raise Unsupported(f"pynode has no rule for the operator {self.operator} inside a transform of torch.func")
        return moved.reshape(output.shape)

    # --- refusals ---

    def _refuse(self, func: Any, name: str, args: Any, kwargs: Any) -> None:
        drops = name in ("native_dropout", "bernoulli_", "_fused_dropout")
        if (drops or torch.Tag.nondeterministic_seeded in func.tags) and not _never_drops(name, args, kwargs):
            self.refuse("it draws random numbers (dropout in training mode?)", "call eval(), or let torch run it")
        if "batch_norm" in name and any(a is True for a in args[5:6]):
            self.refuse("it normalises over the batch (batch norm in training mode)", "call eval()")
        if any(x.is_complex() for x in tensors_in(args)):
            self.refuse("it computes with complex numbers", "write real and imaginary parts by themselves")
        if func._schema.is_mutable:
            names = [argument.name for argument in func._schema.arguments]
            given = {**dict(zip(names, args, strict=False)), **kwargs}
            for argument in func._schema.arguments:
                value = given.get(argument.name)
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
        kinds = lb.sources(own)
        if bool((own < 0).any()) or bool((kinds >= 0).any()):
            remedy = "write it with torch.where or the like, or let torch run it"
            self.refuse("Python reads values of t or y, on which its control flow may depend", remedy)
        if bool((kinds != LITERALS).any()):
            value = -1 - int(kinds[kinds != LITERALS][0])
            named = f" ({self.slots[value][0]})" if value < len(self.slots) else ""
            self.refuse(f"Python reads values of a parameter or buffer{named}, which may change", "keep a plain number")

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
            self.refuse("it computes with complex numbers", "write real and imaginary parts by themselves")
        if x.is_floating_point() and x.dtype is not self.dtype and self.operator not in EXACT:
            own.fill_(-1 - self._reason(f"it computes in {x.dtype}, its state is {self.dtype}"))
        elif x.device.type != "cpu":
            way = "forward-mode derivatives, which can't be followed" if x.is_meta else f"a tensor on {x.device}"
            own.fill_(-1 - self._reason(f"it computes with {way}"))

    # --- the preparation ---

    def _is_preparation(self, labelled: list[Tensor]) -> bool:
        """Whether these depend on parameters alone, and have no row for each sample."""
        for x in labelled:
            own = self.labels(x)
            if bool((own < 0).any()) or bool((lb.sources(own) >= 0).any()):
                return False
            if self.n_samples > 1 and any(k and k % self.n_samples == 0 for k in x.shape):
                rows = arrange([own], [torch.zeros_like(own, dtype=torch.bool)], self.n_samples, repeats=True)
                if rows is not None and rows.n_samples > 1:
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
        if isinstance(a, torch.dtype):
            return DtypeOf(str(a).removeprefix("torch."))
        raise Unsupported(f"an operator on its parameters has an argument {a!r}")


class NoNumbers(TorchFunctionMode):
    """Refuses ways of tensors into Python that the dispatcher does not see."""

    def __init__(self, tracer: Tracer) -> None:
        super().__init__()
        self.tracer = tracer

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.numpy, Tensor.tolist, Tensor.__array__):
            self.tracer.refuse_values(args[0])
        return func(*args, **(kwargs or {}))


def _never_drops(name: str, args: Any, kwargs: Any) -> bool:
    """Whether an operator with dropout has the probability 0."""
    place = 1 if "dropout" in name else 3 if "attention" in name else None
    if place is None:
        return False
    p = kwargs.get("p", kwargs.get("dropout_p", args[place] if len(args) > place else 0.0))
    return not isinstance(p, Tensor) and p == 0


def _decomposition(func: Any) -> Callable[..., Any] | None:
    """How torch takes an operator apart."""
    from torch._decomp import decomposition_table  # late: it takes a while

    apart: Callable[..., Any] | None = decomposition_table.get(func)
    if apart is None and func.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd):
        return func.decompose
    return apart
