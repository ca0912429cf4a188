"""What is counted is what a hand counts, what torch's own counter counts, and what the closed formula says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from experiments.benchmarks.cases import scheme_options
from experiments.benchmarks.ceilings import work_of
from experiments.benchmarks.workload import Workload
from experiments.scale.cost import iteration_work
from experiments.scale.study import Counts, Sizes, fixed_counts
from experiments.scale.work import OperatorCounter, Work, evaluation, forward_work, launches, passes
from pynode.fields.concatsquash import ConcatSquash
from pynode.fields.mlp import MLP
from pynode.flows.divergence import Divergence, Exact, Hutchinson
from pynode.flows.flow import Flow
from pynode.flows.probes import Draw
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.schemes.rk4 import RK4
from pynode.schemes.rk38 import RK38

EAGER = DiscOpt(RK38, steps=3, engine="eager")


def closed_form(spec: ConcatSquash, rows: int, divergence: str) -> Any:
    """`experiments.benchmarks.ceilings` for one step of four stages."""
    workload = Workload(
        name="one",
        title="one",
        kind="flow",
        method="disc-opt",
        unit="gradient",
        spec=spec.to_json(),
        ts=(0.0, 1.0),
        dtype="float32",
        threads=1,
        steps=1,
        **scheme_options("rk38"),
        divergence=divergence,  # type: ignore[arg-type]
        arrays={"theta": np.zeros(10), "y0": np.broadcast_to(np.zeros(1), (rows, spec.state_dim))},
    )
    work = work_of(workload)
    assert work is not None
    return work


def test_operators_by_hand() -> None:
    a, b = torch.ones(2, 3), torch.ones(3, 5)
    with OperatorCounter() as counter:
        (a @ b).T.tanh()
    # a product and an activation; the transpose only changes how it is read
    assert counter.work == Work(2 * 2 * 3 * 5, 4 * ((6 + 15 + 10) + (10 + 10)), 2)


@pytest.mark.parametrize("widths", [(43, 860, 860, 43), (63, 1260, 1260, 1260, 63), (6, 60, 60, 60, 6)])
def test_hutchinson_costs_what_the_closed_formula_says(widths: tuple[int, ...]) -> None:
    each = evaluation(ConcatSquash(widths, "softplus"), 1000, "float32", Hutchinson())
    least = closed_form(ConcatSquash(widths, "softplus"), 1000, "hutchinson")
    forwards = sum(p.operations * n for p, n in least.products.items() if p.layout == "nt") / 4
    assert each.forward.operations == forwards
    # gates by time are a product of one row for torch, which the formula leaves out; so does nothing else differ
    assert each.product.operations + forwards == pytest.approx(least.operations / 4, rel=2e-3)
    assert each.product.operations + forwards >= least.operations / 4


def test_the_exact_trace_takes_a_tangent_a_dimension_in_the_middle() -> None:
    spec = ConcatSquash((6, 60, 60, 60, 6))
    exact = forward_work(spec, 1000, "float32", Exact()).operations
    plain = forward_work(spec, 1000, "float32", Hutchinson()).operations / 2
    least = closed_form(spec, 1000, "exact")
    middle = sum(p.operations * n for p, n in least.products.items() if p.layout == "nt" and p.m == 6000) / 4
    # the last layer's tangents are taken whole by torch; those of the first are W, got by multiplying with unit vectors
    last, first = 2 * 6 * 1000 * 60 * 6, 2 * 6 * 6 * 60
    assert exact == plain + middle + last + first


@pytest.mark.parametrize("divergence", [Hutchinson(), Exact()])
@pytest.mark.parametrize("hidden", [(16, 16), (16, 16, 16)])
def test_an_iteration_is_what_torch_counts_on_the_real_thing(hidden: tuple[int, ...], divergence: Divergence) -> None:
    spec = ConcatSquash((5, *hidden, 5))
    sizes = Sizes(spec, 32, 2, (0.0, 1.0), "float64", divergence)
    flow, x = Flow.build(spec, blocks=2, seed=0), torch.linspace(-1, 1, 160, dtype=torch.float64).reshape(32, 5)
    with FlopCounterMode(display=False) as counter:
        loss = -flow.transport(x, method=EAGER, divergence=divergence, draw=Draw(0, 0)).log_prob.mean()
        loss.backward()
    counted = iteration_work(sizes, EAGER, fixed_counts(sizes, EAGER)).operations
    # torch leaves out the cotangent of the given state
    assert counter.get_total_flops() == pytest.approx(counted, rel=0.03)
    assert counter.get_total_flops() <= counted


@pytest.mark.parametrize("method", [EAGER, OptDisc(rtol=1e-4, atol=1e-4, engine="eager")])
def test_operators_of_an_iteration_do_not_depend_on_sizes(method: Any) -> None:
    spec = ConcatSquash((3, 16, 16, 3))
    flow, x = Flow.build(spec, seed=0), torch.linspace(-1, 1, 96, dtype=torch.float64).reshape(32, 3)
    with OperatorCounter() as forward:
        moved = flow.transport(x, method=method, divergence=Hutchinson(), draw=Draw(0, 0).ahead("gaussian", x, 1))
        loss = -moved.log_prob.mean()
    with OperatorCounter() as backward:
        loss.backward()
    stats = moved.solves[0]
    per = launches(spec, Hutchinson(), method, (0.0, 1.0))
    # exact for fixed steps; an adaptive solve starts and interpolates once, however many steps it takes
    tolerance = 0.0 if method is EAGER else 0.2
    assert forward.work.launches == pytest.approx(per.evaluation * stats.forward.n_f, rel=tolerance)
    assert backward.work.launches == pytest.approx(per.product * stats.backward.n_vjp, rel=tolerance)


def test_a_trajectory_is_one_vector() -> None:
    each = evaluation(MLP((2, 50, 2), input_power=3), 1, "float64", None)
    assert each.forward.operations == 2 * (2 * 50 + 50 * 2)
    assert each.forward.launches == each.product.launches == 0


def test_kept_stages_are_the_graphs_own_tensors() -> None:
    spec = ConcatSquash((4, 8, 8, 4))
    one, two = (evaluation(spec, rows, "float64", Hutchinson()).kept_bytes for rows in (100, 200))
    # of each row at least input, value and tangent of every layer; weights are not kept, they are there
    assert one > 100 * 8 * (4 + 2 * 8 + 2 * 8)
    assert 1.8 * one < two < 2 * one


def test_work_adds_up() -> None:
    assert Work(1, 2, 3).times(2).plus(Work(1, 1, 1)) == Work(3, 5, 7)


def test_recomputing_stages_costs_one_more_sweep() -> None:
    sizes = Sizes(ConcatSquash((3, 8, 8, 3)), 50, 1, (0.0, 1.0), "float32", Hutchinson())
    stored = iteration_work(sizes, EAGER, Counts(12, 0, 12))
    again = iteration_work(sizes, EAGER, Counts(12, 12, 12))
    sweep = evaluation(sizes.spec, 50, "float32", Hutchinson()).forward.times(12)
    assert again.operations - stored.operations == sweep.operations
    assert again.bytes > stored.bytes + sweep.bytes


def test_fixed_counts_are_stages_times_steps_times_blocks() -> None:
    flow = Sizes(ConcatSquash((3, 8, 3)), 50, 5, (0.0, 1.0), "float32", Hutchinson())
    assert fixed_counts(flow, EAGER) == Counts(60, 0, 60)
    assert fixed_counts(flow, replace(EAGER, memory="recompute")) == Counts(60, 60, 60)
    series = Sizes(MLP((2, 50, 2)), 1, 1, (0.0, 0.5, 1.0), "float64", None)
    assert fixed_counts(series, DiscOpt(RK4, engine="eager")) == Counts(8, 0, 8)


def test_a_solver_passes_over_its_state() -> None:
    # four stages of the 3/8 rule: each reads state and slopes; dopri5 of torchdiffeq writes products of them as well
    assert 3 < passes(EAGER) < 12
    assert passes(OptDisc(rtol=1e-6, atol=1e-6, engine="eager")) > passes(EAGER)
