"""The gradient-error study (RQ2): how wrong is each gradient when the solver is coarse, and what does it cost?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any, get_args, get_type_hints

from torch import Tensor

from pynode.clock import Clock
from pynode.errors import SolveError
from pynode.methods import METHODS
from pynode.methods.ad_adaptive import AdaptiveAD
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.disc_opt_julia import DiscOptJulia
from pynode.methods.opt_disc import OptDisc
from pynode.methods.opt_disc_fixed import OptDiscFixed
from pynode.methods.opt_disc_julia import OptDiscJulia
from pynode.problems.base import Objective
from pynode.records.files import finite
from pynode.schemes.base import Scheme
from pynode.schemes.euler import EULER
from pynode.schemes.rk4 import RK4
from pynode.solution import collected_stats
from pynode.studies.gradients.oracle import continuous_gradient, discrete_error, flat_gradient
from pynode.studies.gradients.record import GradientErrorRecord
from pynode.studies.gradients.taylor import differentiable

ObjectiveOf = Callable[[GradientMethod], "Objective | Tensor"]
"""A loss, one number with a graph, as a function of the method that solves for it."""

TOLERANCES = tuple(10.0**-k for k in range(1, 11))
STEPS = (1, 2, 4, 8)


def study_grid(
    tolerances: Sequence[float] = TOLERANCES,
    steps: Sequence[int] = STEPS,
    schemes: Sequence[Scheme] = (EULER, RK4),
    *,
    backend: str = "torch",
    engine: str = "auto",
) -> list[GradientMethod]:
    """Every method over its accuracies: adaptive ones over rtol (atol a hundredth of it), the others over steps.

    On the backend "julia", every adjoint in place of the adaptive methods of torch; `engine` is for those that have it.
    """
    grid: list[GradientMethod] = []
    if backend == "julia":
        grid += [DiscOptJulia(scheme, n) for scheme in schemes for n in steps]
        adjoints = get_args(get_type_hints(OptDiscJulia)["adjoint"])
        grid += [OptDiscJulia(adjoint=a, rtol=tol, atol=tol / 100) for a in adjoints for tol in tolerances]
        return grid
    grid += [DiscOpt(scheme, n, engine=engine) for scheme in schemes for n in steps]
    grid += [OptDiscFixed(EULER, n) for n in steps]
    grid += [OptDiscFixed(EULER, n, "backward-euler") for n in steps]
    # the study's adjoint, shown with its drift however large that is
    adjoint: dict[str, Any] = {"adjoint": "backsolve", "drift": "ignore"}
    grid += [OptDisc(rtol=tol, atol=tol / 100, engine=engine, **adjoint) for tol in tolerances]
    grid += [AdaptiveAD(rtol=tol, atol=tol / 100) for tol in tolerances]
    return grid


def gradient_errors(
    objective: ObjectiveOf,
    params: Iterable[Tensor],
    methods: Iterable[GradientMethod],
    *,
    problem: str = "user",
    repeats: int = 3,
    reference: tuple[Tensor, float] | None = None,
    own_loss: bool = True,
) -> Iterator[GradientErrorRecord]:
    """Error and cost of the gradient of `objective(method)` by `params`, for each of `methods`, one after another.

    The reference is the gradient of the continuous problem, from refined RK4; see `continuous_gradient`.  A method
    whose solve fails gets a record with the failure in words.  Use float64: else the reference is no better than the
    rest.  A `reference` (flat gradient and its uncertainty) that is known already saves its making; `own_loss=False`
    leaves out the comparison with finite differences of the computed loss.

        field = pynode.MLP((2, 16, 2)).build()
        loss = lambda method: method.solve(field, y0, ts).ys[-1].square().mean()
        for record in pynode.gradient_errors(loss, field.parameters(), [pynode.DiscOpt(), pynode.OptDisc()]):
            print(record.label, record.error, record.nfe_forward, record.n_vjp, record.seconds)

    Raises `InvalidArgument` where `params` is empty.
    """
    params = differentiable(params)

    def loss_of(method: GradientMethod) -> Tensor:
        return _objective(objective, method).loss

    truth, uncertainty = continuous_gradient(loss_of, params) if reference is None else reference
    clock = Clock(params[0].device)
    for method in methods:
        empty = GradientErrorRecord(
            problem=problem,
            method=method.name,
            label=method.label,
            family=method.family,
            adaptive=method.adaptive,
            setting=method.setting,
            reference_uncertainty=uncertainty,
            outside=METHODS.origin(method.name) is not None,
        )
        try:
            computed = _objective(objective, method)
            gradient = flat_gradient(computed.loss, params)
            seconds = []
            for _ in range(repeats):
                clock.start()
                flat_gradient(loss_of(method), params)
                seconds.append(clock.lap())
            exact = None
            if own_loss and not method.adaptive:
                exact = finite(discrete_error(partial(loss_of, method), params, gradient))
        except SolveError as error:
            yield replace(empty, failure=str(error))
            continue
        yield replace(
            empty,
            error=finite(float((gradient - truth).norm() / truth.norm())),
            error_discrete=exact,
            loss=finite(float(computed.loss.detach())),
            nfe_forward=computed.stats.nfe_forward,
            nfe_backward=computed.stats.nfe_backward,
            n_vjp=computed.stats.forward.n_vjp + computed.stats.backward.n_vjp,
            seconds=median(seconds),
            engine=computed.stats.engine,
            drift=computed.stats.drift,
        )


def _objective(objective: ObjectiveOf, method: GradientMethod) -> Objective:
    with collected_stats() as solves:
        result = objective(method)
    return result if isinstance(result, Objective) else Objective.of(result, tuple(solves))
