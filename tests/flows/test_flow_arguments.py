"""Arguments that a flow can't use: each is named, with the value and the remedy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pynode.errors import InvalidArgument
from pynode.fields.concatsquash import ConcatSquash
from pynode.fields.mlp import MLP
from pynode.flows.divergence import Divergence, Exact, Hutchinson
from pynode.flows.flow import Flow
from pynode.flows.probes import Draw
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc

SPEC = ConcatSquash((2, 4, 2))
X = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(3, 2)

MISUSE: list[tuple[str, Callable[[Any], object], str]] = [
    ("divergence name", lambda _: Flow.build(SPEC, divergence="zzz"), r"divergence = 'zzz'.*pynode.Exact\(\)"),  # type: ignore[arg-type]
    ("known name", lambda f: f.log_prob(X, divergence="rademacher"), r"pass pynode.Hutchinson\(noise='rademacher'\)"),
    ("divergence class", lambda f: f.log_prob(X, divergence=Hutchinson), "divergence = class Hutchinson"),
    ("divergence number", lambda f: f.inverse(X, divergence=3), "divergence = 3: not a Divergence"),
    ("divergence of Flow", lambda _: Flow([nn.Linear(2, 2)], 2, divergence=Exact), "divergence = class Exact"),  # type: ignore[arg-type]
    ("noise", lambda _: Hutchinson("zzz"), "noise = 'zzz'.*gaussian, rademacher"),  # type: ignore[arg-type]
    ("method name", lambda f: f.log_prob(X, method="disc-opt"), "method = 'disc-opt': not a gradient method"),
    ("method class", lambda f: f.log_prob(X, method=DiscOpt), "method = class DiscOpt"),
    ("method of move", lambda f: f.move(X, method=OptDisc), "method = class OptDisc"),
    ("method of sample", lambda f: f.sample(2, method=0), "method = 0"),
    ("method None", lambda _: Flow.build(SPEC, method=None), "method = None"),  # type: ignore[arg-type]
    ("device", lambda f: f.log_prob(X.to("meta")), "x = meta: the flow is on cpu"),
    ("draw", lambda f: f.log_prob(X, draw=3), "draw = 3: not a Draw"),
    ("draw class", lambda f: f.log_prob(X, draw=Draw), "draw = class Draw"),
    ("costs", lambda f: f.transport(X, costs=True), "costs = True"),
    ("params tensor", lambda f: f.log_prob(X, params=X), "params = .*not a list of tensors"),
    ("params module", lambda f: f.log_prob(X, params=nn.Linear(1, 1)), "params = .*not a list of tensors"),
    ("params names", lambda f: f.move(X, params=["a"]), "params = .*not a list of tensors"),
    ("seed of a draw", lambda _: Draw(seed=-1), "seed = -1: not an integer"),
    ("iteration", lambda _: Draw(iteration=1.5), "iteration = 1.5"),  # type: ignore[arg-type]
    ("first sample", lambda _: Draw(first_sample=True), "first_sample = True"),
    ("a field", lambda _: Flow(SPEC.build(), 2), r"fields = Field: not a list.*\[field\]"),  # type: ignore[arg-type]
    (
        "a specification",
        lambda _: Flow(SPEC, 2),  # type: ignore[arg-type]
        r"fields = ConcatSquash.*write \[ConcatSquash\(\.\.\.\)\.build\(\)\], or",
    ),
    ("unbuilt", lambda _: Flow([SPEC], 2), r"fields\[0\] = ConcatSquash.*add .build\(\)"),  # type: ignore[list-item]
    ("a class", lambda _: Flow([nn.Linear], 2), r"fields\[0\] = class Linear: not a module"),  # type: ignore[list-item]
    ("a function", lambda _: Flow([SPEC.build(), lambda t, z: -z], 2), r"fields\[1\] = <function.*not a module"),  # type: ignore[list-item]
    ("None", lambda _: Flow(None, 2), "fields = None"),  # type: ignore[arg-type]
    ("None in it", lambda _: Flow([None], 2), r"fields\[0\] = None"),  # type: ignore[list-item]
    ("no blocks", lambda _: Flow((), 2), "without blocks"),
    ("number", lambda _: Flow(3, 2), "fields = 3"),  # type: ignore[arg-type]
    ("other dim", lambda _: Flow([SPEC.build()], 3), r"dim = 3: fields\[0\] is for dim = 2"),
    ("dim 0", lambda _: Flow([nn.Linear(2, 2)], 0), "dim = 0"),
    ("dim float", lambda _: Flow([nn.Linear(2, 2)], 2.0), "dim = 2.0"),  # type: ignore[arg-type]
    ("dim bool", lambda _: Flow([nn.Linear(2, 2)], True), "dim = True"),
    ("spec built", lambda _: Flow.build(SPEC.build()), "spec = Field.*not a specification"),  # type: ignore[arg-type]
    ("spec class", lambda _: Flow.build(MLP), "spec = class MLP"),  # type: ignore[arg-type]
    ("horizon", lambda _: Flow.build(SPEC, horizon="1"), "horizon = '1'"),  # type: ignore[arg-type]
    ("horizon True", lambda _: Flow.build(SPEC, horizon=True), "horizon = True"),
    ("horizon 0", lambda _: Flow.build(SPEC, horizon=0.0), "horizon = 0.0"),
    ("horizon infinite", lambda _: Flow.build(SPEC, horizon=math.inf), "horizon = inf"),
    ("no blocks", lambda _: Flow.build(SPEC, blocks=0), "blocks = 0"),
    ("blocks True", lambda _: Flow.build(SPEC, blocks=True), "blocks = True"),
    ("dim 0", lambda _: Flow([torch.nn.Identity()], 0), "dim = 0"),
    ("dim True", lambda _: Flow([torch.nn.Identity()], True), "dim = True"),
    ("no samples", lambda f: f.sample(0), "n = 0"),
    ("times True", lambda f: f.move(X, times=True), "times = True"),
    ("horizon NaN", lambda _: Flow.build(SPEC, horizon=math.nan), "horizon = nan"),
    ("blocks", lambda _: Flow.build(SPEC, blocks="2"), "blocks = '2'"),  # type: ignore[arg-type]
    ("dtype", lambda _: Flow.build(SPEC, dtype=torch.int64), "dtype = torch.int64"),
    ("dtype name", lambda _: SPEC.build(dtype="float32"), "dtype = float32"),  # type: ignore[arg-type]
    ("complex", lambda _: SPEC.build(dtype=torch.complex128), "dtype = torch.complex128"),
    ("data list", lambda f: f.log_prob([[1.0, 2.0]]), r"x = list: not a tensor; pass torch.as_tensor"),
    ("data array", lambda f: f.log_prob(X.numpy()), r"x = ndarray: not a tensor; pass torch.as_tensor"),
    ("data of integers", lambda f: f.log_prob(X.long()), "x = torch.int64: the flow is torch.float64"),
    ("no data", lambda f: f.log_prob(X[:0]), r"x = \(0, 2\): no samples"),
    ("times", lambda f: f.move(X, times=1), "times = 1"),
    ("times float", lambda f: f.move(X, times=3.0), "times = 3.0"),
    ("n", lambda f: f.sample("3"), "n = '3'"),
    ("theta", lambda f: f.set_theta([0.0]), "theta = list: wrong shape"),
]


@pytest.mark.parametrize(("call", "message"), [case[1:] for case in MISUSE], ids=[case[0] for case in MISUSE])
def test_misuse_is_named(call: Callable[[Flow], object], message: str) -> None:
    flow = Flow.build(SPEC, seed=0, method=DiscOpt(steps=2))
    with pytest.raises(InvalidArgument, match=message):
        call(flow)


def test_a_module_without_parameters_says_no_dtype() -> None:
    """Then the data decide."""

    class Shrink(nn.Module):
        def forward(self, t: Tensor, z: Tensor) -> Tensor:  # noqa: ARG002
            return -z

    for x in (X, X.float()):
        flow = Flow([Shrink()], 2, method=DiscOpt(steps=20))
        moved = flow.transport(x)
        assert moved.z.dtype == x.dtype
        torch.testing.assert_close(moved.log_det, torch.full((3,), -2.0, dtype=x.dtype))


def test_what_is_fine() -> None:
    """Lists of any kind, numbers of NumPy, a divergence of the user's own."""

    class Doubled(Exact):
        def __call__(self, field: Any, t: Any, z: Any, probes: Any, *, frobenius: bool) -> Any:
            slope = super().__call__(field, t, z, probes, frobenius=frobenius)
            return slope._replace(trace=2 * slope.trace)

    own: Divergence = Doubled()
    block = SPEC.build(seed=0)
    for fields in ([block], (block,), nn.ModuleList([block]), iter([block])):
        flow = Flow(fields, 2, horizon=np.float64(0.5), seed=np.int64(3), method=DiscOpt(steps=2))  # type: ignore[arg-type]
        torch.testing.assert_close(flow.transport(X, divergence=own).log_det, 2 * flow.transport(X).log_det)
    assert torch.equal(flow.log_prob(X, params=[]), flow.log_prob(X, params=flow.parameters()))  # type: ignore[arg-type]
    assert torch.equal(flow.sample(2, seed=np.int64(4)), flow.sample(2, seed=4))


def test_one_sample_and_two_times_are_enough() -> None:
    flow = Flow.build(SPEC, seed=0, method=DiscOpt(steps=2))
    assert flow.sample(1).shape == (1, 2)
    assert flow.move(X, times=2).shape == X.shape
    assert flow.move(X, times=3).shape == (3, *X.shape)
