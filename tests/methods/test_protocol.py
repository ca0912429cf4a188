"""What every gradient method promises, whichever it is."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pynode.errors import EngineUnavailable, InvalidArgument, StateMismatch, UnknownName
from pynode.fields import FIELDS
from pynode.fields.base import Field
from pynode.fields.mlp import MLP
from pynode.flows.augmented import AugmentedField, RunningCosts
from pynode.flows.divergence import Exact
from pynode.methods import METHODS
from pynode.methods.base import GradientMethod, method_from_json
from pynode.methods.disc_opt import DiscOpt
from pynode.schemes import SCHEMES
from pynode.schemes.rk4 import RK4
from pynode.solution import Status

FieldOf = Callable[[str], Field]
StateOf = Callable[[str], Tensor]
TS = torch.tensor([0.1, 0.5, 1.1], dtype=torch.float64)
ANY_FIELD = [name for name in METHODS.names() if not METHODS.load(name)().needs_specification]
"""Methods that take any callable."""

pytestmark = pytest.mark.usefixtures("stand_in_for_julia")
DIRECTIONS = pytest.mark.parametrize("times", [TS, TS.flip(0)], ids=["forwards", "backwards"])


def accurate(name: str) -> tuple[GradientMethod, float]:
    """The method called `name`, accurate, and the relative error that its states and gradients may have.

    Tolerances hold per step, and a field may double errors; fixed steps are 1 / 100 or so, for first-order adjoints.
    """
    method = METHODS.load(name)
    if method.adaptive:
        return method_from_json({"method": name, "rtol": 1e-7, "atol": 1e-9}), 1e-5
    return method_from_json({"method": name, "scheme": "rk4", "steps": 60}), 0.05


@DIRECTIONS
@pytest.mark.parametrize("field_name", FIELDS.names())
@pytest.mark.parametrize("name", METHODS.names())
def test_states_and_gradients_are_right(
    name: str, field_name: str, times: Tensor, small_field: FieldOf, small_state: StateOf
) -> None:
    """Against a fine Disc-Opt solve: states, gradient by theta, gradient by y0, in either time direction."""
    field, (method, tolerance) = small_field(field_name), accurate(name)
    results = []
    for which in (method, DiscOpt(RK4, 200)):
        y0 = small_state(field_name).requires_grad_()
        solution = which.solve(field, y0, times)
        assert solution.status is Status.SUCCESS
        assert solution.ys.shape == (3, *y0.shape)
        assert torch.equal(solution.ts, times)
        assert torch.equal(solution.ys[0], y0)
        assert solution.stats.nfe_forward > 0
        grads = torch.autograd.grad((solution.ys - 0.3).square().sum(), [y0, *field.parameters()])
        assert solution.stats.backward.n_vjp > 0
        results.append([solution.ys.detach(), grads[0], torch.cat([g.reshape(-1) for g in grads[1:]])])
    for got, wanted in zip(*results, strict=True):
        assert float((got - wanted).norm() / wanted.norm()) < tolerance
    # states of fixed-step methods are those of RK4 with 60 steps, whatever their adjoint
    assert float((results[0][0] - results[1][0]).norm()) < 1e-5


@pytest.mark.parametrize("name", METHODS.names())
def test_single_states_and_deep_batches(name: str, small_field: FieldOf) -> None:
    """y0 `(dim,)` and `(2, 3, dim)`: the same numbers."""
    field, method = small_field("mlp"), METHODS.load(name)()
    y0 = 0.5 * torch.randn(2, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole, single = method.solve(field, y0, TS).ys, method.solve(field, y0[1, 2], TS).ys
    assert whole.shape == (3, 2, 3, 2)
    assert single.shape == (3, 2)
    # step control of adaptive methods sees other norms; 1e-7 is their default tolerance
    assert torch.allclose(whole[:, 1, 2], single, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", METHODS.names())
def test_float32_stays_float32(name: str, small_field: FieldOf, small_state: StateOf) -> None:
    """States and gradients, with times in either dtype."""
    field = small_field("concatsquash").float()
    method = METHODS.load(name)
    options = {"rtol": 1e-4, "atol": 1e-5} if method.adaptive else {"steps": 4}
    for ts in (TS, TS.float()):
        y0 = small_state("concatsquash").float().requires_grad_()
        ys = method(**options).solve(field, y0, ts).ys
        assert ys.dtype == torch.float32
        grads = torch.autograd.grad(ys.square().sum(), [y0, *field.parameters()])
        assert {g.dtype for g in grads} == {torch.float32}
        assert all(bool(torch.isfinite(g).all()) for g in grads)


@pytest.mark.parametrize("name", METHODS.names())
def test_several_solves_before_one_gradient(name: str, small_field: FieldOf, small_state: StateOf) -> None:
    """Counts and gradients of two solves on one field don't mix; y0 may come from a graph of its own."""
    field, (method, _) = small_field("mlp"), accurate(name)
    scale = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    first = method.solve(field, scale * small_state("mlp"), TS)
    second = method.solve(field, first.ys[-1], TS)
    alone = first.stats.forward.n_f
    second.ys[-1].square().sum().backward()
    assert first.stats.forward.n_f == alone
    assert first.stats.backward.n_vjp > 0
    assert second.stats.backward.n_vjp > 0
    assert scale.grad is not None

    def loss(s: float) -> float:
        with torch.no_grad():
            fine = DiscOpt(RK4, 60)
            return float(
                fine.solve(field, fine.solve(field, s * small_state("mlp"), TS).ys[-1], TS).ys[-1].square().sum()
            )

    expected = (loss(0.5001) - loss(0.4999)) / 0.0002
    # a first-order adjoint at h = 1/100, twice in a row
    assert scale.grad.item() == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("name", METHODS.names())
