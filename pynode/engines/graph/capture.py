"""Records the work of a function on static tensors, and repeats it without calling the function again.

A `Recorder` takes a function without arguments that reads and writes tensors whose memory does not move.  A replay
executes the same operators on the same memory: inputs are written into these tensors before it, and results are read
from them after it.  On a GPU a recording is a CUDA graph.
"""

from __future__ import annotations

import gc
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from pynode.errors import PynodeError

Function = Callable[[], object]


class NotRecordable(PynodeError):
    """A function can't be recorded; the message is a clause with the reason, such as "it draws random numbers"."""


class Recording(ABC):
    """The recorded work of one function."""

    @abstractmethod
    def replay(self) -> None:
        """Does the work again on the current stream; returns before a GPU has finished it."""

    @abstractmethod
    def release(self) -> None:
        """Frees the memory of the recording, which can't be replayed after that."""


class Recorder(ABC):
    """Records functions that may use each other's results; all its recordings share one pool of memory for temporaries.

    A function may leave tensors for another one: results that it keeps, or the saved tensors of an autograd graph.
    These have to be alive while the other function is recorded.  Once they have been released, later recordings may
    reuse their memory, so that their values last until one of those is replayed.  Functions that are replayed in
    another order than they were recorded in need recorders of their own.
    """

    def record(self, function: Function, keeping: Sequence[Tensor] = ()) -> Recording:
        """The recording of `function`, which is called several times for it.

        The tensors of `keeping` keep their values; everything else that `function` writes is undefined until the first
        replay.  Raises `NotRecordable` if a replay would not do what a call does: if the host reads a value of the
        device, if data move between devices, or if random numbers are drawn.
        """
        with _kept(keeping):
            try:
                return self._record(function)
            except torch.OutOfMemoryError as error:
                raise NotRecordable("there is not enough memory on the device for a recording") from error

    def enter(self) -> None:
        """Makes the current stream wait for replays on other streams; to be called before inputs are written."""
        return

    @abstractmethod
    def _record(self, function: Function) -> Recording:
        """Warms up and records."""

    @abstractmethod
    def trial(self) -> Recorder:
        """A recorder of the same kind with its own pool of memory."""


