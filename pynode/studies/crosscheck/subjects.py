"""What is checked against what: a loss as a function of the method that solves for it, and its continuous gradient."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from pynode.engines.base import Engine
from pynode.errors import InvalidArgument, UnknownName
from pynode.fields import FIELDS
from pynode.fields.base import FieldSpec
from pynode.flows.augmented import RunningCosts
from pynode.flows.probes import Draw
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.problems.base import Problem
from pynode.solve import Recipe, Run, Solve
from pynode.studies.crosscheck.case import Case, FlowState, Row, versions
from pynode.studies.crosscheck.loss import LossForm
from pynode.studies.gradients.oracle import continuous_gradient, flat_gradient
from pynode.studies.gradients.taylor import random_direction

CRUDE = 16
"""RK4 steps per output interval where a few digits will do."""

SMALL: dict[str, Any] = {
    # options of small examples: an architecture takes those that it has
    "widths": (3, 8, 3),
    "dim": 4,
    "width": 6,
    "gamma": 0.1,
    "input_power": 2,
}

FLOWS = ("cnf-exact", "cnf-hutchinson")
"""Examples whose state is that of a flow."""


class Distance(NamedTuple):
    """Relative differences of two losses, of their gradients by theta, and by y0."""

    loss: float
    theta: float
    y0: float


class Gradient(NamedTuple):
    """A loss with its gradients by theta and y0, flat; `scale` is what errors of the loss are measured by."""

    loss: float
    theta: Tensor
    y0: Tensor
    scale: float

    def distance(self, other: Gradient) -> Distance:
        """From `other`, relative to it."""
        loss = abs(self.loss - other.loss) / other.scale if other.scale else float(self.loss != other.loss)
        return Distance(loss, _relative(self.theta, other.theta), _relative(self.y0, other.y0))

    @property
    def is_finite(self) -> bool:
        """Whether there is no NaN and no infinity."""
        return math.isfinite(self.loss + float(self.theta.sum() + self.y0.sum()))


class Truth(NamedTuple):
    """The continuous gradient, its relative uncertainty, and the growth of perturbations along the trajectory."""

    gradient: Gradient
    uncertainty: Distance
    growth: float


class Solves(NamedTuple):
    """The solves behind a loss as cases, for files, and a sentence for each that can't be one."""

    cases: list[Case]
    left_out: list[str]


@dataclass(eq=False)
class Subject:
    """What is checked: a loss as a function of the method that solves for it, of `params` and of `y0` (leaves).

    `rows` were recorded by somebody else; `solves` gives the solves behind the loss; `is_case` where the subject is
    itself a case, and the only one.
    """

    name: str
    objective: Callable[[GradientMethod], Tensor]
    params: list[Tensor]
    y0: Tensor
    solves: Callable[[], Solves]
    rows: tuple[Row, ...] = ()
    is_case: bool = False
    computed: dict[str, Gradient] = field(default_factory=dict)

    def gradient(self, method: GradientMethod) -> Gradient:
        """By `method`; computed once."""
        key = repr(method)
        if key not in self.computed:
            loss = self.objective(method)
            flat = flat_gradient(loss, [self.y0, *self.params])
            self.computed[key] = self.split(float(loss.detach()), flat)
        return self.computed[key]

    def split(self, loss: float, flat: Tensor) -> Gradient:
        """From a gradient by y0 and the parameters in one vector."""
        by_y0, by_theta = flat.cpu().split([self.y0.numel(), flat.numel() - self.y0.numel()])
        # a change of y0 by a relative e changes the loss by no more than e times this
        size = float(by_y0.norm()) * float(self.y0.detach().norm())
        return Gradient(loss, by_theta, by_y0, max(abs(loss), size))

    @cached_property
    def truth(self) -> Truth:
        """The continuous gradient; raises `SolveError` where even RK4 can't follow the trajectory."""
        losses: list[float] = []

        def loss_of(method: GradientMethod) -> Tensor:
            loss = self.objective(method)
            losses.append(float(loss.detach()))
            return loss

        flat, u = continuous_gradient(loss_of, [self.y0, *self.params])
        gradient = self.split(losses[-1], flat)
        size = u * float(flat.norm())
        by_loss = abs(losses[-1] - losses[-2]) / 15 / (gradient.scale or 1.0)
        parts = (size / float(part.norm() or 1.0) for part in (gradient.theta, gradient.y0))
        return Truth(gradient, Distance(by_loss, *parts), self._growth())

    def _growth(self, step: float = 1e-5) -> float:
        """Relative change of the gradient over that of y0, the largest of three directions, and no less than 1."""
        method = DiscOpt(steps=CRUDE, memory="recompute")
        base, before, worst = self.gradient(method), self.y0.detach().clone(), 1.0
        try:
            for seed in range(3):
                with torch.no_grad():
                    self.y0.add_(random_direction([before], seed)[0], alpha=step)
                loss = self.objective(method)
                moved = self.split(float(loss.detach()), flat_gradient(loss, [self.y0, *self.params]))
                worst = max(worst, *(d / step for d in moved.distance(base)))
                with torch.no_grad():
                    self.y0.copy_(before)
        finally:
            with torch.no_grad():
                self.y0.copy_(before)
        return worst


