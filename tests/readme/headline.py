"""The sentences of README.md that say what was found."""

from __future__ import annotations

from pynode.studies.base import number, percent
from pynode.studies.suite.study import Comparison, comparisons, distinct
from pynode.studies.winners.record import TARGETS, cells
from tests.readme import published as p
from tests.readme.answers import own_loss

WORDS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
DISC, OPT = "disc-opt", "opt-disc"


def conclusion() -> list[str]:
    """What the records carry, in three sentences."""
    kept = distinct(comparisons(p.suite()))[0]
    fewer = [c for c in kept if c.reduction["evaluation_reduction"] > 0]
    several = [f"{c.name} ({c.engine})" for c in kept if c.seeds > 1]
    seeds = {c.seeds for c in kept if c.seeds > 1}
    assert several == ["8gaussians (eager)", "spiral (eager)"]
    assert [c.seeds for c in kept if c.seeds <= 1] == [1] * (len(kept) - 2)
    eager, fused, julia = (_less_time(kept, "spiral", engine) for engine in ("eager", "fused", "julia"))
    assert fused < eager / 2
    assert julia < 0
    assert _converged() == ["8gaussians"]
    return [
        f"Disc-Opt reaches the same validation loss with fewer evaluations than Opt-Disc in "
        f"{'all' if len(fewer) == len(kept) else WORDS[len(fewer)] + ' of'} {WORDS[len(kept)]} comparisons that have "
        f"records: {WORDS[len({c.name for c in kept})]} problems, {WORDS[seeds.pop()]} seeds for 8gaussians and for "
        "the spiral in eager torch, one seed elsewhere.",
        "How much time that saves depends on the engine as much as on the method: on the spiral it is "
        f"{percent(eager)} with torch operators (`eager`), less than half as much in compiled kernels (`fused`), and "
        "none through the Julia bridge.",
        "Only on 8gaussians had both methods stopped improving when training ended, and the paper's five tabular data "
        "sets have no record yet beyond a sample of MINIBOONE, so the paper as a whole is neither confirmed nor "
        "refuted here.",
    ]


def _less_time(kept: list[Comparison], name: str, engine: str) -> float:
    return float(next(c for c in kept if (c.name, c.engine) == (name, engine)).reduction["time_reduction"])


def _converged() -> list[str]:
    """Problems of which every run of both methods had its best validation before the last one."""
    found = []
    for c in distinct(comparisons(p.suite()))[0]:
        runs = [r for m in (c.method.method, c.baseline.method) for r in p.runs(c.folder, m)]
        losses = [[q for q in r.quality() if q is not None] for r in runs]
        if all(min(series) < series[-1] for series in losses):
            found.append(c.name)
    return found


def answers() -> list[str]:
    """One sentence a question."""
    nll = {number(p.value("8gaussians", m, "test_nll"), 4) for m in (DISC, OPT)}
    pairs = list(zip(p.runs("spiral-seeds", DISC), p.runs("spiral-seeds", OPT), strict=True))
    worse = sum(p.best(disc) > p.best(opt) for disc, opt in pairs)
    kept = distinct(comparisons(p.suite()))[0]
    least = min(c.reduction["evaluation_reduction"] for c in kept)
    (steps,) = {r.setting for r in p.part("8gaussians").rediscretised if r.scheme == "rk38" and r.setting == 6}
    found = cells(p.checks("map").winners)
    loose, tight = ([r for c in found if (r := c.ratio(t, "evaluations"))] for t in (TARGETS[1], TARGETS[3]))
    quick = [r for c in found if (r := c.ratio(TARGETS[3], "seconds"))]
    assert len(nll) == 1
    assert all(r > 1 for r in loose)
    assert sum(r < 1 for r in tight) > len(tight) / 2
    assert all(r > 1 for r in quick)
    return [
        f"on 8gaussians yes, both methods end at a test NLL of {nll.pop()}; on the spiral, with one step per interval, "
        f"its best loss is the worse one in {WORDS[worse]} of {WORDS[len(pairs)]} seeds.",
        f"Disc-Opt's gradient is that of its own loss to {own_loss():.0e} at every step size tried on the spiral, "
        "and Opt-Disc's error follows its tolerances.",
        f"at least {percent(least)} fewer evaluations until the matched loss in every comparison; the seconds are in "
        "the figure above.",
        f"an 8gaussians flow trained with ten steps is, if it is solved with {steps:.0f} steps of the 3/8 rule or "
        "more, whichever method trained it; coarser training has no record yet.",
        f"where a gradient error of a hundredth will do, Disc-Opt needs fewer evaluations in all {len(loose)} cells "
        "that both methods reach; at the tightest accuracy Opt-Disc mostly does, and Disc-Opt is still faster (one "
        "seed, a shared core).",
    ]


def claims() -> list[str]:
    """All of these."""
    return [*conclusion(), *answers()]
