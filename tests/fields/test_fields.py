"""Fields: one specification and one theta are one function, whatever goes through disk, dtype or batch."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from pynode.activations import ACTIVATIONS
from pynode.errors import InvalidArgument, UnknownName
from pynode.fields import FIELDS
from pynode.fields.antisymmetric import Antisymmetric
from pynode.fields.base import Field, FieldSpec, field_from_json
from pynode.fields.concatsquash import ConcatSquash
from pynode.fields.hamiltonian import Hamiltonian
from pynode.fields.mlp import MLP

Array = npt.NDArray[np.float64]
SpecOf = Callable[[str], FieldSpec]
FieldOf = Callable[[str], Field]
StateOf = Callable[[str], Tensor]

# --- every registered field ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIELDS.names())
def test_json_gives_the_specification_back(name: str, small_spec: SpecOf) -> None:
    """Through text, as a record on disk does it."""
    spec = small_spec(name)
    assert spec.architecture == name
    assert field_from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize("name", FIELDS.names())
def test_specifications_are_frozen_and_hashable(name: str, small_spec: SpecOf) -> None:
    """They key caches and stand in records: a change after the fact would falsify both."""
    spec = small_spec(name)
    assert hash(spec) == hash(field_from_json(spec.to_json()))
    first = fields(spec)[0].name
    with pytest.raises(FrozenInstanceError):
        setattr(spec, first, getattr(spec, first))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", FIELDS.names())
def test_theta_goes_round_exactly(name: str, dtype: torch.dtype, small_spec: SpecOf) -> None:
    """Into the module and back without a changed bit, wherever the dtype can hold it."""
    spec = small_spec(name)
    theta = torch.randn(spec.n_params, dtype=dtype, generator=torch.Generator().manual_seed(0)).double()
    field = spec.build(theta=theta, dtype=dtype)
    assert field.theta().dtype == torch.float64
    assert torch.equal(field.theta(), theta)
    field.set_theta(-theta)
    assert torch.equal(field.theta(), -theta)
    assert {p.dtype for p in field.parameters()} == {dtype}


@pytest.mark.parametrize("name", FIELDS.names())
def test_theta_is_a_copy(name: str, small_field: FieldOf) -> None:
    """Training on must not change what was saved, nor the other way round."""
    field = small_field(name)
    theta = field.theta()
    kept = theta.clone()
    with torch.no_grad():
        for p in field.parameters():
            p.add_(1.0)
    assert torch.equal(theta, kept)
    theta.zero_()
    assert float(field.theta().abs().max()) > 0.5


@pytest.mark.parametrize("wrong", [(-1,), (+1,), (0, 1)], ids=["short", "long", "matrix"])
@pytest.mark.parametrize("name", FIELDS.names())
def test_theta_of_the_wrong_length_says_the_right_one(name: str, wrong: tuple[int, ...], small_spec: SpecOf) -> None:
    """And leaves the parameters alone."""
    spec = small_spec(name)
    field = spec.build(seed=3)
    before = field.theta()
    bad = torch.zeros(spec.n_params + wrong[0]) if len(wrong) == 1 else torch.zeros(spec.n_params, 1)
    for call in (field.set_theta, lambda theta: spec.build(theta=theta)):
        with pytest.raises(InvalidArgument, match=str(spec.n_params)) as caught:
            call(bad)
        assert caught.value.argument == "theta"
    assert torch.equal(field.theta(), before)


@pytest.mark.parametrize("name", FIELDS.names())
def test_layout_is_that_of_the_slots(name: str, small_field: FieldOf) -> None:
    """Theta is the slots' tensors one after another, each row by row; the module holds them under their names."""
    field = small_field(name)
    theta, offset, held = field.theta(), 0, dict(field.named_parameters())
    assert list(held) == [s.name for s in field.spec.slots()]
    for slot in field.spec.slots():
        assert tuple(held[slot.name].shape) == slot.shape
        assert held[slot.name].detach().reshape(-1).tolist() == theta[offset : offset + slot.size].tolist()
        offset += slot.size
    assert offset == len(theta) == field.spec.n_params


@pytest.mark.parametrize("name", FIELDS.names())
def test_initial_theta_is_seeded_and_leaves_the_global_generator_alone(name: str, small_spec: SpecOf) -> None:
    """Both methods of a comparison start from the same weights, whatever was drawn before."""
    spec = small_spec(name)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = spec.initial_theta(5)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(spec.initial_theta(5), first)
    assert torch.equal(spec.build(seed=5).theta(), first)
    assert not torch.equal(spec.initial_theta(6), first)


