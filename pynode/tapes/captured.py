"""Captures of the user's modules: made at the first solve, kept while the module stays as it is, checked in between."""

from __future__ import annotations

import random
import warnings
import weakref
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.utils import parametrize

from pynode.errors import CaptureWarning, InvalidArgument, NotCapturable, StaleCapture
from pynode.field_state import FieldState
from pynode.fields.base import Extended, System
from pynode.reads import Reads
from pynode.tapes.tape import Tape
from pynode.tapes.watch import Watch
from pynode.transforms import is_transformed
from pynode.types import State, Times

DTYPES = (torch.float64, torch.float32)

MODULES_KEPT, CAPTURES_KEPT = 64, 4
"""Modules whose captures are kept, and captures of one module with states of one kind, such as by train and eval."""

MOST_RECAPTURES, FEW_SOLVES = 8, 4
"""Captures in a row, each of which served fewer solves than this, after which a module is left to torch."""

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}
"""Difference of module and tape in a spot check, relative to the largest entry, that is more than rounding."""

CHECKED_EVERY = 64
"""Solves after which one evaluation is compared in any case."""

SIZES_CHECKED = 32
"""Batch sizes that are checked when they are met for the first time."""

OUTSIDE = "state outside the module"

_GLOBAL_HOOKS: Any = nn.modules.module


class Failure(NamedTuple):
    """Why a module has no tape: what `NotCapturable` says."""

    reason: str
    where: str = ""
    remedy: str = "let torch run it"


class Captured:
    """One capture of a module, with what tells whether it still holds.

    `tape` and `tensors` are None where the module can't be captured, for the reason of `failure`.
    """

    def __init__(
        self, watch: Watch, tape: Tape | None = None, tensors: Sequence[Tensor] = (), failure: Failure | None = None
    ) -> None:
        self.watch, self.failure, self.solves = watch, failure, 0
        self._next_check, self._sizes = 1, set[int]()
        if tape is not None:
            self.tape = tape
            self.tensors = list(tensors)
            self._shapes = [x.shape for x in self.tensors]
            self._system: System | None = None

    def holds(self, module: nn.Module) -> bool:
        """Whether the module is still what it was."""
        if not self.watch.same(module):
            return False
        return self.failure is not None or [x.shape for x in self.tensors] == self._shapes

    def renewed(self, module: nn.Module) -> bool:
        """Whether nothing but tensors has been replaced, by others of the same shape, which are read from now on."""
        if self.failure is not None or not self.watch.accept(module, self.tensors):
            return False
        self._system = None
        try:
            self.tensors = self.tape.tensors_of(module)
        except InvalidArgument:  # another one has changed its shape in place
            return False
        return True

    def system(self) -> System:
        """The module's tape, with its constants for the present values of its tensors."""
        if self._system is not None:
            return self._system
        system = System(self.tape, tuple(self.tape.prepare(self.tensors)), self.tape.state_dim)
        if not self.tape.preparation:  # the constants are the module's own tensors
            self._system = system
        return system

    def count(self, module: nn.Module, y0: State, ts: Times, dim: int) -> None:
        """Counts a solve; raises `StaleCapture` where module and tape differ, which solves 1, 2, 4, 8, ... look for."""
        self.solves += 1
        size = y0.shape[0] if y0.ndim > 1 else 1
        if self.solves < self._next_check and (size in self._sizes or len(self._sizes) >= SIZES_CHECKED):
            return
        self._sizes.add(size)
        if self.solves >= self._next_check:
            self._next_check = min(2 * self.solves, self.solves + CHECKED_EVERY)
        with torch.inference_mode(False):
            self._check(module, y0.detach()[..., :dim].clone(), ts.detach()[0].to(y0.dtype).clone())

    def _check(self, module: nn.Module, y: State, t: Tensor) -> None:
        if not self._differs(module, t, y):
            return
        # near a point of rest all digits may be rounding errors
        noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(0), dtype=y.dtype)
        if not self._differs(module, t, y + 1e-3 * (y.abs() + 1) * noise):
            return
        names = self.watch.own_changes()
        what = f"`{names[0]}`, which its own evaluation changes" if names else OUTSIDE
        raise StaleCapture(type(module).__name__, what)

    def _differs(self, module: nn.Module, t: Tensor, y: State) -> bool:
        with self.watch.own_kept():
            wanted = value_of(module, t, y)
        with torch.no_grad():
            got = self.tape.evaluate_prepared(self.tape.prepare(self.tensors), t, y)
        if got.shape != wanted.shape:
            return True
        fine = torch.isfinite(wanted)
        if not torch.equal(fine, torch.isfinite(got)):
            return True
        wanted, got = wanted[fine], got[fine]
        if not wanted.numel():
            return False
        return bool((got - wanted).abs().max() > TOLERANCE[y.dtype] * wanted.abs().max())


