"""`python -m experiments.latent_ode`: trains by both methods, prints the errors, draws the figure."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

import torch

import pynode
from experiments.latent_ode.data import pendulums
from experiments.latent_ode.figure import draw
from experiments.latent_ode.training import Errors, baselines, errors, trained
from pynode.methods.base import GradientMethod

METHODS: dict[str, GradientMethod] = {
    "Disc-Opt": pynode.DiscOpt(pynode.RK4, steps=1),
    "Opt-Disc": pynode.OptDisc(rtol=1e-4, atol=1e-4),
}

SUFFIXES = (".png", ".pdf", ".svg")


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description="A latent ODE on irregular series of pendulums.")
    parser.add_argument("--iterations", type=int, default=1200, help="iterations of training (default 1200)")
    parser.add_argument("--seed", type=int, default=0, help="of initial weights, batches and training series")
    parser.add_argument("--out", type=Path, default=Path("latent-ode.png"), help="the figure's file")
    asked = parser.parse_args()
    if asked.iterations < 2:  # the schedule rises before it falls
        parser.error(f"--iterations {asked.iterations}: fewer than 2; use e.g. 100")
    if asked.out.is_dir() or not asked.out.parent.is_dir():
        parser.error(f"--out {asked.out}: not a file in a directory that exists; give e.g. latent-ode.png")
    if asked.out.suffix not in SUFFIXES:
        parser.error(f"--out {asked.out}: not a figure; give a file that ends in one of {', '.join(SUFFIXES)}")
    torch.set_num_threads(1)
    test = pendulums(200, seed=7)
    print(f"{'':26}  reconstruction  extrapolation  CPU seconds  evaluations and products, forward + backward")
    scores = {name: errors(curves, test) for name, curves in baselines(test, asked.seed).items()}
    for name, error in scores.items():
        print(_row(name, error))
    results = {}
    for name, method in METHODS.items():
        results[name] = trained(method, asked.iterations, asked.seed, partial(_tell, name, asked.iterations))
        model, work = results[name].model, results[name].work
        scores[f"latent ODE, {name}"] = error = errors(model.predicted(test), test)
        cost = f"  {results[name].seconds:11.1f}  {work.forward.evaluations:,} + {work.backward.evaluations:,}"
        print(_row(f"latent ODE, {name}", error) + cost)
    draw(results, scores, test, asked.out)
    print(f"figure: {asked.out}")


def _tell(name: str, iterations: int, iteration: int, loss: float) -> None:
    """Where the training is, ten times, on standard error."""
    if (iteration + 1) % max(1, iterations // 10) == 0:
        print(f"{name}: {iteration + 1:,} of {iterations:,} iterations, loss {loss:.3f}", file=sys.stderr)


def _row(name: str, error: Errors) -> str:
    return f"{name:26}  {error.reconstruction:14.3f}  {error.extrapolation:13.3f}"


if __name__ == "__main__":
    main()
