"""What pynode's own entrants share: the field or flow, and the loss by a gradient method on a given engine."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments.benchmarks.torch_entrant import TorchEntrant

if TYPE_CHECKING:
    from pynode.methods.base import GradientMethod


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
        field = field_from_json(workload.spec).build(seed=0, dtype=self.dtype, device=self.device)
        self.model: Any = field
        self.y0, self.ts = self.tensor("y0"), self.times()
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
        moved = self.model(self.y0, method=self.solver, divergence=self.divergence, draw=self.draw)
        self.solves = moved.solves
        return -moved.log_prob.mean()

    def counts(self) -> dict[str, int]:
        forward = sum(s.forward.n_f for s in self.solves)
        backward = sum(s.backward.n_f for s in self.solves)
        products = sum(s.forward.n_vjp + s.backward.n_vjp for s in self.solves)
        return {"nfe_forward": forward, "nfe_backward": backward, "n_vjp": products}

    def make_optimiser(self) -> Any:
        from pynode.training.optimiser import make_adam

        chosen = self.workload
        return make_adam(self.params, chosen.learning_rate, chosen.weight_decay)
