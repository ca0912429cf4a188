"""What one evaluation of a field reads, writes and draws, as seen by torch's dispatcher.

A module's `parameters()` say little about what its `forward` uses: a context stored on the module, layers in a plain
list, tensors of a closure.  The dispatcher sees every tensor that an operator takes, whoever holds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Generator, Tensor
from torch.autograd.grad_mode import _unsafe_preserve_version_counter
from torch.utils._python_dispatch import TorchDispatchMode

_LIFTS = (torch.ops.aten.lift_fresh.default, torch.ops.aten.lift_fresh_copy.default)
"""These take tensors that the evaluation has made itself: the constants of `torch.tensor(...)`."""


class Reads(TorchDispatchMode):
    """Watches the operators of one evaluation f(t, y); `given` are t and y, in memory that nothing else shares.

    `tensors` are those from outside that operators took, in the order of their first use; `written` those of them that
    were changed in place, each with a copy of its value before; `drawn` the generators that random numbers came from,
    each with its state before.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Asks torch not to load its compiler for the first operator, which takes two seconds."""
        return False

    def __init__(self, given: Sequence[Tensor]) -> None:
        super().__init__()
        self.tensors: list[Tensor] = []
        self.written: list[tuple[Tensor, Tensor]] = []
        self.drawn: list[tuple[Generator, Tensor]] = []
        self._known: set[int] = set()  # identities of `tensors`, which live as long as this object
        self._inside = {memory_of(x) for x in given}
        self._held: list[Any] = []  # storages made inside: an address must not be used twice
        self._outside: dict[int, Tensor] = {}
        self._first = _sequence_number()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _LIFTS:
            self._keep_inside(args[0])
        else:
            for x in _tensors_in((*args, *kwargs.values())):
                self._note(x)
        if func._schema.is_mutable or "batch_norm" in func._schema.name:
            self._note_writes(func, args, kwargs)
        generator = _generator_of(args, kwargs) if torch.Tag.nondeterministic_seeded in func.tags else None
        before = None if generator is None else generator.get_state()
        result = func(*args, **kwargs)
        if generator is not None and before is not None and not torch.equal(generator.get_state(), before):
            self._note_draw(generator, before)  # attention without dropout, for one, only might have drawn
        for x in _tensors_in(result if isinstance(result, (tuple, list)) else (result,)):
            if memory_of(x) not in self._outside:
                self._keep_inside(x)
        return result

    def is_inside(self, x: Tensor) -> bool:
        """Whether `x` was made by the evaluation, or is one of its arguments."""
        address = memory_of(x)
        if address in self._outside:
            # a view of a tensor from outside, made inside
            return x.grad_fn is not None and x.grad_fn._sequence_nr() >= self._first
        return address in self._inside

    def is_older(self, node: Any) -> bool:
        """Whether a node of the graph was there before the evaluation."""
        return bool(node._sequence_nr() < self._first)

    def undo(self) -> None:
        """Gives written tensors and generators their former values."""
        put_back(self.written)
        for generator, state in self.drawn:
            generator.set_state(state)

    def _keep_inside(self, x: Tensor) -> None:
        address = memory_of(x)
        if address not in self._inside:
            self._inside.add(address)
            self._held.append(x if address == id(x) else x.untyped_storage())

    def _note(self, x: Tensor) -> None:
        if id(x) in self._known or memory_of(x) in self._inside:
            return
        if x.grad_fn is not None and x.grad_fn._sequence_nr() >= self._first:
            return
        if x.grad_fn is None and x._is_view() and x.requires_grad and x._base is not None and x._base.requires_grad:
            return  # made inside without a graph
        self._known.add(id(x))
        self.tensors.append(x)
        self._outside.setdefault(memory_of(x), x)

    def _note_writes(self, func: Any, args: Any, kwargs: Any) -> None:
        arguments = func._schema.arguments
        given = {**{a.name: value for a, value in zip(arguments, args, strict=False)}, **kwargs}
        training = given.get("training") or given.get("train")
        for argument in arguments:
            # the schemas of batch norms don't tell that they change their statistics
            is_statistics = training and argument.name in ("running_mean", "running_var")
            if not is_statistics and (argument.alias_info is None or not argument.alias_info.is_write):
                continue
            for x in _tensors_in((given.get(argument.name),)):
                target = self._outside.get(memory_of(x))
                if target is not None and all(target is not seen for seen, _ in self.written):
                    self.written.append((target, target.detach().clone()))

    def _note_draw(self, generator: Generator, before: Tensor) -> None:
        if all(generator is not seen for seen, _ in self.drawn):
            self.drawn.append((generator, before))


def _generator_of(args: Any, kwargs: Any) -> Generator:
    """The generator that an operator draws from."""
    given = kwargs.get("generator")
    device = next((x.device for x in _tensors_in((*args, *kwargs.values()))), kwargs.get("device"))
    return given if isinstance(given, Generator) else default_generator(device)


def put_back(values: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Writes the second of each pair into the first, which autograd doesn't get to know of."""
    with torch.no_grad():
        for x, value in values:
            with _unsafe_preserve_version_counter(x):
                x.copy_(value)


def default_generator(device: Any) -> Generator:
    """The generator that random operators on `device` use where none is given."""
    device = torch.device("cpu" if device is None else device)
    module = getattr(torch, device.type, None)
    if device.type == "cpu" or module is None:  # such as meta, which draws nothing
        return torch.default_generator
    generators: Sequence[Generator] = module.default_generators
    return generators[module.current_device() if device.index is None else device.index]


def memory_of(x: Tensor) -> int:
    """What tensors that share their memory have in common."""
    try:
        return int(x.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):  # a tensor without a storage of its own, such as a sparse one
        return id(x)


def _tensors_in(values: Sequence[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from _tensors_in(value)


def _sequence_number() -> int:
    """The number that autograd gives to the next node made on this thread."""
    with torch.enable_grad():
        probe = torch.zeros((), requires_grad=True) * 1
    assert probe.grad_fn is not None
    return int(probe.grad_fn._sequence_nr()) + 1
