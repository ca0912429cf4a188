"""Configurations: what is made comes back from JSON as it was; anything else is refused in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from pynode.cli.planning import problem_options
from pynode.errors import PynodeError, UsageError
from pynode.methods.base import method_from_json
from pynode.problems import PROBLEMS
from pynode.problems.base import options_from_json
from pynode.training.config import RunConfig
from pynode.training.schedules import Multilevel
from tests.properties.profiles import tried
from tests.properties.strategies import mostly, plain
from tests.properties.test_method_properties import method_descriptions

KINDS = PROBLEMS.load_all()
levels: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    steps=st.lists(st.integers(1, 9), min_size=2, max_size=4, unique=True).map(sorted),
    refine_at=st.none() | st.lists(st.integers(1, 99), min_size=1, max_size=3, unique=True).map(sorted),
    patience=st.integers(1, 5),
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "problem": st.sampled_from(sorted(KINDS)),
    "method": method_descriptions().filter(lambda d: isinstance(d, dict)),
    "seed": st.integers(0, 2**63 - 1),
    "iterations": st.integers(1, 1000),
    "learning_rate": st.floats(1e-6, 1),
    "weight_decay": st.floats(0, 1),
    "dtype": st.sampled_from(["float32", "float64"]),
    "device": st.just("cpu"),
    "faithful": st.booleans(),
    "validate_every": st.integers(1, 50),
    "checkpoint_every": st.integers(1, 50),
    "memory_every": st.integers(1, 50),
    "rate_drops": st.lists(st.tuples(st.integers(1, 9), st.floats(0.1, 1)).map(list), max_size=2),
    "rate_half_life": st.none() | st.integers(1, 1000),
    "patience": st.none() | st.integers(1, 9),
    "multilevel": st.none() | levels,
    "options": st.just({}),
    "on_failure": st.sampled_from(["stop", "skip", "restore"]),
}


@st.composite
def configurations(draw: st.DrawFn) -> Any:
    """The plain values of a configuration, few of them odd."""
    data = {key: draw(value) for key, value in VALUES.items()}
    for key in draw(st.lists(st.sampled_from(sorted(VALUES)), max_size=2)):
        if draw(st.booleans()):
            data[key] = draw(plain)
        else:
            data.pop(key, None)
    return data


@given(st.fixed_dictionaries(VALUES))
@tried(60)
def test_a_configuration_comes_back(data: dict[str, Any]) -> None:
    try:
        method = method_from_json(data["method"])
        stored: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in (data["multilevel"] or {}).items()}
        multilevel = Multilevel(**stored) if stored else None
        drops = tuple((n, factor) for n, factor in data["rate_drops"])
        config = RunConfig(**{**data, "method": method, "multilevel": multilevel, "rate_drops": drops})
    except UsageError:
        return
    again = RunConfig.from_json(json.loads(json.dumps(config.to_json())))
    assert again == config
    assert again.label == config.label
    assert "/" not in config.label
    assert config.check_resumes(json.loads(json.dumps(config.to_json()))) == {}
    longer = RunConfig.from_json({**config.to_json(), "iterations": config.iterations + 1})
    assert set(longer.check_resumes(config.to_json())) == {"iterations"}


@given(mostly(configurations()))
@tried(150)
def test_any_json_is_a_configuration_or_refused(data: Any) -> None:
    try:
        config = RunConfig.from_json(data)
    except PynodeError:
        return
    assert RunConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@given(mostly(configurations()))
@tried(100)
def test_a_run_is_resumed_from_any_earlier_configuration_or_not(earlier: Any) -> None:
    assume(isinstance(earlier, Mapping))
    mine = RunConfig("spiral", method_from_json({"method": "disc-opt"}), 0, 10, 0.1, 0.0)
    try:
        changed = mine.check_resumes(earlier)
    except PynodeError:
        return
    assert set(changed) <= {"iterations", "checkpoint_every", "on_failure", "device"}


# --- options of problems, from the command line ----------------------------------------------------------------------

words = st.one_of(
    st.sampled_from(
        ["1", "0", "-1", "true", "no", "0.5", "1e3", "nan", "inf", "2,3", "1,,2", ",", "", " 7 ", "1_000", "\u0664"]
    ),
    st.integers(-5, 10**9).map(str),
    st.floats().map(str),
    st.text(max_size=6),
)


@st.composite
def settings_of(draw: st.DrawFn) -> tuple[str, list[str]]:
    name = draw(st.sampled_from(sorted(KINDS)))
    known = sorted(KINDS[name].Options.__dataclass_fields__)
    option = st.sampled_from([*known, *known, "nosuch"]) | st.text(max_size=5)
    setting = st.builds("{}{}{}".format, option, st.sampled_from(["=", "=", "=", "", " = "]), words)
    return name, draw(st.lists(setting, max_size=3))


@given(settings_of())
@tried(300, 2000)
def test_any_settings_make_options_or_are_refused(drawn: tuple[str, list[str]]) -> None:
    name, settings = drawn
    try:
        given_options = problem_options(name, settings, None)
        options = options_from_json(KINDS[name], given_options)
    except UsageError:
        return
    again = options_from_json(KINDS[name], json.loads(json.dumps(given_options)))
    assert again == options or "nan" in str(settings)


@given(st.sampled_from(sorted(KINDS)), st.dictionaries(st.text(max_size=4), plain, max_size=2), st.data())
@tried(200)
def test_any_json_makes_options_or_is_refused(name: str, extra: dict[str, Any], data: st.DataObject) -> None:
    known = sorted(KINDS[name].Options.__dataclass_fields__)
    chosen = data.draw(st.lists(st.sampled_from(known), max_size=2)) if known else []
    values = {**(extra if data.draw(st.integers(0, 5)) == 0 else {}), **{key: data.draw(plain) for key in chosen}}
    try:
        options_from_json(KINDS[name], values)
    except UsageError:
        return