class _Known:
    """What is known of one module: its captures by the kind of state."""

    def __init__(self, module: nn.Module) -> None:
        self.captures: dict[Any, list[Captured]] = {}
        self.hasty = 0  # captures in a row that served few solves
        self.given_up: Captured | None = None
        identity = id(module)
        self.module = weakref.ref(module, lambda _: _KNOWN.pop(identity, None))


_KNOWN: dict[int, _Known] = {}


def forget_captures() -> None:
    """Forgets all captures."""
    _KNOWN.clear()


def obstacle_to_tapes(field: object, y0: State) -> str | None:
    """Why no tape could serve a solve from `y0`, whatever `field` computes, as a sentence; None where one could."""
    module = field.field if isinstance(field, Extended) else field
    if not isinstance(module, nn.Module):
        return "the field is a function, not a torch.nn.Module, whose tensors can be told apart"
    if isinstance(module, torch.jit.ScriptModule) or type(module).__name__ == "OptimizedModule":
        return "the field is compiled by torch; pass the module that it was made of"
    if y0.device.type != "cpu" or y0.dtype not in DTYPES or y0.ndim == 0:
        return f"captured modules need states of {DTYPES[0]} or {DTYPES[1]} on the CPU, not {y0.dtype} on {y0.device}"
    if torch.compiler.is_compiling() or is_transformed() or torch.is_autocast_enabled("cpu"):
        return "modules can't be captured under torch.compile, torch.jit.trace, autocast or transforms of torch.func"
    if parametrize._cache_enabled:
        return "parametrize.cached() is active, which keeps what an evaluation computes, with its graph or without"
    if _GLOBAL_HOOKS._global_forward_hooks or _GLOBAL_HOOKS._global_forward_pre_hooks:
        return "there are hooks on all modules, which only torch can run"
    if _GLOBAL_HOOKS._global_backward_hooks or _GLOBAL_HOOKS._global_backward_pre_hooks:
        return "there are backward hooks on all modules, which only torch can run"
    return field.why_not_extended() if isinstance(field, Extended) else None


def system_by_tape(field: object, y0: State, ts: Times, named: Sequence[Tensor] | None = None) -> System:
    """The tape of a module, or of the module in a flow's field, for a solve from `y0` `(..., columns)`.

    `named` are tensors that the user wants a gradient for.  There must be no `obstacle_to_tapes`.  Raises
    `NotCapturable` with the reason, and `StaleCapture` where the module computes something else than its tape.
    """
    extended = field if isinstance(field, Extended) else None
    module: Any = field if extended is None else extended.field
    dim = y0.shape[-1] if extended is None else extended.dim
    captured = captured_as(module, y0, ts, dim)
    if captured.failure is not None:
        raise NotCapturable(*captured.failure)
    if named is not None and (strange := _strangers(named, module, captured)):
        problem = f"a tensor of shape {tuple(strange[0].shape)} in params is none that it was seen to read"
        raise NotCapturable(problem, remedy="let the module hold it, or let torch run it")
    captured.count(module, y0, ts, dim)
    system = captured.system()
    return system if extended is None else extended.extend(system)


