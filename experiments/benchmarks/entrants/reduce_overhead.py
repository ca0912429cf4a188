"""torch.compile(mode="reduce-overhead"): one step of the solve, compiled and replayed as a CUDA graph."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from experiments.benchmarks.entrants.base import by_precision
from experiments.benchmarks.entrants.on_torch import TorchEntrant
from experiments.benchmarks.workload import Workload, layers

BACKEND = "PYNODE_BENCH_BACKEND"
"""Environment variable that names another backend of torch.compile, for tests on machines without a GPU."""

MOST_COMPILED = 64


class TorchReduceOverhead(TorchEntrant):
    """A step of the workload's tableau, field and trace written by hand, by `torch.compile(mode="reduce-overhead")`.

    A loop in Python calls the compiled step: all steps in one compiled function would take minutes to compile.
    """

    name: ClassVar[str] = "torch-reduce-overhead"
    slow_to_compile: ClassVar[bool] = True

    @classmethod
    def unfit(cls, workload: Workload) -> str | None:
        if workload.device == "cpu":
            return "CUDA graphs are those of a GPU"
        if workload.kind == "module":
            return "torch-compile is entered for modules"
        return "no adaptive solver of its own" if workload.method == "opt-disc" else None

    @classmethod
    def variants(cls, workload: Workload) -> tuple[str, ...]:
        return by_precision(workload, known=("full", "tf32"))

    def build(self) -> Sequence[Any]:
        import torch._dynamo

        torch, workload = self.torch, self.workload
        self.slots = [
            [part.clone().requires_grad_() for part in layer] for layer in layers(workload, self.tensor("theta"))
        ]
        self.fixed = {name: self.tensor(name) for name in ("data", "probes") if name in workload.arrays}
        ends = torch.tensor(workload.ts, dtype=torch.float64)
        sizes = (ends.diff() / workload.steps).repeat_interleave(workload.steps)
        starts = torch.cat(
            [a + (b - a) * torch.arange(workload.steps) / workload.steps for a, b in ends.unfold(0, 2, 1)]
        )
        self.steps = list(zip(self._moved(starts), self._moved(sizes), strict=True))
        backend = os.environ.get(BACKEND)
        options: dict[str, Any] = {"backend": backend} if backend else {"mode": "reduce-overhead"}
        # all workloads compile one code object, for which torch's own limit is eight compilations
        limit = "recompile_limit" if hasattr(torch._dynamo.config, "recompile_limit") else "cache_size_limit"
        setattr(torch._dynamo.config, limit, MOST_COMPILED)
        self.step = torch.compile(self._step(), dynamic=False, fullgraph=True, **options)
        return [part for layer in self.slots for part in layer]

    def _moved(self, values: Any) -> list[Any]:
        """Numbers as scalar tensors: for a Python number each new value would be compiled again."""
        return list(values.to(dtype=self.dtype, device=self.device))

    def _step(self) -> Callable[..., Any]:
        """One step of a state (of a flow: with the change of its log-density), as a function of the parameters."""
        rows, b, c = (self.workload.tableau[k] for k in "abc")
        slope = self._slope()

        def step(params: Any, t: Any, h: Any, state: Any, probes: Any) -> Any:
            slopes: list[Any] = []
            for row, at in zip(rows, c, strict=True):
                there = _combined(state, row, slopes, h)
                slopes.append(slope(params, t + at * h, there, probes))
            return _combined(state, b, slopes, h)

        return step

    def _slope(self) -> Callable[..., Any]:
        torch, workload = self.torch, self.workload
        linear = torch.nn.functional.linear
        power = int(workload.spec.get("input_power", 1))
        softplus = workload.spec["activation"] == "softplus"
        gated = workload.spec["architecture"] == "concatsquash"
        divergence = workload.divergence

        def slope(params: Any, t: Any, state: Any, probes: Any) -> Any:
            x = state[0] ** power
            tangents = None
            if divergence == "hutchinson":
                tangents = probes[None]
            elif divergence == "exact":
                tangents = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)[:, None, :].expand(-1, len(x), -1)
            first = tangents
            for k, (W, bias, *gates) in enumerate(params):
                x = linear(x, W, bias)
                tangents = None if tangents is None else linear(tangents, W)
                if gated:
                    gate = torch.sigmoid(gates[0] * t + gates[1])
                    x = x * gate + gates[2] * t
                    tangents = None if tangents is None else tangents * gate
                if k < len(params) - 1:
                    inner = x
                    x = torch.nn.functional.softplus(inner) if softplus else torch.tanh(inner)
                    if tangents is not None:
                        tangents = tangents * (torch.sigmoid(inner) if softplus else 1 - x * x)
            if tangents is None:
                return (x,)
            return x, -(tangents * first).sum((0, -1))

        return slope

    def loss(self) -> Any:
        torch, workload = self.torch, self.workload
        if self.device.type == "cuda":
            torch.compiler.cudagraph_mark_step_begin()  # what the last call returned may be overwritten
        state: Any = (self.y0,)
        if workload.kind == "flow":
            state = (self.y0, torch.zeros(len(self.y0), dtype=self.dtype, device=self.device))
        states = [state]
        for t, h in self.steps:
            states.append(self.step(self.slots, t, h, states[-1], self.fixed.get("probes")))
        if workload.kind == "series":
            ys = torch.stack([state[0] for state in states[:: workload.steps]])
            return (ys - self.fixed["data"]).square().sum()
        z, change = states[-1]
        log_normal = -0.5 * (z.square().sum(1) + z.shape[1] * math.log(2 * math.pi))
        return -(log_normal - change).mean()


def _combined(state: Any, weights: Sequence[float], slopes: Sequence[Any], h: Any) -> Any:
    """The state moved by slopes, each times its weight and the step size."""
    moved = list(state)
    for weight, slope in zip(weights, slopes, strict=False):
        if weight:
            moved = [y + (h * weight) * k for y, k in zip(moved, slope, strict=True)]
    return tuple(moved)
