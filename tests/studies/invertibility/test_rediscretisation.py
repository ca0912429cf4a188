"""Re-discretisation: what is measured is the flow under that very discretisation."""

from __future__ import annotations

import pytest
import torch

from pynode.engines.fused import unavailable
from pynode.fields.concatsquash import ConcatSquash
from pynode.flows.flow import Flow
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.methods.opt_disc_fixed import OptDiscFixed
from pynode.schemes.euler import EULER
from pynode.schemes.rk4 import RK4
from pynode.studies.invertibility import rediscretisation
from pynode.studies.invertibility.record import RediscretisationRecord
from pynode.studies.invertibility.rediscretisation import (
    TrainedFlow,
    discretisations,
    evaluate_training,
    rediscretise,
)
from pynode.types import State


def rough(method: GradientMethod, seed: int = 0) -> TrainedFlow:
    """A rough flow that `method` is said to have trained."""
    spec = ConcatSquash((2, 8, 2))
    noise = torch.randn(spec.n_params, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return TrainedFlow(Flow([spec.build(theta=noise)], 2), "p", "r", method.name, method, seed)


def samples(n: int = 40) -> State:
    """`(n, 2)` samples."""
    return torch.randn((n, 2), dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def measured() -> list[RediscretisationRecord]:
    """A rough flow under Euler, RK4 and dopri5."""
    methods = discretisations([EULER, RK4], [4, 8, 16], [1e-2, 1e-7])
    return list(rediscretise(rough(DiscOpt(RK4, 2)), samples(), methods, bound=1e-3))


def test_inverse_errors_fall_with_the_order_of_the_scheme() -> None:
    """Halved steps: a factor of 2 for Euler, of 2^4 or more for RK4; the likelihood tends to one value."""
    by_setting = {(r.scheme, r.setting): r for r in measured()}
    assert [r for r in by_setting if r[0] == "euler"] == [("euler", 4.0), ("euler", 8.0), ("euler", 16.0)]
    for scheme, low, high in (("euler", 1.5, 3.0), ("rk4", 12.0, 80.0)):
        errors = [by_setting[scheme, n].inverse for n in (4.0, 8.0, 16.0)]
        assert all(e is not None for e in errors)
        assert low < errors[1] / errors[2] < high  # type: ignore[operator]
    best = by_setting["dopri5", 1e-7]
    assert best.adaptive
    assert best.inverse is not None
    assert best.inverse < 1e-5
    assert abs(by_setting["rk4", 16.0].nll - best.nll) < 1e-4  # type: ignore[operator]
    assert by_setting["rk4", 8.0].nfe == 32
    assert by_setting["euler", 8.0].nfe == 8


def test_a_failed_solve_is_recorded() -> None:
    """Too few steps allowed: null values and the reason, and the others go on."""
    flow = Flow.build(ConcatSquash((2, 8, 2)), seed=0)
    x = torch.randn((5, 2), dtype=torch.float64)
    methods = [OptDisc(rtol=1e-12, atol=1e-14, max_steps=2), OptDisc(rtol=1e-3, atol=1e-3)]
    trained = TrainedFlow(flow, "p", "r", "disc-opt", DiscOpt(RK4, 2))
    failed, fine = rediscretise(trained, x, methods, bound=1.0)
    assert failed.failure is not None
    assert failed.nll is None
    assert failed.inverse is None
    assert fine.failure is None
    assert fine.nll is not None


def test_discretisations_of_the_study() -> None:
    """Every scheme at eleven step counts, dopri5 at seven tolerances, rtol and atol alike."""
    methods = discretisations([EULER, RK4])
    assert [m.setting for m in methods[:11]] == [1, 2, 3, 4, 6, 8, 10, 12, 16, 24, 32]
    assert [m.setting for m in methods[11:22]] == [m.setting for m in methods[:11]]
    adaptive = methods[22:]
    assert [m.setting for m in adaptive] == [10.0**-k for k in range(1, 8)]
    assert all(isinstance(m, OptDisc) and m.atol == m.rtol for m in adaptive)


FINE = OptDisc(rtol=1e-9, atol=1e-9)


def test_a_flow_is_used_as_trained_by_dopri5_and_from_one_to_the_other() -> None:
    """Where the dopri5 half is accurate, the mixed round trip has the error of a single coarse solve.

    The coarse solve's own round trip is off by another amount, and dopri5's by none.
    """
    coarse, x = DiscOpt(EULER, 3), samples()
    trained = rough(coarse)
    own, fine, mixed = evaluate_training(trained, x, FINE, bound=1e-3)
    assert [r.use for r in (own, fine, mixed)] == ["training", "evaluation", "mixed"]
    assert {r.trained for r in (own, fine, mixed)} == {"disc-opt euler x 3"}
    assert (own.scheme, own.setting, own.nfe) == ("euler", 3.0, 3)
    assert (fine.scheme, fine.setting, fine.atol) == ("dopri5", 1e-9, 1e-9)
    with torch.no_grad():
        z = trained.flow.move(x, method=coarse)
        lost = {
            "training": trained.flow.move(z, method=coarse, backwards=True) - x,
            "mixed": trained.flow.move(z, method=FINE, backwards=True) - x,
        }
        nll = {name: -float(trained.flow.log_prob(x, method=m).mean()) for name, m in (("own", coarse), ("fine", FINE))}
    for record in (own, mixed):
        expected = lost[record.use]
        assert record.inverse_data == pytest.approx(float(expected.norm(dim=1).mean()), rel=1e-9)
        assert record.inverse_data_frobenius == pytest.approx(float(expected.norm()) / 40, rel=1e-9)
    assert fine.inverse is not None
    assert fine.inverse < 1e-6 < own.inverse  # type: ignore[operator]
    assert (own.nll, fine.nll) == pytest.approx((nll["own"], nll["fine"]), rel=1e-12)
    assert abs(own.nll - fine.nll) > 1e-3  # type: ignore[operator]
    assert mixed.nll is None


def test_a_flow_trained_as_it_is_evaluated_has_no_third_record() -> None:
    own, fine = evaluate_training(rough(OptDisc(rtol=1e-9, atol=1e-9, adjoint="backsolve")), samples(), FINE, bound=1.0)
    assert own.trained == "opt-disc dopri5 rtol 1e-09"
    assert (own.use, fine.use) == ("training", "evaluation")
    assert own.nll == fine.nll
    other = rough(OptDisc(rtol=1e-9, atol=1e-12))
    assert len(list(evaluate_training(other, samples(), FINE, bound=1.0))) == 3, "another atol is another solve"


def test_records_say_what_ran_the_solves_and_how_busy_the_machine_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each half of a mixed round trip may be run by another engine."""
    monkeypatch.setattr(rediscretisation, "load_average", lambda: 1.25)
    other = "eager" if unavailable() else "fused"
    trained, evaluation = rough(DiscOpt(EULER, 3, engine="eager")), OptDisc(rtol=1e-6, atol=1e-6, engine=other)
    records = list(evaluate_training(trained, samples(), evaluation, bound=1.0))
    assert [r.engine for r in records] == ["eager", other, "eager" if unavailable() else "mixed"]
    records += rediscretise(trained, samples(), [evaluation], bound=1.0)
    assert records[-1].engine == other
    assert {r.load_average for r in records} == {1.25}


def test_chunks_of_rows_are_weighted_by_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty rows in chunks of 16, 16 and 8 give what they give at once."""
    trained, x = rough(DiscOpt(EULER, 3)), samples()
    whole = next(evaluate_training(trained, x, FINE, bound=1.0))
    monkeypatch.setattr(rediscretisation, "rows_at_once", lambda _: 16)
    parts = next(evaluate_training(trained, x, FINE, bound=1.0))
    for name in ("nll", "inverse_data", "inverse_base", "inverse_data_frobenius", "inverse_base_frobenius"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), rel=1e-12)
    assert parts.samples == 40
    assert parts.nfe == 3


def test_records_name_the_scheme_whatever_else_the_method_s_name_says() -> None:
    """The family of a method may end in its adjoint, which no forward solve depends on."""
    trained = rough(OptDiscFixed(EULER, 3, adjoint="backward-euler"))
    own, fine, mixed = evaluate_training(trained, samples(), FINE, bound=1.0)
    assert [r.scheme for r in (own, fine, mixed)] == ["euler", "dopri5", "euler"]
    assert {r.trained for r in (own, fine, mixed)} == {"opt-disc-fixed euler x 3"}
    again = list(evaluate_training(trained, samples(), DiscOpt(EULER, 3), bound=1.0))
    assert [r.use for r in again] == ["training", "evaluation"], "the same discretisation"


def test_a_failed_round_trip_says_why() -> None:
    few = OptDisc(rtol=1e-12, atol=1e-14, max_steps=2)
    own, evaluation, mixed = evaluate_training(rough(DiscOpt(EULER, 3)), samples(), few, bound=1.0)
    assert own.failure is None
    for failed in (evaluation, mixed):
        assert failed.inverse is None
        assert failed.failure is not None
        assert "its limit of steps" in failed.failure