def captured_as(module: nn.Module, y0: State, ts: Times, dim: int) -> Captured:
    """The capture of `module` as it is now, for states like `y0`, of which the first `dim` columns are the module's."""
    known = _KNOWN.get(id(module))
    if known is None or known.module() is not module:
        while len(_KNOWN) >= MODULES_KEPT:
            _KNOWN.pop(next(iter(_KNOWN)), None)
        known = _KNOWN[id(module)] = _Known(module)
    key = y0.dtype, y0.ndim, y0.shape[1:-1], dim
    captures = known.captures.setdefault(key, [])
    for i, captured in enumerate(captures):
        if captured.holds(module):
            if i:
                captures.insert(0, captures.pop(i))
            return captured
    if known.given_up is not None:
        return known.given_up
    for captured in captures:
        if captured.renewed(module):
            return captured
    if captures:
        known.hasty = known.hasty + 1 if captures[0].solves < FEW_SOLVES else 0
        if known.hasty >= MOST_RECAPTURES:
            names = captures[0].watch.changes(module)
            what = f"`{names[0]}` changes" if names else "it changes"
            remedy = "keep what changes as a buffer that the field reads, or let torch run it"
            failure = Failure(f"{what} from solve to solve, each time with a capture of its own", "", remedy)
            known.given_up = Captured(captures[0].watch, failure=failure)
            return known.given_up
    with torch.inference_mode(False):
        captured = _captured(module, y0.detach()[..., :dim].clone(), ts.detach()[0].to(y0.dtype).clone())
    captures.insert(0, captured)
    del captures[CAPTURES_KEPT:]
    return captured


def watched_of(module: nn.Module, y0: State, ts: Times, dim: int) -> str:
    """What the capture of `module`, which it must have, is compared with at every solve."""
    return captured_as(module, y0, ts, dim).watch.summary()


def value_of(module: nn.Module, t: Tensor, y: State) -> Tensor:
    """f(t, y) of `module`, without a graph; a field that differentiates inside itself may do so."""
    with _without_hooks():
        try:
            with torch.no_grad():
                value: Tensor = module(t.clone(), y.clone())
        except RuntimeError as error:
            if "grad" not in str(error):
                raise
            with torch.enable_grad():
                value = module(t.clone(), y.clone().requires_grad_())
    return value.detach()


def _captured(module: nn.Module, y: State, t: Tensor) -> Captured:
    """A new capture of `module` at f(t, y), which leaves no traces of the evaluations."""
    from pynode.tapes.capture import capture_module  # the tracer, which few programs need

    watch = Watch(module)
    if watch.unwatched:
        return Captured(watch, failure=Failure(f"it reads {watch.unwatched}, whose changes can't be seen"))
    if not watch.complete:
        return Captured(watch, failure=Failure("it holds more objects than can be watched for changes"))
    if (failure := _hook_failure(module)) is not None:
        return Captured(watch, failure=failure)
    with _without_traces(module, t, y) as reads:
        try:
            with reads:
                if value_of(module, t, y).is_inference():
                    return Captured(watch, failure=Failure("it computes inside torch.inference_mode()"))
        except Exception as error:  # whatever it is, a solve by torch operators will tell
            return Captured(watch, failure=Failure(f"its evaluation raises {type(error).__name__}: {error}"))
        watch.free_changed()
        try:
            with torch.enable_grad():
                capture = capture_module(module, y, t)
        except NotCapturable as error:
            if error.differs:
                warnings.warn(str(error), CaptureWarning, stacklevel=2)
            return Captured(watch, failure=Failure(error.reason, error.where, error.remedy))
        except Exception as error:  # of a module that does what no tracer has thought of
            return Captured(watch, failure=Failure(f"tracing it raises {type(error).__name__}: {error}"))
        watch.free_changed()
        tensors = capture.tensors()
        made = watch.own_tensors()
    if kept := [name for name, x in made if any(x is y for y in tensors)]:
        remedy = "compute it before the solve, or let torch run it"
        return Captured(watch, failure=Failure(f"its first evaluation makes {kept[0]}, which others read", "", remedy))
    if (name := watch.steering()) is not None:
        return Captured(watch, failure=Failure(f"its evaluation changes `{name}`, and reads it for more than to count"))
    if reads.drawn:
        return Captured(watch, failure=Failure("it draws random numbers"))
    if reads.written:
        return Captured(watch, failure=Failure("its evaluation changes a tensor in place, which others can read"))
    watch.bake(capture.baked)
    return Captured(watch, capture.tape, tensors)


