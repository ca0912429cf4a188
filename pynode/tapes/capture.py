"""Captures a module: traces one evaluation, writes the tape, and compares it with the module."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pynode.errors import InvalidArgument, NotCapturable
from pynode.tapes.tape import Tape
from pynode.tapes.tracing import composed, elementwise, movements, products, small_systems, sums
from pynode.tapes.tracing import labels as lb
from pynode.tapes.tracing.labels import Rows
from pynode.tapes.tracing.tracer import NoNumbers, Tracer
from pynode.types import State

RULE_FILES = (composed, elementwise, movements, products, small_systems, sums)
"""Modules with rules, which are known once they have been imported."""

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}
"""How far tape and module may be apart, relative to the largest number."""

PRIMES = (11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113)


@dataclass(frozen=True, eq=False)
class Capture:
    """A module as a tape.

    `tensors()` gives the module's present tensors in the order of the tape's slots.  `baked` are tensors whose numbers
    stand in the tape, such as indices or tensors of a closure.
    """

    tape: Tape
    module: nn.Module
    baked: tuple[Tensor, ...]

    def tensors(self) -> list[Tensor]:
        """The tensors that the tape reads, as the module has them now."""
        return self.tape.tensors_of(self.module)


def capture_module(module: nn.Module, y0: State, t: Tensor | None = None) -> Capture:
    """Captures `module`, a vector field f(t, y), for states like `y0` `(..., dim)`, about time `t` `()`.

    Raises `NotCapturable`, which says what can't be captured, where, and what to do.  The module is evaluated a few
    times, at random states.
    """
    if not isinstance(module, nn.Module):
        raise NotCapturable("it is no torch.nn.Module", type(module).__name__, "make the function a module's forward")
    if not isinstance(y0, Tensor) or y0.dtype not in TOLERANCE or y0.device.type != "cpu" or y0.ndim == 0:
        shown = f"{tuple(y0.shape)} {y0.dtype} on {y0.device}" if isinstance(y0, Tensor) else type(y0).__name__
        raise InvalidArgument("y0", shown, "not a state that kernels know", "pass float64 or float32 (..., dim) on CPU")
    if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):
        raise NotCapturable("it is compiled by torch.jit.script", type(module).__name__, "pass the module itself")
    if _has_backward_hooks(module):
        raise NotCapturable("it has backward hooks, which only torch can run", type(module).__name__)
    known = dict(named_tensors(module))
    n_parameters = sum(isinstance(x, nn.Parameter) for x in known.values() if x.dtype is y0.dtype)
    ordered = sorted(known.items(), key=lambda item: not isinstance(item[1], nn.Parameter))
    random = torch.Generator().manual_seed(20201)
    time = torch.zeros((), dtype=y0.dtype) if t is None else t.detach().to(y0.dtype).reshape(())
    y = torch.randn(_lead(y0, known) + y0.shape[-1:], dtype=y0.dtype, generator=random)
    tracer, tape = _trace(module, time.clone(), y, ordered, n_parameters)
    result = Capture(tape, module, tuple(tracer.baked))
    _compare(result, time, y0, random)
    return result


def capture(module: nn.Module, y0: State, t: Tensor | None = None) -> Tape:
    """The tape of `module`, a vector field f(t, y), for states like `y0` `(..., dim)` of any batch size.

    A tape is a specification, as `pynode.MLP(...)` is: `tape.slots()` are the module's tensors by their own names,
    `tape.theta_of(module)` their present values in one vector, `tape.evaluate`, `tangents` and `divergence` what they
    compute, and `tape.to_json()` writes it as plain values.  Gradient methods capture by themselves; this is for those
    who want to look at a tape or keep it.

    The module is evaluated once at random states under torch's dispatcher, near the time `t` (0 if not given), and a
    few times more to compare values and cotangents.  What its `forward` does beside computing a value (counters, logs)
    is not part of a tape.  Raises `NotCapturable`, which says what can't be captured, where, and what to do:
    control flow that depends on values, random numbers, coupling between samples, changes of inputs in place, complex
    numbers, unknown operators.
    """
    return capture_module(module, y0, t).tape


def _trace(
    module: nn.Module, t: Tensor, y: Tensor, known: list[tuple[str, Tensor]], n_parameters: int
) -> tuple[Tracer, Tape]:
    tracer = Tracer(module, t, y, known)
    try:
        with torch.enable_grad(), NoNumbers(tracer), tracer:
            slope = module(t, y)
    except NotCapturable:
        raise
    except Exception as error:
        raise NotCapturable(f"an evaluation fails ({type(error).__name__}: {error})", tracer.place()) from error
    if not isinstance(slope, Tensor) or slope.shape != y.shape:
        shown = tuple(slope.shape) if isinstance(slope, Tensor) else type(slope).__name__
        raise NotCapturable(f"its value {shown} does not have the shape of the state {tuple(y.shape)}", "its result")
    return tracer, _written(tracer, slope, n_parameters)


def _written(tracer: Tracer, slope: Tensor, n_parameters: int) -> Tape:
    if not tracer.is_labelled(slope):
        tracer.refuse("its value is not of floating point")
    own = tracer.labels(slope)
    if bool((own < 0).any()):
        reason, where = tracer.reasons[-1 - int(own.min())]
        raise NotCapturable(reason, where)
    n, dim = tracer.n_samples, tracer.y.shape[-1]
    expected = torch.arange(n)[:, None]
    flat = own.reshape(n, dim)
    state = tracer.depends_on_state(flat)
    if bool(((lb.samples(flat) != expected) & state).any()):
        raise NotCapturable("it couples the samples of a batch", "its result")
    rows = Rows(1, n, dim)
    columns = tracer.columns_of(own, rows)
    if not bool((lb.without_samples(flat) == columns).all()):
        raise NotCapturable("samples of a batch are treated differently", "its result")
    register = tracer.input(columns)
    if register < 0 or tracer.builder.width_of(register) != dim or tracer.builder.layer_of(register) != "state":
        register = _as_state(tracer, register, dim)
    return tracer.builder.tape(register, n_parameters)


def _as_state(tracer: Tracer, register: int, dim: int) -> int:
    """A register of the state with these columns, which do not depend on it, or are all alike."""
    builder = tracer.builder
    nothing = builder.operation("affine", (1,), dim, (0.0, 0.0))
    return builder.operation("add", (nothing, register), dim, (1.0, 1.0))


def named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """All tensors that `module` holds, once each: parameters, buffers, attributes, also those in lists and dicts."""
    seen: set[int] = set()
    for prefix, part in module.named_modules():
        own = part.__dict__
        for held in (own["_parameters"], own["_buffers"], own):
            for key, value in list(held.items()):
                if held is own and key in ("_parameters", "_buffers", "_modules"):
                    continue
                name = f"{prefix}.{key}" if prefix else key
                for path, x in _tensors_under(name, value, depth=2):
                    if id(x) not in seen:
                        seen.add(id(x))
                        yield path, x


def _tensors_under(name: str, value: Any, depth: int) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif depth and isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from _tensors_under(f"{name}.{i}", item, depth - 1)
    elif depth and isinstance(value, dict):
        for key, item in value.items():
            if isinstance(key, str) and "." not in key:
                yield from _tensors_under(f"{name}.{key}", item, depth - 1)
    elif depth and isinstance(value, nn.Module):
        for key, x in value.named_parameters():
            yield f"{name}.{key}", x


def _has_backward_hooks(module: nn.Module) -> bool:
    return any(m._backward_hooks or m._backward_pre_hooks for m in module.modules())


def _lead(y0: State, known: dict[str, Tensor]) -> tuple[int, ...]:
    """Batch sizes for the trace: numbers that nothing else has."""
    taken = {k for x in known.values() for k in x.shape} | {y0.shape[-1]}
    free = iter(p for p in PRIMES if p not in taken and all(k % p for k in taken if k))
    return tuple(next(free) for _ in y0.shape[:-1])


# --- is it the same function? ----------------------------------------------------------------------------------------


def _compare(capture: Capture, time: Tensor, y0: State, random: torch.Generator) -> None:
    """Raises `NotCapturable` unless tape and module have the same values and cotangents, at random points and y0.

    The same cotangents for random ones of the value are the same derivatives.
    """
    tape, module = capture.tape, capture.module
    refused: Exception | None = None
    compared = 0
    for t, y in _points(time, y0, random):
        bar = torch.randn(y.shape, dtype=y0.dtype, generator=random)
        try:
            theirs = _with_cotangents(module, capture, t, y, bar)
        except Exception as error:  # some layers refuse a batch of one
            refused = error
            continue
        own = _with_cotangents(lambda t, y: _of_tape(capture, t, y), capture, t, y, bar)
        compared += 1
        for what, a, b in zip(("value", "cotangent by y", *tape_names(tape)), own, theirs, strict=True):
            if not _close(a, b, TOLERANCE[y0.dtype]):
                cut = b is None  # no gradient where the tape has one: the module says so, by detach() or the like
                raise NotCapturable(_why_different(what), type(module).__name__, differs=not cut)
    if refused is not None and not compared:
        shown = f"{type(refused).__name__}: {refused}"
        raise NotCapturable(f"its backward pass fails ({shown})", type(module).__name__) from refused


def _points(time: Tensor, y0: State, random: torch.Generator) -> Iterator[tuple[Tensor, State]]:
    """Times and states: random ones of several batch sizes, and y0's own, beside which the field may not be defined."""
    for size, shift in ((1, 0.0), (3, 0.37), (2, -0.61)):
        lead = tuple(size + i for i in range(y0.ndim - 1))
        yield time + shift, torch.randn(lead + y0.shape[-1:], dtype=y0.dtype, generator=random)
    given = y0.detach()[:2] if y0.ndim > 1 else y0.detach()
    yield time, given.clone()
    noise = torch.randn(given.shape, dtype=y0.dtype, generator=random)
    yield time + 0.05, given * (1 + 0.1 * noise)


