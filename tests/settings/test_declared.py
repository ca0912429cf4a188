"""What is read of options from the source: the same that the classes have once they are imported."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

from pynode.methods import METHODS
from pynode.problems import PROBLEMS
from pynode.settings.declared import REQUIRED, Kind, constants_of, kind_of, options_of
from pynode.settings.known import (
    axis_of,
    check_options,
    compared,
    method_constants,
    method_options,
    on_backend,
    on_engine,
    plain_methods,
    problem_options,
    run_settings,
    stands_for,
    usual,
)
from pynode.training.config import RunConfig

SOURCE = '''
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Optional

from pynode.schemes.base import Scheme
from pynode.schemes.rk4 import RK4

Word = Literal["one", "two"]


@dataclass(frozen=True)
class Base:
    """Shared."""

    name: ClassVar[str] = "base"
    first: int = 1
    """The first."""
    word: Word = "one"


class Between(Base):
    not_a_field: int = 3


@dataclass(frozen=True)
class Member(Between):
    name: ClassVar[str] = "member"
    bare: ClassVar = 3
    first: float = 2.0
    scheme: Scheme = RK4
    steps: int | Sequence[int] = 1
    several: tuple[str, ...] = ()
    maybe: "Optional[Word]" = None
    needed: bool
    made: Mapping[str, Any] = field(default_factory=dict)
    set: int = field(default=4)
    """Set
    by a field."""

    def method(self) -> None:
        inside: int = 3
'''


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "member.py"
    file.write_text(SOURCE, encoding="utf-8")
    return file


def test_fields_of_a_dataclass_and_of_those_before_it(source: Path) -> None:
    options = options_of(source, "Member")
    assert list(options) == ["first", "word", "scheme", "steps", "several", "maybe", "needed", "made", "set"]
    assert [o.default for o in options.values()] == [2.0, "one", "rk4", 1, (), None, REQUIRED, None, 4]
    assert (options["first"].help, options["set"].help) == ("", "Set by a field.")
    assert options_of(source, "Base")["first"].help == "The first."
    assert options["first"].kind == Kind(frozenset({float}))
    assert options["word"].kind.words == options["maybe"].kind.words == ("one", "two")
    assert options["maybe"].kind.types == {str, type(None)}
    assert options["scheme"].kind.member == "Scheme"
    assert options["steps"].kind == Kind(frozenset({int, list}), parts=frozenset({int}))
    assert options["several"].kind.parts == {str}
    assert options["needed"].kind.is_flag


def test_class_variables_with_inherited_ones(source: Path) -> None:
    constants = constants_of(source, "Member")
    assert (constants["name"], constants["not_a_field"], constants["word"]) == ("member", 3, "one")
    assert constants_of(source)["Word"] is None


def test_kinds_together() -> None:
    """Words stay words only where no owner takes any text."""
    here = Path(__file__)
    both = kind_of('Literal["a", "b"]', here) | kind_of('Literal["b", "c"] | None', here)
    assert both.words == ("a", "b", "c")
    assert (both | kind_of("str", here)).words == ()
    assert (both | kind_of("None", here)).words == ("a", "b", "c")
    assert kind_of("Nosuch", here) == Kind()


def plain(value: Any) -> Any:
    return getattr(value, "name", value)


@pytest.mark.parametrize("name", METHODS.names())
def test_methods_have_the_options_that_are_read(name: str) -> None:
    kind, options = METHODS.load(name), method_options(name)
    assert {f.name: plain(f.default) for f in fields(kind)} == {n: o.default for n, o in options.items()}
    assert all(option.kind.types for option in options.values())
    constants = method_constants(name)
    assert (constants["name"], constants["backend"], constants["adaptive"]) == (name, kind.backend, kind.adaptive)


@pytest.mark.parametrize("name", PROBLEMS.names())
def test_problems_have_the_options_that_are_read(name: str) -> None:
    kind, options = PROBLEMS.load(name), problem_options(name)
    assert {f.name: f.default for f in fields(kind.Options)} == {n: o.default for n, o in options.items()}
    assert all(option.kind.types for option in options.values())
    assert all(option.help.endswith(".") for option in options.values()), "every option is explained in a sentence"


def test_runs_have_the_settings_that_are_read() -> None:
    declared = {f.name: REQUIRED if f.default is MISSING else f.default for f in fields(RunConfig)}
    settings = run_settings()
    assert {name: declared[name] for name in settings} == {name: s.default for name, s in settings.items()}
    assert {"iterations", "dtype", "memory_every", "on_failure"} <= set(settings)
    assert {"problem", "method", "options"} & set(settings) == set()


def test_choices_of_methods_follow_from_the_methods() -> None:
    assert compared() == ["disc-opt", "opt-disc"]
    assert plain_methods() == ["ad-adaptive", "disc-opt", "opt-disc", "opt-disc-fixed"]
    assert stands_for() == {"disc-opt-julia": "disc-opt", "opt-disc-julia": "opt-disc"}
    assert on_backend(["ad-adaptive", "disc-opt", "disc-opt-julia"], "julia") == ["disc-opt-julia"]
    assert {axis_of(option) for option in method_options("opt-disc")} == {"scheme", "gradient", "engine"}
    assert [axis_of(option) for option in ("steps", "rtol", "landing", "scheme", "solver")] == ["scheme"] * 5
    assert [axis_of(option) for option in ("memory", "budget", "adjoint_rtol", "drift", "vjp")] == ["gradient"] * 5


def test_defaults_that_problems_bring_are_told_in_words() -> None:
    assert usual("rtol", "opt-disc") == usual("adjoint", "opt-disc") == "as in the study"
    assert usual("adjoint", "opt-disc-fixed") == "explicit"
    assert usual("max_steps", "opt-disc") == 100_000


def test_an_engine_brings_its_own_values() -> None:
    assert on_engine("opt-disc", {"engine": "julia", "max_steps": 7})["solver"] == "tsit5"
    assert on_engine("opt-disc", {"engine": "julia", "max_steps": 7})["max_steps"] == 7
    assert on_engine("disc-opt", {"engine": "julia", "rtol": 1e-3}) == {"engine": "julia"}
    assert on_engine("opt-disc", {"rtol": 1e-3}) == {"rtol": 1e-3}


def test_wrong_options_are_told_without_torch() -> None:
    code = (
        "import sys; from pynode.cli import main; "
        "status = [main(['compare', 'spiral', *words.split()]) for words in ("
        "'--memory stor', '--engine fussed', '--adjoint explicit', '--landing --methods disc-opt', '--scheme rk5', "
        "'--set batch=3', "
        "'--methods disc-op', '--steps 2,x', '--seeds x', '--on-failure halt', '--steps 0', '--rtol -1', "
        "'--iterations 0', '--dtype float16')]; "
        "status += [main(['sweep', '--grid', 'problem=spiral', '--grid', text]) for text in ("
        "'memory=stor', 'rtl=1', 'rtol=x', 'set.batch=3')]; "
        "assert status == [2] * 18, status; assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 18, done.stderr
    for said in ("did you mean 'store'?", "did you mean 'fused'?", "value of --adjoint for opt-disc 'explicit'"):
        assert said in done.stderr


def test_options_are_checked_for_each_method_that_has_them() -> None:
    check_options(["opt-disc-fixed"], {"adjoint": "explicit"})
    with pytest.raises(ValueError, match="value of --adjoint for opt-disc 'explicit'"):
        check_options(["opt-disc-fixed", "opt-disc"], {"adjoint": "explicit"})
    with pytest.raises(ValueError, match=r"--landing = True: no effect on disc-opt; drop it, or add a method"):
        check_options(["disc-opt"], {"landing": True})
