"""Precision of matrix products in float32: in full, or as TF32 or bfloat16 on the tensor cores of a GPU.

States, sums, activations and the optimiser stay in float32 in every case, and numbers of another type, such as float64,
are multiplied as they are.  The default is full: products with fewer digits make gradients less exact, which
`gradients --precision` measures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pynode.arguments import check_choice
from pynode.errors import InvalidArgument, PrecisionMismatch
from pynode.products_switch import is_switched, is_tf32, latest_switch, switched

Precision = Literal["full", "tf32", "bf16"]

FULL = "full"
TF32 = "tf32"
BF16 = "bf16"

PRECISIONS: tuple[Precision, ...] = get_args(Precision)

TENSOR_CORES = (8, 0)
"""Compute capability from which on GPUs multiply in TF32 and bfloat16."""

_active: ContextVar[str | None] = ContextVar("precision", default=None)
"""What `products_in` asks for in this context; None outside of it, where products are as torch is set.

Threads in which autograd runs a backward pass on a GPU do not see it: see `kept_precision`.
"""

_suspended: ContextVar[bool] = ContextVar("suspended", default=False)
"""Whether products are not to be in bfloat16 although a context around this one says so."""

_UNCHANGED: AbstractContextManager[None] = nullcontext()

PRODUCTS = (
    torch.nn.functional.linear,
    torch.matmul,
    torch.mm,
    torch.bmm,
    torch.mv,
    torch.addmm,
    torch.baddbmm,
    torch.addbmm,
    torch.addmv,
    torch.einsum,
    torch.linalg.matmul,
    Tensor.matmul,
    Tensor.mm,
    Tensor.bmm,
    Tensor.mv,
    Tensor.addmm,
    Tensor.baddbmm,
    Tensor.addbmm,
    Tensor.addmv,
    Tensor.__matmul__,
    Tensor.__rmatmul__,
)
"""Torch's functions that multiply matrices, as fields and divergences call them."""


def active_precision() -> str:
    """The precision that `products_in` asks for in this context; full where nothing does."""
    return _active.get() or FULL


