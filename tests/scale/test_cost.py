"""Seconds follow from work as the assumptions say; the study's cells have the study's sizes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from experiments.scale.assumptions import ASSUMPTIONS, SCENARIOS, Scenario
from experiments.scale.check import fit_machine
from experiments.scale.cost import DEVICES, Link, Machine, cell_cost, costs_by_width, judging_work, machine
from experiments.scale.study import (
    METHOD_NAMES,
    PROBLEM_NAMES,
    Judged,
    NoRecordsOfRuns,
    accurate_factor,
    block_nfe,
    cell,
    recorded,
    tolerance_exponent,
)
from experiments.scale.work import Work
from pynode.errors import UnknownName

CENTRAL = Scenario("central")


def a_machine(**more: float) -> Machine:
    """1e9 operations, 1e8 bytes and 1e3 operators a second, nothing hidden."""
    link = Link(1e6, 1e-3)
    return replace(Machine({"float32": 1e9, "float64": 5e8}, 1e8, 1e-3, 0.0, 1e12, link, link), **more)  # type: ignore[arg-type]


def test_seconds_by_hand() -> None:
    work = Work(1e9, 1e8, 500)
    assert a_machine().seconds(work, "float32") == pytest.approx(1 + 1 + 0.5)
    assert a_machine(overlap=1.0).seconds(work, "float32") == pytest.approx(2)
    assert a_machine(overlap=0.5).seconds(work, "float32") == pytest.approx(2.25)
    assert a_machine().seconds(work, "float64") == pytest.approx(2 + 1 + 0.5)


@pytest.mark.parametrize("field", ["operations", "bytes", "launches"])
def test_more_work_takes_longer(field: str) -> None:
    work = Work(1e9, 1e8, 500)
    more = work._replace(**{field: 10 * getattr(work, field)})
    assert a_machine(overlap=0.5).seconds(more, "float32") > a_machine(overlap=0.5).seconds(work, "float32")


def test_the_fit_finds_the_machine_that_made_the_times() -> None:
    truth = a_machine()
    work = [Work(1e6, 1e6, 400), Work(1e8, 1e7, 400), Work(1e9, 1e8, 400), Work(1e7, 1e8, 100)]
    fitted = fit_machine(work, [truth.seconds(w, "float32") for w in work], 1e9, "float32")
    assert fitted.bandwidth == pytest.approx(truth.bandwidth, rel=1e-6)
    assert fitted.launch == pytest.approx(truth.launch, rel=1e-6)


def test_the_fit_gives_no_negative_rates() -> None:
    work = [Work(1e9, 1e3, 10), Work(2e9, 1e3, 20)]
    fitted = fit_machine(work, [1.0, 2.0], 1e9, "float32")
    assert fitted.bandwidth > 1e6
    assert 0 <= fitted.launch < 1e-6


@pytest.mark.parametrize(
    ("problem", "weights", "nfe"),
    [
        ("spiral", 252, 116),
        ("8gaussians", 9_224, 40),
        ("power", 43_320, 200),
        ("gas", 278_560, 200),
        ("hepmass", 546_840, 480),
        ("miniboone", 820_612, 16),
        ("bsds300", 6_698_664, 112),
    ],
)
def test_cells_have_the_studys_sizes(problem: str, weights: int, nfe: int) -> None:
    run = cell(problem, "disc-opt", CENTRAL)
    assert run.sizes.weights == weights
    assert (run.counts.forward, run.counts.backward, run.counts.products) == (nfe, 0, nfe)


def test_iterations_and_validations_follow_the_study() -> None:
    spiral, toy, table = (cell(p, "opt-disc", CENTRAL) for p in ("spiral", "8gaussians", "miniboone"))
    assert (spiral.iterations, toy.iterations) == (300, 10_000)
    assert table.iterations == CENTRAL["iterations of tables"]
    assert (toy.validation.rows, toy.validation.times) == (1000, 101)
    assert table.validation.times == table.iterations / 200 + 1
    assert cell("miniboone", "opt-disc", Scenario("high")).iterations == 20_000


def test_evaluations_of_adaptive_solves_come_from_the_records() -> None:
    record = recorded("power")
    low, high = (block_nfe("power", 5, Scenario(s)) for s in ("low", "high"))
    assert low.forward < high.forward
    factor = CENTRAL["NFE of trained tables"]
    assert cell("power", "opt-disc", CENTRAL).counts.forward == pytest.approx(factor * record.forward)
    assert cell("8gaussians", "opt-disc", CENTRAL).counts.forward == pytest.approx(recorded("8gaussians").forward)
    # a method of order five needs 10^(1/5) times as many steps for a decade, once steps are small
    assert 0.1 < tolerance_exponent() < 0.25
    assert accurate_factor(1e-5) == pytest.approx(10 ** tolerance_exponent())
    assert accurate_factor(1e-9) == 1


def test_missing_records_are_named(tmp_path: Path) -> None:
    with pytest.raises(NoRecordsOfRuns, match="whole checkout") as caught:
        recorded("spiral", tmp_path)
    assert caught.value.exit_status == 2
    with pytest.raises(NoRecordsOfRuns, match="spiral-tolerances"):
        tolerance_exponent(tmp_path)


def test_stages_that_do_not_fit_are_made_again() -> None:
    bsds = cell("bsds300", "disc-opt", CENTRAL)
    small, large = (cell_cost(bsds, replace(machine("a100", CENTRAL), memory=m), CENTRAL) for m in (80e9, 1e12))
    assert (small.memory, large.memory) == ("recompute", "store")
    assert small.kept_bytes < 0.9 * 80e9 < large.kept_bytes
    assert small.work.operations > large.work.operations
    assert small.seconds_iteration > large.seconds_iteration


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_gpus_share_a_batch(method: str) -> None:
    by_width = costs_by_width(cell("hepmass", method, CENTRAL), machine("a100", CENTRAL), CENTRAL, 64)
    # 10,000 rows, 256 at least
    assert list(by_width) == [1, 2, 4, 8, 16, 32]
    alone, eight = by_width[1], by_width[8]
    assert alone.seconds_exchange == 0 < eight.seconds_exchange
    assert eight.work.operations == pytest.approx(alone.work.operations / 8, rel=0.01)
    assert eight.seconds_iteration > alone.seconds_iteration / 8 + eight.seconds_exchange
    assert eight.seconds_validation < alone.seconds_validation


def test_small_batches_stay_on_one_gpu() -> None:
    for problem in ("spiral", "8gaussians"):
        assert list(costs_by_width(cell(problem, "disc-opt", CENTRAL), machine("a100", CENTRAL), CENTRAL, 64)) == [1]


def test_a_cell_adds_up() -> None:
    cost = cell_cost(cell("gas", "opt-disc", CENTRAL), machine("a100", CENTRAL), CENTRAL)
    assert cost.seconds_training == pytest.approx(CENTRAL["iterations of tables"] * cost.seconds_iteration)
    parts = (cost.seconds_training, cost.seconds_validation, cost.seconds_evaluation, cost.seconds_start)
    assert min(parts) > 0
    assert cost.seconds == pytest.approx(sum(parts))


def test_judging_deals_whole_chunks() -> None:
    sizes = cell("gas", "disc-opt", CENTRAL).sizes
    judged = Judged(4000, 1000, 50.0, sizes.divergence, 1)
    whole, half, third = (judging_work(sizes, judged, ranks).operations for ranks in (1, 2, 3))
    assert half == pytest.approx(whole / 2)
    assert third == half  # two chunks for one of three ranks
    assert judging_work(sizes, replace(judged, shared=False), 2).operations == whole
    assert judging_work(sizes, replace(judged, nfe=100.0)).operations == pytest.approx(2 * whole)


@pytest.mark.parametrize("problem", PROBLEM_NAMES)
@pytest.mark.parametrize("method", METHOD_NAMES)
def test_assumptions_lean_to_one_side(problem: str, method: str) -> None:
    seconds = []
    for name in SCENARIOS:
        scenario = Scenario(name)
        seconds.append(cell_cost(cell(problem, method, scenario), machine("a100", scenario), scenario).seconds)
    assert seconds == sorted(seconds)
    assert seconds[0] < seconds[-1]


def test_assumptions_are_named_once_with_a_reason() -> None:
    names = [a.name for a in ASSUMPTIONS]
    assert len(set(names)) == len(names)
    assert all(a.reason and (a.low <= a.central <= a.high or a.low >= a.central >= a.high) for a in ASSUMPTIONS)


def test_unknown_devices() -> None:
    with pytest.raises(UnknownName, match="did you mean 'a100'"):
        machine("a10", CENTRAL)
    assert {"a100", "titan-x"} <= set(DEVICES)
