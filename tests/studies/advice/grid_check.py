"""Whether the setting that `advise` picks for training is within 25 % of the best of a grid, at matched loss.

    python -m tests.studies.advice.grid_check [--out FILE.jsonl] [--budget SECONDS] [--only NAME,...]

On four problems of the study and five modules of the zoo.  The matched loss is about what an accurate training has
reached after four fifths of its iterations.  The cost of a setting is its iterations until then (median over seeds)
times the time of one loss and gradient, measured in rounds with the others at rehearsed weights, or times its
evaluations.  Settings that are slower than the pick by more than half are not trained: they would have to need a third
fewer iterations.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pynode.clock import Clock, load_average
from pynode.errors import InvalidArgument, SolveError, UsageError
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.problems import PROBLEMS
from pynode.problems.base import options_from_json
from pynode.schemes import SCHEMES
from pynode.solution import collected_stats
from pynode.studies.advice.advise import advise_on
from pynode.studies.advice.measure import shown, work_of
from pynode.studies.advice.problems import problem_subject
from pynode.studies.advice.subject import Posed, Subject, loss_subject
from pynode.studies.advice.timing import race
from tests.zoo.entries import Entry, zoo

WITHIN = 1.25
"""What the pick may cost, over the best of the grid."""

MATCHED, SHARE_OF_LOSS, SHARE_OF_DROP = 0.8, 0.5, 0.02
"""The matched loss is that of an accurate training after this part of its iterations, and a little more: this share of
it, or of the drop until then where that is less.  On a plateau the last digit would be a matter of luck."""

LONGER, NO_HOPE = 1.4, 1.5
"""Trainings may take so many times the iterations; slower settings than this times the pick are not trained."""

PROBLEM_CASES: dict[str, dict[str, Any]] = {
    # name: options, and the iterations that are compared
    "spiral": {"iterations": 300},
    "8gaussians": {"iterations": 150},
    "moons": {"iterations": 150},
    "lotka-volterra": {"iterations": 200},
}
ZOO = ("ffjord HyperLinear", "gru by hand", "hamiltonian net by autograd", "residual with layer norm", "weight norm")
SEEDS, MORE_SEEDS = (0, 1, 2), tuple(range(9))
"""Seeds of weights; the spiral's, since at its learning rate of 0.1 the iterations to a loss are a matter of luck."""


@dataclass(frozen=True)
class Case:
    """A training: its subject by seed, and how many iterations it has."""

    name: str
    subject: Callable[[int, float], Subject]


def grid() -> list[GradientMethod]:
    """Disc-Opt over schemes and steps, Opt-Disc over solvers and tolerances."""
    steps = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20)
    schemes = [SCHEMES.load(name) for name in ("euler", "midpoint", "bosh3", "rk4", "tsit5")]
    made: list[GradientMethod] = [DiscOpt(scheme, n) for scheme in schemes for n in steps]
    tolerances = [10.0**-k for k in range(1, 7)]
    made += [OptDisc(solver, rtol=tol, atol=tol / 100) for solver in ("dopri5", "tsit5") for tol in tolerances]
    return made


def cases() -> Iterable[Case]:
    """All of them."""
    for name, settings in PROBLEM_CASES.items():
        yield Case(name, lambda seed, budget, name=name, settings=settings: _problem(name, settings, seed, budget))  # type: ignore[misc]
    entries = {entry.name: entry for entry in zoo(captured=True)}
    for name in ZOO:
        yield Case(f"zoo {name}", lambda seed, _, entry=entries[name]: _zoo(entry, seed))  # type: ignore[misc]


def _problem(name: str, settings: dict[str, Any], seed: int, budget: float) -> Subject:
    kind = PROBLEMS.load(name)
    training = kind.training
    dtypes = (torch.float64, getattr(torch, training.dtype))
    options = options_from_json(kind, {})
    exact, actual = (kind(dtype=dtype, device="cpu", seed=seed, options=options) for dtype in dtypes)
    return problem_subject(
        exact,
        actual,
        budget=budget,
        seed=seed,
        iterations=settings["iterations"],
        learning_rate=training.learning_rate,
    )


