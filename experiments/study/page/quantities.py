"""What a run ended with and what it cost, over seeds: medians with their range, as cells of tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from pynode.records.runs import Run
from pynode.studies.base import number
from pynode.studies.losses import Spent, is_likelihood, spent_until

Pick = Callable[[Run], "float | None"]


def best(run: Run) -> float | None:
    """The smallest validation loss."""
    return min((q for q in run.quality() if q is not None), default=None)


def last(run: Run) -> float | None:
    """The validation loss at the end of training."""
    return next((q for q in reversed(run.quality()) if q is not None), None)


def summary(key: str, scale: float = 1.0) -> Pick:
    """An entry of the summary of a run."""

    def pick(run: Run) -> float | None:
        value = (run.summary or {}).get(key)
        return None if value is None else scale * float(value)

    return pick


def metric(run: Run, key: str) -> float | None:
    """A metric of the evaluation of a run."""
    value = (run.evaluation or {}).get("metrics", {}).get(key)
    return None if value is None else float(value)


def spent(run: Run, target: float) -> Spent | None:
    """Cost until a validation loss is first reached; None where it never is."""
    return spent_until(run, target)


def digits_of(runs: Sequence[Run]) -> int:
    """Digits of a loss: one more for likelihoods, whose differences count."""
    return 4 if is_likelihood(runs) else 3


def over_seeds(runs: Sequence[Run], pick: Pick, digits: int = 3) -> str:
    """The median over seeds, and in brackets its range where seeds differ in the digits shown."""
    values = [value for run in runs if (value := pick(run)) is not None]
    if not values:
        return "–"
    low, middle, high = (number(v, digits) for v in (min(values), median(values), max(values)))
    return middle if low == high else f"{middle} ({low} to {high})"


def exploded(runs: Sequence[Run]) -> int:
    """In how many runs the last validation loss is more than ten times the best one, which is positive."""
    ends = [(best(run), last(run)) for run in runs]
    return sum(least is not None and end is not None and end > 10 * least > 0 for least, end in ends)


def ended(runs: Sequence[Run]) -> str:
    """How runs ended: after all iterations of their configuration, by the stopping rule, or by a failure."""
    words = []
    stopped = [run for run in runs if run.finished and (run.summary or {}).get("stopped_early")]
    whole = [run for run in runs if run.finished and run not in stopped]
    failed = sum(not run.finished for run in runs)
    if whole:
        words.append(f"all {_between([run.config['iterations'] for run in whole])} iterations")
    if stopped:
        words.append(f"stopped by the rule after {_between([(run.summary or {})['iterations'] for run in stopped])}")
    if failed:
        words.append(f"{failed} failed")
    counts = [len(whole), len(stopped)]
    if all(counts):
        words = [f"{count} x {text}" for count, text in zip(counts, words, strict=False)] + words[2:]
    return ", ".join(words)


def _between(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
