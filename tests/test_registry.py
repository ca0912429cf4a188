"""Registries find their members from the files in a folder, cheaply, and say what they know."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pynode.errors import UnknownName
from pynode.fields import FIELDS
from pynode.fields.base import FieldSpec
from pynode.methods import METHODS
from pynode.methods.base import GradientMethod
from pynode.problems import PROBLEMS
from pynode.problems.base import Problem
from pynode.registry import Registry
from pynode.schemes import SCHEMES
from pynode.schemes.base import Scheme

ALL: tuple[Registry[Any], ...] = (FIELDS, SCHEMES, METHODS, PROBLEMS)


def test_the_members_of_the_study_are_found() -> None:
    """These are promised by name; further ones may be added without touching this test."""
    assert {"mlp", "concatsquash", "antisymmetric", "hamiltonian"} <= set(FIELDS.names())
    assert {"euler", "midpoint", "heun", "rk4", "rk38"} <= set(SCHEMES.names())
    assert {"disc-opt", "opt-disc", "opt-disc-fixed", "ad-adaptive"} <= set(METHODS.names())
    assert "spiral" in PROBLEMS.names()


@pytest.mark.parametrize("registry", ALL, ids=lambda r: r.kind)
def test_names_are_sorted_and_without_base(registry: Registry[Any]) -> None:
    """`base` holds what the family shares and must not show up in a list of choices."""
    assert list(registry.names()) == sorted(registry.names())
    assert "base" not in registry.names()
    assert all("_" not in name for name in registry.names())


def test_members_are_what_the_registry_promises() -> None:
    """Fields, methods and problems are classes, schemes are objects; each knows the name it was found under."""
    for name, field in FIELDS.load_all().items():
        assert issubclass(field, FieldSpec)
        assert field.architecture == name
    for name, method in METHODS.load_all().items():
        assert issubclass(method, GradientMethod)
        assert method.name == name
    for name, problem in PROBLEMS.load_all().items():
        assert issubclass(problem, Problem)
        assert problem.name == name
    for name, scheme in SCHEMES.load_all().items():
        assert isinstance(scheme, Scheme)
        assert scheme.name == name


@pytest.mark.parametrize("registry", ALL, ids=lambda r: r.kind)
def test_every_member_has_a_summary_of_its_own(registry: Registry[Any]) -> None:
    """`list` prints one line for each; a copied docstring would tell two members apart by nothing."""
    summaries = [registry.summary(name) for name in registry.names()]
    assert all(10 < len(s) <= 120 for s in summaries), summaries
    assert len(set(summaries)) == len(summaries)


def test_summaries_do_not_import_torch() -> None:
    """`--help` and `list` read them, and torch alone would take longer than both may."""
    code = """
import sys
from pathlib import Path
from pynode.fields import FIELDS
from pynode.methods import METHODS
from pynode.problems import PROBLEMS
from pynode.schemes import SCHEMES
lines = [r.summary(n) for r in (FIELDS, METHODS, PROBLEMS, SCHEMES) for n in r.names()]
assert len(lines) > 10
print(sorted({"torch", "juliacall", "numpy", "matplotlib"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("registry", "wrong", "near"), [(FIELDS, "concatsquish", "concatsquash"), (METHODS, "dics-opt", "disc-opt")]
)
def test_unknown_names_get_the_nearest_match_and_the_known_ones(registry: Registry[Any], wrong: str, near: str) -> None:
    """A typing error should cost one look at one line, by `load` as by `summary`."""
    for call in (registry.load, registry.summary):
        with pytest.raises(UnknownName) as caught:
            call(wrong)
        message = str(caught.value)
        assert f"unknown {registry.kind} '{wrong}'" in message
        assert f"did you mean '{near}'" in message
        assert all(name in message for name in registry.names())


def test_a_name_like_no_other_gets_no_guess() -> None:
    """A wild guess would mislead."""
    with pytest.raises(UnknownName) as caught:
        SCHEMES.load("zzzzzzzz")
    assert "did you mean" not in str(caught.value)
    assert "rk38" in str(caught.value)


@pytest.mark.parametrize("name", ["base", "__init__", "../grid", ""])
def test_files_that_are_no_members_cannot_be_loaded(name: str) -> None:
    """Names come from users: they must not reach other modules."""
    with pytest.raises(UnknownName):
        FIELDS.load(name)


def test_a_module_may_hold_several_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each class with a `name` is one, called by it and described by its own docstring; what they share is none."""
    family = tmp_path / "family_of_three"
    family.mkdir()
    (family / "__init__.py").write_text("")
    (family / "base.py").write_text("class Base:\n    pass\n")
    (family / "pair.py").write_text(
        '"""Two."""\nfrom typing import ClassVar\nfrom family_of_three.base import Base\n\n'
        'class Shared(Base):\n    """None of them."""\n\n'
        'class First(Shared):\n    """The first."""\n    name: ClassVar[str] = "one"\n\n'
        'class Second(Shared):\n    """The second."""\n    name: ClassVar[str] = "two"\n'
    )
    (family / "_3_of_them.py").write_text('"""Three."""\nfrom family_of_three.base import Base\n\nTHREE = Base()\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    registry: Registry[Any] = Registry("family_of_three", "number", "Base")
    assert registry.names() == ("3-of-them", "one", "two")
    assert [registry.summary(n) for n in registry.names()] == ["Three.", "The first.", "The second."]
    assert registry.load("two").name == "two"
    assert type(registry.load("3-of-them")).__name__ == "Base"
