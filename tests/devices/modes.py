"""Watches of a device on a machine without one: a pretended device, and what waits for it or moves tensors.

`Pretended` keeps the values of its tensors on the CPU, while they say that they are elsewhere.  Above it, or with
tensors on `meta` or on a GPU, `OneDevice` refuses operators across devices and `CountSyncs` counts what makes the host
wait.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("lazy:0")
"""A device that torch knows on every machine, and that autograd serves on the thread that asks."""

READS = frozenset(
    {
        "_local_scalar_dense",
        "equal",
        "nonzero",
        "nonzero_static",
        "masked_select",
        "unique",
        "_unique",
        "_unique2",
        "unique_dim",
        "unique_consecutive",
        "is_nonzero",
        "linalg_solve",
        "linalg_inv",
        "_linalg_check_errors",
        "allclose",
    }
)
"""Operators that can't end before the host knows numbers of the device."""

MASKS = frozenset({"index", "index_put", "index_put_", "_index_put_impl_"})
"""Operators that count the true entries of a mask."""


class DeviceFault(AssertionError):
    """An operator across devices, or a tensor that moves."""


class OnDevice(torch.Tensor):
    """A tensor that says it is on `DEVICE`; its numbers are those of `host`, on the CPU."""

    host: Tensor

    @staticmethod
    def __new__(cls, host: Tensor) -> OnDevice:
        shell: OnDevice = torch.Tensor._make_wrapper_subclass(
            cls,
            host.size(),
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            device=DEVICE,
        )
        shell.host = host
        return shell

    def __repr__(self) -> str:  # type: ignore[override]
        return f"OnDevice({self.host})"

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    def numpy(self, *, force: bool = False) -> Any:
        """As of a tensor on a GPU."""
        if not force:
            raise TypeError(f"can't convert {DEVICE} device type tensor to numpy")
        return self.detach().cpu().numpy()

    def tolist(self) -> Any:
        """As of a tensor, which torch refuses to subclasses."""
        return self.detach().cpu().tolist()

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        func: Any,
        types: Any,
        args: Any = (),
        kwargs: Any = None,
    ) -> Any:
        raise DeviceFault(f"{func} outside of the pretended device")


class Pretended(TorchDispatchMode):
    """Inside the block `DEVICE` can be used like a GPU: operators run on the CPU, results say that they are there.

    As on a GPU, tensors of several devices can't be mixed, except for scalars of the CPU.
    """

    def __enter__(self) -> Any:
        self._lifted = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=DEVICE) moves in sight of this mode
        return super().__enter__()

    def __exit__(self, *error: Any) -> Any:
        torch._C._set_only_lift_cpu_tensors(self._lifted)
        return super().__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        there = any(isinstance(x, OnDevice) for x in given)
        moves = _name(func) in ("_to_copy", "copy_", "_copy_from")
        strange = [x for x in given if not isinstance(x, OnDevice) and (x.ndim or not _takes_scalars(func))]
        if there and not moves and strange and not _indexes(func):
            raise DeviceFault(f"{func} got tensors on {sorted({str(x.device) for x in given})}")
        target = kwargs.get("device")
        to_device = there if target is None else torch.device(target) == DEVICE
        if target is not None:
            kwargs = {**kwargs, "device": torch.device("cpu")}
        inner_args, inner_kwargs = tree_map(_inner, (args, kwargs))
        result = func(*inner_args, **inner_kwargs)
        if _name(func) == "copy_":
            return args[0]
        if not to_device:
            return result
        wrapped = tree_map(lambda x: OnDevice(x) if isinstance(x, Tensor) else x, result)
        return return_and_correct_aliasing(func, args, kwargs, wrapped) if there else wrapped


def _inner(x: Any) -> Any:
    return x.host if isinstance(x, OnDevice) else x


def _name(func: Any) -> str:
    return str(func._schema.name).removeprefix("aten::")


def _takes_scalars(func: Any) -> bool:
    """Whether an operator of a GPU takes scalars that are on the CPU."""
    return torch.Tag.pointwise in func.tags or _name(func) in ("fill_", "masked_fill", "masked_fill_")


