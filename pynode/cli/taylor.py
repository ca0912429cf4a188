"""`taylor PROBLEM`: Taylor tests, which tell whether a gradient is that of the computed loss."""

from __future__ import annotations

from pynode.cli import options as o
from pynode.cli import values
from pynode.cli.output import output_directory


def taylor(
    problem: o.ProblemName,
    methods: o.Methods = "disc-opt,opt-disc,opt-disc-fixed,ad-adaptive",
    seed: o.Seed = 0,
    settings: o.Set = None,
    data: o.Data = None,
    faithful: o.Faithful = False,
    rtol: o.Rtol = None,
    atol: o.Atol = None,
    solver: o.Solver = None,
    steps: o.Steps = None,
    scheme: o.SchemeName = None,
    memory: o.Memory = None,
    budget: o.Budget = None,
    adjoint: o.Adjoint = None,
    vjp: o.Vjp = None,
    engine: o.EngineName = None,
    backend: o.Backend = "torch",
    device: o.Device = "cpu",
    threads: o.Threads = 1,
    out: o.Out = None,
    config: o.Config = None,
) -> None:
    """Run a Taylor test of each method's gradient: the error E1 falls with slope 2 for the exact gradient only.

    Examples:

      taylor spiral

      taylor spiral --methods disc-opt --scheme euler --memory recompute

      taylor spiral --methods disc-opt --steps 10 --memory checkpoint --memory-budget 5
    """
    from pynode.cli.checking import check_taylor
    from pynode.cli.console import new_console
    from pynode.cli.planning import on_backend, plan
    from pynode.problems import PROBLEMS

    PROBLEMS.summary(problem)
    from pynode.cli.problem_options import problem_options

    given = problem_options(problem, settings, data)
    options = values.given(
        rtol=rtol,
        atol=atol,
        solver=solver,
        steps=steps,
        scheme=scheme,
        memory=memory,
        budget=budget,
        adjoint=adjoint,
        vjp=vjp,
        engine=engine,
    )
    chosen = on_backend(values.names("--methods", methods), backend)
    configs = plan(problem, chosen, [seed], options, faithful=faithful, device=device, problem_options=given)
    directory = output_directory(out, f"{problem}-taylor", resume=False)

    import torch

    from pynode.cli.report import report

    torch.set_num_threads(threads)
    console = new_console()
    check_taylor(configs, directory, console)
    report(directory, console)