def _why_different(what: str) -> str:
    if what == "value":
        return (
            "its value depends on something that one evaluation does not show: the number of samples, state that it "
            "changes, numbers drawn or read outside torch (random, numpy, files)"
        )
    return (
        f"its {what} is not the derivative of its value: it detaches a tensor, computes a part without gradient, or "
        "has a backward pass of its own (some of torch's have only single precision)"
    )


def tape_names(tape: Tape) -> list[str]:
    """What the cotangents of a tape's tensors are called."""
    return [f"cotangent by {slot.name}" for slot in tape.slots()]


def _of_tape(capture: Capture, t: Tensor, y: State) -> State:
    return capture.tape.evaluate_prepared(capture.tape.prepare(capture.tensors()), t, y)


def _with_cotangents(field: Any, capture: Capture, t: Tensor, y: State, bar: Tensor) -> list[Tensor | None]:
    y = y.clone().requires_grad_()
    tensors = capture.tensors()
    wanted = [y, *(x for x in tensors if x.requires_grad)]
    with torch.enable_grad():
        value = field(t.clone(), y)
    gradients: list[Tensor | None] = [None] * len(wanted)
    if value.requires_grad:
        gradients = list(torch.autograd.grad((value * bar).sum(), wanted, retain_graph=True, allow_unused=True))
    each = iter(gradients)
    by_y = next(each)
    return [value.detach(), by_y, *(next(each) if x.requires_grad else None for x in tensors)]


def _close(a: Tensor | None, b: Tensor | None, tolerance: float) -> bool:
    if a is None or b is None:
        other = b if a is None else a
        return other is None or not bool(other.any())
    fine = torch.isfinite(b)
    if not torch.equal(fine, torch.isfinite(a)):
        return False
    a, b = a[fine], b[fine]
    scale = max(1.0, float(b.abs().max()) if b.numel() else 0.0)
    return bool(((a - b).abs() <= 100 * tolerance * scale).all())
