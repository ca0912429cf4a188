"""One training iteration on a device: all work is queued before the host reads how it went, once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pynode.clock import Laps
from pynode.deferred import Checks, deferred_checks
from pynode.errors import SolveError
from pynode.training.optimiser import LeanAdam

if TYPE_CHECKING:
    from pynode.training.loop import Loop
    from pynode.training.work import Work


def step(loop: Loop, work: Work, batch: Any) -> None:
    """Computes loss and gradient of `batch` and updates the weights; they keep their values if a number is not finite.

    Raises what an iteration on the CPU raises, and fills the same fields of `work`.
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
        if loss is None:  # the problem has read its loss already
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
        late = _failure_among(checks)
    if late is None and not math.isfinite(work.loss):
        late = _failure_of_value(work)
    if late is not None and not math.isfinite(work.loss):
        work.loss, failed = math.nan, late  # the solve failed before its gradient did
    failed = failed or late
    if not math.isfinite(work.loss):
        raise loop.failure(failed, f"the loss is {work.loss}")
    work.norm = norm_now
    if failed is not None or not math.isfinite(work.norm):
        raise loop.failure(failed, f"the gradient's norm is {work.norm}")


def _failure_among(checks: Checks) -> SolveError | None:
    """The error of the first deferred check that fails, if it is a `SolveError`; other errors are raised."""
    try:
        checks.enforce()
    except SolveError as error:
        return error
    return None


def _failure_of_value(work: Work) -> SolveError | None:
    """Asks the objective why its loss is not finite: the error of its solve, or None with the loss in `work`."""
    assert work.objective is not None
    try:
        work.loss = work.objective.value
    except SolveError as error:
        return error
    return None


def gradient_norm(model: Any, device: torch.device) -> Tensor:
    """The norm of all gradients together, a float64 scalar on `device`; 0 where there are none."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    if not gradients:
        return torch.zeros((), dtype=torch.float64, device=device)
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients, 2.0, torch.float64)))
