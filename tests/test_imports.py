"""Imports go one way, and the command line starts without torch or Julia."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.import_rules import ALLOWED, EVERYTHING, THIRD_PARTY

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "pynode"

Import = tuple[str, str]
"""Importing module (from `pynode.` on), imported module (full name)."""


def part_of(path: Path) -> str:
    """`methods.disc_opt` for `pynode/methods/disc_opt.py`, `methods` for its `__init__`."""
    names = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(names[:-1] if names[-1] == "__init__" and len(names) > 1 else names)


def imports_of(path: Path) -> Iterator[str]:
    """Full names of all that a file imports, inside functions too; not what only the type checker sees."""
    skipped: set[ast.AST] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped.update(n for child in node.body for n in ast.walk(child))
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write it in full"
            # `from pynode import odeint` and `from pynode.schemes import base` import modules as well
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                is_module = (ROOT / Path(*module.split("."))).with_suffix(".py").exists() or (
                    ROOT / Path(*module.split("."))
                ).is_dir()
                yield module if is_module else str(node.module)


ALL_IMPORTS: list[Import] = [
    (part_of(path), name) for path in sorted(PACKAGE.rglob("*.py")) for name in imports_of(path)
]


def covers(rule: str, module: str) -> bool:
    """Whether `module` is `rule` or lies in it."""
    return rule == "" or module == rule or module.startswith(f"{rule}.")


def inner_edges() -> set[Import]:
    """Imports of pynode by pynode, across parts."""
    edges = {(a, b.removeprefix("pynode").removeprefix(".")) for a, b in ALL_IMPORTS if b.split(".")[0] == "pynode"}
    return {(a, b) for a, b in edges if a.split(".")[0] != b.split(".")[0]}


def test_every_part_has_its_rule() -> None:
    """A new folder has to say what it may know."""
    parts = {part_of(path).split(".")[0] for path in PACKAGE.rglob("*.py")}
    assert parts - set(ALLOWED) == set(), "write what these parts may import into ALLOWED in tests/import_rules.py"


def test_imports_go_one_way() -> None:
    """No edge but those of the table."""
    wrong = {(a, b) for a, b in inner_edges() if not any(covers(rule, b) for rule in ALLOWED.get(a.split(".")[0], ()))}
    assert sorted(wrong) == []


def test_the_parser_sees_the_imports() -> None:
    """So that the tests above can't pass by seeing nothing: some edges that must be there."""
    edges = inner_edges()
    assert ("methods.disc_opt", "schemes.base") in edges
    assert ("problems.base", "methods.base") in edges
    assert ("fields.base", "errors") in edges
    assert ("engines.eager.continuous", "torchdiffeq") in ALL_IMPORTS
    assert ("fields.base", "pynode.fields") in ALL_IMPORTS  # inside a function


def test_the_table_has_no_circles() -> None:
    """One way means an order: each part can be put after all that it may import."""
    allowed = {
        part: {rule.split(".")[0] for rule in rules} for part, rules in ALLOWED.items() if rules is not EVERYTHING
    }
    done: set[str] = set()
    while ready := {part for part, rules in allowed.items() if part not in done and rules <= done}:
        done |= ready
    assert done == set(allowed)


def reached_from(module: str) -> set[str]:
    """Full names of all that `module` imports, and what that imports in turn; `pynode.` is left out."""
    reached, ahead = {module}, [module]
    while ahead:
        user = ahead.pop()
        imported = {b for a, b in ALL_IMPORTS if a == user}
        inside = {b.removeprefix("pynode.") for b in imported if b.startswith("pynode.")} - reached
        reached |= inside | imported  # `types` of the standard library is not `pynode.types`
        ahead += inside
    return reached


SHOWN = sorted({part for part, _ in ALL_IMPORTS if part.startswith("studies.") and part.endswith(".study")})


@pytest.mark.parametrize("module", [*SHOWN, "studies.render"])
def test_tables_and_figures_need_records_alone(module: str) -> None:
    """What shows a study can neither solve nor train: it reaches no torch; what measures it draws nothing."""
    reached = reached_from(module)
    assert {"studies.results", "studies.base"} <= reached
    assert reached & {"torch", "torch.nn", "methods.base", "problems.base"} == set()


def test_measuring_draws_nothing() -> None:
    """So that a solve does not wait for matplotlib."""
    measuring = {a for a, b in ALL_IMPORTS if a.startswith("studies.") and b.split(".")[0] == "torch"}
    assert {"studies.gradients.taylor", "studies.crosscheck.check", "studies.winners.map"} <= measuring
    assert [m for m in measuring if any(name.split(".")[0] == "matplotlib" for name in reached_from(m))] == []


@pytest.mark.parametrize("package", sorted(THIRD_PARTY))
def test_special_packages_stay_where_they_belong(package: str) -> None:
    """juliacall in one process of its own, compilers in the engines, typer and matplotlib out of the library."""
    users = {a for a, b in ALL_IMPORTS if b.split(".")[0] == package}
    wrong = {user for user in users if not any(covers(rule, user) for rule in THIRD_PARTY[package])}
    assert sorted(wrong) == []


def test_nobody_imports_tests_or_experiments() -> None:
    """The library stands alone; experiments do not lean on tests."""
    assert not [edge for edge in ALL_IMPORTS if edge[1].split(".")[0] in ("tests", "experiments")]
    for path in (ROOT / "experiments").rglob("*.py"):
        assert not [name for name in imports_of(path) if name.split(".")[0] == "tests"]


def test_no_public_name_is_that_of_a_module() -> None:
    """Importing a submodule binds its name in the package, so `pynode.odeint` could turn into a module."""
    import pynode

    modules = {path.stem for path in PACKAGE.iterdir()}
    assert sorted(modules & set(pynode.__all__)) == []


def test_the_public_names_exist() -> None:
    """Each name of `__all__` loads, and an unknown one is an AttributeError."""
    import pynode

    assert {"odeint", "odeint_adjoint", "odeint_event"} <= set(pynode.__all__)
    for name in pynode.__all__:
        assert getattr(pynode, name) is not None
    assert set(pynode.__all__) <= set(dir(pynode))
    with pytest.raises(AttributeError, match="nosuch"):
        _ = pynode.nosuch
