"""Adam for small models: torch's own, without what torch spends around each step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

SMALL = 1 << 20
"""Weights up to which a step does without other threads."""

BETAS, EPS = (0.9, 0.999), 1e-8


def make_adam(groups: Iterable[Any], learning_rate: float, weight_decay: float = 0.0) -> torch.optim.Adam:
    """Adam (Kingma & Ba 2015) with torch's defaults over parameters or groups of them, for CPU and CUDA alike."""
    return LeanAdam(groups, lr=learning_rate, betas=BETAS, eps=EPS, weight_decay=weight_decay)


class LeanAdam(torch.optim.Adam):
    """`torch.optim.Adam(fused=True)`: same state, same numbers, same checkpoints.

    A step of a model of a few hundred weights takes torch eight times as long as its arithmetic: it looks for hooks and
    profilers and sorts tensors by device.  Here a step is a few calls, without hooks; with a closure, or where devices
    differ, torch's own is taken.  On the CPU a small model's step takes one thread: OpenMP's
    others would go on waiting actively, on the cores that the next solve's threads want (a third of its time went so).
    """

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = BETAS,
        eps: float = EPS,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
        devices = {p.device.type for p in self._each()}
        for group in self.param_groups:
            group["fused"] = devices <= {"cpu", "cuda"}
        self._is_small = devices == {"cpu"} and sum(p.numel() for p in self._each()) <= SMALL
        self._is_plain = len(devices) == 1 and devices <= {"cpu", "cuda"} and hasattr(torch, "_fused_adam_")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; parameters without a gradient stay as they are."""
        if closure is not None or not self._is_plain:
            return super().step(closure)
        threads = torch.get_num_threads()
        alone = threads > 1 and self._is_small
        if alone:
            torch.set_num_threads(1)
        try:
            with torch.no_grad():
                for group in self.param_groups:
                    self._step_group(group)
        finally:
            if alone:
                torch.set_num_threads(threads)
        return None

    # torch wraps the `step` of a subclass to look for profilers and hooks, unless it bears this mark
    step.hooked = True  # type: ignore[attr-defined]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets all gradients."""
        if not set_to_none:
            super().zero_grad(set_to_none)
            return
        for p in self._each():
            p.grad = None

    def _each(self) -> Iterable[Tensor]:
        return (p for group in self.param_groups for p in group["params"])

    def _step_group(self, group: dict[str, Any]) -> None:
        params: list[Tensor] = []
        grads: list[Tensor] = []
        means: list[Tensor] = []
        squares: list[Tensor] = []
        counts: list[Tensor] = []
        state = self.state
        for p in group["params"]:
            if p.grad is None:
                continue
            mine = state[p]
            if not mine:
                mine["step"] = torch.zeros((), dtype=torch.float32, device=p.device)
                mine["exp_avg"] = torch.zeros_like(p, memory_format=torch.preserve_format)
                mine["exp_avg_sq"] = torch.zeros_like(p, memory_format=torch.preserve_format)
            params.append(p)
            grads.append(p.grad)
            means.append(mine["exp_avg"])
            squares.append(mine["exp_avg_sq"])
            counts.append(mine["step"])
        if not params:
            return
        for count in counts:  # quicker than one call for all, which sorts them first
            count.add_(1)
        beta1, beta2 = group["betas"]
        torch._fused_adam_(
            params,
            grads,
            means,
            squares,
            [],
            counts,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )
