"""Members in a user's file, `my_scheme.py:MY_SCHEME`: found, checked, and never run before they are used."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

import pynode
from pynode.errors import NameClash, OutsideError, UnknownName
from pynode.training.origins import REGISTRIES
from tests.outside.members import MEMBERS, NAMES, SOURCES, write_files

KINDS = sorted(NAMES)


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_is_found_in_its_file(kind: str, tmp_path: Path) -> None:
    registry, reference = REGISTRIES[kind], write_files(tmp_path)[kind]
    member: Any = registry.load(reference)
    assert getattr(member, "__name__", "RALSTON") == MEMBERS[kind]
    assert registry.resolve(reference) == NAMES[kind]
    assert registry.load(NAMES[kind]) is member
    assert NAMES[kind] not in registry.names(), "those are pynode's own"
    origin = registry.origin(NAMES[kind])
    assert origin is not None
    assert origin.reference == reference
    assert origin.sha256 == hashlib.sha256(SOURCES[kind].encode()).hexdigest()


def test_a_field_of_ones_own_is_solved_and_restored(tmp_path: Path) -> None:
    import torch

    spec: Any = pynode.FIELDS.load(write_files(tmp_path)["field"])()
    field = spec.build(seed=0)
    y0, ts = torch.ones(3, 2).double(), torch.linspace(0, 1, 3).double()
    last = pynode.DiscOpt(steps=20).solve(field, y0, ts).ys[-1]
    exact = torch.linalg.matrix_exp(field.theta()[:4].reshape(2, 2)) @ y0[0]
    assert torch.allclose(last[0], exact, rtol=1e-6)
    from pynode.fields.base import field_from_json

    assert field_from_json(spec.to_json()) == spec


def test_checking_and_describing_runs_nothing(tmp_path: Path) -> None:
    file = tmp_path / "loud.py"
    file.write_text(f'"""Says that it ran."""\nopen({str(tmp_path / "ran")!r}, "w").close()\nX = 1\n')
    pynode.SCHEMES.check(f"{file}:X")
    assert pynode.SCHEMES.summary(f"{file}:X") == "Says that it ran."
    assert not (tmp_path / "ran").exists()
    with pytest.raises(OutsideError):
        pynode.SCHEMES.load(f"{file}:X")
    assert (tmp_path / "ran").exists()


def test_files_beside_it_can_be_imported(tmp_path: Path) -> None:
    (tmp_path / "my_coefficients.py").write_text("B = (0.5, 0.5)\n")
    file = tmp_path / "scheme.py"
    file.write_text(
        "import pynode\nfrom my_coefficients import B\nS = pynode.Scheme('s', 2, ((), (1.0,)), B, (0.0, 1.0))\n"
    )
    assert pynode.SCHEMES.load(f"{file}:S").b == (0.5, 0.5)


def test_a_file_that_has_changed_is_run_again(tmp_path: Path) -> None:
    reference = write_files(tmp_path)["scheme"]
    first = pynode.SCHEMES.load(reference)
    assert pynode.SCHEMES.load(reference) is first
    file = tmp_path / "my_scheme.py"
    file.write_text(file.read_text().replace("ralston", "ralston-2"))
    assert pynode.SCHEMES.load(reference).name == "ralston-2"


@pytest.mark.parametrize(
    ("reference", "error", "said"),
    [
        ("my_sceme.py:RALSTON", OutsideError, r"there is no file .*my_sceme\.py; did you mean .*my_scheme\.py\?"),
        ("my_scheme.py", OutsideError, r"names a file, but no scheme in it; write .*my_scheme\.py:RALSTON"),
        ("my_scheme.py:RALSTONE", UnknownName, r"unknown scheme in .*'RALSTONE'; did you mean 'RALSTON'\?"),
        ("my_scheme.py:pynode", UnknownName, "unknown scheme in"),
        ("my_field.py:Damped", OutsideError, "is the class Damped, not an instance of Scheme; give the scheme that"),
        ("wrong.py:OTHER", OutsideError, r"is of type int, not an instance of Scheme; did you mean RIGHT\?"),
        ("named.py:S", OutsideError, r"is called '\.\./x', which can't be part of a folder's name; give it a `name`"),
        ("clash.py:S", NameClash, r"two members are the scheme 'rk4': pynode\.schemes\.\S+, and .*clash\.py:S; give"),
        (
            "fails.py:S",
            OutsideError,
            r"fails\.py, line 3, in late: ZeroDivisionError: division by zero; the scheme S is",
        ),
        ("spelt.py:S", OutsideError, r"spelt\.py, line 2: SyntaxError: .*; the scheme S is in this file: correct it"),
        ("leaves.py:S", OutsideError, r"leaves\.py, line 1: SystemExit: 3; "),
    ],
)
def test_mistakes_are_told(
    reference: str, error: type[Exception], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path)
    made = "import pynode\nRIGHT = S = pynode.Scheme({!r}, 1, ((),), (1.0,), (0.0,))\nOTHER = 1\n"
    for name, source in {
        "wrong": made.format("right"),
        "named": made.format("../x"),
        "clash": made.format("rk4"),
        "fails": "S = None\ndef late():\n    return 1 / 0\nlate()\n",
        "spelt": "S = 1\nS = = 2\n",
        "leaves": "raise SystemExit(3)\n",
    }.items():
        (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    for path in (reference, str(tmp_path / reference)):
        with pytest.raises(error, match=said):
            pynode.SCHEMES.load(path)


def test_what_a_class_lacks_is_told(tmp_path: Path) -> None:
    write_files(tmp_path)
    file = tmp_path / "my_problem.py"
    source = file.read_text()
    file.write_text(source.replace("def evaluate", "def assess"))
    with pytest.raises(OutsideError, match=r"my_problem\.py:Decay lacks evaluate, which every problem defines; add"):
        pynode.PROBLEMS.load(f"{file}:Decay")
    file.write_text(source.replace('    name: ClassVar[str] = "decay"\n', ""))
    with pytest.raises(OutsideError, match="Decay has no name; give it a `name` of letters"):
        pynode.PROBLEMS.load(f"{file}:Decay")


def test_two_files_with_one_name(tmp_path: Path) -> None:
    reference = write_files(tmp_path)["scheme"]
    (tmp_path / "copy.py").write_text(SOURCES["scheme"] + "\n")
    pynode.SCHEMES.load(reference)
    with pytest.raises(NameClash, match=r"'ralston': .*my_scheme\.py:RALSTON, and .*copy\.py:RALSTON; give the one"):
        pynode.SCHEMES.load(f"{tmp_path / 'copy.py'}:RALSTON")
    assert pynode.SCHEMES.load("ralston").order == 2


def test_a_closed_registry_takes_no_files(tmp_path: Path) -> None:
    from pynode.studies import STUDIES

    with pytest.raises(UnknownName):
        STUDIES.load(write_files(tmp_path)["scheme"])
