"""RQ1: does Disc-Opt reach Opt-Disc's quality at lower training cost?"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from pynode.figures import cost, density, extrapolation, loss, marginals, trajectories
from pynode.records.results import Results, Run
from pynode.records.scale import is_likelihood
from pynode.studies.base import Study, Table, number, over_seeds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LAST = "last_validation_loss"
"""The loss at the end of a run, from its records: a rate that stays high can leave it far above the best one."""

QUANTITIES = (
    ("best training loss", "best_loss", 1),
    ("best validation loss", "best_validation_loss", 1),
    ("last validation loss", LAST, 1),
    ("extrapolation MSE", "extrapolation_mse", 1),
    ("test NLL (nats)", "test_nll", 1),
    ("  solved as in training", "test_nll_as_trained", 1),
    ("  beyond the truth's own", "excess_nll", 1),
    ("  in the units of the file", "test_nll_raw", 1),
    ("training NLL (nats, solved accurately)", "train_nll", 1),
    ("bits per dimension", "bits_per_dim", 1),
    ("squared MMD of samples", "mmd", 1),
    ("probability mass on the grid", "mass", 1),
    ("inverse error, data (solved accurately)", "inverse_data", 1),
    ("  solved as in training", "inverse_data_as_trained", 1),
    ("inverse error, base (solved accurately)", "inverse_base", 1),
    ("  solved as in training", "inverse_base_as_trained", 1),
    ("ms per iteration", "seconds_per_iteration", 1e3),
    ("  forward solve and loss", "seconds_forward", 1e3),
    ("  backward", "seconds_backward", 1e3),
    ("  optimiser", "seconds_optimiser", 1e3),
    ("  to Julia's process and back, of these", "seconds_bridge", 1e3),
    ("  sums with other ranks, waiting for them included", "seconds_exchange", 1e3),
    ("NFE-F per iteration", "nfe_forward", 1),
    ("NFE-B per iteration", "nfe_backward", 1),
    ("evaluations per iteration", "evaluations", 1),
    ("peak memory (KiB)", "peak_memory_bytes", 1 / 1024),
    ("whole training (s)", "training_seconds", 1),
)


FINE = (
    "best_loss",
    "best_validation_loss",
    LAST,
    "test_nll",
    "test_nll_as_trained",
    "test_nll_raw",
    "train_nll",
    "bits_per_dim",
)
"""Quantities that need a digit more where losses are negative log-likelihoods, whose differences count."""


class Quality(Study):
    """Quality of the trained fields, and what an iteration costs."""

    name: ClassVar[str] = "quality"
    question: ClassVar[str] = "Does Disc-Opt reach Opt-Disc's inference quality at lower training cost?"

    SOURCES: ClassVar[str] = (
        "validation solves the continuous problem accurately, alike for all; times are medians over iterations, "
        "NFE and evaluations (NFE + vector-Jacobian products) are means"
    )

    def tables(self, results: Results) -> list[Table]:
        found = results.groups()
        if not found or results.is_sweep:  # the accuracies of a sweep have a table of their own
            return []
        fine = FINE if is_likelihood(results.runs) else ()
        rows = []
        for title, key, scale in QUANTITIES:
            values = [over_seeds(runs, partial(_value, key=key, scale=scale)) for runs in found.values()]
            if any(value is not None for value in values):  # a problem has some of the quantities only
                rows.append([title, *(number(value, 4 if key in fine else 3) for value in values)])
        seeds = len({run.seed for runs in found.values() for run in runs})
        lengths = {run.config["iterations"] for runs in found.values() for run in runs}
        length = f"{lengths.pop()} iterations" if len(lengths) == 1 else "runs of different length"
        notes = [f"{length}, {f'medians over {seeds} seeds' if seeds > 1 else 'one seed'}; {self.SOURCES}"]
        notes += [note for runs in found.values() for run in runs for note in _losses(run)]
        return [Table(f"RQ1 Quality and cost: {results.problem}", ["", *found], rows, notes)]

    def figures(self, results: Results) -> dict[str, Figure | None]:
        return {
            "loss": loss.draw(results),
            "cost": cost.draw(results),
            "extrapolation": extrapolation.draw(results),
            "density": density.draw(results),
            "trajectories": trajectories.draw(results),
            "marginals": marginals.draw(results),
        }

    def finding(self, results: Results) -> str | None:
        found = results.groups()
        suffix = next((s for s in ("", "-julia") if {f"disc-opt{s}", f"opt-disc{s}"} <= set(found)), None)
        if suffix is None:
            return None
        best = {n: over_seeds(r, lambda run: (run.summary or {}).get("best_validation_loss")) for n, r in found.items()}
        seconds = {n: over_seeds(r, lambda run: (run.summary or {}).get("training_seconds")) for n, r in found.items()}
        names = (f"disc-opt{suffix}", f"opt-disc{suffix}")
        disc, opt = (best[name] for name in names)
        if disc is None or opt is None:
            return "At least one method never reached a finite validation loss."
        iterations, digits = results.runs[0].config["iterations"], 4 if is_likelihood(results.runs) else 3
        last = [number(over_seeds(found[name], partial(_value, key=LAST, scale=1)), digits) for name in names]
        return (
            f"Within {iterations} iterations the best validation loss of Disc-Opt is {number(disc, digits)} and that "
            f"of Opt-Disc {number(opt, digits)}; at the end they stand at {last[0]} and {last[1]}. The training took "
            f"{number(seconds[names[0]])} s and {number(seconds[names[1]])} s."
        )


def _losses(run: Run) -> list[str]:
    """Failed iterations, whose cost is counted, and lost records, whose cost is not."""
    summary = run.summary or {}
    found = []
    if failed := summary.get("failed_iterations"):
        found.append(f"{run.label}: {failed} iterations failed, and the run continued ({run.config['on_failure']})")
    if lost := summary.get("lost_records"):
        found.append(f"{run.label}: {lost} of its records are lost, so their costs are not counted")
    return found


def _value(run: Run, key: str, scale: float) -> float | None:
    if key == LAST:
        value = next((loss for loss in reversed(run.quality()) if loss is not None), None)
    else:
        value = (run.summary or {}).get(key)
    return None if value is None else scale * value
