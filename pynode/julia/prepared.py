"""Requests that are sent often: what stays the same from one to the next is told to the worker once."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from pynode.errors import InvalidArgument
from pynode.julia.arena import Arena, Array, Place, checked_layout, lay_out
from pynode.julia.protocol import REPORT, BadFrame, Run, encode

Layouts: TypeAlias = "Mapping[str, tuple[tuple[int, ...], Any]]"
"""Shape and dtype of arrays, by name."""

SLOTS = 64
"""Prepared requests that a worker remembers; one more takes the place of the oldest."""

COUNTS = ("n_f", "n_vjp", "n_vjp_state", "n_vjp_theta", "n_accepted", "n_rejected")
NUMBERS = ("seconds", "t", "dt", "norm_f", "drift", "drift_t", "drift_sample")

REPORT_FIELDS = ("handle", *COUNTS, *NUMBERS)
"""Entries of the array `REPORT` that a solve which succeeded fills."""

REPORT_LAYOUT = ((len(REPORT_FIELDS),), np.dtype(np.float64))


def read_report(report: Array) -> dict[str, Any]:
    """The plain values of an answer that came as numbers: as the text of an answer has them."""
    entries = dict(zip(REPORT_FIELDS, report.tolist(), strict=True))
    value: dict[str, Any] = {name: None if math.isnan(entries[name]) else entries[name] for name in NUMBERS}
    value["handle"] = int(entries["handle"]) or None
    value["cost"] = {name: int(entries[name]) for name in COUNTS}
    return {"status": "SUCCESS", "retcode": "Success", **value}


@dataclass(eq=False)
class Prepared:
    """A request for `verb` with the plain `value`; `numbers` are integers beside it, which change.

    `given` are the layouts of the arrays that the worker reads, `wanted` of those that it fills.  Once the arrays have
    places in an arena, `views` are these.
    """

    verb: str
    value: dict[str, Any]
    given: Layouts
    wanted: Layouts
    numbers: tuple[str, ...] = ()
    places: dict[str, Place] = field(init=False)
    size: int = field(init=False)
    slot: int | None = None
    arena: Arena | None = None
    views: dict[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if twice := sorted(set(self.given) & set(self.wanted)):
            raise InvalidArgument("outputs", twice, "also names of arrays", "use other names")
        self.places, self.size = lay_out({**self.given, **self.wanted})

    @cached_property
    def kind(self) -> Hashable:
        """What Julia compiles code for: the verb, the words among the options (solver, adjoint, ...), the dtypes."""
        options = self.value.get("options")
        words = (text for text in (options.values() if isinstance(options, Mapping) else ()) if isinstance(text, str))
        return self.verb, tuple(words), tuple(str(dtype) for _, dtype in (*self.given.values(), *self.wanted.values()))

    def move_to(self, arena: Arena) -> None:
        """Gives the arrays their places in `arena`."""
        self.arena = arena
        self.views = {name: arena.view(place) for name, place in self.places.items()}

    def forget(self) -> None:
        """The state of a request that no worker knows."""
        self.slot, self.arena, self.views = None, None, {}

    def frame(
        self, number: int, numbers: Mapping[str, int], release: Sequence[int], *, known: bool, told: bool
    ) -> bytes:
        """The message of request `number`: short where the worker is `known` to remember the rest.

        `told` says whether it knows the arena.  Raises `InvalidArgument` for values that can't be passed.
        """
        if known:
            assert self.slot is not None
            return encode(Run(number, self.slot, tuple(numbers[name] for name in self.numbers), tuple(release)))
        assert self.arena is not None
        try:
            return encode(
                {
                    "id": number,
                    "verb": self.verb,
                    "value": {**self.value, **numbers},
                    "numbers": self.numbers,
                    "slot": self.slot,
                    "arrays": {name: self.places[name] for name in self.given},
                    "outputs": {name: self.places[name] for name in self.wanted},
                    "release": release,
                    "arena": None if told else [str(self.arena.path), self.arena.size],
                }
            )
        except (BadFrame, TypeError) as error:
            text = f"of '{self.verb}'"
            raise InvalidArgument("value", text, str(error), "pass plain values, and arrays apart") from error

    def fill(self, arrays: Mapping[str, Array]) -> None:
        """Copies the arrays to their places; raises `InvalidArgument` where one has another shape."""
        for name in self.given:
            array, view = arrays[name], self.views[name]
            if array.shape != view.shape:
                remedy = f"pass an array of shape {view.shape}"
                raise InvalidArgument(f"arrays[{name!r}]", array.shape, "not the shape that was prepared", remedy)
            view[...] = array

    def results(self) -> dict[str, Array]:
        """Copies of what the worker filled."""
        return {name: self.views[name].copy() for name in self.wanted if name != REPORT}


def checked_layouts(argument: str, layouts: Layouts) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """The layouts of arrays that can be passed; raises `InvalidArgument`."""
    return {name: checked_layout(f"{argument}[{name!r}]", *of) for name, of in layouts.items()}


def prepare(
    verb: str, value: Mapping[str, Any], arrays: Layouts, outputs: Layouts, numbers: tuple[str, ...] = ()
) -> Prepared:
    """A request that `Session.run` is going to send often: as in `Session.call`, but of the arrays only the layouts.

    `numbers` are names of integers that are no part of `value` since they change.
    """
    wanted = {**checked_layouts("outputs", outputs), REPORT: REPORT_LAYOUT}
    return Prepared(verb, dict(value), checked_layouts("arrays", arrays), wanted, numbers)
