"""What engine julia is asked for: the memory that a solution may take, and shapes that are checked beforehand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import pynode
from pynode.arguments import memory_bytes
from pynode.cli import main
from pynode.engines.julia.engine import bridge_options
from pynode.errors import InvalidArgument
from pynode.flows.augmented import AugmentedField, RunningCosts
from pynode.flows.divergence import Hutchinson
from pynode.methods.base import GradientMethod, method_from_json

TS = torch.tensor([0.0, 1.0], dtype=torch.float64)


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (1, 1),
        (4_000_000_000, 4 * 10**9),
        ("4GiB", 4 * 2**30),
        ("1.5 gib", 3 * 2**29),
        ("500 MB", 5 * 10**8),
        ("2048", 2048),
        ("100kB", 10**5),
        ("1KiB", 1024),
    ],
)
def test_amounts_of_memory(value: int | str, count: int) -> None:
    assert memory_bytes("memory_limit", value) == count


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "much", "4GiBit", "-4GiB", "", "0.1", "9e9", 2**63, None])
def test_what_is_no_amount_of_memory(value: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"memory_limit = .*: not an amount of memory; use a number of bytes, or"):
        memory_bytes("memory_limit", value)


@pytest.mark.parametrize(
    "method",
    [pynode.OptDiscJulia(memory_limit="1GiB"), pynode.OptDisc(solver="tsit5", engine="julia", memory_limit=2**30)],
)
def test_a_memory_limit_travels_in_bytes(method: GradientMethod) -> None:
    """With the method's own options, into its record and back."""
    assert bridge_options(method.recipe, TS)["memory"] == 2**30
    assert method_from_json(method.to_json()) == method
    again = pynode.method(method.recipe.scheme, method.recipe.steps, method.recipe.gradient, "julia")
    assert bridge_options(again.recipe, TS)["memory"] == 2**30


def test_without_a_memory_limit_julia_decides() -> None:
    assert "memory" not in bridge_options(pynode.OptDiscJulia().recipe, TS)


def test_a_memory_limit_is_refused_by_other_engines() -> None:
    with pytest.raises(
        InvalidArgument, match="memory_limit = '1GiB': engine = 'eager' does not have it; drop it, or use"
    ):
        pynode.OptDisc(engine="eager", memory_limit="1GiB")
    with pytest.raises(InvalidArgument, match="memory_limit = 'lots': not an amount of memory"):
        pynode.OptDiscJulia(memory_limit="lots")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--backend julia --memory-limit lots", "--memory-limit = 'lots': not an amount of memory"),
        ("--methods disc-opt --memory-limit 1GiB", "--memory-limit = 1GiB: no effect on disc-opt"),
    ],
)
def test_the_command_line_has_the_limit(option: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "spiral", *option.split()]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.usefixtures("stand_in_for_julia")
def test_a_limit_of_the_command_line_reaches_the_run(tmp_path: Any) -> None:
    command = "compare spiral --backend julia --memory-limit 1GiB --iterations 1 --no-checks"
    assert main([*command.split(), "--out", str(tmp_path / "x")]) == 0
    (config,) = (tmp_path / "x" / "runs").glob("opt-disc*/config.json")
    assert '"memory_limit": "1GiB"' in config.read_text()


@pytest.mark.usefixtures("bare_machine")
@pytest.mark.parametrize("shape", [(2, 2), (3, 1), (3, 3), (1, 2)])
def test_probes_of_another_shape_are_refused_before_julia(shape: tuple[int, int]) -> None:
    """One probe a sample: Julia would read beyond the end of a shorter array."""
    field = pynode.MLP((2, 4, 2)).build(seed=0)
    probes = torch.ones(shape, dtype=torch.float64)
    flow = AugmentedField(field, 2, Hutchinson(), probes, RunningCosts())
    y0 = torch.ones(3, 3, dtype=torch.float64)
    with pytest.raises(InvalidArgument, match=r"probes = .*: wrong shape; give one probe a sample, .* \(3, 2\)"):
        pynode.DiscOptJulia().solve(flow, y0, TS)
