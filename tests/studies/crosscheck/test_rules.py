"""The rules of the cross-check by numbers: distances, bounds, orders, and who of two twins is off."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.schemes.rk4 import RK4
from pynode.studies.crosscheck.check import (
    FACTOR,
    FACTORS,
    MEANINGLESS,
    ROUNDING,
    SAFETY,
    TIGHTER,
    TIGHTEST,
    VAGUE,
    Entry,
    _bounds,
    _difference,
    _finer,
    _judged,
    _order,
    _recorded_tighter,
    _twin,
)
from pynode.studies.crosscheck.record import AGREES, BROKEN, UNJUDGED, CrosscheckRecord
from pynode.studies.crosscheck.subjects import Distance, Gradient, Truth

RECORD = CrosscheckRecord("p", "c", "e", "opt-disc", "torch", "g", True, 1e-6, UNJUDGED)


def gradient(theta: float, y0: float = 10.0, loss: float = 2.0) -> Gradient:
    """Of one parameter and one state, on the scale 4."""
    return Gradient(loss, torch.tensor([theta], dtype=torch.float64), torch.tensor([y0], dtype=torch.float64), 4.0)


TRUTH = Truth(gradient(1.0), Distance(1e-9, 2e-9, 3e-9), growth=5.0)


def entry(made: Gradient | None = None, finer: tuple[float, ...] = (), order: int = 2, **more: object) -> Entry:
    """One on its way to a verdict."""
    record = replace(RECORD, **more)  # type: ignore[arg-type]
    return Entry(record, order=order, gradient=made, finer=tuple(map(gradient, finer)))


def test_constants_of_the_rules() -> None:
    assert (ROUNDING, FACTOR, SAFETY, VAGUE) == (1e-10, 100.0, 3.0, 1e-3)
    assert FACTORS == {"ad-adaptive": 1000.0}
    assert (TIGHTER, TIGHTEST, MEANINGLESS) == ((10, 100), 1e-12, 0.5)


def test_distances_are_relative_to_the_other_and_the_loss_to_its_scale() -> None:
    assert gradient(1.5, 8.0, 3.0).distance(gradient(1.0)) == pytest.approx((0.25, 0.5, 0.2))
    flat = replace_scale(gradient(1.0), 0.0)
    assert flat.distance(flat).loss == 0.0
    assert gradient(1.0, loss=2.1).distance(flat).loss == 1.0
    assert gradient(1.0).is_finite
    for broken in (gradient(math.nan), gradient(1.0, math.inf), gradient(1.0, loss=math.nan)):
        assert not broken.is_finite


def replace_scale(made: Gradient, scale: float) -> Gradient:
    """The same gradient with another scale of its loss."""
    return made._replace(scale=scale)


def test_a_tolerance_justifies_its_multiple_and_the_uncertainty() -> None:
    """FACTOR x growth x rtol, and twice what is unknown of the continuous gradient, and rounding."""
    expected = [100 * 5.0 * 1e-6 + 2 * u + 1e-10 for u in (1e-9, 2e-9, 3e-9)]
    assert _bounds(entry(gradient(1.0)), TRUTH) == pytest.approx(expected, rel=1e-12)
    expected = [1000 * 5.0 * 1e-6 + 2 * u + 1e-10 for u in (1e-9, 2e-9, 3e-9)]
    assert _bounds(entry(gradient(1.0), method="ad-adaptive"), TRUTH) == pytest.approx(expected, rel=1e-12)


def test_tighter_tolerances_justify_less_where_the_tolerance_is_loose() -> None:
    """At 1e-2 a multiple of the tolerance justifies any gradient; three times what tighter ones change does not."""
    loose: dict[str, Any] = {"setting": 1e-2}
    alone = entry(gradient(1.0), **loose)
    assert _bounds(alone, TRUTH) == pytest.approx([5.0] * 3)
    bounds = _bounds(entry(gradient(1.08), (1.02, 1.0), **loose), TRUTH)
    assert bounds is not None
    assert bounds.theta == pytest.approx(3 * 0.08 + 5.0 * 1e-2, rel=1e-6), "the larger change counts"
    assert bounds.y0 == pytest.approx(5.0 * 1e-2, rel=1e-6), "growth times rtol is always justified"
    coarse = _bounds(entry(gradient(9.0), (1.02, 1.0), setting=1e-6), TRUTH)
    assert coarse is not None
    assert coarse.theta == pytest.approx(100 * 5.0 * 1e-6, rel=1e-3), "nor may the estimate justify more than rtol does"


def test_who_is_wrong_at_a_loose_tolerance() -> None:
    """Half as much again as the gradient that its own tighter solves tend to."""
    loose: dict[str, Any] = {"setting": 1e-2}
    wrong = _judged(entry(gradient(1.5), (1.5, 1.5), **loose), TRUTH, [])
    assert wrong.verdict == BROKEN
    assert wrong.reason == "theta gradient off by 5.0e-01, its own error estimate justifies 5.0e-02"
    right = _judged(entry(gradient(1.5), (1.02, 1.0), **loose), TRUTH, [])
    assert right.verdict == AGREES
    alone = _judged(entry(gradient(1.5), **loose), TRUTH, [])
    assert alone.verdict == UNJUDGED
    assert alone.bound == pytest.approx(5.0)
    assert "its tolerance justifies 5.0e+00" in str(alone.reason)
    far = _judged(entry(gradient(7.0), **loose), TRUTH, [])
    assert (far.verdict, far.reason) == (BROKEN, "theta gradient off by 6.0e+00, its tolerance justifies 5.0e+00")
    fine = _judged(entry(gradient(1.1), (1.05, 1.0)), TRUTH, [])
    assert (fine.verdict, "its tolerance justifies" in str(fine.reason)) == (BROKEN, True)


def test_what_is_finer_than_a_method() -> None:
    assert _finer(DiscOpt(RK4, 3)) == [DiscOpt(RK4, 6), DiscOpt(RK4, 12)]
    tighter = [(m.rtol, m.atol) for m in _finer(OptDisc(rtol=1e-2, atol=1e-4)) if isinstance(m, OptDisc)]
    assert [x for pair in tighter for x in pair] == pytest.approx([1e-3, 1e-5, 1e-4, 1e-6])
    assert len(_finer(OptDisc(rtol=1e-11, atol=1e-11))) == 1
    assert _finer(OptDisc(rtol=1e-12, atol=1e-12)) == []


def test_what_was_recorded_at_tighter_tolerances() -> None:
    made = {tol: entry(gradient(tol), setting=tol) for tol in (1e-2, 1e-3, 5e-4, 1e-5, 0.0)}
    other = entry(gradient(7.0), setting=1e-6, group="other")
    failed = entry(None, setting=1e-6)
    steps = entry(gradient(8.0), setting=1e-7, adaptive=False)
    entries = [*made.values(), other, failed, steps]
    tighter = {tol: [g.loss + float(g.theta) - 2 for g in _recorded_tighter(e, entries)] for tol, e in made.items()}
    assert tighter[1e-2] == pytest.approx([1e-3, 5e-4, 1e-5])
    assert tighter[1e-3] == pytest.approx([1e-5])
    assert tighter[1e-5] == tighter[0.0] == []
    assert _recorded_tighter(steps, entries) == ()


def test_halving_the_steps_justifies_three_estimates() -> None:
    """Changes 0.08 and 0.02 of order 2: both say that 0.08 x 4 / 3 is left."""
    fixed: dict[str, Any] = {"adaptive": False, "setting": 4.0}
    halved = entry(gradient(1.1), (1.02, 1.0), **fixed)
    first, second = 0.08 / 1.02, 0.02 / 1.0
    bounds = _bounds(halved, TRUTH)
    assert bounds is not None
    assert bounds.theta == pytest.approx(3 * max(first, 4 * second) * 4 / 3 + 2 * 2e-9 + 1e-10)
    assert bounds.loss == pytest.approx(2e-9 + 1e-10)
    stuck = _bounds(entry(gradient(1.5), (1.02, 1.01), order=1, **fixed), TRUTH)
    assert stuck is not None
    assert stuck.theta == pytest.approx(3 * (0.48 / 1.02) * 2 / 1, rel=1e-6), "the larger of both changes counts"
    assert _bounds(entry(gradient(1.1), (1.0,), **fixed), TRUTH) is None
    assert _bounds(entry(None, (1.0, 1.0), **fixed), TRUTH) is None


def test_the_order_is_the_logarithm_of_two_errors() -> None:
    """Where both are above ten times what is unknown of the continuous gradient."""
    assert _order(entry(gradient(1.8), (1.1,)), TRUTH) == pytest.approx(3.0)
    assert _order(entry(gradient(1.1), (1.8,)), TRUTH) == pytest.approx(-3.0)
    floor = 10 * 2e-9 + 1e-10
    assert _order(entry(gradient(1.5), (1 + 1.01 * floor,)), TRUTH) is not None
    assert _order(entry(gradient(1.5), (1 + 0.99 * floor,)), TRUTH) is None
    assert _order(entry(gradient(1.5)), TRUTH) is None
    assert _order(entry(None, (1.5,)), TRUTH) is None


def test_an_error_is_judged_by_the_bound_that_it_is_nearest_to() -> None:
    """The worst is the one whose error is the largest part of its bound, though another may be larger."""
    bounds = _bounds(entry(gradient(1.0)), TRUTH)
    assert bounds is not None
    truth = TRUTH._replace(uncertainty=Distance(1e-9, 1e-2, 1e-9))
    wide = _bounds(entry(gradient(1.0)), truth)
    assert wide is not None
    made = gradient(1.0 + 0.5 * wide.theta, 10.0 * (1 + 0.9 * wide.y0))
    record = _judged(entry(made), truth, [])
    assert (record.verdict, record.quantity) == (AGREES, "y0")
    assert record.error == pytest.approx(0.9 * wide.y0, rel=1e-6)
    assert record.bound == pytest.approx(wide.y0)
    assert (record.error_loss, record.reason) == (0.0, None)
    assert record.error_theta == pytest.approx(0.5 * wide.theta)
    assert record.error_y0 == pytest.approx(0.9 * wide.y0, rel=1e-6)
    broken = _judged(entry(gradient(1.0, 10.0 * (1 + 1.1 * wide.y0))), truth, [])
    assert (broken.verdict, broken.quantity) == (BROKEN, "y0")
    assert str(broken.reason) == f"y0 gradient off by {1.1 * wide.y0:.1e}, its tolerance justifies {wide.y0:.1e}"
    loss = _judged(entry(gradient(1.0, loss=2.0 + 4 * 1.5 * bounds.loss)), TRUTH, [])
    assert str(loss.reason).startswith("loss off by")


def test_the_ratio_of_an_error_and_its_bound() -> None:
    assert replace(RECORD, error=3.0, bound=12.0).ratio == 0.25
    assert replace(RECORD, error=0.0, bound=12.0).ratio == 0.0
    assert replace(RECORD, bound=12.0).ratio is None
    assert replace(RECORD, error=3.0).ratio is None
    assert replace(RECORD, error=3.0, bound=0.0).ratio is None


def test_what_no_rule_judges() -> None:
    lonely = _judged(entry(gradient(9.0), adaptive=False, setting=1.0), TRUTH, [])
    assert (lonely.verdict, lonely.reason) == (UNJUDGED, "nothing to judge it by")
    unknown = _judged(entry(gradient(1.0)), "it blew up", [])
    assert (unknown.verdict, unknown.reason) == (UNJUDGED, "no continuous gradient to judge by: it blew up")
    infinite = _judged(entry(gradient(math.inf)), TRUTH, [])
    assert (infinite.verdict, infinite.reason) == (BROKEN, "the gradient has NaN or infinite entries")


def twins(*thetas: float, backends: tuple[str, ...] = ("torch", "julia", "julia")) -> list[Entry]:
    """Entries of one program."""
    made = []
    for k, (theta, backend) in enumerate(zip(thetas, backends, strict=False)):
        one = entry(gradient(theta), entry=f"e{k}", backend=backend, adaptive=False, setting=2.0)
        one.program = ("rk4", 2)
        made.append(one)
    return made


def test_of_two_twins_the_one_in_torch_is_right() -> None:
    first, second = twins(1.0, 1.0 + 1e-6)
    for one, name, is_right in ((first, "e1", True), (second, "e0", False)):
        twin, apart, right = _twin(one, [second, first])
        assert (twin, right) == (name, is_right)
        assert apart == pytest.approx(1e-6, rel=1e-3)
    assert _twin(first, [first]) == (None, None, False)
    other = twins(1.0)[0]
    other.program = ("rk4", 3)
    assert _twin(first, [first, other]) == (None, None, False)


def test_of_three_twins_the_one_in_the_middle_is_right() -> None:
    entries = twins(0.9, 1.0, 1.0 + 1e-12)
    assert [_twin(e, entries)[2] for e in entries] == [False, True, False]
    assert _twin(entries[0], entries)[1] == pytest.approx(0.1)
    twin, apart, _ = _twin(entries[1], entries)
    assert twin == "e2", "its nearest twin is shown"
    assert apart == pytest.approx(1e-12, rel=1e-3)


def test_a_twin_that_is_off_by_more_than_rounding_is_broken() -> None:
    entries = twins(1.0, 1.0 + 2e-10, 1.0)
    verdicts = [_judged(e, "none", entries) for e in entries]
    assert [v.verdict for v in verdicts] == [AGREES, BROKEN, AGREES]
    assert "off by 2.0e-10 from its twin e0, rounding justifies 1e-10" in str(verdicts[1].reason)
    within = twins(1.0, 1.0 + 0.5e-10, 1.0)
    assert [_judged(e, "none", within).verdict for e in within] == [AGREES] * 3


def test_a_difference_is_over_the_larger_of_both() -> None:
    a, b = gradient(1.0), gradient(2.0, 9.0)
    assert _difference(a, b) == _difference(b, a) == pytest.approx(0.5)
    assert _difference(a, a) == 0.0
    assert _difference(a, None) is None
    assert _difference(None, a) is None
