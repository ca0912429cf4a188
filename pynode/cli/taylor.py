"""`taylor PROBLEM`: does each method's gradient belong to the loss it came with?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pynode.cli import options as o
from pynode.cli.output import output_directory

if TYPE_CHECKING:
    from rich.console import Console

    from pynode.training.config import RunConfig


def taylor(
    problem: o.ProblemName,
    methods: o.Methods = "disc-opt,opt-disc,opt-disc-fixed,ad-adaptive",
    seed: o.Seed = 0,
    faithful: o.Faithful = False,
    rtol: o.Rtol = None,
    atol: o.Atol = None,
    solver: o.Solver = None,
    steps: o.Steps = None,
    scheme: o.SchemeName = None,
    memory: o.Memory = None,
    adjoint: o.Adjoint = None,
    device: o.Device = "cpu",
    out: o.Out = None,
    config: o.Config = None,
) -> None:
    """Taylor test of each method's gradient on a problem: E1 falls with slope 2 only for the exact gradient.

    Examples:

      taylor spiral

      taylor spiral --methods disc-opt --scheme euler --memory recompute
    """
    from rich.console import Console

    from pynode.cli.compare import plan
    from pynode.problems import PROBLEMS

    PROBLEMS.summary(problem)
    options = o.given(rtol=rtol, atol=atol, solver=solver, steps=steps, scheme=scheme, memory=memory, adjoint=adjoint)
    configs = plan(problem, o.names("--methods", methods), [seed], options, faithful=faithful, device=device)
    directory = output_directory(out, f"{problem}-taylor", resume=False)

    from pynode.cli.report import report

    console = Console()
    check_taylor(configs, directory, console)
    report(directory, console)


def check_taylor(configs: list[RunConfig], directory: Path, console: Console) -> None:
    """One Taylor test per method (of the first seed) at the untrained weights, recorded in `directory`."""
    from pynode.checks.taylor import taylor_test
    from pynode.records.files import finite, write_lines
    from pynode.records.gradient import TaylorRecord
    from pynode.records.results import TAYLOR

    found = []
    first = [c for c in configs if c.seed == configs[0].seed]
    with console.status("Taylor tests"):
        for run in first:
            problem = run.make_problem()
            model, batch = problem.model(run.seed), problem.batch(0)
            result = taylor_test(
                lambda p=problem, c=run, m=model, b=batch: p.objective(c.method, m, b).loss,  # type: ignore[misc]
                list(model.parameters()),
            )
            found.append(
                TaylorRecord(
                    problem=run.problem,
                    method=run.method.name,
                    label=run.method.label,
                    h=list(result.h),
                    e0=list(result.e0),
                    e1=list(result.e1),
                    slope_e0=finite(result.slope_e0),
                    slope_e1=finite(result.slope_e1),
                    fitted=list(result.fitted),
                    exact=result.exact,
                    verdict=result.verdict,
                )
            )
    write_lines(directory / TAYLOR, found)
