"""What all tests share: one thread, and a small example of every registered field."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from pynode.fields.antisymmetric import Antisymmetric
from pynode.fields.base import Field, FieldSpec
from pynode.fields.concatsquash import ConcatSquash
from pynode.fields.hamiltonian import Hamiltonian
from pynode.fields.mlp import MLP
from pynode.julia.environment import find, missing
from tests.drawing import figures_drawn, figures_not_drawn
from tests.properties.profiles import register

register()  # for all tests by hypothesis, whichever are run
torch.set_num_threads(1)  # the tensors here are small: threads cost more than they give, and workers share the cores

SMALL_SPECS: dict[str, FieldSpec] = {
    "antisymmetric": Antisymmetric(dim=3, activation="tanh", gamma=0.1),
    "concatsquash": ConcatSquash(widths=(2, 4, 2), activation="softplus"),
    "hamiltonian": Hamiltonian(dim=4, width=3, activation="tanh"),
    "mlp": MLP(widths=(2, 5, 2), activation="tanh", input_power=2),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `julia` are skipped where Julia can't be used, and say what is missing."""
    marked = [item for item in items if item.get_closest_marker("julia")]
    if marked and (problems := missing(find())):
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=f"no Julia: {'; '.join(problems)}"))


@pytest.fixture(scope="session")
def small_spec() -> Callable[[str], FieldSpec]:
    """A small specification of the registered field of a given name."""

    def spec(name: str) -> FieldSpec:
        if name not in SMALL_SPECS:
            pytest.fail(f"the field '{name}' has no example: add one to SMALL_SPECS in {__file__}")
        return SMALL_SPECS[name]

    return spec


@pytest.fixture(scope="session")
def small_field(small_spec: Callable[[str], FieldSpec]) -> Callable[[str], Field]:
    """A new small field, float64; no parameter is zero, so that no gradient is zero by accident."""

    def field(name: str) -> Field:
        spec = small_spec(name)
        noise = torch.randn(spec.n_params, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
        return spec.build(theta=0.6 * noise)

    return field


@pytest.fixture(scope="session")
def small_state(small_spec: Callable[[str], FieldSpec]) -> Callable[[str], torch.Tensor]:
    """A batch of three states that fits the small field of a given name, float64."""

    def state(name: str) -> torch.Tensor:
        shape = (3, small_spec(name).state_dim)
        return 0.8 * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(11))

    return state


@pytest.fixture(scope="session", autouse=True)
def figures_are_not_drawn() -> Iterator[None]:
    """Figures are made but not drawn, which takes a second of CPU each; see `drawn_figures`."""
    with figures_not_drawn():
        yield


@pytest.fixture
def drawn_figures() -> Iterator[None]:
    """For tests of what is in a figure's file: figures are drawn, in that test only."""
    with figures_drawn():
        yield


@pytest.fixture(autouse=True)
def same_global_seed() -> None:
    """What follows torch's global generator is the same in every order of tests."""
    torch.manual_seed(0)


@pytest.fixture(params=["eager", "fused"])
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine in turn: every test that takes it runs on both."""
    from pynode.engines.fused import unavailable

    if request.param == "fused" and (reason := unavailable()):
        pytest.skip(reason)
    return str(request.param)


@pytest.fixture
def stand_in_for_julia(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the Julia methods' worker be the stand-in, which computes by torch behind the same protocol.

    So all that promises anything of every method can include them without Julia; its process lives as long as pytest's.
    """
    stand_in = Path(__file__).parent / "julia" / "stand_in.py"
    monkeypatch.setenv("PYNODE_JULIA_WORKER", json.dumps([sys.executable, str(stand_in), ""]))