class CudaRecorder(Recorder):
    """Records CUDA graphs on a separate stream of the device, with its own pool of memory.

    The function is called once to fill caches (constants, cuBLAS workspaces), once under `Inspection`, which raises
    before a capture could fail, and once for the capture.  Its gradients are computed in the calling thread.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device if device.index is not None else torch.device("cuda", torch.cuda.current_device())
        self._stream = _capture_stream(self.device)
        self._pool = torch.cuda.graph_pool_handle()

    def enter(self) -> None:
        _in_order(self.device)

    def trial(self) -> CudaRecorder:
        return CudaRecorder(self.device)

    def _record(self, function: Function) -> Recording:
        with torch.cuda.device(self.device), torch.autograd.set_multithreading_enabled(False):
            self._warm_up(function)
            graph = torch.cuda.CUDAGraph()
            held = Inspection()
            with _without_collection():
                try:
                    capture = torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local")
                    with capture, held:
                        function()
                except NotRecordable:
                    graph.reset()
                    raise
                except RuntimeError as error:
                    graph.reset()
                    # ending a broken capture raises a second error; only its text is kept, since a local variable
                    # with the error would make a cycle that holds the memory of this recording
                    reason = str(error.__context__ or error).partition("\n")[0]
                    raise NotRecordable(f"CUDA can't capture it ({reason})") from error
            return _CudaRecording(graph, self.device, held.outside)

    def _warm_up(self, function: Function) -> None:
        current = torch.cuda.current_stream(self.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            function()
            with Inspection():
                function()
        current.wait_stream(self._stream)
        torch.cuda.synchronize(self.device)


class _CudaRecording(Recording):
    """A CUDA graph, and the memory that it reads or writes and that was allocated before its capture."""

    def __init__(self, graph: torch.cuda.CUDAGraph, device: torch.device, outside: dict[int, Any]) -> None:
        self._graph, self._device, self._outside = graph, device, outside

    def replay(self) -> None:
        _in_order(self._device)
        if torch.cuda.current_device() == self._device.index:
            self._graph.replay()
            return
        with torch.cuda.device(self._device):
            self._graph.replay()

    def release(self) -> None:
        self._graph.reset()
        self._outside.clear()


@lru_cache(maxsize=16)
def _capture_stream(device: torch.device) -> torch.cuda.Stream:
    # one for all recorders: cuBLAS keeps a workspace of 32 MiB for every stream that it has been used on
    return torch.cuda.Stream(device)


_LATEST: dict[torch.device, torch.cuda.Stream] = {}
"""The stream of the latest replay on each device."""


def _in_order(device: torch.device) -> None:
    """Makes the current stream wait for replays on other streams: recordings share workspaces and static tensors."""
    current = torch.cuda.current_stream(device)
    latest = _LATEST.get(device)
    if latest is None or latest != current:
        if latest is not None:
            current.wait_stream(latest)
        _LATEST[device] = current


class Inspection(TorchDispatchMode):
    """Raises `NotRecordable` at an operator that no recording can repeat, and collects memory from outside.

    `outside` has the storages, by address, that the operators read or write and that none of them has allocated.  A
    recording has to keep them alive.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Asks torch not to load its compiler for the first operator, which takes two seconds."""
        return False

    def __init__(self) -> None:
        super().__init__()
        self.outside: dict[int, Any] = {}
        self._inside: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [x for x in tree_iter((args, kwargs)) if isinstance(x, Tensor)]
        if reason := _obstacle_of(func, tensors):
            raise NotRecordable(reason)
        for x in tensors:
            storage = x.untyped_storage()
            if storage.data_ptr() not in self._inside:
                self.outside.setdefault(storage.data_ptr(), storage)
        results = self.call(func, args, kwargs)
        for x in tree_iter(results):
            if isinstance(x, Tensor):
                if any(x.device != y.device for y in tensors if y.ndim or func is torch.ops.aten._to_copy.default):
                    raise NotRecordable("it moves data between devices")
                address = x.untyped_storage().data_ptr()
                if address not in self.outside:
                    self._inside.add(address)
        return results

    def call(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Runs the operator."""
        return func(*args, **kwargs)


_READS = {"_local_scalar_dense", "is_nonzero", "equal", "item", "allclose"}


def _obstacle_of(func: Any, tensors: Sequence[Tensor]) -> str | None:
    """Why the operator `func` can't be part of a recording, as a clause; None if it can."""
    name = func.overloadpacket.__name__
    if torch.Tag.nondeterministic_seeded in func.tags:
        return "it draws random numbers"
    if name in _READS or torch.Tag.data_dependent_output in func.tags:
        return "the host reads a value of the solve while it runs (control flow by values)"
    if torch.Tag.dynamic_output_shape in func.tags:
        return f"the shape of a result depends on values ({name})"
    if name == "lift_fresh":
        return "it makes a tensor of numbers of the host (torch.tensor); keep it as a buffer"
    if name == "copy_" and len({x.device for x in tensors}) > 1:
        return "it moves data between devices"
    return None


@contextmanager
def _kept(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Restores the values of the tensors after the block."""
    with torch.no_grad():
        values = [x.detach().clone() for x in tensors]
    try:
        yield
    finally:
        with torch.no_grad():
            for x, value in zip(tensors, values, strict=True):
                x.detach().copy_(value)


@contextmanager
def _without_collection() -> Iterator[None]:
    """No garbage collection inside the block: it could free memory of the device in the middle of a capture."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


RECORDERS: dict[str, Callable[[torch.device], Recorder]] = {"cuda": CudaRecorder}
"""The recorder for each type of device."""