@pytest.mark.parametrize("name", FIELDS.names())
def test_initial_theta_is_glorot_uniform(name: str, small_spec: SpecOf) -> None:
    """Weights within sqrt(6 / (fan_in + fan_out)) and using that range, biases zero."""
    spec = small_spec(name)
    draws = torch.stack([spec.initial_theta(seed) for seed in range(100)])
    for slot, part in zip(spec.slots(), draws.split([s.size for s in spec.slots()], dim=1), strict=True):
        if slot.name.startswith("b"):
            assert not part.any()
        else:
            fan_out = slot.shape[0]
            fan_in = slot.shape[1] if len(slot.shape) == 2 else 1  # a vector multiplies the scalar t
            bound = math.sqrt(6 / (fan_in + fan_out))
            assert float(part.abs().max()) <= bound
            # 100 draws or more: their largest is below 0.9 of the bound with probability 0.9^100 = 3e-5 (seeds fixed)
            assert float(part.abs().max()) > 0.9 * bound
            assert abs(float(part.mean())) < 0.15 * bound


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", FIELDS.names())
def test_batches_are_states_side_by_side(name: str, dtype: torch.dtype, small_spec: SpecOf) -> None:
    """`(..., dim)` for any leading shape, with each state treated by itself; dtype kept."""
    spec = small_spec(name)
    field = spec.build(seed=1, dtype=dtype)
    y = torch.randn(2, 3, spec.state_dim, dtype=dtype, generator=torch.Generator().manual_seed(4))
    t = torch.tensor(0.4, dtype=dtype)
    whole = field(t, y)
    assert whole.shape == y.shape
    assert whole.dtype == dtype
    tolerance = 1e-14 if dtype == torch.float64 else 1e-6
    for i in range(2):
        for j in range(3):
            single = field(t, y[i, j])
            assert single.shape == (spec.state_dim,)
            assert torch.allclose(single, whole[i, j], rtol=0, atol=tolerance)
    assert field(t, y[:0]).shape == (0, 3, spec.state_dim)


@pytest.mark.parametrize("name", FIELDS.names())
def test_unknown_options_are_refused(name: str, small_spec: SpecOf) -> None:
    """A misspelt option must not be dropped in silence."""
    with pytest.raises(InvalidArgument, match="widht") as caught:
        field_from_json({**small_spec(name).to_json(), "widht": 3})
    assert caught.value.argument == "field"


@pytest.mark.parametrize("name", FIELDS.names())
def test_unknown_activations_are_refused(name: str, small_spec: SpecOf) -> None:
    """With the nearest match, when the specification is written and not when it is first used."""
    with pytest.raises(UnknownName, match="did you mean 'tanh'"):
        field_from_json({**small_spec(name).to_json(), "activation": "tanhh"})


@pytest.mark.parametrize("data", [{"architecture": "mpl", "widths": [2, 2]}, {"widths": [2, 2]}, {}])
def test_unknown_architectures_are_refused(data: dict[str, Any]) -> None:
    """A missing name counts as an unknown one."""
    with pytest.raises(UnknownName, match="unknown field"):
        field_from_json(data)


def test_missing_options_are_refused() -> None:
    """A configuration without the sizes is a user's mistake, so it gets a user's message."""
    with pytest.raises(InvalidArgument, match="widths"):
        field_from_json({"architecture": "mlp"})


# --- layouts and counts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [10**13, 10**30])
def test_a_field_that_fits_no_memory_is_refused(width: int) -> None:
    with pytest.raises(InvalidArgument, match="no room for W0"):
        MLP((2, width, 2)).build()


def test_mlp_layout() -> None:
    """W_0, b_0, W_1, b_1 with W (out, in)."""
    slots = MLP((2, 5, 3, 2)).slots()
    assert [s.shape for s in slots] == [(5, 2), (5,), (3, 5), (3,), (2, 3), (2,)]


def test_concatsquash_layout() -> None:
    """W, b, w_g, b_g, w_b, layer by layer."""
    slots = ConcatSquash((2, 5, 2)).slots()
    assert [s.name for s in slots] == [f"{n}{k}" for k in (0, 1) for n in ("W", "b", "w_g", "b_g", "w_b")]
    assert [s.shape for s in slots] == [(5, 2), (5,), (5,), (5,), (5,), (2, 5), (2,), (2,), (2,), (2,)]


def test_antisymmetric_and_hamiltonian_layout() -> None:
    """W, b each."""
    assert [(s.name, s.shape) for s in Antisymmetric(3).slots()] == [("W", (3, 3)), ("b", (3,))]
    assert [(s.name, s.shape) for s in Hamiltonian(4, 7).slots()] == [("W", (7, 4)), ("b", (7,))]


