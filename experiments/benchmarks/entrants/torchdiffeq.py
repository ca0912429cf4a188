"""torchdiffeq as the study uses it: its `rk4` through autograd, `odeint_adjoint`, traces by a second backward pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, ClassVar

from experiments.benchmarks.entrants.base import Gradient
from experiments.benchmarks.torch_entrant import TorchEntrant
from experiments.benchmarks.workload import Workload


class Torchdiffeq(TorchEntrant):
    """Modules, divergence and calls are those of FFJORD's code, which the study's is made from."""

    name: ClassVar[str] = "torchdiffeq"
    packages: ClassVar[tuple[str, ...]] = ("torch", "torchdiffeq")
    distributions: ClassVar[tuple[str, ...]] = ("torch", "torchdiffeq")

    @classmethod
    def unfit(cls, workload: Workload) -> str | None:
        if workload.method == "disc-opt" and workload.scheme != "rk38":
            return "its rk4 is the 3/8 rule"
        return None

    def build(self) -> Sequence[Any]:
        import torchdiffeq

        workload = self.workload
        self.library = torchdiffeq
        self.y0, self.ts = self.tensor("y0"), self.times().to(self.dtype)
        self.net = _net(workload).to(dtype=self.dtype, device=self.device)
        field = _Augmented(self.net, self.tensor("probes") if workload.divergence == "hutchinson" else None)
        self.field: Any = field if workload.kind == "flow" else self.net
        if workload.kind == "series":
            self.data = self.tensor("data")
        return list(self.net.parameters())

    def gradient(self) -> Gradient:
        # counted here alone: a hook would cost time in `work`
        calls: list[bool] = []
        hook = self.net.register_forward_pre_hook(lambda *_: calls.append(True))
        loss = self.loss()
        forward = len(calls)
        del loss
        found = super().gradient()
        hook.remove()
        backward = len(calls) - 2 * forward
        products = backward if self.workload.method == "opt-disc" else forward
        return replace(found, counts={"nfe_forward": forward, "nfe_backward": backward, "n_vjp": products})

    def loss(self) -> Any:
        workload = self.workload
        if workload.kind == "series":
            return (self._solve(self.y0) - self.data).square().sum()
        zeros = self.torch.zeros(len(self.y0), 1, dtype=self.dtype, device=self.device)
        z, change = (states[-1] for states in self._solve((self.y0, zeros)))
        log_normal = -0.5 * (z.square().sum(1, keepdim=True) + z.shape[1] * math.log(2 * math.pi))
        return -(log_normal - change).mean()

    def _solve(self, start: Any) -> Any:
        workload = self.workload
        if workload.method == "opt-disc":
            return self.library.odeint_adjoint(
                self.field, start, self.ts, rtol=workload.rtol, atol=workload.atol, method="dopri5"
            )
        options = {}
        if workload.steps > 1:
            options = {"step_size": (workload.ts[1] - workload.ts[0]) / workload.steps}
        return self.library.odeint(self.field, start, self.ts, method="rk4", options=options)


def _net(workload: Workload) -> Any:
    import torch
    from torch import nn

    class Power(nn.Module):
        def forward(self, y: Any) -> Any:
            return y**3

    class Autonomous(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            a, b, c = workload.widths
            self.net = nn.Sequential(Power(), nn.Linear(a, b), nn.Tanh(), nn.Linear(b, c))

        def forward(self, t: Any, y: Any) -> Any:  # noqa: ARG002
            return self.net(y)

    class ConcatSquash(nn.Module):
        def __init__(self, i: int, o: int) -> None:
            super().__init__()
            self._layer, self._hyper_gate = nn.Linear(i, o), nn.Linear(1, o)
            self._hyper_bias = nn.Linear(1, o, bias=False)

        def forward(self, t: Any, x: Any) -> Any:
            t = t.view(1, 1)
            return self._layer(x) * torch.sigmoid(self._hyper_gate(t)) + self._hyper_bias(t)

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = workload.widths
            self.layers = nn.ModuleList([ConcatSquash(i, o) for i, o in pairwise(widths)])
            self.between = {"tanh": nn.Tanh(), "softplus": nn.Softplus()}[str(workload.spec["activation"])]

        def forward(self, t: Any, x: Any) -> Any:
            for layer in self.layers[:-1]:
                x = self.between(layer(t, x))
            return self.layers[-1](t, x)

    return Autonomous() if workload.spec["architecture"] == "mlp" else Gated()


class _Augmented:
    """d/dt (z, l) = (f, -tr df/dz), the trace by autograd inside the forward pass."""

    def __init__(self, net: Any, probes: Any) -> None:
        self.net, self.probes = net, probes

    def __call__(self, t: Any, states: Any) -> Any:
        import torch

        z = states[0]
        with torch.enable_grad():
            z.requires_grad_(True)
            slope = self.net(t, z)
            if self.probes is None:
                trace = sum(
                    torch.autograd.grad(slope[:, i].sum(), z, create_graph=True)[0][:, i] for i in range(z.shape[1])
                )
            else:
                product = torch.autograd.grad(slope, z, self.probes, create_graph=True)[0]
                trace = (product * self.probes).sum(1)
        return slope, -trace.view(-1, 1)
