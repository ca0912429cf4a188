"""Adam for small models: torch's own, without what torch spends around each step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

DEVICES = frozenset({"cpu", "cuda"})
"""Types of devices on which torch has a fused step."""

SMALL = 1 << 20
"""Weights up to which a step does without other threads."""

Lists = tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]
"""Parameters, means of gradients and of their squares, and counts of steps."""

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
            group["fused"] = devices <= DEVICES
        self._known: dict[int, tuple[Any, tuple[int, int], Lists]] = {}
        self._is_small = devices == {"cpu"} and sum(p.numel() for p in self._each()) <= SMALL
        self._is_plain = len(devices) == 1 and devices <= DEVICES and hasattr(torch, "_fused_adam_")
        self._is_on_cpu = devices == {"cpu"}

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

    @property
    def can_skip(self) -> bool:
        """Whether `step_unless` can be used."""
        return self._is_plain

    @torch.no_grad()
    def step_unless(self, bad: Tensor) -> None:
        """One step that leaves everything as it is where the float32 scalar `bad` on the device is 1, not 0.

        Nobody waits for the device to know which.
        """
        for group in self.param_groups:
            self._step_group(group, bad)

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

    def _step_group(self, group: dict[str, Any], bad: Tensor | None = None) -> None:
        params, means, squares, counts = self._lists(group)
        grads = [p.grad for p in params if p.grad is not None]
        if len(grads) < len(params):
            params, means, squares, counts = self._lists_of([p for p in params if p.grad is not None])
        if not params:
            return
        if self._is_on_cpu:
            for count in counts:  # quicker than one call for all, which sorts them first
                count.add_(1)
        else:
            torch._foreach_add_(counts, 1)
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
            found_inf=bad,
        )
        if bad is not None:
            torch._foreach_sub_(counts, [bad] * len(counts))

    def _lists(self, group: dict[str, Any]) -> Lists:
        """What a step of the group's parameters works on, as it was at the last step if nothing has changed."""
        known = self._known.get(id(group))
        if known is None or known[0] is not self.state or known[1] != (len(self.state), len(group["params"])):
            lists = self._lists_of(group["params"])
            self._known[id(group)] = known = (self.state, (len(self.state), len(group["params"])), lists)
        return known[2]

    def _lists_of(self, params: list[Tensor]) -> Lists:
        """The state of `params`, made where there is none."""
        states = [self.state[p] for p in params]
        for p, state in zip(params, states, strict=True):
            if not state:
                state["step"] = torch.zeros((), dtype=torch.float32, device=p.device)
                state["exp_avg"] = torch.zeros_like(p, memory_format=torch.preserve_format)
                state["exp_avg_sq"] = torch.zeros_like(p, memory_format=torch.preserve_format)
        means, squares, counts = ([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq", "step"))
        return params, means, squares, counts