def check_precision(precision: str, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> None:
    """Raises `InvalidArgument` where `device` has no such products, or `dtype` is another than float32."""
    check_choice("precision", precision, PRECISIONS)
    if precision == FULL:
        return
    if dtype is not torch.float32:
        name = str(dtype).removeprefix("torch.")
        problem = f"is for products in float32, and the numbers are {name}"
        raise InvalidArgument("precision", precision, problem, "use dtype float32, or precision full")
    if precision == TF32 and (reason := _no_tensor_cores(torch.device(device))):
        raise InvalidArgument("precision", precision, reason, "use precision full, or bf16, which runs on any device")


def _no_tensor_cores(device: torch.device) -> str | None:
    """Why products on `device` can't be in TF32; None where they can."""
    if device.type != "cuda":
        return f"needs the tensor cores of a CUDA GPU, and the device is {device}"
    if not torch.cuda.is_available():
        return "needs a CUDA GPU, and torch sees none here"
    if torch.cuda.get_device_capability(device) < TENSOR_CORES:
        name = torch.cuda.get_device_name(device)
        return f"needs tensor cores (compute capability 8.0 or higher), which {name} does not have"
    return None


def products_in(precision: str) -> AbstractContextManager[None]:
    """Products of float32 matrices in `precision` within the context, in forward and backward passes.

        with pynode.products_in("tf32"):
            loss = method.solve(field, y0, ts).ys.square().mean()
            loss.backward()

    "tf32" turns torch's own switch for CUDA products on, "full" turns it off, and both set it back; it is one for the
    whole process, so that threads must not solve in different precisions at a time.  "bf16" rounds the factors of the
    products that `linear`, `matmul`, `einsum` and their relatives make to bfloat16, sums in float32 inside of them, and
    gives the results back in float32; derivatives of these products are computed likewise.  Attention, convolutions and
    recurrent cells of torch stay in full.  Outside of all contexts products are as torch is set.

    Float32 solves in the context are run by engines that follow it: torch operators and CUDA graphs.  Products of other
    numbers do not change, and float64 solves are run by any engine.

    A gradient has the precision of its solve, also where it is taken outside of the context.  The one exception raises
    `PrecisionMismatch`: a gradient along torch's own graph (engine "eager" with memory "store", and `AdaptiveAD`) that
    is taken with TF32 on where the solve had it off, or the other way round.
    """
    check_choice("precision", precision, PRECISIONS)
    return _changed_to(precision)


def kept_precision() -> str | None:
    """What a solve hands to `products_as_kept` in its backward pass; None outside of `products_in`."""
    return _active.get()


def products_as_kept(precision: str | None) -> AbstractContextManager[None]:
    """Products as they were where `kept_precision` gave `precision`, on any thread."""
    return _UNCHANGED if precision is None and not is_switched() else _changed_to(precision)


def products_as_written() -> AbstractContextManager[None]:
    """Products that are not rounded to bfloat16, although a context around this one may say so."""
    return _changed_to(FULL) if _active.get() == BF16 else _UNCHANGED


def hold_to_precision(*states: Tensor) -> None:
    """Lets the backward pass of float32 states along torch's own graph raise `PrecisionMismatch` in another precision.

    Torch reads its switch for TF32 when a product of the backward pass runs.  What "bf16" rounds is in the graph.
    """
    kept, tf32 = _active.get(), is_tf32()

    def check(cotangent: Tensor) -> None:  # noqa: ARG001
        if is_tf32() != tf32 and (kept is not None or is_switched()):
            then, now = (TF32, FULL) if tf32 else (FULL, TF32)
            raise PrecisionMismatch(
                f"states were solved with products in {then}, and their gradient is taken with products in {now}; take "
                f"it inside the context of the solve, such as products_in({then!r})"
            )

    for part in states if kept != BF16 else ():
        if part.requires_grad and part.dtype in (torch.float32, torch.complex64):
            part.register_hook(check)


def _changed_to(precision: str | None) -> AbstractContextManager[None]:
    active = _active.get()
    if precision == active and precision in (FULL, TF32) and latest_switch() == (precision == TF32):
        return _UNCHANGED
    return _change(precision)


@contextmanager
def _change(precision: str | None) -> Iterator[None]:
    """The context in which the precision is another than before; None: as outside of all contexts."""
    token = _active.set(precision)
    suspended = _suspended.set(precision != BF16)
    products = _BFloat16Products() if precision == BF16 else _UNCHANGED  # torch takes it off during a backward pass
    try:
        with switched(None if precision is None else precision == TF32), products:
            yield
    finally:
        _suspended.reset(suspended)
        _active.reset(token)


class _BFloat16Products(TorchFunctionMode):
    """Rounds the float32 factors of products to bfloat16, and gives results back in float32."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func not in PRODUCTS or "out" in kwargs or _suspended.get():
            return func(*args, **kwargs)
        rounded = [_rounded(value) for value in (*args, *kwargs.values())]
        if not any(changed for _, changed in rounded):
            return func(*args, **kwargs)
        values = [value for value, _ in rounded]
        result = func(*values[: len(args)], **dict(zip(kwargs, values[len(args) :], strict=True)))
        return result.to(torch.float32)


def _rounded(value: Any) -> tuple[Any, bool]:
    """An argument of a product with its float32 tensors in bfloat16, and whether there were any."""
    if isinstance(value, Tensor):
        single = value.dtype is torch.float32
        return (value.to(torch.bfloat16), True) if single else (value, False)
    if isinstance(value, (list, tuple)):
        parts = [_rounded(part) for part in value]
        return [part for part, _ in parts], any(changed for _, changed in parts)
    return value, False
