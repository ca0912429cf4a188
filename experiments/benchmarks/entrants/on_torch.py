"""Entrants on torch: torchdiffeq and torchode; what they share with pynode's own."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from experiments.benchmarks.entrants.base import Entrant, Gradient, precision_of
from experiments.benchmarks.workload import Array, Workload


class TorchEntrant(Entrant):
    """Subclasses give the parameters, in the order of theta, and the loss."""

    packages: ClassVar[tuple[str, ...]] = ("torch",)

    def __init__(self, workload: Workload, variant: str, dtype: str) -> None:
        import torch

        from pynode.precision import products_in

        torch.set_num_threads(workload.threads)
        self.torch, self.workload, self.variant = torch, workload, variant
        self.device, self.dtype = torch.device(workload.device), getattr(torch, dtype)
        self.products = partial(products_in, precision_of(variant))
        self.held = self._reserved()
        self.y0 = self.tensor("y0").requires_grad_(workload.kind == "module")
        self.params = list(self.build())
        self.reset()

    @abstractmethod
    def build(self) -> Sequence[Any]:
        """The parameters, in the order of theta."""

    @abstractmethod
    def loss(self) -> Any:
        """The loss as a scalar tensor."""

    def inputs(self) -> Sequence[Any]:
        """What the gradient is taken by, beside the parameters."""
        return (self.y0,) if self.workload.kind == "module" else ()

    def engine(self) -> str:
        """The engine of pynode that ran the latest loss and gradient."""
        return ""

    def counts(self) -> dict[str, int]:
        """What the latest loss and gradient took."""
        return {}

    def make_optimiser(self) -> Any:
        """Torch's fastest Adam."""
        chosen = self.workload
        return self.torch.optim.Adam(self.params, lr=chosen.learning_rate, weight_decay=chosen.weight_decay, fused=True)

    def tensor(self, name: str) -> Any:
        """One of the workload's arrays."""
        return self.torch.tensor(self.workload.arrays[name], dtype=self.dtype, device=self.device)

    def times(self) -> Any:
        """The output times, float64."""
        return self.torch.tensor(self.workload.ts, dtype=self.torch.float64, device=self.device)

    def reset(self) -> None:
        with self.torch.no_grad():
            theta = self.tensor("theta")
            for p, part in zip(self.params, theta.split([p.numel() for p in self.params]), strict=True):
                p.copy_(part.reshape(p.shape))
        self.optimiser = self.make_optimiser() if self.workload.unit == "iteration" else None

    def gradient(self) -> Gradient:
        self._clear()
        with self.products():
            loss = self.loss()
            loss.backward()
        leaves = (*self.params, *self.inputs())
        grads = [np.zeros(p.numel()) if p.grad is None else flat(p.grad) for p in leaves]
        return Gradient(float(loss.detach()), np.concatenate(grads), self.counts(), self.engine())

    def work(self) -> None:
        self._clear()
        with self.products():
            self.loss().backward()
        if self.optimiser is not None:
            self.optimiser.step()
        if self.device.type == "cuda":
            self.torch.cuda.synchronize()

    def memory(self) -> int | None:
        if self.device.type != "cuda":
            return None
        self._reserved()
        self.work()
        return self.torch.cuda.max_memory_reserved(self.device) - self.held

    def _reserved(self) -> int:
        """Bytes of the GPU that torch holds after its cache has been emptied; the peak is counted from here on."""
        if self.device.type != "cuda":
            return 0
        self.torch.cuda.empty_cache()
        self.torch.cuda.reset_peak_memory_stats(self.device)
        return int(self.torch.cuda.memory_reserved(self.device))

    def theta(self) -> Array:
        return np.concatenate([flat(p) for p in self.params])

    def _clear(self) -> None:
        if self.optimiser is not None:
            self.optimiser.zero_grad()
        else:
            for p in (*self.params, *self.inputs()):
                p.grad = None


def module_of(workload: Workload) -> Any:
    """The module of a workload of kind "module"."""
    from experiments.benchmarks.modules.in_torch import module_called

    return module_called(workload.module)


def flat(tensor: Any) -> Array:
    """A tensor's numbers as one vector."""
    return np.asarray(tensor.detach().double().cpu().reshape(-1).numpy())


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
        self.ts = self.times().to(self.dtype)
        net = module_of(workload) if workload.kind == "module" else _net(workload)
        self.net = net.to(dtype=self.dtype, device=self.device)
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
        result = super().gradient()
        hook.remove()
        backward = len(calls) - 2 * forward
        products = backward if self.workload.method == "opt-disc" else forward
        return replace(result, counts={"nfe_forward": forward, "nfe_backward": backward, "n_vjp": products})

    def loss(self) -> Any:
        workload = self.workload
        if workload.kind == "series":
            return (self._solve(self.y0) - self.data).square().sum()
        if workload.kind == "module":
            return self._solve(self.y0)[-1].square().mean()
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
