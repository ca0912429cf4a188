"""Precision of matrix products in float32: in full, or as TF32 or bfloat16 on the tensor cores of a GPU.

States, sums, activations and the optimiser stay in float32 in every case.  The default is full: reduced products change
gradients in the third (TF32) or second digit (bfloat16), which `gradients --precision` measures.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pynode.arguments import check_choice
from pynode.errors import InvalidArgument

Precision = Literal["full", "tf32", "bf16"]

FULL = "full"
TF32 = "tf32"
BF16 = "bf16"

PRECISIONS: tuple[Precision, ...] = get_args(Precision)

TENSOR_CORES = (8, 0)
"""Compute capability from which on GPUs multiply in TF32 and bfloat16."""

_active: ContextVar[str] = ContextVar("precision", default=FULL)

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
    """The precision of products in this context."""
    return _active.get()


def check_precision(precision: str, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> None:
    """Raises `InvalidArgument` where `device` has no such products, or numbers of type `dtype` are in float64."""
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
    """Products of float32 matrices in `precision` within the context, in forward and backward passes that run in it.

        with pynode.products_in("tf32"):
            loss = method.solve(field, y0, ts).ys.square().mean()
            loss.backward()

    "tf32" sets torch's own switch for all CUDA products, and sets it back.  "bf16" rounds the factors of every product
    to bfloat16, sums in float32 inside of it, and gives the result back in float32; derivatives of the product are
    computed likewise.  Solves in the context are run by engines that follow it: torch operators and CUDA graphs.
    """
    check_choice("precision", precision, PRECISIONS)
    if precision == _active.get() and precision != BF16:  # torch takes a mode off while it runs a backward pass
        return _UNCHANGED
    return _changed_to(precision)


@contextmanager
def _changed_to(precision: str) -> Iterator[None]:
    """The context in which the precision is another than before."""
    token = _active.set(precision)
    suspended = _suspended.set(precision != BF16)
    switch = _tf32(on=precision == TF32)
    products = _BFloat16Products() if precision == BF16 else _UNCHANGED
    try:
        with switch, products:
            yield
    finally:
        _suspended.reset(suspended)
        _active.reset(token)


@contextmanager
def _tf32(*, on: bool) -> Iterator[None]:
    """Torch's products on CUDA in TF32, or not."""
    with warnings.catch_warnings():  # torch 2.9 and later warn of a coming change of names
        warnings.simplefilter("ignore")
        try:
            before = torch.get_float32_matmul_precision()
        except RuntimeError:  # the program has used the newer switch, and torch refuses to mix them
            matmul: Any = torch.backends.cuda.matmul
            name = matmul.fp32_precision
            matmul.fp32_precision = "tf32" if on else "ieee"

            def set_back() -> None:
                matmul.fp32_precision = name
        else:
            torch.set_float32_matmul_precision("high" if on else "highest")

            def set_back() -> None:
                torch.set_float32_matmul_precision(before)

    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            set_back()


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
