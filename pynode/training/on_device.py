"""One iteration on a device: loss, gradient and update are queued, then the host asks once how it went."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pynode.clock import Laps
from pynode.deferred import deferred_checks
from pynode.errors import SolveError
from pynode.training.optimiser import LeanAdam

if TYPE_CHECKING:
    from pynode.training.loop import Loop
    from pynode.training.work import Work


def step(loop: Loop, work: Work, batch: Any) -> None:
    """Loss, gradient and update of `batch`; the update leaves the weights alone where one of those is not finite.

    Raises what an iteration on the CPU raises, and fills the same parts of `work`.
    """
    laps, failed = Laps(loop.problem.device), None
    with deferred_checks() as checks:
        laps.mark()
        try:
            with loop.stop.interruptible():
                work.objective = loop.objective(batch)
        except SolveError as error:
            laps.mark()
            (work.forward,) = laps.seconds()
            raise loop.failure(error, "") from None
        laps.mark()
        objective = work.objective
        loss = objective.on_device
        if loss is None:  # a problem that has read its loss
            work.loss = objective.value
            if not math.isfinite(work.loss):
                raise loop.failure(None, f"the loss is {work.loss}")
            loss = torch.tensor(work.loss, dtype=torch.float64).to(loop.problem.device)
        try:
            with loop.stop.interruptible():
                objective.backward()
        except SolveError as error:
            failed = error
        laps.mark()
        norm = gradient_norm(loop.model, loop.problem.device)
        fine = torch.isfinite(loss) & torch.isfinite(norm)
        if (others := checks.all_fine()) is not None:
            fine = fine & others
        laps.mark()
        if failed is None:
            assert isinstance(loop.optimiser, LeanAdam)
            loop.optimiser.step_unless((~fine).float())
        loop.optimiser.zero_grad()
        laps.mark()
    work.loss, norm_now = checks.read(loss, norm)
    work.forward, work.backward, _, work.optimiser = laps.seconds()
    try:
        checks.enforce()
        if not math.isfinite(work.loss):
            work.loss = objective.value  # what is wrong with it, where that can be told
    except SolveError as error:
        if not math.isfinite(work.loss):
            work.loss, failed = math.nan, error
        failed = failed or error
    if not math.isfinite(work.loss):
        raise loop.failure(failed, f"the loss is {work.loss}")
    work.norm = norm_now
    if failed is not None or not math.isfinite(work.norm):
        raise loop.failure(failed, f"the gradient's norm is {work.norm}")


def gradient_norm(model: Any, device: torch.device) -> Tensor:
    """The norm of all gradients together, a float64 scalar on `device`; 0 where there are none."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    if not gradients:
        return torch.zeros((), dtype=torch.float64, device=device)
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients, 2.0, torch.float64)))
