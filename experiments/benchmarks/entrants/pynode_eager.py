"""pynode by torch operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from experiments.benchmarks.pynode_entrant import PynodeEntrant

if TYPE_CHECKING:
    from pynode.methods.base import GradientMethod


class PynodeEager(PynodeEntrant):
    """`DiscOpt(..., engine="eager")` and `OptDisc(..., engine="eager")`."""

    name: ClassVar[str] = "pynode-eager"
    distributions: ClassVar[tuple[str, ...]] = ("torch", "torchdiffeq")

    def method(self) -> GradientMethod:
        from pynode.methods.disc_opt import DiscOpt
        from pynode.methods.opt_disc import OptDisc
        from pynode.schemes import SCHEMES

        workload = self.workload
        if workload.method == "opt-disc":
            return OptDisc(rtol=workload.rtol, atol=workload.atol, adjoint="backsolve", engine="eager")
        return DiscOpt(SCHEMES.load(workload.scheme), workload.steps, engine="eager")
