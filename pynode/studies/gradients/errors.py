"""The gradient-error study (RQ2): how wrong is each gradient when the solver is coarse, and what does it cost?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
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
from pynode.schemes.dopri8 import DOPRI8
from pynode.schemes.euler import EULER
from pynode.schemes.rk4 import RK4
from pynode.solution import collected_stats
from pynode.studies.gradients.oracle import continuous_gradient, discrete_error, flat_gradient
from pynode.studies.gradients.record import GradientErrorRecord
from pynode.studies.gradients.taylor import differentiable
from pynode.studies.gradients.timing import Repeats, timed

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
    adjoints: Sequence[str] = ("backsolve",),
) -> list[GradientMethod]:
    """Every method over its accuracies: adaptive ones over rtol (atol a hundredth of it), the others over steps.

    Opt-Disc with each of `adjoints`.  On the backend "julia", all of its adjoints in place of the adaptive methods of
    torch; `engine` is for those that have it.
    """
    grid: list[GradientMethod] = []
    if backend == "julia":
        grid += [DiscOptJulia(scheme, n) for scheme in schemes for n in steps]
        theirs = get_args(get_type_hints(OptDiscJulia)["adjoint"])
        grid += [OptDiscJulia(adjoint=a, rtol=tol, atol=tol / 100) for a in theirs for tol in tolerances]
        return grid
    grid += [DiscOpt(scheme, n, engine=engine) for scheme in schemes for n in steps]
    grid += [OptDiscFixed(EULER, n) for n in steps]
    grid += [OptDiscFixed(EULER, n, "backward-euler") for n in steps]
    # the study's adjoint, shown with its drift however large that is
    shown: dict[str, Any] = {"engine": engine, "drift": "ignore"}
    grid += [OptDisc(rtol=tol, atol=tol / 100, adjoint=a, **shown) for a in adjoints for tol in tolerances]  # type: ignore[arg-type]
    grid += [AdaptiveAD(rtol=tol, atol=tol / 100) for tol in tolerances]
    return grid


def gradient_errors(
    objective: ObjectiveOf,
    params: Iterable[Tensor],
    methods: Iterable[GradientMethod],
    *,
    problem: str = "user",
    repeats: int | Repeats = 5,
    reference: tuple[Tensor, float] | None = None,
    own_loss: bool = True,
) -> Iterator[GradientErrorRecord]:
    """Error and cost of the gradient of `objective(method)` by `params`, for each of `methods`, one after another.

    The reference is the gradient of the continuous problem, by the eighth-order formula with refined steps; see
    `continuous_gradient`.  A method whose solve fails gets a record with the failure in words.  Use float64: else the
    reference is no better than the rest.  A `reference` (flat gradient and its uncertainty) that is known already saves
    its making; `own_loss=False` leaves out the comparison with finite differences of the computed loss.  Each gradient
    is taken once before it is timed, so that no time includes compiling, and then timed `repeats` times (three times
    where that takes seconds), or as `pynode.studies.gradients.timing.Repeats` says.

        field = pynode.MLP((2, 16, 2)).build()
        loss = lambda method: method.solve(field, y0, ts).ys[-1].square().mean()
        for record in pynode.gradient_errors(loss, field.parameters(), [pynode.DiscOpt(), pynode.OptDisc()]):
            print(record.label, record.error, record.nfe_forward, record.n_vjp, record.seconds)

    Raises `InvalidArgument` where `params` is empty.
    """
    params = differentiable(params)

    def loss_of(method: GradientMethod) -> Tensor:
        return _objective(objective, method).loss

    truth, uncertainty = reference or continuous_gradient(loss_of, params, scheme=DOPRI8, first=2)
    repeats = Repeats(repeats) if isinstance(repeats, int) else repeats
    clock = Clock(params[0].device)
    for method in methods:
        empty = GradientErrorRecord(
            problem=problem,
            method=method.name,
            label=_with_adjoint(method.label, method, "-") if _reads_forward(method) else method.label,
            family=_with_adjoint(method.family, method, " "),
            adaptive=method.adaptive,
            setting=method.setting,
            reference_uncertainty=uncertainty,
            outside=METHODS.origin(method.name) is not None,
            n_params=sum(p.numel() for p in params),
        )
        try:
            computed = _objective(objective, method)
            gradient = flat_gradient(computed.loss, params)
            timing = timed(lambda method=method: flat_gradient(loss_of(method), params), clock, repeats)  # type: ignore[misc]
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
            seconds=timing.seconds,
            engine=computed.stats.engine,
            drift=computed.stats.drift,
            scatter=timing.scatter,
            load=timing.load,
        )


def _with_adjoint(text: str, method: GradientMethod, joint: str) -> str:
    """`text` with the adjoint of an `OptDisc`, of which the study has two; on SciML its family has it already."""
    if not isinstance(method, OptDisc) or method.adjoint in method.family.split():
        return text
    return f"{text}{joint}{method.adjoint}"


def _reads_forward(method: GradientMethod) -> bool:
    """Whether it is Opt-Disc by another adjoint than the study's own, whose label says no more than its tolerance."""
    return isinstance(method, OptDisc) and method.adjoint != "backsolve"


def _objective(objective: ObjectiveOf, method: GradientMethod) -> Objective:
    with collected_stats() as solves:
        result = objective(method)
    return result if isinstance(result, Objective) else Objective.of(result, tuple(solves))
