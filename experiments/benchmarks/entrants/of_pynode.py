"""pynode's own entrants, by its public interface: torch operators, kernels, Julia."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from experiments.benchmarks.entrants.base import Gradient, by_precision
from experiments.benchmarks.entrants.on_torch import TorchEntrant, flat, module_of
from experiments.benchmarks.workload import Workload

if TYPE_CHECKING:
    from pynode.least_squares import LeastSquares
    from pynode.methods.base import GradientMethod

AUTOGRAD = "autograd"

RECOMPUTE = "recompute"
"""A variant of pynode-eager, which keeps states alone: references are computed by it."""


class PynodeEntrant(TorchEntrant):
    """By the public interface: a method's `solve`, or a `Flow`."""

    @abstractmethod
    def method(self) -> GradientMethod:
        """The gradient method of the workload."""

    def build(self) -> Sequence[Any]:
        from pynode.fields.base import field_from_json
        from pynode.flows.divergence import Exact, Hutchinson
        from pynode.flows.flow import Flow
        from pynode.flows.probes import Draw, DrawnAhead

        workload = self.workload
        self.solver = self.method()
        self.ts = self.times()
        if workload.kind == "module":
            self.model: Any = module_of(workload).to(dtype=self.dtype, device=self.device)
            return list(self.model.parameters())
        field = field_from_json(workload.spec).build(seed=0, dtype=self.dtype, device=self.device)
        self.model = field
        if workload.kind == "series":
            self.data = self.tensor("data")
        else:
            self.model = Flow([field], workload.widths[0], horizon=workload.ts[-1])
            self.divergence: Any = Exact() if workload.divergence == "exact" else Hutchinson()
            probes = () if workload.divergence == "exact" else (self.tensor("probes"),)
            self.draw = DrawnAhead(drawn=probes) if probes else Draw()
        return list(field.parameters())

    def loss(self) -> Any:
        if self.workload.kind == "series":
            solution = self.solver.solve(self.model, self.y0, self.ts)
            self.solves: tuple[Any, ...] = (solution.stats,)
            return (solution.ys - self.data).square().sum()
        if self.workload.kind == "module":
            solution = self.solver.solve(self.model, self.y0, self.ts)
            self.solves = (solution.stats,)
            return solution.ys[-1].square().mean()
        moved = self.model.transport(self.y0, method=self.solver, divergence=self.divergence, draw=self.draw)
        self.solves = moved.solves
        return -moved.log_prob.mean()

    def engine(self) -> str:
        return "/".join(sorted({str(s.engine) for s in self.solves}))

    def counts(self) -> dict[str, int]:
        forward = sum(s.forward.n_f for s in self.solves)
        backward = sum(s.backward.n_f for s in self.solves)
        products = sum(s.forward.n_vjp + s.backward.n_vjp for s in self.solves)
        return {"nfe_forward": forward, "nfe_backward": backward, "n_vjp": products}

    def make_optimiser(self) -> Any:
        from pynode.training.optimiser import make_adam

        chosen = self.workload
        return make_adam(self.params, chosen.learning_rate, chosen.weight_decay)


class PynodeEager(PynodeEntrant):
    """`DiscOpt(..., engine="eager")` and `OptDisc(..., engine="eager")`."""

    name: ClassVar[str] = "pynode-eager"
    distributions: ClassVar[tuple[str, ...]] = ("torch", "torchdiffeq")
    on: ClassVar[str] = "eager"
    """The engine."""

    @classmethod
    def variants(cls, workload: Workload) -> tuple[str, ...]:
        return by_precision(workload)

    def method(self) -> GradientMethod:
        from pynode.methods.disc_opt import DiscOpt
        from pynode.methods.opt_disc import OptDisc
        from pynode.schemes import SCHEMES

        workload = self.workload
        if workload.method == "opt-disc":
            return OptDisc(rtol=workload.rtol, atol=workload.atol, adjoint="backsolve", engine=self.on)
        memory: Any = RECOMPUTE if RECOMPUTE in self.variant else "store"
        return DiscOpt(SCHEMES.load(workload.scheme), workload.steps, memory=memory, engine=self.on)


class PynodeGraph(PynodeEager):
    """`DiscOpt(..., engine="graph")` and `OptDisc(..., engine="graph")`: solves as CUDA graphs, on a GPU."""

    name: ClassVar[str] = "pynode-graph"
    on: ClassVar[str] = "graph"

    @classmethod
    def missing(cls) -> str | None:
        from pynode.engines.choice import engine_called
        from pynode.errors import UsageError

        try:
            return super().missing() or engine_called(cls.on).unavailable()
        except UsageError as error:
            return f"this pynode has no such engine: {error}"

    @classmethod
    def unfit(cls, workload: Workload) -> str | None:
        return "its graphs are those of a GPU" if workload.device == "cpu" else None


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
        if workload.kind == "module":
            return "pynode-auto is entered for modules"
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
        grads = np.concatenate([flat(p.grad) for p in self.params])
        return Gradient(fit.loss, grads, self.counts(), self.engine())

    def work(self) -> None:
        if not self._directly:
            super().work()
            return
        self._clear()
        self._fit()
        if self.optimiser is not None:
            self.optimiser.step()


class PynodeAuto(PynodeEntrant):
    """`DiscOpt(...)` on a module as its user wrote it, with the engine that pynode chooses."""

    name: ClassVar[str] = "pynode-auto"
    packages: ClassVar[tuple[str, ...]] = PynodeFused.packages
    distributions: ClassVar[tuple[str, ...]] = PynodeFused.distributions
    caches: ClassVar[bool] = True

    @classmethod
    def missing(cls) -> str | None:
        return PynodeFused.missing()

    @classmethod
    def unfit(cls, workload: Workload) -> str | None:
        return None if workload.kind == "module" else "entered for modules alone"

    def method(self) -> GradientMethod:
        from pynode.methods.disc_opt import DiscOpt
        from pynode.schemes import SCHEMES

        return DiscOpt(SCHEMES.load(self.workload.scheme), self.workload.steps)


class Julia(PynodeEntrant):
    """`OptDiscJulia` by each adjoint: a solve and a gradient are two calls of the worker process."""

    name: ClassVar[str] = "julia"
    distributions: ClassVar[tuple[str, ...]] = ("torch", "juliacall")

    @classmethod
    def missing(cls) -> str | None:
        from pynode.errors import UsageError
        from pynode.methods.opt_disc_julia import OptDiscJulia

        try:
            OptDiscJulia().check_available()
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
        from pynode.methods.opt_disc_julia import OptDiscJulia

        adjoint: Any = self.variant
        return OptDiscJulia(adjoint=adjoint, rtol=self.workload.rtol, atol=self.workload.atol)
