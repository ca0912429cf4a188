"""Gradient methods: any options make a method that comes back from JSON as it was, or are refused in words."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pynode.errors import UsageError
from pynode.methods import METHODS
from pynode.methods.base import GradientMethod, method_from_json
from pynode.schemes import SCHEMES
from tests.properties.profiles import tried
from tests.properties.strategies import mostly, plain

WORDS: tuple[str, ...] = (
    *SCHEMES.names(),
    *(
        "auto",
        "eager",
        "fused",
        "store",
        "recompute",
        "checkpoint",
        "backsolve",
        "interpolating",
        "gauss",
        "quadrature",
    ),
    *("explicit", "backward-euler", "mixed", "seminorm", "rms", "dopri5", "tsit5", "bosh3", "dopri8", "vern7"),
    *("handwritten", "zygote", "enzyme", "reversediff"),
)
values = st.one_of(
    st.sampled_from(WORDS),
    st.integers(1, 5),
    st.floats(1e-9, 1e-1),
    st.lists(st.integers(1, 3), min_size=1, max_size=3),
    st.booleans(),
    st.none(),
)


@st.composite
def method_descriptions(draw: st.DrawFn) -> Any:
    """JSON that may describe a method: any of its options, near their defaults or not, and options of others."""
    if draw(st.integers(0, 9)) == 0:
        return draw(plain)
    name = draw(st.sampled_from(METHODS.names()))
    kind = METHODS.load(name)
    data: dict[str, Any] = {"method": name}
    for option in fields(kind):
        if draw(st.integers(0, 2)) == 0:
            known = [] if option.default is MISSING else [st.just(_as_json(option.default))]
            data[option.name] = draw(mostly(st.one_of(*known, values)))
    if draw(st.integers(0, 9)) == 0:
        data[draw(st.text(max_size=4))] = draw(plain)
    return data


def _as_json(value: Any) -> Any:
    return getattr(value, "name", value)


@given(method_descriptions())
@tried(200)
def test_a_description_makes_a_method_or_is_refused(data: Any) -> None:
    try:
        method = method_from_json(data)
    except UsageError:
        return
    assert isinstance(method, GradientMethod)
    again = method_from_json(json.loads(json.dumps(method.to_json())))
    assert again == method
    assert hash(again) == hash(method)
    assert again.label == method.label
    assert method.setting > 0
    # the label is the name of a folder, wherever the method comes from
    assert "/" not in method.label
    assert method.label.isprintable()
