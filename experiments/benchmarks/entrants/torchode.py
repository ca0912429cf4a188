"""torchode: Tsit5, steps differentiated by autograd, and its joint backsolve adjoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from experiments.benchmarks.torch_entrant import TorchEntrant
from experiments.benchmarks.workload import Workload


class Torchode(TorchEntrant):
    """One trajectory as a batch of one; its controller is `IntegralController`, tolerances are the workload's."""

    name: ClassVar[str] = "torchode"
    packages: ClassVar[tuple[str, ...]] = ("torch", "torchode")
    distributions: ClassVar[tuple[str, ...]] = ("torch", "torchode")

    @classmethod
    def unfit(cls, workload: Workload) -> str | None:
        if workload.method == "disc-opt":
            return "it has no Runge-Kutta scheme of four stages for fixed steps"
        return None if workload.kind == "series" else "entered for the series alone"

    @classmethod
    def variants(cls, workload: Workload) -> tuple[str, ...]:  # noqa: ARG003
        return ("tsit5 autograd", "tsit5 backsolve")

    def build(self) -> Sequence[Any]:
        import torchode
        from torch import nn

        a, b, c = self.workload.widths
        first, last = nn.Linear(a, b), nn.Linear(b, c)

        class Field(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.first, self.last = first, last

            def forward(self, t: Any, y: Any) -> Any:  # noqa: ARG002
                return self.last((self.first(y**3)).tanh())

        field = Field().to(dtype=self.dtype, device=self.device)
        term = torchode.ODETerm(field)
        method = torchode.Tsit5(term=term)
        control = torchode.IntegralController(atol=self.workload.atol, rtol=self.workload.rtol, term=term)
        backsolve = "backsolve" in self.variant
        self.solver = (
            torchode.JointBacksolveAdjoint(term, method, control)
            if backsolve
            else torchode.AutoDiffAdjoint(method, control)
        )
        self.initial = torchode.InitialValueProblem(
            y0=self.tensor("y0")[None], t_eval=self.times().to(self.dtype)[None]
        )
        self.data = self.tensor("data")
        return list(field.parameters())

    def loss(self) -> Any:
        self.solution = self.solver.solve(self.initial)
        return (self.solution.ys[0] - self.data).square().sum()

    def counts(self) -> dict[str, int]:
        stats = self.solution.stats
        forward = int(stats["n_f_evals"].max())
        backward = sum(int(part["n_f_evals"].max()) for part in stats.get("backsolve", ()))
        return {"nfe_forward": forward, "nfe_backward": backward, "n_vjp": backward or forward}
