"""pynode's whole iteration as one CUDA graph, as the trainer runs it: loss, gradient and Adam's step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

from experiments.benchmarks.entrants.of_pynode import PynodeGraph
from experiments.benchmarks.workload import Workload

if TYPE_CHECKING:
    from pynode.training.storage import MemoryStorage


class PynodeGraphIteration(PynodeGraph):
    """`pynode.training.graphed` on the workload; loss and gradient for comparison are those of `pynode-graph`."""

    name: ClassVar[str] = "pynode-graph-iteration"

    @classmethod
    def unfit(cls, workload: Workload) -> str | None:
        if workload.unit != "iteration":
            return "entered for whole iterations alone"
        return super().unfit(workload)

    def build(self) -> Sequence[Any]:
        from pynode.training.graphed import Graphed
        from pynode.training.storage import MemoryStorage

        params = super().build()
        self.batch = self.y0 if self.workload.kind == "series" else (self.y0, self.draw)
        self.loop = _Loop(_Posed(self), self.solver, self.model, MemoryStorage("benchmark"))
        self.graphed = Graphed()
        return params

    def reset(self) -> None:
        kept = self.loop.optimiser
        super().reset()
        if kept is None:
            self.loop.optimiser = self.optimiser
            return
        self.optimiser = kept  # a recording changes the weights and the optimiser's state where they are
        for state in kept.state.values():
            for values in state.values():
                values.zero_()

    def work(self) -> None:
        spent: Any = SimpleNamespace()
        loop: Any = self.loop
        with self.products():
            if not self.graphed.step(loop, spent, self.batch):  # which waits for the GPU
                raise RuntimeError(self.loop.reason())


class _Posed:
    """The workload's loss, as a problem has it."""

    name = "benchmark"

    def __init__(self, entrant: PynodeGraphIteration) -> None:
        self.device, self._entrant = entrant.device, entrant

    def loss(self, method: Any, model: Any, batch: Any) -> Any:
        entrant = self._entrant
        if entrant.workload.kind == "series":
            return (method.solve(model, batch, entrant.ts).ys - entrant.data).square().sum()
        x, draw = batch
        return -model.transport(x, method=method, divergence=entrant.divergence, draw=draw).log_prob.mean()


@dataclass
class _Loop:
    """What `Graphed` reads of the trainer's loop."""

    problem: _Posed
    method: Any
    model: Any
    storage: MemoryStorage
    optimiser: Any = None
    progress: Any = field(default_factory=lambda: SimpleNamespace(iteration=0))

    def reason(self) -> str:
        """Why an iteration was not done."""
        events = self.storage.events
        return events[-1].detail if events else "loss, gradient or states are not finite"
