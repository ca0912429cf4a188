"""pynode's own fields under parametrizations, pruning, hooks and assigned tensors: the values that torch computes."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from pynode.errors import InvalidArgument
from pynode.fields.antisymmetric import Antisymmetric
from pynode.fields.base import Field, FieldSpec, has_formulas, system_of, why_no_system
from pynode.fields.concatsquash import ConcatSquash
from pynode.fields.hamiltonian import Hamiltonian
from pynode.fields.mlp import MLP
from pynode.flows.divergence import Exact, Hutchinson
from pynode.flows.flow import Flow
from pynode.flows.probes import Draw
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.schemes.rk4 import RK4

SPECS: tuple[FieldSpec, ...] = (MLP((2, 6, 2)), ConcatSquash((2, 6, 2)), Antisymmetric(2), Hamiltonian(2, 5))
TS = torch.tensor([0.0, 1.0], dtype=torch.float64)
Y0 = torch.linspace(-1, 1, 8, dtype=torch.float64).reshape(4, 2)


class Doubled(nn.Module):
    """Twice the weight."""

    def forward(self, W: Tensor) -> Tensor:
        return 2 * W

    def right_inverse(self, W: Tensor) -> Tensor:
        return W / 2


def old(change: Callable[..., object]) -> Callable[[Field, str], object]:
    """An older function of torch's, without its warning."""

    def apply(field: Field, name: str) -> object:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return change(field, name)

    return apply


def hyper(field: Field, name: str) -> None:
    """The weight is what another parameter makes of itself."""
    weight = getattr(field, name).detach()
    delattr(field, name)
    source = nn.Parameter(weight.clone())
    field.register_parameter("source", source)
    setattr(field, name, 0.5 * source)


CHANGES: dict[str, Callable[[Field, str], object]] = {
    "spectral_norm": parametrizations.spectral_norm,
    "weight_norm": parametrizations.weight_norm,
    "orthogonal": parametrizations.orthogonal,
    "parametrization": lambda f, name: parametrize.register_parametrization(f, name, Doubled()),
    "l1 pruning": lambda f, name: prune.l1_unstructured(f, name, amount=0.5),
    "structured pruning": lambda f, name: prune.ln_structured(f, name, amount=1, n=2, dim=0),
    "old weight_norm": old(nn.utils.weight_norm),
    "old spectral_norm": old(nn.utils.spectral_norm),
    "assigned": hyper,
}


def changed(spec: FieldSpec, change: str) -> Field:
    """A field whose first weight is computed; in evaluation mode, so that no power iteration goes on."""
    field = spec.build(seed=4)
    CHANGES[change](field, spec.slots()[0].name)
    field.eval()
    field(TS[0], Y0)
    return field


def by_hand(field: Field, y: Tensor, steps: int) -> Tensor:
    """Classical RK4 over [0, 1], by calls of the field."""
    h = 1 / steps
    for n in range(steps):
        t = torch.tensor(n * h, dtype=torch.float64)
        k1 = field(t, y)
        k2 = field(t + h / 2, y + h / 2 * k1)
        k3 = field(t + h / 2, y + h / 2 * k2)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + field(t + h, y + h * k3))
    return y


def gradient(value: Tensor, field: Field) -> Tensor:
    """By all parameters."""
    gradients = torch.autograd.grad(value, list(field.parameters()), materialize_grads=True)
    return torch.cat([g.reshape(-1) for g in gradients])


EACH = pytest.mark.parametrize("change", CHANGES)


@EACH
@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.architecture)
def test_a_solve_and_its_gradient_are_those_by_hand(spec: FieldSpec, change: str) -> None:
    field = changed(spec, change)
    wanted = by_hand(field, Y0, 3)
    ys = DiscOpt(RK4, steps=3).solve(field, Y0, TS).ys[-1]
    torch.testing.assert_close(ys, wanted)
    if change == "assigned":  # the graph of its weight is gone through once
        (by_source,) = torch.autograd.grad(ys.square().sum(), [field.get_parameter("source")])
        assert float(by_source.norm()) > 1e-2
        return
    mine, truth = (gradient(value.square().sum(), field) for value in (ys, wanted))
    torch.testing.assert_close(mine, truth)
    assert float(mine.norm()) > 1e-2


@pytest.mark.parametrize("change", [change for change in CHANGES if change != "assigned"])
@pytest.mark.parametrize("method", [DiscOpt(steps=3, memory="recompute"), OptDisc(rtol=1e-9, atol=1e-11)])
def test_methods_that_rebuild_the_graph_agree(change: str, method: GradientMethod) -> None:
    field = changed(SPECS[0], change)
    steps = 3 if isinstance(method, DiscOpt) else 60
    truth = gradient(by_hand(field, Y0, steps).square().sum(), field)
    mine = gradient(method.solve(field, Y0, TS).ys[-1].square().sum(), field)
    torch.testing.assert_close(mine, truth, rtol=1e-6, atol=1e-8)


@EACH
@pytest.mark.parametrize("divergence", [Exact(), Hutchinson()], ids=["exact", "hutchinson"])
@pytest.mark.parametrize("spec", SPECS[:2], ids=lambda s: s.architecture)
def test_in_a_flow_it_is_the_field_that_a_call_computes(spec: FieldSpec, divergence: Exact, change: str) -> None:
    """The same as of a module that hides the field from pynode."""

    class Hidden(nn.Module):
        def __init__(self, field: Field) -> None:
            super().__init__()
            self.field = field

        def forward(self, t: Tensor, z: Tensor) -> Tensor:
            return self.field(t, z)

    field = changed(spec, change)
    values = []
    for block in (field, Hidden(field)):
        flow = Flow([block], 2, method=DiscOpt(RK4, steps=3), divergence=divergence)
        log_p = flow.log_prob(Y0, draw=Draw(1, 1))
        values.append((log_p, None if change == "assigned" else gradient(log_p.mean(), field)))
    torch.testing.assert_close(*values)


