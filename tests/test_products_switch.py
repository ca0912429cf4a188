"""Torch's own switch for float32 products: all of its names, set and set back."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import torch

from pynode.precision import products_in
from pynode.products_switch import is_switched, is_tf32, switched

BACKENDS: Any = torch.backends

NEW_NAMES = pytest.mark.skipif(not hasattr(BACKENDS.mkldnn, "matmul"), reason="this torch has the old name alone")


def by_allow_tf32() -> None:
    torch.backends.cuda.matmul.allow_tf32 = True


def by_cuda() -> None:
    BACKENDS.cuda.matmul.fp32_precision = "tf32"


def by_all() -> None:
    BACKENDS.fp32_precision = "tf32"


def by_mkldnn() -> None:
    BACKENDS.mkldnn.matmul.fp32_precision = "bf16"


WAYS = [
    pytest.param(lambda: None, id="untouched"),
    pytest.param(lambda: torch.set_float32_matmul_precision("high"), id="high"),
    pytest.param(lambda: torch.set_float32_matmul_precision("medium"), id="medium"),
    pytest.param(by_allow_tf32, id="allow_tf32"),
    pytest.param(by_cuda, id="cuda", marks=NEW_NAMES),
    pytest.param(by_all, id="all", marks=NEW_NAMES),
    pytest.param(by_mkldnn, id="mkldnn", marks=NEW_NAMES),
]
"""Ways in which programs set the switch."""


@pytest.fixture(autouse=True)
def as_torch_begins() -> Iterator[None]:
    """The switch is as in a new process, before and after."""

    def reset() -> None:
        torch.set_float32_matmul_precision("highest")
        if hasattr(BACKENDS.mkldnn, "matmul"):
            BACKENDS.fp32_precision = "none"
            BACKENDS.cuda.matmul.fp32_precision = BACKENDS.mkldnn.matmul.fp32_precision = "none"

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some releases of torch warn of the old names
        reset()
        yield
        reset()


def state() -> tuple[Any, ...]:
    """The switch by each of its names that has a value."""
    try:
        whole: str | None = torch.get_float32_matmul_precision()
    except RuntimeError:
        whole = None
    cuda, mkldnn = BACKENDS.cuda.matmul, getattr(BACKENDS.mkldnn, "matmul", None)
    return whole, getattr(cuda, "fp32_precision", None), getattr(mkldnn, "fp32_precision", None)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("precision", ["full", "tf32", "bf16"])
def test_whatever_a_program_has_set_is_undone_and_set_back(way: Callable[[], None], precision: str) -> None:
    way()
    before = state()
    with products_in(precision):
        assert is_tf32() == (precision == "tf32")
        if before[1] is not None:
            assert state()[1:] == ("tf32" if precision == "tf32" else "ieee", "ieee")
        with products_in("full"):
            assert not is_tf32()
        assert is_tf32() == (precision == "tf32")
    assert state() == before


def test_the_switch_is_set_back_after_an_error() -> None:
    with pytest.raises(KeyError), products_in("tf32"):
        raise KeyError
    assert not is_tf32()
    assert not is_switched()


def test_blocks_of_several_threads_may_end_in_any_order() -> None:
    first, second = ExitStack(), ExitStack()
    first.enter_context(switched(True))
    second.enter_context(switched(False))
    assert not is_tf32()
    first.close()
    assert not is_tf32()
    first.enter_context(switched(None))
    assert not is_tf32()
    second.close()
    first.close()
    assert not is_switched()
    torch.set_float32_matmul_precision("high")
    with switched(False), switched(None):
        assert is_tf32()
