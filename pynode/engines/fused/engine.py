"""Compiled kernels: a whole solve, and a whole gradient, in one call each, for the dense fields and their flows."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar, Literal

from pynode.engines import fused
from pynode.engines.base import Engine
from pynode.engines.fused.field.chain import chain_of
from pynode.errors import InvalidArgument
from pynode.fields.base import Extended, Field
from pynode.gradients import Continuous, Discrete
from pynode.schemes.base import Scheme
from pynode.schemes.dopri5 import DOPRI5
from pynode.schemes.tsit5 import TSIT5
from pynode.solve import Recipe, Run, Solve
from pynode.steps import Adaptive
from pynode.tapes.tape import Tape

PAIRS = (DOPRI5, TSIT5)
"""Pairs that the kernels take adaptive steps by: of seven stages, the last the next step's first."""

ADJOINTS: tuple[Literal["backsolve", "interpolating"], ...] = ("backsolve", "interpolating")
"""Of those that `Continuous` knows, what the kernels can do."""


class Fused(Engine):
    """Runs a solve in kernels that Numba compiles; nothing here imports Numba before it is needed."""

    name: ClassVar[str] = "fused"
    title: ClassVar[str] = "the fused kernels"
    automatic: ClassVar[bool] = True

    def unavailable(self) -> str | None:
        return fused.unavailable()

    def check(self, recipe: Recipe) -> None:
        gradient, scheme = recipe.gradient, recipe.scheme
        if type(gradient) not in (Discrete, Continuous):
            problem = f"the kernels do not have gradient = {type(gradient).__name__}"
            raise InvalidArgument("engine", "'fused'", problem, "use engine eager")
        if type(scheme) is not Scheme or (isinstance(recipe.steps, Adaptive) and scheme not in PAIRS):
            elsewhere = "engine auto" if isinstance(scheme, Scheme) else "engine julia"
            remedy = f"use {' or '.join(p.name for p in PAIRS)}, or {elsewhere}"
            what = "solver" if isinstance(recipe.steps, Adaptive) else "scheme"
            name = scheme.solver if isinstance(scheme, Scheme) and what == "solver" else scheme.name
            raise InvalidArgument("engine", "'fused'", f"the kernels do not have {what} = {name}", remedy)
        if isinstance(gradient, Discrete) and gradient.memory == "checkpoint":
            remedy = "use memory = 'recompute', or engine eager or auto"
            problem = "the kernels do not have memory = 'checkpoint'"
            raise InvalidArgument("engine", "'fused'", problem, remedy)
        if isinstance(gradient, Continuous):
            gradient.check_known(self.name, ADJOINTS)

    def obstacle_on_ranks(self, recipe: Recipe) -> str | None:
        if isinstance(recipe.steps, Adaptive):
            return "kernels choose their steps by the samples of one of the ranks"
        return None

    def obstacle(self, solve: Solve) -> str | None:
        if solve.ts.requires_grad:  # before the field is captured for nothing
            return fused.NO_GRADIENT_BY_TIMES
        reason = solve.no_system or fused.obstacle(solve.system, solve.y0, solve.ts)
        if reason is not None:
            return reason
        spec = solve.system.spec
        is_program = isinstance(spec, Tape) and chain_of(spec) is None
        return fused.failure(solve.y0.dtype, isinstance(solve.recipe.steps, Adaptive), is_program)

    def pays(self, solve: Solve) -> bool:
        if solve.ts.requires_grad or solve.no_system is not None:
            return False
        spec = solve.system.spec
        inner = solve.field.field if isinstance(solve.field, Extended) else None
        # a field with a context is captured, but has its closed forms
        own = inner.spec if isinstance(inner, Field) and inner.spec.context_dim else None
        return type(spec) in fused.ARCHITECTURES and fused.pays(solve.system, solve.y0, own)

    def run(self, solve: Solve) -> Run:
        return _kernels().run(solve)


@lru_cache(maxsize=1)
def _kernels() -> Any:
    """What imports Numba; found once, since an import statement costs some of the time of a small solve."""
    from pynode.engines.fused import calls

    return calls
