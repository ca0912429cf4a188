"""`--explain`: which engine each planned run is on and what its field looks like there, without training anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynode.errors import SolveError, UsageError

if TYPE_CHECKING:
    from pynode.training.config import RunConfig


def explain_runs(configs: list[RunConfig], threads: int = 1) -> None:
    """Prints the explanation of the first solve of each run of the first seed, at the untrained weights."""
    import torch

    from pynode.cli.console import new_console
    from pynode.explanation import explain_first_solve

    torch.set_num_threads(threads)
    console = new_console()
    for run in configs:
        if run.seed != configs[0].seed or run.multilevel is not None:
            continue
        problem = run.make_problem()
        model, batch = problem.model(run.seed), problem.batch(0)
        try:
            explanation = explain_first_solve(
                run.method,
                lambda method, p=problem, m=model, b=batch: p.objective(method, m, b),  # type: ignore[misc]
            )
        except (UsageError, SolveError) as error:
            console.say(f"{run.method.label}: {error}\n")
        else:
            console.say(f"{explanation or f'{run.method.label}: no solve'}\n")
