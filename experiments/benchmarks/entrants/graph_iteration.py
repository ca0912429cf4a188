"""pynode's whole iteration as one CUDA graph, as the trainer runs it: loss, gradient and Adam's step."""

from __future__ import annotations

import json
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

from experiments.benchmarks.entrants.of_pynode import PynodeGraph
from experiments.benchmarks.workload import Workload


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

        params = super().build()
        self.batch = self.y0 if self.workload.kind == "series" else (self.y0, self.draw)
        self.loop = _Loop(_Posed(self), self.solver, self.model)
        loop: Any = self.loop
        self.graphed = Graphed(loop)
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
        with self.products():
            if not self.graphed.step(spent, self.batch):  # which waits for the GPU
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
    optimiser: Any = None
    progress: Any = field(default_factory=lambda: SimpleNamespace(iteration=0))
    noted: Path | None = None

    @property
    def directory(self) -> Path:
        """Where it is noted why iterations can't be recorded; made when it is asked for."""
        if self.noted is None:
            self.noted = Path(tempfile.mkdtemp(prefix="pynode-bench-"))
            weakref.finalize(self, shutil.rmtree, self.noted, ignore_errors=True)
        return self.noted

    def reason(self) -> str:
        """Why an iteration was not done."""
        from pynode.records.events import EVENTS

        if self.noted is None:
            return "loss, gradient or states are not finite"
        return str(json.loads((self.noted / EVENTS).read_text(encoding="utf-8").splitlines()[-1])["detail"])
