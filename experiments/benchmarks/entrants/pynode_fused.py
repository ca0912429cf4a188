"""pynode by its fused kernels for the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from experiments.benchmarks.entrants.base import Gradient
from experiments.benchmarks.pynode_entrant import PynodeEntrant
from experiments.benchmarks.torch_entrant import flat
from experiments.benchmarks.workload import Workload

if TYPE_CHECKING:
    from pynode.least_squares import LeastSquares
    from pynode.methods.base import GradientMethod

AUTOGRAD = "autograd"


class PynodeFused(PynodeEntrant):
    """`DiscOpt(..., engine="fused")` and `OptDisc(..., engine="fused")`, the latter by each solver and adjoint.

    A series is fitted by `LeastSquares`; the variant "autograd" takes the way of a loss that pynode does not know.
    """

    name: ClassVar[str] = "pynode-fused"
    packages: ClassVar[tuple[str, ...]] = ("torch", "numba")
    distributions: ClassVar[tuple[str, ...]] = ("torch", "numba", "llvmlite")
    caches: ClassVar[bool] = True

    @classmethod
    def missing(cls) -> str | None:
        if super().missing() is not None:
            return "numba not installed; pip install -e '.[fast]'"
        from pynode.engines.fused import unavailable

        return unavailable()

    @classmethod
    def unfit(cls, workload: Workload) -> str | None:
        return "its kernels run on the CPU" if workload.device != "cpu" else None

    @classmethod
    def variants(cls, workload: Workload) -> tuple[str, ...]:
        if workload.method == "disc-opt":
            return ("",) if workload.kind == "flow" else ("", AUTOGRAD)
        return tuple(f"{s} {a}" for s in ("dopri5", "tsit5") for a in ("backsolve", "interpolating"))

    def method(self) -> GradientMethod:
        from pynode.methods.base import method_from_json
        from pynode.methods.disc_opt import DiscOpt
        from pynode.schemes import SCHEMES

        workload = self.workload
        if workload.method == "opt-disc":
            solver, adjoint = self.variant.split()
            options = {"solver": solver, "rtol": workload.rtol, "atol": workload.atol, "adjoint": adjoint}
            return method_from_json({"method": "opt-disc", **options, "engine": "fused"})
        return DiscOpt(SCHEMES.load(workload.scheme), workload.steps, engine="fused")

    @property
    def _directly(self) -> bool:
        return self.workload.kind == "series" and self.variant != AUTOGRAD

    def _fit(self) -> LeastSquares:
        from pynode.least_squares import LeastSquares

        fit = LeastSquares(self.solver, self.model, self.y0, self.ts, self.data)
        fit.backward()
        self.solves = (fit.stats,)
        return fit

    def gradient(self) -> Gradient:
        if not self._directly:
            return super().gradient()
        self._clear()
        fit = self._fit()
        return Gradient(fit.loss, np.concatenate([flat(p.grad) for p in self.params]), self.counts())

    def work(self) -> None:
        if not self._directly:
            super().work()
            return
        self._clear()
        self._fit()
        if self.optimiser is not None:
            self.optimiser.step()
