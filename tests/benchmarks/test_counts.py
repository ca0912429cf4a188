"""The counted work is what torch multiplies, and what a hand can count."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from torch.utils.flop_counter import FlopCounterMode

from experiments.benchmarks.cases import CASES
from experiments.benchmarks.ceilings import Product, work_of
from experiments.benchmarks.entrants import ENTRANTS
from experiments.benchmarks.workload import Workload


def test_a_series_by_hand(series: Workload) -> None:
    work = work_of(series)
    assert work is not None
    # 16 evaluations; widths 2-4-2: forwards, by the input, by the weights, 16 multiplications each
    assert work.operations == 16 * 3 * 2 * 16
    assert work.products[Product(1, 2, 4, "nt")] == 16
    # inputs of both layers, twice; 22 parameters four times
    assert work.bytes == 8 * 16 * (2 * (2 + 4) + 4 * 22)


def test_products_of_a_flow_are_those_that_torch_does(flow: Workload) -> None:
    work = work_of(flow)
    assert work is not None
    entrant = ENTRANTS.load("pynode-eager")(flow, "", "float64")
    with FlopCounterMode(display=False) as counter:
        entrant.work()
    # torch leaves out the very first state's cotangent; of the exact trace it takes all entries, not the diagonal,
    # and at two hidden layers a closed form
    if flow.divergence == "hutchinson":
        assert work.dots == 0
        assert counter.get_total_flops() == pytest.approx(work.operations, rel=0.02)
    else:
        assert work.dots > 0


def test_the_exact_trace_counts_its_tangents(flow: Workload) -> None:
    exact = work_of(replace(flow, divergence="exact"))
    probed = work_of(replace(flow, divergence="hutchinson", arrays={**flow.arrays, "probes": np.zeros((20, 3))}))
    assert exact is not None
    assert probed is not None
    # in the middle layer three tangents instead of one
    assert exact.products[Product(60, 8, 8, "nt")] == 16
    assert probed.products[Product(20, 8, 8, "nt")] == 2 * 16


def test_the_numbers_of_steps_of_opt_disc_are_not_known_beforehand(series: Workload) -> None:
    assert work_of(replace(series, method="opt-disc")) is None


@pytest.mark.parametrize("name", CASES.names())
def test_cases_are_described_in_full(name: str) -> None:
    case = CASES.load(name)()
    assert case.name == name
    on_cpu = [*case.workloads(quick=True), *case.scaling(quick=True)]
    on_gpu = case.on_gpu(quick=True)
    assert on_gpu, "the suite gpu has all cases, and some of them alone"
    for workloads in (on_cpu, on_gpu):
        assert len({w.name for w in workloads}) == len(workloads)
    for workload in (*on_cpu, *on_gpu):
        assert set(workload.arrays) >= {"theta", "y0"}
        assert (workload.method == "opt-disc") == (work_of(workload) is None)
        assert bool(workload.axis) == bool(workload.value)
    assert not {w.name for w in case.workloads(quick=False) if w.axis}
