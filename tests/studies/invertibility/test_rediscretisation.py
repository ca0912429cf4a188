"""Re-discretisation: what is measured is the flow under that very discretisation."""

from __future__ import annotations

import torch

from pynode.fields.concatsquash import ConcatSquash
from pynode.flows.flow import Flow
from pynode.methods.opt_disc import OptDisc
from pynode.schemes.euler import EULER
from pynode.schemes.rk4 import RK4
from pynode.studies.invertibility.record import RediscretisationRecord
from pynode.studies.invertibility.rediscretisation import discretisations, rediscretise


def measured(**more: int) -> list[RediscretisationRecord]:
    """A rough flow under Euler, RK4 and dopri5."""
    spec = ConcatSquash((2, 8, 2))
    noise = torch.randn(spec.n_params, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    flow = Flow([spec.build(theta=noise)], 2)
    x = torch.randn((40, 2), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    methods = discretisations([EULER, RK4], [4, 8, 16], [1e-2, 1e-7])
    return list(rediscretise(flow, x, methods, bound=1e-3, problem="p", run="r", trained_by="disc-opt", **more))


def test_inverse_errors_fall_with_the_order_of_the_scheme() -> None:
    """Halved steps: a factor of 2 for Euler, of 2^4 or more for RK4; the likelihood tends to one value."""
    found = {(r.scheme, r.setting): r for r in measured()}
    assert [r for r in found if r[0] == "euler"] == [("euler", 4.0), ("euler", 8.0), ("euler", 16.0)]
    for scheme, low, high in (("euler", 1.5, 3.0), ("rk4", 12.0, 80.0)):
        errors = [found[scheme, n].inverse for n in (4.0, 8.0, 16.0)]
        assert all(e is not None for e in errors)
        assert low < errors[1] / errors[2] < high  # type: ignore[operator]
    best = found["dopri5", 1e-7]
    assert best.adaptive
    assert best.inverse is not None
    assert best.inverse < 1e-5
    assert abs(found["rk4", 16.0].nll - best.nll) < 1e-4  # type: ignore[operator]
    assert found["rk4", 8.0].nfe == 32
    assert found["euler", 8.0].nfe == 8


def test_a_failed_solve_is_recorded() -> None:
    """Too few steps allowed: null values and the reason, and the others go on."""
    flow = Flow.build(ConcatSquash((2, 8, 2)), seed=0)
    x = torch.randn((5, 2), dtype=torch.float64)
    methods = [OptDisc(rtol=1e-12, atol=1e-14, max_steps=2), OptDisc(rtol=1e-3, atol=1e-3)]
    failed, fine = rediscretise(flow, x, methods, bound=1.0, problem="p", run="r", trained_by="m")
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
