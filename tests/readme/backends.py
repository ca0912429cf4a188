"""Tables of julia/README.md and experiments/benchmarks/README.md."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from experiments.benchmarks.agreement import DISCRETE
from experiments.benchmarks.kinds import CONTINUOUS, THROUGH_STEPS, turns_won
from experiments.benchmarks.modules import COMPILED, DIFFRAX
from experiments.benchmarks.modules import NAMES as MODULES
from experiments.benchmarks.own_modules import tables as own_tables
from experiments.benchmarks.records import Benchmark, ratios, read, spread
from experiments.benchmarks.suites import MODULE_BATCHES, own_workload
from experiments.benchmarks.tables import tables
from experiments.study.page import quantities as q
from experiments.study.page.markdown import row
from experiments.study.page.published import PUBLISHED, runs_of, seeds_of
from pynode.studies.base import number, percent
from pynode.studies.reduction.study import reductions
from tests.readme.pages import ROOT

WORKLOADS = ("spiral", "8gaussians-100", "8gaussians-512", "miniboone-1000")
FIXED = ("pynode-fused", "pynode-fused autograd", "pynode-eager", "torchdiffeq", "jax", "diffrax")


@cache
def benchmark(folder: str) -> Benchmark:
    """A folder of `bench`."""
    return read(PUBLISHED / folder)


def race() -> list[str]:
    """Milliseconds of an iteration by Disc-Opt, and in brackets the median of the ratios to the kernels."""
    found = []
    for entrant in FIXED:
        texts = []
        for workload in WORKLOADS:
            seconds = benchmark("bench-cpu").seconds(workload)
            ratio = ratios(seconds[entrant], seconds["pynode-fused"]) if entrant in seconds else None
            spans = "" if ratio is None or entrant == "pynode-fused" else f", {number(ratio.low)}–{number(ratio.high)}"
            texts.append("" if ratio is None else f"{_ms(seconds[entrant])} ({number(ratio.middle)}{spans})")
        found.append(row(entrant, *texts))
    return found


def adjoints() -> list[str]:
    """Milliseconds of loss and gradient by an adaptive solve, continuous adjoints and the others apart."""
    found = [t for t in tables(benchmark("bench-cpu")) if t.title.endswith((CONTINUOUS, THROUGH_STEPS))]
    assert len(found) == 2
    return [row(name, *(cells[k] for k in (0, 2, 4, 5, 6))) for t in found for name, *cells in t.rows]


def turns() -> list[str]:
    """Who was the fastest, turn by turn, at the size where products are the limit."""
    seconds = benchmark("bench-cpu").seconds("miniboone-1000")
    won = turns_won(seconds["torchdiffeq"], seconds["pynode-fused"])
    ratio = ratios(seconds["torchdiffeq"], seconds["pynode-fused"])
    assert ratio is not None
    assert ratio.low < 1 < ratio.high, "not certain"
    eager = turns_won(seconds["pynode-eager"], seconds["pynode-fused"])
    return [f"torchdiffeq was faster than the kernels in {won} turns, pynode-eager in {eager}"]


def scaling() -> list[str]:
    """Exponents of the time in steps and batch."""
    found = [t for t in tables(benchmark("bench-scaling")) if t.title.startswith("Scaling")]
    return [row(t.title.removeprefix("Scaling: "), *cells) for t in found for cells in t.rows]


def memory() -> list[str]:
    """Peak memory of one gradient."""
    table = next(t for t in tables(benchmark("bench-memory")) if "memory" in t.title)
    return [row(*cells[:4]) for cells in table.rows]


def first_calls() -> list[str]:
    """What compiling costs."""
    table = next(t for t in tables(benchmark("bench-cpu")) if t.title == "First calls")
    return [row(*(cells[k] for k in (1, 0, 4, 5))) for cells in table.rows if cells[0] in ("pynode-fused", "jax")]


def profile() -> list[str]:
    """How near the kernels come to what the machine can do."""
    table = next(t for t in tables(benchmark("bench-cpu")) if t.title == "Profile")
    rows = ("ms if products were all", "ms if bytes were all", "ms measured", "of the square product")
    return [row(*cells) for cells in table.rows if cells[0] in rows]


def _ms(seconds: list[float]) -> str:
    return number(1e3 * spread(seconds).middle)


def footings() -> list[str]:
    """The spiral by torch operators and through the Julia bridge."""
    folder, found = "spiral-julia", []
    for name, suffix in (("torch operators", ""), ("Julia, loss and Adam in torch", "-julia")):
        disc, opt = f"disc-opt{suffix}", f"opt-disc{suffix}"
        part = runs_of(folder)
        assert part is not None
        saved = reductions(part, opt, disc)
        bridge = [q.over_seeds(seeds_of(folder, m), q.summary("seconds_bridge", 1e3)) for m in (disc, opt)]
        found.append(
            row(
                name,
                *(q.over_seeds(seeds_of(folder, m), q.summary("seconds_per_iteration", 1e3)) for m in (disc, opt)),
                " / ".join(bridge),
                *(number(saved["seconds"][m]) for m in (disc, opt)),
                percent(saved["time_reduction"]),
                percent(saved["nfe_reduction"]),
                percent(saved["evaluation_reduction"]),
            )
        )
    return found


def iterations() -> list[str]:
    """How long those runs were."""
    return [
        f"Spiral, {seeds_of('spiral-julia', 'disc-opt')[0].config['iterations']} iterations, the same weights, one seed"
    ]


def last_losses() -> list[str]:
    """Where the runs of that record ended."""
    return [
        row(r.setting, number(q.best(r)), number(q.last(r)))
        for m in ("disc-opt", "opt-disc", "disc-opt-julia", "opt-disc-julia")
        for r in seeds_of("spiral-julia", m)
    ]


def julia_adjoints() -> list[str]:
    """Work of SciML's adjoints on the untrained spiral."""
    return [
        row(
            f"`{e['adjoint']}`",
            f"{e['vjp_by_state']} / {e['vjp_by_theta']}",
            str(e["nfe_backward"]),
            number(e["relative_error_theta"], 2),
        )
        for e in _reference("direct/spiral")["opt_disc"]
        if e["rtol"] == 1e-7
    ]


