"""The blocks of both pages, by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from experiments.benchmarks.kinds import CONTINUOUS, THROUGH_STEPS
from experiments.benchmarks.page import adaptive, fixed_steps, growth, julia, modules
from experiments.benchmarks.page.made import made

PAGES = ("experiments/benchmarks/README.md", "pynode/julia/README.md")

BLOCKS: dict[str, Callable[[], str]] = {
    "bench-cpu-made": partial(made, "bench-cpu"),
    "bench-race-types": fixed_steps.types,
    "bench-race": fixed_steps.race,
    "bench-race-certainty": fixed_steps.certainty,
    "bench-ceilings": fixed_steps.ceilings,
    "bench-adaptive-set-up": adaptive.set_up,
    "bench-continuous": partial(adaptive.times, CONTINUOUS),
    "bench-through-steps": partial(adaptive.times, THROUGH_STEPS),
    "bench-first-calls": fixed_steps.first_calls,
    "bench-own-modules-made": partial(made, "bench-own-modules"),
    "bench-own-modules-set-up": modules.set_up,
    "bench-own-modules-engines": modules.engines,
    "bench-own-modules": modules.times_as_long,
    "bench-own-modules-finding": modules.finding,
    "bench-scaling-made": partial(made, "bench-scaling"),
    "bench-scaling": growth.scaling,
    "bench-memory-made": partial(made, "bench-memory"),
    "bench-memory": growth.memory,
    "julia-set-up": julia.set_up,
    "julia-footings": julia.footings,
    "julia-losses": julia.losses,
    "julia-finding": julia.finding,
    "julia-adjoints": julia.adjoints,
    "julia-reversed": julia.reversed_time,
}
"""What makes each block."""
