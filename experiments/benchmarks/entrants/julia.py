"""SciML's adjoints in Julia, by pynode's Julia backend, loss and optimiser in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from experiments.benchmarks.pynode_entrant import PynodeEntrant
from experiments.benchmarks.workload import Workload

if TYPE_CHECKING:
    from pynode.methods.base import GradientMethod


class Julia(PynodeEntrant):
    """`OptDiscJulia` by each adjoint: a solve and a gradient are two calls of the worker process."""

    name: ClassVar[str] = "julia"
    distributions: ClassVar[tuple[str, ...]] = ("torch", "juliacall")

    @classmethod
    def missing(cls) -> str | None:
        from pynode.errors import UsageError
        from pynode.methods.julia.opt_disc_julia import OptDiscJulia

        try:
            OptDiscJulia.check_available()
        except UsageError as error:
            return str(error)
        return super().missing()

    @classmethod
    def unfit(cls, workload: Workload) -> str | None:
        if workload.device != "cpu":
            return "its worker runs on the CPU"
        return None if workload.method == "opt-disc" else "entered for Opt-Disc alone: its bridge costs milliseconds"

    @classmethod
    def variants(cls, workload: Workload) -> tuple[str, ...]:  # noqa: ARG003
        return ("gauss", "interpolating", "backsolve")

    def method(self) -> GradientMethod:
        from pynode.methods.julia.opt_disc_julia import OptDiscJulia

        return OptDiscJulia(adjoint=self.variant, rtol=self.workload.rtol, atol=self.workload.atol)