def _indexes(func: Any) -> bool:
    """Whether an operator of a GPU takes indices that are on the CPU, and moves them itself."""
    return _name(func) in MASKS


class OneDevice(TorchDispatchMode):
    """Raises `DeviceFault` at an operator on tensors of several devices, scalars included, and at tensors that move."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        devices = {x.device for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        if _name(func) == "_to_copy" and kwargs.get("device") is not None:
            devices.add(torch.device(kwargs["device"]))
        if len(devices) > 1:
            raise DeviceFault(f"{func} got tensors on {sorted(map(str, devices))}")
        return func(*args, **kwargs)


class CountSyncs(TorchDispatchMode):
    """Counts what makes the host wait: `reads` of numbers from the device, and `uploads` of tensors to it, by operator.

    An upload from memory that is not pinned waits for the work queued before, and is refused in a CUDA graph.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[str] = Counter()
        self.uploads: Counter[str] = Counter()
        self.operators = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self._count(func, args, kwargs)
        return func(*args, **kwargs)

    def _count(self, func: Any, args: Any, kwargs: Any) -> None:
        name = _name(func)
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        there = [x for x in given if x.device.type != "cpu"]
        target = kwargs.get("device")
        goes_to = None if target is None else torch.device(target).type
        if there or (goes_to not in (None, "cpu")):
            self.operators += 1
        if name == "_to_copy" and goes_to is not None:
            if there and goes_to == "cpu":
                self.reads[name] += 1
            if not there and goes_to != "cpu":
                self.uploads[name] += 1
            return
        if name == "copy_":
            to, source = args[0].device.type, args[1].device.type
            if to == "cpu" and source != "cpu":
                self.reads[name] += 1
            if to != "cpu" and source == "cpu":
                self.uploads[name] += 1
            return
        if not there:
            return
        self.reads[name] += _values_read(func, args, kwargs)
        if name in MASKS:
            indices = [x for x in tree_leaves(args[1]) if isinstance(x, Tensor)]
            self.uploads[name] += sum(x.device.type == "cpu" for x in indices)
        self.reads, self.uploads = +self.reads, +self.uploads  # without zeros


CALLS = frozenset(
    {
        "__array__",
        "__bool__",
        "__complex__",
        "__dlpack__",
        "__float__",
        "__format__",
        "__index__",
        "__int__",
        "__repr__",
        "cpu",
        "item",
        "numpy",
        "tolist",
    }
)
"""Methods of a tensor that give its values to the host; of a tensor on the CPU some of them run no operator."""


class Reading(TorchFunctionMode):
    """Counts where the host reads values of a tensor, by the name of the call; works with tensors on the CPU too.

    Stand-ins for GPU code run on the CPU, where `tolist` and `numpy` are invisible to a dispatch mode.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[str] = Counter()
        self._operators = _ReadingOperators(self.reads)

    def __enter__(self) -> Any:
        self._operators.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._operators.__exit__(*error)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name not in CALLS:
            return func(*args, **(kwargs or {}))
        self.reads[name] += 1
        self._operators.paused = True  # its own operators are the same read
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self._operators.paused = False


class _ReadingOperators(TorchDispatchMode):
    def __init__(self, reads: Counter[str]) -> None:
        super().__init__()
        self.reads, self.paused = reads, False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not self.paused and (number := _values_read(func, args, kwargs)):
            self.reads[_name(func)] += number
        return func(*args, **kwargs)


def _values_read(func: Any, args: Any, kwargs: Any) -> int:
    """How many times the host waits for numbers in an operator: once for each mask among indices."""
    name = _name(func)
    if name in MASKS:
        indices = [x for x in tree_leaves(args[1]) if isinstance(x, Tensor)]
        return sum(x.dtype in (torch.bool, torch.uint8) for x in indices)
    if name == "repeat_interleave":
        return int(kwargs.get("output_size") is None)
    tags = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
    return int(name in READS or not tags.isdisjoint(func.tags))