def reversed_time() -> list[str]:
    """The recorded case of gradients that are wrong at every tolerance."""
    found = _reference("concatsquash-reversed")["opt_disc"]
    errors = {e["adjoint"]: e["relative_error_theta"] for e in found if e["rtol"] == min(x["rtol"] for x in found)}
    wrong = [e for e in errors.values() if e > 1e-2]
    return [f"{len(wrong)} of the {len(errors)} recorded adjoints are off by {100 * max(wrong):.1f} %"]


def _reference(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "tests" / "reference" / f"{name}.json").read_text(encoding="utf-8"))
    return found


def own_ratios() -> list[str]:
    """How many times as long other programs take for the user's modules, geometric means."""
    shown = [t for t in own_tables(benchmark("bench-own-modules")) if t.title.startswith("Own modules, batch")]
    return [row(t.title.removeprefix("Own modules, "), *t.rows[-1][3:]) for t in shown]


def own_modules() -> list[str]:
    """What the suite `own-modules` does."""
    *smaller, largest = map(str, MODULE_BATCHES)
    return [
        f"takes {len(MODULES)} modules written",
        f"in {own_workload(MODULES[0], 1).steps} steps, in float64",
        f"at batch {', '.join(smaller)} and {largest}.",
        f"to {DISCRETE:.0e}. pynode-auto",
        f"is entered for {len(COMPILED)} of the modules, diffrax for {len(DIFFRAX)}.",
    ]


def benchmark_claims() -> list[str]:
    """Of experiments/benchmarks/README.md."""
    made = [race, adjoints, turns, scaling, memory, first_calls, profile, own_modules, own_ratios]
    return [claim for make in made for claim in make()]


def julia_claims() -> list[str]:
    """Of julia/README.md."""
    return [claim for make in (iterations, footings, last_losses, julia_adjoints, reversed_time) for claim in make()]
