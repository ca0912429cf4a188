"""Cells of the map and backward solves by numbers: who is accurate enough, who is cheapest, ratios."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pynode.studies.results import load_results
from pynode.studies.winners.map import AXES
from pynode.studies.winners.record import METHODS, NO_METHOD, TARGETS, StabilityRecord, WinnerRecord, cells
from pynode.studies.winners.stability import FIELDS, HORIZONS
from tests.studies.winners.test_map import record


def test_targets_and_methods() -> None:
    assert METHODS == ("disc-opt", "opt-disc")
    assert len(TARGETS) > 1


def test_the_cheapest_that_meets_the_target_with_a_reference_that_can_tell() -> None:
    """Equal is enough, for the error and for a tenth of the target."""
    met = record("disc-opt", 1, 1e-2, 300, reference_uncertainty=1e-3)
    cheaper = record("disc-opt", 2, 1e-2, 200, reference_uncertainty=1e-3)
    vague = record("disc-opt", 4, 1e-3, 100, reference_uncertainty=1.1e-3)
    missed = record("disc-opt", 8, 1.1e-2, 50, reference_uncertainty=1e-3)
    failed = record("disc-opt", 16, None, 10)
    (cell,) = cells([met, cheaper, vague, missed, failed])
    assert cell.seeds[0].cheapest("disc-opt", 1e-2) == cheaper
    assert cell.seeds[0].cheapest("opt-disc", 1e-2) is None
    assert cell.only(1e-2) == "disc-opt"
    assert cell.ratio(1e-2, "evaluations") is None


def test_ratios_are_opt_disc_over_disc_opt() -> None:
    (cell,) = cells([record("disc-opt", 1, 1e-3, 100), record("opt-disc", 1e-3, 1e-3, 250)])
    assert cell.ratio(1e-2, "evaluations") == 2.5
    assert cell.only(1e-2) is None
    for cost in ({"seconds": None}, {"seconds": 0.0}):
        (broken,) = cells([record("disc-opt", 1, 1e-3, 100), replace(record("opt-disc", 1e-3, 1e-3, 250), **cost)])
        assert broken.ratio(1e-2, "seconds") is None
    (nobody,) = cells([record("disc-opt", 1, 1.0, 100)])
    assert nobody.only(1e-2) is None


def test_cells_are_those_of_axis_and_value_in_order() -> None:
    failure = replace(record("disc-opt", 1, None, 0, value=3.0), method=NO_METHOD, failure="no reference")
    in_order = cells([record("disc-opt", 1, 1e-3, 1, value=5.0), failure, record("opt-disc", 1, 1e-3, 1, value=5.0)])
    assert [(cell.axis, cell.value, cell.problem, cell.failure) for cell in in_order] == [
        ("stiffness", 5.0, "van-der-pol", None),
        ("stiffness", 3.0, "van-der-pol", "no reference"),
    ]
    assert [seed.seed for seed in in_order[0].seeds] == [0]


def test_the_ratio_of_times_is_that_of_the_fastest_settings() -> None:
    """Which need not be those of fewest evaluations."""
    slow, fast = (record("disc-opt", n, 1e-3, 100 * n, seconds=s) for n, s in ((1, 0.3), (2, 0.2)))
    (cell,) = cells([slow, fast, record("opt-disc", 1e-3, 1e-3, 300, seconds=0.6)])
    assert cell.seeds[0].cheapest("disc-opt", 1e-2, "seconds") == fast
    assert cell.seeds[0].cheapest("disc-opt", 1e-2, "evaluations") == slow
    assert cell.ratio(1e-2, "seconds") == pytest.approx(3.0)
    assert cell.ratio(1e-2, "evaluations") == 3.0


def pair(seed: int, ratio: float, **more: Any) -> list[WinnerRecord]:
    """Both methods in one seed, whose costs have this ratio; `more` belongs to Opt-Disc's record."""
    times = {"seconds": 0.1 * ratio, **more}
    return [
        record("disc-opt", 1, 1e-3, 100, seed=seed, seconds=0.1),
        record("opt-disc", 1e-3, 1e-3, round(100 * ratio), seed=seed, **times),
    ]


