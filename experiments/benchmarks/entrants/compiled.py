"""torch.compile: one step of the scheme is compiled, and a loop in Python takes the steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from experiments.benchmarks.entrants.on_torch import TorchEntrant, module_of
from experiments.benchmarks.modules import COMPILED, few
from experiments.benchmarks.workload import Workload


class TorchCompile(TorchEntrant):
    """A step of the workload's tableau by `torch.compile`, differentiated by its own compiled backward pass."""

    name: ClassVar[str] = "torch-compile"
    caches: ClassVar[bool] = True
    latest: ClassVar[tuple[tuple[str, str], Any, Any] | None] = None
    """Of the module that was compiled last: its name and type of numbers, the module, the compiled step.

    Further batch sizes of a module are left to torch, which compiles the second one for any batch.
    """

    @classmethod
    def unfit(cls, workload: Workload) -> str | None:
        if workload.kind != "module":
            return "entered for modules alone"
        return None if workload.module in COMPILED else few("torch.compile", COMPILED)

    def build(self) -> Sequence[Any]:
        workload, torch = self.workload, self.torch
        ts = self.times().to(self.dtype)
        self.h = (ts[-1] - ts[0]) / workload.steps
        self.starts = ts[0] + self.h * torch.arange(workload.steps, dtype=self.dtype, device=self.device)
        key = (workload.module, str(self.dtype))
        if TorchCompile.latest is None or TorchCompile.latest[0] != key:
            torch.compiler.reset()  # past eight compilations of one function torch would run it uncompiled
            net = module_of(workload).to(dtype=self.dtype, device=self.device)
            TorchCompile.latest = (key, net, torch.compile(self._step(net)))
        _, net, self.step = TorchCompile.latest
        return list(net.parameters())

    def _step(self, net: Any) -> Callable[[Any, Any, Any], Any]:
        rows, b, c = (self.workload.tableau[k] for k in "abc")

        def step(t: Any, y: Any, h: Any) -> Any:
            slopes: list[Any] = []
            for row, at in zip(rows, c, strict=True):
                there = y
                for weight, slope in zip(row, slopes, strict=False):
                    if weight:
                        there = there + (h * weight) * slope
                slopes.append(net(t + at * h, there))
            for weight, slope in zip(b, slopes, strict=True):
                y = y + (h * weight) * slope
            return y

        return step

    def loss(self) -> Any:
        y = self.y0
        for t in self.starts:
            y = self.step(t, y, self.h)
        return y.square().mean()
