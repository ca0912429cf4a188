"""Members that installed packages bring: known from their metadata, imported when they are used."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import pynode
from pynode.errors import NameClash, OutsideError, UnknownName
from pynode.training.origins import REGISTRIES
from tests.outside.members import MEMBERS, NAMES, write_package

KINDS = sorted(NAMES)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages, with one that brings a member of each kind; what is imported is forgotten."""
    site = tmp_path / "site"
    write_package(site)
    monkeypatch.syspath_prepend(str(site))
    for name in [name for name in sys.modules if name.partition(".")[0] in ("rotations", "broken", "second")]:
        monkeypatch.delitem(sys.modules, name)
    return site


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_is_known_before_it_is_imported(kind: str, installed: Path) -> None:
    registry = REGISTRIES[kind]
    registry.check(NAMES[kind])
    assert registry.summary(NAMES[kind])
    assert str(registry.outside()[NAMES[kind]]) == f"the package rotations 1.2 (rotations.my_{kind}:{MEMBERS[kind]})"
    assert registry.outside()[NAMES[kind]].source == installed / "rotations" / f"my_{kind}.py"
    assert "rotations" not in sys.modules
    member: Any = registry.load(NAMES[kind])
    assert getattr(member, "__name__", "RALSTON") == MEMBERS[kind]
    assert member is registry.load(registry.resolve(NAMES[kind]))


@pytest.mark.usefixtures("installed")
def test_options_of_a_method_are_written_and_read() -> None:
    from pynode.methods.base import method_from_json

    kind: Any = pynode.METHODS.load("mine")
    method = kind(scheme=pynode.SCHEMES.load("ralston"), steps=3)
    assert method.to_json()["scheme"] == "ralston"
    assert method_from_json(method.to_json()) == method
    assert method.label == "mine-ralston-x3"


@pytest.mark.usefixtures("installed")
def test_an_unknown_name_is_matched_with_them_too() -> None:
    with pytest.raises(UnknownName, match=r"did you mean 'ralston'\?"):
        pynode.SCHEMES.load("ralstn")


def test_a_package_that_can_not_be_imported_is_told_where_it_is_used(installed: Path) -> None:
    write_package(installed, "broken", scheme="other", problem="other")
    assert set(pynode.SCHEMES.outside()) == {"ralston", "other"}
    assert pynode.SCHEMES.load("ralston").order == 2
    with pytest.raises(
        OutsideError,
        match=r"the scheme 'other' can't be loaded from the package broken 1\.2 \(broken\.my_scheme:RALSTON\): "
        r"RuntimeError: imported; correct or uninstall the package",
    ):
        pynode.SCHEMES.load("other")


def test_a_name_of_pynodes_own_is_refused(installed: Path) -> None:
    write_package(installed, "second", scheme="rk4", field="turning")
    with pytest.raises(
        NameClash, match=r"'rk4': pynode\.schemes\.\S+, and the package second 1\.2 \(second\.my_scheme:RALSTON\); give"
    ):
        pynode.SCHEMES.load("rk4")
    assert pynode.SCHEMES.load("euler").order == 1, "others are as they were"
    with pytest.raises(NameClash, match=r"'decay': the package \S+ 1\.2 .* and the package \S+ 1\.2"):
        pynode.PROBLEMS.load("decay")
    with pytest.raises(OutsideError, match="is installed as 'turning' but is called 'damped'; give both one name"):
        pynode.FIELDS.load("turning")


def test_a_file_can_not_take_the_name_of_an_installed_member(installed: Path) -> None:
    with pytest.raises(NameClash, match=r"'ralston': the package rotations 1\.2 .*, and .*my_scheme\.py:RALSTON"):
        pynode.SCHEMES.load(f"{installed / 'rotations' / 'my_scheme.py'}:RALSTON")
