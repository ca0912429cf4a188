"""The requests that training sends to Julia again and again, prepared once for each system, options and shapes."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np

from pynode.fields.base import FieldSpec, System
from pynode.julia.prepared import SLOTS, Prepared, prepare

_known: OrderedDict[Hashable, tuple[FieldSpec | None, Prepared]] = OrderedDict()
"""Prepared requests by what they say, the last used one at the end, with the specification that the key names."""


def solve_request(system: System, options: Mapping[str, Any], flat: np.ndarray[Any, Any], n_times: int) -> Prepared:
    """A solve of `system` from states like `flat` `(batch, columns)`, to `n_times` output times."""
    flow = None if system.flow is None else json.dumps(system.flow)
    # the specification by its identity, as long as it is kept here: to look into a large one takes longer than a solve
    key = ("solve", id(system.spec), flow, _told(options), flat.shape, flat.dtype, n_times)

    def make() -> Prepared:
        layouts = {"theta": ((system.n_params,), flat.dtype), "y0": (flat.shape, flat.dtype), "ts": ((n_times,), float)}
        if system.probes is not None:
            layouts["probes"] = (tuple(system.probes.shape), flat.dtype)
        value = {"system": system.to_json(), "options": options}
        return prepare("solve", value, layouts, {"ys": ((n_times, *flat.shape), flat.dtype)})

    return _prepared(key, system.spec, make)


def _told(options: Mapping[str, Any]) -> Hashable:
    """What the options say."""
    values = tuple(options.values())  # the first of them, the kind, says what the others are
    try:
        hash(values)
    except TypeError:  # lists in a scheme of the user's own
        return json.dumps(options)
    return values


def pullback_request(n_params: int, shape: tuple[int, int], dtype: np.dtype[Any], n_times: int) -> Prepared:
    """The gradient of a solve with states of `shape` `(batch, columns)`."""

    def make() -> Prepared:
        outputs = {"grad_y0": (shape, dtype), "grad_theta": ((n_params,), dtype), "grad_ts": ((n_times,), float)}
        return prepare("pullback", {}, {"cotangents": ((n_times, *shape), dtype)}, outputs, ("handle", "times"))

    return _prepared(("pullback", n_params, shape, dtype, n_times), None, make)


def _prepared(key: Hashable, spec: FieldSpec | None, make: Callable[[], Prepared]) -> Prepared:
    entry = _known.pop(key, None) or (spec, make())
    _known[key] = entry
    if len(_known) > SLOTS:
        _known.popitem(last=False)
    return entry[1]