def _zoo(entry: Entry, seed: int) -> Subject:
    """A module of the zoo fitted to the noisy trajectories of another one of its kind."""
    generator = torch.Generator().manual_seed(seed)
    teacher, student = entry.module(), entry.module()
    with torch.no_grad():
        for p in teacher.parameters():
            p.add_(0.4 * torch.randn(p.shape, dtype=p.dtype, generator=generator))
    y0, ts = entry.state(8, seed), torch.linspace(0.0, 2.0, 9, dtype=entry.dtype)
    with torch.no_grad():
        data = OptDisc(rtol=1e-9, atol=1e-11).solve(teacher, y0, ts).ys
        data = data + 0.03 * data.std() * torch.randn(data.shape, dtype=data.dtype, generator=generator)

    def loss(method: GradientMethod) -> Tensor:
        return (method.solve(student, y0, ts).ys - data).square().mean()

    params = [p for p in student.parameters() if p.requires_grad]
    return loss_subject(loss, params, name=entry.name, iterations=150)


@dataclass(frozen=True)
class Course:
    """A training: the accurate loss over iterations, and evaluations of one iteration on average."""

    losses: list[tuple[int, float]]
    evaluations: float

    def matched(self, iteration: float) -> float:
        """The loss that others are to reach, from that at this iteration."""
        least = next(value for k, value in self.losses if k >= iteration)
        return least + min(SHARE_OF_LOSS * abs(least), SHARE_OF_DROP * (self.losses[0][1] - least))

    def until(self, loss: float) -> int | None:
        """Iterations until this loss."""
        return next((k for k, value in self.losses if value <= loss), None)


