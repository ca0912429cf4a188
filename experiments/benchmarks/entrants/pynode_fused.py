"""pynode by its fused kernels for the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from experiments.benchmarks.pynode_entrant import PynodeEntrant
from experiments.benchmarks.workload import Workload

if TYPE_CHECKING:
    from pynode.gradients.base import GradientMethod


class PynodeFused(PynodeEntrant):
    """`DiscOpt(..., engine="fused")` and `OptDisc(..., engine="fused")`, the latter by each solver and adjoint."""

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
            return ("",)
        return tuple(f"{s} {a}" for s in ("dopri5", "tsit5") for a in ("backsolve", "interpolating"))

    def method(self) -> GradientMethod:
        from pynode.gradients.base import method_from_json
        from pynode.gradients.disc_opt import DiscOpt
        from pynode.schemes import SCHEMES

        workload = self.workload
        if workload.method == "opt-disc":
            solver, adjoint = self.variant.split()
            options = {"solver": solver, "rtol": workload.rtol, "atol": workload.atol, "adjoint": adjoint}
            return method_from_json({"method": "opt-disc", **options, "engine": "fused"})
        return DiscOpt(SCHEMES.load(workload.scheme), workload.steps, engine="fused")
