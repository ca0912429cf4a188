"""What Python calls in Julia exists there, with that name and number of arguments: both sides are read as text."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from pynode.activations import ACTIVATIONS
from pynode.engines.julia.engine import ADJOINTS, SOLVERS, VJPS, bridge_options
from pynode.fields import FIELDS
from pynode.julia.prepared import REPORT_FIELDS
from pynode.julia.worker import BRIDGE, RELEASE, BridgeFunction
from pynode.schemes import SCHEMES

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "julia" / "src"
ALL_JULIA = "\n".join(path.read_text(encoding="utf-8") for path in sorted(SOURCES.rglob("*.jl")))


def julia_functions(path: Path) -> dict[str, list[str]]:
    """Names and positional arguments of the functions that a Julia file defines, long form and short form."""
    text = path.read_text(encoding="utf-8")
    functions = {}
    for pattern in (r"^function ([\w!]+)\(([^)]*)\)", r"^([\w!]+)\(([^)]*)\) = "):
        for name, arguments in re.findall(pattern, text, flags=re.MULTILINE):
            positional = arguments.partition(";")[0]
            functions[name] = [a.strip() for a in positional.split(",") if a.strip()]
    return functions


@pytest.mark.parametrize("function", [*BRIDGE.values(), RELEASE], ids=lambda function: function.name)
def test_bridge_functions_exist_with_their_arguments(function: BridgeFunction) -> None:
    """By name and order: an argument that Python calls `theta` is called so in Julia."""
    known = julia_functions(SOURCES / "bridge.jl")
    assert function.name in known
    assert [getattr(a, "name", "cancel") for a in function.arguments] == known[function.name]


def test_the_worker_calls_nothing_else_of_ours() -> None:
    """`PyNODE.` stands in the worker's Julia code only where the table is used."""
    source = (ROOT / "pynode" / "julia" / "worker.py").read_text(encoding="utf-8")
    used = [n.value for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    assert [text for text in used if text.startswith("PyNODE.")] == ["PyNODE.Bridge."]


def test_every_file_is_included() -> None:
    """A source that nobody includes would never be compiled."""
    included = set(re.findall(r'^include\("([^"]+)"\)', ALL_JULIA, flags=re.MULTILINE))
    assert included == {str(p.relative_to(SOURCES)) for p in SOURCES.rglob("*.jl")} - {"PyNODE.jl"}


PAIRS = ("dopri5", "tsit5", "bosh3", "fehlberg2", "dopri8")
"""Schemes that Julia is given by their coefficients, and has no names for."""


def keys_of(constant: str) -> set[str]:
    """The keys of a constant Dict, or the entries of a constant tuple, where these are strings."""
    lines = ALL_JULIA.splitlines()
    start = next(k for k, line in enumerate(lines) if line.startswith(f"const {constant} = "))
    if lines[start].endswith('")'):
        return set(re.findall(r'"(\w+)"', lines[start]))
    end = lines.index(")", start)
    return {key for line in lines[start:end] for key in re.findall(r'^    "(\w+)" =>', line)}


def test_names_of_choices_are_the_same_on_both_sides() -> None:
    """Fields, activations, schemes, adjoints, solvers, products."""
    assert set(re.findall(r'^FIELDS\["(\w+)"\]', ALL_JULIA, flags=re.MULTILINE)) == {*FIELDS.names(), "tape"}
    assert keys_of("ACTIVATIONS") == set(ACTIVATIONS)
    assert keys_of("ADJOINTS") == set(ADJOINTS)
    assert keys_of("VJPS") == set(VJPS)
    assert keys_of("SOLVERS") == set(SOLVERS)
    schemes = set(re.findall(r'Scheme\(\s*"(\w+)",\s*\d', ALL_JULIA))
    assert schemes == {name for name, scheme in SCHEMES.load_all().items() if scheme.solver not in PAIRS}


def test_entries_of_a_report_are_the_same_on_both_sides() -> None:
    """They have no names where they are sent."""
    assert keys_in_order("REPORT") == REPORT_FIELDS


def keys_in_order(constant: str) -> tuple[str, ...]:
    """The entries of a constant tuple of strings, one a line."""
    lines = ALL_JULIA.splitlines()
    start = lines.index(f"const {constant} = (")
    return tuple(line.strip(' ",') for line in lines[start + 1 : lines.index(")", start)])


def test_options_of_opt_disc_are_keywords_in_julia() -> None:
    """Each entry of the options that Python sends is read there."""
    import torch

    from pynode.methods.disc_opt_julia import DiscOptJulia
    from pynode.methods.opt_disc_julia import OptDiscJulia

    specs = (SOURCES / "specs.jl").read_text(encoding="utf-8")
    ts = torch.tensor([0.0, 1.0])
    for method in (OptDiscJulia(), OptDiscJulia(memory_limit=1), DiscOptJulia()):
        for option in bridge_options(method.recipe, ts):
            assert re.search(rf'[:"]{option}\b', specs), option
