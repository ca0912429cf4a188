"""Disc-Opt's gradient tends to the continuous one, at the rate of its scheme."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pynode.fields import FIELDS
from pynode.fields.base import Field
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.schemes import SCHEMES
from pynode.studies.gradients.taylor import fitted_slope

FieldOf = Callable[[str], Field]
StateOf = Callable[[str], Tensor]


def gradient(method: GradientMethod, field: Field, y0: Tensor) -> Tensor:
    """By parameters and y0, in one vector."""
    y0, ts = y0.clone().requires_grad_(), torch.tensor([0.0, 0.3, 0.8], dtype=torch.float64)
    gradients = torch.autograd.grad((method.solve(field, y0, ts).ys - 0.3).square().sum(), [*field.parameters(), y0])
    return torch.cat([g.reshape(-1) for g in gradients])


@pytest.mark.parametrize("name", FIELDS.names())
def test_the_discrete_gradient_tends_to_the_continuous_one(
    name: str, engine: Any, small_field: FieldOf, small_state: StateOf
) -> None:
    """The continuous gradient comes from another method altogether: the adjoint ODE at tight tolerances."""
    field, y0 = small_field(name), small_state(name)
    reference = gradient(OptDisc(rtol=1e-12, atol=1e-12, engine=engine), field, y0)
    for scheme in SCHEMES.load_all().values():
        # enough steps for the leading term, few enough for the error to stay above that of the reference, 1e-12
        counts = [8, 12, 16, 24] if scheme.order > 2 else [16, 32, 64]
        counts = {5: [2, 3, 4, 6], 8: [1, 2]}.get(scheme.order, counts)
        errors = [float((gradient(DiscOpt(scheme, n, engine=engine), field, y0) - reference).norm()) for n in counts]
        slope = fitted_slope([1 / n for n in counts], errors)
        if scheme.order < 5:
            assert slope == pytest.approx(scheme.order, abs=0.15), scheme.name
        elif scheme.order > 5:  # two steps are nearly as near as the reference is
            assert errors[-1] < 1e-7, scheme.name
        else:  # steps are too large for the leading term alone, errors of smaller ones too close to the reference's
            assert slope > scheme.order - 1, scheme.name