def test_inference_keeps_no_graph(name: str, small_field: FieldOf, small_state: StateOf) -> None:
    """Under `no_grad`, and where nothing wants a gradient."""
    field, method = small_field("mlp"), METHODS.load(name)()
    with torch.no_grad():
        assert not method.solve(field, small_state("mlp"), TS).ys.requires_grad
    assert not method.solve(field.requires_grad_(False), small_state("mlp"), TS).ys.requires_grad


@pytest.mark.parametrize("name", METHODS.names())
def test_the_input_is_left_alone(name: str, small_field: FieldOf, small_state: StateOf) -> None:
    """y0, ts and theta after a solve and its gradient are what they were."""
    field, y0, ts = small_field("mlp"), small_state("mlp"), TS.clone()
    theta = field.theta()
    METHODS.load(name)().solve(field, y0, ts).ys.sum().backward()
    assert torch.equal(y0, small_state("mlp"))
    assert torch.equal(ts, TS)
    assert torch.equal(field.theta(), theta)


# --- plain values ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS.names())
def test_json_gives_the_method_back(name: str) -> None:
    """Through text, as a record on disk does it; for options other than the defaults as well."""
    kind = METHODS.load(name)
    others: list[dict[str, Any]] = [{}]
    if kind.adaptive:
        others.append({"rtol": 1e-3, "atol": 1e-4})
    else:
        others += [{"scheme": scheme, "steps": 3} for scheme in SCHEMES.load_all().values()]
    for options in others:
        method = kind(**options)
        text = json.dumps(method.to_json())
        assert json.loads(text)["method"] == name
        assert method_from_json(json.loads(text)) == method
        assert name in method.label


@pytest.mark.parametrize("name", [n for n in METHODS.names() if not METHODS.load(n).adaptive])
def test_steps_for_each_interval_survive_json(name: str, small_field: FieldOf, small_state: StateOf) -> None:
    """JSON has lists only; the method read back must be equal, hashable, and solve the same."""
    method = METHODS.load(name)(steps=(2, 3))  # type: ignore[call-arg]
    back = method_from_json(json.loads(json.dumps(method.to_json())))
    field, y0 = small_field("mlp"), small_state("mlp")
    assert torch.equal(back.solve(field, y0, TS).ys, method.solve(field, y0, TS).ys)
    assert back == method
    assert hash(back) == hash(method)


@pytest.mark.parametrize("name", METHODS.names())
def test_unknown_options_are_refused(name: str) -> None:
    """With the known ones in the message."""
    with pytest.raises(InvalidArgument, match="stepz") as caught:
        method_from_json({"method": name, "stepz": 3})
    assert all(option in str(caught.value) for option in METHODS.load(name).option_names())


@pytest.mark.parametrize("data", [{"method": "disc-opts"}, {}])
def test_unknown_methods_are_refused(data: dict[str, Any]) -> None:
    """A missing name counts as an unknown one."""
    with pytest.raises(UnknownName, match="unknown gradient method"):
        method_from_json(data)


def test_unknown_schemes_are_refused() -> None:
    """Named in a configuration."""
    with pytest.raises(UnknownName, match="did you mean 'rk4'"):
        method_from_json({"method": "disc-opt", "scheme": "rk44"})


# --- bad input -------------------------------------------------------------------------------------------------------