def test_weight_count_of_the_spiral() -> None:
    """The study's field for its first problem has 252 parameters."""
    assert MLP((2, 50, 2), "tanh", input_power=3).n_params == 252


@pytest.mark.parametrize(
    ("dim", "hidden", "layers", "blocks", "weights"),
    [
        pytest.param(2, 64, 3, 1, 9_224, id="8gaussians"),
        pytest.param(6, 60, 3, 5, 43_320, id="power"),
        pytest.param(8, 160, 3, 5, 278_560, id="gas"),
        pytest.param(21, 210, 2, 10, 546_840, id="hepmass"),
        pytest.param(43, 860, 2, 1, 820_612, id="miniboone"),
        pytest.param(63, 1260, 3, 2, 6_698_664, id="bsds300"),
    ],
)
def test_weight_counts_of_the_study(dim: int, hidden: int, layers: int, blocks: int, weights: int) -> None:
    """Paper's table: `blocks` nets of `layers` hidden layers each."""
    assert blocks * ConcatSquash((dim, *[hidden] * layers, dim)).n_params == weights


# --- formulas, evaluated independently in numpy ----------------------------------------------------------------------

NUMPY_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": np.tanh,
    "softplus": lambda x: np.logaddexp(0, x),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu": lambda x: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
}


def numpy_value(spec: FieldSpec, theta: Array, t: float, y: Array) -> Array:
    """f(t, y; theta) for one state, from the formula in the architecture's description."""
    at = 0

    def take(*shape: int) -> Array:
        nonlocal at
        size = math.prod(shape)
        at += size
        return theta[at - size : at].reshape(shape)

    if isinstance(spec, MLP):
        act, x, last = NUMPY_ACTIVATIONS[spec.activation], y**spec.input_power, len(spec.widths) - 2
        for k, (i, o) in enumerate(zip(spec.widths, spec.widths[1:], strict=False)):
            W, b = take(o, i), take(o)
            x = W @ x + b if k == last else act(W @ x + b)
        return x
    if isinstance(spec, ConcatSquash):
        act, x, last = NUMPY_ACTIVATIONS[spec.activation], y, len(spec.widths) - 2
        for k, (i, o) in enumerate(zip(spec.widths, spec.widths[1:], strict=False)):
            W, b, w_g, b_g, w_b = take(o, i), take(o), take(o), take(o), take(o)
            x = (W @ x + b) / (1 + np.exp(-(w_g * t + b_g))) + w_b * t
            x = x if k == last else act(x)
        return x
    if isinstance(spec, Antisymmetric):
        W, b = take(spec.dim, spec.dim), take(spec.dim)
        return NUMPY_ACTIVATIONS[spec.activation]((W - W.T - spec.gamma * np.eye(spec.dim)) @ y + b)
    if isinstance(spec, Hamiltonian):
        W, b, half = take(spec.width, spec.dim), take(spec.width), spec.dim // 2
        g = W.T @ NUMPY_ACTIVATIONS[spec.activation](W @ y + b)
        return np.concatenate([g[half:], -g[:half]])
    pytest.fail(f"{type(spec).__name__} has no independent formula: write it down here")


@pytest.mark.parametrize("name", FIELDS.names())
@pytest.mark.parametrize("act", sorted(ACTIVATIONS))
def test_the_field_is_its_formula(
    name: str, act: str, small_spec: SpecOf, small_field: FieldOf, small_state: StateOf
) -> None:
    """For every architecture and activation, at a time that matters."""
    spec = field_from_json({**small_spec(name).to_json(), "activation": act})
    theta, y, t = small_field(name).theta(), small_state(name), 0.7
    slopes = spec.build(theta=theta)(torch.tensor(t, dtype=torch.float64), y)
    for row, state in zip(slopes.detach().numpy(), y.numpy(), strict=True):
        np.testing.assert_allclose(row, numpy_value(spec, theta.numpy(), t, state), rtol=1e-13, atol=1e-14)


def test_the_spiral_field_can_hold_the_true_dynamics() -> None:
    """u^3 enters by `input_power`: A^T u^3 is then a net with a nearly linear hidden layer."""
    A = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]], dtype=torch.float64)
    small = 1e-4  # tanh(s x) / s = x - s^2 x^3 / 3
    field = MLP((2, 2, 2), "tanh", input_power=3).build(
        theta=torch.cat(
            [
                small * torch.eye(2, dtype=torch.float64).reshape(-1),
                torch.zeros(2),
                (A.T / small).reshape(-1),
                torch.zeros(2),
            ]
        )
    )
    u = torch.tensor([2.0, -0.3], dtype=torch.float64)
    # the cubic term of tanh is 1e-8 x 8^3 / 3 here
    assert torch.allclose(field(torch.tensor(0.0), u), A.T @ u**3, rtol=1e-6, atol=1e-6)


