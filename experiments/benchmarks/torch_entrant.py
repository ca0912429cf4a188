"""What entrants that run on torch share: parameters, the optimiser, and a step of training."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from experiments.benchmarks.entrants.base import Entrant, Gradient
from experiments.benchmarks.workload import Array, Workload


class TorchEntrant(Entrant):
    """Subclasses give the parameters, in the order of theta, and the loss."""

    packages: ClassVar[tuple[str, ...]] = ("torch",)

    def __init__(self, workload: Workload, variant: str, dtype: str) -> None:
        import torch

        torch.set_num_threads(workload.threads)
        self.torch, self.workload, self.variant = torch, workload, variant
        self.device, self.dtype = torch.device(workload.device), getattr(torch, dtype)
        self.params = list(self.build())
        self.reset()

    @abstractmethod
    def build(self) -> Sequence[Any]:
        """The parameters, in the order of theta."""

    @abstractmethod
    def loss(self) -> Any:
        """The loss as a scalar tensor."""

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
        loss = self.loss()
        loss.backward()
        grads = [np.zeros(p.numel()) if p.grad is None else flat(p.grad) for p in self.params]
        return Gradient(float(loss.detach()), np.concatenate(grads), self.counts())

    def work(self) -> None:
        self._clear()
        self.loss().backward()
        if self.optimiser is not None:
            self.optimiser.step()
        if self.device.type == "cuda":
            self.torch.cuda.synchronize()

    def theta(self) -> Array:
        return np.concatenate([flat(p) for p in self.params])

    def _clear(self) -> None:
        if self.optimiser is not None:
            self.optimiser.zero_grad()
        else:
            for p in self.params:
                p.grad = None


def flat(tensor: Any) -> Array:
    """A tensor's numbers as one vector."""
    return np.asarray(tensor.detach().double().cpu().reshape(-1).numpy())