class _Bad(nn.Module):
    """Returns `value(y)` for whatever y."""

    def __init__(self, value: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.value = value

    def forward(self, t: Tensor, y: Tensor) -> Any:  # noqa: ARG002
        return self.value(y)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        pytest.param(lambda y: y[..., :1], "shape", id="broadcastable"),
        pytest.param(lambda y: y.sum(), "shape", id="scalar"),
        pytest.param(lambda y: torch.cat([y, y], -1), "shape", id="too wide"),
        pytest.param(lambda y: y.to(torch.complex128), "dtype", id="complex"),
        pytest.param(lambda y: y.long(), "dtype", id="integer"),
        pytest.param(lambda _: 1.0, "not a tensor", id="number"),
        pytest.param(lambda y: (y,), "not a tensor", id="tuple"),
    ],
)
@pytest.mark.parametrize("name", ANY_FIELD)
def test_a_field_that_does_not_fit_the_state_is_found(name: str, value: Callable[[Tensor], Any], what: str) -> None:
    """Before broadcasting or promotion can hide it; as a module and as a plain function."""
    y0, method = torch.ones(3, 2, dtype=torch.float64), METHODS.load(name)()
    for field in (_Bad(value), lambda _, y: value(y)):
        with pytest.raises(StateMismatch, match=what):
            method.solve(field, y0, TS)


@pytest.mark.parametrize("name", ANY_FIELD)
def test_a_slope_of_another_precision_is_converted(name: str) -> None:
    """As torchdiffeq does: y' = -y in float32, for a state in float64."""
    y0 = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    method = METHODS.load(name)(**({} if METHODS.load(name).adaptive else {"steps": 400}))
    ys = method.solve(lambda _, y: -y.float(), y0, TS).ys
    assert ys.dtype == torch.float64
    (by_y0,) = torch.autograd.grad(ys[-1].sum(), y0)
    torch.testing.assert_close(ys[-1], y0 * math.exp(-1), rtol=2e-3, atol=0)
    torch.testing.assert_close(by_y0, torch.full_like(y0, math.exp(-1)), rtol=2e-3, atol=0)


@pytest.mark.parametrize("name", sorted(set(METHODS.names()) - set(ANY_FIELD)))
def test_a_field_that_another_program_can_not_rebuild_is_refused(name: str, small_field: FieldOf) -> None:
    """The same for states that don't fit, and tensors that it does not know."""
    y0, method = torch.ones(3, 2, dtype=torch.float64), METHODS.load(name)()
    branching = _Bad(lambda y: y if bool(y.sum() > 0) else -y)
    for field in (branching, lambda _, y: y, AugmentedField(branching, 1, Exact(), None, RunningCosts())):
        with pytest.raises(EngineUnavailable, match=r"can't solve this: .*use engine eager"):
            method.solve(field, y0, TS)
    with pytest.raises(InvalidArgument, match=r"needs \(\.\.\., 2\)"):
        method.solve(small_field("mlp"), torch.ones(3, 4, dtype=torch.float64), TS)
    with pytest.raises(InvalidArgument, match="float64 or float32"):
        method.solve(small_field("mlp").half(), y0.half(), TS)
    with pytest.raises(InvalidArgument, match="params"):
        method.solve(small_field("mlp"), y0, TS, params=[torch.ones(2, requires_grad=True)])


@pytest.mark.parametrize(
    "y0",
    [
        torch.tensor([1.0, math.nan]),
        torch.tensor([math.inf, 0.0]),
        torch.tensor([1, 2]),
        torch.tensor([1j, 2j]),
        [1.0, 2.0],
        None,
    ],
    ids=["nan", "inf", "integer", "complex", "list", "none"],
)
@pytest.mark.parametrize("name", METHODS.names())
def test_bad_initial_states_are_named(name: str, y0: Any) -> None:
    """Before the field is called."""
    with pytest.raises(InvalidArgument) as caught:
        METHODS.load(name)().solve(_Bad(lambda _: pytest.fail("called")), y0, TS)
    assert caught.value.argument == "y0"


@pytest.mark.parametrize("ts", [TS[:1], TS[[0, 2, 1]], TS * math.nan, TS.tolist()])
@pytest.mark.parametrize("name", METHODS.names())
def test_bad_times_are_named(name: str, ts: Any) -> None:
    """Before the field is called."""
    y0 = torch.ones(2, dtype=torch.float64)
    with pytest.raises(InvalidArgument) as caught:
        METHODS.load(name)().solve(_Bad(lambda _: pytest.fail("called")), y0, ts)
    assert caught.value.argument == "ts"


@pytest.mark.parametrize("name", METHODS.names())
def test_states_that_blow_up_are_a_failed_solve(name: str) -> None:
    """Fixed steps run into infinity, adaptive ones into underflow: a status, not numbers."""
    y0, ts = torch.full((2,), 50.0, dtype=torch.float64), torch.linspace(0, 2, 9, dtype=torch.float64)
    cubic = MLP((2, 2), input_power=3).build(theta=torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0, 0.0], dtype=torch.float64))
    solution = METHODS.load(name)().solve(cubic, y0, ts, throw=False)
    assert solution.status in (Status.NON_FINITE, Status.STEP_UNDERFLOW)
    assert bool(solution.ys.isnan().all())