# --- structure that makes a field stable -----------------------------------------------------------------------------


def jacobian(field: Field, y: Tensor) -> Tensor:
    """df/dy at one state."""
    t = torch.tensor(0.0, dtype=torch.float64)
    return torch.autograd.functional.jacobian(lambda x: field(t, x), y)


def test_hamiltonian_has_no_divergence_and_keeps_its_energy(small_field: FieldOf, small_state: StateOf) -> None:
    """f = S grad H with S antisymmetric: the trace of J is zero and so is dH/dt = grad H . f."""
    field = small_field("hamiltonian")
    held = dict(field.named_parameters())

    def energy(y: Tensor) -> Tensor:
        x = held["W"].detach() @ y + held["b"].detach()
        return torch.log(torch.cosh(x)).sum()  # its derivative is tanh

    S = torch.tensor([[0, 0, 1, 0], [0, 0, 0, 1], [-1, 0, 0, 0], [0, -1, 0, 0]], dtype=torch.float64)
    for y in small_state("hamiltonian"):
        slope = torch.autograd.functional.jacobian(energy, y)
        f = field(torch.tensor(0.0), y).detach()
        assert torch.allclose(f, S @ slope, rtol=1e-13, atol=1e-14)
        assert abs(float(slope @ f)) < 1e-14
        J = jacobian(field, y)
        assert float(J.abs().max()) > 0.01
        assert abs(float(J.trace())) < 1e-14
        assert torch.allclose(S @ J, (S @ J).T, atol=1e-14)  # S J = -(Hessian of H): symmetric


def test_antisymmetric_eigenvalues_lie_on_the_imaginary_axis() -> None:
    """J = diag(act') (W - W^T): with a positive diagonal it is similar to an antisymmetric matrix when gamma = 0."""
    y = torch.tensor([0.3, -0.8, 0.5], dtype=torch.float64)
    theta = torch.randn(12, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    spectrum = torch.linalg.eigvals(jacobian(Antisymmetric(3, gamma=0.0).build(theta=theta), y))
    assert float(spectrum.real.abs().max()) < 1e-14
    assert float(spectrum.imag.abs().max()) > 0.1


def test_gamma_damps() -> None:
    """At y with act' = 1 (tanh at zero) every eigenvalue moves left by gamma exactly."""
    theta = torch.cat([torch.randn(9, dtype=torch.float64, generator=torch.Generator().manual_seed(2)), torch.zeros(3)])
    spectrum = torch.linalg.eigvals(jacobian(Antisymmetric(3, gamma=0.25).build(theta=theta), torch.zeros(3).double()))
    assert spectrum.real.tolist() == pytest.approx([-0.25] * 3, abs=1e-14)


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: MLP((2,)), "widths"),
        (lambda: MLP(()), "widths"),
        (lambda: MLP((2, 5, 3)), "widths"),
        (lambda: MLP((2, 0, 2)), "widths"),
        (lambda: MLP((2, -5, 2)), "widths"),
        (lambda: MLP((2, 2.5, 2)), "widths"),  # type: ignore[arg-type]
        (lambda: MLP((2, 5, 2), input_power=0), "input_power"),
        (lambda: MLP((2, 5, 2), input_power=1.5), "input_power"),  # type: ignore[arg-type]
        (lambda: ConcatSquash((3, 4)), "widths"),
        (lambda: ConcatSquash((3,)), "widths"),
        (lambda: Antisymmetric(0), "dim"),
        (lambda: Antisymmetric(2.0), "dim"),  # type: ignore[arg-type]
        (lambda: Antisymmetric(2, gamma=-0.1), "gamma"),
        (lambda: Antisymmetric(2, gamma=math.nan), "gamma"),
        (lambda: Hamiltonian(3, 4), "dim"),
        (lambda: Hamiltonian(0, 4), "dim"),
        (lambda: Hamiltonian(4, 0), "width"),
        (lambda: Hamiltonian(4, 2.5), "width"),  # type: ignore[arg-type]
    ],
)
def test_bad_sizes_are_named(make: Callable[[], FieldSpec], argument: str) -> None:
    """The message names the argument, its value and the remedy."""
    with pytest.raises(InvalidArgument) as caught:
        make()
    assert caught.value.argument == argument
    assert str(caught.value.value) in str(caught.value)
    assert caught.value.remedy in str(caught.value)
