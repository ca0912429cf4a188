"""pynode's own fields on the kernels: whatever is done to them, the gradient is that of stages stored by torch
operators, or a typed error says why it can't be."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrizations, parametrize, prune

import pynode
from pynode.engines.fused import unavailable
from pynode.errors import FieldChanged
from pynode.fields.base import Field
from pynode.methods.base import GradientMethod

if unavailable():
    pytest.skip(str(unavailable()), allow_module_level=True)

TS = torch.linspace(0.0, 1.0, 3, dtype=torch.float64)
STORE = pynode.DiscOpt(steps=20, engine="eager")
METHODS: dict[str, tuple[GradientMethod, float]] = {
    "store": (pynode.DiscOpt(steps=20), 1e-10),
    "recompute": (pynode.DiscOpt(steps=20, memory="recompute"), 1e-10),
    "checkpoint": (pynode.DiscOpt(steps=20, memory="checkpoint", budget=3), 1e-10),
    "backsolve": (pynode.OptDisc(rtol=1e-8, atol=1e-10, adjoint="backsolve"), 1e-5),
    "interpolating": (pynode.OptDisc(rtol=1e-8, atol=1e-10, adjoint="interpolating"), 1e-5),
}
SPECS = {
    "mlp": pynode.MLP((2, 6, 2)),
    "concatsquash": pynode.ConcatSquash((2, 6, 2)),
    "antisymmetric": pynode.Antisymmetric(2),
    "hamiltonian": pynode.Hamiltonian(2, 5),
}

Solve = Callable[[nn.Module, Tensor], Tensor]
Case = Callable[[Field, Solve], tuple[Tensor, Sequence[Tensor]]]
CASES: dict[str, Case] = {}


def case(build: Case) -> Case:
    CASES[build.__name__.replace("_", " ")] = build
    return build


def start() -> Tensor:
    return torch.linspace(-1.0, 1.0, 6, dtype=torch.float64).reshape(3, 2).requires_grad_()


def first(field: nn.Module) -> str:
    """The name of the first parameter."""
    return next(name for name, _ in field.named_parameters())


@case
def nothing_more(field: Field, solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    y0 = start()
    return solve(field, y0), [y0, *field.parameters()]


@case
def frozen_parameter(field: Field, solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    next(field.parameters()).requires_grad_(False)
    return solve(field, start()), [p for p in field.parameters() if p.requires_grad]


@case
def parameters_of_an_encoder_before_it(field: Field, solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    encoder = nn.Linear(2, 2).double()
    return solve(field, encoder(start().detach())), [*encoder.parameters(), *field.parameters()]


@case
def several_intervals(field: Field, solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    y = start()
    for _ in range(3):
        y = solve(field, y)
    return y, [*field.parameters()]


@case
def copied(field: Field, solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    other = copy.deepcopy(field)
    return solve(field, start()) + solve(other, start()), [*field.parameters(), *other.parameters()]


@case
def given_leaves(field: Field, solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    leaves = {name: p.detach().mul(1.5).requires_grad_() for name, p in field.named_parameters()}

    class Called(nn.Module):
        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return functional_call(field, leaves, (t, y))

    return solve(Called(), start()), list(leaves.values())


@case
def given_by_a_hypernet(field: Field, solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    scale = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    given = {f"field.{name}": p.detach() * scale for name, p in field.named_parameters()}

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.field = field

        def forward(self, y0: Tensor) -> Tensor:
            return solve(self.field, y0)

    return functional_call(Whole(), given, (start(),)), [scale]


@case
def weight_norm(field: Field, solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    parametrizations.weight_norm(field, first(field))
    return solve(field, start()), [*field.parameters()]


@case
def parametrized(field: Field, solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    class Doubled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * x

    parametrize.register_parametrization(field, first(field), Doubled())
    return solve(field, start()), [*field.parameters()]


@case
def pruned(field: Field, solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    prune.l1_unstructured(field, first(field), amount=0.25)
    return solve(field, start()), [*field.parameters()]


@case
def hooked(field: Field, solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    scale = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    field.register_forward_hook(lambda _module, _inputs, output: output * scale)
    return solve(field, start()), [scale, *field.parameters()]


@case
def inside_a_module_with_more(field: Field, solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    context = torch.tensor([0.3, -0.2], dtype=torch.float64, requires_grad=True)

    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.field, self.context = field, 2 * context

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return self.field(t, y) + self.context

    return solve(Shifted(), start()), [context, *field.parameters()]


@case
def replaced_parameter_after_the_solve(field: Field, solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    wanted = [*field.parameters()]
    y = solve(field, start())
    setattr(field, first(field), nn.Parameter(torch.zeros_like(wanted[0])))
    return y, wanted


@case
def frozen_after_the_solve(field: Field, solve: Solve) -> tuple[Tensor, Sequence[Tensor]]:
    y = solve(field, start())
    field.eval()
    return y, [*field.parameters()]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", CASES)
def test_the_gradient_is_that_of_stored_stages(name: str, method: str, spec: str) -> None:
    by, tolerance = METHODS[method]
    gradients = []
    for way in (STORE, by):
        torch.manual_seed(0)
        end, wanted = CASES[name](SPECS[spec].build(seed=3), lambda f, y, m=way: m.solve(f, y, TS).ys[-1])  # type: ignore[misc]
        gradients.append(torch.autograd.grad(end.square().sum() + end.sum(), wanted))
    for got, right in zip(gradients[1], gradients[0], strict=True):
        assert float(right.norm()) > 0
        assert float((got - right).norm()) <= tolerance * float(right.norm()) + 1e-12


def _step(field: Field) -> None:
    with torch.no_grad():
        next(field.parameters()).add_(1.0)


def _load(field: Field) -> None:
    field.load_state_dict({name: p + 1 for name, p in field.state_dict().items()})


def _set_theta(field: Field) -> None:
    field.set_theta(field.theta() + 1)


@pytest.mark.parametrize("change", [_step, _load, _set_theta])
@pytest.mark.parametrize("method", METHODS)
def test_weights_changed_before_the_gradient(method: str, change: Callable[[Field], None]) -> None:
    """The gradient at the weights of the solve, or an error; never one at the new weights or a mixture of both."""
    by, tolerance = METHODS[method]
    field = SPECS["mlp"].build(seed=3)
    right = torch.autograd.grad(STORE.solve(field, start(), TS).ys[-1].square().sum(), list(field.parameters()))
    loss = by.solve(field, start(), TS).ys[-1].square().sum()
    change(field)
    try:
        gradients = torch.autograd.grad(loss, list(field.parameters()))
    except FieldChanged:
        return
    for got, wanted in zip(gradients, right, strict=True):
        assert float((got - wanted).norm()) <= tolerance * float(wanted.norm())
