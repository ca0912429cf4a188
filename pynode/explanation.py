"""Which engine runs a solve, what the field looks like to it, or why it is torch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from pynode.engines.base import Engine
from pynode.engines.choice import AUTO, choose, engine_called, obstacle
from pynode.errors import EngineUnavailable, UsageError
from pynode.fields.base import Extended, FieldSpec
from pynode.flows.augmented import AugmentedField, RunningCosts
from pynode.flows.flow import Flow
from pynode.flows.probes import Draw
from pynode.methods.base import GradientMethod, check_method
from pynode.methods.disc_opt import DiscOpt
from pynode.neural_ode import NeuralODE
from pynode.solve import Run, Solve
from pynode.tapes.captured import watched_of
from pynode.tapes.tape import Tape
from pynode.tapes.text import lines_of
from pynode.types import State, Times, VectorField

KERNELS = "fused"
"""The engine that is asked first where nobody names one."""


@dataclass(frozen=True)
class Explanation:
    """Which `engine` runs a solve of `field` by `method`, and why the kernels don't, where they don't.

    `reason` is empty where the kernels run it.  `specification` is what they know of the field: one of pynode's
    architectures, or the `tape` of a captured module; None where there is none.  `watched` says what a capture is
    compared with at every solve.  Printed, it is a page of text.
    """

    field: str
    method: str
    engine: str
    reason: str
    specification: FieldSpec | None
    watched: str = ""

    @property
    def tape(self) -> Tape | None:
        """What the module was captured as; None where it was not, or need not be."""
        return self.specification if isinstance(self.specification, Tape) else None

    def __str__(self) -> str:
        title = engine_called(self.engine).title if self.engine else "no engine can"
        lines = [f"{self.field} by {self.method}", f"engine: {self.engine or 'none'} ({title})"]
        if self.reason:
            lines.append(f"not on the kernels: {self.reason}")
        if self.tape is None:
            return "\n".join([*lines, *([f"specification: {self.specification}"] if self.specification else [])])
        return "\n".join([*lines, *lines_of(self.tape), f"watched at every solve: {self.watched}"])


def explain(
    field: VectorField | Flow | NeuralODE, y0: State, ts: Times | None = None, method: GradientMethod | None = None
) -> Explanation:
    """Says which engine would run `method.solve(field, y0, ts)`, what the field looks like to it, or why it is torch.

        print(pynode.explain(field, y0))

    `ts` is 0 and 1 where it does not matter, `method` is `DiscOpt()`; of a `NeuralODE` both are its own, and of a flow,
    whose first block is explained, the method is.  Nothing is solved; the field is evaluated a few times where it has
    to be captured.
    """
    if isinstance(field, Flow):
        method, block = method or field.method, field.fields[0]
        probes = field.divergence.probes(Draw(), y0, 0)
        joint = F.pad(y0, (0, field.context_dim))  # any context will do
        augmented = AugmentedField(
            block, field.dim + field.context_dim, field.divergence, probes, RunningCosts(), field.context_dim
        )
        field, y0 = augmented, augmented.initial(joint)
    if isinstance(field, NeuralODE):
        method, ts = method or field.method, field.ts if ts is None else ts
        y0 = F.pad(y0, (0, field.context_dim))  # any context will do
        field = field.field
    method = DiscOpt() if method is None else method
    check_method(method)
    solve, _ = method.posed(field, y0, torch.tensor([0.0, 1.0], dtype=torch.float64) if ts is None else ts)
    try:
        engine = choose(method.engines, solve).name
    except EngineUnavailable:
        engine = ""
    return _explanation(method, solve, engine)


def explain_first_solve(method: GradientMethod, objective: Callable[[GradientMethod], object]) -> Explanation | None:
    """The explanation of the first solve of `objective(method)`, which ends there; None where it solves nothing."""
    solves: list[tuple[Solve, Engine]] = []

    def run(solve: Solve, engine: Engine) -> Run:
        solves.append((solve, engine))
        raise _Seen

    asked = copy.copy(method)
    asked.__dict__["run"] = run  # instead of the method's own
    with suppress(_Seen):
        objective(asked)
    return _explanation(method, solves[0][0], solves[0][1].name) if solves else None


class _Seen(Exception):
    """Ends an objective whose solve has been seen."""


def _explanation(method: GradientMethod, solve: Solve, engine: str) -> Explanation:
    inner = solve.field.field if isinstance(solve.field, Extended) else solve.field
    kind = getattr(inner, "__name__", type(inner).__name__)
    known = solve.no_system is None
    specification = solve.system.spec if known else None
    watched = ""
    if isinstance(specification, Tape) and isinstance(inner, nn.Module):
        watched = watched_of(inner, solve.y0, solve.ts, specification.dim)
    reason = "" if engine == KERNELS else _why_not_kernels(method, solve)
    return Explanation(kind, method.label, engine, reason, specification, watched)


def _why_not_kernels(method: GradientMethod, solve: Solve) -> str:
    if method.engine_name not in (AUTO, KERNELS):
        return f"engine = {method.engine_name} has been asked for"
    kernels = engine_called(KERNELS)
    try:
        kernels.check(method.recipe)
    except UsageError as error:
        return str(error)
    reason = kernels.unavailable() or obstacle(kernels, solve)
    return reason or "torch operators are expected to be faster for a field and a state of these sizes"