def test_a_cell_is_decided_by_the_median_of_its_seeds() -> None:
    (cell,) = cells([*pair(2, 3.0), *pair(0, 0.5), *pair(1, 2.0)])
    assert [seed.seed for seed in cell.seeds] == [0, 1, 2]
    assert cell.ratios(1e-2, "evaluations") == [0.5, 2.0, 3.0]
    assert cell.ratio(1e-2, "evaluations") == 2.0
    assert cell.agreeing(1e-2, "evaluations") == 2
    (even,) = cells([*pair(0, 1.0), *pair(1, 1.0), *pair(2, 2.0)])
    assert even.agreeing(1e-2, "evaluations") == 2, "1 is on neither side"


def test_a_seed_without_an_accurate_method_leaves_no_median() -> None:
    """The median of the other seeds would flatter the method that failed."""
    (cell,) = cells([*pair(0, 2.0), *pair(1, 3.0), *pair(2, 4.0)[:1], record("opt-disc", 1e-3, 0.5, 400, seed=2)])
    assert cell.lacking("opt-disc", 1e-2) == 1
    assert cell.lacking("disc-opt", 1e-2) == 0
    assert cell.ratio(1e-2, "evaluations") is None
    assert cell.agreeing(1e-2, "evaluations") == 0
    assert cell.only(1e-2) is None, "Opt-Disc can do it in two seeds"
    (alone,) = cells([r for seed in range(3) for r in pair(seed, 2.0)[:1]])
    assert alone.only(1e-2) == "disc-opt"


def test_times_that_scatter_are_left_out_and_their_evaluations_stay() -> None:
    (cell,) = cells([*pair(0, 2.0), *pair(1, 9.0, scatter=0.21), *pair(2, 4.0, scatter=0.2)])
    assert cell.ratios(1e-2, "seconds") == pytest.approx([2.0, 4.0])
    assert cell.ratio(1e-2, "seconds") == pytest.approx(3.0)
    assert cell.ratio(1e-2, "evaluations") == 4.0
    (none,) = cells(pair(0, 2.0, scatter=0.3))
    assert none.ratio(1e-2, "seconds") is None
    assert none.ratio(1e-2, "evaluations") == 2.0


def test_a_method_that_the_map_does_not_know() -> None:
    with pytest.raises(ValueError, match='method: unknown value "julia"'):
        replace(record("disc-opt", 1, None, 0), method="julia")


def test_the_backward_ratio() -> None:
    solve = StabilityRecord("stability", "mlp", 1.0, 0, 1e-5, 0.1, 0.1, 10, 25, None)
    assert solve.backward_ratio == 2.5
    assert replace(solve, failure="it failed").backward_ratio is None
    assert replace(solve, nfe_forward=0).backward_ratio is None


def test_a_quick_map_has_the_two_smallest_values() -> None:
    assert {name: axis.values_of(quick=True) for name, axis in AXES.items()} == {
        "stiffness": (0.5, 2.0),
        "horizon": (1, 4),
        "dimension": (2, 8),
        "width": (16, 64),
    }
    assert dict(AXES["dimension"].fixed) == {"horizon": 2.0}


def test_the_published_map_has_the_cells_of_the_axes() -> None:
    """And the published backward solves the horizons: who makes the map again gets the same cells."""
    published = load_results(Path(__file__).parents[3] / "experiments" / "published" / "study" / "map")
    made = {(r.axis, r.problem, r.value) for r in published.winners}
    assert made == {(axis.name, axis.problem, float(value)) for axis in AXES.values() for value in axis.values}
    assert {r.horizon for r in published.stability} == set(HORIZONS)
    assert {r.architecture for r in published.stability} == set(FIELDS)
    assert {r.rtol for r in published.stability} == {1e-5}