def case_subject(case: Case) -> Subject:
    """The solve of a case, with what was recorded of it."""
    module, y0 = case.field(), case.y0.clone().requires_grad_()
    return Subject(
        case.name,
        lambda method: case.loss(method.solve(module, y0, case.ts).ys),
        list(module.parameters()),
        y0,
        lambda: Solves([case], []),
        case.rows,
        is_case=True,
    )


def problem_subject(problem: Problem, model: Any, batch: Any) -> Subject:
    """The objective of a problem on a batch.

    A batch is a tensor of initial states, or a named tuple with such a tensor called `x`.  Of any other batch, such as
    row numbers, the initial state is the one that the first solve of the objective starts from.
    """

    def objective(method: GradientMethod) -> Tensor:
        return problem.objective(method, model, given).loss

    asked: Callable[[GradientMethod], Tensor] = objective
    given, named = batch, getattr(batch, "x", None)
    if isinstance(batch, Tensor) and batch.is_floating_point():
        given = y0 = batch.detach().clone().requires_grad_()
    elif isinstance(named, Tensor) and named.is_floating_point() and "x" in getattr(batch, "_fields", ()):
        y0 = named.detach().clone().requires_grad_()
        given = batch._replace(x=y0)
    else:
        y0, asked = _starting_from_leaf(problem.name, objective)
    params = [p for p in model.parameters() if p.requires_grad]
    return Subject(problem.name, asked, params, y0, lambda: solves_of(problem.name, asked))


def _starting_from_leaf(
    name: str, objective: Callable[[GradientMethod], Tensor]
) -> tuple[Tensor, Callable[[GradientMethod], Tensor]]:
    """The initial state y0 of the first solve of `objective` as a leaf, and the objective as a function of this leaf.

    The objective still computes its own initial state, with its gradient by whatever that depends on; what the leaf
    differs from y0 is added to it.
    """
    watched = Watched()
    objective(watched)
    if not watched.seen:
        problem = "its objective solves nothing by the method that it is given"
        raise InvalidArgument("problem", name, problem, "call method.solve in it")
    start = watched.seen[0].solve.y0.detach().clone()
    y0 = start.clone().requires_grad_()

    def moved(method: GradientMethod) -> Tensor:
        begun = False

        def run(solve: Solve, engine: Engine) -> Run:
            nonlocal begun
            if not begun:
                begun, solve = True, replace(solve, y0=solve.y0 + (y0 - start))
            return method.run(solve, engine)

        asked = copy.copy(method)
        asked.__dict__["run"] = run  # instead of the method's own
        return objective(asked)

    return y0, moved


class Seen(NamedTuple):
    """A solve, and its states `(time, ..., columns)`."""

    solve: Solve
    states: Tensor


@dataclass(frozen=True)
class Watched(GradientMethod):
    """RK4, with a list of what it solved."""

    name: ClassVar[str] = "watched"
    backend: ClassVar[str] = "torch"
    adaptive: ClassVar[bool] = False

    seen: list[Seen] = field(default_factory=list)

    @cached_property
    def recipe(self) -> Recipe:
        return DiscOpt(steps=CRUDE).recipe

    def run(self, solve: Solve, engine: Engine) -> Run:
        """As `DiscOpt` does; keeps the solve and its states in `seen`."""
        run = super().run(solve, engine)
        self.seen.append(Seen(solve, run.states))
        return run


