"""L-BFGS by iterations: torch's own, and the same through the tensors of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable

import torch

from pynode.training.lbfgs import Curvature, iterate


def test_lbfgs_by_iterations_is_torchs() -> None:
    """Also through the tensors of a checkpoint after each."""

    def rosenbrock(x: torch.Tensor) -> torch.Tensor:
        return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()

    def closure_of(p: torch.nn.Parameter) -> Callable[[], float]:
        def closure() -> float:
            p.grad = None
            loss = rosenbrock(p)
            loss.backward()
            return float(loss.detach())

        return closure

    whole, parts = (torch.nn.Parameter(torch.linspace(-1, 1, 6, dtype=torch.float64)) for _ in range(2))
    torch.optim.LBFGS(
        [whole],
        lr=1.0,
        max_iter=60,
        max_eval=10**6,
        history_size=40,
        line_search_fn="strong_wolfe",
        tolerance_change=1e-8,
    ).step(closure_of(whole))
    known: Curvature | None = None
    for _ in range(60):
        known = iterate([parts], known, 1.0, 10**6, closure_of(parts))
        assert known is not None
        known = Curvature.from_tensors(known.tensors(), torch.device("cpu"))
    assert torch.equal(whole, parts)
    assert float(rosenbrock(parts.detach())) < 1e-2
