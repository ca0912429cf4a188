"""Planted faults of every kind are found wherever they are: in field, flow, loss, batch, validation and samples.

On a pretended device: a wait for the device adds to the count of a clean run, a tensor on the CPU is an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import pynode
from pynode import least_squares
from pynode.deferred import deferred_checks
from pynode.fields.base import Field
from pynode.flows import flow, transport
from pynode.flows.augmented import AugmentedField
from pynode.problems.density import base as density
from pynode.problems.series import base as series
from tests.devices.loops import FLOW, a_loop, iterated
from tests.devices.modes import DEVICE, CountSyncs, DeviceFault, OneDevice, Pretended, Reading

Fault = Callable[[Tensor], object]

WAITS: dict[str, Fault] = {
    "tolist": lambda x: x.tolist(),
    "item": lambda x: x.sum().item(),
    "bool": lambda x: bool(x.sum() > 0),
    "float": lambda x: float(x.sum()),
    "int": lambda x: int(x.sum()),
    "cpu": lambda x: x.cpu(),
    "to": lambda x: x.to("cpu"),
    "nonzero": lambda x: x.nonzero(),
    "where": lambda x: torch.where(x > 0),
    "mask": lambda x: x[x > 0],
    "masked_select": lambda x: x.masked_select(x > 0),
    "unique": lambda x: x.unique(),
    "equal": lambda x: torch.equal(x, x + 1),
    "allclose": lambda x: torch.allclose(x, x),
    "inverse": lambda x: torch.linalg.inv(torch.eye(2, dtype=torch.float64, device=x.device)),
}

MIXES: dict[str, Fault] = {
    "vector": lambda x: x.reshape(-1) + torch.ones(x.numel(), dtype=x.dtype),
    "in place": lambda x: x.reshape(-1).clone().add_(torch.ones(x.numel(), dtype=x.dtype)),
    "stack": lambda x: torch.stack((x, torch.zeros(x.shape, dtype=x.dtype))),
}


@contextmanager
def planted(owner: Any, name: str, fault: Fault, pick: Callable[[Any], Tensor]) -> Iterator[list[int]]:
    """Inside the block each call of `owner.name` does the fault to a tensor that `pick` finds in its arguments or its
    result; gives the numbers of calls."""
    inner, calls = getattr(owner, name), [0]

    def spoilt(*args: Any, **kwargs: Any) -> Any:
        result = inner(*args, **kwargs)
        calls[0] += 1
        fault(pick((*args, result)).detach())
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, spoilt)
        yield calls


SHORT: dict[str, Any] = {"horizon": 0.3, "width": 4}
"""Options of a small time series."""


def of_samples(values: Any) -> Tensor:
    """A tensor on the device with several entries, in nested tuples."""
    todo = list(values)
    while todo:
        value = todo.pop(0)
        if isinstance(value, Tensor) and value.device == DEVICE and value.ndim:
            return value
        if isinstance(value, tuple):
            todo[:0] = value
    raise AssertionError("no tensor on the device")


def of_time(values: Any) -> Tensor:
    """The time with which a field was called."""
    return next(x for x in values if isinstance(x, Tensor) and x.device == DEVICE and x.ndim == 0)


def trained(name: str, folder: Path, **options: Any) -> Callable[[], object]:
    """One iteration of a run, after two others."""
    loop = a_loop(name, DEVICE, folder, **options)
    iterated(loop, 2)
    return loop.iterate


def series_run(folder: Path) -> Callable[[], object]:
    return trained("lotka-volterra", folder, **SHORT)


def flow_run(folder: Path) -> Callable[[], object]:
    return trained("8gaussians", folder, **FLOW)


def validation(folder: Path) -> Callable[[], object]:
    """One validation, after another."""
    loop = a_loop("lotka-volterra", DEVICE, folder, **SHORT)
    loop.problem.accurate_steps = 1
    loop.problem.validation_loss(loop.model)
    return lambda: loop.problem.validation_loss(loop.model)


def samples(folder: Path) -> Callable[[], object]:  # noqa: ARG001
    """Samples of a flow, after others."""
    method = pynode.DiscOpt(steps=1, engine="eager")
    model = pynode.Flow.build(pynode.ConcatSquash((2, 4, 2)), seed=0, device=DEVICE, method=method)
    model.sample(3, seed=0)
    return lambda: model.sample(3, seed=0)


Place = tuple[Callable[[Path], Callable[[], object]], Any, str, Callable[[Any], Tensor]]

PLACES: dict[str, Place] = {
    # what is done, the function in which the fault is planted, and the tensor that suffers it
    "field": (series_run, Field, "forward", of_samples),
    "time": (series_run, Field, "forward", of_time),
    "loss": (series_run, least_squares, "sum_of_squares", of_samples),
    "batch": (series_run, series.TimeSeries, "batch", of_samples),
    "flow": (flow_run, AugmentedField, "forward", of_samples),
    "base": (flow_run, transport, "log_density", of_samples),
    "loss of a flow": (flow_run, density, "part_of_mean", of_samples),
    "batch of a flow": (flow_run, density.Density, "batch", of_samples),
    "validation": (validation, series, "fixed_steps", of_samples),
    "samples": (samples, flow, "draw_samples", of_samples),
    "moved samples": (samples, flow, "moved", of_samples),
}

CLEAN = {series_run: 1, flow_run: 1, validation: 2, samples: 1}
"""Reads of what is done without a fault."""


def reads_of(work: Callable[[], object]) -> int:
    with CountSyncs() as count:
        work()
    return sum(count.reads.values())


@pytest.mark.usefixtures("fused_step")
@pytest.mark.parametrize("place", PLACES)
def test_a_planted_wait_is_found_everywhere(place: str, tmp_path: Path) -> None:
    """Each kind of wait adds a read at every call of the function in which it is planted."""
    prepare, owner, name, pick = PLACES[place]
    found: Counter[str] = Counter()
    with Pretended():
        work = prepare(tmp_path)
        assert reads_of(work) == CLEAN[prepare]
        count = CountSyncs()

        def wait(x: Tensor) -> None:
            for kind, fault in WAITS.items():
                before = sum(count.reads.values())
                fault(x)
                found[kind] += sum(count.reads.values()) > before

        with planted(owner, name, wait, pick) as calls, count:
            work()
        assert calls[0] >= 1
        assert found == dict.fromkeys(WAITS, calls[0])
        assert reads_of(work) == CLEAN[prepare]


@pytest.mark.usefixtures("fused_step")
@pytest.mark.parametrize("place", PLACES)
def test_a_planted_mix_of_devices_is_found_everywhere(place: str, tmp_path: Path) -> None:
    prepare, owner, name, pick = PLACES[place]
    with Pretended():
        work = prepare(tmp_path)
        for fault in MIXES.values():
            with planted(owner, name, fault, pick), pytest.raises(DeviceFault, match="cpu"):
                work()


@pytest.mark.usefixtures("fused_step")
@pytest.mark.parametrize("place", PLACES)
def test_values_for_numpy_are_refused_everywhere(place: str, tmp_path: Path) -> None:
    """As by torch on a GPU."""
    prepare, owner, name, pick = PLACES[place]
    with Pretended():
        work = prepare(tmp_path)
        for fault in (lambda x: x.numpy(), np.asarray):
            with planted(owner, name, fault, pick), pytest.raises(TypeError, match="to numpy"):
                work()


@pytest.mark.parametrize(
    "fault", [lambda x: x.cpu(), lambda x: torch.zeros(()).to(x.device), lambda x: x * torch.ones(())]
)
def test_a_planted_move_is_found_in_a_solve(fault: Fault) -> None:
    """A tensor that moves, or a scalar of the CPU, which a GPU would take."""
    with Pretended():
        field = pynode.ConcatSquash((2, 4, 2)).build(seed=0, device=DEVICE)
        y0, ts = torch.ones(3, 2, dtype=torch.float64).to(DEVICE), torch.tensor([0.0, 1.0], dtype=torch.float64)
        method = pynode.DiscOpt(steps=1, engine="eager")
        method.solve(field, y0, ts)
        with deferred_checks(), OneDevice():
            method.solve(field, y0, ts)
            with planted(type(field), "forward", fault, of_samples), pytest.raises(DeviceFault):
                method.solve(field, y0, ts)


ON_CPU: dict[str, Fault] = {
    **{kind: fault for kind, fault in WAITS.items() if kind != "to"},  # which does nothing on the CPU
    "numpy": lambda x: x.numpy(),
    "asarray": np.asarray,
    "index": lambda x: range(3)[x.sum().long() * 0],
    "format": lambda x: f"{x.sum():.3f}",
    "masked assignment": lambda x: x.clone().__setitem__(x > 0, x[:1]),
}


@pytest.mark.parametrize("kind", ON_CPU)
def test_reads_of_tensors_on_the_cpu_are_seen(kind: str) -> None:
    """Where a stand-in for a GPU runs, some of them are no operators."""
    x = torch.tensor([1.0, 2.0], dtype=torch.float64)
    with Reading() as reading:
        ON_CPU[kind](x)
    assert sum(reading.reads.values()) >= 1
    with Reading() as reading:
        (x.square().sum() + x[:1] + x[torch.tensor([0])]).clone()
        torch.where(x > 0, x, -x)
    assert not reading.reads