def changes_of_trial(watch: Watch, module: nn.Module, t: Tensor, y: State) -> str | None:
    """Why `watch` could not tell whether `module` is what it was, as a clause, seen by an evaluation at f(t, y).

    None where it can.  The evaluation leaves no traces.
    """
    if watch.unwatched:
        return f"it reads {watch.unwatched}, whose changes can't be seen"
    if not watch.complete:
        return "it holds more objects than can be watched for changes"
    if (failure := _hook_failure(module)) is not None:
        return failure.reason
    with torch.inference_mode(False), _without_traces(module, t, y) as reads:
        try:
            with reads:
                if value_of(module, t, y).is_inference():
                    return "it computes inside torch.inference_mode()"
        except Exception as error:  # whatever it is, a solve by torch operators will tell
            return f"its evaluation raises {type(error).__name__}: {error}"
        watch.free_changed()
        made = watch.own_tensors()
    if made:
        return f"its evaluation makes {made[0][0]}, which others may read"
    if (name := watch.steering()) is not None:
        return f"its evaluation changes `{name}`, and reads it for more than to count"
    if reads.drawn:
        return "it draws random numbers"
    return "its evaluation changes a tensor in place, which others can read" if reads.written else None


@contextmanager
def _without_traces(module: nn.Module, t: Tensor, y: State) -> Iterator[Reads]:
    """What the module holds, and the states of random numbers, are after the block what they were before it.

    Evaluations inside of what it gives are seen: tensors that they change in place get their values back.  Hooks on
    saved tensors are not: checkpointing would count those of evaluations that it does not repeat.
    """
    state, of_python = FieldState(module), random.getstate()
    of_numpy = np.random.get_state()  # noqa: NPY002 (what users' code draws from)
    reads = Reads((t, y))
    with torch.random.fork_rng(devices=[]), _without_hooks():
        try:
            yield reads
        finally:
            reads.undo()
            state.go_back_to(state.note_own())
            random.setstate(of_python)
            np.random.set_state(of_numpy)  # noqa: NPY002


def _without_hooks() -> AbstractContextManager[Any]:
    """What the user's hooks on saved tensors, where there are some, see nothing of; torch.func stands none at all."""
    if torch._C._autograd._top_saved_tensors_default_hooks(True) is None:
        return nullcontext()
    return saved_tensors_hooks(_unchanged, _unchanged)


def _unchanged(x: Tensor) -> Tensor:
    return x


def _hook_failure(module: nn.Module) -> Failure | None:
    """Why hooks on `module` or inside of it can't be captured; those of torch's own norms can."""
    for name, inner in module.named_modules():
        own = inner.__dict__
        if own["_backward_hooks"] or own["_backward_pre_hooks"]:
            return Failure("it has backward hooks, which only torch can run", name or type(module).__name__)
        hooks = [*own["_forward_hooks"].values(), *own["_forward_pre_hooks"].values()]
        if any(not type(hook).__module__.startswith("torch.nn.utils") for hook in hooks):
            return Failure("it has hooks, which only torch can run", name or type(module).__name__)
    return None


def _strangers(named: Sequence[Tensor], module: nn.Module, captured: Captured) -> list[Tensor]:
    """Tensors that are to get a gradient, but that neither the tape nor the module knows."""
    known = {id(x) for x in (*captured.tensors, *module.parameters(), *module.buffers())}
    return [x for x in named if x.requires_grad and id(x) not in known]
