"""Imports go one way, and the command line starts without torch or Julia."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "pynode"

LEAVES = ("errors", "types", "outside_members", "registry", "seeding", "wording", "deferred", "placement")
CORE = (*LEAVES, "activations", "grid", "samples", "solution", "evaluation")
REBUILDING = ("rebuilding", "second_derivatives", "transforms")
EVERYTHING = ("",)

ALLOWED: dict[str, tuple[str, ...]] = {
    # part of pynode: the parts, or single modules of them, that it may import beside itself
    "errors": (),
    "wording": (),
    "types": (),
    "deferred": (),
    "placement": (),
    "outside_members": ("errors",),
    "registry": ("errors", "outside_members"),
    "finite": ("errors", "transforms"),
    "world": ("errors",),
    "distributed": ("errors", "world"),
    "activations": ("errors",),
    "layers": ("activations", "types"),
    "tangents": ("types",),
    "arguments": ("errors",),
    "steps": ("errors", "arguments"),
    "precision": ("errors", "arguments"),
    "grid": ("errors", "types", "steps"),
    "seeding": ("errors",),
    "memory": (),
    "solution": ("memory", "types"),
    "transforms": ("errors",),
    "evaluation": ("errors", "solution", "transforms", "types"),
    "reads": (),
    "field_state": (),
    "rebuilding": ("errors", "deferred", "types", "solution", "evaluation", "reads", "field_state"),
    "second_derivatives": ("errors", "transforms"),
    "samples": (),
    "drift": ("errors", "types", "samples", "solution"),
    "adjoint": ("errors", "deferred", "types", "finite", "samples", "solution", "world"),
    "clock": (),
    # names of members only, to tell an unknown one: neither imports a method or a problem
    "records": ("errors", "registry", "methods", "problems"),
    "fields": (*LEAVES, "activations", "layers", "tangents"),
    "schemes": (*LEAVES, "grid"),
    "tapes": (*LEAVES, "reads", "field_state", "transforms", "fields.base"),
    "julia": ("errors", "arguments", "wording"),  # no torch either: the worker is not to load it
    "gradients": ("errors", "arguments", "steps"),
    # one solve, described: what methods make, and engines run
    "solve": (
        *LEAVES,
        "precision",
        "steps",
        "grid",
        "solution",
        "evaluation",
        "world",
        "fields.base",
        "schemes",
        "gradients",
        "tapes",
    ),
    "engines": (
        *LEAVES,
        "precision",
        "arguments",
        "activations",
        "steps",
        "grid",
        "memory",
        "reads",
        "finite",
        "samples",
        "solution",
        "evaluation",
        "adjoint",
        "drift",
        "fields",
        "schemes",
        "gradients",
        "solve",
        "tapes",
        "julia",
        "world",
        *REBUILDING,
    ),
    "methods": (
        *LEAVES,
        "arguments",
        "finite",
        "memory",
        "steps",
        "grid",
        "samples",
        "solution",
        "evaluation",
        "transforms",
        "schemes",
        "gradients",
        "solve",
        "fields.base",
        "engines",
        "world",
    ),
    "least_squares": (
        "errors",
        "deferred",
        "arguments",
        "finite",
        "types",
        "solution",
        "solve",
        "engines",
        "methods.base",
        "grid",
    ),
    "torchdiffeq_interface": (
        *LEAVES,
        "gradients",
        "grid",
        "samples",
        "solution",
        "solve",
        "steps",
        "evaluation",
        "drift",
        "engines",
        "schemes",
        "methods.base",
        *REBUILDING,
    ),
    "datasets": ("errors", "wording"),
    # a user's series over time
    "trajectories": (
        *LEAVES,
        "datasets",
        "fields",
        "engines.fixed_steps",
        "methods.base",
        "schemes",
        "solution",
    ),
    # what conditions a field, as columns of the state
    "context": ("errors", "types", "finite", "fields.base", "methods.base"),
    "neural_ode": ("errors", "types", "context", "evaluation", "fields.base", "grid", "methods", "schemes", "solution"),
    # a flow is solved by some method where nobody names another, and judged by an accurate one
    "flows": (
        *LEAVES,
        "context",
        "grid",
        "solution",
        "tangents",
        "transforms",
        "evaluation",
        "fields",
        "schemes",
        "methods",
    ),
    # which engine runs a solve, and why
    "explanation": (*LEAVES, "engines", "fields.base", "flows", "methods", "solve", "tapes"),
    # a problem takes any method, so it knows their base alone; it may solve accurately by a scheme
    "problems": (
        *LEAVES,
        "arguments",
        "steps",
        "gradients",
        "finite",
        "activations",
        "grid",
        "solution",
        "fields",
        "schemes",
        "engines",
        "methods.base",
        "least_squares",
        "flows",
        "datasets",
        "trajectories",
        "world",
        "clock",
    ),
    # trains one problem without records
    "series_fit": ("errors", "datasets", "methods", "problems", "trajectories"),
    # reads the source of methods and problems; what it imports of them are registries
    "settings": ("arguments", "engines", "errors", "registry", "schemes", "methods", "problems"),
    # what a study measures may solve; what it shows is drawn from records alone, as the test below holds
    "studies": (
        *CORE,
        "precision",
        "settings",
        "arguments",
        "gradients",
        "solve",
        "clock",
        "memory",
        "records",
        "fields",
        "schemes",
        "engines",
        "methods",
        "flows",
        "tapes",
        "trajectories",  # errors of forecasts
        "problems",
    ),
    "training": (
        *CORE,
        "precision",
        "arguments",
        "settings",
        "steps",
        "gradients",
        "engines",
        "clock",
        "memory",
        "world",
        "records",
        "fields",
        "schemes",
        "julia",
        "methods",
        "solve",
        "flows.probes",
        "problems",
    ),
    "sweeps": (
        "errors",
        "fields",
        "arguments",
        "settings",
        "registry",
        "records",
        "datasets",
        "schemes",
        "methods",
        "problems",
        "training",
        "wording",
    ),
    "cli": EVERYTHING,
    "__init__": EVERYTHING,
}

THIRD_PARTY: dict[str, tuple[str, ...]] = {
    # package: who may import it; any other user is an edge that somebody has to want
    "juliacall": ("julia.worker",),
    "diffeqpy": ("julia.worker",),
    "setuptools": ("julia.wheel",),
    "numba": ("engines",),
    "llvmlite": ("engines",),
    "triton": ("engines",),
    "filelock": ("records.lock",),
    "ray": ("sweeps.executors.ray",),
    "typer": ("cli",),
    "click": ("cli",),
    "matplotlib": ("studies",),
    "jinja2": ("studies.page",),
    "torchdiffeq": ("engines.eager", "engines.graph.adaptive", "torchdiffeq_interface"),
}

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
    assert parts - set(ALLOWED) == set(), "write the allowed imports of these parts into ALLOWED in this file"


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