@EACH
def test_the_kernels_take_what_can_be_captured(change: str) -> None:
    """Its specification says too little, its tape says all."""
    field = changed(SPECS[0], change)
    assert why_no_system(field) is not None
    methods: tuple[GradientMethod, ...] = (DiscOpt(), OptDisc(rtol=1e-9, atol=1e-11))
    for method in methods:
        by_torch = method.on_engine("eager").solve(field, Y0, TS)
        by_auto = method.solve(field, Y0, TS)
        assert by_auto.stats.engine == "fused"
        torch.testing.assert_close(by_auto.ys, by_torch.ys, rtol=1e-6, atol=1e-8)
    with pytest.raises(InvalidArgument, match=r"parametrized|hooks|computed"):
        system_of(field)


@EACH
def test_theta_is_what_the_field_computes_with(change: str) -> None:
    """A field built from it is the same function; it can't be written, except where a parameter is one."""
    field = changed(SPECS[1], change)
    plain = SPECS[1].build(theta=field.theta())
    torch.testing.assert_close(plain(TS[1], Y0), field(TS[1], Y0))
    with pytest.raises(InvalidArgument, match="can't be written"):
        field.set_theta(plain.theta())


def test_pruning_that_is_made_permanent_keeps_the_order_of_theta() -> None:
    """`prune.remove` registers the weight anew, behind the others."""
    spec = MLP((2, 3, 2))
    field = spec.build(seed=1)
    prune.l1_unstructured(field, "W0", amount=0.5)
    prune.remove(field, "W0")
    assert [name for name, _ in field.named_parameters()] == ["b0", "W1", "b1", "W0"]
    plain = spec.build(theta=field.theta())
    torch.testing.assert_close(plain(TS[0], Y0), field(TS[0], Y0))
    other = torch.linspace(-1, 1, spec.n_params, dtype=torch.float64)
    field.set_theta(other)
    assert torch.equal(field.theta(), other)
    torch.testing.assert_close(field(TS[0], Y0), spec.build(theta=other)(TS[0], Y0))
    flow = Flow([field, copy.deepcopy(field)], 2)
    flow.set_theta(torch.cat([2 * other, other]))
    assert torch.equal(flow.theta(), torch.cat([2 * other, other]))
    assert torch.equal(field.theta(), 2 * other)


def test_a_parametrization_that_is_removed_leaves_a_plain_field() -> None:
    field = changed(SPECS[0], "parametrization")
    before = field(TS[0], Y0)
    parametrize.remove_parametrizations(field, SPECS[0].slots()[0].name)
    assert why_no_system(field) is None
    torch.testing.assert_close(field(TS[0], Y0), before)
    assert DiscOpt(steps=2, engine="fused").solve(field, Y0, TS).stats.engine == "fused"


@pytest.mark.parametrize("engine", ["auto", "fused"])
def test_parameters_of_other_shapes_are_another_function(engine: str) -> None:
    """Than the specification says; the kernels read as many numbers as there are."""
    field = MLP((2, 6, 2)).build(seed=0)
    with torch.no_grad():
        field.W0, field.b0 = nn.Parameter(field.W0[:3]), nn.Parameter(field.b0[:3])  # type: ignore[index]
        field.W1 = nn.Parameter(field.W1[:, :3])  # type: ignore[index]
    assert r"its W0 has shape (3, 2)" in str(why_no_system(field))
    method = DiscOpt(RK4, steps=3, engine=engine)
    torch.testing.assert_close(method.solve(field, Y0, TS).ys[-1], by_hand(field, Y0, 3))


def test_replaced_forwards_and_hooks_are_not_passed_over_in_a_flow() -> None:
    """The formulas of the specification know nothing of them."""

    class Twice(Field):
        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return 2 * super().forward(t, y)

    spec = ConcatSquash((2, 5, 2))
    theta = spec.initial_theta(3)
    twice = Twice(spec)
    twice.set_theta(theta)
    hooked = spec.build(theta=theta)
    hooked.register_forward_hook(lambda module, args, output: 2 * output)
    assigned = spec.build(theta=theta)
    assigned.forward = lambda t, y: 2 * Field.forward(assigned, t, y)  # type: ignore[method-assign]
    truth = Flow([spec.build(theta=theta)], 2, horizon=2.0, method=DiscOpt(RK4, steps=60))

    class Slow(nn.Module):
        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return 2 * truth.fields[0](t, y)

    for divergence in (Exact(), Hutchinson()):
        wanted = Flow([Slow()], 2, divergence=divergence).log_prob(Y0, draw=Draw(2))
        for field in (twice, hooked, assigned):
            assert not has_formulas(field)
            log_p = Flow([field], 2, divergence=divergence).log_prob(Y0, draw=Draw(2))
            torch.testing.assert_close(log_p, wanted)
    plain = spec.build(theta=theta)
    assert has_formulas(plain)
    parametrize.register_parametrization(plain, "W0", Doubled())
    assert has_formulas(plain)
