"""`taylor PROBLEM`: Taylor tests, which tell whether a gradient is that of the computed loss."""

from __future__ import annotations

from pynode.cli import options as o
from pynode.cli import values
from pynode.cli.derived import POSED, Given, with_options
from pynode.cli.output import note_environment, output_directory
from pynode.cli.planning import problem_options
from pynode.settings.known import on_backend, run_settings
from pynode.training.plan import plan


@with_options(hidden=lambda name: name in run_settings() and name not in POSED)
def taylor(
    problem: o.ProblemName,
    given: Given,
    methods: o.Methods = o.PLAIN,
    seed: o.Seed = 0,
    settings: o.Set = None,
    data: o.Data = None,
    backend: o.Backend = "torch",
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
    given.check_posed("a Taylor test trains nothing", "drop it")
    chosen = on_backend(values.names("--methods", methods), backend)
    posed = problem_options(problem, settings, data)
    configs = plan(problem, chosen, [seed], given.methods, problem_options=posed, **given.settings)
    directory = output_directory(out, f"{problem}-taylor", resume=False)

    import torch

    from pynode.cli.checking import check_taylor
    from pynode.cli.console import new_console
    from pynode.cli.results import print_results
    from pynode.training.machine import environment

    torch.set_num_threads(threads)
    console = new_console()
    check_taylor(configs, directory, console)
    note_environment(directory, environment(backend=backend))
    print_results(directory, console)