def course(subject: Subject, method: GradientMethod, judge: GradientMethod, iterations: int) -> Course:
    """Trains from the subject's weights, which are put back."""
    practice = subject.practice
    assert practice is not None
    posed, start = Posed(practice.losses(0), practice.params), subject.exact.theta()
    optimiser = torch.optim.Adam(practice.groups(), lr=practice.learning_rate)
    every, losses, work = max(1, iterations // 60), [], 0
    solver = shown(method)
    same = subject.timed is subject.exact
    done = 0
    try:
        for k in range(iterations):
            if k % every == 0:
                losses.append((k, _accurate(subject, posed, judge, same=same)))
            with collected_stats() as solves:
                loss = practice.losses(k)(solver)
                gradients = torch.autograd.grad(loss, list(practice.params), allow_unused=True)
            for p, g in zip(practice.params, gradients, strict=True):
                p.grad = g
            optimiser.step()
            work += sum(s.forward.evaluations + s.backward.evaluations for s in solves)
            done += 1
        losses.append((iterations, _accurate(subject, posed, judge, same=same)))
    except SolveError:
        pass
    finally:
        subject.set(start)
    least, running = math.inf, []
    for k, value in losses:
        least = min(least, value)
        running.append((k, least))
    return Course(running, work / max(1, done))


@torch.no_grad()
def _accurate(subject: Subject, posed: Posed, judge: GradientMethod, *, same: bool) -> float:
    if not same:
        subject.exact.set(posed.theta())
    try:
        return float(subject.exact.loss(judge))
    except SolveError:
        return math.inf


def check(case: Case, budget: float) -> dict[str, Any]:
    """The pick against the grid, as a line of results."""
    began = time.perf_counter()
    subject = case.subject(SEEDS[0], budget)
    advice = advise_on(subject, budget=budget)
    advised = time.perf_counter() - began
    pick = advice.method()
    practice = subject.practice
    assert practice is not None
    judge = DiscOpt(SCHEMES.load("tsit5"), 8)
    seconds = _seconds(subject, pick)
    limit = NO_HOPE * seconds[repr(pick)][1]
    hopeful = [method for method, value in seconds.values() if value <= limit]
    iterations: dict[str, list[int | None]] = {repr(m): [] for m in hopeful}
    evaluations: dict[str, float] = {}
    seeds = MORE_SEEDS if case.name == "spiral" else SEEDS
    for seed in seeds:
        mine = subject if seed == SEEDS[0] else case.subject(seed, budget)
        accurate = course(mine, judge, judge, practice.iterations)
        matched = accurate.matched(MATCHED * practice.iterations)
        for method in hopeful:
            run = course(mine, method, judge, int(LONGER * practice.iterations))
            iterations[repr(method)].append(run.until(matched))
            evaluations[repr(method)] = run.evaluations
    rows = []
    for method in hopeful:
        reached = [n for n in iterations[repr(method)] if n is not None]
        if len(reached) <= len(seeds) // 2:
            continue
        # the median, those that did not get there last
        count, own = (sorted(reached) + [10**9] * len(seeds))[len(seeds) // 2], seconds[repr(method)][1]
        rows.append((count * own, count * evaluations[repr(method)], count, own, method))
    mine_ = next((row for row in rows if row[4] == pick), None)
    best, fewest = min(rows, key=lambda r: r[0]), min(rows, key=lambda r: r[1])
    ratio = None if mine_ is None else mine_[0] / best[0]
    return {
        "case": case.name,
        "pick": pick.label,
        "best": best[4].label,
        "ratio": ratio,
        "ratio_per_iteration": seconds[repr(pick)][1] / min(row[3] for row in rows),
        "evaluation_ratio": None if mine_ is None else mine_[1] / fewest[1],
        "fewest": fewest[4].label,
        "iterations": None if mine_ is None else mine_[2],
        "iterations_of_best": best[2],
        "milliseconds": 1000 * seconds[repr(pick)][1],
        "milliseconds_of_best": 1000 * best[3],
        "trained": len(hopeful),
        "reached": len(rows),
        "advice_seconds": advised,
        "seconds": time.perf_counter() - began,
        "load": load_average(),
        "within": ratio is not None and ratio <= WITHIN,
    }


def _seconds(subject: Subject, pick: GradientMethod) -> dict[str, tuple[GradientMethod, float]]:
    """Time of one loss and gradient of all settings of the grid and of the pick, at weights of a short training."""
    practice, start = subject.practice, subject.exact.theta()
    assert practice is not None
    _train(subject, DiscOpt(SCHEMES.load("tsit5"), 4), practice.iterations // 2)
    works: dict[str, Any] = {}
    methods = {repr(method): method for method in (*grid(), pick)}
    fastest = math.inf
    try:
        for key, method in methods.items():
            work = work_of(subject.timed, method)
            try:
                work()
                began = time.perf_counter()
                work()
                took = time.perf_counter() - began
            except (SolveError, InvalidArgument, UsageError):
                continue
            fastest = min(fastest, took)
            if took <= 6 * fastest or key == repr(pick):
                works[key] = work
        # each a group of its own: none leaves, so that all ratios are of the same rounds
        rounds = race(works, Clock(subject.timed.device), 8.0, {key: key for key in works})
    finally:
        subject.set(start)
    return {key: (methods[key], raced.ratio * _base(rounds.raced)) for key, raced in rounds.raced.items()}


def _base(raced: dict[str, Any]) -> float:
    """Seconds of the setting that ratios are relative to."""
    return float(min(r.seconds for r in raced.values()))


def _train(subject: Subject, method: GradientMethod, iterations: int) -> None:
    practice = subject.practice
    assert practice is not None
    optimiser = torch.optim.Adam(practice.groups(), lr=practice.learning_rate)
    for k in range(iterations):
        loss = practice.losses(k)(method)
        gradients = torch.autograd.grad(loss, list(practice.params), allow_unused=True)
        for p, g in zip(practice.params, gradients, strict=True):
            p.grad = g
        optimiser.step()


def main() -> int:
    """Checks all cases; 0 where all picks are within the bound."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--budget", type=float, default=25.0)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    torch.set_num_threads(1)
    wanted = [name for name in options.only.split(",") if name]
    results = []
    for case in cases():
        if wanted and case.name not in wanted:
            continue
        result = check(case, options.budget)
        results.append(result)
        shown_ratio = "not reached" if result["ratio"] is None else f"{result['ratio']:.2f}"
        print(
            f"{case.name:32s} pick {result['pick']:34s} best {result['best']:34s} cost {shown_ratio}, per iteration "
            f"{result['ratio_per_iteration']:.2f}, {result['seconds']:.0f} s",
            flush=True,
        )
        if options.out is not None:
            with options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")
    print(f"{sum(r['within'] for r in results)} of {len(results)} within {WITHIN}")
    return 0 if all(r["within"] for r in results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
