"""Torch's own switch for products of float32 matrices: set inside a block, and set back after it.

The switch is one for the whole process.  Torch reads it whenever a product runs, on any thread, in forward and backward
passes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, NamedTuple
from warnings import catch_warnings, simplefilter

import torch

IEEE, TF32 = "ieee", "tf32"
"""What torch 2.9 and later call full precision, and TF32."""


class _State(NamedTuple):
    """The switch as the program has set it, by each of its names; None for a name that torch does not have.

    `whole` is that of `torch.set_float32_matmul_precision`.  It is None, too, where the program has set the newer names
    to what the old one can't tell.
    """

    whole: str | None
    cuda: str | None
    mkldnn: str | None


_LOCK = threading.RLock()

_BLOCKS: dict[object, bool | None] = {}
"""What each block that has been entered asks for, the latest last."""

_outside = _State(None, None, None)
"""The switch before the first of these blocks."""


@contextmanager
def switched(tf32: bool | None) -> Iterator[None]:
    """Products of float32 matrices in TF32 on GPUs that have it, in full, or (None) as the program has set torch.

    Products on the CPU are in full in the first two cases.
    """
    global _outside
    block = object()
    try:
        with _LOCK:
            if not _BLOCKS:
                _outside = _read()
            _BLOCKS[block] = tf32
            _set(tf32)
        yield
    finally:
        with _LOCK:  # blocks of several threads may end in any order
            _BLOCKS.pop(block, None)
            _set(latest_switch())


def is_switched() -> bool:
    """Whether any thread is inside of `switched`."""
    return bool(_BLOCKS)


def latest_switch() -> bool | None:
    """What the block that was entered last asks for; None outside of all blocks."""
    return next(reversed(_BLOCKS.values()), None)


def is_tf32() -> bool:
    """Whether products on a GPU are in TF32 now."""
    cuda = getattr(torch.backends.cuda.matmul, "fp32_precision", None)
    return cuda == TF32 if cuda is not None else torch.get_float32_matmul_precision() != "highest"


def _read() -> _State:
    cuda, mkldnn = (getattr(each, "fp32_precision", None) for each in _newer())
    with suppress(RuntimeError):  # the newer names say what the old one can't
        _hear_of_newer_names()
        return _State(torch.get_float32_matmul_precision(), cuda, mkldnn)
    return _State(None, cuda, mkldnn)


def _set(tf32: bool | None) -> None:
    """To be called with the lock."""
    if tf32 is None:
        state = _outside
    else:
        newer = _outside.cuda is not None
        whole = ("high" if tf32 else "highest") if _outside.whole is not None else None
        state = _State(whole, (TF32 if tf32 else IEEE) if newer else None, IEEE if newer else None)
    if state.whole is not None:
        torch.set_float32_matmul_precision(state.whole)  # sets the newer names as well
    for each, value in zip(_newer(), (state.cuda, state.mkldnn), strict=True):
        if value is not None:
            each.fp32_precision = value


def _newer() -> tuple[Any, Any]:
    """The holders of the newer names, which torch 2.9 has brought."""
    return torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", None)


@lru_cache(maxsize=1)
def _hear_of_newer_names() -> None:
    """Lets torch warn, once a process, that the old name is to go; `RuntimeError` where that name has no value."""
    with catch_warnings():
        simplefilter("ignore")
        torch.get_float32_matmul_precision()