def solves_of(name: str, objective: Callable[[GradientMethod], Tensor]) -> Solves:
    """Each solve behind a loss as a case with a linear loss: its weights are the derivatives of the loss by the states.

    Such a case has the gradients of that part of the problem.  That of a module of the user's holds its tape after the
    preparation, and gradients by the tape's constants.  Modules that can't be captured are left out, with the reason.
    """
    watched = Watched()
    loss = objective(watched)
    weights = torch.autograd.grad(loss, [states for _, states in watched.seen], materialize_grads=True)
    cases, left_out = [], []
    for k, ((solve, _), w) in enumerate(zip(watched.seen, weights, strict=True)):
        label = name if len(watched.seen) == 1 else f"{name}-solve{k + 1}"
        if solve.no_system is None:
            cases.append(_case_of(label, solve, LossForm("linear", rows=w.reshape(len(w), -1))))
        else:
            left_out.append(f"{label}: {solve.no_system}")
    return Solves(cases, left_out)


def _case_of(label: str, solve: Solve, form: LossForm) -> Case:
    """The case of a solve whose field has a specification."""
    system, flow = solve.system, None
    if system.flow is not None:
        flow = FlowState(system.probes, RunningCosts(system.flow["kinetic"], system.flow["jacobian"]))
    parts = [p.detach().reshape(-1).double() for p in system.theta]
    theta = torch.cat([torch.empty(0, dtype=torch.float64), *parts])
    y0 = solve.y0.detach().reshape(-1, system.columns)
    return Case(label, system.spec.after_preparation(), theta, y0, solve.ts.detach(), form, flow)


def _relative(a: Tensor, b: Tensor) -> float:
    """|a - b| / |b|, also where both are zero."""
    difference, size = float((a - b).norm()), float(b.norm())
    return difference / size if size else math.inf if difference else 0.0


def example_names() -> tuple[str, ...]:
    """Names of the examples: every registered architecture, and the states of a flow."""
    return (*FIELDS.names(), *FLOWS)


def example_cases(names: Sequence[str], seed: int = 0) -> list[Case]:
    """Small cases of each of `names` in both time directions, three samples each; raises `UnknownName`."""
    cases = []
    for name in names:
        if name not in example_names() and FIELDS.origin(name) is None:
            raise UnknownName("field", name, (*example_names(), *FIELDS.outside()))
        spec = _small_spec("concatsquash" if name in FLOWS else name)
        generator = torch.Generator().manual_seed(seed)
        theta = 0.5 * torch.randn(spec.n_params, dtype=torch.float64, generator=generator)
        y0 = 0.8 * torch.randn(3, spec.state_dim, dtype=torch.float64, generator=generator)
        flow, form, times = None, LossForm("squares", shift=0.5, scale=1 / len(y0)), [0.0, 0.3, 0.7, 1.0]
        if name in FLOWS:
            probes = Draw(seed).probes("rademacher", y0) if name == "cnf-hutchinson" else None
            flow, form, times = FlowState(probes), LossForm("nll"), [0.0, 0.5]
            y0 = torch.cat((y0, torch.zeros(len(y0), 1, dtype=torch.float64)), dim=1)
        for suffix, ts in (("", times), ("-reversed", times[::-1])):
            ts_ = torch.tensor(ts, dtype=torch.float64)
            cases.append(Case(f"{name}{suffix}", spec, theta, y0, ts_, form, flow, versions=versions()))
    return cases


def _small_spec(architecture: str) -> FieldSpec:
    kind: Any = FIELDS.load(architecture)
    needed = {f.name for f in fields(kind) if f.default is MISSING}
    if unknown := sorted(needed - set(SMALL)):
        remedy = "add it to SMALL in pynode/studies/crosscheck/subjects.py, or choose others by --fields"
        raise InvalidArgument("--fields", architecture, f"no small example: it needs {', '.join(unknown)}", remedy)
    spec: FieldSpec = kind(**{f.name: SMALL[f.name] for f in fields(kind) if f.name in SMALL})
    return spec
